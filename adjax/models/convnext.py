"""ConvNeXt-T: a convolutional network with the design of a vision transformer.

Liu et al., "A ConvNet for the 2020s" (CVPR 2022). Pixels are taken in blocks of 4×4, and of 2×2 between the stages;
each block filters every channel by itself (7×7, depthwise), and then mixes the channels of a pixel:

    y = x + γ · W₂ gelu(W₁ norm(depthwise(x)))        γ: a factor for each channel (LayerScale)

28,589,128 weights with the head for 1000 classes. Published weights were trained with stochastic depth; here there is
none.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from adjax import nn
from adjax.models import _backbone

STAGES = ((3, 96), (3, 192), (9, 384), (3, 768))
"""Blocks and channels of each stage."""
_draw = nnx.initializers.truncated_normal(0.02)
_norm = partial(nnx.LayerNorm, epsilon=1e-6, use_fast_variance=False)
_linear = partial(nnx.Linear, kernel_init=_draw)
_conv = partial(nnx.Conv, kernel_init=_draw, conv_general_dilated=nn.conv_general_dilated)


class Block(nnx.Module):
    """[N, H, W, C] -> [N, H, W, C]."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.depthwise = _conv(
            channels, channels, (7, 7), padding=[(3, 3)] * 2, feature_group_count=channels, rngs=rngs
        )
        self.norm = _norm(channels, rngs=rngs)
        self.widen = _linear(channels, 4 * channels, rngs=rngs)
        self.narrow = _linear(4 * channels, channels, rngs=rngs)
        self.scale = nnx.Param(jnp.full(channels, 1e-6))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.gelu(self.widen(self.norm(self.depthwise(x))), approximate=False)
        return x + self.scale[...] * self.narrow(y)


class ConvNeXt(nnx.Module):
    """Images float32[N, H, W, 1 or 3], H, W ≥ 32 (or `side_px` ≥ 32) -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels. What is left of a side divided by 32 isn't seen.
      classes: width of `logits`, at least 1.
      side_px: images are resized (bilinear) to side_px × side_px, or to (height, width), within the network; None takes
        them as they are.
        Published weights have seen 224 px.

    Raises:
      ValueError: images of other channels or too small, no classes.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs, side_px: _backbone.Sides = None
    ):
        _backbone.check("ConvNeXt", image_shape, classes, side_px, smallest_px=32)
        self.side_px = side_px
        channels = _backbone.CHANNELS
        for stage, (blocks, features) in enumerate(STAGES, 1):
            px = 4 if stage == 1 else 2
            down = _conv(channels, features, (px, px), strides=px, padding="VALID", rngs=rngs)
            setattr(self, f"down{stage}", down)
            setattr(self, f"norm{stage}", _norm(features if stage == 1 else channels, rngs=rngs))
            for block in range(blocks):
                setattr(self, f"layer{stage}_{block}", Block(features, rngs=rngs))
            channels = features
        self.norm = _norm(channels, rngs=rngs)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`layer1` … `layer4`, maps [N, h, w, C] at strides 4, 8, 16, 32 with 96, 192, 384, 768 channels; `patches`,
        the last of them, of which `features` [N, 768] are the mean; `logits` [N, K], of the features normed."""
        x = _backbone.prepare(images, self.side_px)
        maps = {}
        for stage, (blocks, _) in enumerate(STAGES, 1):
            down, norm = getattr(self, f"down{stage}"), getattr(self, f"norm{stage}")
            x = norm(down(x)) if stage == 1 else down(norm(x))
            for block in range(blocks):
                x = getattr(self, f"layer{stage}_{block}")(x)
            maps[f"layer{stage}"] = x
        features = x.mean((1, 2))
        return {**maps, "patches": x, "features": features, "logits": self.head(self.norm(features))}
