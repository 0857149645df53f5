"""Images to features through a network, one compiled pass, against torchvision's networks in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from adjax import models
from benchmarks.harness import Timing, compare, flops, memory_mib
from benchmarks.training import fastest


def extract(name: str, model: str, peer: str, side_px: int, batch_size: int, n: int, quick: bool) -> Timing:
    """One batch of random images through an untrained network; `peer` is a function of `torchvision.models`."""
    import torch
    import torchvision

    calls = 1 if quick else 4
    network = models.make(model, (side_px, side_px, 3), 10)
    params = jax.jit(network.init)(jax.random.key(0))
    images = np.random.default_rng(0).random((batch_size, side_px, side_px, 3), np.float32)
    on_device = jax.device_put(images)
    jitted = jax.jit(lambda params, x: network.apply(params, x)["features"])
    compiled = jitted.lower(params, on_device).compile()
    theirs = getattr(torchvision.models, peer)(num_classes=10).eval().features
    nchw = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    last = nchw.to(memory_format=torch.channels_last)

    def eager(x):
        with torch.inference_mode():
            return [theirs(x).mean((2, 3)) for _ in range(calls)]

    peers = {"contiguous": partial(eager, nchw), "channels_last": partial(eager, last)}
    label = fastest(peers)
    return compare(
        f"{name} features, {side_px} px, batch {batch_size}",
        f"PyTorch eager, {label}",
        lambda: [compiled(params, on_device) for _ in range(calls)],
        peers[label],
        images=batch_size * calls,
        n=n,
        steps=calls,
        gflop=flops(jitted, params, on_device) * calls / 1e9,
        memory_mib=memory_mib(compiled),
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "extract_efficientnet": partial(extract, "EfficientNet-B0", "efficientnet_b0", "efficientnet_b0", 128, 8),
    "extract_vgg16": partial(extract, "VGG16", "vgg16", "vgg16", 32, 32),
}
"""Name -> `(pairs, quick) -> Timing`."""
