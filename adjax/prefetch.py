"""Images of a set that the device doesn't hold: the next steps' batches are gathered while it works on these."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Sharding


class HostPrefetcher:
    """Blocks of batches, one a dispatch; each is gathered and sent by a thread while the block before it is in use.

    At most three blocks are in memory at a time, whatever the size of the set.
    """

    def __init__(self, images: np.ndarray, steps: int, sharding: Sharding):
        """`images`: uint8 [N, H, W, C] on the host, mapped into memory or not; `steps` and `sharding`: of a block."""
        self._images, self._steps, self._sharding = images, steps, sharding
        self._rows = np.zeros((0, 0, 0), np.int32)
        self._ahead: dict[int, Future[jax.Array]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed")

    def begin(self, rows: np.ndarray) -> None:
        """A new epoch: `rows` int32 [M, steps, B], the images of each member's batches."""
        self._rows, self._ahead = rows, {}

    def block(self, first: int) -> jax.Array:
        """uint8 [M, `steps`, B, H, W, C], the batches from step `first` of the epoch; zeros behind its end."""
        ready = self._ahead.pop(first, None) or self._pool.submit(self._gather, self._rows, first)
        after = first + self._steps
        self._ahead = {}
        if after < self._rows.shape[1]:
            self._ahead[after] = self._pool.submit(self._gather, self._rows, after)
        return ready.result()

    def _gather(self, rows: np.ndarray, first: int) -> jax.Array:
        wanted = rows[:, first : first + self._steps]
        block = np.zeros((len(rows), self._steps, rows.shape[2], *self._images.shape[1:]), np.uint8)
        block[:, : wanted.shape[1]] = self._images[wanted]
        return jax.device_put(block, self._sharding)
