"""Folders of pictures for `benchmarks.anomalib`: textures with synthetic defects, stamps, faces.

Each is train/good, test/good, test/anomalous and, where a mask is known, ground_truth/anomalous: the layout of MVTec.
"""

from __future__ import annotations

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


def texture(name: str) -> Callable[[Path, Path | None], None]:
    """Writer of one texture of `experiments.made_defects`, from other draws."""

    def write(folder: Path, stamps: Path | None) -> None:
        rng = np.random.default_rng([2000, made_defects.TEXTURES.index(name)])
        trained, normal, base = (made_defects.parts(name, n, rng) for n in (TRAINED, NORMAL, DEFECTS))
        odd, masks, _ = defects(base, SHARES, seed=2000)
        _write(folder / "train" / "good", trained)
        _write(folder / "test" / "good", normal)
        _write(folder / "test" / "anomalous", odd)
        _write(folder / "ground_truth" / "anomalous", 255 * masks.astype(np.uint8)[..., None])

    return write


def stamp(category: str) -> Callable[[Path, Path | None], None]:
    """Writer of a category of the package `tuxpaint-stamps-default`, on white; an eighth of the others is anomalous."""

    def write(folder: Path, stamps: Path | None) -> None:
        if stamps is None:
            raise FileNotFoundError("stamps need --stamps DIR, of the package tuxpaint-stamps-default")
        for each in sorted(path for path in stamps.iterdir() if path.is_dir()):
            drawn = [p for p in sorted(each.rglob("*.png")) if not p.stem.endswith(("_mirror", "_flip"))]
            own = each.name == category
            for number, path in enumerate(drawn):
                if not own and number % 8:
                    continue
                where = "test/anomalous" if not own else "train/good" if number % 4 else "test/good"
                to = folder / where / f"{each.name}_{number:03}.png"
                to.parent.mkdir(parents=True, exist_ok=True)
                drawing = Image.open(path).convert("RGBA")
                Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB").save(to)

    return write


def faces(folder: Path, stamps: Path | None) -> None:
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


SETS: dict[str, Callable[[Path, Path | None], None]] = {
    **{name: texture(name) for name in made_defects.TEXTURES},
    "stamps: symbols": stamp("symbols"),
    "stamps: animals": stamp("animals"),
    "faces": faces,
}
"""Name -> writer of a folder; it is told where the stamps are."""
