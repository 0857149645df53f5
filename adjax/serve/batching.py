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

SMALL_BYTES = 8192
"""A file of no more takes 0.2 ms at most to decode: the thread that scores does it. With pictures of 2 KB
that answered a tenth to a sixth more requests than handing each to a thread that decodes."""


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
    content: bytes | np.ndarray | upload.Picture
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
            item = _Item(model, content, future)
            if isinstance(content, np.ndarray) or len(content) <= SMALL_BYTES:
                self._put(item)
            else:
                self._decoders.submit(self._decode, item)
        return futures

    def close(self) -> None:
        """Answers what is pending, takes nothing more, and ends the threads."""
        self._decoders.shutdown()
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _decode(self, item: _Item) -> None:
        found = _decoded(item)
        if isinstance(found, Exception):
            self._loop.call_soon_threadsafe(self._deliver, [item.future], [found])
        else:
            self._put(item._replace(content=found))

    def _put(self, item: _Item) -> None:
        with self._changed:
            self._ready.append(item)
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._take():
            pictures = [_decoded(item) for item in batch]
            answers: list[Scored | Exception] = [x for x in pictures if isinstance(x, Exception)]
            futures = [item.future for item, x in zip(batch, pictures, strict=True) if isinstance(x, Exception)]
            whole = [(item, x) for item, x in zip(batch, pictures, strict=True) if not isinstance(x, Exception)]
            if whole:
                futures += [item.future for item, _ in whole]
                answers += self._answers(batch[0].model, [x for _, x in whole])
            self._loop.call_soon_threadsafe(self._deliver, futures, answers)

    def _answers(self, model: Model, pictures: Sequence[upload.Picture | np.ndarray]) -> list[Scored | Exception]:
        try:
            said = model.score([x.pixels if isinstance(x, upload.Picture) else x for x in pictures])
            self._scored(model, said)
        except Exception as error:  # the device's; the next batch may go well
            return [error] * len(pictures)
        headers = [x.header if isinstance(x, upload.Picture) else None for x in pictures]
        return [Scored(header, one) for header, one in zip(headers, said, strict=True)]

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


def _decoded(item: _Item) -> upload.Picture | np.ndarray | Exception:
    if not isinstance(item.content, bytes):
        return item.content
    try:
        return item.model.decode(item.content)
    except Exception as error:  # also what no reader should raise: it is this picture's alone
        return error if isinstance(error, DataError) else DataError(f"damaged: {upload.reason(error)}")
