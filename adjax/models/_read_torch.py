"""Reads the tensors of a PyTorch `.pth` file without unpickling it, and without PyTorch.

Such a file is a pickle, that is, a program. Here it runs on a machine that knows the opcodes and the names which a
state dict is made of, none of which it imports: a name outside the list ends the reading, and is named. What is left of
the program is data: a dict of views (offset, shape, strides) into storages, each checked against the bytes that are
there.

    zip format (PyTorch ≥ 1.6)   NAME/data.pkl, and NAME/data/KEY for each storage, stored uncompressed
    legacy format                five pickles (magic, version, system, the dict, the keys), then for each key a count
                                 (int64) and the values
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from adjax.data.split import DataError

MAX_FILE_BYTES = 4 << 30
MAX_PICKLE_BYTES = 16 << 20  # EfficientNet-B0's is 40 kB: names, shapes, strides
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class WeightsError(DataError):
    """A file of weights is missing, unsafe, or doesn't fit the model; the message says what to do."""


class _Name(NamedTuple):
    """A name that the pickle mentions; never imported."""

    module: str
    name: str


class _Storage(NamedTuple):
    dtype: Any
    key: str
    values: int  # how many


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = object()
_ORDERED_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_ALLOWED = {_ORDERED_DICT, _TENSOR, _PARAMETER, *(_Name("torch", name) for name in _DTYPES)}


