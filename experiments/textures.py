"""Real pictures in folders, small enough for a test: `python -m experiments.textures DIR`, then the command it prints.

Crops of the three photographs of textures inside scikit-image (brick, grass, gravel) are the classes; crops of the two
photographs inside scikit-learn do not belong. Training crops come from the left half of each texture, test crops from
the right one, so no pixel is in both. The layout is that of ImageNet-30: one folder per class. With `--colour` the
classes are crops of five colour pictures inside scikit-image, for one class against the rest.

With `--thirty FILE` they are crops of thirty textures of the game OpenArena, painted or photographed, and stand in for
ImageNet-30, which no package ships. FILE is `usr/share/games/openarena/baseoa/pak4-textures.pk3` of Debian's
`openarena-081-textures`. Each folder in it gives the first of its pictures that is large enough (`LEAST_PX`) and has
grain (`LEAST_GRAIN`), and the first thirty folders count: a rule, and no picture was looked at.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from adjax import surface
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

THIRTY_COMMAND = "python -m experiments.run --preset imagenet30_a_b --dataset {} --model efficientnet_lite0"
"""And `imagenet30_b_c`, `imagenet30_c_a`."""
LEAST_PX, LEAST_GRAIN = 256, 4.0
"""Of a game's texture: sides in px, and mean difference of neighbouring pixels in grey levels."""


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
        _cut(np.asarray(getattr(data, name)()), name, folder, side_px, train, test, rng)
    for i, crop in enumerate([] if colour else photograph_crops(test, side_px, rng)):
        _save(crop[..., 0], folder / "test" / "photograph" / f"{i:03}.png")


def write_thirty(
    folder: Path, package: Path, side_px: int = 64, train: int = 160, test: int = 80, seed: int = 0
) -> None:
    """As `write`, thirty textures of OpenArena.

    Args:
      folder, side_px, train, test, seed: as of `write`.
      package: `pak4-textures.pk3`.

    Raises:
      ValueError: fewer than thirty folders have such a texture.
    """
    rng, found = np.random.default_rng(seed), dict(_game_textures(package))
    if len(found) < 30:
        raise ValueError(f"{package}: {len(found)} folders have a texture with grain, and it takes 30")
    for name in sorted(found)[:30]:
        _cut(found[name], name, folder, side_px, train, test, rng)


def _game_textures(package: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each folder's first texture that will do, by the folder's name."""
    seen = set[str]()
    with zipfile.ZipFile(package) as packed:
        for name in sorted(packed.namelist()):
            top, *folders = name.split("/")
            if top != "textures" or len(folders) != 2 or folders[0] in seen or not name.endswith(".jpg"):
                continue
            pixels = np.asarray(Image.open(io.BytesIO(packed.read(name))).convert("RGB"))
            grain = np.abs(np.diff(pixels.mean(2), axis=1)).mean()
            if min(pixels.shape[:2]) >= LEAST_PX and grain >= LEAST_GRAIN:
                seen.add(folders[0])
                yield folders[0], pixels


def _cut(
    texture: np.ndarray, name: str, folder: Path, side_px: int, train: int, test: int, rng: np.random.Generator
) -> None:
    """Training crops of the left half of a texture, test crops of the right one."""
    middle = texture.shape[1] // 2
    for split, half, count in (("train", texture[:, :middle], train), ("test", texture[:, middle:], test)):
        for i in range(count):
            top, left = (int(rng.integers(0, limit - side_px + 1)) for limit in half.shape[:2])
            _save(half[top : top + side_px, left : left + side_px], folder / split / name / f"{i:03}.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def main() -> None:
    """Writes the pictures, and prints the command that reads them."""
    parser = argparse.ArgumentParser(prog="python -m experiments.textures", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--colour", action="store_true", help="five colour pictures, each against the rest")
    which.add_argument("--thirty", type=Path, metavar="FILE", help="thirty textures of a game, in three tens")
    args = parser.parse_args()
    if args.thirty:
        write_thirty(args.folder, args.thirty)
        print(THIRTY_COMMAND.format(args.folder))
    else:
        write(args.folder, train=200 if args.colour else 160, colour=args.colour)
        print((COLOUR_COMMAND if args.colour else COMMAND).format(args.folder))


if __name__ == "__main__":
    surface.script(main)
