"""SqueezeNet 1.1: ImageNet features from 4.9 MB of weights.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size" (2016), in its
later version 1.1. A *fire* squeezes the channels by a 1×1 convolution and expands them by 1×1 and 3×3 ones side by
side. 1,235,496 weights with the head for 1000 classes, which is a 1×1 convolution, ReLU and a global average.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from adjax import nn
from adjax.models import _backbone

FIRES = {"fire2": 16, "fire3": 16, "fire4": 32, "fire5": 32, "fire6": 48, "fire7": 48, "fire8": 64, "fire9": 64}
"""Name -> squeezed channels; each expansion has four times as many."""
_MAPS = {"fire2": "layer1", "fire4": "layer2", "fire6": "layer3"}
"""Name of the map that is pooled before this fire."""
MIN_SIDE_PX = 31  # three poolings of 3 px, rounded down, leave something of 15 px


class Fire(nnx.Module):
    """[N, H, W, channels] -> [N, H, W, 8·squeezed], ≥ 0."""

    def __init__(self, channels: int, squeezed: int, convolution):
        self.squeeze = convolution(channels, squeezed, (1, 1))
        self.expand1x1 = convolution(squeezed, 4 * squeezed, (1, 1))
        self.expand3x3 = convolution(squeezed, 4 * squeezed, (3, 3), padding="SAME")

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.squeeze(x))
        return nnx.relu(jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], -1))


class SqueezeNet(nnx.Module):
    """Images float32[N, H, W, 1 or 3], H, W ≥ 31 (or `side_px` ≥ 31) -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels.
      classes: width of `logits`, at least 1.
      side_px: images are resized (bilinear) to side_px × side_px, or to (height, width), within the network; None takes
        them as they are.
      dropout: share of values dropped before the head, in training.
      ceil: poolings count a cut-off last window, as torchvision's do; at 224 px there is none.

    Raises:
      ValueError: images of other channels or too small, no classes, a share out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        side_px: _backbone.Sides = None,
        dropout: float = 0.5,
        ceil: bool = False,
    ):
        _backbone.check("SqueezeNet", image_shape, classes, side_px, smallest_px=MIN_SIDE_PX)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout}: must lie in [0, 1)")
        convolution = partial(
            nnx.Conv,
            padding="VALID",
            kernel_init=nnx.initializers.he_normal(),
            conv_general_dilated=nn.conv_general_dilated,
            rngs=rngs,
        )
        self.side_px, self.ceil = side_px, ceil
        self.stem = convolution(_backbone.CHANNELS, 64, (3, 3), strides=2)
        channels = 64
        for name, squeezed in FIRES.items():
            setattr(self, name, Fire(channels, squeezed, convolution))
            channels = 8 * squeezed
        self.drop = nnx.Dropout(dropout)
        self.head = nnx.Linear(channels, classes, rngs=rngs)  # the 1×1 convolution

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> dict[str, jax.Array]:
        """`layer1` … `layer3`, the maps before each pooling (of the stem, fire3, fire5), and `layer4`, of fire9: at
        strides 2, 4, 8, 16, with 64, 128, 256, 512 channels, ≥ 0; `patches`, the last of them, of which `features`
        [N, 512] are the mean; `logits` [N, K] (≥ 0 and not linear in features, as published)."""
        x = nnx.relu(self.stem(_backbone.prepare(images, self.side_px)))
        maps = {}
        for name in FIRES:
            if name in _MAPS:
                maps[_MAPS[name]] = x
                x = _max_pool_3x3(x, self.ceil)
            x = getattr(self, name)(x)
        logits = nnx.relu(self.head(_backbone.dropout(self.drop, x, rngs))).mean((1, 2))
        return {**maps, "layer4": x, "patches": x, "features": x.mean((1, 2)), "logits": logits}


def _max_pool_3x3(x: jax.Array, ceil: bool) -> jax.Array:
    """`backbone.max_pool_3x3`, with a cut-off last window or without. x ≥ 0, so 0 pads."""
    if ceil:
        x = jnp.pad(x, ((0, 0), *((0, (n - 3) % 2) for n in x.shape[1:3]), (0, 0)))
    return _backbone.max_pool_3x3(x)
