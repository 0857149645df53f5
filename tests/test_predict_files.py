"""What lies in a folder that `predict` scores: odd names, links, damaged and hostile files. All are rows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import predicting
import pytest
from picture_files import png, save
from PIL import Image
from predicting import run, table
from tiers import daily

from adjax.data.io import upload, walk

pytestmark = pytest.mark.usefixtures("process_as_it_was")


detector, folder, saved = predicting.detector, predicting.folder, predicting.saved


ODD_NAMES = [
    b"<img src=x onerror=1>.png",
    b"new\nline\r.png",
    b"\xff\xfe.png",
    b"=1+1.png",
    b'quote",.png',
    "é→.png".encode(),
]


def test_odd_names_are_rows(saved, tmp_path):
    root = tmp_path / "odd"
    picture = save(root / "x.png", np.zeros((8, 8), np.uint8)).read_bytes()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(picture)
    wanted = sorted(["x.png", *(name.decode("utf-8", "backslashreplace") for name in ODD_NAMES)])
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"s.{suffix}"
        assert run(saved, root, "--out", out, "--submission", tmp_path / "sub.csv") == 0
        paths = [row["path"] for row in table(out)]
        assert sorted(path.removeprefix("./") for path in paths) == wanted
        assert {row["status"] for row in table(out)} == {"ok"}
        assert run(saved, root, "--out", out) == 0  # the journal knows them all again
        assert len(table(out)) == len(wanted)
    assert "./=1+1.png" in [row["path"] for row in table(tmp_path / "s.csv")]
    assert len(table(tmp_path / "sub.csv")) == len(wanted)


def test_a_name_can_not_command_a_terminal():
    assert upload.line("a\x1b[2J\n\udcff.png") == r"a\x1b[2J\n\xff.png"


def test_links_hidden_files_and_pipes_are_passed_over(saved, folder, tmp_path):
    outside = save(tmp_path / "outside" / "far.png", np.zeros((8, 8), np.uint8))
    (folder / "link.png").symlink_to(outside)
    (folder / "ring").symlink_to(folder)
    (folder / "away").symlink_to(outside.parent)
    save(folder / ".hidden.png", np.zeros((8, 8), np.uint8))
    save(folder / ".cache" / "a.png", np.zeros((8, 8), np.uint8))
    os.mkfifo(folder / "pipe.png")  # reading it would never end
    shutil.copy(outside, folder / "upload_17")
    (folder / "notes.txt").write_text("no picture")
    found = walk.find(folder)
    assert len(found.names) == 20
    assert found.passed_over == {"symbolic links": 3, "hidden": 2, "no file": 1, "no extension": 1, ".txt": 1}
    assert set(walk.find(folder, hidden=True).names) - set(found.names) == {".hidden.png", ".cache/a.png"}
    assert set(walk.find(folder, links=True).names) - set(found.names) == {"link.png", "away/far.png"}
    assert set(walk.find(folder, any_name=True).names) - set(found.names) == {"notes.txt", "upload_17"}
    assert run(saved, folder, "--out", tmp_path / "s.jsonl", "--any-name", "--follow-links") == 0
    by_path = {row["path"]: row for row in table(tmp_path / "s.jsonl")}
    assert by_path["upload_17"]["status"] == "ok"
    assert by_path["notes.txt"]["status"] == "error"


def test_deep_folders_are_walked(tmp_path):
    deep = tmp_path
    for _ in range(1200):  # deeper than Python calls
        deep = deep / "d"
        deep.mkdir()
    (deep / "a.png").touch()
    assert walk.find(tmp_path).names == ["d/" * 1200 + "a.png"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # deeper than pytest clears


def test_a_folder_that_can_not_be_listed_is_a_row(saved, folder, tmp_path, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", forbidden)
    for _ in range(2):  # a restart doesn't repeat it
        assert run(saved, folder, "--out", tmp_path / "s.jsonl") == 0
        rows = table(tmp_path / "s.jsonl")
        assert [row["path"] for row in rows if row["status"] == "error"] == ["a/"]
        assert rows[-1]["error"] == "can't be listed: Permission denied"
        assert len(rows) == 11


def hostile(rng, number):
    """The bytes of a file that may be anything."""
    import io

    mode = ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA", "I;16"][number % 8]
    kinds = {"CMYK": ["JPEG", "TIFF"], "LA": ["PNG"], "I;16": ["PNG", "TIFF"], "RGBA": ["PNG", "WEBP", "TIFF"]}
    kind = rng.choice(
        kinds.get(mode, ["PNG", "GIF", "BMP", "TIFF"] if mode != "RGB" else ["JPEG", "PNG", "WEBP", "PPM"])
    )
    size = tuple(int(x) for x in rng.integers(1, 40, 2))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size, np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert("L" if mode == "LA" else mode)
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    content = bytearray(buffer.getvalue())
    match number % 5:
        case 0:  # cut short
            return bytes(content[: int(rng.integers(0, len(content)))])
        case 1:  # flipped bytes
            for at in rng.integers(0, len(content), 1 + len(content) // 50):
                content[at] = rng.integers(0, 256)
            return bytes(content)
        case 2:  # noise behind a true beginning
            return bytes(content[:16]) + rng.bytes(300)
        case 3:  # a claim of many pixels
            side = int(rng.integers(5_000, 2**31))
            return png(side, side, 8, int(rng.choice([0, 2, 3, 6])), rng.bytes(20))
    return bytes(content)  # whole, in an odd mode


@pytest.mark.parametrize("count", [*daily([280, 1000], 280)])  # each mode in each way broken, seven times or 25
def test_as_many_hostile_files_are_as_many_rows(saved, tmp_path, count):
    rng, root = np.random.default_rng(0), tmp_path / "hostile"
    root.mkdir()
    suffixes = (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".heic")
    for number in range(count):
        (root / f"{number:04}{suffixes[number % 7]}").write_bytes(hostile(rng, number))
    assert run(saved, root, "--out", tmp_path / "s.jsonl") == 0
    rows = table(tmp_path / "s.jsonl")
    assert [int(row["path"][:4]) for row in rows] == list(range(count))
    for row in rows:
        if row["status"] == "ok":
            assert np.isfinite(row["score"])
            assert row["decision"] in ("normal", "anomalous")
        else:
            assert 0 < len(row["error"]) <= 300
            assert "\n" not in row["error"]
            assert row["score"] is row["decision"] is None
    by_kind = [[row["status"] for row in rows[kind::5]] for kind in range(5)]
    assert set(by_kind[3]) == {"error"}  # bombs
    assert set(by_kind[4]) == {"ok"}  # whole files, whatever their mode and extension
    assert by_kind[0].count("error") > 0.75 * count / 5
