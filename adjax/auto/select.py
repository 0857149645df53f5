"""Choice of a scorer: the one that finds synthetic defects in held-out normal pictures.

No scorer is best on all pictures. A pooled feature sees that a picture shows something else; a map of patches sees a
scratch, and fused with a pooled feature that knows nothing of scratches it sees fewer. All candidates are fitted to a
part of the training pictures and asked to tell the rest of them from the same with a made defect
(`adjax.data.defects`: eight kinds, 0.5 % to 5 % of the area) and from photographs of something else. Among the
candidates that see the photographs as well as any does, the one that finds most defects is chosen. Where things are
shown, each unlike the next, defects are hardly found by anything, and tell little: candidates that hear places more
than the picture as a whole have to find more of them (`LEAST`). Held-out pictures that set a threshold are not touched,
and nothing that is known to be anomalous is: the choice can still be evaluated on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import methods, metrics, scorers
from adjax.auto.plan import LAYERS, PATCHED_PX, PATCHES, TrainingPlan, nearest
from adjax.data.defects import defects, foreign
from adjax.data.io.scratch import Images
from adjax.detector import extract
from adjax.extraction import traced
from adjax.features import outputs_in_batches
from adjax.pipeline import member, train_members
from adjax.spec import FunctionSpec, Spec
from adjax.types import Outputs

SHARES = (0.005, 0.05)
POOLED = "knn"
"""The scorer of the pooled feature, which sees that a picture shows something else."""
LOCAL: tuple[str, ...] = ("patchcore", "overall")
"""What is odd in a picture, its maps centred, and what is odd of it: light, sharpness, grain. Apart they see more: what
differs from picture to picture no longer hides what differs in one."""
OVERALL = {"feature": "overall", "shrinkage": 1.0, "coreset": 256, "capacity": 2048}
"""Options of `patchcore`: the nearest of 256 pictures that are unlike each other, each channel in its unit."""
WHOLE: tuple[tuple[str, ...], ...] = (LOCAL, (*LOCAL, POOLED), (POOLED, *LOCAL), (POOLED,))
CUT: tuple[tuple[str, ...], ...] = (("patchcore",), ("subspace",))
"""What is compared, by the scorers that are fused: of whole pictures, and of tiles. The first is preferred; of two that
are fused of the same, each gives most weight to another. The first is left out of pictures below `PATCHED_PX`, of which
most show a thing."""
LEAST = {"patchcore with overall": 0.85, "patchcore with overall and knn": 0.7}
"""AUROC of synthetic defects that a candidate has to reach, by its name. Textures, and parts that lie alike, let 0.9
to 1 be reached; drawings and photographs of different things 0.5 to 0.65, and there places hide what the nearest
picture knows."""
FEWEST = 24
"""Least number of training pictures that tell which candidate is better. With fewer, PatchCore is fused with
what sees the picture as a whole and with the nearest picture, and nothing is compared."""
FITTED, JUDGED, MADE = 120, 48, 32
"""Most pictures to fit to, most to evaluate on, and least number of defects."""
BATCH_SIZE = 16
"""Pictures that scorers are fitted to and asked about at once, so that programs serve any number of them."""
MARGIN = 0.02
"""Differences of AUROC below it count for nothing: so few pictures don't tell them."""
WEIGHTS = {POOLED: 1.5, "overall": 0.25}
"""Of deviations in a fusion, 1 for others. Those of the highest of many places reach further up in normal pictures than
those of the pooled feature, and it would go unheard; a picture that is too dark lies so far out that a quarter will do,
and normal ones are left to the places (`experiments.patch_maps`)."""
LEADING = 4.0
"""Of the pooled feature's deviations where it is named first: places are heard if they are far out alone."""


class Found(NamedTuple):
    """A candidate, and its AUROC against synthetic defects and against unrelated photographs."""

    name: str
    scorer: str
    options: Mapping[str, Any]
    defects: float
    foreign: float


class Refined(NamedTuple):
    """The plan with the scorer that was chosen; and the network's outputs of all images in order, None if not all were
    looked at."""

    plan: TrainingPlan
    outputs: Outputs | None