def read_torch(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, by name, as read-only views into the file's bytes.

    Args:
      file: written by `torch.save` of a state dict, or of a dict with a "state_dict" or "model" in it. "module." before
        every name (DataParallel) is left out.

    Raises:
      WeightsError: another kind of file; anything in it that a state dict has no need of; a view outside of its
        storage; a file larger than MAX_FILE_BYTES.
    """
    try:
        with open(file, "rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise WeightsError(f"{file} is larger than {MAX_FILE_BYTES:,} bytes: convert it to safetensors elsewhere")
    try:
        loaded, storage = _open_zip(content) if content[:4] == b"PK\x03\x04" else _open_legacy(content)
        return {name: _array(name, view, storage) for name, view in _state_dict(loaded).items()}
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None


Fetch = Callable[[_Storage], np.ndarray]


def _open_zip(content: bytes) -> tuple[Any, Fetch]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise WeightsError(f"a damaged zip file: {error}") from None
    roots = [name.removesuffix("data.pkl") for name in entries if name.split("/")[-1] == "data.pkl"]
    if len(roots) != 1:
        raise WeightsError(f"holds {len(roots)} files data.pkl: a state dict has 1. Is it a TorchScript archive?")
    root = roots[0]

    def member(name: str, limit: int) -> bytes:
        entry = entries.get(root + name)
        if entry is None:
            raise WeightsError(f"has no {name}")
        # torch.save stores; what is compressed may be a bomb
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > min(limit, len(content)):
            raise WeightsError(f"{name} is compressed, or {entry.file_size:,} bytes, more than {limit:,}")
        try:
            return archive.read(entry)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, struct.error) as error:
            raise WeightsError(f"cannot read {name}: {error}") from None

    if root + "constants.pkl" in entries:
        raise WeightsError("a TorchScript archive, which is code: save the state dict, torch.save(model.state_dict())")
    if root + "byteorder" in entries and (order := member("byteorder", 16)) != b"little":
        raise WeightsError(f"byte order {order!r}: only little-endian files are read")
    loaded, _ = _run(member("data.pkl", MAX_PICKLE_BYTES), 0)
    read: dict[str, bytes] = {}

    def fetch(storage: _Storage) -> np.ndarray:
        key = storage.key
        if not key.isascii() or not key.replace("_", "").isalnum():
            raise WeightsError(f"storage {key[:40]!r}: keys are letters and digits")
        if key not in read:
            read[key] = member(f"data/{key}", MAX_FILE_BYTES)
        return _values(read[key], storage)

    return loaded, fetch


def _open_legacy(content: bytes) -> tuple[Any, Fetch]:
    at = 0
    parts: list[Any] = []
    for _ in range(5):
        part, at = _run(content, at)
        if not parts and part != _LEGACY_MAGIC:
            break
        parts.append(part)
    if len(parts) < 5:
        raise WeightsError("not a PyTorch file: neither a zip archive nor PyTorch's magic number")
    _, version, system, loaded, keys = parts
    if version != _LEGACY_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError("of another format version, or not little-endian: save it again with a current torch.save")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise WeightsError("its list of storages is malformed")
    # How long a value is follows from the dict, not from the count that stands before the values.
    kinds = {view.storage.key: view.storage for view in _views(loaded)}
    read: dict[str, bytes] = {}
    for key in keys:
        if key not in kinds:
            raise WeightsError(f"storage {key[:40]!r} belongs to no tensor")
        if at + 8 > len(content):
            raise WeightsError(f"ends before storage {key[:40]!r}")
        (count,) = struct.unpack_from("<q", content, at)
        if count != kinds[key].values:
            raise WeightsError(f"storage {key[:40]!r} has {count} values, but {kinds[key].values} by its tensors")
        size = count * np.dtype(kinds[key].dtype).itemsize
        if at + 8 + size > len(content):
            raise WeightsError(f"ends within storage {key[:40]!r}")
        read[key] = content[at + 8 : at + 8 + size]
        at += 8 + size

    def fetch(storage: _Storage) -> np.ndarray:
        if storage.key not in read:
            raise WeightsError(f"has no storage {storage.key[:40]!r}")
        return _values(read[storage.key], storage)

    return loaded, fetch


def _values(content: bytes, storage: _Storage) -> np.ndarray:
    size = np.dtype(storage.dtype).itemsize
    if len(content) != storage.values * size:
        raise WeightsError(
            f"storage {storage.key!r} has {len(content):,} bytes, not {storage.values} × {size} as its tensors say"
        )
    return np.frombuffer(content, storage.dtype)


def _state_dict(loaded: Any) -> dict[str, _View]:
    for name in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict):
        raise WeightsError("holds no state dict: save one by torch.save(model.state_dict(), …)")
    views = {name: view for name, view in loaded.items() if isinstance(view, _View)}
    if not views:
        raise WeightsError("holds no tensor")
    if all(name.startswith("module.") for name in views):
        views = {name.removeprefix("module."): view for name, view in views.items()}
    return views


def _views(loaded: Any) -> Iterator[_View]:
    """Every tensor in nested dicts, each dict once: a pickle may mention one twice, and in itself."""
    seen, todo = set(), [loaded]
    while todo:
        item = todo.pop()
        if isinstance(item, _View):
            yield item
        elif isinstance(item, dict) and id(item) not in seen:
            seen.add(id(item))
            todo += item.values()


def _array(name: str, view: _View, fetch: Fetch) -> np.ndarray:
    """The view as an array, every element of it within the storage and of its own."""
    values = fetch(view.storage)
    count = math.prod(view.shape)
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    if count and last >= len(values):
        raise WeightsError(f"tensor {name[:80]!r} reaches to value {last} of a storage of {len(values)}")
    if count > len(values):  # by strides of 0: a few bytes that claim to be terabytes
        raise WeightsError(f"tensor {name[:80]!r} has {count} values, more than its storage, {len(values)}")
    if not count:
        return np.zeros(view.shape, values.dtype)
    strides = [s * values.itemsize for s in view.strides]
    return np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides, writeable=False)


def _run(content: bytes, at: int) -> tuple[Any, int]:
    """What the pickle at `at` builds, and where it ends."""
    stream = io.BytesIO(content[at : at + MAX_PICKLE_BYTES])
    machine = _Machine()
    try:
        for opcode, argument, position in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.pop(), at + (position or 0) + 1
            machine.do(opcode.name, argument)
    except WeightsError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        # genops refuses unknown opcodes and short streams by ValueError; the rest are ill-formed programs
        raise WeightsError(f"a damaged pickle: {str(error)[:200]}") from None
    raise WeightsError("a pickle without an end")


class _Machine:
    """A stack, a memo, and the opcodes of a state dict; objects are dicts, lists, tuples, views and plain values."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, opcode: str, argument: Any) -> None:
        """One instruction.

        Raises:
          WeightsError: an opcode, a name or a call that a state dict has no need of.
          IndexError, KeyError, TypeError, ValueError: the program is ill-formed.
        """
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode]())
            case "TUPLE":
                stack.append(tuple(self.to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(reversed(items)))
            case "APPEND" | "APPENDS":
                items = [self.pop()] if opcode == "APPEND" else self.to_mark()
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [self.pop(), self.pop()][::-1] if opcode == "SETITEM" else self.to_mark()
                self.set(items)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top(object)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top(object)
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                stack.append(_allowed(module, name))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                stack.append(_allowed(module, name))
            case "BINPERSID":
                stack.append(_storage(self.pop()))
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                stack.append(_call(function, arguments))
            case "BUILD":  # the attributes of an ordered dict: versions of modules
                self.pop()
                self.top(dict)
            case _:
                raise WeightsError(f"refused: pickle opcode {opcode}, which no state dict needs")

    def pop(self) -> Any:
        item = self.stack.pop()
        if item is _MARK:
            raise ValueError("a mark where a value should be")
        return item

    def top(self, kind: type) -> Any:
        item = self.stack[-1]
        if item is _MARK or not isinstance(item, kind):
            raise TypeError(f"{type(item).__name__} where {kind.__name__} should be")
        return item

    def to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def set(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # hashing a tuple of tuples of … may take for ever
            if not isinstance(key, str | int):
                raise WeightsError(f"refused: a dict key of type {type(key).__name__}; only str and int are taken")
            target[key] = value


def _allowed(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a name other than text")
    if (given := _Name(module, name)) not in _ALLOWED:
        raise WeightsError(
            f"refused: it asks for {module[:80]}.{name[:80]}, which no state dict needs. Save the state dict alone, "
            "torch.save(model.state_dict(), …), and trust no file that calls other code"
        )
    return given


def _storage(identity: Any) -> _Storage:
    match identity:
        case ("storage", _Name("torch", kind), str(key), str(), count, *rest) if rest in ([], [None]):
            if kind in _DTYPES and _natural(count):
                return _Storage(_DTYPES[kind], key, count)
    raise WeightsError("refused: a persistent id other than a storage")


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(arguments, tuple) or not isinstance(function, _Name):  # a _Name equals a tuple of two texts
        raise TypeError("a call of something other than a name, or without a tuple of arguments")
    if function == _ORDERED_DICT and not arguments:
        return {}
    if function == _PARAMETER and arguments and isinstance(arguments[0], _View):
        return arguments[0]
    if function == _TENSOR and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]
        numbers = [offset, *_integers(shape), *_integers(strides)]
        if isinstance(storage, _Storage) and len(shape) == len(strides) <= 32 and all(_natural(n) for n in numbers):
            return _View(storage, offset, shape, strides)
        raise WeightsError("refused: a tensor whose offset, shape or strides are not natural numbers")
    raise WeightsError("refused: a call that no state dict needs")


def _integers(value: Any) -> tuple:
    if not isinstance(value, tuple):
        raise TypeError("a shape other than a tuple")
    return value


def _natural(n: Any) -> bool:
    return type(n) is int and 0 <= n < 2**63
