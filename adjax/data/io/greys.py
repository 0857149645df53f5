"""Greys of a DICOM file's stored values, as its header says and PS3.3 C.11 defines:

    stored → the modality's table or slope and intercept → a window or a table → 0 … 255 → turned over, if MONOCHROME1

| the header | 0 and 255 are |
|---|---|
| WindowCenter, WindowWidth: the first of several | the ends of that window, by its VOILUTFunction (C.11.2.1.2) |
| no window, but a VOI LUT Sequence: its first table | 0 and the greatest value of the table's bits (C.11.2.1.1) |
| neither, but a Modality LUT Sequence | 0 and the greatest value of that table's bits (C.11.1) |
| none of them | the least and the greatest value that BitsStored allows, after slope and intercept |

So the same value means the same grey in all pictures of one header. A value beside a table is its first or last entry.
Enhanced files have slope, window and table in functional groups, of a frame or of all, and they are read there.

Tables are looked up here, since pydicom 3.0 wraps: `apply_voi_lut` where a table of 8 bits has more than 256 entries,
`apply_modality_lut` where the dtype of signed values can't hold their distance to the table's first one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adjax.data.split import DataError

Window = tuple[float, float, str]
"""Center, width and "LINEAR", "LINEAR_EXACT" or "SIGMOID"."""
_LEAST_BITS, _MOST_BITS = 8, 16


class Unfit(DataError):
    """The reason why a DICOM file is not read, without its path."""


class Table(NamedTuple):
    """A lookup table of a DICOM file.

    Attributes:
      first: the value that its first entry is of.
      entries: uint16[n].
      bits: of an entry.
    """

    first: int
    entries: np.ndarray
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The entries of values, float64; of those beside the table the nearest."""
        return self.entries[np.clip(np.rint(values).astype(int) - self.first, 0, len(self.entries) - 1)].astype(float)

    @property
    def limits(self) -> tuple[float, float]:
        """What stands for black and white."""
        return 0, (1 << self.bits) - 1


def of(header: Any, stored: np.ndarray, frame: int, big_endian: bool) -> np.ndarray:
    """Computes what each value that can be stored is shown as.

    Args:
      header: pydicom's data set, of `dicom.TAGS`.
      stored: all values that can be, int[n].
      frame: from 0.
      big_endian: whether the file is.

    Returns:
      uint8[n].

    Raises:
      Unfit: the header says nothing that can be shown.
    """
    order = ">" if big_endian else "<"
    modality = _table(header, "ModalityLUTSequence", order)
    slope, intercept = _rescale(header, frame)
    values = stored * slope + intercept if modality is None else modality(stored)
    group = _group(header, "FrameVOILUTSequence", frame)
    window = _window(group)
    table = None if window is not None else _table(group, "VOILUTSequence", order)
    if table is not None:
        grey = shown(table(values), table.limits)
    else:
        grey = shown(values, (values.min(), values.max()) if modality is None else modality.limits, window)
    return 255 - grey if header.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def shown(values: np.ndarray, limits: tuple[float, float], window: Window | None = None) -> np.ndarray:
    """Computes the greys of values, by C.11.2.1.2.

    Args:
      values: float[n], of the modality.
      limits: what is black and white without a window.
      window: a `Window`, or None.

    Returns:
      uint8[n], rounded to the nearest.

    Raises:
      Unfit: a window of no width, or of another function; limits that are one.
    """
    if window is None:
        low, high = limits
        if not high > low:
            raise Unfit("RescaleSlope 0: all values are one")
        return np.rint(255 * ((values - low) / (high - low))).astype(np.uint8)
    center, width, function = window
    least = 1 if function == "LINEAR" else 0
    if width < least or (width == 0 and least == 0):
        raise Unfit(f"WindowWidth {width:g}: must be {'at least 1' if least else 'above 0'} for {function}")
    if function == "SIGMOID":
        share = (1 + np.tanh(2 * (values - center) / width)) / 2  # 1 / (1 + exp(−4 (x − c) / w)), without overflow
    elif function in ("LINEAR", "LINEAR_EXACT"):
        center, width = (center - 0.5, width - 1) if least else (center, width)
        share = (values - center) / width + 0.5 if width else (values > center).astype(float)
    else:
        raise Unfit("a VOILUTFunction other than LINEAR, LINEAR_EXACT and SIGMOID: save it as 8-bit PNG")
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _table(group: Any, name: str, order: str) -> Table | None:
    """The first lookup table of a sequence; None: there is none."""
    if not (items := group.get(name)):
        return None
    told, data = items[0].get("LUTDescriptor"), items[0].get("LUTData")
    if told is None or len(told) != 3 or data is None:
        raise Unfit(f"damaged: a {name} without its three numbers or its entries")
    count, first, bits = map(int, told)
    count = count % (1 << _MOST_BITS) or 1 << _MOST_BITS  # 65,536 has no 16 bits, and signed ones end at 32,767
    if not _LEAST_BITS <= bits <= _MOST_BITS:
        raise Unfit(f"damaged: a {name} of {bits} bits an entry; 8 to 16 are read")
    if isinstance(data, bytes):  # OW: a word an entry, or packed bytes
        kind = "u1" if bits == _LEAST_BITS and len(data) in (count, count + 1) else f"{order}u2"
        data = np.frombuffer(data, kind)[:count]
    entries = np.atleast_1d(np.asarray(data, int))
    if len(entries) != count or entries.min() < 0 or entries.max() >> bits:
        raise Unfit(f"damaged: a {name} of {count} entries of {bits} bits holds others")
    return Table(first, entries.astype(np.uint16), bits)


def _rescale(found: Any, frame: int) -> tuple[float, float]:
    """Slope and intercept."""
    group = _group(found, "PixelValueTransformationSequence", frame)
    slope, intercept = _number(group, "RescaleSlope"), _number(group, "RescaleIntercept")
    return 1 if slope is None else slope, intercept or 0


def _window(group: Any) -> Window | None:
    """The first window; None: there is none."""
    center, width = _number(group, "WindowCenter"), _number(group, "WindowWidth")
    if center is None or width is None:
        return None
    return center, width, str(group.get("VOILUTFunction") or "LINEAR").upper()


def _group(found: Any, name: str, frame: int) -> Any:
    """What holds the elements of a functional group: that of the frame, of all frames, or the file itself."""
    for groups, row in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = found.get(groups) or ()
        if row < len(items) and (inner := items[row].get(name)):
            return inner[0]
    return found


def _number(group: Any, name: str) -> float | None:
    """The first value of an element."""
    value = group.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if not math.isfinite(value := float(value)):
        raise Unfit(f"damaged: {name} {value}")
    return value
