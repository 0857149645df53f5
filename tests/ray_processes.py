"""Processes of Ray that a test starts, found by a variable that all of them inherit, and ended with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = "ADJAX_TEST_RAY"
WAIT_S = 120


class Ray:
    """What a test starts: `environment` is that of its processes."""

    def __init__(self, folder: str):
        self._mark, self._started = uuid.uuid4().hex, list[subprocess.Popen]()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {
            **kept,
            _MARK: self._mark,
            "RAY_TMPDIR": folder,  # short: sockets lie there
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",  # else the second node joins or not by what lies in the user's home
            "RAY_AUTH_TOKEN": self._mark,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)]),
        }

    def start(self, *command: object, **options) -> subprocess.Popen:
        """A process, with its output to be read."""
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        self._started.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """Those that are alive: number → command."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{_MARK}={self._mark}".encode() in (place / "environ").read_bytes():  # none of a zombie
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def workers(self) -> list[int]:
        """The numbers of those that hold a detector."""
        return [number for number, command in self.processes().items() if command.startswith("ray::Worker")]

    def node(self, *arguments: object) -> subprocess.Popen:
        """A node that lives as long as its process; killing its group kills all of the node."""
        return self.start("-m", "ray.scripts.scripts", "start", *arguments, "--block", start_new_session=True)

    def end(self) -> dict[int, str]:
        """Kills all; what was there."""
        left = self.processes()
        deadline = time.monotonic() + 30
        while (alive := self.processes()) and time.monotonic() < deadline:
            for number in alive:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.1)
        for process in self._started:
            process.wait()
            process.stdout.close()
        assert not alive
        return left


@contextmanager
def running() -> Iterator[Ray]:
    """All that it started is gone afterwards, whatever happened."""
    folder = tempfile.mkdtemp(prefix="r")
    ray = Ray(folder)
    try:
        yield ray
    finally:
        ray.end()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Waits until it holds; fails if the process ends before."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        assert process is None or process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
