"""Reads the arrays of a Keras `.h5` file of weights. HDF5 can point out of its file; such pointers are not followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adjax import distribution
from adjax.models._read_torch import MAX_FILE_BYTES, WeightsError


def read_keras(file: Path) -> dict[str, np.ndarray]:
    """The arrays of the file by "layer/variable", such as "stem_conv/kernel"; layers may have slashes of their own.

    Args:
      file: written by `model.save_weights("….h5")` or `model.save("….h5")` of Keras 1 or 2, or 3 in its legacy format.
        Variables of old versions are renamed: "conv1_W_1:0" is "kernel", "conv1_b_1:0" is "bias".

    Raises:
      WeightsError: h5py is not installed; no such file; external or virtual data; arrays that say they are larger than
        MAX_FILE_BYTES; names that no Keras writes.
    """
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(f"to read {file}, install h5py: {distribution.install('weights')}") from error
    try:
        with h5py.File(file, "r") as opened:
            root = opened.get("model_weights", opened)
            layers = _layers(root)
            found: dict[str, Any] = {}
            # visits what lies in the file, each once: links to other names and other files are not followed
            root.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            total = sum(item.size * item.dtype.itemsize for item in found.values())
            if total > MAX_FILE_BYTES:
                raise WeightsError(f"{file} says it holds {total:,} bytes, more than {MAX_FILE_BYTES:,}")
            arrays = {}
            for path, item in found.items():
                if item.external or item.is_virtual:
                    raise WeightsError(f"{file}: {path} lies in another file: refused")
                if item.dtype.kind != "f":
                    continue  # counters, and whatever is no weight
                if (name := _name(path, layers)) in arrays:
                    raise WeightsError(f"{file} has {name} twice")
                arrays[name] = np.asarray(item[()])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise error if isinstance(error, WeightsError) else WeightsError(f"cannot read {file}: {error}") from error
    if not arrays:
        raise WeightsError(f"{file} holds no floating-point array")
    return arrays


def _layers(root: Any) -> list[str]:
    """The layers that the file says it has, the longest names first; a long list fills several attributes."""
    names = [n for key in root.attrs if key.startswith("layer_names") for n in np.ravel(root.attrs[key])]
    return sorted((n.decode() if isinstance(n, bytes) else str(n) for n in names), key=len, reverse=True)


def _name(path: str, layers: list[str]) -> str:
    layer = next((name for name in layers if path.startswith(name + "/")), path.split("/")[0])
    variable = path.rsplit("/", 1)[-1].removesuffix(":0")
    base = layer.rsplit("/", 1)[-1]
    old = variable.removeprefix(base + "_").removesuffix("_1")
    return f"{layer}/{ {'W': 'kernel', 'b': 'bias'}.get(old, variable) }"
