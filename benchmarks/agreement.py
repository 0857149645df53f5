"""Same features, same scores? `python -m benchmarks.agreement`: our scorers beside pytorch-ood's and scikit-learn's.

A LeNet-5 is trained on MNIST for two epochs. Every scorer that a peer has, too, is fitted to the same 6,000 training
images and scores the same 2,000 test images of MNIST and 2,000 of Fashion-MNIST. All get the same float32 features and
logits. Peers that need the network's last layer are given it; ours recover it from features and logits, and are also
tried with its weights. The equation in float64
(`benchmarks.exact`) says who is nearer where they differ.

Three times: what the network gives, with the features that no training image has (dead ReLUs); only the features that
any of the training images has, so that no covariance is singular; and logits times ten, as a longer training makes
them. Where a peer's code says something else than the equation, that is written in float64, too, and the peer held
against it: so the reason given for a difference has been tried.

Not compared: `center`, `cosine`, `padim`, `patchcore` and `score`, that no peer has; `rankfeat`, since LeNet-5 has no
map of which its features are the mean; `layers`, where pytorch-ood adds squares as they are and ours are standardised;
a mixture of several Gaussians, whose fit depends on its start.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.stats import spearmanr

from adjax import data, features, metrics, pipeline, scorers, surface
from adjax.pipeline import Recipe, member
from benchmarks import exact
from benchmarks.exact import Given
from benchmarks.peers import scorers as peers
from benchmarks.run import versions
from experiments.rundir import environment, write_json

FITTED, SCORED = 6_000, 2_000
CLOSE = 1e-4
"""Differences above that share of the largest score, or of AUROC, have to be explained."""


class Case(NamedTuple):
    """A scorer, its peer and the truth.

    Attributes:
      peer: its name.
      theirs: the peer's scores, in our units.
      truth: the equation in float64.
      options: of our scorer; a function is called with what the scorers get.
      weights: whether ours is given the last layer's weights.
      variant: the peer's own equation in float64, where its code has another.
    """

    peer: str
    theirs: Callable[[Given], np.ndarray]
    truth: Callable[[Given], np.ndarray]
    options: Mapping[str, Any] = MappingProxyType({})
    weights: bool = False
    variant: Callable[[Given], np.ndarray] | None = None


def _scatter_ridge(equation: Callable[..., np.ndarray]) -> Callable[[Given], np.ndarray]:
    """With 1e-6 added to the scatter, which is the covariance times the number of images."""
    return lambda g: equation(g, ridge=1e-6 / len(g.x))


OOD, LEARN = "pytorch-ood", "scikit-learn"
LOGITS: dict[str, Case] = {
    "max_softmax": Case(
        f"{OOD} MaxSoftmax",
        lambda g: 1 + peers.logits("MaxSoftmax", g),
        exact.max_softmax,
        variant=exact.rounded_softmax,
    ),
    "max_logit": Case(f"{OOD} MaxLogit", partial(peers.logits, "MaxLogit"), exact.max_logit),
    "energy": Case(f"{OOD} EnergyBased", partial(peers.logits, "EnergyBased"), exact.energy),
    "entropy": Case(f"{OOD} Entropy", partial(peers.logits, "Entropy"), exact.entropy, variant=exact.clipped_entropy),
    "gen": Case(f"{OOD} GEN", lambda g: g.z.shape[1] * peers.logits("GEN", g), exact.gen, variant=exact.clipped_gen),
    "kl_matching": Case(f"{OOD} KLMatching", partial(peers.logits, "KLMatching"), exact.kl_matching),
    "openmax": Case(f"{OOD} OpenMax", lambda g: peers.scored(peers.openmax(g)), exact.openmax, {"by": "label"}),
    "temperature_scaling": Case(
        f"{OOD} TemperatureScaling",
        lambda g: 1 + peers.logits("TemperatureScaling", g),
        exact.temperature_scaling,
        variant=partial(exact.temperature_scaling, steps=50),
    ),
    "weighted_energy": Case(
        f"{OOD} WeightedEBO",
        lambda g: peers.scored(peers.weighted_energy(g)),
        exact.weighted_energy,
        {"weights": exact.weights},
    ),
}
FEATURES: dict[str, Case] = {
    "react": Case(f"{OOD} ReAct", partial(peers.maps, "ReAct"), exact.react),
    "ash": Case(f"{OOD} ASH", partial(peers.maps, "ASH", percentile=0.9), exact.ash),
    "scale": Case(f"{OOD} SCALE", partial(peers.maps, "SCALE", percentile=0.85), exact.scale),
    "lts": Case(f"{OOD} LTS", partial(peers.with_head, "LTS"), exact.lts),
    "dice": Case(f"{OOD} DICE", lambda g: peers.scored(peers.dice(g)), exact.dice),
    "nci": Case(f"{OOD} NCI", partial(peers.with_head, "NCI"), exact.nci),
    "vra": Case(
        f"{OOD} VRA",
        partial(peers.maps, "VRA", lower_percentile=0.6, upper_percentile=0.95),
        exact.vra,
        variant=partial(exact.vra, removed=False),
    ),
    "vim": Case(
        f"{OOD} ViM",
        lambda g: peers.scored(peers.vim(g)),
        exact.vim,
        variant=partial(exact.vim, eigenvectors=peers.vim_eigenvectors),
    ),
    "she": Case(f"{OOD} SHE", partial(peers.with_head, "SHE"), exact.she),
    "nnguide": Case(f"{OOD} NNGuide", partial(peers.with_head, "NNGuide"), exact.nnguide),
    "fdbd": Case(f"{OOD} fDBD", partial(peers.with_head, "fDBD"), exact.fdbd),
    "mahalanobis": Case(
        f"{OOD} Mahalanobis",
        peers.mahalanobis,
        exact.mahalanobis,
        {"shrinkage": 0.0},
        variant=_scatter_ridge(exact.mahalanobis),
    ),
    "mahalanobis, shrunk": Case(f"{LEARN} ShrunkCovariance", peers.shrunk, partial(exact.mahalanobis, shrinkage=0.1)),
    "mahalanobis_perclass": Case(f"{LEARN} ShrunkCovariance", peers.perclass, exact.perclass),
    "relative_mahalanobis": Case(
        f"{OOD} RMD",
        lambda g: len(g.x) * peers.features("RMD", g, None),
        exact.relative,
        {"shrinkage": 0.0},
        variant=_scatter_ridge(exact.relative),
    ),
    "gradnorm": Case(f"{OOD} GradNorm", lambda g: peers.scored(peers.gradnorm(g)), exact.gradnorm),
    "gradient_uncertainty": Case(
        f"{OOD} GradUncertainty",
        lambda g: peers.scored(peers.on_gradients("GradUncertainty", g)),
        exact.gradient_uncertainty,
        variant=partial(exact.gradient_uncertainty, least=1e-12),
    ),
    "gram": Case(f"{OOD} Gram", lambda g: peers.scored(peers.gram(g)), exact.gram, {"held_out": 0.0, "by": "label"}),
    "nac": Case(
        f"{OOD} NACUE",
        lambda g: peers.scored(peers.nac(g)),
        exact.nac,
        variant=partial(exact.nac, geometric=True),
    ),
    "pnml": Case(f"{OOD} PNML", partial(peers.with_head, "PNML"), exact.pnml, variant=exact.rounded_pnml),
    "mcm": Case(f"{OOD} MCM", lambda g: 1 + peers.scored(peers.mcm(g)), exact.mcm),
    "gmm_perclass": Case(
        f"{OOD} GMM",
        lambda g: peers.features("GMM", g, None),
        exact.gmm_perclass,
        {"shrinkage": 0.0},
        variant=partial(exact.gmm_perclass, ridge=1e-6),
    ),
    "gmm_perclass, shrunk": Case(
        f"{LEARN} ShrunkCovariance", peers.gmm_perclass_shrunk, partial(exact.gmm_perclass, shrinkage=0.1)
    ),
    "gmm": Case(f"{LEARN} GaussianMixture", peers.gmm, exact.gmm, variant=partial(exact.gmm, ridge=1e-6)),
    "knn": Case(f"{OOD} KNN", partial(peers.features, "KNN", encoder=None, k=10), exact.knn),
    "pca": Case(f"{LEARN} PCA", peers.pca, exact.pca, {"components": 16}),
    "ocsvm": Case(f"{LEARN} OneClassSVM", peers.ocsvm, exact.ocsvm),
}
WEIGHTS = {
    f"{name}, weights given": FEATURES[name]._replace(weights=True) for name in scorers.WITH_HEAD if name in FEATURES
}
IMAGES = {"odin": Case(f"{OOD} ODIN", peers.odin, exact.odin)}
"""Scorer, and after a comma what sets a case apart from another -> what it is compared with."""


def seen(g: Given) -> Given:
    """Only features that are not 0 on all images to fit to, and logits of nothing else."""
    alive = (g.x != 0).any(0)
    x, query, kernel = g.x[:, alive], g.query[:, alive], g.kernel[alive]
    z, answers = ((np.float64(f) @ kernel + g.bias).astype(np.float32) for f in (x, query))
    return g._replace(x=x, z=z, query=query, answers=answers, kernel=kernel)


def sure(g: Given) -> Given:
    """Logits times ten."""
    return g._replace(z=10 * g.z, answers=10 * g.answers)


SETS: dict[str, tuple[Callable[[Given], Given], Mapping[str, Case]]] = {
    "as they are": (lambda g: g, {**LOGITS, **IMAGES, **FEATURES, **WEIGHTS}),
    "seen": (seen, FEATURES),
    "sure": (sure, LOGITS),
}
"""Name -> what is done to features and logits, and who scores them."""

_UNSEEN = "no training image tells the weights of features that are 0 on all of them: ours takes them for 0; the peer "
_UNSEEN += "is given them"
_SINGULAR = "a feature that is 0 on all images makes the covariance singular, and no distance is right: ours takes its "
_SINGULAR += "variance for what float32 can tell from 0, the peer adds 1e-6 to all variances or to their sum"
_SQUARED = "the peer sums a covariance in float32 and takes its eigenvectors, which squares the condition number; ours "
_SQUARED += "are singular vectors"
_REMOVED = "the peer raises what is low to its limit, where the paper removes it"
_CLASSWISE = (
    "a feature that is 0 on all images of a class makes its covariance singular, and no density is right: ours "
)
_CLASSWISE += "takes its variance for what float32 can tell from 0, the peer adds 1e-6 to all variances"
_DROPPED = (
    "the peer's pseudoinverse, in float32, drops the directions in which training features hardly vary, where the "
)
_DROPPED += "regret is largest"
_NARROW = (
    "the peer's bins narrow towards 0 and 1, where its states, in float32, are coarse; the paper's are equal, and a "
)
_NARROW += "state at the edge of one falls on either side"
_STEPS = "the peer's L-BFGS takes 50 steps at a rate of 0.01, which end before the smallest loss"
WHY: dict[tuple[str, str], str] = {
    **{("as they are", name): _UNSEEN for name in ("react", "dice", "nci", "vim", "fdbd")},
    **{(group, "gmm_perclass"): _CLASSWISE for group in ("as they are", "seen")},
    **{(group, "pnml"): _DROPPED for group in ("as they are", "seen")},
    ("as they are", "pnml, weights given"): _DROPPED,
    **{(group, "nac"): _NARROW for group in ("as they are", "seen")},
    ("as they are", "nac, weights given"): _NARROW,
    **{(group, "vra"): _REMOVED for group in ("as they are", "seen")},
    ("as they are", "vra, weights given"): _REMOVED,
    **{(group, "temperature_scaling"): _STEPS for group in ("as they are", "sure")},
    **{("as they are", name): _SINGULAR for name in ("mahalanobis", "relative_mahalanobis", "gmm")},
    ("as they are", "vim, weights given"): _SQUARED,
    ("seen", "vim"): _SQUARED,
    ("seen", "mahalanobis"): "the peer adds 1e-6 to the scatter",
    ("seen", "gmm"): "the peer adds 1e-6 to every variance",
    (
        "seen",
        "relative_mahalanobis",
    ): "two large squares in float32, one less the other; the peer adds 1e-6 to both scatters",
    (
        "seen",
        "pca",
    ): "the 16th and 17th eigenvalue differ by 5e-5 of the largest: float32 mixes their directions",
    ("sure", "max_softmax"): "the peer's 1 − p has no digits where p is near 1: ties",
    ("sure", "entropy"): "the peer takes no p for less than 1e-7: ties",
    ("sure", "kl_matching"): "97 % of the images of a class score alike but for the last digit: ties",
    ("sure", "gen"): "the peer takes no p for less than 1e-7, nor for more than 1 − 1e-7: ties",
}
"""(set, scorer) -> what explains a difference."""


def options_for(case: Case, g: Given) -> dict[str, Any]:
    """Options of our scorer on these features."""
    return {key: value(g) if callable(value) else value for key, value in case.options.items()}


def ours(name: str, options: Mapping[str, Any], g: Given, weights: bool = False) -> np.ndarray:
    """Our scores float[N] of the images to score."""
    if name == "odin":
        score = jax.jit(partial(scorers.odin, g.network))
        return np.concatenate([score(g.params, images) for images in np.split(g.images, 4)])
    scorer = scorers.make(name, **options, **({"kernel": g.kernel} if weights else {}))
    state = jax.jit(partial(scorers.fit, scorer, classes=g.z.shape[1]))({"features": g.x, "logits": g.z}, g.y)
    return np.asarray(jax.jit(scorer.score)(state, {"features": g.query, "logits": g.answers}))


def compared(
    ours: np.ndarray,
    theirs: np.ndarray,
    truth: np.ndarray | None,
    strange: np.ndarray,
    variant: np.ndarray | None = None,
) -> dict[str, Any]:
    """Two scores and the truth about them.

    Args:
      ours, theirs: [N], finite.
      truth: float64[N], what is right; None if the equation has no solution.
      strange: bool[N], whether an image is an anomaly.
      variant: float64[N], what the peer's own equation says, if it has another.

    Returns:
      `difference`, the largest, as a share of the largest of our scores; `rank`, Spearman's correlation; `auroc_ours`,
      `auroc_theirs`; `error_ours`, `error_theirs`, the largest difference from `truth`, as a share of its largest;
      `error_variant`, that of `theirs` from `variant`.
    """
    a, b = np.float64(ours), np.float64(theirs)
    found = {
        "difference": np.abs(a - b).max() / np.abs(a).max(),
        "rank": float(spearmanr(a, b).statistic),
        "auroc_ours": float(metrics.auroc(a, strange)),
        "auroc_theirs": float(metrics.auroc(b, strange)),
    }
    for name, x, right in (("error_ours", a, truth), ("error_theirs", b, truth), ("error_variant", b, variant)):
        found[name] = None if right is None else np.abs(x - right).max() / np.abs(right).max()
    return found


def trained(epochs: int = 2) -> tuple[Given, np.ndarray]:
    """A LeNet-5 after some epochs of MNIST, its outputs, and which of the images to score are anomalies."""
    digits, strange = data.load("mnist", "train"), data.load("fashion_mnist", "test").images[:SCORED]
    shape, batch_size = digits.images.shape[1:], 128
    steps = epochs * (len(digits.images) // batch_size)
    built = Recipe("centerloss", method_options={"optimizer": "adamw"}).build(shape, tuple("0123456789"), steps=steps)
    method, normalise = built.method, built.normalise(digits.images)
    table = built.members([np.arange(len(digits.images))], [digits.labels])
    params = member(
        pipeline.train_members(built, digits.images, table, normalise, steps, batch_size=batch_size).params, 0
    )
    images = np.concatenate([data.load("mnist", "test").images[:SCORED], strange])

    def seen(params: Any, images: jax.Array) -> Mapping[str, jax.Array]:
        return method.outputs(params, normalise(images))

    said, known = (features.apply(jax.jit(seen), params, x) for x in (images, digits.images[:FITTED]))
    head = params["network"]["head"]
    given = Given(
        known["features"],
        known["logits"],
        digits.labels[:FITTED].astype(np.int32),
        said["features"],
        said["logits"],
        head["kernel"],
        head["bias"],
        np.asarray(normalise(jax.numpy.asarray(images))),
        method.outputs,
        params,
    )
    return given, np.arange(len(images)) >= SCORED


def row(group: str, name: str, case: Case, given: Given, strange: np.ndarray) -> dict[str, Any]:
    """One line of the table."""
    try:
        truth = case.truth(given)
    except np.linalg.LinAlgError:  # a singular covariance
        truth = None
    variant = None if case.variant is None else case.variant(given)
    options = options_for(case, given)
    mine = ours(name.split(",")[0], options, given, case.weights)
    found = compared(mine, case.theirs(given), truth, strange, variant)
    apart = found["difference"] > CLOSE or abs(found["auroc_ours"] - found["auroc_theirs"]) > CLOSE
    why = WHY.get((group, name), "not explained") if apart else ""
    return {"set": group, "scorer": name, "peer": case.peer, "options": options, **found, "why": why}


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """A table for each set, and under them what they were made on."""
    lines = []
    for group in dict.fromkeys(r["set"] for r in rows):
        lines += [
            f"Features and logits: {group}.",
            "",
            "| scorer | peer | largest difference | rank correlation | AUROC, ours | AUROC, peer | off float64, ours "
            "| off float64, peer | off its own equation, peer | why |",
            "|" + "---|" * 10,
        ]
        for r in (r for r in rows if r["set"] == group):
            numbers = [
                f"{r['difference']:.1e}",
                f"{r['rank']:.5f}",
                *(f"{r[key]:.4f}" for key in ("auroc_ours", "auroc_theirs")),
                *("" if r[key] is None else f"{r[key]:.1e}" for key in ("error_ours", "error_theirs", "error_variant")),
            ]
            lines.append("| " + " | ".join([r["scorer"], r["peer"], *numbers, r["why"]]) + " |")
        lines.append("")
    named = ", ".join(f"{k} {v}" for k, v in {**where["versions"], **where["peers"]}.items())
    lines += [
        "The largest difference is a share of the largest score; so is what each is off the same equation in float64, "
        "if it has a solution; the peer's own equation in float64 is given where its code has another. Above "
        f"{CLOSE:g}, of scores or AUROC, a difference is explained.",
        f"LeNet-5, two epochs of MNIST; fitted to {FITTED:,} training images; {SCORED:,} test images against "
        f"{SCORED:,} of Fashion-MNIST; {where['features']['all']} features, of which {where['features']['dead']} are 0 "
        "on all images fitted to. "
        f"`{where['command']}`, {where['date']}, {where['devices']['platform']}, {named}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Trains, compares, writes agreement.json and agreement.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "agreement.json")
    args = parser.parse_args()
    given, strange = trained()
    rows = []
    for group, (change, cases) in SETS.items():
        changed = change(given)
        for name, case in cases.items():
            rows.append(row(group, name, case, changed, strange))
            print(group, name, *(f"{k} {v:.2g}" for k, v in rows[-1].items() if isinstance(v, float)), flush=True)
    counts = {"all": given.x.shape[1], "dead": int((given.x == 0).all(0).sum())}
    where = environment("benchmarks.agreement") | {"peers": versions(), "features": counts}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"what": __doc__, "rows": rows, "environment": where})
    args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
