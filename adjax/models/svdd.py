"""The bias-free LeNet of Deep SVDD: without a constant that could map every image to the center.

Ruff et al., "Deep one-class classification" (ICML 2018), section 3.3: with a bias anywhere (or an activation bounded on
one side that saturates) the network can reach a loss of zero without looking at the image. So no layer has one, batch
normalisation neither scales nor shifts, and activations are leaky. Layers as the paper's for MNIST and CIFAR-10: 5×5
convolutions with leaky ReLU and 2×2 max-pooling, then dense.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx

from adjax import nn

_SLOPE = 0.1


class SVDDLeNet(nnx.Module):
    """Images float32[N, H, W, C] with H, W ≥ 4 -> named intermediates, see `__call__`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 1,
        *,
        latent: int = 64,
        width: int = 16,
        batch_norm: bool = True,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels).
          classes: not used; there because every model takes it.
          latent: number of features, ≥ 1.
          width: channels of the first convolution, ≥ 1; the second has twice as many.
          batch_norm: normalise after each convolution, over the batch in training.
          rngs: draws the weights.

        Raises:
          ValueError: images or sizes out of range.
        """
        del classes
        height, wide, channels = image_shape
        if min(height, wide) < 4:
            raise ValueError(f"images of {height}×{wide} px: two poolings need at least 4×4, enlarge them")
        if latent < 1 or width < 1:
            raise ValueError(f"{latent} features, width {width}: must be at least 1 each")
        init = nnx.initializers.he_normal()
        conv = partial(
            nnx.Conv,
            kernel_size=(5, 5),
            use_bias=False,
            kernel_init=init,
            conv_general_dilated=nn.conv_general_dilated,
            rngs=rngs,
        )
        norm = partial(
            nnx.BatchNorm, momentum=0.9, use_scale=False, use_bias=False, use_running_average=True, rngs=rngs
        )
        self.conv1 = conv(channels, width)
        self.conv2 = conv(width, 2 * width)
        self.norm1 = norm(width) if batch_norm else _same
        self.norm2 = norm(2 * width) if batch_norm else _same
        flat = (height // 4) * (wide // 4) * 2 * width
        self.hidden = nnx.Linear(flat, 128, use_bias=False, kernel_init=init, rngs=rngs)
        self.head = nnx.Linear(128, latent, use_bias=False, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`pool1`, `pool2` [N, h, w, c], `hidden` [N, 128], `features` [N, latent]."""
        pool1 = nn.max_pool_2x2(nnx.leaky_relu(self.norm1(self.conv1(images)), _SLOPE))
        pool2 = nn.max_pool_2x2(nnx.leaky_relu(self.norm2(self.conv2(pool1)), _SLOPE))
        hidden = nnx.leaky_relu(self.hidden(pool2.reshape(pool2.shape[0], -1)), _SLOPE)
        return {"pool1": pool1, "pool2": pool2, "hidden": hidden, "features": self.head(hidden)}


def _same(x: jax.Array) -> jax.Array:
    return x
