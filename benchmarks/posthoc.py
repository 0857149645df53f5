"""Time to fit and to score beside pytorch-ood's detectors: `python -m benchmarks.posthoc`, on a machine at rest.

Both get the same features and logits, of a made classifier, and the last layer where they need one. Ours and the peer
take turns, calls of milliseconds several times a turn; medians of all pairs, with the smallest and the largest ratio.
Each row says how alike the scores rank. What only one of the two has to fit has no ratio. Compiling is apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from adjax import process, scorers, surface
from benchmarks import exact
from benchmarks.exact import Given
from benchmarks.harness import Work, compare
from benchmarks.peers import scorers as peers
from benchmarks.peers.scorers import Peer
from benchmarks.run import versions
from experiments.rundir import dated, days, earlier_rows, environment, write_json

RESULTS = Path(__file__).parent / "results" / "posthoc.json"
ROWS, DIM, CLASSES = 10_000, 512, 100
_LEAST_S, _MOST_CALLS = 0.1, 100
"""Calls of milliseconds are timed together: one alone waits for threads of the other side that are still awake."""
_ALIKE = 0.9999
"""Of rank correlations: below it, one of the two computes something else."""


class Entry(NamedTuple):
    """A scorer and its peer.

    Attributes:
      peer: its name.
      make: the peer, given what both get.
      options: of our scorer, given the same.
      at_once: rows that the peer scores in a call; None: all. Some make arrays of rows × rows or rows × weights.
    """

    peer: str
    make: Callable[[Given], Peer]
    options: Callable[[Given], dict[str, Any]] = lambda g: {}
    at_once: int | None = None


def known(g: Given) -> dict[str, Any]:
    """Options of a scorer of the last layer: its weights, and a sample of as many images as the peer has."""
    return {"kernel": g.kernel, "capacity": len(g.x)}


def sampled(g: Given) -> dict[str, Any]:
    return {"capacity": len(g.x)}


def unshrunk(g: Given) -> dict[str, Any]:
    return {"shrinkage": 0.0}


ENTRIES: dict[str, Entry] = {
    "ash": Entry("ASH", partial(peers.on_maps, "ASH", percentile=0.9), known),
    "dice": Entry("DICE", peers.dice, known, at_once=1000),
    "energy": Entry("EnergyBased", partial(peers.on_logits, "EnergyBased")),
    "entropy": Entry("Entropy", partial(peers.on_logits, "Entropy")),
    "fdbd": Entry("fDBD", partial(peers.on_head, "fDBD"), known),
    "gen": Entry("GEN", partial(peers.on_logits, "GEN")),
    "gmm_perclass": Entry("GMM", partial(peers.on_features, "GMM", encoder=None), unshrunk),
    "gradient_uncertainty": Entry("GradUncertainty", partial(peers.on_gradients, "GradUncertainty"), at_once=1000),
    "gradnorm": Entry("GradNorm", peers.gradnorm),
    "gram": Entry("Gram", peers.gram, lambda g: {"held_out": 0.0, "by": "label"}),
    "kl_matching": Entry("KLMatching", partial(peers.on_logits, "KLMatching")),
    "knn": Entry("KNN", partial(peers.on_features, "KNN", encoder=None, k=10)),
    "lts": Entry("LTS", partial(peers.on_head, "LTS")),
    "mahalanobis": Entry("Mahalanobis", partial(peers.on_features, "Mahalanobis", encoder=None), unshrunk, 100),
    "max_logit": Entry("MaxLogit", partial(peers.on_logits, "MaxLogit")),
    "max_softmax": Entry("MaxSoftmax", partial(peers.on_logits, "MaxSoftmax")),
    "mcm": Entry("MCM", peers.mcm, lambda g: {"concepts": exact.class_means(g)}),
    "nac": Entry("NACUE", peers.nac, known, at_once=1000),
    "nci": Entry("NCI", partial(peers.on_head, "NCI"), known),
    "nnguide": Entry("NNGuide", partial(peers.on_head, "NNGuide")),
    "openmax": Entry("OpenMax", peers.openmax, lambda g: {"by": "label"}),
    "pnml": Entry("PNML", partial(peers.on_head, "PNML"), known),
    "react": Entry("ReAct", partial(peers.on_maps, "ReAct"), known),
    "relative_mahalanobis": Entry("RMD", partial(peers.on_features, "RMD", encoder=None), unshrunk, 100),
    "scale": Entry("SCALE", partial(peers.on_maps, "SCALE", percentile=0.85), known),
    "she": Entry("SHE", partial(peers.on_head, "SHE")),
    "temperature_scaling": Entry("TemperatureScaling", partial(peers.on_logits, "TemperatureScaling"), sampled),
    "vim": Entry("ViM", peers.vim, known),
    "vra": Entry("VRA", partial(peers.on_maps, "VRA", lower_percentile=0.6, upper_percentile=0.95), known),
    "weighted_energy": Entry("WeightedEBO", peers.weighted_energy, lambda g: {"weights": exact.weights(g)}),
}
"""Scorer -> what it is timed beside. A new one is one line."""


def made(rows: int, dim: int, classes: int) -> Given:
    """Rectified features of a classifier, half of them 0, with logits and a tenth of the labels wrong."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(classes, dim))
    kernel, bias = (looks.T / dim**0.5).astype(np.float32), rng.normal(size=classes).astype(np.float32)
    x = np.maximum(looks[rng.integers(0, classes, 2 * rows)] + rng.normal(size=(2 * rows, dim)), 0).astype(np.float32)
    z = x @ kernel + bias
    y = np.where(rng.random(rows) < 0.9, z[:rows].argmax(1), rng.integers(0, classes, rows)).astype(np.int32)
    return Given(x[:rows], z[:rows], y, x[rows:], z[rows:], kernel, bias)


