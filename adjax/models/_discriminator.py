"""Discriminator: classifies images as real or generated.

The layers of Kim, Jeong, Choi, Seo, "GAN-based Anomaly Detection in Imbalance Problems" (ECCV workshops 2020): three
convolutions of stride 2 and two of stride 1, kernel 4, pad 1, no bias, ReLU, norm from the second on; 1.71 million
parameters for grey images. What the last one says of each place is averaged.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx

from adjax.models.unet import Down

_MIN_SIDE_PX = 24  # three halvings, and two convolutions that take a pixel each


class Discriminator(nnx.Module):
    """Images float32[N, H, W, C] in −1..1 -> `logits` [N], high for what is taken for real."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 64,
        norm: str = "instance",
        compute: str | None = None,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels), sides of at least 24 px.
          width: channels of the first level, ≥ 1; doubled at each of the next two.
          norm, compute: as of `adjax.models.unet.UNet`.
          rngs: draws the weights, from N(0, 0.02).

        Raises:
          ValueError: images of less than 24 px, no channel or no width; an unknown norm.
        """
        if min(image_shape[:2]) < _MIN_SIDE_PX or min(width, image_shape[2]) < 1:
            raise ValueError(
                f"images {'×'.join(map(str, image_shape))}, width {width}: the discriminator needs at least "
                f"{_MIN_SIDE_PX} px, 1 channel and a width of 1"
            )
        conv = partial(Down, norm=norm, compute=compute, slope=0.0, rngs=rngs)
        self.conv1 = conv(image_shape[2], width, norm="none")
        self.conv2 = conv(width, 2 * width)
        self.conv3 = conv(2 * width, 4 * width)
        self.conv4 = conv(4 * width, 4 * width, stride=1)
        self.conv5 = conv(4 * width, 1, stride=1, norm="none", slope=1.0)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`logits` float32[N]."""
        x = self.conv4(self.conv3(self.conv2(self.conv1(images))))
        return {"logits": self.conv5(x).mean((1, 2, 3))}
