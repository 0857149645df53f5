"""What the options of the default scorers of patches are worth: `python -m experiments.patch_maps`.

Pictures and synthetic defects as of `experiments.made_defects`, from other draws: 80 normal pictures to fit to, 40
more and 96 with a defect of 1 % of the area to score; and the 40 changed as a whole: darker, lighter, out of focus. The
network's outputs are extracted once for all variants, and what is fused is made alike by the 40 normal pictures. By
these figures `adjax.auto.plan.PATCHES` and `adjax.auto.select.LOCAL` were chosen, and the weight and the units of
`overall`: they are not blind.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from adjax import localise, pixel_metrics, process, scorers, surface
from adjax._numerics import top_mean
from adjax.auto.plan import BACKBONE, LAYERS, PATCHES
from adjax.auto.select import OVERALL, WEIGHTS, Found, auroc, fused, told
from adjax.data.defects import defects
from adjax.extraction import extract
from adjax.features import outputs_in_batches
from adjax.pipeline import Recipe, member, train_members
from adjax.types import Outputs
from experiments.console import spread
from experiments.made_defects import NORMAL, TEXTURES, TRAINED, parts
from experiments.rundir import dated, earlier_rows, environment, write_json

SHARE, DEFECTS, BATCH_SIZE, BLUR_PX = 0.01, 96, 16, 0.7
KINDS = "normal", "defects", "foreign"
FIGURES = "auroc", "auroc, as a whole", "aupro"
PADIM, PATCHCORE = PATCHES["padim"], PATCHES["patchcore"]
CENTRED = {**PATCHCORE, "centred": True}
VARIANTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "padim": ("padim", PADIM),
    "padim, layers alone": ("padim", {**PADIM, "feature": LAYERS}),
    "padim, centred": ("padim", {**PADIM, "centred": True}),
    "patchcore": ("patchcore", PATCHCORE),
    "patchcore, not smoothed": ("patchcore", {**PATCHCORE, "smooth": False}),
    "patchcore, centred": ("patchcore", CENTRED),
    "patchcore, centred, layers alone": ("patchcore", {**CENTRED, "feature": LAYERS}),
    "patchcore, centred, highest 0.5 % of places": ("patchcore", {**CENTRED, "top": 0.005}),
    "patchcore, highest 0.5 % of places": ("patchcore", {**PATCHCORE, "top": 0.005}),
    "patchcore, Euclidean": ("patchcore", {**PATCHCORE, "shrinkage": None}),
    "patchcore, each channel in its unit": ("patchcore", {**PATCHCORE, "shrinkage": 1.0}),
    "patchcore, not shrunk": ("patchcore", {**PATCHCORE, "shrinkage": 0.0}),
    "patchcore, layers alone": ("patchcore", {**PATCHCORE, "feature": LAYERS}),
    "patchcore, with layer3": ("patchcore", {**PATCHCORE, "feature": (*PATCHCORE["feature"], "layer3")}),
    "patchcore, 1,000 of 10,000": ("patchcore", {**PATCHCORE, "coreset": 1000, "capacity": 10_000}),
    "patchcore, 2,000 of 30,000": ("patchcore", {**PATCHCORE, "coreset": 2000, "capacity": 30_000}),
    "patchcore, 8,000 of 100,000": ("patchcore", {**PATCHCORE, "coreset": 8000, "capacity": 100_000}),
    "patchcore, Euclidean, layers alone, 1,000 of 10,000": (
        "patchcore",
        {**PATCHCORE, "shrinkage": None, "feature": LAYERS, "coreset": 1000, "capacity": 10_000},
    ),
}
"""Name -> scorer and options; the first of each scorer is what `adjax train` compares."""
UNITS: dict[str, Mapping[str, Any]] = {
    "overall": OVERALL,
    "overall by its covariance": {**OVERALL, "shrinkage": 0.1},
    "overall, Euclidean": {**OVERALL, "shrinkage": None},
}
PLACES = "patchcore", "patchcore, centred"
FUSED = {
    told([places, whole]) + ("" if weight == WEIGHTS["overall"] else f", of weight {weight:g}"): (places, whole, weight)
    for places, whole, weight in product(PLACES, UNITS, (WEIGHTS["overall"], 0.5, 1.0))
}
"""Name -> what is fused, and the weight of the second."""


def outputs_of(images: np.ndarray, trained: int) -> Outputs:
    """The maps of all pictures uint8[N, H, W, C], of which the first `trained` are learned from."""
    labels = np.zeros(trained, np.int32)
    built = Recipe("gmm", BACKBONE, model_options={"patch_layers": LAYERS}).build(images.shape[1:], ("normal",))
    normalise = built.normalise(images[:trained])
    table = built.members([np.arange(trained)], [labels], [0])
    params = member(train_members(built, images, table, normalise, 0, batch_size=1).params, 0)
    kept = {"statistics", "overall", "layer3", *LAYERS}
    return {k: x for k, x in extract(built.spec, params, normalise, images, kept).items() if k in kept}


def maps_of(name: str, options: Mapping[str, Any], learned: Outputs, shown: Outputs) -> np.ndarray:
    """The maps float32[N, h, w] of pictures, or float32[N] of what has no places, by a scorer fitted to others."""
    scorer = scorers.make(name, **options)
    assert scorer.maps is not None
    batches = ((batch, np.zeros(BATCH_SIZE, np.int32)) for batch, _ in outputs_in_batches(learned, BATCH_SIZE))
    state = scorers.fit_stream(scorer, batches, scorer.row(learned), 1, BATCH_SIZE)
    maps = jax.jit(scorer.maps)
    return np.concatenate([np.asarray(maps(state, x))[:real] for x, real in outputs_in_batches(shown, BATCH_SIZE)])


def changed(images: np.ndarray) -> np.ndarray:
    """Pictures uint8[3 N, H, W, C] that are odd as a whole: a fifth darker, a fifth lighter, a little out of focus."""
    shades = [np.clip(np.rint(images * gain), 0, 255) for gain in (0.8, 1.2)]
    return np.concatenate([*shades, ndimage.gaussian_filter(images, (0, BLUR_PX, BLUR_PX, 0))]).astype(np.uint8)


def cell(name: str, seed: int, done: Collection[str]) -> Iterator[dict[str, Any]]:
    """One texture, one seed: a row for each variant that isn't done, alone and with `overall`."""
    rng = np.random.default_rng([seed, TEXTURES.index(name), 77])
    trained, normal, base = (parts(name, n, rng) for n in (TRAINED, NORMAL, DEFECTS))
    odd, masks, _ = defects(base, SHARE, seed=seed + 500)
    outputs = outputs_of(np.concatenate([trained, normal, odd, changed(normal)]), TRAINED)
    learned, shown = ({k: x[rows] for k, x in outputs.items()} for rows in (slice(TRAINED), slice(TRAINED, None)))
    known = np.concatenate([np.zeros((NORMAL, *masks.shape[1:]), bool), masks])[:, ::2, ::2]
    asked = {**VARIANTS, **{name: ("patchcore", own) for name, own in UNITS.items()}}
    found, values = {}, {}
    for variant, (scorer, options) in asked.items():
        if variant in done and variant not in (*UNITS, *PLACES):
            continue
        maps = maps_of(scorer, options, learned, shown)
        scores = np.asarray(top_mean(jnp.asarray(maps), options.get("top", 0.0)))
        values[variant] = dict(zip(KINDS, np.split(scores, [NORMAL, NORMAL + DEFECTS]), strict=True))
        one = Found(variant, scorer, options, *(auroc(values[variant], kind) for kind in KINDS[1:]))
        found[variant] = {"auroc": one.defects, "auroc, as a whole": one.foreign}, one
        if maps.ndim == 3:
            large = np.asarray(localise.enlarged(jnp.asarray(maps[: NORMAL + DEFECTS]), masks.shape[1:]))[:, ::2, ::2]
            found[variant][0]["aupro"] = float(pixel_metrics.aupro(large, known))
    for name_of_both, (places, whole, weight) in FUSED.items():
        one = fused([found[places][1], found[whole][1]], values, {whole: weight})
        found[name_of_both] = {**found[places][0], "auroc": one.defects, "auroc, as a whole": one.foreign}, one
    for variant, (figures, _) in found.items():
        if variant not in done:
            yield {"texture": name, "seed": seed, "variant": variant, **figures}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each variant, over all seeds: of each texture, and of all."""
    found = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        for texture in (*TEXTURES, "all"):
            own = [r for r in rows if r["variant"] == variant and texture in (r["texture"], "all")]
            if own:
                figures = {k: spread([r[k] for r in own]) for k in FIGURES if k in own[0]}
                found.append({"variant": variant, "texture": texture, **figures})
    return found


def main() -> None:
    """Evaluates the variants that the file lacks; writes after each texture and seed."""
    parser = argparse.ArgumentParser(prog="python -m experiments.patch_maps", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--textures", nargs="+", choices=TEXTURES, default=list(TEXTURES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "patch_maps.json")
    args = parser.parse_args()
    process.prepare()
    rows, where = earlier_rows(args.out), environment("experiments.patch_maps")
    for seed in range(args.seeds):
        for name in args.textures:
            done = {row["variant"] for row in rows if (row["texture"], row["seed"]) == (name, seed)}
            if done >= {*VARIANTS, *UNITS, *FUSED}:
                continue
            own = [{**row, "made": dated(where)} for row in cell(name, seed, done)]
            rows += own
            print(f"{name}, seed {seed}: " + ", ".join(f"{r['variant']} {r['auroc']:.3f}" for r in own), flush=True)
            write_json(args.out, {"environment": where, "rows": rows, "summary": summary(rows)})


if __name__ == "__main__":
    surface.script(main)
