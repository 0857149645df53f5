"""The convolutions of VGG16, up to a layer of choice, averaged over the picture.

Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015), configuration D:
thirteen 3×3 convolutions with ReLU in five blocks, 2×2 max-pooling between blocks; 14,714,688 weights. The three dense
layers of 124 million weights are left out; the head is one dense layer on the pooled features.
"""

from __future__ import annotations

import jax
from flax import nnx

from adjax import nn
from adjax.models import _backbone

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of each block."""
LAYERS = {f"block{b}_conv{c}": channels for b, (convs, channels) in enumerate(BLOCKS, 1) for c in range(1, convs + 1)}
"""Name -> channels, in order."""
MAPS = {f"block{b}_conv{convs}": f"layer{b - 1}" for b, (convs, _) in enumerate(BLOCKS, 1) if b > 1}
"""Last convolution of a block -> the output that its map is."""


class VGG16(nnx.Module):
    """Images float32[N, H, W, 1 or 3] -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels.
      classes: width of `logits`, at least 1.
      layer: the last convolution that is computed, "block1_conv1" … "block5_conv3"; later ones are not even made.
      side_px: images are resized (bilinear) to side_px × side_px, or to (height, width), within the network; None takes
        them as they are.

    Raises:
      ValueError: an unknown layer; images of other channels, or too small for the poolings before the layer.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        layer: str = "block5_conv3",
        side_px: _backbone.Sides = None,
    ):
        if layer not in LAYERS:
            raise ValueError(f"layer {layer!r}: must be one of {', '.join(LAYERS)}")
        _backbone.check("VGG16", image_shape, classes, side_px, smallest_px=2 ** (int(layer[5]) - 1))
        self.side_px = side_px
        self.names = tuple(LAYERS)[: tuple(LAYERS).index(layer) + 1]
        channels = _backbone.CHANNELS
        for name in self.names:
            convolution = nnx.Conv(
                channels,
                LAYERS[name],
                (3, 3),
                padding="SAME",
                kernel_init=nnx.initializers.he_normal(),
                conv_general_dilated=nn.conv_general_dilated,
                rngs=rngs,
            )
            setattr(self, name, convolution)
            channels = LAYERS[name]
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`layer1` … `layer4`, the last maps of block2 … block5 before they are pooled, as far as they are computed:
        at strides 2, 4, 8, 16, with 128, 256, 512, 512 channels, ≥ 0; `patches` [N, h, w, channels of the layer], of
        which `features` [N, channels] are the mean; `logits` [N, K]."""
        x = _backbone.prepare(images, self.side_px)
        block, maps = "block1", {}
        for name in self.names:
            if name[:6] != block:
                x, block = nn.max_pool_2x2(x), name[:6]
            x = nnx.relu(getattr(self, name)(x))
            if name in MAPS:
                maps[MAPS[name]] = x
        features = x.mean((1, 2))
        return {**maps, "patches": x, "features": features, "logits": self.head(features)}
