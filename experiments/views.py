"""What a run keeps for its report beside results.json: scores, truth, a plane of the features, a few images.

`scores.npz` holds plain arrays only (`allow_pickle=False`), so a report can be made again, and runs compared, without
their data sets or detectors.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adjax import atomic
from adjax.augment import Normalise
from adjax.report import Pictures, View, choose
from adjax.scorers.padim import padim_maps
from adjax.scorers.patchcore import patchcore_maps
from experiments import figures
from experiments.console import setting_name
from experiments.evaluate import Judged
from experiments.study import Loaded

FILE = "scores.npz"
MAX_VIEWS = 12
"""Of one report; of more members, those of the first seed, then those of the kept setting."""
MAX_DIM = 5000
"""Wider features are patches rather than features: no plane of them is drawn."""

MAPS: dict[str, Callable[[Any, Any], Any]] = {"padim": padim_maps, "patchcore": patchcore_maps}
"""Scorers that tell where an image is odd: (state, patches [k, a, b, C]) -> [k, a, b]."""

_ARRAYS = ("scores", "truth", "labels", "held_out", "features")
_PICTURES = ("rows", "images", "reconstructions", "maps")


def collect(results: dict[str, Any], judged: list[Judged], loaded: Loaded, normalise: Normalise) -> list[View]:
    """A view of each member that the report shows, the kept one first.

    Args:
      results: as in results.json.
      judged: a member each, in the order of `results["members"]`.
      loaded: the data.
      normalise: pixel values to network input.
    """
    kept = results["kept"]["member"]
    shown = _shown(results["members"], kept)
    return [_view(results, m, judged[m], loaded, normalise, few=m != kept) for m in shown]


def _shown(members: list[dict[str, Any]], kept: int) -> list[int]:
    rows = list(range(len(members)))
    for name in ("seed", "hparams"):
        if len(rows) > MAX_VIEWS:
            rows = [m for m in rows if members[m][name] == members[kept][name]]
    return sorted(rows, key=lambda m: m != kept)[:MAX_VIEWS]


def _view(results: dict[str, Any], m: int, judged: Judged, loaded: Loaded, normalise: Normalise, few: bool) -> View:
    trials, test = loaded.benchmark.trials, loaded.benchmark.test
    trial = trials[m % len(trials)]
    config, member = results["config"], results["members"][m]
    settings = [group["hparams"] for group in results["groups"]]
    parts = (setting_name(member["hparams"], settings), *(f"{k} {v}" for k, v in trial.name.items()))
    name = ", ".join(filter(None, parts))
    promised = config["threshold"] in ("quantile", "conformal")
    features, about = plane(judged)
    return View(
        name=name or results["method"],
        scores=np.asarray(judged.scores, np.float32),
        threshold=float(judged.detector.threshold),
        truth=np.asarray(judged.truth, np.uint8),
        labels=test.labels[trial.test].astype(np.int16),
        classes=loaded.benchmark.classes,
        stranger=loaded.ood_name,
        held_out=np.asarray(judged.detector.calibration_scores, np.float32),
        nominal=round(1 - config["quantile"], 6) if promised else None,
        features=features,
        features_about=about,
        pictures=pictures(judged, test.images, trial.test, normalise, *((12, 12) if few else (24, 36))),
    )


def plane(judged: Judged) -> tuple[np.ndarray | None, str]:
    """float32[N, 2]: features on the two principal components of the normal images' own, and that in words."""
    x = np.asarray(judged.outputs["features"]) if "features" in judged.outputs else np.zeros(0)
    if x.ndim != 2 or not 2 <= x.shape[1] <= MAX_DIM:
        return None, ""
    x = x.astype(np.float32)
    normal = x[(judged.truth == 0) & np.isfinite(x).all(1)]
    if len(normal) < 3:
        return None, ""
    mean = normal.mean(0)
    values, vectors = np.linalg.eigh(np.cov(normal.T))
    shares = values[::-1][:2] / max(values.sum(), 1e-30)
    basis = vectors[:, ::-1][:, :2]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), [0, 1]])  # an eigenvector leaves its sign open
    about = (
        f"The {x.shape[1]}-dimensional features on the first two principal components of the normal test images "
        f"({shares[0]:.0%} and {shares[1]:.0%} of their variance). What doesn't belong took no part in choosing the "
        "plane; what looks near here may be far in the other dimensions. The outermost 0.2% on each side are left out."
    )
    return ((x - mean) @ basis).astype(np.float32), about


