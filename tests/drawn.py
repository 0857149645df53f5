"""Weights and images that follow from their names alone, so that two libraries can have the same without a file.

NumPy only: `make_backbones.py` imports this where PyTorch is, `test_backbone_outputs.py` where it isn't.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from zlib import crc32

import numpy as np

COUNTER = "num_batches_tracked"
_SCALES = "weight", "gamma", "lambda1", "layer_scale"


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of that name, float32; a network of such weights neither dies out nor explodes."""
    if name.endswith(COUNTER):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(crc32(name.encode()))
    if name.endswith("running_var") or (name.endswith(_SCALES) and np.prod(shape) == shape[0]):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    spread = np.sqrt(2 / np.prod(shape[1:])) if name.endswith("weight") else 0.2
    return rng.standard_normal(shape, np.float32) * np.float32(spread)


def images(shape: tuple[int, ...]) -> np.ndarray:
    """float32 [N, H, W, 3], as a network sees them: mean 0, variance 1."""
    return np.random.default_rng(crc32(str(tuple(shape)).encode())).standard_normal(shape, np.float32)


def sample(name: str, x: np.ndarray, count: int = 16) -> np.ndarray:
    """Some values of an output, at places that follow from its name."""
    places = np.random.default_rng(crc32(name.encode())).integers(x.size, size=count)
    return np.asarray(x).reshape(-1)[places]


def packed(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Names and shapes in few words: "layer#.#.weight 64x3" -> "1.0 1.1", the numbers that stand at each #."""
    found: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        key = f"{re.sub(r'[0-9]+', '#', name)} {'x'.join(map(str, shape))}"
        found.setdefault(key, []).append(".".join(re.findall("[0-9]+", name)))
    return {key: " ".join(numbers) for key, numbers in found.items()}


def unpacked(lines: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """What `packed` was given."""
    found = {}
    for key, numbers in lines.items():
        pattern, _, shape = key.partition(" ")
        for each in numbers.split(" "):
            found[_filled(pattern, each.split("."))] = tuple(int(n) for n in shape.split("x") if n)
    return found


def _filled(pattern: str, numbers: Iterable[str]) -> str:
    for number in numbers:
        pattern = pattern.replace("#", number, 1)
    return pattern
