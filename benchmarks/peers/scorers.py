"""Scores of pytorch-ood and scikit-learn, brought to adjax's units by what their code says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.exact import Given, class_means, weights


def _torch(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(x))


def _head(g: Given) -> Any:
    import torch

    layer = torch.nn.Linear(*g.kernel.shape)
    layer.weight.data, layer.bias.data = _torch(g.kernel.T), _torch(g.bias)
    return layer.eval()


class Peer(NamedTuple):
    """A detector and what it gets, as tensors.

    Attributes:
      fit: makes and fits it.
      score: `(detector) -> tensor`, in its own units.
      fits: whether there is anything to fit.
    """

    fit: Callable[[], Any]
    score: Callable[[Any], Any]
    fits: bool


def _detector(name: str, g: Given, kind: str, shaped: Callable[[Any], Any], *arguments: Any, **options: Any) -> Peer:
    """One of pytorch-ood's with methods `fit_KIND` and `predict_KIND`."""
    import torch
    from pytorch_ood import detector

    known, query = (g.z, g.answers) if kind == "logits" else (g.x, g.query)
    known, query, labels = shaped(_torch(known)), shaped(_torch(query)), _torch(g.y).long()

    def make() -> Any:
        return getattr(detector, name)(*arguments, **options)

    def fit() -> Any:
        made = make()
        if made.requires_fit:
            getattr(made, f"fit_{kind}")(known, labels)
        return made

    def score(made: Any) -> Any:
        with torch.no_grad():
            return getattr(made, f"predict_{kind}")(query)

    return Peer(fit, score, make().requires_fit)


def on_logits(name: str, g: Given, *arguments: Any, **options: Any) -> Peer:
    """A detector of pytorch-ood's that reads logits."""
    return _detector(name, g, "logits", lambda x: x, None, *arguments, **options)


def on_features(name: str, g: Given, *arguments: Any, **options: Any) -> Peer:
    """One that reads features."""
    return _detector(name, g, "features", lambda x: x, *arguments, **options)


def on_head(name: str, g: Given, **options: Any) -> Peer:
    """One that reads features and has the last layer."""
    return on_features(name, g, None, _head(g), **options)


def on_weights(name: str, g: Given, *arguments: Any, **options: Any) -> Peer:
    """One that reads features and has the last layer's weights and bias, after other arguments."""
    return on_features(name, g, None, *arguments, _torch(g.kernel.T), _torch(g.bias), **options)


def on_maps(name: str, g: Given, **options: Any) -> Peer:
    """One that reads feature maps, at one place."""
    import torch

    layer = _head(g)
    parts = torch.nn.Identity(), lambda x: layer(x.flatten(1))
    return _detector(name, g, "feature_maps", lambda x: x[:, :, None, None], *parts, **options)


def scored(peer: Peer) -> np.ndarray:
    return peer.score(peer.fit()).detach().numpy()


def logits(name: str, g: Given, *arguments: Any, **options: Any) -> np.ndarray:
    return scored(on_logits(name, g, *arguments, **options))


def features(name: str, g: Given, *arguments: Any, **options: Any) -> np.ndarray:
    return scored(on_features(name, g, *arguments, **options))


def with_head(name: str, g: Given, **options: Any) -> np.ndarray:
    return scored(on_head(name, g, **options))


def maps(name: str, g: Given, **options: Any) -> np.ndarray:
    return scored(on_maps(name, g, **options))


