"""Fitting and scoring against NumPy, PyTorch, pytorch-ood and scikit-learn on the same features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from adjax import scorers
from benchmarks.harness import Timing, compare
from benchmarks.training import fastest

_FITTED = 20_000


def _features(rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, dim)).astype(np.float32), rng.integers(0, 10, rows).astype(np.int32)


def mahalanobis(covariance: Literal["tied", "class"], rows: int, dim: int, peer: str, n: int, quick: bool) -> Timing:
    """Distances to ten classes, against the plain form in PyTorch ("PyTorch"), or it or NumPy's, the faster ("any")."""
    x, labels = _features(rows // 10 if quick else rows, dim)
    scorer = scorers.mahalanobis(covariance)
    fit = jax.jit(partial(scorers.fit, scorer, classes=10))
    state = fit({"features": x[:_FITTED]}, labels[:_FITTED])
    device, ours = {"features": jnp.asarray(x)}, jax.jit(scorer.distances)
    means = np.asarray(state.means)
    whiten = np.asarray(state.whiten)
    if covariance == "tied":
        means = np.stack([x[:_FITTED][labels[:_FITTED] == c].mean(0) for c in range(10)])
    else:
        means = means + np.asarray(state.origin)
    precision = whiten @ whiten.transpose(0, 2, 1)

    def numpy():
        squares = np.empty((len(x), 10), np.float32)
        for c in range(10):
            rest = x - means[c]
            squares[:, c] = np.einsum("nd,nd->n", rest @ precision[c % len(precision)], rest)
        return np.sqrt(squares)

    peers: dict[str, Callable[[], Any]] = {"NumPy, class by class": numpy} if peer == "any" else {}
    if peer == "PyTorch" or find_spec("torch"):
        import torch

        tx, tm, tp = torch.from_numpy(x), torch.from_numpy(means), torch.from_numpy(np.ascontiguousarray(precision))

        def pytorch():
            squares = []
            for c in range(10):
                rest = tx - tm[c]
                squares.append(((rest @ tp[c % len(tp)]) * rest).sum(1))
            return torch.stack(squares, 1).sqrt()

        peers["PyTorch, class by class"] = pytorch
    np.testing.assert_allclose(ours(state, device), numpy(), rtol=1e-3)
    label = fastest(peers)
    multiplies = len(x) * dim * dim * (1 if covariance == "tied" else 10)
    return compare(
        f"Mahalanobis, {len(x):,} × {dim}, 10 classes, {covariance}",
        label,
        lambda: ours(state, device),
        peers[label],
        images=len(x),
        n=n,
        gflop=2 * multiplies / 1e9,
    )


def shipped_mahalanobis(rows: int, dim: int, n: int, quick: bool) -> Timing:
    """The tied form, against pytorch-ood's own detector on the same features."""
    import torch
    from pytorch_ood.detector import Mahalanobis

    x, labels = _features(rows // 10 if quick else rows, dim)
    scorer = scorers.mahalanobis("tied", shrinkage=0.0)
    state = jax.jit(partial(scorers.fit, scorer, classes=10))({"features": x[:_FITTED]}, labels[:_FITTED])
    device, ours = {"features": jnp.asarray(x)}, jax.jit(scorer.score)
    detector = Mahalanobis(torch.nn.Identity())
    detector.fit_features(torch.from_numpy(x[:_FITTED]), torch.from_numpy(labels[:_FITTED]).long())
    features = torch.from_numpy(x)
    chunk = 1000  # it makes an N×N matrix: all at once it would not fit

    def theirs():
        return [detector.predict_features(part) for part in features.split(chunk)]

    return compare(
        f"Mahalanobis, {len(x):,} × {dim}, 10 classes, tied, as shipped",
        f"pytorch-ood, {chunk} rows a call",
        lambda: ours(state, device),
        theirs,
        images=len(x),
        n=min(n, 5),
        gflop=2 * len(x) * dim * dim / 1e9,
    )


def gmm_score(dtype: str, n: int, quick: bool) -> Timing:
    """Log-likelihood under four full components, against scikit-learn's GaussianMixture with the same components."""
    from sklearn.mixture import GaussianMixture

    rows, dim, components = (5_000 if quick else 50_000), (64 if quick else 512), 4
    x, _ = _features(rows, dim)
    scorer = scorers.gmm(components, iterations=1)
    some = x[:4000]
    state = jax.jit(partial(scorers.fit, scorer, classes=1))({"features": some}, np.zeros(len(some), np.int32))
    given = x.astype(dtype)
    mixture = GaussianMixture(components, max_iter=1, random_state=0).fit(some.astype(dtype))
    device, ours = {"features": jnp.asarray(x)}, jax.jit(scorer.score)
    return compare(
        f"GMM score, {rows:,} × {dim}, {components} components",
        f"scikit-learn {dtype}",
        lambda: ours(state, device),
        lambda: mixture.score_samples(given),
        images=rows,
        n=n,
        gflop=2 * rows * dim * dim * components / 1e9,
    )


def gmm_fit(dtype: str, n: int, quick: bool) -> Timing:
    """Ten iterations of expectation maximisation from a k-means start, against scikit-learn's."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows, dim, components = (2_000 if quick else 20_000), (16 if quick else 128), 4
    x, _ = _features(rows, dim)
    scorer = scorers.gmm(components, iterations=10, capacity=rows)
    fit = jax.jit(partial(scorers.fit, scorer, classes=1))
    device, labels, given = {"features": jnp.asarray(x)}, jnp.zeros(rows, jnp.int32), x.astype(dtype)

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GaussianMixture(components, max_iter=10, tol=0.0, random_state=0).fit(given)

    return compare(
        f"GMM fit, {rows:,} × {dim}, {components} components, 10 iterations",
        f"scikit-learn {dtype}",
        lambda: fit(device, labels),
        theirs,
        images=rows,
        n=n,
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "score_mahalanobis_tied": partial(mahalanobis, "tied", 100_000, 512, "any"),
    "score_mahalanobis_class": partial(mahalanobis, "class", 100_000, 84, "any"),
    "score_mahalanobis_pytorch": partial(mahalanobis, "class", 100_000, 84, "PyTorch"),
    "score_mahalanobis_shipped": partial(shipped_mahalanobis, 100_000, 512),
    "score_gmm_float32": partial(gmm_score, "float32"),
    "score_gmm_float64": partial(gmm_score, "float64"),
    "fit_gmm_float32": partial(gmm_fit, "float32"),
    "fit_gmm_float64": partial(gmm_fit, "float64"),
}
"""Name -> `(pairs, quick) -> Timing`."""
