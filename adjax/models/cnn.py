"""A small convolutional classifier: convolutions 5×5 and 3×3, each max-pooled, two dense layers, dropout.

The network of the imbalanced MNIST assignment (its convolutions, dense 256 and 128 and dropout 0.2 are given, its
numbers of channels are not). Its alternative leaves the second convolution unpooled (a 1×1 pool): `pool2=1`.
"""

from __future__ import annotations

import jax
from flax import nnx

from adjax import nn

_HE = nnx.initializers.he_normal()


class CNN(nnx.Module):
    """Images float32[N, H, W, C] with H, W ≥ 4 -> named intermediates, see `__call__`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        pool2: int = 2,
        width: int = 16,
        dropout: float = 0.2,
        rngs: nnx.Rngs,
    ):
        """
        Args:
          image_shape: (height px, width px, channels).
          classes: number of logits, ≥ 1.
          pool2: side of the second pool in pixels, 2 or 1 (none).
          width: channels of the first convolution, ≥ 1; the second has twice as many.
          dropout: share of the last hidden layer dropped in training, in [0, 1).
          rngs: draws the weights.

        Raises:
          ValueError: images, classes or an option out of range.
        """
        height, wide, channels = image_shape
        if min(height, wide) < 4:
            raise ValueError(f"images of {height}×{wide} px: two poolings need at least 4×4, enlarge them")
        if classes < 1 or channels < 1 or width < 1:
            raise ValueError(f"{classes} classes, {channels} channels, width {width}: must be at least 1 each")
        if pool2 not in (1, 2):
            raise ValueError(f"second pool of {pool2} px: must be 1 or 2")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout}: must lie in [0, 1)")
        lowering = nn.conv_general_dilated
        self.pool2 = pool2
        self.conv1 = nnx.Conv(channels, width, (5, 5), kernel_init=_HE, conv_general_dilated=lowering, rngs=rngs)
        self.conv2 = nnx.Conv(width, 2 * width, (3, 3), kernel_init=_HE, conv_general_dilated=lowering, rngs=rngs)
        flat = (height // 2 // pool2) * (wide // 2 // pool2) * 2 * width
        self.hidden1 = nnx.Linear(flat, 256, kernel_init=_HE, rngs=rngs)
        self.hidden2 = nnx.Linear(256, 128, kernel_init=_HE, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, deterministic=True)
        self.head = nnx.Linear(128, classes, rngs=rngs)

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> dict[str, jax.Array]:
        """`pool1`, `pool2` [N, h, w, c], `hidden` [N, 256], `features` [N, 128] (≥ 0), `logits` [N, classes]."""
        pool1 = nn.max_pool_2x2(nnx.relu(self.conv1(images)))
        pool2 = nnx.relu(self.conv2(pool1))
        pool2 = nn.max_pool_2x2(pool2) if self.pool2 == 2 else pool2
        hidden = nnx.relu(self.hidden1(pool2.reshape(pool2.shape[0], -1)))
        features = nnx.relu(self.hidden2(hidden))
        logits = self.head(self.dropout(features, rngs=rngs))
        return {"pool1": pool1, "pool2": pool2, "hidden": hidden, "features": features, "logits": logits}
