"""`python -m adjax serve`: a detector behind HTTP."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from adjax import distribution, features, process
from adjax.cli._common import start
from adjax.cli.parsers.serve import parser
from adjax.data.split import DataError
from adjax.predict import loading

MOST_AT_ONCE = 32
"""Pictures a batch by default: more take longer to gather than they save."""
TOKEN = "ADJAX_TOKEN"


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax serve ARGUMENTS` until SIGTERM or Ctrl-C; returns the exit code."""
    chosen = parser().parse_args(arguments)
    console = start()
    try:
        import uvicorn

        from adjax.serve import app, bodies
        from adjax.serve.state import State
    except ImportError as error:
        raise DataError(f"serving needs {error.name}: {distribution.install('serve')}") from error

    def load() -> loading.Loaded:
        return loading.load(chosen.detector, chosen.false_positive_rate)

    token = _token(chosen.token_file)
    loaded = load()
    shape = loaded.detector.spec.seen_shape
    max_batch = chosen.max_batch or min(features.batch_size_for(shape), MOST_AT_ONCE)
    name = chosen.name or _name(loaded.directory)
    state = State(name, loaded, load, max_batch, process.forget_garbage)
    served = app.make(
        state,
        max_batch=max_batch,
        max_queue=chosen.max_queue,
        threads=chosen.threads,
        delay_s=chosen.batch_delay_ms / 1000,
        limits=bodies.Limits(chosen.max_bytes, chosen.max_pictures, chosen.read_timeout_s),
        token=token,
    )
    with _listening(chosen.host, chosen.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        console.print(f"{loaded.detector}\n{name} at http://{shown}:{port}, ready when /readyz says so; Ctrl-C ends it")
        if token is None and not host.startswith("127.") and host != "::1":
            console.print(f"anybody who reaches {host} may use it: set {TOKEN} or --token-file", style="bold red")
        config = uvicorn.Config(
            served,
            log_level="warning",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=chosen.drain_s,
            lifespan="on",
        )
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends by it, and raises it again afterwards
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
    if state.failure is not None:
        raise state.failure
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        why = f"--host {host} --port {port}: {os.strerror(error.errno or 0)}"
        raise DataError(f"{why}; name another, or --port 0 for a free one") from error


def _token(file: Path | None) -> str | None:
    """The token; an empty one is refused, since it would let everybody in."""
    try:
        found = os.environ.get(TOKEN) if file is None else file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--token-file {file} can't be read as ASCII text: {error}") from error
    if found is None:
        return None
    if not (found := found.strip()).isprintable() or not found or not found.isascii():
        raise DataError(f"the token of {TOKEN if file is None else file} is empty or no ASCII text: give one, or none")
    return found


def _name(directory: Path) -> str:
    own = directory.resolve()
    return own.parent.name if own.name == "detector" else own.name
