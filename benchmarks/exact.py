"""Scores in float64 NumPy, written from the papers' equations: what float32 implementations are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, logsumexp, softmax


class Given(NamedTuple):
    """What every scorer gets, float32.

    Attributes:
      x, z, y: features [M, D], logits [M, K] and classes int[M] of the images to fit to.
      query, answers: features [N, D] and logits [N, K] of those to score.
      kernel, bias: [D, K] and [K], the network's last layer.
      images: [N, H, W, C] as the network takes them; for ODIN alone, as `network` and `params` are.
      network: `(params, images) -> outputs`.
      params: of the network.
    """

    x: np.ndarray
    z: np.ndarray
    y: np.ndarray
    query: np.ndarray
    answers: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    images: Any = None
    network: Any = None
    params: Any = None


def double(g: Given) -> Given:
    names = ("x", "z", "query", "answers", "kernel", "bias")
    values: dict[str, Any] = {name: np.asarray(getattr(g, name), np.float64) for name in names}
    return g._replace(**values)


def _energy(z: np.ndarray) -> np.ndarray:
    return -logsumexp(z, axis=1)


def max_logit(g: Given) -> np.ndarray:
    return -double(g).answers.max(1)


def energy(g: Given) -> np.ndarray:
    return _energy(double(g).answers)


def max_softmax(g: Given) -> np.ndarray:
    return np.sort(softmax(double(g).answers, axis=1), 1)[:, :-1].sum(1)


def entropy(g: Given) -> np.ndarray:
    log_p = log_softmax(double(g).answers, axis=1)
    return -(np.exp(log_p) * log_p).sum(1)


def clipped(g: Given, least: float) -> np.ndarray:
    """float64[N, K], probabilities of which none is taken for less."""
    return np.maximum(softmax(double(g).answers, axis=1), least)


def clipped_entropy(g: Given, least: float = 1e-7) -> np.ndarray:
    p = clipped(g, least)
    return -(p * np.log(p)).sum(1)


def clipped_gen(g: Given, least: float = 1e-7) -> np.ndarray:
    p = np.minimum(clipped(g, least), np.float32(1 - least))  # 1 − 1.2e-7
    return (p * (1 - p)) ** 0.1 @ np.ones(p.shape[1])


def rounded_softmax(g: Given) -> np.ndarray:
    """1 − p of the likeliest class, p in float32."""
    p = softmax(double(g).answers, axis=1).max(1).astype(np.float32)
    return 1 - p.astype(np.float64)


def gen(g: Given) -> np.ndarray:
    log_p = log_softmax(double(g).answers, axis=1)
    rest = np.stack([logsumexp(np.delete(log_p, k, 1), axis=1) for k in range(log_p.shape[1])], 1)
    return np.exp(0.1 * (log_p + rest)).sum(1)


def kl_matching(g: Given) -> np.ndarray:
    g, own = double(g), g.z.argmax(1)
    templates = np.stack([softmax(g.z[own == k], axis=1).mean(0) for k in np.unique(own)])
    log_p = log_softmax(g.answers, axis=1)
    return ((np.exp(log_p) * log_p).sum(1)[:, None] - np.exp(log_p) @ np.log(templates).T).min(1)


def gradnorm(g: Given) -> np.ndarray:
    g = double(g)
    return -np.abs(g.query).sum(1) * np.abs(softmax(g.answers, axis=1) - 1 / g.z.shape[1]).sum(1)


def gradient_uncertainty(g: Given, least: float = 0.0) -> np.ndarray:
    """`least`: what p (1 − p), by which the gradient of the cross-entropy is divided, is not taken for less than."""
    g = double(g)
    p = softmax(g.answers, axis=1)
    by_p = (p - 1) / np.maximum(p * (1 - p), least)
    slope = p * (by_p - (p * by_p).sum(1, keepdims=True))  # K p − 1, if nothing is too small
    return -(np.square(g.query).sum(1) + 1) * np.square(slope).sum(1)


def pnml(g: Given, cutoff: float = 0.0, least: float = 0.0) -> np.ndarray:
    """What no training image has in it leaves an image free to be anything, g = 1.

    `cutoff`: directions of the Gram matrix with less than that share of its largest singular value count for nothing,
    instead; `least`: no probability is taken for less.
    """
    g = double(g)
    rows, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (g.x, g.query))
    values, vectors = np.linalg.eigh(rows.T @ rows)
    inside = values > (cutoff or 1e-12) * values[-1]
    along = query @ vectors
    q = (along[:, inside] ** 2 / values[inside]).sum(1)
    free = (not cutoff) & (np.abs(along[:, ~inside]) > 1e-9).any(1)
    power = np.where(free, 1, q / (1 + q))[:, None]
    p = np.maximum(softmax(query @ g.kernel + g.bias, axis=1), least)
    return np.log((p / (p + (1 - p) * p**power)).sum(1)) / np.log(g.z.shape[1])


def rounded_pnml(g: Given) -> np.ndarray:
    """With what float32 rounds off the Gram matrix's pseudoinverse."""
    return pnml(g, cutoff=g.x.shape[1] * 2.0**-23, least=1e-12)


