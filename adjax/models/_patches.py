"""Patch features of several layers, aligned, for PatchCore and PaDiM.

    patches(x)_p = (mean over 3 × 3 of layer₁(x), …, mean over 3 × 3 of layer_L(x)) at p

Maps are brought to the places of the first layer named (bilinear), each first averaged over its neighbours, so that a
patch knows what lies around it (Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022,
eq. 1 to 3; Defard et al., "PaDiM", 2021, for the layers side by side). What lies deeper in the network than the last
layer named is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from adjax.models.functional import Network
from adjax.types import Outputs, PyTree


def aligned(network: Network, layers: Sequence[str]) -> Network:
    """Adds `patches` [N, h, w, ΣC] to a network's outputs, made of its maps [N, h_l, w_l, C_l].

    Args:
      network: gives the maps by name.
      layers: their names, at least one; h × w is the size of the first.

    Returns:
      The network with the further output.

    Raises:
      ValueError: when called: no output of that name, or one that is not a map.
    """

    def with_patches(outputs: Outputs) -> Outputs:
        maps = []
        for name in layers:
            if name not in outputs or outputs[name].ndim != 4:
                known = ", ".join(name for name, x in outputs.items() if x.ndim == 4) or "none"
                raise ValueError(f"patch_layers {name!r}: this network has no such map; it gives {known}")
            maps.append(_averaged(outputs[name]))
        height, width = maps[0].shape[1:3]
        resized = [jax.image.resize(m, (m.shape[0], height, width, m.shape[3]), "bilinear") for m in maps]
        return {**outputs, "patches": jnp.concatenate(resized, -1)}

    def apply(params: PyTree, images: jax.Array) -> Outputs:
        return with_patches(network.apply(params, images))

    def train(*args, **options) -> tuple[Outputs, PyTree]:
        outputs, params = network.train(*args, **options)
        return with_patches(outputs), params

    return network._replace(apply=apply, train=train)


def _averaged(x: jax.Array) -> jax.Array:
    """The mean over the 3 × 3 places around each that there are: slices and sums, which any device is good at."""
    for axis in (1, 2):
        size = x.shape[axis]
        ones = jnp.ones([size if a == axis else 1 for a in range(4)], x.dtype)
        x, count = _three(x, axis), _three(ones, axis)
        x = x / count
    return x


def _three(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)])
    one, two, three = (lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3))
    return one + two + three
