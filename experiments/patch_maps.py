"""What a patch scorer gains from a smoothed map, and from more pictures: `python -m experiments.patch_maps`.

Pictures and synthetic defects as of `experiments.made_defects`, from other draws: 60 normal pictures to fit to, or the
first 40, as many as are left of 60 where 20 are held out; 40 normal pictures and 48 with a defect of 0.3 % to 5 % of
the area to score. The network's outputs are extracted once for all scorers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import localise, metrics, pixel_metrics, process, scorers, surface
from adjax.auto.plan import BACKBONE, LAYERS, PATCHES
from adjax.data.defects import defects
from adjax.extraction import extract
from adjax.pipeline import Recipe, member, train_members
from adjax.types import Outputs
from experiments.console import spread
from experiments.made_defects import DEFECTS, NORMAL, TEXTURES, parts
from experiments.rundir import environment, write_json

TRAINED = 40, 60
SCORERS = "padim", "patchcore"
SHARES = 0.003, 0.05


def outputs_of(images: np.ndarray, trained: int) -> Outputs:
    """The patches and maps of all pictures uint8[N, H, W, C], of which the first `trained` are learned from."""
    labels = np.zeros(trained, np.int32)
    built = Recipe("gmm", BACKBONE, model_options={"patch_layers": LAYERS}).build(images.shape[1:], ("normal",))
    normalise = built.normalise(images[:trained])
    table = built.members([np.arange(trained)], [labels], [0])
    params = member(train_members(built, images, table, normalise, 0, batch_size=1).params, 0)
    kept = {"patches", *LAYERS}
    return {k: x for k, x in extract(built.spec, params, normalise, images, kept).items() if k in kept}


def cell(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """One texture, one seed: a row for each scorer, with and without smoothing, and number of pictures."""
    rng = np.random.default_rng([seed, TEXTURES.index(name), 77])
    trained, normal, base = (parts(name, n, rng) for n in (max(TRAINED), NORMAL, DEFECTS))
    odd, masks, _ = defects(base, SHARES, seed=seed + 500)
    outputs = outputs_of(np.concatenate([trained, normal, odd]), len(trained))
    shown = {k: x[len(trained) :] for k, x in outputs.items()}
    truth = np.repeat([0, 1], [NORMAL, DEFECTS])
    places = np.concatenate([np.zeros((NORMAL, *masks.shape[1:]), bool), masks])[:, ::3, ::3]
    for which in SCORERS:
        for smooth in (False, True):
            scorer = scorers.make(which, **{**PATCHES[which], "smooth": smooth})
            fit = jax.jit(lambda o, y, s=scorer: scorers.fit(s, o, y, 1, batch_size=16))
            for n in TRAINED:
                state = fit({k: x[:n] for k, x in outputs.items()}, np.zeros(n, np.int32))
                assert scorer.maps is not None
                maps, score = (jax.jit(f)(state, shown) for f in (scorer.maps, scorer.score))
                large = localise.enlarged(jnp.asarray(maps), masks.shape[1:])[:, ::3, ::3]
                yield {
                    "texture": name,
                    "seed": seed,
                    "scorer": which,
                    "smooth": smooth,
                    "trained": n,
                    "auroc": float(metrics.auroc(score, truth)),
                    "pixel_auroc": float(pixel_metrics.pixel_auroc(np.asarray(large), places)),
                }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over all textures and seeds, of each scorer."""
    found = []
    for key in sorted({(r["scorer"], r["trained"], r["smooth"]) for r in rows}):
        own = [r for r in rows if (r["scorer"], r["trained"], r["smooth"]) == key]
        figures = {k: spread([r[k] for r in own]) for k in ("auroc", "pixel_auroc")}
        found.append({**dict(zip(("scorer", "trained", "smooth"), key, strict=True)), **figures})
    return found


def main() -> None:
    """Evaluates what the file lacks; writes after each cell."""
    parser = argparse.ArgumentParser(prog="python -m experiments.patch_maps", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--textures", nargs="+", choices=TEXTURES, default=list(TEXTURES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "patch_maps.json")
    args = parser.parse_args()
    process.prepare()
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for seed in range(args.seeds):
        for name in args.textures:
            if any(row["texture"] == name and row["seed"] == seed for row in rows):
                continue
            rows.extend(cell(name, seed))
            print(f"{name}, seed {seed}: {[round(row['auroc'], 3) for row in rows[-8:]]}", flush=True)
            where = environment("experiments.patch_maps")
            write_json(args.out, {"environment": where, "rows": rows, "summary": summary(rows)})


if __name__ == "__main__":
    surface.script(main)
