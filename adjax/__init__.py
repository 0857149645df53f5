"""adjax finds the images that don't belong: anomalies, defects, irrelevant or out-of-distribution inputs.

Example:
  detector = adjax.train_detector(normal_images)  # uint8[N, H, W, C]
  detector = adjax.load("runs/mnist/detector")
  detector.score(images)    # float32[N], higher = more anomalous
  detector.predict(images)  # bool[N], True = anomalous

Names are imported when they are first used: `import adjax` costs nothing and touches no device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from adjax.distribution import VERSION as __version__

if TYPE_CHECKING:
    from adjax import augment as augment
    from adjax import data as data
    from adjax import export as export
    from adjax import features as features
    from adjax import loop as loop
    from adjax import methods as methods
    from adjax import metrics as metrics
    from adjax import models as models
    from adjax import scorers as scorers
    from adjax import thresholds as thresholds
    from adjax import train as train
    from adjax.auto.arrays import train_detector as train_detector
    from adjax.custom import detector_from as detector_from
    from adjax.data.io.preprocessing import Preprocessing as Preprocessing
    from adjax.data.io.preprocessing import read_images as read_images
    from adjax.detector import Detector as Detector
    from adjax.detector import Spec as Spec
    from adjax.detector import fit as fit
    from adjax.serialization import ArtefactError as ArtefactError
    from adjax.serialization import load as load
    from adjax.serialization import save as save


_MODULES = (
    "augment",
    "data",
    "export",
    "features",
    "loop",
    "methods",
    "metrics",
    "models",
    "scorers",
    "thresholds",
    "train",
)
_HOMES = {
    "ArtefactError": "serialization",
    "Detector": "detector",
    "Preprocessing": "data.io.preprocessing",
    "Spec": "detector",
    "detector_from": "custom",
    "fit": "detector",
    "load": "serialization",
    "read_images": "data.io.preprocessing",
    "save": "serialization",
    "train_detector": "auto.arrays",
}
"""Public name -> the module that defines it."""

__all__ = [*_MODULES, *_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"adjax.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"adjax.{name}")
    raise AttributeError(f"module 'adjax' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
