"""`predict` of a detector with places: boxes in the table, maps in a folder; and what a picture's edges are to it."""

import dataclasses
import os
import shutil
from contextlib import contextmanager

import jax
import numpy as np
import pytest
import tifffile
import untrained
from PIL import Image

import adjax
from adjax import __main__
from adjax.augment import normalise_for
from adjax.cluster import worker
from adjax.data import DataError
from adjax.data.io import upload
from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.remote import Unreachable
from adjax.predict import regions, stream
from adjax.spec import Spec, resolve

SHAPE = (16, 24, 1)


pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Of dim pictures, scored by places."""
    directory = tmp_path_factory.mktemp("run") / "detector"
    untrained.with_places(SHAPE).with_false_positive_rate(0.05).save(directory)
    return directory


@pytest.fixture
def folder(tmp_path):
    """One like those, and one twice as large with a bright part at the upper left."""
    root = tmp_path / "photos" / "in"
    root.mkdir(parents=True)
    image = np.random.default_rng(7).integers(90, 130, SHAPE[:2], np.uint8)
    Image.fromarray(image).save(root / "good.png")
    large = np.repeat(np.repeat(image, 2, 0), 2, 1)
    large[4:14, 4:16] = 255
    Image.fromarray(large).save(root / "bad.png")
    return root.parent


def run(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments), "--no-report"])


def test_a_flagged_picture_has_boxes_and_a_map(saved, folder, tmp_path, capsys):
    import csv

    out, maps = tmp_path / "s.csv", tmp_path / "maps"
    assert run(saved, folder, "--out", out, "--maps", maps) == 0
    with open(out, newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert (rows["in/good.png"]["decision"], rows["in/good.png"]["boxes"]) == ("normal", "")
    bad = rows["in/bad.png"]
    assert (bad["decision"], bad["unseen"]) == ("anomalous", "0.0")
    left, top, width, height, score = map(float, bad["boxes"].split("; ")[0].split(","))
    assert left < 16
    assert top < 14
    assert left + width <= 48
    assert top + height <= 32
    assert score == pytest.approx(float(bad["score"]), rel=1e-3)
    assert sorted(file.name for file in (maps / "in").iterdir()) == ["bad.png.map.tif", "bad.png.overlay.png"]
    known = tifffile.imread(maps / "in" / "bad.png.map.tif")
    assert known.shape == (32, 48)
    y, x = np.unravel_index(known.argmax(), known.shape)
    assert y < 16
    assert x < 20
    # what is done is not done again, and its maps are not promised
    shutil.rmtree(maps)
    Image.fromarray(np.full(SHAPE[:2], 255, np.uint8)).save(folder / "new.png")
    assert run(saved, folder, "--out", out, "--maps", maps) == 0
    assert "maps are made of what is scored now; of all by --fresh" in capsys.readouterr().out
    assert {file.name for file in maps.rglob("*.tif")} == {"new.png.map.tif"}


@contextmanager
def gone_once_scored(error):
    """Pictures fail when they are opened again."""
    opened, seen = Folder.open, set()

    def open_once(self, name):
        if name in seen:
            raise error
        seen.add(name)
        return opened(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "open", open_once)
        yield


@pytest.mark.parametrize(
    ("error", "said"), [(DataError("not there any more"),) * 2, (FileNotFoundError(2, "No such file"), "No such file")]
)
def test_a_picture_that_goes_after_it_was_scored_keeps_its_row(saved, folder, tmp_path, capsys, error, said):
    more = "--maps", tmp_path / "maps", "--copy-flagged", tmp_path / "flagged"
    with gone_once_scored(error):
        assert run(saved, folder, "--out", tmp_path / "s.csv", *more) == 0
    told = " ".join(capsys.readouterr().out.split())
    for what in ("flagged files can't be copied", "maps can't be drawn"):
        assert f"1 {what}: in/bad.png ({said})" in told
    assert "2 files: 1 normal, 1 anomalous" in told
    assert not [path for path in tmp_path.glob("[mf]*/**/*") if path.is_file()]


def test_without_a_network_a_map_is_made_by_the_next_run(saved, folder, tmp_path, capsys):
    line = saved, folder, "--out", tmp_path / "s.csv", "--maps", tmp_path / "maps"
    with gone_once_scored(Unreachable("no network")):
        assert run(*line) == 1
    assert "no network" in capsys.readouterr().err
    assert run(*line) == 0
    assert (tmp_path / "maps" / "in" / "bad.png.map.tif").exists()


def test_a_worker_tells_of_maps_that_can_not_be_made(saved, folder, tmp_path, monkeypatch):
    setup = worker.Setup(
        files=worker.contents(saved),
        sha256=worker.manifest.digest(saved),
        threshold=float(adjax.load(saved).threshold),
        interval=None,
        source=Folder(folder),
        first="in/good.png",
        batch_size=2,
        threads=1,
        maps=True,
        environment=os.environ,
    )
    monkeypatch.setattr("adjax.process.prepare", lambda: None)
    one = worker.Worker(setup)
    one.load()
    names = ["in/bad.png", "in/good.png"]
    made = one.score(names)
    assert len(made.maps) == 2
    assert not made.unmade
    (tmp_path / "in").touch()
    assert [told.partition(" ")[0] for told in worker.write_maps(made.maps, tmp_path)] == [*made.maps]
    with gone_once_scored(DataError("not there any more")):
        again = one.score(names)
    assert again.rows == made.rows
    assert (again.maps, again.unmade) == ({}, ["in/bad.png (not there any more)"])


def test_a_folder_that_maps_can_not_go_to_is_refused_first(saved, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stream, "rows", None)
    (tmp_path / "file").touch()
    for maps, said in (tmp_path / "file", "can't be made a folder"), (folder / "maps", "whose files are scored"):
        assert run(saved, folder, "--out", tmp_path / "s.csv", "--maps", maps) == 1
        assert said in capsys.readouterr().err
    untrained.two_classes((8, 8, 1)).save(tmp_path / "flat")
    assert run(tmp_path / "flat", folder, "--out", tmp_path / "s.csv", "--maps", tmp_path / "maps") == 1
    assert "scorer mahalanobis has no places, and the network does not reconstruct" in capsys.readouterr().err


def test_a_reconstruction_has_boxes_and_maps_of_its_errors(tmp_path):
    """28 px, as digits have; without weights the network says grey to everything."""
    import csv

    rng = np.random.default_rng(0)
    grey = rng.integers(120, 136, (60, 28, 28, 1), np.uint8)
    spec = Spec("autoencoder", "deep_autoencoder", "score", (28, 28, 1), ("normal",))
    method = resolve(spec).method
    shapes = jax.eval_shape(method.init, jax.random.key(0), dict(method.hparams))["params"]
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    normal = np.zeros(40, np.int32)
    detector = adjax.fit(spec, params, normalise_for("unit", grey), grey[:40], normal, grey[40:])
    detector = detector.with_quantile(0.1)  # lower than every error, in another unit
    odd = grey[0, ..., 0].copy()
    odd[4:9, 15:21] = 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(odd).save(tmp_path / "photos" / "odd.png")
    detector.save(tmp_path / "detector")
    assert run(tmp_path / "detector", tmp_path / "photos", "--out", tmp_path / "s.csv", "--maps", tmp_path / "m") == 0
    with open(tmp_path / "s.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["decision"] == "anomalous"
    *box, error = map(float, row["boxes"].split(","))
    assert box == [15, 4, 6, 5]
    assert error == pytest.approx(0.75)  # of 1 from 0.5², in the range of the network
    found = tifffile.imread(tmp_path / "m" / "odd.png.map.tif")
    np.testing.assert_allclose(found, detector.maps(odd[None, ..., None])[0], atol=1e-6)
    overlay = np.asarray(Image.open(tmp_path / "m" / "odd.png.overlay.png"))
    assert overlay.shape == (224, 224, 3)  # one of 28 px could not be looked at
    assert (overlay[24:40, 110:180] == (255, 40, 40)).all(-1).any()


@pytest.mark.parametrize(
    ("places", "threshold", "level"),
    [([0, 1, 2, 8], 3, 3), ([0, 1, 2, 8], 9, -np.inf), ([0, 1, 2, 8], None, 4.75), ([0, 1, 2, np.nan], None, 2)],
)
def test_what_is_outlined(places, threshold, level):
    assert regions.level(np.array([places]), threshold) == level


def test_the_row_of_a_picture_that_is_odd_as_a_whole_has_its_score_at_the_whole():
    spec = Spec("gmm", "efficientnet_lite0", "padim", (16, 24, 1), ["normal"], frame="whole")
    said = {"nearest": 0, "anomalous": True, "score": np.float32(1.5), "p_value": 0.01, "probability": np.nan}
    row = stream.row_of(spec, 1.0, "a.png", upload.Header(40, 60, 1, "L"), {**said, "places": np.full((4, 6), 0.5)})
    assert row.boxes == "0,0,60,40,1.5"


def test_what_a_detector_of_the_middle_does_not_see_is_told(saved, folder, tmp_path):
    detector = adjax.load(saved)
    middle = dataclasses.replace(detector, spec=dataclasses.replace(detector.spec, frame="middle"))
    Image.fromarray(np.full((16, 96), 110, np.uint8)).save(folder / "in" / "wide.png")
    for one, unseen in (middle, 0.75), (detector, 0.0):
        (rows,) = stream.rows(one, Folder(folder / "in"), ["wide.png"], batch_size=1)
        assert rows[0].unseen == unseen


def test_no_more_boxes_than_a_person_reads():
    spec = Spec("gmm", "lenet5", "padim", (40, 40, 1), ["normal"])
    assert (
        len(regions.boxes(np.indices((40, 40)).sum(0) % 2 * np.eye(40)[::-1], 0.5, (40, 40), spec))
        <= regions.MOST_BOXES
    )
