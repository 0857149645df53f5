"""Which pixels a convolution's windows see, and what their patches add up to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Geometry(NamedTuple):
    """Which pixels a convolution's windows see: patches of an image, and what they add up to when put back.

    Pixels are taken in blocks of one stride, where a kernel is a whole number of them: then patches are that number
    of shifted slices in each direction, of contiguous pixels, and not kernel strided ones.
    """

    image: tuple[int, ...]  # N, H, W, C
    kernel: tuple[int, ...]  # kh, kw, C, O
    strides: tuple[int, int]
    pads: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))

    @property
    def out_shape(self) -> tuple[int, ...]:
        n, (kh, kw, _, features) = self.image[0], self.kernel
        _, height, width, _ = self._padded
        return n, (height - kh) // self.strides[0] + 1, (width - kw) // self.strides[1] + 1, features

    @property
    def _padded(self) -> tuple[int, ...]:
        n, height, width, channels = self.image
        return n, height + sum(self.pads[0]), width + sum(self.pads[1]), channels

    def _block(self) -> tuple[int, int]:
        sh, sw = (s if k % s == 0 else 1 for k, s in zip(self.kernel[:2], self.strides, strict=True))
        return sh, sw

    def _pad(self, x: jax.Array) -> jax.Array:
        border = ((0, 0, 0), *((low, high, 0) for low, high in self.pads), (0, 0, 0))
        return lax.pad(x, jnp.zeros((), x.dtype), border)

    def _windows(self):
        """For each block of the kernel, its row among them and the blocks of the image that it meets in all windows."""
        (bh, bw), (kh, kw), (sh, sw), (_, h, w, _) = self._block(), self.kernel[:2], self.strides, self.out_shape
        for i in range(kh // bh):
            for j in range(kw // bw):
                rows, columns = (
                    slice(first, first + (out - 1) * step + 1, step)
                    for first, out, step in ((i, h, sh // bh), (j, w, sw // bw))
                )
                yield i, rows, columns

    def gather(self, x: jax.Array) -> jax.Array:
        """[N, H, W, C] -> [N·h·w, kh·kw·C], the patch of each window."""
        (bh, bw), (n, height, width, channels) = self._block(), self._padded
        x = self._pad(x)[:, : height // bh * bh, : width // bw * bw]
        x = x.reshape(n, height // bh, bh, width // bw, bw * channels).swapaxes(2, 3)
        rows: dict[int, list[jax.Array]] = {}
        for i, down, across in self._windows():
            rows.setdefault(i, []).append(x[:, down, across])
        columns = jnp.stack([jnp.stack(row, 4) for row in rows.values()], 3)
        return columns.reshape(n * columns.shape[1] * columns.shape[2], -1)

    def scatter(self, columns: jax.Array) -> jax.Array:
        """[N·h·w, kh·kw·C] -> [N, H, W, C], the sum of all patches at each pixel: the transposed of `gather`."""
        image = jax.ShapeDtypeStruct(self.image, columns.dtype)
        return jax.linear_transpose(self.gather, image)(columns)[0]
