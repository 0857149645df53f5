"""Pictures of many requests, scored together.

While the device works on a batch, the next one gathers: nothing waits for company unless `delay_s` says so. A picture
is decoded by the model that scores it, so that replacing the model between two batches loses and confuses nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from adjax.data.io import upload
from adjax.data.split import DataError
from adjax.serve.model import Model, Said


class QueueFull(Exception):
    """More pictures wait than are let in."""


class Scored(NamedTuple):
    """A picture, or image, that was scored.

    Attributes:
      header: of its file; None: it came as an array.
      said: as of `Model.score`.
    """

    header: upload.Header | None
    said: Said


class _Item(NamedTuple):
    model: Model
    header: upload.Header | None
    image: np.ndarray
    future: asyncio.Future[Scored]


class Batcher:
    """Scores what is submitted, in batches, in a thread of its own. Used from one event loop.

    Attributes:
      pending: pictures that are submitted and not yet answered.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        max_queue: int,
        threads: int,
        delay_s: float = 0.0,
        scored: Callable[[Model, Sequence[Said]], None] = lambda model, said: None,
    ):
        """Starts the threads.

        Args:
          max_batch: images the device sees at once.
          max_queue: pictures that may be pending.
          threads: that decode.
          delay_s: a batch that is not full waits so long for more, from its first picture on.
          scored: told of each batch, in the thread that scores.
        """
        self.pending = 0
        self._max_batch, self._max_queue, self._delay_s, self._scored = max_batch, max_queue, delay_s, scored
        self._loop = asyncio.get_running_loop()
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._ready, self._changed, self._closed = deque[_Item](), threading.Condition(), False
        self._worker = threading.Thread(target=self._work, name="score", daemon=True)
        self._worker.start()

    def submit(self, model: Model, contents: Sequence[bytes | np.ndarray]) -> list[asyncio.Future[Scored]]:
        """Takes the pictures of a request, all or none.

        Args:
          model: that scores them.
          contents: picture files; or images uint8[H, W, C] as the model takes them.

        Returns:
          A future for each; that of a file that can't be read raises DataError.

        Raises:
          QueueFull: too many are pending. A request of any size is taken while none is.
        """
        if self._closed or (self.pending and self.pending + len(contents) > self._max_queue):
            raise QueueFull
        futures: list[asyncio.Future[Scored]] = [self._loop.create_future() for _ in contents]
        self.pending += len(contents)
        for content, future in zip(contents, futures, strict=True):
            if isinstance(content, np.ndarray):
                self._put(_Item(model, None, content, future))
            else:
                self._decoders.submit(self._decode, model, content, future)
        return futures

    def close(self) -> None:
        """Answers what is pending, takes nothing more, and ends the threads."""
        self._decoders.shutdown()
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _decode(self, model: Model, content: bytes, future: asyncio.Future[Scored]) -> None:
        try:
            picture = model.decode(content)
        except Exception as error:  # also what no reader should raise: it is this picture's alone
            why = error if isinstance(error, DataError) else DataError(f"damaged: {upload.reason(error)}")
            self._loop.call_soon_threadsafe(self._deliver, [future], [why])
        else:
            self._put(_Item(model, picture.header, picture.pixels, future))

    def _put(self, item: _Item) -> None:
        with self._changed:
            self._ready.append(item)
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._take():
            model = batch[0].model
            answers: list[Scored | Exception]
            try:
                said = model.score([item.image for item in batch])
                self._scored(model, said)
                answers = [Scored(item.header, one) for item, one in zip(batch, said, strict=True)]
            except Exception as error:  # the device's; the next batch may go well
                answers = [error] * len(batch)
            self._loop.call_soon_threadsafe(self._deliver, [item.future for item in batch], answers)

    def _take(self) -> list[_Item]:
        """The next batch, of one model; none when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._closed)
            if self._delay_s and self._ready:
                until = time.monotonic() + self._delay_s
                while len(self._ready) < self._max_batch and not self._closed:
                    if not self._changed.wait(max(until - time.monotonic(), 0)):
                        break
            batch: list[_Item] = []
            while self._ready and len(batch) < self._max_batch:
                if batch and self._ready[0].model is not batch[0].model:
                    break
                batch.append(self._ready.popleft())
            return batch

    def _deliver(self, futures: Sequence[asyncio.Future[Scored]], answers: Sequence[Scored | Exception]) -> None:
        self.pending -= len(futures)
        for future, answer in zip(futures, answers, strict=True):
            if future.cancelled():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
