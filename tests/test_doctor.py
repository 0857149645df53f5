"""`python -m adjax doctor`: what it finds in a folder and on a machine."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from adjax import __main__
from adjax.data.io import upload
from adjax.doctor import folder, machine
from adjax.doctor.machine import AMD, NVIDIA, TPU

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(6):
        path = root / ("cat" if i < 4 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4 + i % 2), np.uint8)).save(path)
    (root / "cat" / "copy.jpg").write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "dog" / "cut.png").write_bytes((root / "dog" / "4.png").read_bytes()[:50])
    (root / "dog" / "empty.png").write_bytes(b"")
    (root / "dog" / "too.png").write_bytes(b"")
    Image.new("RGBA", (9, 9)).save(root / "alpha.png")
    (root / "notes.txt").write_text("")
    return root


def test_what_a_folder_holds(photos):
    examined = folder.examine(photos)
    assert examined.classes == {"cat": 5, "dog": 2, "": 1}
    assert examined.modes == {"L": 7, "RGBA": 1}
    assert examined.sizes == {(4, 4): 4, (5, 4): 3, (9, 9): 1}
    assert sorted(examined.unreadable) == ["dog/cut.png", "dog/empty.png", "dog/too.png"]
    assert examined.unreadable["dog/empty.png"] == "the file is empty"
    assert examined.duplicates == [["cat/0.png", "cat/copy.jpg"], ["dog/empty.png", "dog/too.png"]]
    assert examined.found.passed_over == {".txt": 1}


def test_a_file_that_breaks_after_its_header_is_unreadable(photos):
    """Decoded to the end, not believed by its header."""
    upload.look(photos / "dog" / "cut.png")
    assert "dog/cut.png" in folder.examine(photos).unreadable


def test_the_command_says_it_all(photos, capsys):
    assert __main__.main(["doctor", str(photos), "--datasets"]) == 0
    said = capsys.readouterr().out
    for part in (
        "cpu device(s)",
        "images/s, compiled",
        "data sets and weights: ",
        "weights    efficientnet_lite0: ",
        "fashion_mnist",
        "11 picture files, 8 can be read",
        "can't be read: 3",
        "dog/empty.png: the file is empty",
        "(4–9 × 4–9 px); 4×4: 4",
        "modes: L 7, RGBA 1",
        "(none) 1, cat 5, dog 2",
        "exact duplicates (SHA-256): 2",
        "cat/0.png = cat/copy.jpg",
    ):
        assert part in said, part


def test_names_are_shortened_unless_asked_for(photos, capsys, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: 1.0)
    for i in range(12):
        (photos / f"broken{i:02}.png").write_bytes(b"x")
    assert __main__.main(["doctor", str(photos)]) == 0
    said = capsys.readouterr().out
    assert "… and 5 more (--all-names)" in said
    assert "broken11" not in said
    assert __main__.main(["doctor", str(photos), "--all-names"]) == 0
    assert "broken11" in capsys.readouterr().out


def test_a_wrong_folder_is_told_first(tmp_path, capsys):
    assert __main__.main(["doctor", str(tmp_path / "nowhere")]) == 1
    captured = capsys.readouterr()
    assert "nowhere is not there: name a folder" in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("files", "environment", "mend"),
    [
        ({NVIDIA: ["/dev/nvidia0"]}, {}, r"1 NVIDIA GPU.*pip install .*\[cuda\]'"),
        ({NVIDIA: ["/dev/nvidia0"]}, {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS=cpu forbids it: unset"),
        ({NVIDIA: ["/dev/nvidia0"]}, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides it"),
        ({TPU: ["/dev/accel0", "/dev/accel1"]}, {}, r"2 TPU.*pip install .*\[tpu\]"),
        ({AMD: ["/dev/kfd"]}, {}, "AMD GPU.*ROCm"),
    ],
)
def test_an_accelerator_that_stands_idle_is_said_with_the_mend(files, environment, mend):
    (line,) = machine.idle_accelerators("cpu", files, environment)
    assert re.search(mend, line)
    assert machine.idle_accelerators("gpu", files, environment) == []
    assert machine.idle_accelerators("cpu", {}, environment) == []


def test_an_idle_accelerator_fails_the_command(monkeypatch, capsys):
    monkeypatch.setattr(machine, "speed", lambda: 1.0)
    monkeypatch.setattr(machine, "idle_accelerators", lambda backend: ["1 NVIDIA GPU(s) that JAX does not use."])
    assert __main__.main(["doctor"]) == 1
    assert "WARNING: 1 NVIDIA GPU(s)" in capsys.readouterr().out