def vim(g: Given) -> Peer:
    return on_weights("ViM", g, g.x.shape[1] // 2)


def dice(g: Given) -> Peer:
    return on_weights("DICE", g, p=0.9)


def weighted_energy(g: Given) -> Peer:
    return on_logits("WeightedEBO", g, _torch(np.array(weights(g), np.float32)))


def mcm(g: Given) -> Peer:
    """Given class means for concepts."""
    return on_features("MCM", g, None, _torch(class_means(g)))


def on_gradients(name: str, g: Given, **options: Any) -> Peer:
    """One that runs a backward pass for each image; its network is the last layer alone."""
    from pytorch_ood import detector

    query = _torch(g.query)
    return Peer(lambda: getattr(detector, name)(_head(g), **options), lambda made: made.predict(query), False)


def openmax(g: Given) -> Peer:
    """Its score is the log-odds of the unknown class, of the probabilities that it makes in float64."""
    import torch

    peer, answers = on_logits("OpenMax", g, tailsize=20), np.array(g.answers)

    def score(made: Any) -> Any:
        p = made._openmax.predict(answers)
        return torch.from_numpy(np.log(p[:, 0]) - np.log(p[:, 1:].sum(1)))

    return Peer(peer.fit, score, True)


def gram(g: Given) -> Peer:
    """No image is held out: it would be a random one."""
    import torch
    from pytorch_ood.detector import Gram

    x, query = (_torch(f)[:, :, None, None] for f in (g.x, g.query))
    pairs, layer = torch.utils.data.TensorDataset(x, _torch(g.y).long()), _head(g)

    def fit() -> Any:
        made = Gram(lambda f: layer(f.flatten(1)), [torch.nn.Identity()], g.z.shape[1], list(range(1, 11)))
        made.validation_fraction = 0.0
        return made.fit(torch.utils.data.DataLoader(pairs, 1000))

    return Peer(fit, lambda made: made.predict_structured(_torch(g.answers), [query]), True)


def nac(g: Given) -> Peer:
    """Its network is the last layer, behind a layer that hands features on."""
    import torch
    from pytorch_ood.detector import NACUE

    query, layer = _torch(g.query), torch.nn.Identity()
    net = torch.nn.Sequential(layer, _head(g))
    rows = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(_torch(g.x).requires_grad_()), 1000)
    return Peer(lambda: NACUE(net, [layer]).fit(rows), lambda made: made.predict(query.clone().requires_grad_()), True)


def gradnorm(g: Given) -> Peer:
    return on_gradients("GradNorm", g, param_filter=lambda name: name == "weight")


def vim_eigenvectors(x: np.ndarray) -> np.ndarray:
    """What pytorch-ood's ViM has for eigenvectors of the covariance: all in float32."""
    import torch

    rows = _torch(x).float()
    return torch.linalg.eigh(rows.T @ rows / len(rows))[1].double().numpy()


def mahalanobis(g: Given) -> np.ndarray:
    return np.sqrt(2 * len(g.x) * features("Mahalanobis", g, None))  # half a square, of the scatter undivided


def odin(g: Given) -> np.ndarray:
    import torch
    from pytorch_ood.detector import ODIN

    from benchmarks.peers.training import LeNet5

    net = LeNet5().eval()
    for name, layer in g.params["network"].items():
        kernel = layer["kernel"]
        if name == "hidden1":  # places before channels, there the other way round
            kernel = kernel.reshape(5, 5, 16, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        module = getattr(net, name)
        module.weight.data, module.bias.data = _torch(kernel.transpose(order)), _torch(layer["bias"])
    images = _torch(g.images.transpose(0, 3, 1, 2))
    made = ODIN(lambda x: net(x)[1])
    return -np.log(-g.z.shape[1] * torch.cat([made.predict(x) for x in images.split(500)]).double().numpy())


def shrunk(g: Given) -> np.ndarray:
    from sklearn.covariance import ShrunkCovariance

    rest = g.x - class_means(g)[g.y]
    made = ShrunkCovariance(shrinkage=0.1, assume_centered=True).fit(rest)
    return np.sqrt(np.min([made.mahalanobis(g.query - mean) for mean in class_means(g)], 0))


def perclass(g: Given) -> np.ndarray:
    from sklearn.covariance import ShrunkCovariance

    return np.sqrt(
        np.min(
            [ShrunkCovariance(shrinkage=0.1).fit(g.x[g.y == k]).mahalanobis(g.query) for k in range(g.z.shape[1])], 0
        )
    )


def gmm(g: Given) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    return -GaussianMixture(1).fit(g.x).score_samples(g.query)


def gmm_perclass_shrunk(g: Given) -> np.ndarray:
    from scipy.special import logsumexp
    from sklearn.covariance import ShrunkCovariance

    each = []
    for k in range(g.z.shape[1]):
        own = g.x[g.y == k].astype(np.float64)
        made = ShrunkCovariance(shrinkage=0.1).fit(own)
        size = np.linalg.slogdet(made.covariance_)[1] + own.shape[1] * np.log(2 * np.pi)
        each.append(np.log(len(own) / len(g.x)) - 0.5 * (made.mahalanobis(g.query) + size))
    return -logsumexp(each, axis=0)


def pca(g: Given) -> np.ndarray:
    from sklearn.decomposition import PCA

    made = PCA(16, svd_solver="full").fit(g.x)
    return np.linalg.norm(g.query - made.inverse_transform(made.transform(g.query)), axis=1)


def ocsvm(g: Given) -> np.ndarray:
    from sklearn.svm import OneClassSVM

    machine = OneClassSVM().fit(g.x)
    return -np.log(machine.score_samples(g.query) / machine.offset_)
