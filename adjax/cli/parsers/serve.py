"""Options of `python -m adjax serve`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from adjax.cli.parsers._common import finite, new_parser, share, whole
from adjax.predict import THREADS

EPILOG = """\
examples:
  python -m adjax serve runs/parts                              then open http://127.0.0.1:8000
  curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" http://127.0.0.1:8000/v1/score
  curl -F images=@a.png -F images=@b.png http://127.0.0.1:8000/v1/score?map=png
  ADJAX_TOKEN=... python -m adjax serve runs/parts --host 0.0.0.0 --port 8080

POST /v1/score takes one picture file as the body, many as multipart/form-data, or {"images": [BASE64, ...]} as JSON.
For each it gives the columns of `predict`: score, p_value, decision, uncertain, nearest_class, boxes, ...; with
?map=png its overlay, with ?map=array its map. A picture that can't be read says why; 4xx if none of a request can be.
/v2 is the Open Inference Protocol, for tritonclient and KServe. /healthz, /readyz, /metrics (Prometheus, with tests for
drift), /v1/detector, and a page at / to drop pictures on.

A new detector: save it over the old one, then SIGHUP or POST /v1/reload. No request is lost; a broken one is refused.
SIGTERM answers what was taken and ends. The token (environment ADJAX_TOKEN, or --token-file) is asked for as
"Authorization: Bearer TOKEN". TLS, rate limits and slow headers are a proxy's to handle.
"""


def milliseconds(text: str) -> float:
    """A type of argparse: a number of ms from 0 to 10,000."""
    value = finite(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{value:g}: must be between 0 and 10,000 ms")
    return value


def seconds(text: str) -> float:
    """A type of argparse: a number of seconds above 0."""
    value = finite(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value:g}: must be above 0 s")
    return value


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("serve", "Score pictures over HTTP with a detector.", EPILOG)
    add = options.add_argument
    add("detector", type=Path, metavar="DETECTOR", help="run directory that holds detector/, or a detector")
    add("--host", default="127.0.0.1", metavar="HOST", help="to listen on (default: %(default)s, this machine alone)")
    add("--port", type=whole(0, 65_535), default=8000, metavar="N", help="0: a free one (default: %(default)s)")
    add("--name", metavar="NAME", help="of the model in /v2/models/NAME (default: that of the run)")
    add(
        "--false-positive-rate",
        type=share,
        metavar="A",
        help="flag a normal image with probability at most A (default: the detector's own threshold)",
    )
    add("--token-file", type=Path, metavar="FILE", help="holds the token (default: environment ADJAX_TOKEN; none)")
    add(
        "--max-batch",
        type=whole(1, 4096),
        metavar="N",
        help="pictures the device sees at once (default: by their size)",
    )
    add(
        "--batch-delay-ms",
        type=milliseconds,
        default=0.0,
        metavar="MS",
        help="a batch that is not full waits so long (default: 0; while one is scored the next gathers)",
    )
    add(
        "--max-queue",
        type=whole(1, 1_000_000),
        default=1024,
        metavar="N",
        help="pictures that may wait; then 429 (default: %(default)s)",
    )
    add(
        "--max-bytes",
        type=whole(1, 2**31),
        default=32 * 2**20,
        metavar="N",
        help="of a request; then 413 (default: 32 MiB)",
    )
    add(
        "--max-pictures",
        type=whole(1, 100_000),
        default=256,
        metavar="N",
        help="of a request; then 413 (default: %(default)s)",
    )
    add("--read-timeout-s", type=seconds, default=30.0, metavar="S", help="for a body; then 408 (default: 30)")
    add(
        "--drain-s",
        type=whole(0, 86_400),
        default=30,
        metavar="S",
        help="to answer what was taken, at the end (default: %(default)s)",
    )
    add("--threads", type=whole(1, 1024), default=THREADS, metavar="N", help="that decode (default: %(default)s)")
    return options
