"""Training on pictures that are cut into tiles (`adjax.tiles`): a scorer of patches is fitted to a sample of tiles.

Whole pictures calibrate it, each by the highest place of its map.

Memory is that of the sample and of a picture a thread, whatever their number and size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from adjax import tiles
from adjax.auto import fit, select
from adjax.auto.plan import TrainingPlan
from adjax.data.io import gather, reading, upload
from adjax.data.io.depth import Depths
from adjax.data.io.scratch import Images, Scratch, write
from adjax.data.io.thumbnails import thumbnails
from adjax.data.split import DataError
from adjax.data.splitting import folds
from adjax.detector import Detector
from adjax.pipeline import train_one

MOST_TILES = 1024
"""Tiles that a scorer is fitted to, drawn evenly from all pictures."""
THUMBNAIL_PX = 64
"""Side of what pictures are compared by, to find copies; tiles are no smaller."""
FOLDS = 5
"""Of cross-fitting: each takes the network through all tiles again."""
ONE_CLASS = ("normal",)


class Sample(NamedTuple):
    """What is kept of pictures.

    Attributes:
      thumbnails: uint8[n, 64, 64, C], one a picture, of those that can be read; in a file, if there are many.
      rows: int[n], which of the files they are.
      tiles: uint8[m, h, w, C], about `MOST_TILES`.
      owners: int[m], the picture that each is of, 0 … n−1.
      errors: file → reason.
    """

    thumbnails: Images
    rows: np.ndarray
    tiles: np.ndarray
    owners: np.ndarray
    errors: dict[Path, str]


def sample(
    files: Sequence[Path],
    shape: tuple[int, int, int],
    seed: int,
    depths: Depths | None = None,
    page: int | None = None,
    limits: tuple[float, float] | None = None,
    scratch: Scratch | None = None,
) -> Sample:
    """Reads pictures at full size, one a thread, and keeps a thumbnail of each and tiles of some.

    Args:
      files: the pictures.
      shape: (h px, w px, C) of a tile.
      seed: of the draw of tiles.
      depths: told of each picture.
      page, limits: as of `upload.read`.
      scratch: where thumbnails lie that memory has no room for; None: they are held in memory.

    Returns:
      A `Sample`.

    Raises:
      DataError: none can be read.
    """
    rng = np.random.default_rng(seed)
    wanted = np.full(len(files), MOST_TILES // len(files))
    wanted[rng.permutation(len(files))[: MOST_TILES % len(files)]] += 1

    small_shape = (len(files), THUMBNAIL_PX, THUMBNAIL_PX, shape[2])
    small = np.empty(small_shape, np.uint8) if scratch is None else scratch.room(small_shape)

    def one(row: int) -> np.ndarray | str:
        try:
            picture = upload.read(files[row], shape, "tiles", page=page, limits=limits)
        except DataError as error:
            return upload.reason(error)
        if depths is not None:
            depths.add(picture.peak, picture.header.mode, picture.coloured)
        all_tiles = list(tiles.cut(picture.pixels, shape))
        chosen = np.random.default_rng((seed, row)).permutation(len(all_tiles))[: wanted[row]]
        own = np.empty((len(chosen), *shape), np.uint8)
        for slot, at in enumerate(chosen):
            own[slot] = all_tiles[at]
        write(small, row, np.rint(thumbnails(picture.pixels[None], THUMBNAIL_PX)[0]).astype(np.uint8))
        return own

    found = gather.each(one, range(len(files)))
    errors = {file: why for file, why in zip(files, found, strict=True) if isinstance(why, str)}
    kept = [(row, own) for row, own in enumerate(found) if not isinstance(own, str)]
    if not kept:
        raise DataError(f"none of {len(files)} pictures can be cut into tiles; {files[0]}: {found[0]}")
    return Sample(
        small[np.array([row for row, _ in kept])] if errors else small,
        np.array([row for row, _ in kept]),
        np.concatenate([own for _, own in kept if len(own)]),
        np.repeat(np.arange(len(kept)), [len(own) for _, own in kept]),
        errors,
    )


def refined(plan: TrainingPlan, known: Sample, train: np.ndarray, seed: int) -> TrainingPlan:
    """Chooses the scorer that finds most synthetic defects in tiles, as `select.refined` does in pictures.

    Args:
      plan: for tiles, with `selects`.
      known: the tiles.
      train: rows of the pictures to learn from.
      seed: of the choice.

    Returns:
      The `TrainingPlan` with that scorer.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(np.isin(known.owners, train)))
    chosen = order[: select.FITTED + select.JUDGED]
    if len(chosen) < select.FEWEST:
        return dataclasses.replace(plan, selects=False)
    return select.refined(plan, known.tiles[chosen], np.zeros(len(chosen), np.int32), ONE_CLASS, seed).plan


def train(
    plan: TrainingPlan,
    files: Sequence[Path],
    known: Sample,
    parts: fit.Parts,
    *,
    alpha: float,
    seed: int = 0,
    advance: Callable[[int], None] = lambda pictures: None,
) -> fit.Fitted:
    """Fits a detector to tiles, and sets its threshold by the scores of whole pictures.

    Args:
      plan: for tiles.
      files: of the pictures in `known`, in the order of `known.rows`.
      known: their tiles.
      parts: rows of the pictures trained on and held out; none held out: they are cross-fitted in `FOLDS` folds.
      alpha: the false-positive rate that the threshold promises.
      seed: of the folds.
      advance: called with 1 for each picture that is scored.

    Returns:
      A `fit.Fitted`.
    """
    detector = _fitted(plan, known, parts.train)
    if parts.crossed:
        dealt = folds(np.zeros(len(parts.train), np.int32), min(FOLDS, len(parts.train)), seed)
        found = [0.0] * len(parts.train)
        for fold in range(dealt.max() + 1):
            without = _fitted(plan, known, parts.train[dealt != fold])
            for at in np.flatnonzero(dealt == fold):
                (found[at],) = scores(without, [files[parts.train[at]]], advance)
    else:
        found = scores(detector, [files[row] for row in parts.held_out], advance)
    levels = jnp.sort(jnp.asarray(found, jnp.float32))
    detector = dataclasses.replace(detector, calibration_scores=levels)
    return fit.Fitted(detector.with_false_positive_rate(alpha), 0)


def scores(
    detector: Detector, files: Sequence[Path], advance: Callable[[int], None] = lambda pictures: None
) -> list[float]:
    """Scores pictures, one after another.

    Args:
      detector: of tiles.
      files: the pictures.
      advance: called with 1 for each.

    Returns:
      The score of each.

    Raises:
      DataError: a file that can't be read.
    """
    found = []
    for file in files:
        picture = upload.read(file, detector.spec.image_shape, "tiles", **reading.of(detector.spec))
        found.append(tiles.score(detector, picture.pixels).score)
        advance(1)
    return found


def _fitted(plan: TrainingPlan, known: Sample, pictures: np.ndarray) -> Detector:
    own = known.tiles[np.isin(known.owners, pictures)]
    nothing = np.zeros(0, int)
    labels = np.zeros(len(own), np.int32)
    return train_one(
        plan.recipe, own, labels, ONE_CLASS, np.arange(len(own)), nothing, steps=0, batch_size=plan.batch_size
    ).detector
