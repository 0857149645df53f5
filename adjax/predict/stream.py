"""Files to rows: decoded by threads ahead of the device, a window of them in memory, one batch shape."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from adjax import localise, thresholds
from adjax.data.io import reading, upload
from adjax.data.io.depth import Depths
from adjax.data.io.pixels import unseen
from adjax.data.io.sources.remote import Unreachable
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.predict import THREADS, regions
from adjax.predict.batch import NONE, predict_batch, predict_tiled
from adjax.spec import FunctionSpec, Spec

WINDOW = 3
"""Batches in memory: one that is scored, one that fills, one ahead."""


class Prediction(NamedTuple):
    """The row of one file; None: unknown.

    Attributes:
      path: relative to the folder, as `adjax.data.io.walk` has it; of another source the name of the picture.
      status: "ok" or "error".
      error: why it could not be scored.
      width, height: of the file as a viewer shows it, px; `mode`: Pillow's name of it.
      score, p_value: as `Detector` has them; None where they are not finite, and then the decision is "anomalous".
      decision: "normal" or "anomalous".
      nearest_class: a name.
      probability: of being anomalous, by the network's own account; None where it gives none. `evidence` is for what
        must have a number.
      unseen: share of the picture's area that the detector does not look at, since it takes the middle.
      boxes: of what is above the threshold, "left,top,width,height,score; …" in px; of a picture that is odd as a
        whole, without such a place, the whole; of a reconstruction what is highest, with its error for the score. None
        for a picture that is normal, and where the detector has no maps.
      uncertain: whether other held-out images might have decided otherwise, see `adjax.thresholds.threshold_interval`;
        None where it isn't known which rate the threshold was set for.
    """

    path: str
    status: str
    error: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    score: float | None = None
    p_value: float | None = None
    decision: str | None = None
    nearest_class: str | None = None
    probability: float | None = None
    uncertain: bool | None = None
    unseen: float | None = None
    boxes: str | None = None

    @property
    def evidence(self) -> float:
        """0 … 1, how much says that it is anomalous: the network's own probability, or 1 − p, which is none (half of
        all normal images have 0.5 or more); 1 for what could not be scored, since nothing shows it to be normal."""
        if self.probability is not None:
            return self.probability
        return 1.0 if self.p_value is None else 1 - self.p_value


def rows(
    detector: Detector,
    source: Source,
    names: Iterable[str],
    *,
    batch_size: int,
    threads: int = THREADS,
    interval: thresholds.ThresholdInterval | None = None,
    depths: Depths | None = None,
    maps: Path | None = None,
    unmade: list[str] | None = None,
) -> Generator[list[Prediction]]:
    """Scores files, a batch at a time, in order.

    Args:
      detector: of uint8 images [H, W, C].
      source: of the files.
      names: of the files; drawn from as batches fill.
      batch_size: images the device sees at once; the last batch is padded to it, so one program does them all. Pictures
        that are cut into tiles come one at a time.
      threads: that decode.
      interval: scores that are uncertain.
      depths: told of each picture.
      maps: folder for the maps of pictures that are flagged, see `adjax.predict.regions`; of a detector with maps.
      unmade: told of each map that can't be made; None: its error is raised.

    Yields:
      Rows, `batch_size` of them but for the last time.

    Raises:
      OSError: no file can be had at present, see `adjax.data.io.sources.types`.
    """
    state, shape, tiled = jax.device_put(detector), detector.spec.image_shape, detector.spec.frame == "tiles"
    batch_size = 1 if tiled else batch_size  # of tiles, those of one picture
    level = float(detector.threshold) if localise.kind(detector) == "score" else None
    pending: tuple[list[str], list[upload.Header | str], Any] | None = None
    for batch, decoded in _decoded(source, iter(names), detector.spec, batch_size, threads):
        pictures = {slot: p for slot, p in enumerate(decoded) if isinstance(p, upload.Picture)}
        if depths is not None:
            for picture in pictures.values():
                depths.add(picture.peak, picture.header.mode, picture.coloured)
        headers = [p.header if isinstance(p, upload.Picture) else p for p in decoded]
        if tiled:
            started = batch, headers, predict_tiled(state, pictures[0].pixels, interval) if pictures else {}
        else:
            images = np.zeros((batch_size, *shape), np.uint8)
            for slot, picture in pictures.items():
                images[slot] = picture.pixels
            started = batch, headers, predict_batch(state, images, interval)
        if pending is not None:  # fetched one batch late, so that the device works while threads decode
            yield _rows(detector.spec, level, source, maps, *pending, unmade)
        pending = started
    if pending is not None:
        yield _rows(detector.spec, level, source, maps, *pending, unmade)


def _decoded(
    source: Source, names: Iterator[str], spec: Spec | FunctionSpec, batch_size: int, threads: int
) -> Iterator[tuple[list[str], list[upload.Picture | str]]]:
    """(names, pictures or reasons), a batch at a time; no more than WINDOW batches are decoded and not yet taken."""

    def one(name: str) -> upload.Picture | str:
        try:
            return upload.read(source.open(name), spec.image_shape, spec.frame, **reading.of(spec))
        except DataError as error:
            return upload.reason(error)

    pool, window = ThreadPoolExecutor(threads), deque[tuple[str, Future]]()
    try:
        while True:
            wanted = WINDOW * batch_size - len(window)
            window.extend((name, pool.submit(one, name)) for name in islice(names, wanted))
            if not window:
                return
            taken = [window.popleft() for _ in range(min(batch_size, len(window)))]
            yield [name for name, _ in taken], [future.result() for _, future in taken]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _rows(
    spec: Spec | FunctionSpec,
    level: float | None,
    source: Source,
    maps: Path | None,
    names: list[str],
    headers: list[upload.Header | str],
    judged: Any,
    unmade: list[str] | None = None,
) -> list[Prediction]:
    """The rows of a batch; waits for the device."""
    said = jax.device_get(judged)
    found = []
    for slot, (name, header) in enumerate(zip(names, headers, strict=True)):
        if isinstance(header, str):
            found.append(Prediction(name, "error", header))
            continue
        row = row_of(spec, level, name, header, {key: value[slot] for key, value in said.items()})
        if maps is not None and row.decision == "anomalous":
            size = header.height, header.width
            try:
                regions.write(source.open(name), maps / name, said["places"][slot], level, size, spec)
            except Unreachable:
                raise
            except (DataError, OSError) as error:  # it has gone since it was scored, or no file can be named like it
                if unmade is None:
                    raise
                unmade.append(not_made(name, error))
        found.append(row)
    return found


def not_made(name: str, error: Exception) -> str:
    """Tells in one line of a file that can't be made of a picture, and why.

    Args:
      name: of the picture.
      error: what was raised.

    Returns:
      The line.
    """
    return f"{upload.line(name)} ({getattr(error, 'strerror', None) or upload.reason(error)})"


def row_of(
    spec: Spec | FunctionSpec, level: float | None, name: str, header: upload.Header, said: Mapping[str, Any]
) -> Prediction:
    """Makes the row of a picture.

    Args:
      spec: of the detector.
      level: its threshold, if its places have the unit of the score; else None.
      name: of the picture.
      header: of its file.
      said: of `predict_batch`, on the host, this picture's alone.

    Returns:
      The `Prediction`.
    """
    nearest, flagged, size = int(said["nearest"]), bool(said["anomalous"]), (header.height, header.width)
    boxes = None
    if flagged and "places" in said:
        boxes = regions.told(regions.boxes(said["places"], level, size, spec, float(said["score"])))
    return Prediction(
        name,
        "ok",
        None,
        header.width,
        header.height,
        header.mode,
        _number(said["score"]),
        _number(said["p_value"]),
        "anomalous" if flagged else "normal",
        None if nearest == NONE else spec.classes[nearest],
        _number(said["probability"]),
        bool(said["uncertain"]) if "uncertain" in said else None,
        round(unseen(*size, spec.image_shape, spec.frame), 4),
        boxes,
    )


def _number(value: np.floating) -> float | None:
    """The shortest decimal that is this float32 again; None if it is not finite."""
    return float(str(value)) if np.isfinite(value) else None
