"""Public modules that moved are still there under their old names, and say what the new one is."""

import importlib
import sys

import numpy as np
import pytest

from adjax import thresholds
from adjax.detector import Detector, Spec

MOVED = {
    "adjax.artefact": ("adjax.serialization", ["ArtefactError", "load", "save"]),
    "adjax.foreign": ("adjax.custom", ["detector_from"]),
    "adjax.data.folder": ("adjax.data.datasets.folder", ["list_folder", "load_folder"]),
    "adjax.data.npz": ("adjax.data.datasets.npz", ["load_npz"]),
    "adjax.data.study": ("adjax.data.protocols.benchmark", ["Trial", "make_trial"]),
    "adjax.data.synthetic": ("adjax.data.datasets.synthetic", ["load_photographs", "outliers", "photograph_crops"]),
    "adjax.data.table": ("adjax.data.datasets.table", ["load_table", "read_table", "read_unlabelled"]),
    "adjax.data.trials": ("adjax.data.protocols", ["PROTOCOLS", "Trial", "folds", "one_vs_rest"]),
}


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_warns_and_gives_the_same(old):
    new, names = MOVED[old]
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        module = importlib.import_module(old)
    for name in names:
        assert getattr(module, name) is getattr(importlib.import_module(new), name)


@pytest.mark.parametrize(
    ("old", "new"),
    [("common_quantile", "classwise_quantile"), ("band", "threshold_interval"), ("Band", "ThresholdInterval")],
)
def test_old_names_of_thresholds(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        assert getattr(thresholds, old) is getattr(thresholds, new)
    with pytest.raises(AttributeError, match="no attribute 'bands'"):
        thresholds.bands  # noqa: B018


def test_the_old_name_of_a_detectors_scores():
    scores = np.arange(3.0)
    detector = Detector(None, (), (), (), scores, 0.5, Spec("gmm", "hog", "gmm", (8, 8, 1), ("normal",)))
    with pytest.warns(DeprecationWarning, match="normal_levels is now calibration_scores"):
        assert detector.normal_levels is scores