def refined(plan: TrainingPlan, images: Images, labels: np.ndarray, classes: tuple[str, ...], seed: int) -> Refined:
    """Chooses the scorer that finds most synthetic defects.

    Args:
      plan: with `selects`: a network with maps, and a scorer that the user did not choose.
      images: uint8[N, H, W, C], normal, to train on.
      labels: int[N], 0 … K−1.
      classes: the K names.
      seed: of the split and the defects.

    Returns:
      The `TrainingPlan` with that scorer, and why; and what the network says of the images.
    """
    found, outputs = compare(plan, images, labels, classes, seed)
    chosen = best(found)
    each = ", ".join(f"{one.name} {one.defects:.3f} and {one.foreign:.3f}" for one in found)
    short = [f"{one.name} would need {LEAST[one.name]:g}" for one in found if not _able(one)]
    if len(found) == 1:
        why = f"{len(images)} pictures don't tell which scorer is best (AUROC of defects, of unrelated ones): {each}"
    else:
        rest = f", of those that find enough ({', '.join(short)})" if short else ""
        why = (
            f"{chosen.name} tells unrelated pictures from held-out normal ones as well as any, and then finds most "
            f"synthetic defects, or as good as most{rest} (AUROC of defects, of unrelated ones): {each}"
        )
    options = {**plan.model_options, "patch_layers": LAYERS}
    changed = replace(
        plan,
        scorer=chosen.scorer,
        scorer_options=chosen.options,
        model_options=options,
        why=(*plan.why, why),
        selects=False,
    )
    if outputs is not None:
        reads = traced(changed.recipe.build(images.shape[1:], classes).spec).reads
        outputs = {name: x for name, x in outputs.items() if name in {"features", "logits", "score"} | reads}
    return Refined(changed, outputs)


def best(found: list[Found]) -> Found:
    """Of the candidates that find defects enough, and see unrelated photographs as well as any of these, the one that
    finds most defects; the first of several as good.
    """
    enough = [one for one in found if _able(one)] or found
    seen = max(one.foreign for one in enough)
    able = [one for one in enough if one.foreign >= seen - MARGIN]
    most = max(one.defects for one in able)
    return next(one for one in able if one.defects >= most - MARGIN)


def _able(one: Found) -> bool:
    return one.defects >= LEAST.get(one.name, 0)


