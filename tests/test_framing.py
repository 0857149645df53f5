"""How a picture is brought to a detector's size: whole, between bars or in part, and what is said of it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from picture_files import noise, save
from PIL import Image

from adjax import __main__
from adjax.auto import plan
from adjax.auto.plan import UserChoices
from adjax.data.io import framing, masks, pixels, upload
from adjax.predict import regions
from adjax.spec import Spec

pytestmark = pytest.mark.usefixtures("process_as_it_was")
SPEC = Spec("gmm", "efficientnet_lite0", "padim", (32, 32, 3), ["normal"], frame="letterbox")


@pytest.mark.parametrize(("height", "width"), [(64, 256), (256, 64), (90, 33), (20, 20), (1, 400)])
def test_between_bars_a_picture_keeps_its_proportions(tmp_path, height, width):
    """The reference is written out: all of it resized to the longer side, in the middle of black."""
    path = save(tmp_path / "a.png", noise(height, width))
    scale = 32 / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    content = np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    wanted = np.zeros((32, 32, 3), np.uint8)
    top, left = (32 - size[1]) // 2, (32 - size[0]) // 2
    wanted[top : top + size[1], left : left + size[0]] = content
    np.testing.assert_array_equal(upload.read(path, (32, 32, 3), "letterbox").pixels, wanted)
    assert pixels.unseen(height, width, (32, 32, 3), "letterbox") == 0


def test_a_turned_picture_lies_between_the_same_bars(tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path / "a.png", noise(20, 33), exif=exif)
    upright = save(tmp_path / "b.png", np.asarray(ImageOps.exif_transpose(Image.open(turned))))
    one, other = (upload.read(path, (33, 32, 3), "letterbox").pixels for path in (turned, upright))
    np.testing.assert_array_equal(one, other)


def test_a_mask_and_a_box_lie_where_the_picture_does(tmp_path):
    """Of 64 × 256 px between bars, rows 12 to 20 of 32 are picture."""
    mask = np.zeros((64, 256), np.uint8)
    mask[:, 128:160] = 255
    seen = masks.read(save(tmp_path / "mask.png", mask), (32, 32, 3), "letterbox")
    assert np.argwhere(seen).min(0).tolist() == [12, 16]
    assert np.argwhere(seen).max(0).tolist() == [19, 19]
    places = np.where(seen, 2, 0).astype(np.float32)
    places[0, 0] = 3  # in a bar: its place is at the edge
    edge, box = regions.boxes(places, 1.0, (64, 256), SPEC)
    assert box == (128, 0, 32, 64, 2.0)
    assert edge == (0, 0, 8, 1, 3.0)
    full = regions.enlarged(places, (64, 256), SPEC)
    assert full.shape == (64, 256)
    assert np.isfinite(full).all()
    assert full[32, 144] == 2
    assert full[:, 200:].max() == 0
    tall = regions.enlarged(places.T, (256, 64), SPEC)
    np.testing.assert_allclose(tall, full.T)


def test_the_plan_keeps_what_was_asked_for():
    headers = [upload.Header(512, 2048, 1, "L")] * 20
    for frame, shape in (("whole", (64, 256, 1)), ("letterbox", (64, 256, 1)), ("middle", (128, 128, 1))):
        made = plan.choose(headers, 1, UserChoices(side_px=128, weights="random", frame=frame))
        assert made.shape == shape
        assert made.recipe.frame == made.frame == frame
        assert any(plan.FRAMES[frame] in why for why in made.why)


def test_what_is_not_seen_or_stretched_is_told_and_nothing_else():
    assert "75% of the area of these pictures is not looked at" in framing.told_of_unseen([0.75, 0.75], "middle")
    assert framing.told_of_unseen([0.0, 0.001], "middle") is framing.told_of_unseen([], "middle") is None
    sizes = [(30, 40)] * 5 + [(40, 30)]
    assert "1 of 6 pictures have other proportions" in framing.told_of_proportions(sizes)
    assert "1 of 6 pictures" in framing.told_of_proportions([(b, a) for a, b in sizes])
    assert framing.told_of_proportions([(30, 40)] * 5) is framing.told_of_proportions(sizes, "letterbox") is None


@pytest.mark.slow
def test_predict_warns_of_parts_that_it_does_not_see(tmp_path, capsys):
    """Square pictures are seen whole; of one four times as wide as high, three quarters are not."""
    for i in range(12):
        save(tmp_path / "train" / f"{i}.png", noise(16, 16, seed=i))
    for i in range(3):
        save(tmp_path / "wide" / f"{i}.png", noise(16, 64, seed=i))
    out = tmp_path / "detector"
    options = ["--out", str(out), "--method", "hog_ocsvm", "--false-positive-rate", "0.1", "--frame", "middle"]
    assert __main__.main(["train", str(tmp_path / "train"), *options]) == 0
    assert "not looked at" not in capsys.readouterr().out
    assert __main__.main(["predict", str(out), str(tmp_path / "wide"), "--out", str(tmp_path / "s.csv")]) == 0
    assert "75% of the area of these pictures is not looked at" in " ".join(capsys.readouterr().out.split())
    with open(tmp_path / "s.csv", newline="") as file:
        assert [float(row["unseen"]) for row in csv.DictReader(file)] == [0.75] * 3
