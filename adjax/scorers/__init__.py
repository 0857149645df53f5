"""Scorers: a network's outputs to one number per image. A new scorer is one file and one line in `SCORERS`.

Example:
  >>> import numpy as np
  >>> rows = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
  >>> scorer = make("mahalanobis")
  >>> state = fit(scorer, {"features": rows}, np.zeros(100, np.int32), classes=1)
  >>> scorer.score(state, {"features": rows[:5]}).shape
  (5,)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
from jax import lax

from adjax import factories
from adjax.scorers._blocks import blocked
from adjax.scorers._given import check_labels, check_outputs, check_sizes, naming, narrowed
from adjax.scorers._suite import OF_LAYERS, feeds, needed, suite
from adjax.scorers.adascale import adascale, perturbed_trivially
from adjax.scorers.ash import ash
from adjax.scorers.center import center
from adjax.scorers.cosine import cosine
from adjax.scorers.dice import dice
from adjax.scorers.energy import energy
from adjax.scorers.entropy import entropy
from adjax.scorers.fdbd import fdbd
from adjax.scorers.fused import fused
from adjax.scorers.gen import gen
from adjax.scorers.gmm import gmm
from adjax.scorers.gmm_perclass import gmm_perclass
from adjax.scorers.gradient_uncertainty import gradient_uncertainty
from adjax.scorers.gradnorm import gradnorm
from adjax.scorers.gram import gram
from adjax.scorers.grood import grood
from adjax.scorers.kl_matching import kl_matching
from adjax.scorers.knn import knn
from adjax.scorers.layers import layers
from adjax.scorers.lts import lts
from adjax.scorers.mahalanobis import mahalanobis
from adjax.scorers.max_logit import max_logit
from adjax.scorers.max_softmax import max_softmax
from adjax.scorers.mc_dropout import mc_dropout
from adjax.scorers.mcm import mcm
from adjax.scorers.nac import nac
from adjax.scorers.nci import nci
from adjax.scorers.nnguide import nnguide
from adjax.scorers.ocsvm import ocsvm
from adjax.scorers.odin import odin, perturbed
from adjax.scorers.openmax import openmax
from adjax.scorers.padim import padim, padim_maps
from adjax.scorers.patchcore import patchcore, patchcore_maps
from adjax.scorers.patchwise import patchwise
from adjax.scorers.pca import pca
from adjax.scorers.pnml import pnml
from adjax.scorers.rankfeat import rankfeat
from adjax.scorers.react import react
from adjax.scorers.relative_mahalanobis import relative_mahalanobis
from adjax.scorers.scale import scale
from adjax.scorers.score import score
from adjax.scorers.she import she
from adjax.scorers.stream import fit_stream, merge_all, merge_processes, statistics
from adjax.scorers.temperature_scaling import temperature_scaling
from adjax.scorers.vim import vim
from adjax.scorers.vra import vra
from adjax.scorers.weighted_energy import weighted_energy
from adjax.types import Outputs, PyTree, Scorer

SCORERS: dict[str, Callable[..., Scorer]] = {
    "ash": ash,
    "center": center,
    "cosine": cosine,
    "dice": dice,
    "energy": energy,
    "entropy": entropy,
    "fdbd": fdbd,
    "fused": fused,
    "gen": gen,
    "gmm": gmm,
    "gmm_perclass": gmm_perclass,
    "gradient_uncertainty": gradient_uncertainty,
    "gradnorm": gradnorm,
    "gram": gram,
    "grood": grood,
    "kl_matching": kl_matching,
    "knn": knn,
    "layers": layers,
    "layers_partial": partial(layers, covariance="partial"),
    "layers_perclass": partial(layers, covariance="class"),
    "lts": lts,
    "mahalanobis": partial(mahalanobis, covariance="tied"),
    "mahalanobis_partial": partial(mahalanobis, covariance="partial"),
    "mahalanobis_perclass": partial(mahalanobis, covariance="class"),
    "max_logit": max_logit,
    "max_softmax": max_softmax,
    "mcm": mcm,
    "nac": nac,
    "nci": nci,
    "nnguide": nnguide,
    "ocsvm": ocsvm,
    "openmax": openmax,
    "padim": padim,
    "patchcore": patchcore,
    "patchwise": patchwise,
    "pca": pca,
    "pnml": pnml,
    "rankfeat": rankfeat,
    "react": react,
    "relative_mahalanobis": relative_mahalanobis,
    "scale": scale,
    "score": score,
    "she": she,
    "subspace": partial(patchwise, "pca"),
    "temperature_scaling": temperature_scaling,
    "vim": vim,
    "vra": vra,
    "weighted_energy": weighted_energy,
}
"""Name -> factory; its keyword arguments configure it."""
_CHUNK_BYTES, _LEAST_CHUNK = 2**26, 2048
"""Of the largest output in a chunk of `gather`, and rows: a sample that chunks are merged into is written for each."""
WITH_HEAD = "ash", "dice", "fdbd", "nac", "nci", "pnml", "rankfeat", "react", "scale", "vim", "vra"
"""Those that recover the last layer, for which logits must be linear in the features: see `adjax.scorers._head`."""

__all__ = [
    "OF_LAYERS",
    "SCORERS",
    "WITH_HEAD",
    "adascale",
    "ash",
    "center",
    "cosine",
    "dice",
    "energy",
    "entropy",
    "fdbd",
    "feeds",
    "fit",
    "fit_stream",
    "fused",
    "gather",
    "gen",
    "gmm",
    "gmm_perclass",
    "gradient_uncertainty",
    "gradnorm",
    "gram",
    "grood",
    "kl_matching",
    "knn",
    "layers",
    "lts",
    "mahalanobis",
    "make",
    "max_logit",
    "max_softmax",
    "mc_dropout",
    "mcm",
    "merge_all",
    "merge_processes",
    "nac",
    "nci",
    "needed",
    "nnguide",
    "ocsvm",
    "odin",
    "openmax",
    "padim",
    "padim_maps",
    "patchcore",
    "patchcore_maps",
    "patchwise",
    "pca",
    "perturbed",
    "perturbed_trivially",
    "pnml",
    "rankfeat",
    "react",
    "relative_mahalanobis",
    "scale",
    "score",
    "she",
    "statistics",
    "suite",
    "temperature_scaling",
    "vim",
    "vra",
    "weighted_energy",
]


def make(name: str, **options) -> Scorer:
    """Builds a scorer by its name in `SCORERS`.

    Args:
      name: a key of `SCORERS`.
      **options: keyword arguments of its factory.

    Returns:
      The `Scorer`. Many rows are scored in blocks, in memory that is flat in their number.

    Raises:
      ValueError: unknown name, or an option that the factory does not have.
    """
    return blocked(factories.make("scorer", SCORERS, name, options=options))


def fit(scorer: Scorer, outputs: Outputs, labels: jax.Array, classes: int, batch_size: int | None = None) -> PyTree:
    """Fits a scorer to outputs in memory.

    Args:
      scorer: as of `make`.
      outputs: named arrays with N rows each.
      labels: int[N], classes 0 … K−1; rows with other labels are left out.
      classes: K ≥ 1.
      batch_size: most rows in a compiled update, ≥ 1; None: as `gather` chooses.

    Returns:
      The scorer's state: `finalize` of the statistics that `gather` returns.

    Raises:
      ValueError: as of `gather`.
    """
    return jax.jit(scorer.finalize)(gather(scorer, outputs, labels, classes, batch_size))


def gather(scorer: Scorer, outputs: Outputs, labels: jax.Array, classes: int, batch_size: int | None = None) -> PyTree:
    """A scorer's statistics of outputs that lie in memory, chunk by chunk, inside or outside of `jit`.

    Args:
      scorer: what to fit.
      outputs: named arrays of N rows, N ≥ 1, among them what the scorer takes: `features` [N, D], `logits` [N, L],
        `score` [N].
      labels: int[N] in 0 … classes−1; rows with another label count for nothing.
      classes: K ≥ 1.
      batch_size: most rows in a chunk; changes the result only by rounding. None: 2048, or more of few numbers.

    Returns:
      The scorer's statistics.

    Raises:
      ValueError: no rows, arrays that differ in how many they have, outputs that are no arrays, labels that are no
        integers [N], an output missing that the scorer takes, or classes or batch_size < 1.
    """
    check_outputs(outputs)
    check_labels(labels)
    check_sizes(classes, batch_size)
    n = len(labels)
    if n < 1:
        raise ValueError("no image to fit a scorer to: give at least 1")
    for name, x in outputs.items():
        if len(x) != n:
            raise ValueError(f"{name} of {len(x)} images and labels of {n}: must be as many")
    if batch_size is None:
        each = max((x.size // n for x in outputs.values()), default=0) * 4
        batch_size = max(_CHUNK_BYTES // max(each, 1), _LEAST_CHUNK)
    labels, chunks = jnp.asarray(narrowed(labels, classes)), -(-n // batch_size)
    if chunks == 1:  # a loop of one pass would take up to twice as long on a CPU
        update = jax.jit(scorer.update)
        with naming(outputs):
            return update(scorer.start(outputs, classes), dict(outputs), labels, jnp.ones(n, bool))
    size = -(-n // chunks)

    def chunked(x: jax.Array) -> jax.Array:
        x = jnp.asarray(x)
        x = jnp.pad(x, [(0, chunks * size - n)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunks, size, *x.shape[1:])

    parts = (jax.tree.map(chunked, dict(outputs)), chunked(labels), chunked(jnp.ones(n, bool)))
    with naming(outputs):
        return _loop(scorer.update)(scorer.start(outputs, classes), parts)


@lru_cache(maxsize=32)  # few, since what a scorer closes over is kept with it
def _loop(update: Callable[..., PyTree]) -> Callable[[PyTree, tuple], PyTree]:
    """A scorer's update, chunk by chunk, as one function, so that fits of the same shapes are compiled once."""

    def body(stats: PyTree, chunk: tuple) -> tuple[PyTree, None]:
        return update(stats, *chunk), None

    return jax.jit(lambda stats, chunks: lax.scan(body, stats, chunks)[0])