def mcm(g: Given) -> np.ndarray:
    g = double(g)
    query, means = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (g.query, class_means(g)))
    return 1 - softmax(query @ means.T, axis=1).max(1)


def openmax(g: Given, tail: int = 20, alpha: int = 10, shift: float = 1e4) -> np.ndarray:
    """Log-odds of the unknown class; images of a class are all that are labelled so, as the peer has it."""
    g, classes = double(g), g.z.shape[1]
    rank = np.argsort(np.argsort(-g.answers, 1, kind="stable"), 1)
    denied = np.zeros_like(g.answers)
    for k in range(classes):
        own = g.z[g.y == k]
        mean = own.mean(0)
        far = np.sort(np.linalg.norm(own - mean, axis=1))[-tail:]
        log_t = np.log1p((far - far[0]) / shift)

        def slope(shape: float, log_t: np.ndarray = log_t) -> float:
            return float((softmax(shape * log_t) * log_t).sum() - 1 / shape - log_t.mean())

        shape = brentq(slope, 1e-6 / log_t.std(), 1e6 / log_t.std(), rtol=1e-14)
        location = (logsumexp(shape * log_t) - np.log(len(log_t))) / shape
        log_far = np.log1p((np.linalg.norm(g.answers - mean, axis=1) - far[0]) / shift)
        denied[:, k] = -np.expm1(-np.exp(shape * (log_far - location)))
    denied *= np.maximum(1 - rank / min(alpha, classes), 0)
    return (g.answers * denied).sum(1) - logsumexp(g.answers * (1 - denied), axis=1)


