"""How much this machine's rounding moves a detector's scores: matrix products as it likes them, against float32."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from adjax import serialization
from adjax.detector import Detector
from adjax.spec import Spec

IMAGES = 64


class Moved(NamedTuple):
    """What rounding does to scores.

    Attributes:
      largest: the largest difference of two scores, in their unit.
      decisions: how many images get the other decision.
      images: how many were scored.
    """

    largest: float
    decisions: int
    images: int


def measure(detector: Detector, images: np.ndarray) -> Moved:
    """Scores images in the device's own precision and in float32.

    Args:
      detector: with a network of adjax.
      images: as it takes them.

    Returns:
      How the scores differ.

    Raises:
      ValueError: a detector of someone's own function, which does as it likes.
    """
    if not isinstance(detector.spec, Spec):
        raise ValueError(f"{detector} is made of your own function: only networks of adjax can be told a precision")
    found = []
    for precision in ("default", "highest"):
        one = dataclasses.replace(detector, spec=dataclasses.replace(detector.spec, precision=precision))
        found.append((np.asarray(one.score(images)), np.asarray(one.predict(images))))
    (rounded, says), (exact, would) = found
    return Moved(float(np.abs(rounded - exact).max()), int((says != would).sum()), len(images))


def noise(detector: Detector) -> np.ndarray:
    """Images to measure with, if there are no others: uint8 noise of growing contrast, always the same."""
    rng = np.random.default_rng(0)
    contrast = np.linspace(0, 1, IMAGES).reshape(-1, *[1] * len(detector.spec.image_shape))
    drawn = 128 + 127 * contrast * rng.uniform(-1, 1, (IMAGES, *detector.spec.image_shape))
    return drawn.astype(np.uint8)


def fitted_on(directory: str | os.PathLike) -> str | None:
    """The kind of device that a detector of `adjax train` was fitted on; None where its record doesn't say."""
    try:
        found = json.loads((Path(directory) / "train.json").read_text(encoding="utf-8"))["fitted_on"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def lines(directory: str | os.PathLike) -> list[str]:
    """What there is to say of a saved detector on this machine.

    Args:
      directory: that `Detector.save` wrote.

    Returns:
      Lines for people; the last is a warning where fit and use may round differently.

    Raises:
      ArtefactError: no detector is there.
    """
    detector = serialization.load(directory)
    here, there, spec = jax.default_backend(), fitted_on(directory), detector.spec
    said = [
        f"precision {spec.precision!r}, fitted on {there or 'a device that its record does not name'}; here: {here}"
    ]
    if not isinstance(spec, Spec):
        return said
    moved = measure(detector, noise(detector))
    said.append(
        f"of {moved.images} images of noise, this machine's rounding moves scores by at most {moved.largest:.2g} and "
        f"changes {moved.decisions} decisions"
    )
    if spec.precision == "default" and there is not None and there != here:
        said.append(
            f"WARNING: fitted on {there} and used on {here}, each rounds the network's products in its own way: train "
            "again with --precision highest for the same scores on both"
        )
    return said
