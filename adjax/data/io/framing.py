"""What a detector does not see of pictures, or sees distorted: a line for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from adjax.data.io.pixels import Frame

TOLD, STRETCHED = 0.01, 1.25
"""Least mean share of the area not seen, and least ratio of two proportions, that are worth a line."""


def told_of_unseen(shares: Sequence[float], frame: Frame) -> str | None:
    """Says how much of the pictures is not looked at.

    Args:
      shares: of each picture's area, see `adjax.data.io.pixels.unseen`.
      frame: of the detector.

    Returns:
      A line; None: next to nothing is left out.
    """
    if not shares or statistics.fmean(shares) < TOLD:
        return None
    return (
        f"WARNING: {statistics.fmean(shares):.0%} of the area of these pictures is not looked at, of one of them "
        f"{max(shares):.0%}: the detector takes the {frame} of each; train with --frame whole or --frame letterbox to "
        "see all"
    )


def told_of_proportions(sizes: Sequence[tuple[int, int]], frame: Frame = "whole") -> str | None:
    """Says whether pictures of several proportions are stretched to one.

    Args:
      sizes: (height px, width px) of each picture.
      frame: of the detector.

    Returns:
      A line; None: all have about the same proportions, or keep theirs.
    """
    if not sizes or frame != "whole":
        return None
    usual = statistics.median(height / width for height, width in sizes)
    ratios = [height / width / usual for height, width in sizes]
    count = sum(max(ratio, 1 / ratio) > STRETCHED for ratio in ratios)
    if not count:
        return None
    most = max(max(ratio, 1 / ratio) for ratio in ratios)
    return (
        f"{count:,} of {len(sizes):,} pictures have other proportions than most, and are stretched to those by up to "
        f"{most:.1f} : 1; train with --frame letterbox to keep each picture's own, between black bars"
    )
