"""Minutes of everything at once against `adjax serve`: `python -m benchmarks.soak` writes `results/soak.json`.

Clients ask in a closed loop and know the answers. Meanwhile the detector is replaced and reloaded, bad pictures come,
clients vanish in the middle of a body, others send it slowly; then the server is killed (SIGKILL) at random moments and
started again, and clients ask again. Counted are lost answers (a connection that broke while the server lived, or a
5xx), wrong ones (another score, decision or threshold than the detector's that the answer names), and memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from adjax import surface
from adjax.detector import Detector
from adjax.predict import loading
from benchmarks.decoding import untrained
from benchmarks.serving import free_port, server
from experiments.rundir import environment, write_json

PICTURES, LEVELS = 32, (0.5, 0.8, 0.9, 0.975)


@dataclasses.dataclass
class Shared:
    """What all threads know.

    Attributes:
      port: of the server.
      contents: picture files.
      scores: of each.
      thresholds: manifest's SHA-256 → threshold of the detector.
      counts: of answers, by kind.
      down: set while the server is being killed and started again.
      end: when to stop.
    """

    port: int
    contents: list[bytes]
    scores: np.ndarray
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    down: threading.Event = dataclasses.field(default_factory=threading.Event)
    end: threading.Event = dataclasses.field(default_factory=threading.Event)

    def count(self, kind: str) -> None:
        """Counts one; a bare `+= 1` of two threads could lose one."""
        with _LOCK:
            self.counts[kind] += 1


_LOCK = threading.Lock()


def asking(shared: Shared, seed: int) -> None:
    """One client: asks, checks, asks again; after a kill it repeats what was not answered."""
    rng, connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    while not shared.end.is_set():
        row = rng.randrange(PICTURES)
        while True:
            down = shared.down.is_set()
            try:
                connection.request("POST", "/v1/score", shared.contents[row], {"Content-Type": "image/png"})
                answer = connection.getresponse()
                code, body = answer.status, json.loads(answer.read())
                break
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                shared.count("repeated after a kill" if down or shared.down.is_set() else "lost")
                if shared.end.is_set():
                    return
                time.sleep(0.05)
        if code == 503:  # started again, and not ready
            shared.count("not ready")
            time.sleep(0.05)
        elif code != 200:
            shared.count("lost" if code >= 500 else f"refused with {code}")
        else:
            found, threshold = body["images"][0], shared.thresholds[body["detector"]]
            right = np.isclose(found["score"], shared.scores[row], rtol=1e-5, atol=1e-6)
            same = np.float32(body["threshold"]) == np.float32(threshold)
            if right and same and _decided(found, threshold):
                shared.count("right")
            else:
                shared.count("wrong")
                print("wrong:", body, shared.scores[row], threshold, file=sys.stderr)


def _decided(found: dict[str, Any], threshold: float) -> bool:
    return (found["decision"] == "anomalous") == (np.float32(found["score"]) > np.float32(threshold))


def spoiling(shared: Shared) -> None:
    """Bad pictures, bodies that stop in the middle, bodies that come slowly."""
    rng, turn = random.Random(0), 0
    while not shared.end.is_set():
        turn, content = turn + 1, shared.contents[rng.randrange(PICTURES)]
        try:
            with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as raw:
                head = (
                    f"POST /v1/score HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
                )
                if turn % 3 == 0:  # vanishes
                    raw.sendall(head.encode() + content[: rng.randrange(len(content))])
                    shared.count("vanished")
                    continue
                if turn % 3 == 1:  # damaged
                    raw.sendall(head.encode() + bytes(len(content)))
                else:
                    raw.sendall(head.encode())
                    for k in range(0, len(content), len(content) // 4 + 1):
                        raw.sendall(content[k : k + len(content) // 4 + 1])
                        time.sleep(0.02)
                status = raw.recv(64)
                wanted = b"415" if turn % 3 == 1 else b"200"
                if status[9:12] == wanted:
                    shared.count("bad refused" if turn % 3 == 1 else "slow right")
                elif status[9:12] != b"503" and not shared.down.is_set() and status:
                    shared.count("wrong")
                    print("wrong:", status, wanted, file=sys.stderr)
        except OSError:
            if not shared.down.is_set():
                shared.count("lost")
        time.sleep(0.02)


def replacing(shared: Shared, detector: Detector, place: Path) -> None:
    """Replaces the detector, and reloads it, every two seconds."""
    turn = 0
    while not shared.end.wait(2):
        turn += 1
        other = detector.with_quantile(LEVELS[turn % len(LEVELS)])
        beside = place.with_name("next")  # known before a server can be started with it
        other.save(beside)
        shared.thresholds[loading.load(beside).sha256] = float(other.threshold)
        other.save(place)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
            connection.request("POST", "/v1/reload")
            shared.count("reloaded" if connection.getresponse().status == 200 else "reload refused")
            connection.close()
        except (OSError, http.client.HTTPException):
            shared.count("reload interrupted" if shared.down.is_set() else "lost")


def measure(minutes: float, kills: int, clients: int) -> dict[str, Any]:
    """Load without kills, then kills."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        place, contents = Path(folder) / "detector", []
        detector = untrained("lenet5", 28)
        images = rng.integers(0, 256, (PICTURES, 28, 28, 3), np.uint8)
        for k, image in enumerate(images):
            Image.fromarray(image).save(Path(folder) / f"{k}.png")
            contents.append((Path(folder) / f"{k}.png").read_bytes())
        detector.save(place)
        shared = Shared(free_port(), contents, np.asarray(detector.score(images)))
        shared.thresholds[loading.load(place).sha256] = float(detector.threshold)
        command = ["adjax", "serve", str(place), "--port", str(shared.port)]
        threads = [threading.Thread(target=asking, args=(shared, seed)) for seed in range(clients)]
        threads += [threading.Thread(target=spoiling, args=(shared,))]
        threads += [threading.Thread(target=replacing, args=(shared, detector, place))]
        memory: list[int] = []
        with server(command, shared.port) as running:
            for thread in threads:
                thread.start()
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until:
                time.sleep(2)
                memory.append(round(psutil.Process(running.pid).memory_info().rss / 2**20))
            load = dict(shared.counts)
            shared.down.set()
            running.send_signal(signal.SIGKILL)
        for kill in range(kills):
            with server(command, shared.port) as running:
                time.sleep(0.5)  # answers of the one before have been counted by now
                shared.down.clear()
                time.sleep(random.Random(kill).uniform(0, 4))
                shared.down.set()
                running.send_signal(signal.SIGKILL)
        with server(command, shared.port):
            time.sleep(1)
            shared.down.clear()
            time.sleep(2)
            shared.end.set()
            for thread in threads:
                thread.join()
    tenth = max(len(memory) // 10, 1)
    return {
        "minutes": minutes,
        "clients": clients,
        "load": load,
        "kills": kills,
        "with_kills": {key: value - load.get(key, 0) for key, value in shared.counts.items()},
        "memory_mib": {
            "after_a_tenth": statistics.median(memory[tenth : 2 * tenth] or memory),
            "at_the_end": statistics.median(memory[-tenth:]),
            "most": max(memory),
        },
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of load before the kills (default: 10)")
    parser.add_argument("--kills", type=int, default=10, help="of the server, by SIGKILL (default: 10)")
    parser.add_argument("--clients", type=int, default=8, help="that ask in a closed loop (default: 8)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    args = parser.parse_args()
    found = measure(args.minutes, args.kills, args.clients)
    write_json(args.out, {"environment": environment("benchmarks.soak"), "load_average": [*os.getloadavg()], **found})
    print(json.dumps(found, indent=1))
    if any(found[part].get(kind) for part in ("load", "with_kills") for kind in ("lost", "wrong")):
        sys.exit(1)


if __name__ == "__main__":
    surface.script(main)
