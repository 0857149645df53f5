"""ResNet-18, ResNet-50 and Wide ResNet-50-2, as torchvision lays them out ("v1.5").

He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (CVPR 2016); Zagoruyko, Komodakis, "Wide residual
networks" (BMVC 2016). A block adds what its convolutions find to its input:

    y = relu(x + c(x))        c: 3×3, 3×3 ("basic"), or 1×1, 3×3, 1×1 ("bottleneck"), each followed by batch norm

and where the shape changes, x goes through a 1×1 convolution of its own. The 3×3 convolution of a bottleneck has the
stride (the paper has it on the 1×1 before). The wide network has twice the channels inside of a bottleneck. With the
head for 1000 classes 11,689,512, 25,557,032 and 68,883,240 weights.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from adjax.models import _backbone
from adjax.models.efficientnet import ConvNorm

STEM = 64
EXPANSION = 4  # of a bottleneck: channels that leave it over those of a basic block


class Plan(NamedTuple):
    """Blocks of each stage, of which kind, and the channels inside of a block of the first stage; they double."""

    depths: tuple[int, ...]
    bottleneck: bool
    inner: int = STEM

    def block(self, stage: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        """Lists the convolutions of a block.

        Args:
          stage: 0 … 3.
          stride: of the block, 1 or 2.

        Returns:
          (channels, kernel px, stride) of each.
        """
        inner, features = self.inner * 2**stage, self.channels(stage)
        if self.bottleneck:
            return (inner, 1, 1), (inner, 3, stride), (features, 1, 1)
        return (inner, 3, stride), (features, 3, 1)

    def channels(self, stage: int) -> int:
        """Output channels of a stage, the first of which is 0; -1: the stem."""
        if stage < 0:
            return STEM
        return STEM * 2**stage * (EXPANSION if self.bottleneck else 1)

    def stride(self, stage: int) -> int:
        """Stride of the first block of a stage."""
        return 1 if stage == 0 else 2

    def widens(self, stage: int) -> bool:
        """Tells whether the first block of a stage changes the shape, so that its shortcut is a convolution."""
        return self.stride(stage) > 1 or self.channels(stage - 1) != self.channels(stage)


RESNET18 = Plan((2, 2, 2, 2), bottleneck=False)
RESNET50 = Plan((3, 4, 6, 3), bottleneck=True)
WIDE_RESNET50_2 = Plan((3, 4, 6, 3), bottleneck=True, inner=128)


class Block(nnx.Module):
    """[N, H, W, channels] -> [N, ⌈H/stride⌉, ⌈W/stride⌉, channels of the last convolution], ≥ 0.

    Args:
      channels: that enter.
      convolutions: (channels, kernel px, stride) of each in turn.
      shortcut: the input goes through a convolution as well.
      convolution: makes one with its norm.
    """

    def __init__(self, channels: int, convolutions: tuple[tuple[int, int, int], ...], shortcut: bool, convolution):
        stride = max(s for _, _, s in convolutions)
        self.shortcut = convolution(channels, convolutions[-1][0], 1, stride) if shortcut else None
        self.names: tuple[str, ...] = ()
        for number, (features, kernel, step) in enumerate(convolutions, 1):
            self.names += (f"conv{number}",)
            setattr(self, self.names[-1], convolution(channels, features, kernel, step))
            channels = features

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for name in self.names[:-1]:
            y = nnx.relu(getattr(self, name)(y))
        y = getattr(self, self.names[-1])(y)
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Images float32[N, H, W, 1 or 3] -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels.
      classes: width of `logits`, at least 1.
      plan: which ResNet.
      side_px: images are resized (bilinear) to side_px × side_px, or to (height, width), within the network; None takes
        them as they are.
        Published weights have seen 224 px.

    Raises:
      ValueError: images of other channels, no classes, a side out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        plan: Plan = RESNET50,
        side_px: _backbone.Sides = None,
    ):
        _backbone.check("ResNet", image_shape, classes, side_px)
        convolution = partial(ConvNorm, symmetric=True, epsilon=1e-5, rngs=rngs)
        self.side_px = side_px
        self.depths = plan.depths
        self.stem = convolution(_backbone.CHANNELS, STEM, 7, 2)
        channels = STEM
        for stage, depth in enumerate(plan.depths):
            for block in range(depth):
                stride = plan.stride(stage) if block == 0 else 1
                shortcut = block == 0 and plan.widens(stage)
                made = Block(channels, plan.block(stage, stride), shortcut, convolution)
                setattr(self, f"layer{stage + 1}_{block}", made)
                channels = plan.channels(stage)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`layer1` … `layer4`, maps [N, h, w, C] at strides 4, 8, 16, 32 (≥ 0); `patches`, the last of them, of which
        `features` [N, D] are the mean; `logits` [N, K]. D is 512 of ResNet-18, else 2048."""
        x = nnx.relu(self.stem(_backbone.prepare(images, self.side_px)))
        x = _backbone.max_pool_3x3(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))  # x ≥ 0: zeros are no maxima
        maps = {}
        for stage, depth in enumerate(self.depths, 1):
            for block in range(depth):
                x = getattr(self, f"layer{stage}_{block}")(x)
            maps[f"layer{stage}"] = x
        features = x.mean((1, 2))
        return {**maps, "patches": x, "features": features, "logits": self.head(features)}
