"""What `python -m adjax doctor FOLDER` tells to look at, and what it leaves alone."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from adjax import __main__
from adjax.cli import doctor
from adjax.data import DataError
from adjax.data.io import tiff, upload
from adjax.doctor import findings, folder, machine

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def part(rng) -> Image.Image:
    """A round part on a bright table: as like to the others as parts are."""
    y, x = np.mgrid[:96, :128]
    disc = (x - 64 + rng.integers(-9, 9)) ** 2 + (y - 48 + rng.integers(-9, 9)) ** 2 < rng.integers(25, 34) ** 2
    grey = np.where(disc, 70 + rng.integers(-15, 15), 235) + rng.normal(0, 12, (96, 128))
    return Image.fromarray(np.clip(grey, 0, 250).astype(np.uint8))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Thirty that are as they should be, and one of each kind."""
    root = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(1)
    made = [part(rng) for _ in range(36)]
    for kind, chosen in (("train/good", made[:24]), ("test/good", made[24:30]), ("test/scratch", made[30:])):
        (root / kind).mkdir(parents=True)
        for i, image in enumerate(chosen):
            image.save(root / kind / f"{i:02}.png")
    good = root / "train" / "good"
    made[0].filter(ImageFilter.GaussianBlur(3)).save(good / "blurred.png")
    made[1].convert("RGB").save(good / "again.jpg", quality=90)
    Image.new("L", (128, 96), 3).save(good / "black.png")
    Image.new("L", (128, 96), 252).save(good / "white.png")
    Image.new("L", (128, 96), 4).save(good / "black too.png")
    over = np.asarray(made[2]).astype(int) * 2
    Image.fromarray(np.clip(over, 0, 255).astype(np.uint8)).save(good / "over.png")
    twelve = np.random.default_rng(5).integers(0, 4096, (96, 128)).astype(np.uint16)
    Image.fromarray(twelve).save(good / "twelve.png")
    made[3].save(root / "test" / "good" / "learned.png")
    (good / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for name in ("web.avif", "old.psd", "cut.png"):
        (good / name).write_bytes(b"ftyp")
    (good / "camera.CR2").write_bytes(b"II")
    return root


def test_each_kind_is_found_and_nothing_else(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    found = {
        (one.path.rpartition("/")[2], one.kind) for one in folder.examine(parts, sides=doctor.sides(parts)).findings
    }
    assert found == {
        ("learned.png", "leak"),
        ("blurred.png", "blurred"),
        ("again.jpg", "near duplicate"),
        ("03.png", "exact duplicate"),
        ("old.psd", "exact duplicate"),
        ("web.avif", "exact duplicate"),
        ("black.png", "black"),
        ("black too.png", "black"),
        ("twelve.png", "odd depth"),
        ("white.png", "white"),
        ("over.png", "over-exposed"),
        ("phone.HEIC", "no reader"),
        ("web.avif", "unreadable"),
        ("old.psd", "other format"),
        ("cut.png", "unreadable"),
        ("camera.CR2", "raw"),
    }
    assert {kind for _, kind in found} == set(findings.KINDS)


def test_what_lacks_a_reader_is_what_its_decoder_says(tmp_path, monkeypatch):
    """Whatever the format; and whatever a reason quotes."""
    monkeypatch.setattr(tiff, "_codecs", lambda: False)
    deep = np.zeros((8, 8, 2), np.uint16)
    tifffile.imwrite(
        tmp_path / "packed.tif", deep, photometric="minisblack", extrasamples=["unassalpha"], compression="zlib"
    )
    (tmp_path / "cut.png").write_bytes(b"ftyp")
    assert [(one.path, one.kind) for one in folder.examine(tmp_path).findings] == [
        ("cut.png", "unreadable"),
        ("packed.tif", "no reader"),
    ]
    assert findings.KINDS["no reader"][0] == "of a format whose reader is not installed"

    def quoting(*_, **__):
        raise DataError("damaged: pip install")

    monkeypatch.setattr(upload, "look", quoting)
    assert {one.kind for one in folder.examine(tmp_path).findings} == {"unreadable"}


def test_a_list_has_all_of_it_with_what_to_do(parts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: 1.0)
    out = tmp_path / "lists" / "findings.csv"
    assert __main__.main(["doctor", str(parts), "--csv", str(out)]) == 0
    said = capsys.readouterr().out
    assert "in training and in test: 1" in said
    assert "test/good/learned.png: as train/good/03.png" in said
    assert "→ take them out of one of them" in said
    assert "fashion_mnist" not in said
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "finding", "value", "about", "what to do"]
    assert len(rows) == 16
    assert ("train/good/03.png", "exact duplicate", "as test/good/learned.png") in {
        (row["path"], row["finding"], row["about"]) for row in rows
    }
    same = said[said.index("exact duplicates (SHA-256): 3") :]
    assert "→ keep one of each: copies count once for a threshold" in same[: same.index("in training and in test")]
    (blurred,) = (row for row in rows if row["finding"] == "blurred")
    assert float(blurred["value"]) > 0
    assert "variance of the Laplacian" in blurred["about"]
    assert all(row["what to do"] == findings.KINDS[row["finding"]][1] for row in rows)


def test_a_list_needs_a_folder(tmp_path, capsys):
    assert __main__.main(["doctor", "--csv", str(tmp_path / "f.csv")]) == 1
    assert "name one" in capsys.readouterr().err


def test_bright_pictures_of_one_kind_are_not_over_exposed(tmp_path):
    """White backgrounds, and textures of any sharpness: compared with their own kind alone."""
    rng = np.random.default_rng(2)
    for i in range(12):
        page = np.full((64, 64), 255, np.uint8)
        page[10:30, 10:50] = rng.integers(0, 90, (20, 40))
        Image.fromarray(page).save(tmp_path / f"{i}.png")
    assert folder.examine(tmp_path).findings == []


def test_masks_are_black_for_a_reason(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("test/scratch/1.png", "test/scratch/2.png", "ground_truth/scratch/1.png", "test/scratch/2_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        mask = "mask" in name or "truth" in name
        Image.fromarray(rng.integers(0, 1 if mask else 200, (32, 32), np.uint8)).save(tmp_path / name)
    assert folder.examine(tmp_path).findings == []


def test_copies_that_are_the_same_to_the_byte_are_told_once():
    groups = [["a", "b", "c"]]
    assert findings.of_copies(groups, [["a", "b"]]) == [findings.Finding("c", "near duplicate", None, "as a")]
    assert findings.of_copies([["a", "b"]], [["a", "b"]]) == []
    assert findings.of_leaks(groups, {"a"}, {"c"}) == [findings.Finding("c", "leak", None, "as a")]
    assert findings.of_leaks(groups, {"a"}, {"d"}) == []
