"""Modified LeNet-5: ReLU instead of tanh, max- instead of average-pooling.

LeCun et al., "Gradient-based learning applied to document recognition" (1998), as modified in "Anomaly
Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis Distance", section II. 61,706 parameters
for 28×28×1 and ten classes; the last hidden layer, 84 wide, is the feature space of the Mahalanobis detector.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype

from adjax import nn

MIN_SIDE_PX = 8  # smaller images leave nothing after two poolings


class LeNet5(nnx.Module):
    """Images float32[N, H, W, C] with H, W ≥ 8 -> named intermediates, see `__call__`.

    `gain` sets the variance of the first weights, gain / fan-in: 2 is He's rule for ReLU, ⅓ that of PyTorch's layers.
    Center loss pulls features to centers that begin at zero, so it first has to undo what larger weights make.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, gain: float = 1 / 3, rngs: nnx.Rngs):
        height, width, channels = image_shape
        if min(height, width) < MIN_SIDE_PX:
            raise ValueError(
                f"LeNet-5 takes images of at least {MIN_SIDE_PX}×{MIN_SIDE_PX} px, not {height}×{width}: enlarge them"
            )
        if classes < 1 or channels < 1:
            raise ValueError(f"{classes} classes, {channels} channels: LeNet-5 needs at least 1 of each")
        if not 0 < gain < float("inf"):
            raise ValueError(f"gain {gain}: must be finite and above 0; 2 is He's rule, 1/3 PyTorch's")
        kernel_init = nnx.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        conv = partial(nnx.Conv, kernel_size=(5, 5), conv_general_dilated=nn.conv_general_dilated, rngs=rngs)
        linear = partial(nnx.Linear, kernel_init=kernel_init, rngs=rngs)
        # LeNet's second convolution is unpadded; 28 px leave 5×5 of it. Images too small keep their border.
        padding = "VALID" if min(height, width) >= 20 else "SAME"
        self.conv1 = conv(channels, 6, padding="SAME", kernel_init=kernel_init)
        self.conv2 = conv(6, 16, padding=padding, kernel_init=kernel_init)
        trim = 4 if padding == "VALID" else 0
        flat = ((height // 2 - trim) // 2) * ((width // 2 - trim) // 2) * 16
        self.hidden1 = linear(flat, 120)
        self.hidden2 = linear(120, 84)
        self.head = linear(84, classes)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`pool1`, `pool2` [N, h, w, c], `hidden` [N, 120], `features` [N, 84] (≥ 0), `logits` [N, K]."""
        pool1 = _pooled(self.conv1, images)
        pool2 = _pooled(self.conv2, pool1)
        hidden = nnx.relu(self.hidden1(pool2.reshape(pool2.shape[0], -1)))
        features = nnx.relu(self.hidden2(hidden))
        return {
            "pool1": pool1,
            "pool2": pool2,
            "hidden": hidden,
            "features": features,
            "logits": self.head(features),
        }


def _pooled(conv: nnx.Conv, x: jax.Array) -> jax.Array:
    """relu(max-pool(conv(x))): ReLU after pooling, where a quarter is left, with the same values."""
    assert isinstance(conv.padding, str)
    assert conv.bias is not None
    x, kernel, bias = promote_dtype((x, conv.kernel[...], conv.bias[...]))
    y = nn.conv_general_dilated(x, kernel, (1, 1), conv.padding, dimension_numbers=nn.NHWC)
    return nnx.relu(nn.max_pool_2x2(y, bias))
