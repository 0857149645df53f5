"""Every scorer with options for small images, compiled once for all tests that use it."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily

from adjax import scorers
from adjax.scorers import SCORERS
from adjax.types import Scorer

N, D, K = 240, 6, 3


def images(n=N, dim=D, classes=K, seed=0, apart=3.0):
    """Correlated features of unlike scale (0.5 … 4), classes `apart`."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dim, dim)) / np.sqrt(dim) + np.diag(np.geomspace(0.5, 4, dim))
    labels = np.arange(n, dtype=np.int32) % classes
    x = apart * rng.normal(size=(classes, dim))[labels] + rng.normal(size=(n, dim)) @ mix
    return x.astype(np.float32), labels


@functools.cache
def last_layer():
    """W, b of a classifier of `images()`: least squares, and a common part that is strong where images are."""
    x, y = images()
    x, middle = x.astype(np.float64), x.mean(0, dtype=np.float64)
    common = 2 * middle / np.linalg.norm(middle)
    solution = np.linalg.lstsq(np.concatenate([x, np.ones((N, 1))], 1), 10 * np.eye(K)[y])[0]
    kernel, bias = solution[:-1] + common[:, None], solution[-1] + 10 - middle @ common
    return kernel.astype(np.float32), bias.astype(np.float32)


@functools.cache
def undecided():
    """Features of which all logits are −20."""
    kernel, bias = last_layer()
    return np.linalg.lstsq(kernel.T.astype(np.float64), -20 - bias.astype(np.float64))[0].astype(np.float32)


def traced_outputs(x):
    """Features; logits linear in them, overflown where a feature is infinite; and the score of a method that scores by
    itself: the largest feature, finite if none is NaN."""
    kernel, bias = last_layer()
    x = jnp.asarray(x, jnp.float32)
    logits = jnp.matmul(x, kernel, precision="highest") + bias[None]
    logits = jnp.where(jnp.isinf(x).any(-1, keepdims=True), jnp.inf, logits)
    other = jnp.roll(x, 1, 1)  # what two places, of which the features are the mean, differ by
    patches = jnp.stack([1.5 * x + other, 0.5 * x - other], 1)[:, None]
    return {"features": x, "patches": patches, "logits": logits, "score": jnp.clip(jnp.abs(x).max(-1), 0, 1e15)}


outputs = jax.jit(traced_outputs)


CASES = {name: (name, {}) for name in SCORERS} | {
    "ocsvm": ("ocsvm", {"capacity": 60}),
    "gmm, 3 components": ("gmm", {"components": 3, "covariance": "diag", "iterations": 5, "capacity": 100}),
    "gmm_perclass, 2 components": (
        "gmm_perclass",
        {"components": 2, "covariance": "tied", "iterations": 5, "capacity": 100},
    ),
    "knn": ("knn", {"normalise": False, "capacity": 100}),
    "layers": ("layers", {"capacity": 100}),
    "layers_partial": ("layers_partial", {"capacity": 100}),
    "layers_perclass": ("layers_perclass", {"capacity": 100}),
    "padim": ("padim", {"feature": "features", "grid": (1, 2), "dim": 3}),
    "patchcore": ("patchcore", {"feature": "features", "coreset": 20, "capacity": 100, "neighbours": 5}),
    "fused": (
        "fused",
        {"names": ("pca", "patchwise"), "options": ({}, {"feature": "features"}), "offsets": (0, 1), "scales": (1, 2)},
    ),
    "patchwise": ("patchwise", {"feature": "features"}),
    "subspace": ("subspace", {"feature": "features"}),
    "react": ("react", {"capacity": 100}),
    "ash": ("ash", {"capacity": 100}),
    "vim": ("vim", {"capacity": 100}),
    "fdbd": ("fdbd", {"capacity": 100}),
    "nnguide": ("nnguide", {"capacity": 100}),
    "dice": ("dice", {"capacity": 100, "pruned": 0.3}),
    "scale": ("scale", {"capacity": 100}),
    "nci": ("nci", {"capacity": 100}),
    "rankfeat": ("rankfeat", {"capacity": 100}),
    "vra": ("vra", {"capacity": 100, "low": 0.01, "high": 0.99}),
    "temperature_scaling": ("temperature_scaling", {"capacity": 100}),
    "weighted_energy": ("weighted_energy", {"weights": (0.5, 2.0, 1.0)}),
    "pnml": ("pnml", {"capacity": 100}),
    "nac": ("nac", {"capacity": 100, "bins": 10, "enough": 5, "steepness": 1.0}),
    "openmax": ("openmax", {"capacity": 100, "tail": 10}),
    "grood": ("grood", {"capacity": 100, "outlier": (6,) * D}),
    "gram": ("gram", {"capacity": 20, "powers": (1, 2, 3)}),
}
"""Every scorer, where it keeps a sample also of fewer images than there are."""
LOGITS = "max_softmax", "max_logit", "energy", "entropy", "gen", "kl_matching", "temperature_scaling", "weighted_energy"
POSTHOC = *LOGITS, "react", "ash", "vim", "fdbd", "she", "nnguide", "dice", "scale", "vra", "lts", "nci", "rankfeat"
POSTHOC += "gradnorm", "gradient_uncertainty", "pnml"
"""Of a classifier's logits; of its features as well."""
SAME_FIT = {"max_logit", "energy", "entropy", "gen", "score"}
SAME_FIT |= {"ash", "vim", "fdbd", "dice", "scale", "vra", "nci", "rankfeat"}
SAME_FIT |= {"lts", "weighted_energy", "gradnorm", "gradient_uncertainty"}
SAME_FIT |= {"cosine", "mcm", "pca", "relative_mahalanobis", "gmm_perclass"}
"""Fitted by the code that fits max_softmax; react; max_softmax; center and mahalanobis."""
FITS = [name for name in CASES if name not in SAME_FIT]
THOROUGH = "gmm", "gmm, 3 components", "mahalanobis", "mahalanobis_perclass", "ocsvm"
"""Fitted operation by operation, and in batches of many sizes; others are made of the same parts."""
BATCHES = [(name, n) for name in FITS for n in ([1000, 1, 7, 100, 240] if name in THOROUGH else [1000, 7])]
"""They are compared to batches of 64, of which the last is not full."""
FAMILIES = "gmm", "knn", "mahalanobis", "max_softmax", "padim", "vim"
"""They stand for all where a test compiles once more for each; all with -m slow."""
NO_LENGTH = *POSTHOC, "cosine", "mcm", "openmax", "grood", "gram", "nac"
"""An infinite feature or logit says nothing of the image: it scores +inf."""


