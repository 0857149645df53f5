"""Trivial scores: what each sees, and that a detector which is worse is told so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adjax import baselines, localise
from adjax.auto import page
from adjax.auto.fit import Evaluation, evaluate
from adjax.data.io.thumbnails import thumbnails

RNG = np.random.default_rng(0)


def grainy(n: int, light: float = 128, side: int = 48, channels: int = 3) -> np.ndarray:
    noise = RNG.normal(0, 10, (n, side, side, channels))
    return np.clip(light + RNG.normal(0, 2, (n, 1, 1, 1)) + noise, 0, 255).astype(np.uint8)


def smoothed(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[:, 8:24, 20:36] = images[:, 8:24, 20:36].mean((1, 2), keepdims=True).astype(np.uint8)
    return images


def striped(images: np.ndarray) -> np.ndarray:
    wave = 6 * np.sin(np.arange(images.shape[2]) / 3)[None, None, :, None]
    return np.clip(images + wave, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("changed", "seen", "unseen"),
    [
        (smoothed, "high-pass", "mean colour"),
        (lambda x: grainy(len(x), light=160), "mean colour", "high-pass"),
        (striped, "pixel PCA", "mean colour"),
    ],
)
def test_each_sees_its_own_kind(changed, seen, unseen):
    found = baselines.aurocs(grainy(40), changed(grainy(40)), grainy(100))
    assert set(found) == set(baselines.BASELINES)
    assert found[seen] > 0.99
    assert found[unseen] < 0.8


def test_pixel_pca_is_the_residual_of_scikit_learns():
    from sklearn.decomposition import PCA

    train, images = grainy(80, side=12, channels=1), grainy(5, side=12, channels=1)
    x, y = (z.reshape(len(z), -1) / 255 for z in (train, images))
    pca = PCA(baselines.COMPONENTS, svd_solver="full").fit(x)
    rest = y - pca.inverse_transform(pca.transform(y))
    np.testing.assert_allclose(baselines.pixel_pca(images, train), np.square(rest).sum(1), rtol=1e-3)


def test_thumbnails_are_means_over_cells():
    images = RNG.integers(0, 256, (2, 37, 50, 3), np.uint8)
    found = thumbnails(images, 8)
    rows, columns = (np.linspace(0, n, 9).round().astype(int) for n in (37, 50))
    assert found.shape == (2, 8, 8, 3)
    for i, j in [(0, 0), (3, 5), (7, 7)]:
        part = images[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]].astype(float)
        np.testing.assert_allclose(found[:, i, j], part.mean((1, 2)), rtol=1e-5)
    small = thumbnails(images, 64)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small, images)


class _Constant:
    """A detector that says the same of all."""

    threshold = 1.0
    spec = SimpleNamespace(frame="whole", image_shape=(32, 32, 1), names=("constant",))

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.zeros(len(images), np.float32)


def test_where_a_baseline_does_better_it_is_named():
    judged = evaluate(_Constant(), grainy(9), grainy(9, light=200), train=grainy(20))
    assert judged.auroc[0] == 0.5
    assert judged.beaten_by == "mean colour"
    good = Evaluation((1.0, 1.0, 1.0), 1.0, 0.0, 1.0, 0.0, 9, 9, None, judged.baselines)
    assert good.beaten_by is None
    assert evaluate(_Constant(), grainy(9), grainy(9)).baselines == {}


def test_the_report_says_so(monkeypatch):
    monkeypatch.setattr(localise, "kind", lambda detector: None)
    detector = _Constant()
    detector.calibration_scores = np.zeros(9)
    normal, odd = grainy(9), grainy(9, light=200)
    judged = evaluate(detector, normal, odd, train=grainy(20))

    files = [Path(f"folder/{i}.png") for i in range(18)]
    about = {"folder": Path("folder"), "about": "", "command": "", "sha256": "", "crossed": False}
    scores = np.zeros(18, np.float32)
    look = page.images_of(detector, scores, normal, odd)
    shown = page.of_training(detector, judged, scores, files, look, **about, alpha=0.05, calibrated_on=False)
    assert "'mean colour' alone does better" in shown.lead
    assert ("AUROC of mean colour", "1.0000") in shown.facts["Trivial scores of the same images"]
    pictures = shown.views[0].pictures
    np.testing.assert_array_equal(pictures.images, np.concatenate([normal, odd])[pictures.rows])
    assert {row < 9 for row in pictures.rows} == {True, False}
