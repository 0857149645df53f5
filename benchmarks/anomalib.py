"""adjax beside anomalib: `python -m benchmarks.anomalib --peer PYTHON` writes `results/anomalib.json` and a table.

PYTHON is the interpreter of an environment with anomalib 2.7 (`pip install 'anomalib[cpu]==2.7.*'`). Both have the
same folders (`benchmarks.picture_sets`), the same published EfficientNet-Lite0 weights with their own normalisation,
the same size of pictures and all cores. anomalib's PatchCore and PaDiM stand at its defaults: its layers, a coreset of
10 % of all patches, 9 neighbours; PaDiM has 100 channels, as of a ResNet-18. Ours are `adjax train --scorer patchcore`,
`--scorer padim`, and what `adjax train` chooses.

Each run is a process of its own, ours and the peer's in turn. Fitting is from files to a detector; ours is the whole
command, with its threshold and what it saves, compiled before (`cold` is the first run, with an empty cache). From the
start is from that of the process, libraries and all. Prediction gives scores and maps from files;
the median of several passes. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from adjax import metrics, pixel_metrics, surface
from adjax.models import weights
from adjax.models._read_torch import read_torch
from adjax.models.weight_maps import MODELS as NAMINGS
from benchmarks.patch_models import CHOSEN, MODELS
from benchmarks.picture_sets import SETS, needs
from experiments.rundir import dated, days, earlier_rows, environment, write_json

BACKBONE = "efficientnet_lite0"
PEER = Path(__file__).parent / "peers" / "patch_models.py"
LIMIT_S = 1200


def timm_weights(out: Path) -> list[str]:
    """Writes the published weights in timm's names; the arguments that give the peer the file and its normalisation."""
    file = weights.fetch(BACKBONE)
    arrays = read_torch(file)
    known = {naming.library: naming for naming in NAMINGS[BACKBONE][1](file.name)}
    published, timm = known["efficientnet_pytorch"], known["timm"]
    renamed = {}
    for theirs, wanted in zip(published.layers, timm.layers, strict=True):
        for name, array in arrays.items():
            if name.startswith(f"{theirs.theirs}."):
                renamed[wanted.theirs + name[len(theirs.theirs) :]] = np.ascontiguousarray(array)
    save_file(renamed, out)
    return ["--weights", str(out), "--mean", *map(str, published.mean), "--sd", *map(str, published.sd)]


def quality(folder: Path, said: dict[str, np.ndarray]) -> dict[str, float]:
    """AUROC of pictures; where there are masks, of pixels, and AUPRO."""
    names, maps = [Path(name) for name in said["names"]], said["maps"]
    truth = np.array([name.parts[1] != "good" for name in names])
    found = {"auroc": float(metrics.auroc(said["scores"].astype(np.float32), truth))}
    if (folder / "ground_truth").is_dir():
        masks = np.zeros(maps.shape, bool)
        for row in np.flatnonzero(truth):
            file = folder / "ground_truth" / Path(*names[row].parts[1:])
            size = maps.shape[2], maps.shape[1]
            masks[row] = np.asarray(Image.open(file).resize(size, Image.Resampling.NEAREST)) > 0
        found |= {"pixel_auroc": float(pixel_metrics.pixel_auroc(maps, masks))}
        found |= {
            "aupro": float(pixel_metrics.aupro(maps, masks)),
            "aupro_5": float(pixel_metrics.aupro(maps, masks, 0.05)),
        }
    return found


def one_run(command: list[str], out: Path, **env: str) -> dict[str, Any]:
    """Runs a side in a process of its own; what it wrote, its figures, and how long all of it took."""
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    with np.load(out) as file:
        said = dict(file)
    figures = json.loads(str(said.pop("figures")))
    return {**said, "figures": {**figures, "process_s": time.perf_counter() - started}}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, smallest and largest of several runs' figures."""
    passes = [rate for run in runs for rate in run["figures"]["pictures_per_s"][1:]]
    columns = {
        name: [run["figures"][name] for run in runs] for name in ("fit_s", "from_start_s", "peak_mib", "process_s")
    }
    columns["pictures_per_s"] = passes
    return {
        name: {"median": statistics.median(x), "min": min(x), "max": max(x), "n": len(x)} for name, x in columns.items()
    }


