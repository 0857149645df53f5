"""Folders of pictures for benchmarks: textures with synthetic defects, stamps, drawings, faces.

Each is train/good, test/good, test/anomalous and, where a mask is known, ground_truth/anomalous: the layout of MVTec.
Much comes from Debian packages, `PACKAGES`: installed, or each unpacked by `apt-get download NAME && dpkg -x NAME*.deb
DIR`, under DIR/usr/share.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from adjax.data.defects import defects
from experiments import made_defects

TRAINED, NORMAL, DEFECTS = 60, 24, 40
"""Pictures trained on, and of either kind to test with."""
SHARES = 0.003, 0.05
"""Between which the sizes of the defects lie, of the picture's area."""
PACKAGES = {
    "stamps": ("tuxpaint-stamps-default", "tuxpaint/stamps"),
    "drawings": ("openclipart-png", "openclipart/png"),
    "game textures": ("openarena-081-textures", "games/openarena/baseoa/pak4-textures.pk3"),
}
"""What a set's name begins with -> the package that has the pictures, and where, under its usr/share."""
DRAWN, UNRELATED, DRAWING_PX = 180, 5, 320
"""Most drawings of a category, drawings of each other one that are anomalous, and the side that larger ones get."""

Writer = Callable[[Path, Path | None], None]
"""Writes a folder; the second is the usr/share of packages, None if nobody named it."""


def texture(name: str, side_px: int = made_defects.SIDE_PX) -> Writer:
    """Writer of one texture of `experiments.made_defects`, from other draws."""

    def write(folder: Path, share: Path | None) -> None:
        rng = np.random.default_rng([2000, made_defects.TEXTURES.index(name)])
        _write_texture(folder, lambda count: made_defects.parts(name, count, rng, side_px), 2000)

    return write


def game_texture(name: str) -> Writer:
    """Writer of a texture of the game OpenArena, painted or photographed, as `texture`."""

    def write(folder: Path, share: Path | None) -> None:
        with zipfile.ZipFile(_package("game textures", share)) as packed:
            [path] = (x for x in packed.namelist() if x.startswith(f"textures/{name}."))
            whole = np.asarray(Image.open(io.BytesIO(packed.read(path))).convert("RGB"))
        rng = np.random.default_rng([3000, len(name)])
        _write_texture(folder, lambda count: made_defects.cut(whole, count, rng), 3000)

    return write


def _write_texture(folder: Path, parts: Callable[[int], np.ndarray], seed: int) -> None:
    trained, normal, base = map(parts, (TRAINED, NORMAL, DEFECTS))
    odd, masks, _ = defects(base, SHARES, seed=seed)
    _write(folder / "train" / "good", trained)
    _write(folder / "test" / "good", normal)
    _write(folder / "test" / "anomalous", odd)
    _write(folder / "ground_truth" / "anomalous", 255 * masks.astype(np.uint8)[..., None])


def stamp(category: str) -> Writer:
    """Writer of a category of stamps, on white; an eighth of the others is anomalous."""

    def write(folder: Path, share: Path | None) -> None:
        for each in sorted(path for path in _package("stamps", share).iterdir() if path.is_dir()):
            drawn = [p for p in sorted(each.rglob("*.png")) if not p.stem.endswith(("_mirror", "_flip"))]
            own = each.name == category
            for number, path in enumerate(drawn):
                if not own and number % 8:
                    continue
                where = "test/anomalous" if not own else "train/good" if number % 4 else "test/good"
                to = folder / where / f"{each.name}_{number:03}.png"
                _on_white(path, to)

    return write


def drawing(category: str) -> Writer:
    """Writer of a category of drawings, on white; some of each other one are anomalous."""

    def write(folder: Path, share: Path | None) -> None:
        root, rng = _package("drawings", share), np.random.default_rng(0)
        own, others = _some(root / category, DRAWN, rng), list[Path]()
        for each in sorted(path for path in root.iterdir() if path.is_dir()):
            if each.name not in (category.split("/")[0], "unsorted", "special"):
                others += _some(each, UNRELATED, rng)
        for number, path in enumerate(own):
            where = "train/good" if number % 4 else "test/good"
            _on_white(path, folder / where / f"{number:03}.png", DRAWING_PX)
        for number, path in enumerate(others):
            _on_white(path, folder / "test/anomalous" / f"{number:03}.png", DRAWING_PX)

    return write


def _some(folder: Path, count: int, rng: np.random.Generator) -> list[Path]:
    """Pictures at random, in order; no links to others, and none that is too large to be read."""
    files = [path for path in sorted(folder.rglob("*.png")) if not path.is_symlink() and max(_png_size(path)) < 4096]
    return [files[i] for i in sorted(rng.permutation(len(files))[:count])]


def _png_size(path: Path) -> tuple[int, ...]:
    """Width and height, px, of the header alone: Pillow refuses to open hundreds of millions of pixels."""
    with path.open("rb") as file:
        return struct.unpack(">2I", file.read(24)[16:])


def _on_white(path: Path, to: Path, most_px: int | None = None) -> None:
    """Writes a drawing with what is clear in white, made smaller where a side is longer."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as file:
        drawn = file.convert("RGBA")
    if most_px is not None:
        drawn.thumbnail((most_px, most_px))
    Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB").save(to)


def faces(folder: Path, share: Path | None) -> None:
    """scikit-image's faces of LFW, 25 px; what is no face is anomalous."""
    from skimage.data import lfw_subset

    pictures = np.rint(255 * lfw_subset()).astype(np.uint8)[..., None]
    _write(folder / "train" / "good", pictures[:70])
    _write(folder / "test" / "good", pictures[70:100])
    _write(folder / "test" / "anomalous", pictures[100:])


def _write(folder: Path, images: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:03}.png")


def needs(name: str) -> str | None:
    """The package that a set comes from; None: none."""
    return next((package for kind, (package, _) in PACKAGES.items() if name.startswith(kind)), None)


def _package(kind: str, share: Path | None) -> Path:
    package, where = PACKAGES[kind]
    if share is None or not (share / where).exists():
        raise FileNotFoundError(f"{kind} need --share DIR, the usr/share with {where} of the package {package}")
    return share / where


SETS: dict[str, Writer] = {
    **{name: texture(name) for name in made_defects.TEXTURES},
    "stamps: symbols": stamp("symbols"),
    "stamps: animals": stamp("animals"),
    "faces": faces,
}
"""Name -> writer of a folder."""
