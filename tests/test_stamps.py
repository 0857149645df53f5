"""Debian's stamp pictures as a newcomer would have them: one category is normal, the others are not; train, predict.

They are the package `tuxpaint-stamps-default`. Without installing it: `apt-get download tuxpaint-stamps-default`,
`dpkg -x FILE.deb DIR`, and name DIR/usr/share/tuxpaint/stamps in ADJAX_STAMPS.
"""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from adjax import __main__, process

STAMPS = Path(os.environ.get("ADJAX_STAMPS", "/usr/share/tuxpaint/stamps"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("optimised"),
    pytest.mark.skipif(not STAMPS.is_dir(), reason=f"no {STAMPS}: apt-get install tuxpaint-stamps-default"),
]


def category(root: Path, name: str) -> list[Path]:
    """Its pictures, without those drawn again mirrored or upside down."""
    return [path for path in sorted((root / name).rglob("*.png")) if not path.stem.endswith(("_mirror", "_flip"))]


@pytest.mark.parametrize(("normal", "at_least"), [("symbols", 0.99), ("animals", 0.85)])
def test_one_category_of_stamps_among_the_others(tmp_path, monkeypatch, capsys, normal, at_least):
    """Signs and photographs of animals are told from all others, photographs among them."""
    monkeypatch.setattr(process, "prepare", lambda: None)
    for folder in sorted(path.name for path in STAMPS.iterdir() if path.is_dir()):
        for i, path in enumerate(category(STAMPS, folder)):
            to = tmp_path / "learned" if folder == normal and i % 4 else tmp_path / "new" / folder
            to.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / f"{i:03}_{path.name}")
    run, out = tmp_path / "run", tmp_path / "scores.csv"
    assert __main__.main(["train", str(tmp_path / "learned"), "--out", str(run)]) == 0
    assert __main__.main(["predict", str(run), str(tmp_path / "new"), "--out", str(out)]) == 0
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"ok"}
    truth = [not row["path"].startswith(f"{normal}/") for row in rows]
    value = roc_auc_score(truth, [float(row["score"]) for row in rows])
    with capsys.disabled():
        print(f"\nstamps, {normal} normal: {truth.count(False)} against {truth.count(True)}: AUROC {value:.4f}")
    assert value > at_least
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
