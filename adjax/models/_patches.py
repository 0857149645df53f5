"""Patch features of several layers, aligned, for PatchCore and PaDiM.

    patches(x)_p = (mean over 3 × 3 of layer₁(x), …, mean over 3 × 3 of layer_L(x)) at p

Maps are brought to the places of the first layer named (bilinear), each first averaged over its neighbours, so that a
patch knows what lies around it (Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022,
eq. 1 to 3; Defard et al., "PaDiM", 2021, for the layers side by side). Beyond the edge lie zeros, as in PatchCore's own
code: a mean over the places that there are is of fewer, varies more, and made the border of normal pictures the
most anomalous place. What lies deeper in the network than the last layer named is not computed.

    overall(x) = (mean over all places of layer₁(x), …, layer_L(x), statistics(x))

says what a picture is like as a whole: how light, how sharp, of what grain.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from adjax._numerics import averaged
from adjax.models._statistics import statistics
from adjax.models.functional import Network
from adjax.types import Outputs, PyTree

VERSION = 2
"""Of how `patches` are made; counts up when the same network says other numbers."""


def aligned(network: Network, layers: Sequence[str]) -> Network:
    """Adds `patches` [N, h, w, ΣC], `statistics` and `overall` [N, D] to the outputs of a network with maps.

    Args:
      network: gives the maps [N, h_l, w_l, C_l] by name.
      layers: their names, at least one; h × w is the size of the first.

    Returns:
      The network with the further outputs; `statistics` are those of `adjax.models._statistics`.

    Raises:
      ValueError: when called: no output of that name, or one that is not a map.
    """

    def with_patches(outputs: Outputs, images: jax.Array) -> Outputs:
        maps = []
        for name in layers:
            if name not in outputs or outputs[name].ndim != 4:
                known = ", ".join(name for name, x in outputs.items() if x.ndim == 4) or "none"
                raise ValueError(f"patch_layers {name!r}: this network has no such map; it gives {known}")
            maps.append(averaged(outputs[name], zeros=True))
        height, width = maps[0].shape[1:3]
        resized = [jax.image.resize(m, (m.shape[0], height, width, m.shape[3]), "bilinear") for m in maps]
        local = statistics(images)
        means = [x.astype(jnp.float32).mean((1, 2)) for x in (*(outputs[name] for name in layers), local)]
        patches, overall = (jnp.concatenate(x, -1) for x in (resized, means))
        return {**outputs, "patches": patches, "statistics": local, "overall": overall}

    def apply(params: PyTree, images: jax.Array) -> Outputs:
        return with_patches(network.apply(params, images), images)

    def train(params: PyTree, images: jax.Array, *args, **options) -> tuple[Outputs, PyTree]:
        outputs, params = network.train(params, images, *args, **options)
        return with_patches(outputs, images), params

    return network._replace(apply=apply, train=train)
