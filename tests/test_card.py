"""The model card: it speaks of the detector beside it, of no other, and disturbs nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import untrained

import adjax
from adjax import data
from adjax.detector import Spec
from adjax.report import Table, card
from experiments import card as cards
from experiments.evaluate import Judged

ROOT = Path(__file__).parents[1]
HOSTILE = "<img src=x onerror=1>.png | `a` [b](c) *d* _e_ # f\n## g"


@pytest.fixture(scope="module")
def detector():
    digits = data.load("digits", "test")
    spec = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "0123456789")
    return untrained.detector(spec, digits.images[99:], digits.labels[99:], digits.images[:99])


@pytest.fixture(scope="module")
def results():
    found = json.loads((ROOT / "experiments" / "results" / "ood_head_mnist.json").read_text())
    for k, member in enumerate(found["members"]):
        member["metrics"]["ood_auroc"] = 0.9 + 0.01 * k
    found["weights"] = {"source": "a package", "sha256": "ab" * 32, "licence": "Apache-2.0"}
    return found


def judged(detector) -> Judged:
    rng = np.random.default_rng(0)
    truth = (rng.random(400) < 0.5).astype(int)
    return Judged(detector, {}, {}, {}, (rng.random(400) + 0.6 * truth).astype(np.float32), truth)


def test_a_detector_loads_with_its_card_beside_it(detector, tmp_path):
    detector.save(tmp_path / "d")
    path = card.write(card.Card("a detector"), tmp_path / "d")
    assert path.name == "MODEL_CARD.md"
    assert card.speaks_of(tmp_path / "d")
    again = adjax.load(tmp_path / "d")
    np.testing.assert_array_equal(again.calibration_scores, detector.calibration_scores)
    sums = json.loads((tmp_path / "d" / "manifest.json").read_text())["sha256"]
    assert all(f"| {name} (SHA-256) | {value} |" in path.read_text() for name, value in sums.items())
    assert not list((tmp_path / "d").glob(".*"))


def test_a_card_beside_another_detector_is_a_stale_one(detector, tmp_path):
    assert not card.speaks_of(tmp_path)
    detector.save(tmp_path / "d")
    assert not card.speaks_of(tmp_path / "d")
    card.write(card.Card("a detector"), tmp_path / "d")
    dataclasses.replace(detector, threshold=detector.threshold + 1).save(tmp_path / "d")
    assert (tmp_path / "d" / "MODEL_CARD.md").exists(), "saving leaves what is not its own"
    assert not card.speaks_of(tmp_path / "d")
    assert adjax.load(tmp_path / "d").threshold == detector.threshold + 1


@pytest.mark.parametrize("manifest", [[], 1, None, {}, {"sha256": 1}, {"sha256": []}, {"sha256": {"a": 1}}])
def test_a_card_beside_what_is_no_manifest_speaks_of_nothing(detector, tmp_path, manifest):
    detector.save(tmp_path / "d")
    card.write(card.Card("a detector"), tmp_path / "d")
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(manifest))
    assert not card.speaks_of(tmp_path / "d")


def test_a_directory_without_a_detector_gets_no_card(tmp_path):
    with pytest.raises(FileNotFoundError):
        card.write(card.Card("a detector"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_all_that_a_card_must(detector, results, tmp_path):
    detector.save(tmp_path)
    m = results["kept"]["member"]
    text = cards.write(tmp_path, results, m, judged(detector)).read_text().replace("\\", "")
    member = results["members"][m]["metrics"]
    for said in (
        *results["dataset"]["sha256"].values(),
        *results["ood"]["sha256"].values(),
        *results["weights"].values(),
        results["environment"]["command"],
        f"| OOD AUROC | {member['ood_auroc']:.4f} |",
        "99 normal images",
        "the smallest is 0.01,",
        "## Intended use",
        "## Limits",
        "more likely anomalous than not",
    ):
        assert said in text, said
    assert "\n## Weights it started from\n" in text


def test_intervals_are_those_of_the_test_images(detector, results):
    one = judged(detector)
    rows = {row[0]: row[1:] for row in cards.figures(results, 0, one).rows}
    low, high = (float(x) for x in rows["OOD AUROC"][1].split("–"))
    from sklearn.metrics import roc_auc_score

    assert low < roc_auc_score(one.truth, one.scores) < high
    assert high - low < 0.1
    flagged = float(np.mean(~(one.scores[one.truth == 0] <= float(detector.threshold))))
    low, high = (float(x.rstrip("%")) / 100 for x in rows["false positive rate"][1].split("–"))
    assert low <= flagged <= high


def test_text_is_no_markup():
    table = Table([HOSTILE], [[HOSTILE]])
    text = card.render(card.Card(HOSTILE, about=[HOSTILE], data=[(HOSTILE, HOSTILE)], figures=table, load=""), {})
    for line in text.splitlines():
        bare = line.replace("\\\\", "")
        assert "<" not in bare.replace("\\<", "")
        assert line.count("## ") == 0 or line.startswith("## ")
        if line.startswith("|"):
            assert bare.replace("\\|", "").count("|") in (2, 3)
    assert "\\<img src=x onerror=1\\>.png" in text
    assert "\n## g" not in text
