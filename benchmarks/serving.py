"""Requests per second of `adjax serve`, and of plain handlers: `python -m benchmarks.serving`.

Two handlers stand beside it, see `benchmarks.peers.plain_server`. All have the same LeNet detector and the same picture
of 28 px, PNG; clients wait for an answer before they ask again. Rounds alternate; wrk has its share of the cores.
Needs wrk (Debian: `apt-get install wrk`) and the extra `bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adjax import surface
from benchmarks.decoding import untrained
from experiments.rundir import environment, write_json

CLIENTS = 1, 8, 64
SCRIPT = """
local file = io.open("{picture}", "rb")
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", file:read("*a"), "image/png"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@contextmanager
def server(command: list[str], port: int) -> Iterator[subprocess.Popen]:
    """Starts a server, and ends it."""
    running = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not _answers(port):
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command)} does not serve")
            time.sleep(0.1)
        yield running
    finally:
        running.terminate()
        running.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 404  # the plain one has no such route
    except OSError:
        return False


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def load(port: int, clients: int, seconds: float, script: Path) -> dict[str, float]:
    """Requests/s and latencies of some clients in a closed loop."""
    address = f"http://127.0.0.1:{port}/v1/score"
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", str(script), address]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.strip().splitlines()[-1])
    return {
        "requests_per_s": round(found["requests"] / found["us"] * 1e6, 1),
        "p50_ms": found["p50_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000,
        "errors": found["errors"],
    }


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Both servers, in turn, at each number of clients."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        untrained("lenet5", 28).with_false_positive_rate(0.05).save(at / "detector")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)).save(at / "picture.png")
        (at / "post.lua").write_text(SCRIPT.format(picture=at / "picture.png"))
        detector, script = str(at / "detector"), at / "post.lua"
        ports = {name: free_port() for name in ("adjax", "plain", "lean")}
        with contextlib.ExitStack() as running:
            for name, port in ports.items():
                own = ["adjax", "serve", detector, "--port", str(port)]
                peer = ["benchmarks.peers.plain_server", name, detector, str(port)]
                running.enter_context(server(own if name == "adjax" else peer, port))
            for clients in CLIENTS:
                for port in ports.values():
                    load(port, clients, 1, script)  # warm
                each: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
                for turn in range(rounds):
                    for name in list(ports)[:: 1 if turn % 2 else -1]:
                        each[name].append(load(ports[name], clients, seconds, script))
                median = {
                    name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                    for name, runs in each.items()
                }
                found[str(clients)] = {"runs": each, "median": median} | {
                    f"requests_to_{name}": round(median["adjax"]["requests_per_s"] / median[name]["requests_per_s"], 2)
                    for name in ("plain", "lean")
                }
                print(clients, "clients", {key: value for key, value in found[str(clients)].items() if key != "runs"})
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each server and number of clients (default: 5)")
    parser.add_argument("--seconds", type=float, default=5, help="of a round (default: 5)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving.json")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    found = measure(args.rounds, args.seconds)
    wrk = subprocess.run(["wrk", "--version"], capture_output=True, text=True).stdout.split()[1]
    written = {"environment": environment("benchmarks.serving"), "wrk": wrk, "load": list(os.getloadavg())}
    write_json(args.out, {**written, "seconds": args.seconds, "clients": found})


if __name__ == "__main__":
    surface.script(main)
