"""How much of a small defect is found, and where: `python -m experiments.made_defects`. Textures of scikit-image.

Pictures of one texture are 192-px parts of it, each lit a little differently and with a camera's noise. The
detector that `adjax.train_detector` makes of 80 of them scores 40 more, and 48 with a synthetic defect
(`adjax.data.defects`, eight kinds) of 0.3 %, 1 % and 5 % of the area. Parts overlap, so normal parts have been seen
before, as of a product photographed again; defects have not. Defects of the same kinds, from other
draws, choose the scorer in training pictures: these figures don't cover other kinds of defects.

The trivial baselines of `adjax.baselines` stand beside it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import adjax
from adjax import localise, metrics, pixel_metrics, process, surface
from adjax.auto import select
from adjax.baselines import BASELINES
from adjax.data.defects import defects
from experiments.console import spread
from experiments.rundir import dated, earlier_rows, environment, write_json

TEXTURES = ("brick", "grass", "gravel", "immunohistochemistry")
SIDE_PX, TRAINED, NORMAL, DEFECTS = 192, 80, 40, 48
SHARES = (0.003, 0.01, 0.05)


def parts(name: str, count: int, rng: np.random.Generator, side_px: int = SIDE_PX) -> np.ndarray:
    """uint8[count, side_px, side_px, 1 or 3] of a texture of scikit-image."""
    from skimage import data

    return cut(np.atleast_3d(getattr(data, name)()), count, rng, side_px)


def cut(texture: np.ndarray, count: int, rng: np.random.Generator, side_px: int = SIDE_PX) -> np.ndarray:
    """uint8[count, side_px, side_px, C], parts of a texture uint8[H, W, C], each lit a little differently."""
    corners = rng.integers(0, np.array(texture.shape[:2]) - side_px + 1, (count, 2))
    each = np.stack([texture[y : y + side_px, x : x + side_px] for y, x in corners]).astype(float)
    light = each * rng.uniform(0.94, 1.06, (count, 1, 1, 1)) + rng.uniform(-4, 4, (count, 1, 1, 1))
    return np.clip(np.rint(light + rng.normal(0, 2, each.shape)), 0, 255).astype(np.uint8)


def cell(name: str, seed: int) -> list[dict[str, Any]]:
    """One texture, one seed: a row for each size of defect."""
    rng = np.random.default_rng([seed, TEXTURES.index(name)])
    trained, normal, base = (parts(name, n, rng) for n in (TRAINED, NORMAL, DEFECTS))
    started = time.process_time()
    detector = adjax.train_detector(trained, seed=seed)
    cpu_s = time.process_time() - started
    placed = localise.kind(detector) == "score"
    rows = []
    for share in SHARES:
        odd, masks, _ = defects(base, share, seed=1000 + seed)
        both, truth = np.concatenate([normal, odd]), np.repeat([0, 1], [NORMAL, DEFECTS])
        scores = {
            "adjax": np.asarray(detector.score(both)),
            **{which: score(both, trained) for which, score in BASELINES.items()},
        }
        row = {
            "texture": name,
            "seed": seed,
            "share": share,
            "scorer": select.name_of(detector.spec),
            "train_cpu_s": cpu_s,
        }
        row |= {f"auroc, {which}": float(metrics.auroc(jnp.asarray(x), truth)) for which, x in scores.items()}
        flagged = scores["adjax"] > float(detector.threshold)
        row |= {"flagged": float(flagged[truth == 1].mean()), "false_alarms": float(flagged[truth == 0].mean())}
        if placed:
            maps = np.asarray(detector.maps(both))[:, ::2, ::2]
            known = np.concatenate([np.zeros_like(masks[:NORMAL]), masks])[:, ::2, ::2]
            row |= {"pixel_auroc": float(pixel_metrics.pixel_auroc(maps, known))}
            row |= {
                "aupro": float(pixel_metrics.aupro(maps, known)),
                "aupro_5": float(pixel_metrics.aupro(maps, known, 0.05)),
            }
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds of each texture and share."""
    found = []
    for name in TEXTURES:
        for share in SHARES:
            own = [row for row in rows if row["texture"] == name and row["share"] == share]
            names = sorted({k for row in own for k, v in row.items() if isinstance(v, float) and k != "share"})
            each = {k: spread([row[k] for row in own if k in row]) for k in names}
            if own:
                found.append({"texture": name, "share": share, "scorers": [row["scorer"] for row in own], **each})
    return found


def main() -> None:
    """Trains and evaluates what the file lacks; writes after each."""
    parser = argparse.ArgumentParser(prog="python -m experiments.made_defects", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--textures", nargs="+", choices=TEXTURES, default=list(TEXTURES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "made_defects.json")
    parser.add_argument("--again", action="store_true", help="train again what the file has")
    args = parser.parse_args()
    process.prepare()
    rows, where = earlier_rows(args.out), environment("experiments.made_defects")
    done = set() if args.again else {(row["texture"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for name in args.textures:
            if (name, seed) in done:
                continue
            found = [{**row, "made": dated(where)} for row in cell(name, seed)]
            rows = [row for row in rows if (row["texture"], row["seed"]) != (name, seed)] + found
            for row in found:
                places = f", AUPRO {row['aupro']:.3f}" if "aupro" in row else ""
                plain = ", ".join(f"{which} {row[f'auroc, {which}']:.3f}" for which in BASELINES)
                told = f"{row['scorer']}, AUROC {row['auroc, adjax']:.3f} ({plain}){places}"
                print(f"{name}, seed {seed}, {row['share']:.1%}: {told}", flush=True)
            write_json(args.out, {"environment": where, "rows": rows, "summary": summary(rows)})


if __name__ == "__main__":
    surface.script(main)
