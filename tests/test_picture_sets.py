"""Folders of pictures that benchmarks write, and the table of what is chosen for them."""

import json

import numpy as np
import pytest
from PIL import Image

from adjax.baselines import BASELINES
from benchmarks import picture_sets, selection
from experiments import made_defects


def drawn(path, size=(40, 30), colour=(200, 0, 0, 128)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, colour).save(path)


def test_a_texture_is_cut_and_has_masks(tmp_path):
    picture_sets.texture("brick", 32)(tmp_path / "set", None)
    counts = {part: len(list((tmp_path / "set" / part).iterdir())) for part in selection.PARTS.values()}
    assert counts == {"train/good": 60, "test/good": 24, "test/anomalous": 40}
    with Image.open(tmp_path / "set" / "ground_truth" / "anomalous" / "000.png") as mask:
        assert mask.size == (32, 32)
        assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_drawings_are_on_white_small_and_not_of_their_own_kind(tmp_path):
    share = tmp_path / "share"
    root = share / "openclipart" / "png"
    for number in range(8):
        drawn(root / "tools" / "saws" / f"{number}.png")
    drawn(root / "tools" / "hammer.png")
    drawn(root / "food" / "apple.png", (640, 320))
    drawn(root / "unsorted" / "what.png")
    (root / "tools" / "saws" / "link.png").symlink_to(root / "food" / "apple.png")
    (root / "tools" / "saws" / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\x00\x00\x20\x00" * 2)
    picture_sets.drawing("tools/saws")(tmp_path / "set", share)
    train, normal, odd = (sorted((tmp_path / "set" / part).iterdir()) for part in selection.PARTS.values())
    assert (len(train), len(normal), len(odd)) == (6, 2, 1)  # the hammer is a tool, too
    with Image.open(odd[0]) as picture:
        assert picture.size == (320, 160)
    with Image.open(train[0]) as picture:
        assert picture.getpixel((0, 0)) == (227, 127, 127)


def test_a_set_names_the_package_that_it_lacks(tmp_path):
    assert picture_sets.needs("drawings: tools") == "openclipart-png"
    assert picture_sets.needs("faces") is None
    with pytest.raises(FileNotFoundError, match="--share DIR, the usr/share with openclipart/png of the package"):
        picture_sets.drawing("tools")(tmp_path / "set", tmp_path)


def test_the_table_tells_what_was_seen_from_what_was_not():
    def row(name, seed, chosen, **aurocs):
        return {"set": name, "seed": seed, "chosen": chosen, "candidates": {k: {"auroc": x} for k, x in aurocs.items()}}

    first, *_, last = selection.SHOWN
    rows = []
    for name in ("brick", "drawings: office"):
        for seed, value in enumerate((0.9, 0.8)):
            rows.append(row(name, seed, last, **{**dict.fromkeys(selection.SHOWN, 0.5), first: 1.0, last: value}))
    lines = selection.table(rows)
    assert lines[2].startswith("| brick | 0.850 ± 0.071 | 1.000 ± 0.000 | 0.500 ± 0.000")
    assert lines[-1] == "| *mean of 2 with all* | 0.850 | 1.000 | 0.500 | 0.500 | 0.850 | 1.000 |"
    where = {"command": "c", "cores": 2, "cpu": "x", "versions": {"jax": "1"}, "date": "2026-01-01", "revision": "r"}
    text = selection.markdown([{**r, "made": {"date": "2026-01-01", "revision": "r"}} for r in rows], where)
    assert (
        text.index("| brick |") < text.index("run once, when the rule was fixed") < text.index("| drawings: office |")
    )
    assert not set(selection.SEEN) & set(selection.HELD_OUT)


def test_running_one_texture_again_leaves_the_rows_of_the_others(tmp_path, monkeypatch):
    out, runs = tmp_path / "rows.json", []

    def cell(name, seed):
        runs.append(name)
        figures = {f"auroc, {which}": 0.5 for which in ("adjax", *BASELINES)}
        return [{"texture": name, "seed": seed, "share": 0.01, "scorer": "", "run": len(runs), **figures}]

    monkeypatch.setattr(made_defects, "cell", cell)
    monkeypatch.setattr(made_defects, "SHARES", (0.01,))
    for more in (["brick", "grass"], ["brick"], ["grass", "--again"]):
        monkeypatch.setattr("sys.argv", ["made_defects", "--seeds", "1", "--out", str(out), "--textures", *more])
        made_defects.main()
    assert runs == ["brick", "grass", "grass"]
    assert [(row["texture"], row["run"]) for row in json.loads(out.read_text())["rows"]] == [("brick", 1), ("grass", 3)]