def pictures(
    judged: Judged, images: np.ndarray, test: np.ndarray, normalise: Normalise, worst: int, between: int
) -> Pictures:
    """The images worth looking at, with reconstructions and anomaly maps where there are any."""
    rows = choose(judged.scores, judged.truth, worst, between)
    seen = images[test[rows]]
    again = figures.reconstructions(judged, seen, normalise) if len(rows) else None
    if again is not None:
        maps: np.ndarray | None = np.abs(seen.astype(np.float32) - again).mean(-1)
    else:
        maps = anomaly_maps(judged, seen) if len(rows) else None
    return Pictures(rows=rows, images=seen, reconstructions=again, maps=maps)


def anomaly_maps(judged: Judged, images: np.ndarray) -> np.ndarray | None:
    """Where images are odd, float32[k, a, b], by scorers that tell it; None by others."""
    spec = judged.detector.spec
    tell = MAPS.get(spec.names[-1])
    if tell is None:
        return None
    options = dict(getattr(spec, "scorer_options", ()))
    name = options.get("feature", "patches")
    patches = np.asarray(judged.detector.outputs(images, {name})[name])
    if patches.ndim == 3 and "grid" in options:  # the same flattened
        patches = patches.reshape(len(patches), *options["grid"], -1)
    return np.asarray(tell(judged.detector.scorer, patches)) if patches.ndim == 4 else None


def save(path: Path, views: list[View]) -> None:
    """Writes them to a .npz, atomically."""
    arrays: dict[str, np.ndarray] = {}
    for k, view in enumerate(views):
        given = {name: getattr(view, name) for name in _ARRAYS}
        if view.pictures is not None:
            given |= {f"pictures_{name}": getattr(view.pictures, name) for name in _PICTURES}
        given |= {name: np.asarray(getattr(view, name)) for name in ("name", "features_about", "stranger")}
        given |= {"classes": np.asarray(view.classes, str), "threshold": np.float64(view.threshold)}
        given["nominal"] = None if view.nominal is None else np.float64(view.nominal)
        arrays |= {f"{k}/{name}": np.asarray(value) for name, value in given.items() if value is not None}
    with atomic.replacing(path) as fresh, open(fresh, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes keywords for options


def load(path: Path) -> list[View]:
    """Reads what `save` wrote; nothing is unpickled.

    Raises:
      ValueError: no such file, or something else; says what writes it.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run the experiment again, and it is written at the end") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no scores of a run: {error}") from error
    views = []
    for k in range(1 + max((int(name.partition("/")[0]) for name in arrays), default=-1)):
        own = {name.partition("/")[2]: x for name, x in arrays.items() if name.startswith(f"{k}/")}
        shown = {name: own.get(f"pictures_{name}") for name in _PICTURES}
        views.append(
            View(
                **{name: own.get(name) for name in _ARRAYS},  # type: ignore[arg-type]  # a missing score is an error below
                name=str(own["name"]),
                features_about=str(own["features_about"]),
                stranger=str(own["stranger"]),
                classes=own["classes"].tolist(),
                threshold=float(own["threshold"]),
                nominal=float(own["nominal"]) if "nominal" in own else None,
                pictures=Pictures(**shown) if shown["rows"] is not None else None,  # type: ignore[arg-type]
            )
        )
    return views


def renamed(view: View, name: str) -> View:
    """The same view under another name."""
    return dataclasses.replace(view, name=name)
