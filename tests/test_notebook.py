"""docs/first-steps.ipynb is a program: its cells run in order, and show what the text beside them says."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first-steps.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def run(source: str, namespace: dict):
    """Runs a cell; what its last line is worth is what a notebook shows below it."""
    block = ast.parse(source)
    last = ast.Expression(block.body.pop().value) if isinstance(block.body[-1], ast.Expr) else None
    exec(compile(block, str(NOTEBOOK), "exec"), namespace)
    return None if last is None else eval(compile(last, str(NOTEBOOK), "eval"), namespace)


def test_it_is_kept_without_outputs():
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None]
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_its_cells_run_and_show_what_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    namespace, shown, printed = {}, [], io.StringIO()
    for cell in CELLS:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(printed):
                shown.append(run("".join(cell["source"]), namespace))
    said = printed.getvalue()
    assert sum(isinstance(x, Image.Image) for x in shown) == 2
    assert repr(namespace["detector"]) in map(repr, shown)
    assert namespace["auroc"] > 0.95
    assert "smallest p-value: 0.012" in said  # 1 / 81
    assert "99 are needed" in said
    masks = [tmp_path.glob(f"*/parts/ground_truth/{kind}/003_mask.png") for kind in ("missing", "scratch", "spot")]
    truth = np.stack([np.asarray(Image.open(next(found))) > 0 for found in masks])
    above = namespace["above"]
    assert (above & truth).any((1, 2)).all()  # each defect is marked, and little beside it
    assert (above & ~truth).mean() < 0.05
    maps, threshold = np.asarray(namespace["detector"].maps(namespace["odd"])), float(namespace["detector"].threshold)
    assert min(scores[defect].max() for scores, defect in zip(maps, truth, strict=True)) > 5 * threshold
    away_px = np.stack([distance_transform_edt(~defect) for defect in truth])
    assert away_px[above].max() <= 16  # and nothing that is farther away
    good = ~namespace["defective"]
    lit = (np.asarray(namespace["detector"].maps(namespace["test"].images[good])) > threshold).any((1, 2))
    assert not lit[~namespace["flagged"][good]].any()  # what isn't flagged has no mark
    assert not lit[:5].any()
    assert lit.sum() <= 1  # of 20, as promised: 5 %
