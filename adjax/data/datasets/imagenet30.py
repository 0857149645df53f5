"""ImageNet-30 (Hendrycks et al. 2019): photographs of 30 things, 1,300 + 100 each, from the published folders.

    DIR/imagenet30/one_class_train/<class>/…  and  DIR/imagenet30/one_class_test/<class>/…

Sizes differ, so each photograph is brought to `SIDE_PX` square. The three splits of the center-loss paper are
held-out classes, tested by the 20 classes that were never trained on:

    a  classes 0–9 normal      task("imagenet30", "holdout:10-29")
    b  classes 10–19 normal    task("imagenet30", "holdout:0-9,20-29")
    c  classes 20–29 normal    task("imagenet30", "holdout:0-19")

or by one other split alone, as a by b: task("imagenet30", "holdout:10-19/0-9").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adjax.data.datasets import folder
from adjax.data.download import cache
from adjax.data.split import DataError, Split

CLASSES = tuple(
    """acorn airliner ambulance american_alligator banjo barn bikini digital_clock dragonfly dumbbell
    forklift goblet grand_piano hotdog hourglass manhole_cover mosque nail parking_meter pillow
    revolver rotary_dial_telephone schooner snowmobile soccer_ball stingray strawberry tank toaster volcano""".split()
)
SIDE_PX = 256
HALVES = ("one_class_train", "one_class_test")


def load_imagenet30(
    split: str, data_dir: Path | None = None, side_px: int = SIDE_PX, classes: Sequence[int] | None = None
) -> Split:
    """One split, or some classes of it: at 256 pixels all 39,000 training images take 7.7 GB, ten classes 2.6.

    Args:
      split: "train" or "test".
      data_dir: the folder that holds one_class_train and one_class_test, or holds imagenet30; without one,
        $ADJAX_DATA_DIR.
      side_px: size of the square that images are brought to; see `folder.load_folder`.
      classes: read these only; None: all.

    Returns:
      images uint8 [N, side_px, side_px, 3], labels int32, in the order of `CLASSES`.

    Raises:
      DataError: no such folder, other classes in it, or a file that can't be read.
    """
    root = where(data_dir)
    if root is None:
        places = ", ".join(map(str, _places(data_dir)))
        raise DataError(
            f"no {' and '.join(HALVES)} in {places}: no package ships ImageNet-30, so get it from its publisher, and "
            "name the folder that it is in: --data-dir DIR, or ADJAX_DATA_DIR=DIR"
        )
    found = folder.list_folder(root).classes
    if found != CLASSES:
        lacking = ", ".join(sorted(set(CLASSES) - set(found))) or "none"
        unknown = ", ".join(sorted(set(found) - set(CLASSES))) or "none"
        raise DataError(
            f"{root}: the class folders must be ImageNet-30's, in both halves; lacking: {lacking}; unknown: {unknown}. "
            "To use it as a set of its own, name its path as the data set, with side_px"
        )
    return folder.load_folder(root, split, side_px, classes, strict=True)


def where(data_dir: Path | None = None) -> Path | None:
    """The folder that has both halves; None if there is none."""
    return next((p for p in _places(data_dir) if all((p / half).is_dir() for half in HALVES)), None)


def _places(data_dir: Path | None) -> list[Path]:
    given = cache.given_dir(data_dir)
    here = [given / "imagenet30", given / "ImageNet-30", given] if given is not None else []
    return [*here, cache.cache_dir() / "imagenet30"]