def timed(name: str, entry: Entry, g: Given, n: int) -> dict[str, Any]:
    """A row: our times and the peer's to fit and to score.

    Args:
      name: of the scorer.
      entry: its peer.
      g: what both get.
      n: pairs, ≥ 1.

    Returns:
      `fit` and `score`, each `Timing.json()` or None where the peer fits nothing; `rank`, Spearman's correlation of the
      scores.
    """
    peer, classes = entry.make(g), g.z.shape[1]
    parts = [entry.make(g._replace(query=q, answers=a)) for q, a in _parts(g, entry.at_once)]
    scorer = scorers.make(name, **entry.options(g))
    fit, score = jax.jit(partial(scorers.fit, scorer, classes=classes)), jax.jit(scorer.score)
    fitted, query, labels = jax.tree.map(
        jnp.asarray, ({"features": g.x, "logits": g.z}, {"features": g.query, "logits": g.answers}, g.y)
    )
    state, theirs = fit(fitted, labels), peer.fit()

    def scores() -> list[Any]:
        return [part.score(theirs) for part in parts]

    label = f"pytorch-ood {entry.peer}"
    row: dict[str, Any] = {"scorer": name, "peer": label, "fit": None}

    def timing(ours: Work, theirs: Work) -> dict[str, Any]:
        started = time.perf_counter()
        jax.block_until_ready(theirs())
        calls = min(max(round(_LEAST_S / (time.perf_counter() - started)), 1), _MOST_CALLS)
        both = (partial(_repeated, work, calls) for work in (ours, theirs))
        return compare(name, label, *both, images=len(g.x) * calls, n=n, steps=calls).json()

    if peer.fits:
        row["fit"] = timing(lambda: fit(fitted, labels), peer.fit)
    row["score"] = timing(lambda: score(state, query), scores)
    found = np.concatenate([part.detach().numpy() for part in scores()])
    return row | {"rank": float(spearmanr(np.asarray(score(state, query)), found).statistic)}


def _repeated(work: Work, calls: int) -> None:
    for _ in range(calls):
        jax.block_until_ready(work())


