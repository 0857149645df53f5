"""Autoencoders: an encoder to a few numbers, and a decoder back to the image.

Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science 2006); the convolutional
one has the layers of Masci et al., "Stacked convolutional auto-encoders" (ICANN 2011): two convolutions with ReLU and
max-pooling, and two transposed ones. Both end in a sigmoid: the reconstruction lies in 0..1.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx

from adjax import nn

_HE = nnx.initializers.he_normal()


class ConvAutoencoder(nnx.Module):
    """Images float32[N, H, W, C] in 0..1, H and W divisible by 4 -> named intermediates, see `__call__`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 1,
        *,
        latent: int | None = 16,
        width: int = 16,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels).
          classes: not used; there because every model takes it.
          latent: numbers in the dense, linear bottleneck; None for a purely convolutional network, whose bottleneck
            is the second pooling's output.
          width: channels of the outer convolutions, ≥ 1; the inner ones have twice as many.
          rngs: draws the weights.

        Raises:
          ValueError: sides that two poolings don't halve evenly; a bottleneck or width below 1.
        """
        del classes
        height, wide, channels = image_shape
        if height % 4 or wide % 4 or min(height, wide) < 4:
            raise ValueError(f"images of {height}×{wide} px: this autoencoder halves both sides twice, pad to fours")
        _at_least_one(latent=latent, width=width)
        conv = partial(
            nnx.Conv,
            kernel_size=(3, 3),
            conv_general_dilated=nn.conv_general_dilated,
            kernel_init=_HE,
            rngs=rngs,
        )
        linear = partial(nnx.Linear, rngs=rngs)
        self.small = (height // 4, wide // 4, 2 * width)
        self.conv1 = conv(channels, width)
        self.conv2 = conv(width, 2 * width)
        self.dense = latent is not None
        if latent is not None:
            flat = self.small[0] * self.small[1] * self.small[2]
            self.encode = linear(flat, latent)
            self.decode = linear(latent, flat, kernel_init=_HE)
        # Four channels for each of the output, spread over 2×2 pixels: a transposed convolution of stride 2, 6×6 px.
        self.up1 = conv(2 * width, 4 * width)
        self.up2 = conv(width, 4 * channels, kernel_init=nnx.initializers.lecun_normal())

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`pool1`, `pool2` [N, h, w, c], `features` [N, D] (the bottleneck), `reconstruction` [N, H, W, C] in 0..1."""
        rows = images.shape[0]
        pool1 = nn.max_pool_2x2(nnx.relu(self.conv1(images)))
        pool2 = nn.max_pool_2x2(nnx.relu(self.conv2(pool1)))
        features = y = pool2.reshape(rows, -1)
        if self.dense:
            features = self.encode(y)
            y = nnx.relu(self.decode(features))
        y = nnx.relu(_spread(self.up1(y.reshape(rows, *self.small))))
        reconstruction = nnx.sigmoid(_spread(self.up2(y)))
        return {"pool1": pool1, "pool2": pool2, "features": features, "reconstruction": reconstruction}


class DeepAutoencoder(nnx.Module):
    """Four dense layers. Images float32[N, H, W, C] in 0..1 -> named intermediates, see `__call__`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 1,
        *,
        latent: int = 32,
        hidden: int = 128,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels).
          classes: not used; there because every model takes it.
          latent: numbers in the linear bottleneck, ≥ 1.
          hidden: units of the layer before it and of the one after it, ≥ 1.
          rngs: draws the weights.

        Raises:
          ValueError: a layer of less than 1 unit.
        """
        del classes
        _at_least_one(latent=latent, hidden=hidden)
        height, wide, channels = image_shape
        flat = height * wide * channels
        self.encode1 = nnx.Linear(flat, hidden, kernel_init=_HE, rngs=rngs)
        self.encode2 = nnx.Linear(hidden, latent, rngs=rngs)
        self.decode1 = nnx.Linear(latent, hidden, kernel_init=_HE, rngs=rngs)
        self.decode2 = nnx.Linear(hidden, flat, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`hidden` [N, hidden], `features` [N, latent], `reconstruction` [N, H, W, C] in 0..1."""
        hidden = nnx.relu(self.encode1(images.reshape(images.shape[0], -1)))
        features = self.encode2(hidden)
        y = self.decode2(nnx.relu(self.decode1(features)))
        return {"hidden": hidden, "features": features, "reconstruction": nnx.sigmoid(y).reshape(images.shape)}


def _spread(x: jax.Array) -> jax.Array:
    """Channels to 2×2 pixels, [N, H, W, 4C] -> [N, 2H, 2W, C]."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * height, 2 * width, channels // 4)


def _at_least_one(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} {size}: must be at least 1")
