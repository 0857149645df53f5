"""Range that 16-bit pictures use: a camera's 10 or 12 bits in files of 16 keep few levels.

Nothing in such a file says that its white is 4095, and a dark picture looks the same, so nothing is guessed of one
picture. `adjax train` fits a rule to all of a folder: white is 2^d − 1 of the least even d, 8 to 16, that holds every
value. The detector keeps d (`adjax.spec.Spec.depth`), and refuses pictures with values above, or of other kinds.
Colours that a detector of grey pictures can't see are counted beside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WHOLE = 16
NARROW = 32
"""Among 256 levels: pictures that stay below use at most an eighth of their range, 13 bits."""


class Depths:
    """Counts pictures, from any thread.

    Attributes:
      peaks: of each picture, see `upload.Picture`.
      modes: of each, see `upload.Header`.
      coloured: of each, see `upload.Picture`.
    """

    def __init__(self) -> None:
        self.peaks: list[int | None] = []
        self.modes: list[str] = []
        self.coloured: list[bool] = []

    def add(self, peak: int | None, mode: str, coloured: bool = False) -> None:
        """Counts a picture.

        Args:
          peak, coloured: see `upload.Picture`.
          mode: see `upload.Header`.
        """
        self.peaks.append(peak)
        self.modes.append(mode)
        self.coloured.append(coloured)

    def fitted(self) -> int:
        """Bits that all pictures use, if all are 16-bit grey: 8, 10, 12 or 14; else 16."""
        peaks = [peak for peak in self.peaks if peak is not None]
        if not peaks or len(peaks) < len(self.peaks) or not all(mode.startswith("I;16") for mode in self.modes):
            return WHOLE
        return _bits(max(peaks) * 256 + 255)

    def rule(self) -> str:
        """What `fitted` means, for people."""
        bits = self.fitted()
        return (
            f"all {len(self.peaks):,} pictures are 16-bit grey with values below {1 << bits:,}: taken for {bits}-bit "
            f"data, whose white is {(1 << bits) - 1:,}; predict refuses pictures of another depth"
        )

    def record(self) -> dict[str, int]:
        """`pictures`, those of them with `sixteen` bits, of those the `narrow`, and the largest value of these."""
        deep = [peak for peak in self.peaks if peak is not None]
        narrow = [peak for peak in deep if peak < NARROW]
        largest = max(narrow, default=0) * 256 + 255
        return {"pictures": len(self.peaks), "sixteen": len(deep), "narrow": len(narrow), "largest": largest}

    def told(self, trained: Mapping[str, int] | None = None, depth: int = WHOLE) -> str | None:
        """A line for people, if there is something to tell.

        Args:
          trained: `record` of the pictures that a detector was trained on, if it is known.
          depth: bits that they are scaled by, see `fitted`.

        Returns:
          The line, or None.
        """
        found, said = self.record(), []
        if found["narrow"] and depth == WHOLE:
            largest = found["largest"]
            said.append(
                f"{found['narrow']:,} of {found['sixteen']:,} pictures with 16 bits use only values up to {largest:,} "
                f"of 65,535: probably {_bits(largest)}-bit data in 16-bit files, of which {(largest + 1) // 256} grey "
                f"levels are left; multiply them by {65536 // (largest + 1)} first, all alike"
            )
        if trained is not None and found["pictures"] and _most(found) != _most(trained):
            said.append(
                f"the detector was trained on pictures of {_range(trained)}, and these are mostly of {_range(found)}: "
                "it scores them by that; give both the same range"
            )
        if coloured := sum(self.coloured):
            said.append(
                f"{coloured:,} of {found['pictures']:,} pictures are in colour, and the detector was trained on grey "
                "ones: only their lightness was scored, and a wrong colour of the same lightness is not seen; train on "
                "colour pictures"
            )
        return f"WARNING: {'; '.join(said)}" if said else None


def trained(directory: Path) -> Mapping[str, int] | None:
    """`Depths.record` of what a detector was trained on, from its train.json; None where that doesn't say it."""
    try:
        found: Any = json.loads((directory / "train.json").read_text(encoding="utf-8"))["depths"]
        return found if isinstance(found["largest"] + found["narrow"] + found["pictures"], int) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _bits(largest: int) -> int:
    """How many the largest value takes: 8, 10, 12, …: cameras have even ones."""
    bits = largest.bit_length()
    return bits + bits % 2


def _most(record: Mapping[str, int]) -> int:
    """Bits that most of the pictures use, of 16."""
    return _bits(record["largest"]) if record["narrow"] * 2 > record["pictures"] else WHOLE


def _range(record: Mapping[str, int]) -> str:
    return "the whole range" if _most(record) == WHOLE else f"{_most(record)} bits of 16"
