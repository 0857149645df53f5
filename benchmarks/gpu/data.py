"""The images of the main job as two files to carry: `python -m benchmarks.gpu.data FOLDER`.

`normal.npz` is MNIST, `ood.npz` Fashion-MNIST's test images; of its training images, which the job doesn't read, as
many as name its classes. `--dry` makes both of scikit-learn's digits, which need no network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from adjax import data, surface

NORMAL, OOD = "normal.npz", "ood.npz"
_NAMING = 1000


def write(folder: Path, dry: bool) -> None:
    """Writes both files.

    Args:
      folder: made if it isn't there.
      dry: of digits, the last of which don't belong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if dry:
        halves = [data.load("digits", split) for split in ("train", "test")]
        normal = [data.Split(x.images[x.labels < 9], x.labels[x.labels < 9]) for x in halves]
        ood = [data.Split(x.images[x.labels == 9], np.zeros_like(x.labels[x.labels == 9])) for x in halves]
    else:
        normal, ood = ([data.load(name, half) for half in ("train", "test")] for name in ("mnist", "fashion_mnist"))
        ood[0] = data.Split(ood[0].images[:_NAMING], ood[0].labels[:_NAMING])
    for name, (train, test) in ((NORMAL, normal), (OOD, ood)):
        arrays = {"x_train": train.images, "y_train": train.labels, "x_test": test.images, "y_test": test.labels}
        np.savez_compressed(folder / name, allow_pickle=False, **arrays)
        print(folder / name, f"{(folder / name).stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.data", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry", action="store_true", help="of digits")
    args = parser.parse_args()
    write(args.folder, args.dry)


if __name__ == "__main__":
    surface.script(main)
