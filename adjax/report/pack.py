"""Data for the page's JavaScript: scores in base64, or a stated sample of very many."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjax.report.contents import Pictures, Report, View
from adjax.report.pictures import SIDES, extent, heat, uris

MAX_SCORES = 120_000
"""Over all views; more are thinned."""
MAX_HELD_OUT, MAX_POINTS = 60_000, 24_000
"""Scores of held-out images and points of planes of features, over all views; of points at most 3,000 a view."""
LARGE = 40
"""Sides of images that are worth more room, pixels."""
MAX_PICTURE_BYTES = 2_200_000
"""All thumbnails together, as data URIs."""


def pack(report: Report) -> dict[str, Any]:
    """The report's views and sweep as JSON values; see `assets/js/data.js` for their reader."""
    pictures = _pictures([v.pictures for v in report.views])
    sweep = report.sweep
    return {
        "views": [_view(v, len(report.views), p) for v, p in zip(report.views, pictures, strict=True)],
        "sweep": sweep
        and {
            "name": sweep.name,
            "values": list(map(float, sweep.values)),
            "metrics": [[title, [list(map(_number, p)) for p in points]] for title, points in sweep.metrics.items()],
        },
    }


def thin(scores: np.ndarray, truth: np.ndarray | None, most: int) -> np.ndarray:
    """Thins scores to rows that stand for all.

    Rows of each kind are taken evenly by rank, the lowest and the highest among them. So any share of a kind is off by
    less than 1 / (images kept of it).

    Args:
      scores: float[n].
      truth: int[n], the kind of each; None: all are of one.
      most: rows to keep, about.

    Returns:
      int[k], ascending.
    """
    if len(scores) <= most:
        return np.arange(len(scores))
    kinds = np.zeros(len(scores), int) if truth is None else np.asarray(truth)
    kept = []
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        rows = rows[np.argsort(scores[rows], kind="stable")]
        few = min(len(rows), max(2, most * len(rows) // len(scores)))
        kept.append(rows[np.linspace(0, len(rows) - 1, few).round().astype(int)])
    return np.sort(np.concatenate(kept))


def _view(view: View, views: int, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    scores = np.asarray(view.scores, np.float32)
    truth = None if view.truth is None else np.asarray(view.truth).astype(np.uint8)
    rows = thin(scores, truth, MAX_SCORES // views)
    total = len(scores)
    held_out = None
    if view.held_out is not None and len(view.held_out):
        levels = np.asarray(view.held_out, np.float32)
        held_out = np.sort(np.where(np.isnan(levels), np.inf, levels).astype(np.float32))
    for picture in pictures:
        row = picture["row"]
        picture["score"] = _number(scores[row])
        picture["truth"] = None if truth is None else int(truth[row])
        picture["label"] = None if view.labels is None else int(view.labels[row])
    return {
        "name": view.name,
        "counts": [total, 0] if truth is None else [int((truth == 0).sum()), int((truth == 1).sum())],
        "rows": None if len(rows) == total else _base64(rows.astype(np.uint32)),
        "scores": _base64(scores[rows]),
        "truth": None if truth is None else _base64(truth[rows]),
        "labels": None if view.labels is None else _base64(np.asarray(view.labels)[rows].astype(np.int16)),
        "classes": list(map(str, view.classes)),
        "stranger": view.stranger,
        "threshold": _number(view.threshold),
        "nominal": view.nominal,
        "heldOut": None if held_out is None else _base64(held_out[thin(held_out, None, MAX_HELD_OUT // views)]),
        "heldOutCount": 0 if held_out is None else len(held_out),
        "features": _features(view, truth, min(3000, MAX_POINTS // views)),
        "large": view.pictures is not None and any(max(image.shape[:2]) > LARGE for image in view.pictures.images),
        "pictures": pictures,
    }


def _features(view: View, truth: np.ndarray | None, most: int) -> dict[str, Any] | None:
    if view.features is None:
        return None
    points = np.asarray(view.features, np.float32)
    known = np.flatnonzero(np.isfinite(points).all(1))
    if len(known) > most:
        known = np.sort(np.random.default_rng(0).choice(known, most, replace=False))
    labels = np.full(len(points), -1) if view.labels is None else np.asarray(view.labels)
    return {
        "points": _base64(points[known].ravel()),
        "truth": _base64((np.zeros(len(points), np.uint8) if truth is None else truth)[known]),
        "labels": _base64(labels[known].astype(np.int16)),
        "about": view.features_about,
    }


def _pictures(every: Sequence[Pictures | None]) -> list[list[dict[str, Any]]]:
    """The thumbnails of each view, as large as all of them may be; fewer, where the smallest are too many.

    How much they take is told by every tenth of them.
    """
    for side in SIDES:
        size = sum(10 * _size(_entries(p, side, np.arange(0, len(p.rows), 10))) for p in every if p)
        if size <= MAX_PICTURE_BYTES:
            break
    step = max(1, math.ceil(size / MAX_PICTURE_BYTES))
    return [[] if p is None else _entries(p, side, np.arange(0, len(p.rows), step)) for p in every]


def _size(entries: list[dict[str, Any]]) -> int:
    return sum(len(x) for entry in entries for x in entry["images"])


def _entries(pictures: Pictures, side: int, chosen: np.ndarray) -> list[dict[str, Any]]:
    layers: dict[str, np.ndarray | Sequence[np.ndarray | None] | None] = {
        "image": pictures.images,
        "reconstruction": pictures.reconstructions,
        "anomaly map": None if pictures.maps is None else heat(pictures.maps, *extent(pictures.maps)),
        "where it is odd": pictures.overlays,
    }
    names = pictures.names or [""] * len(pictures.rows)
    found = []
    for k in chosen:
        own = {kind: layer[k] for kind, layer in layers.items() if layer is not None}
        images = {kind: image for kind, image in own.items() if image is not None}
        entry = {"images": uris(list(images.values()), side), "kinds": list(images)}
        found.append({"row": int(pictures.rows[k]), "name": str(names[k]), **entry})
    return found


def _number(x: Any) -> float | int | str | None:
    """JSON has no NaN and no infinity: those are text, which JavaScript's Number() reads."""
    x = float(x)
    if math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
