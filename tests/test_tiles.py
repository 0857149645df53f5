"""Pictures larger than a detector's images: tiles, their blended map, and the scores of the whole picture."""

from __future__ import annotations

import dataclasses
import io
import itertools
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from picture_files import save
from rich.console import Console

from adjax import __main__, detector_from, localise, tiles
from adjax.auto import fit, page, plan, select, tiled
from adjax.auto.plan import UserChoices
from adjax.cli import train_tiles
from adjax.data import DataError
from adjax.data.io import upload
from adjax.data.io.sources.folder import Folder
from adjax.detector import outputs_of
from adjax.predict import stream
from adjax.predict.batch import predict_tiled

SIDE = 64
RNG = np.random.default_rng(0)


def network(params, images):
    """Means of 4 × 4 px after a blur over 13 px, padded with zeros: at a tile's border other than in the picture."""
    x = images.astype(np.float32) / 255
    for axis in (1, 2):
        x = sum(np.float32(1 / 13) * jax.numpy.roll(_padded(x, axis), step, axis) for step in range(-6, 7))
        x = jax.lax.slice_in_dim(x, 6, x.shape[axis] - 6, axis=axis)
    n, height, width, channels = x.shape
    cells = x.reshape(n, height // 4, 4, width // 4, 4, channels)
    return {"patches": jax.numpy.concatenate([cells.mean((2, 4)), cells.std((2, 4))], -1)}


def _padded(x, axis):
    return jax.numpy.pad(x, [(6, 6) if a == axis else (0, 0) for a in range(4)])


def noise(height, width):
    return RNG.integers(60, 190, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def detector():
    return detector_from(network, {}, "patchwise", np.stack([noise(SIDE, SIDE) for _ in range(20)]))


@pytest.mark.parametrize("length", [64, 65, 80, 300, 1000])
def test_tiles_cover_a_picture_and_overlap_by_three_eighths(length):
    found = tiles.starts(length, SIDE)
    assert found[0] == 0
    assert found[-1] == length - SIDE
    assert all(0 < b - a <= SIDE * 5 // 8 for a, b in itertools.pairwise(found))
    assert all(start % tiles.GRID_PX == 0 for start in found[:-1])


@pytest.mark.parametrize(("side", "step"), [(1, 1), (2, 1), (8, 4), (16, 8), (24, 8), (25, 16), (256, 160)])
def test_small_tiles_lie_on_a_finer_grid_and_are_not_many(side, step):
    assert tiles.starts(1000, side) == [*range(0, 1000 - side, step), 1000 - side]


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (200, 136)])
def test_tiles_give_the_scores_of_the_whole_picture(detector, size):
    """Score within 1 %; and the map, whose borders inside the picture a tile alone would have wrong."""
    picture = noise(*size)
    for defect in (False, True):
        if defect:
            picture[size[0] // 2 :, size[1] // 2 :][:12, :12] = 255
        whole = dataclasses.replace(detector, spec=dataclasses.replace(detector.spec, image_shape=picture.shape))
        wanted = np.asarray(localise.cells(whole, outputs_of(whole, picture[None])))[0]
        found = tiles.score(detector, picture)
        assert found.places.shape == wanted.shape
        assert found.score == pytest.approx(wanted.max(), rel=0.01)
        np.testing.assert_allclose(found.places, wanted, atol=0.02)


def test_a_tile_fades_in_over_the_second_eighth_of_its_side():
    """Two tiles of 64 px that overlap by half: cells of 1 px, 0 in the first tile and 1 in the second."""
    maps = np.stack([np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)])
    inside = np.arange(32) + 0.5  # px of the overlap, from where the second begins
    second, first = (np.clip(x / 8 - 1, 0, 1) for x in (inside, inside[::-1]))
    wanted = np.concatenate([np.zeros(32), second / (first + second), np.ones(32)])
    np.testing.assert_allclose(tiles.blend(maps, (64, 96), (64, 64)), np.tile(wanted, (64, 1)), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_cell_that_is_not_finite_spoils_no_others(value):
    """Cells of 4 px, in the second of three tiles across and down."""
    maps = RNG.normal(size=(9, 16, 16)).astype(np.float32)
    wanted = tiles.blend(maps, (128, 128), (SIDE, SIDE))
    maps[4, 8, 9] = value
    found = tiles.blend(maps, (128, 128), (SIDE, SIDE))
    assert np.argwhere(~np.isfinite(found)).tolist() == [[8 + 8, 8 + 9]]
    np.testing.assert_array_equal(found[16, 17], np.float32(value))
    others = np.isfinite(found)
    np.testing.assert_allclose(found[others], wanted[others], atol=1e-6)
    maps[4, 8, 9], maps[0, 0, 0] = 0, value  # at the picture's corner; and where a tile has no weight
    maps[0, 15, 15] = value
    assert np.argwhere(~np.isfinite(tiles.blend(maps, (128, 128), (SIDE, SIDE)))).tolist() == [[0, 0]]


def test_what_can_not_be_cut_is_refused(detector, tmp_path):
    with pytest.raises(ValueError, match="a picture of 63 px is smaller than a tile of 64 px"):
        tiles.score(detector, noise(63, 80))
    with pytest.raises(ValueError, match=r"must be uint8\[H, W, 3\]"):
        tiles.score(detector, noise(80, 80)[..., :1])
    save(tmp_path / "a.png", noise(63, 80))
    with pytest.raises(DataError, match="80×63 pixels, smaller than a tile of 64×64"):
        upload.read(tmp_path / "a.png", (SIDE, SIDE, 3), "tiles")


@pytest.mark.slow
def test_a_row_of_a_tiled_picture_is_the_blended_score_and_its_boxes(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(type(detector.spec), "frame", "tiles")
    levels = np.sort(np.array([tiles.score(detector, noise(100, 150)).score for _ in range(19)], np.float32))
    detector = dataclasses.replace(detector, calibration_scores=levels).with_false_positive_rate(0.05)
    picture = noise(100, 150)
    picture[60:72, 100:112] = 255
    save(tmp_path / "a.png", picture)
    save(tmp_path / "b.png", noise(40, 40))
    flagged, small = (row for (row,) in stream.rows(detector, Folder(tmp_path), ["a.png", "b.png"], batch_size=8))
    assert flagged.score == pytest.approx(tiles.score(detector, picture).score)
    assert (flagged.decision, flagged.unseen, flagged.p_value) == ("anomalous", 0, 0.05)
    left, top, width, height, _ = (float(x) for x in flagged.boxes.split("; ")[0].split(","))
    assert left - 8 <= 100 <= 112 <= left + width + 8
    assert top - 8 <= 60 <= 72 <= top + height + 8
    assert small.status == "error"
    assert "smaller than a tile" in small.error
    said = predict_tiled(detector, picture)
    assert bool(said["anomalous"][0])


def test_the_plan_for_tiles_takes_what_knows_no_positions():
    headers = [upload.Header(1000, 2000, 3, "RGB")] * 20
    made = plan.choose(headers, 1, UserChoices(weights="random", frame="tiles"))
    assert (made.shape, made.scorer, made.tiled, made.selects) == ((256, 256, 3), "subspace", True, True)
    assert select.candidates(made, 20) == (("patchcore",), ("subspace",))
    assert ("knn",) in select.candidates(dataclasses.replace(made, frame="whole"), 24)
    assert plan.choose(headers, 1, UserChoices(side_px=130, weights="random", frame="tiles")).shape == (128, 128, 3)
    with pytest.raises(DataError, match="knows no positions"):
        plan.choose(headers, 1, UserChoices(scorer="padim", weights="random", frame="tiles"))
    with pytest.raises(DataError, match="tiles of 80 px, and 96 are the least"):
        plan.choose([upload.Header(90, 900, 3, "RGB")] * 20, 1, UserChoices(weights="random", frame="tiles"))


def test_a_sample_has_tiles_of_all_pictures_and_no_more_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(tiled, "MOST_TILES", 7)
    files = [save(tmp_path / f"{i}.png", np.full((100, 160, 3), 10 * i, np.uint8)) for i in range(3)]
    files.append(save(tmp_path / "small.png", noise(50, 50)))
    known = tiled.sample(files, (SIDE, SIDE, 3), 0)
    assert len(known.thumbnails) == 3
    assert list(known.errors) == [files[3]]
    assert len(known.tiles) <= 7
    assert set(known.owners.tolist()) == {0, 1, 2}
    assert all((tile == 10 * owner).all() for tile, owner in zip(known.tiles, known.owners, strict=True))


@dataclasses.dataclass
class Seen:
    """A detector that knows the pictures it was fitted to."""

    pictures: list
    calibration_scores: object = None

    def with_false_positive_rate(self, alpha):
        return self


def test_few_pictures_are_scored_by_fits_without_them(monkeypatch):
    monkeypatch.setattr(tiled, "_fitted", lambda plan, known, pictures: Seen(pictures.tolist()))
    monkeypatch.setattr(
        tiled, "scores", lambda detector, files, advance: [float(f in detector.pictures) for f in files]
    )
    rows = np.array([7, 3, 5, 0, 1, 8, 2])
    few = tiled.train(None, list(range(9)), None, fit.Parts(rows, rows[:0]), alpha=0.2)
    assert few.detector.pictures == rows.tolist()
    assert few.detector.calibration_scores.tolist() == [0] * 7  # none was seen
    many = tiled.train(None, list(range(9)), None, fit.Parts(rows, np.array([4, 6])), alpha=0.2)
    assert many.detector.calibration_scores.tolist() == [0, 0]


def test_figures_are_of_pictures_that_can_be_read(tmp_path, monkeypatch):
    """Anomalies against normal test pictures, or against the calibration's scores where there are none."""
    for name in ("1", "3", "4", "5", "bad"):
        (tmp_path / name).write_text(name)
    (tmp_path / "learned").write_text("3")  # a copy
    (tmp_path / "also").write_text("5")

    def scores(detector, files):
        if files[0].name == "bad":
            raise DataError("damaged")
        return [float(files[0].name)]

    def judge(normal, anomalous):
        layout = SimpleNamespace(
            files=[tmp_path / "learned", tmp_path / "also"],
            test_normal=[tmp_path / name for name in normal],
            test_anomalous=[tmp_path / name for name in anomalous],
            passed_over={"masks": 1},
        )
        return train_tiles._judge(console, detector, layout, None, False, None, None)

    console = Console(record=True, file=io.StringIO(), width=200)
    monkeypatch.setattr(tiled, "scores", scores)
    monkeypatch.setattr(train_tiles, "write_page", lambda *_: None)
    detector = SimpleNamespace(threshold=2.0, calibration_scores=np.array([0.0, 1.0], np.float32))
    found = judge(["1", "3", "bad"], ["4", "5", "bad"])
    assert (found.normal, found.anomalous, found.flagged, found.false_alarms) == (2, 2, 1.0, 0.5)
    assert (found.copied, found.contradicted) == (1, 1)
    assert "no figures of where by masks: pictures in tiles" in console.export_text()
    found = judge([], ["1", "4", "bad"])
    assert (found.normal, found.anomalous, found.flagged) == (2, 2, 0.5)
    assert (found.copied, found.contradicted) == (0, 0)
    assert judge(["1"], []) is judge(["1"], ["bad"]) is judge(["bad"], ["4"]) is judge([], ["bad"]) is None


def test_a_report_has_pictures_in_their_proportions_and_outlines_what_is_flagged(detector, tmp_path, monkeypatch):
    plain, odd = noise(160, 640), noise(160, 640)
    odd[60:100, 400:440] = 255
    files = [save(tmp_path / f"{name}.png", picture) for name, picture in (("plain", plain), ("odd", odd))]
    levels = [tiles.score(detector, picture).score for picture in (plain, odd)]
    monkeypatch.setattr(type(detector.spec), "frame", "tiles")
    own = dataclasses.replace(detector, threshold=jax.numpy.float32(sum(levels) / 2))
    shown = page.tiled_of(own, [None, *files])(np.array([1, 2]))
    assert [image.shape for image in shown.images] == [(64, 256, 3)] * 2
    red = [(drawn == (255, 40, 40)).all(-1) for drawn in shown.overlays]
    assert not red[0].any()
    rows, columns = np.nonzero(red[1])
    assert 10 < rows.min() < rows.max() < 54
    assert 140 < columns.min() < columns.max() < 196


@pytest.mark.slow
@pytest.mark.usefixtures("process_as_it_was")
def test_train_and_predict_find_a_small_defect_in_a_large_picture(tmp_path, capsys):
    """Grey ones, whose network sees three channels: such a detector must be readable again, too."""
    for i in range(12):
        save(tmp_path / "all" / "train" / f"{i}.png", noise(160, 320)[..., 0])
    odd = noise(160, 320)[..., 0]
    odd[70:90, 200:220] = 255
    save(tmp_path / "all" / "anomalous" / "a.png", odd)
    network = ["--model", "squeezenet", "--weights", "random", "--scorer", "subspace"]
    options = ["--tiles", "--side-px", "96", *network, "--false-positive-rate", "0.1"]
    out = tmp_path / "detector"
    assert __main__.main(["train", str(tmp_path / "all"), "--out", str(out), *options, "--depth", "12"]) == 1
    assert "--depth 12 with --tiles: tiles know no depth but 16" in " ".join(capsys.readouterr().err.split())
    assert __main__.main(["train", str(tmp_path / "all"), "--out", str(out), *options]) == 0
    assert "100.0% of the anomalies are flagged" in " ".join(capsys.readouterr().out.split())
    assert "where it is odd" in (out / "report.html").read_text()
    folder = str(tmp_path / "all" / "anomalous")
    maps = ["--maps", str(tmp_path / "maps")]
    assert __main__.main(["predict", str(out), folder, "--out", str(tmp_path / "s.csv"), *maps]) == 0
    assert "where it is odd" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "maps" / "a.png.overlay.png").exists()


def test_of_scores_is_what_evaluate_says():
    judged = fit.of_scores(0.5, np.array([0.1, 0.6], np.float32), np.array([0.9], np.float32))
    assert (judged.auroc[0], judged.flagged, judged.false_alarms, judged.normal) == (1.0, 1.0, 0.5, 2)
