"""Training steps: adjax's own program, as `experiments.run` runs it, against PyTorch eager mode."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import train
from adjax.pipeline import Built, Recipe
from benchmarks.harness import Timing, compare, flops, memory_mib

EAGER = "PyTorch eager, fused Adam"


class Setting(NamedTuple):
    """A network, how it is trained, and on what."""

    method: str
    model: str
    shape: tuple[int, int, int] = (28, 28, 1)
    classes: int = 10
    method_options: Mapping[str, Any] = MappingProxyType({})
    model_options: Mapping[str, Any] = MappingProxyType({})
    weights: str | None = None

    def build(self) -> Built:
        """Makes network and method."""
        options = self.method_options, self.model_options
        recipe = Recipe(self.method, self.model, None, *options, weights=self.weights)
        return recipe.build(self.shape, [str(k) for k in range(self.classes)], steps=10**6)


class Program(NamedTuple):
    """A training program that is ready to be timed: `work` takes `steps` optimiser steps for each member."""

    work: Callable[[], Any]
    compile_s: float
    memory_mib: float | None
    gflop: float


def program(
    setting: Setting, batch_size: int, steps: int, members: int = 1, layout: str = "auto", **hparams
) -> Program:
    """adjax's training program on random images that lie on the device, several steps per dispatch.

    Args:
      setting: what to train.
      batch_size, steps: images a step, steps a dispatch.
      members, layout: as in `adjax.train`.
      **hparams: name -> values, one per member, that differ from the method's own.
    """
    rng, built = np.random.default_rng(0), setting.build()
    method = built.method
    images = rng.integers(0, 256, (steps * batch_size, *setting.shape), np.uint8)
    kinds = {"classes": setting.classes, "normal": 1, "anomalies": 2}[method.supervision]
    labels = rng.permutation(np.arange(len(images), dtype=np.int32) % kinds)
    rows = np.arange(len(images))
    table = built.members([rows] * members, [labels] * members, range(members), hparams)
    compiled = train.compile_program(
        method,
        images,
        table,
        built.normalise(images),
        batch_size=batch_size,
        steps_per_dispatch=steps,
        layout=layout,
    )
    state = compiled.init(compiled.table)
    order = compiled.epoch_order(compiled.table, state.step)

    def work():
        nonlocal state
        state = state._replace(step=jax.device_put(np.int32(0), state.step.sharding))  # the same epoch again
        state, metrics = compiled.run(state, compiled.table.seed, order, compiled.images)
        return metrics

    gflop = step_flop(setting, batch_size) * steps * members / 1e9
    return Program(work, compiled.compile_s, memory_mib(compiled.executable), gflop)


def step_flop(setting: Setting, batch_size: int) -> float:
    """Floating-point operations that one optimiser step of a network needs, see `harness.flops`.

    Args:
      setting: what is trained.
      batch_size: images a step.
    """
    method = setting.build().method
    batch = {
        "images": jax.ShapeDtypeStruct((batch_size, *setting.shape), jnp.float32),
        "labels": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    one = jax.eval_shape(method.init, key, {name: jnp.float32(0) for name in method.hparams})
    assert method.step is not None
    return flops(jax.jit(method.step), one, batch, key)


ADAMW = {"optimizer": "adamw"}
"""As the peers have it."""
LENET = Setting("centerloss", "lenet5", method_options=ADAMW)
AUTOENCODER = Setting("autoencoder", "conv_autoencoder", model_options={"latent": None}, method_options={"blur_px": 0})
CNN = Setting("classifier", "cnn")
EFFICIENTNET = Setting("centerloss", "efficientnet_b0", (128, 128, 3), weights="random", method_options=ADAMW)


def gan(compute: str | None) -> Setting:
    """The GAN at the sides that it enlarges 28 px to, with the norm of its preset and its paper's optimiser."""
    options = {"norm": "batch", "compute": compute}
    return Setting("gan", "unet", (32, 32, 1), method_options={**options, "optimizer": "adam"}, model_options=options)


def against_eager(
    name: str,
    setting: Setting,
    batch_size: int,
    steps: int,
    peers: dict[str, tuple[str, str, dict[str, Any]]],
    n: int,
    *,
    peer_batch: int | None = None,
    reference: str | None = None,
) -> Timing:
    """Times a setting against the fastest of some PyTorch forms of it.

    Args:
      peers: how each is called -> (module in `benchmarks.peers`, factory in it, its options).
      peer_batch: the peer's batch size, if not ours; it is then given `steps` steps of that.
      others: see `harness.compare`.
    """
    ours = program(setting, batch_size, steps)
    works = {}
    for label, (module, factory, options) in peers.items():
        make = getattr(importlib.import_module(f"benchmarks.peers.{module}"), factory)
        works[label] = make(peer_batch or batch_size, steps, **options)
    label = fastest(works)
    return compare(
        name,
        f"{EAGER}, {label}",
        ours.work,
        works[label],
        images=batch_size * steps,
        peer_images=(peer_batch or batch_size) * steps,
        n=n,
        steps=steps,
        compile_s=ours.compile_s,
        gflop=ours.gflop,
        memory_mib=ours.memory_mib,
        reference=reference,
    )


