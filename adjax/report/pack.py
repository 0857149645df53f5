"""What the page's JavaScript computes with: scores as they are, in base64; of very many, a stated sample."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjax.report.contents import Pictures, Report, View
from adjax.report.pictures import SIDES, heat, uris

MAX_SCORES = 200_000
"""Over all views; more are thinned."""
MAX_POINTS = 3000
"""Of a view's plane of features."""
MAX_PICTURE_BYTES = 2_600_000
"""All thumbnails together, as data URIs."""


def pack(report: Report) -> dict[str, Any]:
    """The report's views and sweep as JSON values; see `assets/js/data.js` for their reader."""
    most = MAX_SCORES // max(len(report.views), 1)
    pictures = _pictures([v.pictures for v in report.views])
    sweep = report.sweep
    return {
        "views": [_view(v, most, p) for v, p in zip(report.views, pictures, strict=True)],
        "sweep": sweep
        and {
            "name": sweep.name,
            "values": list(map(float, sweep.values)),
            "metrics": [[title, [list(map(_number, p)) for p in points]] for title, points in sweep.metrics.items()],
        },
    }


def thin(scores: np.ndarray, truth: np.ndarray | None, most: int) -> np.ndarray:
    """int[k ≤ most], ascending: rows that stand for all.

    Of each kind every so-manyth score in rank, the lowest and the highest among them, so any share of a kind is off by
    less than 1 / (images kept of it).
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


def _view(view: View, most: int, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    scores = np.asarray(view.scores, np.float32)
    truth = None if view.truth is None else np.asarray(view.truth).astype(np.uint8)
    rows = thin(scores, truth, most)
    total = len(scores)
    held_out = None if view.held_out is None else np.sort(np.asarray(view.held_out, np.float32))
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
        "heldOut": None if held_out is None or not len(held_out) else _base64(held_out[thin(held_out, None, 20_000)]),
        "heldOutCount": 0 if held_out is None else len(held_out),
        "features": _features(view, truth),
        "pictures": pictures,
    }


def _features(view: View, truth: np.ndarray | None) -> dict[str, Any] | None:
    if view.features is None:
        return None
    points = np.asarray(view.features, np.float32)
    known = np.flatnonzero(np.isfinite(points).all(1))
    if len(known) > MAX_POINTS:
        known = np.sort(np.random.default_rng(0).choice(known, MAX_POINTS, replace=False))
    labels = np.full(len(points), -1) if view.labels is None else np.asarray(view.labels)
    return {
        "points": _base64(points[known].ravel()),
        "truth": _base64((np.zeros(len(points), np.uint8) if truth is None else truth)[known]),
        "labels": _base64(labels[known].astype(np.int16)),
        "about": view.features_about,
    }


def _pictures(every: Sequence[Pictures | None]) -> list[list[dict[str, Any]]]:
    """The thumbnails of each view, as large as all of them may be."""
    for side in SIDES:
        packed = [[] if p is None else _entries(p, side) for p in every]
        size = sum(len(x) for view in packed for entry in view for x in entry["images"])
        if size <= MAX_PICTURE_BYTES:
            break
    return packed


def _entries(pictures: Pictures, side: int) -> list[dict[str, Any]]:
    layers = [uris(pictures.images, side)]
    kinds = ["image"]
    if pictures.reconstructions is not None:
        layers.append(uris(pictures.reconstructions, side))
        kinds.append("reconstruction")
    if pictures.maps is not None:
        layers.append(uris(heat(np.asarray(pictures.maps, float)), side))
        kinds.append("anomaly map")
    names = pictures.names or [""] * len(pictures.rows)
    each = zip(pictures.rows, names, zip(*layers, strict=True), strict=True)
    return [{"row": int(row), "name": str(name), "images": list(x), "kinds": kinds} for row, name, x in each]


def _number(x: Any) -> float | int | str | None:
    """JSON has no NaN and no infinity: those are text, which JavaScript's Number() reads."""
    x = float(x)
    if math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
