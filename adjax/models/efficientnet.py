"""EfficientNet-B0, -Lite0, -Lite2: mobile inverted bottlenecks, unchanged from what ImageNet weights are published for.

Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (ICML 2019). A block widens its
input by a 1×1 convolution, filters every channel by itself (depthwise), weighs the channels (squeeze and excitation:
Hu, Shen, Sun, CVPR 2018), narrows again, and adds its input where the shapes allow:

    y = x + project(se(depthwise(expand(x))))        each convolution followed by batch norm, the first two by SiLU

With the head for 1000 classes B0 has 5,288,548 weights; its last hidden layer, 1280 wide, is what global average
pooling leaves of the top convolution. Lite0 (Google, 2020) is the same without squeeze and excitation and with ReLU6
for SiLU: 4,652,008 weights, quicker and easier to quantise. Lite2 has a tenth more channels and a fifth more blocks
between its first and last stage: 6,092,072 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
from flax import nnx

from adjax import nn
from adjax.models import _backbone

STEM, TOP = 32, 1280
SQUEEZE = 0.25  # of a block's input channels


class Stage(NamedTuple):
    """Equal blocks in a row: how many, kernel px, stride of the first, widening, output channels."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Table 1 of the paper, stages 2 to 8."""
LITE2 = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
LAYERS = {2: "layer1", 3: "layer2", 5: "layer3", 7: "layer4"}
"""The last stage at each size, whose last block gives the map -> its name."""


class ConvNorm(nnx.Module):
    """Convolution without a bias, then batch norm."""

    def __init__(
        self,
        channels: int,
        features: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        symmetric: bool,
        epsilon: float,
        rngs: nnx.Rngs,
    ):
        self.conv = nnx.Conv(
            channels,
            features,
            (kernel, kernel),
            strides=stride,
            # TensorFlow's "SAME" puts an odd border px at the end; PyTorch's padding is as wide on both sides
            padding=[(kernel // 2, kernel // 2)] * 2 if symmetric else "SAME",
            feature_group_count=channels if depthwise else 1,
            use_bias=False,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_in" if depthwise else "fan_out", "normal"),
            conv_general_dilated=nn.conv_general_dilated,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(features, momentum=0.99, epsilon=epsilon, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class SqueezeExcite(nnx.Module):
    """x · sigmoid(W₂ silu(W₁ mean(x))), one factor per image and channel."""

    def __init__(self, channels: int, squeezed: int, *, rngs: nnx.Rngs):
        self.reduce = nnx.Linear(channels, squeezed, rngs=rngs)
        self.expand = nnx.Linear(squeezed, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        factors = nnx.sigmoid(self.expand(nnx.silu(self.reduce(x.mean((1, 2))))))
        return x * factors[:, None, None, :]


class Block(nnx.Module):
    """A mobile inverted bottleneck, [N, H, W, channels] -> [N, H/stride, W/stride, stage.channels]."""

    def __init__(
        self, channels: int, stage: Stage, stride: int, *, lite: bool, drop: float, convolution, rngs: nnx.Rngs
    ):
        wide = channels * stage.expand
        self.lite = lite
        self.expand = convolution(channels, wide) if stage.expand > 1 else None
        self.depthwise = convolution(wide, wide, stage.kernel, stride, depthwise=True)
        self.se = None if lite else SqueezeExcite(wide, max(1, int(channels * SQUEEZE)), rngs=rngs)
        self.project = convolution(wide, stage.channels)
        self.residual = stride == 1 and channels == stage.channels
        self.drop = nnx.Dropout(drop, broadcast_dims=(1, 2, 3))  # whole images: stochastic depth

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        act = nnx.relu6 if self.lite else nnx.silu
        y = x if self.expand is None else act(self.expand(x))
        y = act(self.depthwise(y))
        if self.se is not None:
            y = self.se(y)
        y = self.project(y)
        return x + _backbone.dropout(self.drop, y, rngs) if self.residual else y


class EfficientNet(nnx.Module):
    """Images float32[N, H, W, 1 or 3] -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels.
      classes: width of `logits`, at least 1.
      lite: without squeeze and excitation, ReLU6 for SiLU: Lite0 instead of B0.
      stages: of blocks; None: `STAGES`, those of B0 and Lite0.
      side_px: images are resized (bilinear) to side_px × side_px, or to (height, width), within the network; None takes
        them as they are.
        Published weights have seen 224 px.
      dropout: share of `features` dropped before the head, in training.
      drop_connect: share of images whose last residual branch is dropped in training; it rises from 0 block by block.
      symmetric: pad as PyTorch does, for weights that were trained so, instead of TensorFlow's "SAME".
      epsilon: added to batch norm's variance: 1e-3 for weights from TensorFlow, 1e-5 for PyTorch's.

    Raises:
      ValueError: images of other channels, no classes, a side or a share out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        lite: bool = False,
        stages: Sequence[Stage] | None = None,
        side_px: _backbone.Sides = None,
        dropout: float = 0.2,
        drop_connect: float = 0.2,
        symmetric: bool = False,
        epsilon: float = 1e-3,
    ):
        _backbone.check("EfficientNet", image_shape, classes, side_px)
        for name, share in (("dropout", dropout), ("drop_connect", drop_connect)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} {share}: must lie in [0, 1)")
        convolution = partial(ConvNorm, symmetric=symmetric, epsilon=epsilon, rngs=rngs)
        self.side_px, self.lite = side_px, lite
        self.stem = convolution(_backbone.CHANNELS, STEM, 3, 2)
        stages = STAGES if stages is None else stages
        channels, done, total = STEM, 0, sum(stage.blocks for stage in stages)
        self.names: tuple[str, ...] = ()
        self.maps: tuple[tuple[str, str], ...] = ()
        for number, stage in enumerate(stages, 1):
            for letter in "abcdefgh"[: stage.blocks]:
                block = Block(
                    channels,
                    stage,
                    stage.stride if letter == "a" else 1,
                    lite=lite,
                    drop=drop_connect * done / total,
                    convolution=convolution,
                    rngs=rngs,
                )
                name = f"block{number}{letter}"
                setattr(self, name, block)
                self.names += (name,)
                channels, done = stage.channels, done + 1
            if number in LAYERS:
                self.maps += ((name, LAYERS[number]),)
        self.top = convolution(channels, TOP)
        self.drop = nnx.Dropout(dropout)
        self.head = nnx.Linear(TOP, classes, rngs=rngs)

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> dict[str, jax.Array]:
        """`patches` [N, h, w, 1280], of which `features` [N, 1280] are the mean; `logits` [N, K]; and the last map at
        each size, `layer1` to `layer4` of 24, 40, 112 and 320 channels (Lite2: 24, 48, 120, 352), at 1/4, 1/8, 1/16
        and 1/32 of the side."""
        act = nnx.relu6 if self.lite else nnx.silu
        x = act(self.stem(_backbone.prepare(images, self.side_px)))
        layers, maps = {}, dict(self.maps)
        for name in self.names:
            x = getattr(self, name)(x, rngs)
            if name in maps:
                layers[maps[name]] = x
        patches = act(self.top(x))
        features = patches.mean((1, 2))
        logits = self.head(_backbone.dropout(self.drop, features, rngs))
        return {**layers, "patches": patches, "features": features, "logits": logits}