@functools.cache
def aside():
    """Features at right angles to all class means."""
    x, y = images()
    return np.linalg.svd(np.stack([x[y == k].mean(0) for k in range(K)]))[2][-1]


@functools.cache
def against(name):
    """Features that speak against every class: by all weights that are kept (DICE), within fitted limits (VRA)."""
    (kernel, bias), x = last_layer(), images()[0]
    if name == "rankfeat":  # in what is left of the map without its largest singular value
        x = np.random.default_rng(0).normal(0, 1e3, (500, D))
        u, s, v = np.linalg.svd(np.stack([1.5 * x + np.roll(x, 1, 1), 0.5 * x - np.roll(x, 1, 1)], 1))
        left = (u[:, :, 1].mean(1) * s[:, 1])[:, None] * v[:, 1]
        return x[(left @ kernel).max(1).argmin()]
    if name == "dice":
        return -1e3 * np.sign(x.mean(0))
    state = tools(name).fit(*images())
    low, high = np.asarray(state.low), np.asarray(state.high)
    low = low + 0.05 * (high - low)  # safely within
    corner = np.array(list(itertools.product((0, 1, 2), repeat=D)))  # each low, 0 or high
    logits = np.choose(corner, (low, 0, high)) @ kernel + bias
    worst = corner[np.log(np.exp(logits).sum(1)).argmin()]
    return np.choose(worst, (low, -1e3, 1e3))


def strangers(name, x):
    """Images like none of `images()`, as the scorer sees it."""
    if name in ("ash", "vim"):  # every logit is low, and the more so if only the last feature is kept
        return np.where(np.arange(D) < D - 1, -200, -100) + x
    if name in ("cosine", "mcm", "pnml"):
        return 1e5 * aside() + x
    if name in ("dice", "rankfeat", "vra"):
        return against(name) + 1e-3 * x
    return undecided() + 1e-3 * x if name in POSTHOC else x + 100


MAHALANOBIS = "mahalanobis", "mahalanobis_partial", "mahalanobis_perclass"


def make(name, **options):
    scorer, own = CASES[name]
    return scorers.make(scorer, **own | options)


class Tools(NamedTuple):
    """A scorer, its functions and its fit, each compiled once for all tests that use the same shapes."""

    scorer: Scorer
    update: Callable
    merge: Callable
    finalize: Callable
    stats: Callable
    """x, y -> what `scorers.fit` gives to `finalize`."""
    both: Callable
    """state, outputs -> score and distances."""
    gradient: Callable

    def fit(self, x, y):
        return self.finalize(self.stats(x, y))

    def score(self, state, outputs):
        return self.both(state, outputs)[0]

    def distances(self, state, x):
        return self.both(state, outputs(x))[1]


@functools.cache
def tools(name, **options):
    scorer = make(name, **options)

    def both(state, outputs):
        return scorer.score(state, outputs), scorer.distances(state, outputs)

    def gradient(state, x):
        def one(x):
            return scorer.score(state, outputs(x[None]))[0]

        return jax.vmap(jax.grad(one))(x)

    parts = map(jax.jit, (scorer.update, scorer.merge, scorer.finalize, stats_of(scorer, 64), both, gradient))
    return Tools(scorer, *parts)


def stats_of(scorer, batch_size):
    """A fit in batches up to its last step, which is the same for all."""
    summing = scorer._replace(finalize=lambda stats: stats)
    return lambda x, y: scorers.fit(summing, outputs(x), y, K, batch_size)


each_scorer = pytest.mark.parametrize("name", CASES)
each_fit = pytest.mark.parametrize("name", FITS)
each_family = pytest.mark.parametrize("name", [*daily(list(CASES), *FAMILIES)])
each_mahalanobis = pytest.mark.parametrize("name", MAHALANOBIS)


def assert_same_scores(name, a, b, x, rtol=1e-4):
    score = tools(name).score
    assert_close(name, score(a, outputs(x)), score(b, outputs(x)), rtol)


def assert_close(name, actual, expected, rtol=1e-5):
    """A distance to that share of itself; what may have either sign, to that share of the largest."""
    atol = 0 if name in MAHALANOBIS else rtol * np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
