"""DINOv2's vision transformers, ViT-S/14 and ViT-B/14, with or without registers.

Oquab et al., "DINOv2: learning robust visual features without supervision" (TMLR 2024); Dosovitskiy et al., "An image
is worth 16×16 words" (ICLR 2021). A picture is cut into patches of 14×14 px, each a token by a linear map and a
positional embedding; a class token goes before them, and 4 *registers*, which keep what the network would else write
over patches without content (Darcet et al., "Vision transformers need registers", ICLR 2024). Each of twelve blocks is

    x = x + γ₁ attention(norm(x))        x = x + γ₂ mlp(norm(x))        γ: a factor for each channel (LayerScale)

The embeddings, learnt on 37×37 patches, are interpolated to the picture's own grid, of any aspect ratio. How, differs
between libraries and shows in the fourth digit of the features: `antialias` and `offset` come with the weights.
22,055,808 and 86,578,944 weights without head and registers, the class token's position being part of that token.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from adjax import nn
from adjax._numerics import EXACT
from adjax.models import _backbone

PATCH_PX = 14
GRID = 37  # patches each way that positions are learnt for: 518 px
DEPTH = 12
_EPSILON = 1e-6
_draw = nnx.initializers.truncated_normal(0.02)
_linear = partial(nnx.Linear, kernel_init=_draw)
_norm = partial(nnx.LayerNorm, epsilon=_EPSILON, use_fast_variance=False)


class Embedding(nnx.Module):
    """Images [N, 14·h, 14·w, 3] -> tokens [N, 1 + registers + h·w, dim]: the class, the registers, the patches."""

    def __init__(self, dim: int, registers: int, antialias: bool, offset: float, *, rngs: nnx.Rngs):
        self.antialias, self.offset = antialias, offset
        self.patches = nnx.Conv(
            _backbone.CHANNELS,
            dim,
            (PATCH_PX, PATCH_PX),
            strides=PATCH_PX,
            padding="VALID",
            kernel_init=_draw,
            conv_general_dilated=nn.conv_general_dilated,
            rngs=rngs,
        )
        self.positions = nnx.Param(_draw(rngs.params(), (GRID, GRID, dim)))
        self.class_token = nnx.Param(_draw(rngs.params(), (dim,)))
        self.registers = nnx.Param(_draw(rngs.params(), (registers, dim))) if registers else None

    def __call__(self, images: jax.Array) -> jax.Array:
        patches = self.patches(images)
        n, height, width, dim = patches.shape
        patches = (patches + self._positions(height, width)).reshape(n, height * width, dim)
        first = self.class_token[...][None]
        if self.registers is not None:
            first = jnp.concatenate([first, self.registers[...]])
        return jnp.concatenate([jnp.broadcast_to(first, (n, *first.shape)), patches], 1)

    def _positions(self, height: int, width: int) -> jax.Array:
        """float32[height, width, dim]."""
        positions = self.positions[...]
        if (height, width) == (GRID, GRID):
            return positions
        down, across = (cubic_weights(GRID, side, self.antialias, self.offset) for side in (height, width))
        return jnp.einsum("hi,wj,ijd->hwd", down, across, positions, precision=EXACT)


def cubic_weights(old: int, new: int, antialias: bool, offset: float = 0.0) -> np.ndarray:
    """Builds the matrix of PyTorch's cubic interpolation from `old` equidistant values to `new`.

    Keys, "Cubic convolution interpolation for digital image processing" (1981), a cubic kernel with parameter a.

    Args:
      old, new: numbers of values, at least 1.
      antialias: the kernel (a = −½) grows by the factor of reduction, and ends at the border. Otherwise it always sees
        4 values (a = −¾), and values at the border are repeated beyond it.
      offset: the scale is that of `new + offset` values.

    Returns:
      float32[new, old], whose rows have a sum of 1.
    """
    step = old / (new + offset)
    centre = (np.arange(new)[:, None] + 0.5) * step - 0.5
    if antialias:
        weights = _cubic((np.arange(old) - centre) / max(step, 1.0), -0.5)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    places = np.floor(centre).astype(int) + np.arange(-1, 3)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new)[:, None], places.clip(0, old - 1)), _cubic(places - centre, -0.75))
    return weights.astype(np.float32)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


class Block(nnx.Module):
    """Attention, then two dense layers, token by token: [N, T, dim] -> [N, T, dim]."""

    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.norm1 = _norm(dim, rngs=rngs)
        self.qkv = _linear(dim, 3 * dim, rngs=rngs)  # of all heads: queries, keys, values
        self.project = _linear(dim, dim, rngs=rngs)
        self.scale1 = nnx.Param(jnp.full(dim, 1e-5))
        self.norm2 = _norm(dim, rngs=rngs)
        self.widen = _linear(dim, 4 * dim, rngs=rngs)
        self.narrow = _linear(4 * dim, dim, rngs=rngs)
        self.scale2 = nnx.Param(jnp.full(dim, 1e-5))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.scale1[...] * self.project(self._attention(self.norm1(x)))
        y = nnx.gelu(self.widen(self.norm2(x)), approximate=False)
        return x + self.scale2[...] * self.narrow(y)

    def _attention(self, x: jax.Array) -> jax.Array:
        n, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, dim // self.heads)
        q, k, v = (qkv[:, :, i] for i in range(3))
        return jax.nn.dot_product_attention(q, k, v).reshape(n, tokens, dim)


class DINOv2(nnx.Module):
    """Images float32[N, H, W, 1 or 3] -> named intermediates, see `__call__`.

    Args:
      image_shape: (height px, width px, channels), 1 or 3 channels. Sides that are no multiples of 14 px are resized
        (bilinear) to the nearest, within the network.
      classes: width of `logits`, at least 1.
      dim: of a token, 64 for each attention head: 384 (S) or 768 (B).
      side_px: images are resized to about side_px × side_px, or (height, width), multiples of 14 px, instead; None
        keeps their sides.
      registers: how many: 0, or 4 for weights that were trained with them.
      antialias, offset: how positions are interpolated, see `cubic_weights`. facebookresearch's code has False, 0.1
        without registers, and True, 0.0 with them; Hugging Face has no offset; timm has True, 0.0.

    Raises:
      ValueError: images of other channels, no classes, a dim, a side or a number of registers out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        dim: int = 384,
        side_px: _backbone.Sides = None,
        registers: int = 0,
        antialias: bool = True,
        offset: float = 0.0,
    ):
        _backbone.check("DINOv2", image_shape, classes, side_px)
        if registers < 0:
            raise ValueError(f"registers {registers}: must be at least 0; published weights have 0 or 4")
        if dim < 64 or dim % 64:
            raise ValueError(f"dim {dim}: must be a multiple of 64, the width of an attention head, such as 384 or 768")
        self.side_px, self.skipped = side_px, 1 + registers
        self.embed = Embedding(dim, registers, antialias, offset, rngs=rngs)
        for number in range(DEPTH):
            setattr(self, f"block{number}", Block(dim, dim // 64, rngs=rngs))
        self.norm = _norm(dim, rngs=rngs)
        self.head = nnx.Linear(dim, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`layer1` … `layer4`, patches [N, h, w, dim] after blocks 3, 6, 9 and 12, all at stride 14 and as they are;
        `patches`, the last of them normed; `features` [N, dim], the class token, normed; `logits` [N, K]."""
        images = _backbone.prepare(images, self.side_px, PATCH_PX)
        n, height, width = images.shape[0], images.shape[1] // PATCH_PX, images.shape[2] // PATCH_PX
        x = self.embed(images)

        def patches(tokens):
            return tokens[:, self.skipped :].reshape(n, height, width, -1)

        maps = {}
        for number in range(DEPTH):
            x = getattr(self, f"block{number}")(x)
            quarter, rest = divmod(4 * (number + 1), DEPTH)
            if rest == 0:
                maps[f"layer{quarter}"] = patches(x)
        x = self.norm(x)
        return {**maps, "patches": patches(x), "features": x[:, 0], "logits": self.head(x[:, 0])}