def nac(g: Given, geometric: bool = False) -> np.ndarray:
    """`geometric`: bins narrow towards 0 and 1 from 1e-6, half of all on each side, of states and edges in float32."""
    g, bins, enough = double(g), 50, 50

    def places(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        state = expit(100 * x * ((softmax(z, axis=1) - 1 / z.shape[1]) @ g.kernel.T))
        if not geometric:
            return np.minimum(np.floor(bins * state), bins - 1)
        left, least = np.geomspace(1e-6, 0.5, bins // 2 + 1).astype(np.float32), np.float32(1e-6)
        edges = np.concatenate([left, 1 - left[-2::-1]])
        state = np.clip(state.astype(np.float32), least, np.float32(1 - 1e-6))
        return np.clip(np.searchsorted(edges, state) - 1, 0, bins - 1)

    known, own = places(g.x, g.z), places(g.query, g.answers)
    count = np.zeros((g.x.shape[1], bins))
    np.add.at(count, (np.arange(g.x.shape[1])[None], known.astype(int)), 1)
    return -np.minimum(count[np.arange(g.x.shape[1])[None], own.astype(int)] / enough, 1).mean(1)


def gram(g: Given) -> np.ndarray:
    """Classes by label, and no expected deviation, as the peer has it where no image is held out."""
    g, own = double(g), g.answers.argmax(1)
    score = np.zeros(len(own))
    for p in range(1, 11):
        known, query = (x**p * (x**p).sum(1, keepdims=True) for x in (g.x, g.query))
        known, query = (np.sign(x) * np.abs(x) ** (1 / p) for x in (known, query))
        least, most = (
            np.stack([f(known[g.y == k], axis=0) for k in range(g.z.shape[1])])[own] for f in (np.min, np.max)
        )
        below, above = np.maximum(least - query, 0), np.maximum(query - most, 0)
        score += (below / np.abs(least + 1e-6) + above / np.abs(most + 1e-6)).sum(1)
    return score


def react(g: Given) -> np.ndarray:
    g = double(g)
    return _energy(np.minimum(g.query, np.quantile(g.x, 0.9)) @ g.kernel + g.bias)


def ash(g: Given) -> np.ndarray:
    g = double(g)
    dim = g.query.shape[1]
    kept = dim - round(0.9 * dim)
    limit = np.sort(g.query, 1)[:, -kept][:, None]
    some = np.where(g.query >= limit, g.query, 0)
    return _energy(some * np.exp(g.query.sum(1) / some.sum(1))[:, None] @ g.kernel + g.bias)


def _spread(x: np.ndarray, pruned: float) -> np.ndarray:
    """float64[N, 1], the sum of all features over that of the largest."""
    kept = x.shape[1] - round(pruned * x.shape[1])
    return x.sum(1, keepdims=True) / np.sort(x, 1)[:, -kept:].sum(1, keepdims=True)


def scale(g: Given) -> np.ndarray:
    g = double(g)
    return _energy(g.query * np.exp(_spread(g.query, 0.85)) @ g.kernel + g.bias)


def nci(g: Given) -> np.ndarray:
    g = double(g)
    rest = g.query - g.x.mean(0)
    return -(rest * g.kernel.T[g.answers.argmax(1)]).sum(1) / np.linalg.norm(rest, axis=1)


def lts(g: Given) -> np.ndarray:
    g = double(g)
    return _energy(g.answers * _spread(np.maximum(g.query, 0), 0.95) ** 2)


def dice(g: Given) -> np.ndarray:
    g = double(g)
    contribution = g.x.mean(0)[:, None] * g.kernel
    return _energy(g.query @ np.where(contribution > np.quantile(contribution, 0.9), g.kernel, 0) + g.bias)


def vra(g: Given, removed: bool = True) -> np.ndarray:
    """`removed`: whether low activations are; else they are raised to their limit."""
    g = double(g)
    low, high = np.quantile(g.x, (0.6, 0.95), axis=0)
    return _energy(np.where(g.query < low, 0 if removed else low, np.minimum(g.query, high)) @ g.kernel + g.bias)


def weights(g: Given) -> tuple[float, ...]:
    """A weight for each class, as an example."""
    return tuple(1 + k % 3 for k in range(g.z.shape[1]))


def weighted_energy(g: Given) -> np.ndarray:
    return -logsumexp(double(g).answers, b=weights(g), axis=1)


def _slope(z: np.ndarray, y: np.ndarray, t: float) -> float:
    """Of the mean negative log-likelihood of softmax(z / t) by t."""
    return ((softmax(z / t, axis=1) * z).sum(1) - z[np.arange(len(y)), y]).mean() / -(t**2)


def temperature_scaling(g: Given, steps: int | None = None) -> np.ndarray:
    """`steps`: of L-BFGS from T = 1 at a rate of 0.01, which needs more than 50; None: the smallest loss."""
    g = double(g)
    if steps is None:
        t = brentq(lambda t: _slope(g.z, g.y, t), 1e-3, 1e3, xtol=1e-12)
    else:
        t, slope = 1.0, _slope(g.z, g.y, 1.0)
        step = -0.01 * min(1.0, 1 / abs(slope)) * slope
        for _ in range(steps - 1):
            before, slope = slope, _slope(g.z, g.y, t + step)
            t, step = t + step, -0.01 * slope * step / (slope - before)
        t += step
    return max_softmax(g._replace(answers=g.answers / t))


def vim(g: Given, eigenvectors: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """`eigenvectors`: of the covariance of centred features, columns in ascending order; None: in float64."""
    g = double(g)
    u = -np.linalg.pinv(g.kernel.T) @ g.bias
    vectors = np.linalg.eigh((g.x - u).T @ (g.x - u))[1] if eigenvectors is None else eigenvectors(g.x - u)
    rest = vectors[:, : g.x.shape[1] - g.x.shape[1] // 2]
    alpha = g.z.max(1).mean() / np.linalg.norm((g.x - u) @ rest, axis=1).mean()
    return alpha * np.linalg.norm((g.query - u) @ rest, axis=1) + _energy(g.answers)


def she(g: Given) -> np.ndarray:
    g, own, right = double(g), g.answers.argmax(1), g.z.argmax(1) == g.y
    patterns = np.stack([g.x[right & (g.y == k)].mean(0) for k in range(g.z.shape[1])])
    return -(g.query * patterns[own]).sum(1)


def nnguide(g: Given) -> np.ndarray:
    g = double(g)
    bank, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (g.x, g.query))
    near = np.sort(query @ (bank * -_energy(g.z)[:, None]).T, 1)[:, -10:].mean(1)
    return _energy(g.answers) * near


def fdbd(g: Given) -> np.ndarray:
    g, own = double(g), g.answers.argmax(1)
    gaps = np.linalg.norm(g.kernel[:, :, None] - g.kernel[:, None], axis=0) + np.eye(g.z.shape[1])
    boundary = ((g.answers.max(1, keepdims=True) - g.answers) / gaps[own]).sum(1) / (g.z.shape[1] - 1)
    return -boundary / np.linalg.norm(g.query - g.x.mean(0), axis=1)


def _squares(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    rest = x - mean
    return (rest * np.linalg.solve(cov, rest.T).T).sum(1)


def class_means(g: Given) -> np.ndarray:
    return np.stack([g.x[g.y == k].mean(0) for k in range(g.z.shape[1])])


def _shrunk(cov: np.ndarray, shrinkage: float) -> np.ndarray:
    return (1 - shrinkage) * cov + shrinkage * np.trace(cov) / len(cov) * np.eye(len(cov))


def _ridge(cov: np.ndarray, added: float) -> np.ndarray:
    return cov + added * np.eye(len(cov))


def _tied(g: Given, shrinkage: float) -> np.ndarray:
    rest = g.x - class_means(g)[g.y]
    return _shrunk(rest.T @ rest / len(rest), shrinkage)


def mahalanobis(g: Given, shrinkage: float = 0.0, ridge: float = 0.0) -> np.ndarray:
    """`ridge` is added to each diagonal entry of the covariance."""
    g = double(g)
    cov = _ridge(_tied(g, shrinkage), ridge)
    return np.sqrt(np.min([_squares(g.query, mean, cov) for mean in class_means(g)], 0))


def perclass(g: Given) -> np.ndarray:
    g = double(g)
    groups = [g.x[g.y == k] for k in range(g.z.shape[1])]
    return np.sqrt(np.min([_squares(g.query, x.mean(0), _shrunk(np.cov(x.T, bias=True), 0.1)) for x in groups], 0))


def relative(g: Given, ridge: float = 0.0) -> np.ndarray:
    wide = double(g)
    all_ = _ridge(np.cov(wide.x.T, bias=True), ridge)
    return mahalanobis(g, ridge=ridge) ** 2 - _squares(wide.query, wide.x.mean(0), all_)


def gmm(g: Given, ridge: float = 0.0) -> np.ndarray:
    g = double(g)
    cov = _ridge(np.cov(g.x.T, bias=True), ridge)
    return 0.5 * (_squares(g.query, g.x.mean(0), cov) + np.linalg.slogdet(cov)[1] + len(cov) * np.log(2 * np.pi))


def gmm_perclass(g: Given, shrinkage: float = 0.0, ridge: float = 0.0) -> np.ndarray:
    g = double(g)
    each = []
    for k in range(g.z.shape[1]):
        own = g.x[g.y == k]
        cov = _ridge(_shrunk(np.cov(own.T, bias=True), shrinkage), ridge)
        square = _squares(g.query, own.mean(0), cov) + np.linalg.slogdet(cov)[1] + len(cov) * np.log(2 * np.pi)
        each.append(np.log(len(own) / len(g.x)) - 0.5 * square)
    return -logsumexp(each, axis=0)


def knn(g: Given) -> np.ndarray:
    g = double(g)
    rows, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (g.x, g.query))
    near = np.argsort(-query @ rows.T, 1, kind="stable")[:, 9]
    return np.linalg.norm(query - rows[near], axis=1)


def pca(g: Given) -> np.ndarray:
    g = double(g)
    rest = g.x - g.x.mean(0)
    outside = np.linalg.eigh(rest.T @ rest)[1][:, : g.x.shape[1] - 16]
    return np.linalg.norm((g.query - g.x.mean(0)) @ outside, axis=1)


def ocsvm(g: Given) -> np.ndarray:
    """By libsvm, to a tolerance of 1e-9."""
    from sklearn.svm import OneClassSVM

    g = double(g)
    machine = OneClassSVM(tol=1e-9).fit(g.x)
    return -np.log(machine.score_samples(g.query) / machine.offset_)


def odin(g: Given) -> np.ndarray:
    """By the network in float64: a step's sign is a matter of rounding where the gradient is 0 but for that."""

    def answers(params: Any, images: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(g.network(params, images)["logits"] / 1000, -1)

    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, g.params)
        slope = jax.jit(jax.grad(lambda images: answers(params, images).max(-1).sum()))
        moved = [x + 0.0014 * np.sign(slope(x)) for x in np.split(np.float64(g.images), 4)]
        log_p = np.concatenate([jax.jit(answers)(params, x) for x in moved])
    return -np.log(g.z.shape[1]) - log_p.max(1)
