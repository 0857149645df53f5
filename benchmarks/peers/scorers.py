"""Scores of pytorch-ood and scikit-learn, brought to adjax's units by what their code says."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.exact import Given, class_means


def _torch(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(x))


def _head(g: Given) -> Any:
    import torch

    layer = torch.nn.Linear(*g.kernel.shape)
    layer.weight.data, layer.bias.data = _torch(g.kernel.T), _torch(g.bias)
    return layer.eval()


def logits(name: str, g: Given, **options: Any) -> np.ndarray:
    """A detector of pytorch-ood's that reads logits."""
    from pytorch_ood import detector

    made = getattr(detector, name)(None, **options)
    if made.requires_fit:
        made.fit_logits(_torch(g.z), _torch(g.y).long())
    return made.predict_logits(_torch(g.answers)).numpy()


def features(name: str, g: Given, *arguments: Any, **options: Any) -> np.ndarray:
    """One that reads features."""
    import torch
    from pytorch_ood import detector

    made = getattr(detector, name)(*arguments, **options)
    with torch.no_grad():
        made.fit_features(_torch(g.x), _torch(g.y).long())
        return made.predict_features(_torch(g.query)).numpy()


def with_head(name: str, g: Given, **options: Any) -> np.ndarray:
    return features(name, g, None, _head(g), **options)


def maps(name: str, g: Given, **options: Any) -> np.ndarray:
    """Scores of a peer that reads feature maps, at one place."""
    import torch
    from pytorch_ood import detector

    layer = _head(g)
    made = getattr(detector, name)(torch.nn.Identity(), lambda x: layer(x.flatten(1)), **options)
    if made.requires_fit:
        made.fit_feature_maps(_torch(g.x)[:, :, None, None], _torch(g.y).long())
    return made.predict_feature_maps(_torch(g.query)[:, :, None, None]).numpy()


def vim(g: Given) -> np.ndarray:
    return features("ViM", g, None, g.x.shape[1] // 2, _torch(g.kernel.T), _torch(g.bias))


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


def pca(g: Given) -> np.ndarray:
    from sklearn.decomposition import PCA

    made = PCA(16, svd_solver="full").fit(g.x)
    return np.linalg.norm(g.query - made.inverse_transform(made.transform(g.query)), axis=1)


def ocsvm(g: Given) -> np.ndarray:
    from sklearn.svm import OneClassSVM

    return -OneClassSVM().fit(g.x).decision_function(g.query)
