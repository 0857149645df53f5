"""What `adjax.data` asks of Pillow's images, for pictures that other readers open."""

from __future__ import annotations

from typing import Any, Self


class Opened:
    """An open picture, a context manager. Who inherits has `width`, `height`, `bits`, `mode`, `format`, `decode`."""

    width: int
    height: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        """Its file is closed by who opened it."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.width, self.height

    @property
    def info(self) -> dict[str, Any]:
        """Nothing: its transparency, if it has any, is in its mode."""
        return {}
