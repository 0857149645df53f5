"""U-Net without pooling: an encoder to a small latent image, a decoder back, and skips between their equals.

Ronneberger, Fischer, Brox, "U-Net" (MICCAI 2015) as "pix2pix" made it a generator (Isola et al., CVPR 2017), with the
four levels and widths of Kim, Jeong, Choi, Seo, "GAN-based Anomaly Detection in Imbalance Problems" (ECCV workshops
2020). All convolutions have kernel 4, stride 2, pad 1 and no bias; 6.17 million parameters for grey images.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from adjax import nn
from adjax.models._norm import norm as make_norm

_SIDE = 16  # four halvings
_MIN_SIDE_PX = 17  # what is enlarged to 32 px; of 16 px one latent pixel is left, which "instance" norm turns into 0
weights = nnx.initializers.normal(0.02)


def enlarged(images: jax.Array, multiple: int = _SIDE) -> jax.Array:
    """Resizes images up to the next multiple of a side, bilinear.

    Args:
      images: float[N, H, W, C].
      multiple: in pixels, ≥ 1.

    Returns:
      float[N, h, w, C]; the images as they are if both sides are multiples.
    """
    height, width = (-(-side // multiple) * multiple for side in images.shape[1:3])
    return resized(images, (height, width))


def resized(images: jax.Array, sides: tuple[int, int]) -> jax.Array:
    """Resizes images, bilinear.

    Args:
      images: float[N, H, W, C].
      sides: (height px, width px).

    Returns:
      float[N, *sides, C]; the images as they are if they have these sides.
    """
    if images.shape[1:3] == tuple(sides):
        return images
    return jax.image.resize(images, (images.shape[0], *sides, images.shape[3]), "bilinear")


class UNet(nnx.Module):
    """Images float32[N, H, W, C] in −1..1 -> named intermediates, see `__call__`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 1,
        *,
        width: int = 64,
        norm: str = "instance",
        compute: str | None = None,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels); sides that are no multiples of 16 are enlarged to the next.
          classes: not used; there because every model takes it.
          width: channels of the first level, ≥ 1; doubled at each of the next three.
          norm: see `adjax.models._norm`.
          compute: dtype that the operands of convolutions are rounded to, such as "bfloat16"; sums are float32.
          rngs: draws the weights, from N(0, 0.02).

        Raises:
          ValueError: images of at most 16 px, no channel or no width; an unknown norm.
        """
        del classes
        if min(image_shape[:2]) < _MIN_SIDE_PX or min(width, image_shape[2]) < 1:
            raise ValueError(
                f"images {'×'.join(map(str, image_shape))}, width {width}: this U-Net halves sides four times and "
                f"needs at least {_MIN_SIDE_PX} px, 1 channel and a width of 1"
            )
        channels = image_shape[2]
        down, up = partial(Down, norm=norm, compute=compute, rngs=rngs), partial(Up, compute=compute, rngs=rngs)
        self.down1 = down(channels, width, norm="none")
        self.down2 = down(width, 2 * width)
        self.down3 = down(2 * width, 4 * width)
        self.down4 = down(4 * width, 8 * width)
        self.up1, self.norm1 = up(8 * width, 4 * width), make_norm(norm, 4 * width, rngs=rngs)
        self.up2, self.norm2 = up(8 * width, 2 * width), make_norm(norm, 2 * width, rngs=rngs)
        self.up3, self.norm3 = up(4 * width, width), make_norm(norm, width, rngs=rngs)
        self.up4 = up(2 * width, channels)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`latent` [N, h, w, 8·width]; `features` [N, D], the same as vectors; `reconstruction`, in −1..1.

        The reconstruction has the sides of the images, or those that they are enlarged to.
        """
        one = self.down1(enlarged(images))
        two = self.down2(one)
        three = self.down3(two)
        latent = self.down4(three)
        y = nnx.relu(self.norm1(self.up1(latent)))
        y = nnx.relu(self.norm2(self.up2(jnp.concatenate([y, three], -1))))
        y = nnx.relu(self.norm3(self.up3(jnp.concatenate([y, two], -1))))
        return {
            "latent": latent,
            "features": latent.reshape(latent.shape[0], -1),
            "reconstruction": jnp.tanh(self.up4(jnp.concatenate([y, one], -1))),
        }


class Down(nnx.Module):
    """Convolution (kernel 4, pad 1, no bias), norm, then LeakyReLU, or ReLU for a slope of 0."""

    def __init__(self, inputs: int, outputs: int, *, norm, compute, rngs, stride: int = 2, slope: float = 0.2):
        self.slope = slope
        self.conv = nnx.Conv(
            inputs,
            outputs,
            kernel_size=(4, 4),
            strides=stride,
            padding=((1, 1), (1, 1)),
            use_bias=False,
            kernel_init=weights,
            conv_general_dilated=partial(nn.conv_general_dilated, compute=compute),
            rngs=rngs,
        )
        self.norm = make_norm(norm, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.leaky_relu(self.norm(self.conv(x)), self.slope)


class Up(nnx.Module):
    """Transposed convolution (kernel 4, stride 2, no bias) that doubles the sides."""

    def __init__(self, inputs: int, outputs: int, *, compute, rngs):
        self.compute = compute
        self.kernel = nnx.Param(weights(rngs.params(), (4, 4, outputs, inputs)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.conv_transpose(x, self.kernel[...], (2, 2), ((1, 1), (1, 1)), compute=self.compute)
