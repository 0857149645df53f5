"""Choice of a scorer: the one that finds synthetic defects in held-out normal pictures.

No scorer is best on all pictures. A pooled feature sees that a picture shows something else; a map of patches sees a
scratch. So a few candidates are fitted to a part of the training pictures and asked to tell the rest of them from the
same with a made defect (`adjax.data.defects`: eight kinds, 0.5 % to 5 % of the area) and from photographs of something
else. The held-out pictures that set the threshold are not touched, and nothing that is known to be anomalous is: the
choice can still be evaluated on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import metrics, scorers
from adjax.auto.plan import LAYERS, PATCHES, STATISTICS, TILED, TrainingPlan
from adjax.data.defects import defects, foreign
from adjax.data.io.scratch import Images
from adjax.detector import extract
from adjax.pipeline import member, train_members
from adjax.types import Outputs, PyTree

SHARES = (0.005, 0.05)
FEWEST = 24
"""Least number of training pictures; with fewer, the planned scorer is kept."""
FITTED, JUDGED, MADE = 120, 48, 32
"""Most pictures to fit to, most to evaluate on, and least number of defects."""
MARGIN = 0.005
"""Of two that are as close as that, the earlier: what was planned, then in the order above."""


class Found(NamedTuple):
    """A candidate, and its AUROC against synthetic defects and against unrelated photographs."""

    name: str
    scorer: str
    options: Mapping[str, Any]
    defects: float
    foreign: float

    @property
    def value(self) -> float:
        """The figure that decides: the mean of both."""
        return (self.defects + self.foreign) / 2


def refined(
    plan: TrainingPlan, images: Images, labels: np.ndarray, classes: tuple[str, ...], seed: int
) -> TrainingPlan:
    """Chooses the scorer that finds most synthetic defects.

    Args:
      plan: with `selects`: a network with maps, and a scorer that the user did not choose.
      images: uint8[N, H, W, C], normal, to train on.
      labels: int[N], 0 … K−1.
      classes: the K names.
      seed: of the split and the defects.

    Returns:
      The `TrainingPlan` with that scorer, and why.
    """
    found = compare(plan, images, labels, classes, seed)
    most = max(one.value for one in found)
    best = next(one for one in found if one.value >= most - MARGIN)
    each = ", ".join(f"{one.name} {one.defects:.3f} and {one.foreign:.3f}" for one in found)
    why = f"{best.name} finds most in held-out normal pictures (AUROC of synthetic defects, of unrelated ones): {each}"
    options = {**plan.model_options, "patch_layers": LAYERS}
    return replace(
        plan,
        scorer=best.scorer,
        scorer_options=best.options,
        model_options=options,
        why=(*plan.why, why),
        selects=False,
    )


def compare(plan: TrainingPlan, images: Images, labels: np.ndarray, classes: tuple[str, ...], seed: int) -> list[Found]:
    """Evaluates each candidate on synthetic defects, those with maps first.

    Args:
      plan, images, labels, classes, seed: as of `refined`.

    Returns:
      A `Found` per candidate.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    aside = min(max(len(images) // 4, 8), JUDGED)
    rest, fitted = order[:aside], order[aside:][:FITTED]
    learned, normal = (np.asarray(images[rows]) for rows in (fitted, rest))
    made = [defects(normal, SHARES, seed + k)[0] for k in range(-(-MADE // aside))]
    shown = {
        "fit": learned,
        "normal": normal,
        "defects": np.concatenate(made),
        "foreign": foreign(max(aside, 16), images.shape[1:], seed),
    }
    recipe = replace(plan.recipe, model_options={**plan.model_options, "patch_layers": LAYERS})
    built = recipe.build(images.shape[1:], classes)
    table = built.members([fitted], [labels[fitted]], [seed])
    normalise = built.normalise(learned)
    trained = train_members(built, learned, table, normalise, 0, batch_size=1)
    params = member(trained.params, 0)
    also = {"patches", "statistics"}
    said = {k: extract(built.spec, params, normalise, x, also) for k, x in shown.items()}
    planned = (built.spec.scorer, dict(plan.scorer_options))
    patches = patch_scorers(plan)
    alone: dict[str, tuple[str, Mapping[str, Any]]] = {name: (name, options) for name, options in patches.items()}
    alone |= {"statistics": ("patchwise", STATISTICS)} | ({} if plan.tiled else {planned[0]: planned})
    values = {name: _scores(*one, said, labels[fitted], len(classes)) for name, one in alone.items()}
    found = {
        name: Found(name, *one, _auroc(values[name], "defects"), _auroc(values[name], "foreign"))
        for name, one in alone.items()
    }
    together: list[tuple[str, ...]] = [(name, "statistics") for name in patches]
    if len(classes) == 1 and not plan.tiled:  # of several, the planned scorer has a distance from each
        together = [(*pair, planned[0]) for pair in together] + together + [(name, planned[0]) for name in patches]
    return [*(_together([found[name] for name in names], values) for names in together), *found.values()]


def patch_scorers(plan: TrainingPlan) -> dict[str, Mapping[str, Any]]:
    """Scorers of patches that are compared, with their options; for tiles, those that know no positions."""
    return {name: options for name, options in PATCHES.items() if not plan.tiled or name in TILED}


def _together(each: list[Found], values: Mapping[str, Mapping[str, np.ndarray]]) -> Found:
    """Candidates fused, made alike by their scores of normal pictures."""
    normal = [values[one.name]["normal"] for one in each]
    offsets, scales = [float(x.mean()) for x in normal], [max(float(x.std()), 1e-6) for x in normal]
    alike = [
        {k: (v - m) / d for k, v in values[one.name].items()} for one, m, d in zip(each, offsets, scales, strict=True)
    ]
    highest = {k: np.max([one[k] for one in alike], axis=0) for k in alike[0]}
    options = {
        "names": tuple(one.scorer for one in each),
        "options": tuple(tuple(one.options.items()) for one in each),
        "offsets": tuple(offsets),
        "scales": tuple(scales),
    }
    name = " with ".join(one.name for one in each)
    return Found(name, "fused", options, _auroc(highest, "defects"), _auroc(highest, "foreign"))


def _scores(
    name: str, options: Mapping[str, Any], said: Mapping[str, Outputs], labels: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """What a scorer fitted to "fit" says of the others."""
    scorer = scorers.make(name, **options)

    @jax.jit
    def fit(outputs: Outputs, labels: jax.Array) -> PyTree:
        return scorers.fit(scorer, outputs, labels, classes, batch_size=16)

    state, score = fit(said["fit"], np.asarray(labels, np.int32)), jax.jit(scorer.score)
    return {k: np.asarray(score(state, x)) for k, x in said.items() if k != "fit"}


def _auroc(scores: Mapping[str, np.ndarray], kind: str) -> float:
    normal, anomalous = scores["normal"], scores[kind]
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(metrics.auroc(jnp.asarray(np.concatenate([normal, anomalous])), truth))