def _parts(g: Given, at_once: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    size = at_once or len(g.query)
    return [(g.query[i : i + size], g.answers[i : i + size]) for i in range(0, len(g.query), size)]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of fitting and of scoring: how many are compared, the median ratio, and which of ours are slower."""
    found = {}
    for part in ("fit", "score"):
        ratios = {row["scorer"]: row[part]["ratio"] for row in rows if row[part]}
        slower = [name for name, ratio in ratios.items() if ratio < 1]
        found[part] = {"compared": len(ratios), "median": statistics.median(ratios.values() or [1]), "slower": slower}
    return found


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table, what it comes to, and what it was made on."""
    lines = [
        "| scorer | peer | fit, ms | peer, ms | ratio | min–max | score, ms | peer, ms | ratio | min–max "
        "| rank correlation |",
        "|" + "---|" * 11,
    ]
    for row in rows:
        cells = [cell for part in ("fit", "score") for cell in _cells(row[part])]
        lines.append("| " + " | ".join([row["scorer"], row["peer"], *cells, f"{row['rank']:.4f}"]) + " |")
    lines.append("")
    for part, found in summary(rows).items():
        slower = ", ".join(found["slower"]) or "none"
        median = f"the median ratio is {found['median']:.1f}"
        lines.append(f"To {part}, of {found['compared']}: {median}; slower than the peer: {slower}.")
    apart = [row["scorer"] for row in rows if row["rank"] < _ALIKE]
    if apart:
        lines.append(f"The peer computes something else, `agreement.md` beside this says what: {', '.join(apart)}.")
    named = ", ".join(f"{k} {v}" for k, v in {**where["versions"], **where["peers"]}.items())
    lines += [
        f"Fitted to {where['rows']:,} images of {where['features']} features and {where['classes']} classes; "
        "as many are scored. Ratio: the peer's time / ours, median of pairs timed in turn in one "
        "process; above 1 adjax is faster.",
        f"`{where['command']}`, {days(rows)}, {where['pairs']} pairs, {where['cores']} cores of {where['cpu']} "
        f"({where['devices']['platform']}), Python {where['python']}, {named}.",
    ]
    return "\n".join(lines) + "\n"


def _cells(timing: dict[str, Any] | None) -> list[str]:
    if timing is None:
        return [""] * 4
    spread = f"{timing['ratio_min']:.1f}–{timing['ratio_max']:.1f}"
    return [f"{timing['ours_ms']:.1f}", f"{timing['peer_ms']:.1f}", f"**{timing['ratio']:.1f}**", spread]


def main() -> None:
    """Times every scorer, or some, in the place of their rows before; writes posthoc.json and posthoc.md after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posthoc", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ENTRIES, default=list(ENTRIES), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="few rows and pairs: does it run at all?")
    parser.add_argument("--pairs", type=int, help="how often ours and the peer are timed in turn (5, quick: 2)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    process.keep_freed_memory()
    pairs, shape = args.pairs or (2 if args.quick else 5), (ROWS, DIM, CLASSES)
    rows, dim, classes = (400, 32, 5) if args.quick else shape
    g = made(rows, dim, classes)
    where = environment("benchmarks.posthoc") | {"peers": versions(), "pairs": pairs}
    where |= {"rows": rows, "features": dim, "classes": classes}
    rest = set(ENTRIES) - set(args.only)
    found = [row for row in earlier_rows(args.out) if row["scorer"] in rest]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        row = {**timed(name, ENTRIES[name], g, pairs), "made": dated(where)}
        found = sorted([*found, row], key=lambda row: list(ENTRIES).index(row["scorer"]))
        write_json(args.out, {"what": __doc__, "rows": found, "summary": summary(found), "environment": where})
        args.out.with_suffix(".md").write_text(markdown(found, where))
        ratios = ", ".join(f"{part} {row[part]['ratio']:.2f} ×" for part in ("fit", "score") if row[part])
        print(f"{name}: {ratios}, rank correlation {row['rank']:.4f}", flush=True)


if __name__ == "__main__":
    surface.script(main)
