"""Muon's update of all kernels of a network, beside optax's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from optax import contrib

from adjax import models
from adjax.methods._muon import muon_or_adam
from benchmarks.harness import Timing, compare


def muon(model: str, options: dict[str, Any], image_shape: tuple[int, int, int], n: int, quick: bool) -> Timing:
    """An update from given gradients; `images` is 1, since it costs the same for any batch.

    Args:
      model, options, image_shape: the network.
      n: pairs.
      quick: a call a turn in place of twenty.
    """
    shapes = models.make(model, image_shape, 10, **options).shapes
    rng = np.random.default_rng(0)
    grads = [jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in jax.tree.leaves(shapes) if x.ndim in (2, 4)]
    axes = [contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1) for x in grads]
    calls = 1 if quick else 20

    def repeated(transform) -> Callable[[], None]:
        update, state = jax.jit(transform.update), transform.init(grads)

        def work() -> None:
            for _ in range(calls):
                jax.block_until_ready(update(grads, state))

        return work

    ours, theirs = (repeated(x) for x in (muon_or_adam(), contrib.scale_by_muon(weight_dimension_numbers=axes)))
    return compare(
        f"Muon's update of {len(grads)} kernels of {model}" + "".join(f", {k} {v}" for k, v in options.items()),
        "optax.contrib.scale_by_muon",
        ours,
        theirs,
        images=calls,
        n=n,
        steps=calls,
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "muon_lenet5": partial(muon, "lenet5", {}, (28, 28, 1)),
    "muon_unet": partial(muon, "unet", {"width": 32}, (32, 32, 1)),
}
"""Name -> `(pairs, quick) -> Timing`."""