def row(name: str, model: str, folder: Path, args: argparse.Namespace, peer: list[str], cache: Path) -> dict[str, Any]:
    """One set, one model: both sides in turn."""
    ours, theirs = [], []
    out = folder.parent / "out.npz"
    for number in range(args.rounds + 1):  # the first compiles, and isn't counted
        command = [sys.executable, "-m", "benchmarks.patch_models", str(folder), str(out), "--model", model]
        ours.append(
            one_run(command, out, JAX_COMPILATION_CACHE_DIR=str(cache), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
        )
        if number and model != CHOSEN:
            side = [str(x) for x in ours[0]["figures"]["shape"]]
            theirs.append(
                one_run([args.peer, str(PEER), str(folder), str(out), "--model", model, *peer, "--side", *side], out)
            )
    cold, *warm = ours
    figures = cold["figures"]
    found = {"set": name, "model": model, "shape": figures["shape"], "scorer": warm[-1]["figures"]["scorer"]}
    found["pictures"] = {"train": len(list((folder / "train").rglob("*.png"))), "test": len(cold["names"])}
    found["ours"] = {**quality(folder, warm[-1]), **middle(warm), "cold_fit_s": figures["fit_s"]}
    found["ours"]["fit_cpu_s"] = statistics.median(run["figures"]["fit_cpu_s"] for run in warm)
    if theirs:
        found["peer"] = {**quality(folder, theirs[-1]), **middle(theirs)}
        found["features_differ"] = {
            layer: float(np.abs(ours[0][layer] - theirs[0][layer]).max() / np.abs(theirs[0][layer]).max())
            for layer in ("layer1", "layer2", "layer3")
            if layer in theirs[0]
        }
        mine, others = found["ours"], found["peer"]
        found["ratio"] = {
            "fit": others["fit_s"]["median"] / mine["fit_s"]["median"],
            "pictures_per_s": mine["pictures_per_s"]["median"] / others["pictures_per_s"]["median"],
            "memory": mine["peak_mib"]["median"] / others["peak_mib"]["median"],
        }
    return found


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table, and under it what it was made on."""
    head = "| set | model | AUROC | pixel AUROC | AUPRO | fit, s | from the start, s | pictures/s | peak MiB |"
    lines = [head, "|" + "---|" * 9]
    for r in rows:
        both = [r["ours"], r["peer"]] if "peer" in r else [r["ours"]]
        cells = [r["set"], r["model"] if "peer" in r else f"what train chose: {r['scorer']}"]
        cells += [" / ".join(f"{side[k]:.3f}" for side in both if k in side) for k in ("auroc", "pixel_auroc", "aupro")]
        timed = ("fit_s", ".1f"), ("from_start_s", ".1f"), ("pictures_per_s", ".1f"), ("peak_mib", ",.0f")
        cells += [" / ".join(format(side[k]["median"], digits) for side in both) for k, digits in timed]
        lines.append("| " + " | ".join(cells) + " |")
    runs = sorted({r["ours"]["fit_s"]["n"] for r in rows})
    made = f"`{where['command']}`, {days(rows)}, {where['cores']} cores of {where['cpu']}"
    lines += [
        "",
        f"adjax / anomalib 2.7. Medians of n = {', '.join(map(str, runs))} runs of each side, of pictures/s of the "
        f"passes in them; their spread is in the JSON file. By these sets the options of ours were chosen: it is not "
        f"blind to them. {made}, jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is asked for and the file lacks; writes after each row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomalib", description=__doc__)
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="of an environment with anomalib")
    parser.add_argument("--share", type=Path, help="the usr/share of the packages of `picture_sets`; without, none")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=1, help="of both sides in turn (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run again what the file has")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "anomalib.json")
    args = parser.parse_args()
    rows = earlier_rows(args.out)
    done = set() if args.again else {(r["model"], r["set"]) for r in rows}
    with tempfile.TemporaryDirectory() as work:
        peer, where = timm_weights(Path(work) / "weights.safetensors"), environment("benchmarks.anomalib")
        for number, (model, name) in enumerate(itertools.product(args.models, args.sets)):
            if (model, name) not in done and (args.share is not None or needs(name) is None):
                folder, cache = Path(work) / str(number) / "set", Path(work) / str(number) / "cache"
                SETS[name](folder, args.share)
                found = {**row(name, model, folder, args, peer, cache), "made": dated(where)}
                rows = [r for r in rows if (r["model"], r["set"]) != (model, name)] + [found]
                rows.sort(key=lambda row: (MODELS.index(row["model"]), list(SETS).index(row["set"])))
                print(f"{name}, {model}: {json.dumps({k: v for k, v in found.items() if k != 'set'})}", flush=True)
                write_json(args.out, {"what": __doc__, "environment": where, "rows": rows})
                args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
