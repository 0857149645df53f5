"""tensorflow-datasets: sets already prepared on this machine, or prepared by it now.

Reading a set in array_record form needs no TensorFlow; preparing one does, and offline it would retry for
minutes: so the network is probed first, and the work is done in a child process.

tfds keeps images in an order of its own, so a set is recognised by `unordered_digest`, and `published_order`
puts it back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from adjax import distribution
from adjax.data.download.cache import given_dir
from adjax.data.download.package_mirrors import Unavailable
from adjax.data.split import DataError, Split, make_split

HOME = "https://storage.googleapis.com/tfds-data/"  # where tfds keeps what it has itself
PROBE_SECONDS = 2.0
PREPARE_SECONDS = 1800.0
PREPARE = (
    "import sys, tensorflow_datasets as tfds;"
    "tfds.builder(sys.argv[1], data_dir=sys.argv[2], file_format='array_record').download_and_prepare()"
)


def roots(data_dir: Path | None) -> list[Path]:
    """Lists the folders of prepared sets, the given one first; new ones go to the first."""
    own = os.environ.get("TFDS_DATA_DIR")
    places = [given_dir(data_dir), Path(own).expanduser() if own else None]
    return [place for place in places if place is not None] + [Path("~/tensorflow_datasets").expanduser()]


def prepared(name: str, data_dir: Path | None) -> Path | None:
    """Finds the newest prepared version of a set.

    Args:
      name: "set", "set/config" or "set:version".
      data_dir: where tfds may keep its sets; None: its usual places.

    Returns:
      Its folder; None if there is none.
    """
    base, _, wanted = name.partition(":")
    for root in roots(data_dir):
        versions = [path.parent for path in (root / base).glob("*/dataset_info.json")]
        versions = [path for path in versions if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
        if wanted:
            versions = [path for path in versions if path.name == wanted]
        if versions:
            return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
    return None


def prepare(name: str, data_dir: Path | None) -> Path:
    """Downloads and prepares a set, if that is possible here.

    Args:
      name: as of `prepared`.
      data_dir: where to; None: the first of the usual places.

    Returns:
      The folder of the prepared set.

    Raises:
      Unavailable: TensorFlow isn't installed, the host doesn't answer, or tfds failed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise Unavailable(f"preparing a set needs TensorFlow: {distribution.install('tfds')}")
    if not answers():
        raise Unavailable(f"the host of tfds did not answer within {PROBE_SECONDS:g} s")
    root = roots(data_dir)[0]
    command = [sys.executable, "-c", PREPARE, name, str(root)]
    try:
        done = subprocess.run(command, timeout=PREPARE_SECONDS, capture_output=True, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        raise Unavailable(f"tfds did not prepare {name} within {PREPARE_SECONDS:g} s") from None
    folder = prepared(name, data_dir)
    if done.returncode or folder is None:
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise Unavailable(f"tfds could not prepare {name}: {last[:300] or 'it said nothing'}")
    return folder


def answers() -> bool:
    """Tells whether the host of tfds answers within PROBE_SECONDS, name look-up included."""
    heard = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(HOME, method="HEAD"), timeout=PROBE_SECONDS):
                heard.append(True)
        except urllib.error.HTTPError:
            heard.append(True)  # a refusal is an answer
        except OSError:
            pass

    # A thread, because no timeout of Python's bounds a name look-up.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(heard)


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes of a prepared set."""
    return tuple(_builder(folder).info.features["label"].names)


def read(folder: Path, split: str) -> Split:
    """Reads one split of a prepared set, in the order of tfds.

    Args:
      folder: as of `prepared`.
      split: "train" or "test".

    Returns:
      The `Split`.

    Raises:
      DataError: no such split, no features "image" and "label", images of several sizes, or a form that only
        TensorFlow reads, where that isn't installed.
    """
    builder = _builder(folder)
    if split not in builder.info.splits:
        raise DataError(f"{folder} has no {split} split, but {', '.join(builder.info.splits)}")
    examples = _examples(builder, split, folder)
    images = [np.asarray(example["image"]) for example in examples]
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        raise DataError(
            f"{folder}: images have {len(shapes)} shapes, {shapes[0]} to {shapes[-1]}, but must have one; "
            "resize them and give them as an image folder"
        )
    return make_split(np.stack(images), np.array([int(example["label"]) for example in examples]), folder)


def unordered_digest(split: Split) -> str:
    """SHA-256 (hex) that tells the same images with the same labels, in whatever order they come.

    It is taken over the sorted SHA-256s of image bytes followed by the label, int32 little-endian.
    """
    samples = zip(split.images, split.labels.astype("<i4"), strict=True)
    each = sorted(hashlib.sha256(image.tobytes() + label.tobytes()).digest() for image, label in samples)
    return hashlib.sha256(b"".join(each)).hexdigest()


def published_order(count: int, split: str) -> np.ndarray:
    """Computes, for each row of tfds, its row as published: tfds sorts rows by the MD5 of split name and row number.

    Args:
      count: rows of the split, ≥ 0.
      split: "train" or "test".

    Returns:
      int64 [count], a permutation.
    """
    return np.array(sorted(range(count), key=lambda row: _md5(f"{split}{row}")))


def _builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(folder))


def _examples(builder: Any, split: str, folder: Path) -> list[Any]:
    features = builder.info.features
    if "image" not in features or "label" not in features:
        raise DataError(f"{folder} has features {', '.join(features)}, but 'image' and 'label' are needed")
    if "array_record" in str(builder.info.file_format).lower():
        source = builder.as_data_source(split)
        return [source[row] for row in range(len(source))]
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{folder} is in {builder.info.file_format} form, which needs TensorFlow: {distribution.install('tfds')}"
        )
    import tensorflow_datasets as tfds

    return list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()
