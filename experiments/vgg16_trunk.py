"""VGG16's convolutions out of an ONNX file: `python -m experiments.vgg16_trunk FILE.onnx OUT.safetensors`.

Some ONNX files of fine-tuned classifiers hold the thirteen convolutions under Keras's names. Their arrays are written
under these names, in Keras's layout, so that `--weights OUT.safetensors` reads them as a file of Keras. Whether they
are those of ImageNet, only the file's author knows. Nothing of the file is run: its fields are read as bytes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adjax.models import vgg16

_GRAPH, _INITIALIZER = 7, 5  # of ModelProto and of GraphProto
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9  # of TensorProto
_FLOAT = 1
_KERNEL = re.compile(r"(block\d_conv\d)\w*/convolution/ReadVariableOp")
_BIAS = re.compile(r"(block\d_conv\d)\w*/Squeeze")


def trunk(data: bytes) -> dict[str, np.ndarray]:
    """Reads the convolutions.

    Args:
      data: of an ONNX file.

    Returns:
      "block1_conv1/kernel" float32[3, 3, in, out], "block1_conv1/bias" float32[out] and so on, of all thirteen.

    Raises:
      ValueError: no ONNX file, or one without some of the convolutions; says which.
    """
    found: dict[str, np.ndarray] = {}
    for graph in _all(memoryview(data), _GRAPH):
        for tensor in _all(graph, _INITIALIZER):
            own = dict(_fields(tensor))
            name = bytes(own.get(_NAME, b"")).decode()
            kernel, bias = _KERNEL.search(name), _BIAS.search(name)
            raw = own.get(_RAW)
            if own.get(_TYPE) != _FLOAT or not isinstance(raw, memoryview) or not (kernel or bias):
                continue
            array = np.frombuffer(raw, "<f4").reshape(_shape(tensor))
            if kernel is not None:
                found[f"{kernel[1]}/kernel"] = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
            elif bias is not None:
                found[f"{bias[1]}/bias"] = array.copy()
    missing = [name for layer in vgg16.LAYERS for name in (f"{layer}/kernel", f"{layer}/bias") if name not in found]
    if missing:
        raise ValueError(f"the file lacks {len(missing)} arrays of VGG16, first {missing[0]}: take another file")
    return found


def _shape(tensor: memoryview) -> list[int]:
    """Dimensions, packed or one by one."""
    dims: list[int] = []
    for number, value in _fields(tensor):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
    return dims


def _all(message: memoryview, number: int) -> list[memoryview]:
    return [value for field, value in _fields(message) if field == number and not isinstance(value, int)]


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message in protocol buffers' wire format."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}: this is no ONNX file, name another")
        if at + size > len(message):
            raise ValueError("a field ends behind the file: it is cut short or no ONNX file, name another")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number ends behind the file: it is cut short or no ONNX file, name another")


def _varints(message: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        values.append(value)
    return values


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m experiments.vgg16_trunk FILE.onnx OUT.safetensors")
    try:
        save_file(trunk(Path(sys.argv[1]).read_bytes()), sys.argv[2])
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