def compare(
    plan: TrainingPlan, images: Images, labels: np.ndarray, classes: tuple[str, ...], seed: int
) -> tuple[list[Found], Outputs | None]:
    """Evaluates each candidate on synthetic defects and unrelated photographs, the preferred first.

    Args:
      plan, images, labels, classes, seed: as of `refined`.

    Returns:
      A `Found` per candidate; and the outputs of all images, as of `Refined`.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    aside = min(max(len(images) // 4, 8), JUDGED, len(images) // 2)
    rest, fitted = order[:aside], order[aside:][:FITTED]
    seen = np.sort(order[: aside + len(fitted)])  # in order, so that they serve the fit to come
    normal, pictures = np.asarray(images[rest]), np.asarray(images[seen])
    made = [defects(normal, SHARES, seed + k)[0] for k in range(-(-MADE // aside))]
    odd = np.concatenate([*made, foreign(max(aside, 16), images.shape[1:], seed)])
    known, unseen = seen_by_network(plan, pictures, classes, (pictures, odd), seed)
    first, last = (np.searchsorted(seen, rows) for rows in (fitted, rest))
    compared = candidates(plan, len(images))
    alone: dict[str, tuple[str, Mapping[str, Any]]] = {
        name: _part(name, plan, len(images)) for name in dict.fromkeys(chain(*compared))
    }
    values = {}
    for name, one in alone.items():
        learned = ((_rows(known, part), labels[seen[part]]) for part in _parts(first))
        score = fitted_to(*one, learned, len(classes))
        defective, other = np.split(score(unseen), [aside * len(made)])
        values[name] = {"normal": score(_rows(known, last)), "defects": defective, "foreign": other}
    found = {
        name: Found(name, *one, auroc(values[name], "defects"), auroc(values[name], "foreign"))
        for name, one in alone.items()
    }
    together = [found[names[0]] if len(names) == 1 else fused([found[x] for x in names], values) for names in compared]
    return together, known if len(seen) == len(images) else None


def candidates(plan: TrainingPlan, n: int) -> tuple[tuple[str, ...], ...]:
    """What is compared.

    Args:
      plan: as of `refined`.
      n: number of pictures or tiles.

    Returns:
      The candidates, each by the names of the scorers that are fused; for tiles, none that knows positions. One, where
      nothing tells which is best.
    """
    planned = plan.scorer or methods.entry(plan.method).scorer
    if plan.tiled:
        return CUT
    if n < FEWEST:
        return ((*LOCAL, POOLED) if planned == POOLED else (planned,),)
    small = min(plan.shape[:2]) < PATCHED_PX
    return tuple(dict.fromkeys((*WHOLE[small:], (planned,))))


def _part(name: str, plan: TrainingPlan, n: int) -> tuple[str, Mapping[str, Any]]:
    """The scorer and its options for n images, of what a candidate names."""
    if name == "overall":
        return "patchcore", OVERALL
    if name in PATCHES:
        centred = {"centred": True} if name in LOCAL and not plan.tiled else {}  # a tile's mean isn't its picture's
        return name, {**PATCHES[name], **centred}
    return name, nearest(n) if name == POOLED else plan.scorer_options


def fused(
    each: list[Found],
    values: Mapping[str, Mapping[str, np.ndarray]],
    weights: Mapping[str, float] = WEIGHTS,
) -> Found:
    """Fuses candidates, made alike by their scores of normal pictures.

    Args:
      each: the candidates.
      values: scores by the name of a candidate and by what is scored: "normal", "defects", "foreign".
      weights: of deviations by the name of a candidate, 1 for others; `LEADING` of the pooled one where it comes first.

    Returns:
      The fusion as a candidate.
    """
    normal = [values[one.name]["normal"] for one in each]
    factors = [weights.get(one.name, 1) for one in each]
    if each[0].name == POOLED:
        factors[0] = LEADING
    offsets = [float(x.mean()) for x in normal]
    scales = [max(float(x.std()), 1e-6) / factor for x, factor in zip(normal, factors, strict=True)]
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
    figures = (auroc(highest, kind) for kind in ("defects", "foreign"))
    return Found(told([one.name for one in each]), "fused", options, *figures)


def told(names: Sequence[str]) -> str:
    """Names a candidate.

    Args:
      names: of what is fused, at least one.

    Returns:
      One with the others.
    """
    return " with ".join(part for part in (names[0], " and ".join(names[1:])) if part)


def name_of(spec: Spec | FunctionSpec) -> str:
    """Names the candidate that a detector was fitted as.

    Args:
      spec: the detector's.

    Returns:
      As of `told`.
    """
    options = dict(spec.scorer_options)
    names = options.get("names", spec.names[-1:])
    features = [dict(part).get("feature") for part in options.get("options") or [{}] * len(names)]
    return told([feature if feature == "overall" else name for name, feature in zip(names, features, strict=True)])


def seen_by_network(
    plan: TrainingPlan, train: Images, classes: tuple[str, ...], parts: Iterable[Images], seed: int
) -> list[Outputs]:
    """Computes all that a candidate reads.

    Args:
      plan: as of `refined`.
      train: uint8[N, H, W, C], which the network's inputs are normalised by.
      classes: their names.
      parts: pictures to look at.
      seed: of what the weights lack.

    Returns:
      The network's outputs for each part.
    """
    recipe = replace(plan.recipe, model_options={**plan.model_options, "patch_layers": LAYERS})
    built = recipe.build(train.shape[1:], classes)
    table = built.members([np.arange(len(train))], [np.zeros(len(train), np.int32)], [seed])
    normalise = built.normalise(train)
    params = member(train_members(built, train, table, normalise, 0, batch_size=1).params, 0)
    return [extract(built.spec, params, normalise, x, {"patches", "statistics", "overall", *LAYERS}) for x in parts]


def fitted_to(
    name: str, options: Mapping[str, Any], learned: Iterable[tuple[Outputs, np.ndarray]], classes: int
) -> Callable[[Outputs], np.ndarray]:
    """Fits a scorer to batches.

    Args:
      name, options: of the scorer.
      learned: outputs of the network and labels, a batch at a time.
      classes: K.

    Returns:
      Its scores of outputs, float32[N]; in batches, so that programs serve any number of pictures.
    """
    scorer, learned = scorers.make(name, **options), iter(learned)
    first = next(learned)
    state = scorers.fit_stream(scorer, chain([first], learned), scorer.row(first[0]), classes, BATCH_SIZE)
    score = jax.jit(scorer.score)

    def scores(outputs: Outputs) -> np.ndarray:
        each = outputs_in_batches(outputs, BATCH_SIZE)
        return np.concatenate([np.asarray(score(state, batch))[:real] for batch, real in each])

    return scores


def _rows(outputs: Outputs, rows: np.ndarray) -> Outputs:
    return {name: x[rows] for name, x in outputs.items()}


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield rows[start : start + BATCH_SIZE]


def auroc(scores: Mapping[str, np.ndarray], kind: str) -> float:
    """Computes how well scores tell pictures of one kind from normal ones.

    Args:
      scores: float32[N] by kind, as `values` of `fused`.
      kind: "defects" or "foreign".

    Returns:
      AUROC, in [0, 1].
    """
    normal, anomalous = scores["normal"], scores[kind]
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(metrics.auroc(jnp.asarray(np.concatenate([normal, anomalous])), truth))
