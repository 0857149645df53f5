"""Real pictures in folders, small enough for a test: `python -m experiments.textures DIR`, then the command it prints.

Crops of the three photographs of textures inside scikit-image (brick, grass, gravel) are the classes; crops of the two
photographs inside scikit-learn do not belong. Training crops come from the left half of each texture, test crops from
the right one, so no pixel is in both. The layout is that of ImageNet-30: one folder per class. With `--colour` before
DIR the classes are crops of five colour pictures inside scikit-image, for one class against the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from adjax.data.datasets.synthetic import photograph_crops

TEXTURES = ("brick", "grass", "gravel")
COLOUR = ("chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina")
COMMAND = (
    "python -m experiments.run --method centerloss --dataset {} --ood holdout:3 --model efficientnet_lite0 "
    "--batch-size 32 --epochs 10 --learning-rate 0.001 --weight-decay 0.05 --flip-horizontal --shift-px 4"
)

COLOUR_COMMAND = (
    "python -m experiments.run --preset hog_ocsvm_fashion_mnist --dataset {} "
    "--model-options cell_px=8 block_cells=2 orientations=4"
)


def write(
    folder: Path, side_px: int = 64, train: int = 160, test: int = 80, seed: int = 0, colour: bool = False
) -> None:
    """Writes PNG files to `folder`/train/<class> and `folder`/test/<class>; of OOD pictures only test files.

    Args:
      folder: made if it isn't there.
      side_px: of the square crops.
      train, test: crops of each class.
      seed: where they are cut.
      colour: the pictures of `COLOUR` instead, and no OOD ones.
    """
    from skimage import data

    rng = np.random.default_rng(seed)
    for name in COLOUR if colour else TEXTURES:
        texture = np.asarray(getattr(data, name)())
        middle = texture.shape[1] // 2
        for split, half, count in (("train", texture[:, :middle], train), ("test", texture[:, middle:], test)):
            for i in range(count):
                top, left = (int(rng.integers(0, limit - side_px + 1)) for limit in half.shape[:2])
                _save(half[top : top + side_px, left : left + side_px], folder / split / name / f"{i:03}.png")
    for i, crop in enumerate([] if colour else photograph_crops(test, side_px, rng)):
        _save(crop[..., 0], folder / "test" / "photograph" / f"{i:03}.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    in_colour = sys.argv[1:2] == ["--colour"]
    places = sys.argv[1 + in_colour :]
    if len(places) != 1:
        sys.exit("usage: python -m experiments.textures [--colour] DIR")
    write(Path(places[0]), train=200 if in_colour else 160, colour=in_colour)
    print((COLOUR_COMMAND if in_colour else COMMAND).format(places[0]))
