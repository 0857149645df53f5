"""Progress bars of long work on images, with images/s and the time left; plain lines without a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class ImageProgress:
    """Progress over a number of images. A context manager; call `advance` as they are done."""

    def __init__(self, console: Console, total: int, description: str):
        """`total`: images; 0 for work that has none, of which nothing is shown."""
        self.console, self.total, self.description, self.done = console, total, description, 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_terminal and total),
        )

    def __enter__(self) -> ImageProgress:
        self._began = time.perf_counter()
        self._line_at = self._began + LINE_EVERY_S
        self._bar.start()
        self._task = self._bar.add_task(self.description, total=self.total, rate="…")
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def rate(self) -> float:
        """Images a second since the beginning."""
        return self.done / max(time.perf_counter() - self._began, 1e-9)

    def advance(self, images: int) -> None:
        """Counts images that are done."""
        self.done += images
        rate = self.rate()
        self._bar.update(self._task, completed=self.done, rate=f"{rate:,.0f}")
        if self.total and not self.console.is_terminal and (now := time.perf_counter()) >= self._line_at:
            self._line_at = now + LINE_EVERY_S
            left = (self.total - self.done) / rate
            self.console.print(
                f"{self.description} {self.done:,}/{self.total:,}  {rate:,.0f} images/s  {left:,.0f} s left",
                highlight=False,
                soft_wrap=True,
            )
