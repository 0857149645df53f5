"""adjax's side of `benchmarks.anomalib`: `adjax train` on a folder, then scores and maps of its test pictures.

In a process of its own, as the peer is (`benchmarks/peers/patch_models.py`): python -m benchmarks.patch_models FOLDER
OUT.npz --model patchcore. The command itself is timed, with all that it does beside fitting: reading the folder,
looking for copies, calibrating a threshold, saving.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import adjax
from adjax import process, surface
from adjax.__main__ import main as command
from adjax.auto import select
from adjax.data.io import gather
from adjax.detector import Detector
from adjax.features import batch_size_for, batches
from adjax.models._backbone import wanted
from adjax.predict.batch import predict_batch
from adjax.predict.regions import enlarged
from benchmarks.peers.patch_models import running_s
from benchmarks.streaming import peak_mib

CHOSEN = "chosen"
"""What `adjax train` chooses, named no scorer."""
MODELS = "padim", "patchcore", CHOSEN


def test_files(folder: Path) -> list[Path]:
    """The pictures to predict, in order of their paths."""
    return sorted(path for path in (folder / "test").rglob("*") if path.is_file())


def predicted(detector: Detector, state: Detector, files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32[N] and maps float32[N, H, W] at the size that the detector sees, from files."""
    height, width, channels = detector.spec.image_shape
    shape = height, width, channels
    scores, maps = list[np.ndarray](), list[np.ndarray]()
    size, pending = batch_size_for(detector.spec.seen_shape), list[Any]()
    for start in range(0, len(files) + size, size):
        images, _, errors = gather.images(files[start : start + size], shape, frame=detector.spec.frame)
        if errors:
            raise SystemExit(f"{next(iter(errors.items()))}")
        # fetched one batch late, as `adjax predict` does
        started = [(predict_batch(state, batch), real) for batch, real in batches(images, size)]
        for said, real in pending:
            scores.append(np.asarray(said["score"])[:real])
            cells = np.asarray(said["places"])[:real] if "places" in said else np.zeros((real, 1, 1), np.float32)
            maps += [enlarged(x, shape[:2], detector.spec) for x in cells]
        pending = started
    return np.concatenate(scores), np.stack(maps)


def main() -> None:
    """Fits, predicts and writes `names`, `scores`, `maps`, `figures` (JSON) and the features of four test pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patch_models", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--passes", type=int, default=3, help="through the test pictures")
    args = parser.parse_args()
    process.prepare()
    named = [] if args.model == CHOSEN else ["--scorer", args.model]
    with tempfile.TemporaryDirectory() as work:
        started, used = time.perf_counter(), time.process_time()
        if code := command(["train", str(args.folder / "train" / "good"), "--out", f"{work}/run", *named]):
            raise SystemExit(code)
        figures: dict[str, Any] = {"fit_s": time.perf_counter() - started, "fit_cpu_s": time.process_time() - used}
        figures["from_start_s"] = running_s()
        detector = adjax.load(f"{work}/run")
    state, files, passes = jax.device_put(detector), test_files(args.folder), []
    for _ in range(args.passes):
        started = time.perf_counter()
        scores, maps = predicted(detector, state, files)
        passes.append(len(files) / (time.perf_counter() - started))
    figures |= {"pictures_per_s": passes, "peak_mib": peak_mib()}
    figures |= {"shape": seen(detector), "scorer": select.name_of(detector.spec)}
    height, width, channels = detector.spec.image_shape
    first, _, _ = gather.images(files[:4], (height, width, channels), frame=detector.spec.frame)
    np.savez(
        args.out,
        names=[str(path.relative_to(args.folder)) for path in files],
        scores=scores,
        maps=maps,
        figures=json.dumps(figures),
        **dict[str, Any](detector.outputs(first, ("layer1", "layer2", "layer3"))),
    )


def seen(detector: Detector) -> tuple[int, int]:
    """Height and width that the network sees, px: it may enlarge what it is given."""
    height, width = detector.spec.image_shape[:2]
    return wanted(height, width, dict(getattr(detector.spec, "model_options", ())).get("side_px"))


if __name__ == "__main__":
    surface.script(main)