def fastest(works: Mapping[str, Callable[[], Any]], runs: int = 3) -> str:
    """The name of the work that took the least time in a few runs, in turn, after a warm-up."""

    def once(work):
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            times[name].append(once(work))
    return min(times, key=lambda name: min(times[name]))


def _layouts(module: str, factory: str, **options: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    names = {"contiguous": False, "channels_last": True}
    return {label: (module, factory, {"channels_last": last, **options}) for label, last in names.items()}


def lenet(batch_size: int, n: int, quick: bool) -> Timing:
    steps = 2 if quick else 16 if batch_size < 1000 else 4
    peers = _layouts("training", "lenet")
    return against_eager(f"LeNet + center loss train, batch {batch_size}", LENET, batch_size, steps, peers, n)


def autoencoder(batch_size: int, n: int, quick: bool) -> Timing:
    peers = {
        f"{layout}, {form}": (module, factory, {**options, "transposed": transposed})
        for layout, (module, factory, options) in _layouts("training", "autoencoder").items()
        for form, transposed in (("ConvTranspose2d", True), ("Conv2d + PixelShuffle", False))
    }
    reference = "5 ms at batch 64 (assignment report, Colab)"
    name = f"conv autoencoder train, batch {batch_size}"
    return against_eager(name, AUTOENCODER, batch_size, 2 if quick else 8, peers, n, reference=reference)


def cnn(batch_size: int, n: int, quick: bool) -> Timing:
    reference = "31 ms at batch 64 (assignment report, Colab)"
    peers = _layouts("training", "cnn")
    name = f"CNN classifier train, batch {batch_size}"
    return against_eager(name, CNN, batch_size, 2 if quick else 16, peers, n, reference=reference)


def gan_step(batch_size: int, n: int, quick: bool) -> Timing:
    steps = 2 if quick else {1: 16}.get(batch_size, 8)
    peers = _layouts("gan", "gan", norm="batch" if batch_size > 1 else "instance")
    return against_eager(f"GAN train, batch {batch_size}, float32", gan(None), batch_size, steps, peers, n)


def gan_images(compute: str | None, n: int, quick: bool) -> Timing:
    """Our batch of 32 against the reference's batch of one image."""
    peers = _layouts("gan", "gan", norm="instance")
    name = f"GAN train, images/s: batch 32, {compute or 'float32'}, against batch 1, float32"
    return against_eager(name, gan(compute), 32, 2 if quick else 8, peers, n, peer_batch=1, reference="batch 1")


def efficientnet(n: int, quick: bool) -> Timing:
    peers = _layouts("training", "efficientnet")
    return against_eager("EfficientNet-B0 train, 128 px, batch 8", EFFICIENTNET, 8, 1 if quick else 8, peers, n)


def stream(batch_size: int, n: int, quick: bool) -> Timing:
    """An epoch with the images on the host, against the same with the images on the device."""
    steps, dispatches = (2, 2) if quick else (16, 8)
    rng, built = np.random.default_rng(0), LENET.build()
    images = rng.integers(0, 256, (steps * dispatches * batch_size, *LENET.shape), np.uint8)
    labels = rng.integers(0, LENET.classes, len(images)).astype(np.int32)
    table = built.members([np.arange(len(images))], [labels])

    def epoch(resident: bool) -> Callable[[], Any]:
        options = {"batch_size": batch_size, "steps_per_dispatch": steps, "resident": resident}
        normalise = built.normalise(images)
        compiled = train.compile_program(built.method, images, table, normalise, **options)  # type: ignore[arg-type]
        state = compiled.init(compiled.table)

        def work():
            nonlocal state
            state = state._replace(step=jax.device_put(np.int32(0), state.step.sharding))
            for _, after, _ in train.epochs(compiled, state, steps * dispatches):
                state = after
            return state.step

        return work

    return compare(
        f"LeNet + center loss train, batch {batch_size}, images sent from the host",
        "adjax, images on the device",
        epoch(resident=False),
        epoch(resident=True),
        images=len(images),
        n=n,
        steps=steps * dispatches,
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "train_lenet_128": partial(lenet, 128),
    "train_lenet_1024": partial(lenet, 1024),
    "train_lenet_stream": partial(stream, 128),
    "train_autoencoder": partial(autoencoder, 128),
    "train_cnn": partial(cnn, 64),
    "train_gan_1": partial(gan_step, 1),
    "train_gan_16": partial(gan_step, 16),
    "train_gan_64": partial(gan_step, 64),
    "train_gan_images": partial(gan_images, None),
    "train_gan_images_bfloat16": partial(gan_images, "bfloat16"),
    "train_efficientnet": efficientnet,
}
"""Name -> `(pairs, quick) -> Timing`."""
