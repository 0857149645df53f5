"""Drift: the promised rate of false alarms, with anomalies about; and shifts that are found."""

from __future__ import annotations

import numpy as np
import pytest
import untrained
from picture_files import save

from adjax import __main__, drift, thresholds


def calibrated(rng, number, alpha=0.05):
    scores = np.sort(rng.gamma(2, 1, number)).astype(np.float32)
    return scores, float(thresholds.conformal(scores, alpha))


@pytest.mark.parametrize("number", [60, 300])
def test_false_alarms_are_as_rare_as_promised(number):
    """Anomalies are among the pictures of all days, and the threshold is made of the very scores compared."""
    rng, p_values = np.random.default_rng(number), []
    for _ in range(600):
        before, threshold = calibrated(rng, number)
        today = np.concatenate([rng.gamma(2, 1, 150), rng.uniform(20, 30, 50), [np.nan] * 5])
        p_values.append(drift.compare(before, today, threshold).p_value)
    for level in (0.05, 0.2, 0.5):  # 600 tests: sd 0.009, 0.016, 0.02
        share = np.mean(np.array(p_values) <= level)
        assert 0.5 * level < share < level + 0.045, level


def test_a_shift_is_found_and_its_side_told():
    rng = np.random.default_rng(0)
    before, threshold = calibrated(rng, 400)
    higher = drift.compare(before, rng.gamma(2, 1, 500) * 1.4, threshold)
    lower = drift.compare(before, rng.gamma(2, 1, 500) * 0.6, threshold)
    assert higher.alarm
    assert higher.above > 0.55
    assert "may flag more normal images" in str(higher)
    assert lower.alarm
    assert lower.above < 0.45
    assert "may miss anomalies" in str(lower)
    assert higher.calibration == np.sum(before < threshold)


@pytest.mark.parametrize("number", [40, 60])
def test_the_chance_that_one_is_above_another_is_counted(number):
    before, today = np.arange(40.0), np.arange(number) + 10.5
    found = drift.compare(before, today, 1000.0)
    assert found.above == pytest.approx(np.mean(today[:, None] > before))
    assert drift.compare(before, before, 1000.0).above == pytest.approx(0.5)
    assert drift.compare(before, before, 1000.0).p_value == 1


@pytest.mark.parametrize(("before", "today"), [(29, 500), (500, 29)])
def test_too_few_scores_are_not_compared(before, today):
    assert drift.compare(np.arange(before), np.arange(today), 1e6) is None
    assert drift.compare(np.arange(30), np.arange(30), 1e6) is not None


def test_a_stream_is_tested_window_by_window():
    rng = np.random.default_rng(0)
    before, threshold = calibrated(rng, 400)
    monitor = drift.Monitor(before, threshold, window=200)
    monitor.add(rng.gamma(2, 1, 150))
    assert monitor.latest is None
    monitor.add(np.full(1000, np.nan))
    monitor.add(np.full(1000, threshold + 1))
    monitor.add(np.full(1000, threshold))
    assert monitor.tests == 0, "what is flagged is not compared, nor a score that set the threshold"
    monitor.add(rng.gamma(2, 1, 300))
    assert (monitor.tests, monitor.alarms, monitor.latest.n) == (2, 0, 200)
    monitor.add(rng.gamma(2, 1, 900) * 2.5)
    assert monitor.alarms > 0
    assert monitor.latest.alarm


def test_a_window_too_small_to_test_is_refused():
    with pytest.raises(ValueError, match="window 29: must be at least 30"):
        drift.Monitor(np.zeros(100), 1.0, window=29)
    least = drift.Monitor(np.linspace(0, 1, 100), 2.0, window=30)
    least.add(np.linspace(0, 1, 30))
    assert least.tests == 1


@pytest.mark.usefixtures("process_as_it_was")
def test_predict_tells_of_drift_in_a_folder(tmp_path, capsys):
    """Pictures like those held out say nothing; sixty times one of them, as of a camera that hangs, is told of."""
    detector = untrained.two_classes((8, 8, 1)).with_false_positive_rate(0.05)
    detector.save(tmp_path / "detector")
    rng = np.random.default_rng(3)
    images = [(rng.integers(0, 80, (8, 8)) + 100 * (i % 2)).astype(np.uint8) for i in range(60)]
    normal = next(image for image in images if not detector.predict(image[None, ..., None])[0])
    for name, shown in (("same", images), ("hangs", [normal] * 60)):
        for i, image in enumerate(shown):
            save(tmp_path / name / f"{i:02}.png", image)
        out, report = tmp_path / f"{name}.csv", tmp_path / f"{name}.html"
        command = ["predict", tmp_path / "detector", tmp_path / name, "--out", out, "--report", report]
        assert __main__.main([*map(str, command), "--threads", "2"]) == 0
    said, pages = capsys.readouterr().out, [(tmp_path / f"{name}.html").read_text() for name in ("same", "hangs")]
    assert said.count("have drifted") == 1
    assert said.index("have drifted") > said.index("hangs.csv")
    assert [page.count("ALARM") for page in pages] == [0, 1]
    assert all("Drift" in page for page in pages)
