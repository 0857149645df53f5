"""Published figures, to stand beside ours; never printed as ours."""

from __future__ import annotations

from typing import Any

_CENTER_LOSS = {
    "name": "center-loss paper, LeNet on MNIST and MNIST-1..9",
    "source": "Anomaly Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis Distance",
    "metrics": {"f1": "0.9852–0.9915"},
}
_OPEN_OOD = [
    {
        "name": "tied Mahalanobis, LeNet-5 (OpenOOD)",
        "source": "OpenOOD, example notebook",
        "metrics": {"ood_auroc": 0.9888, "ood_fpr95_ood_positive": 0.0579},
    },
    {
        "name": "max-softmax, LeNet-5 (OpenOOD)",
        "source": "OpenOOD, example notebook",
        "metrics": {"ood_auroc": 0.9462, "ood_fpr95_ood_positive": 0.244},
    },
]
_COURSE = "Anomaly Detection in Imbalanced Problems (course report)"
_KIM = "Kim, Jeong, Choi, Seo, GAN-based Anomaly Detection in Imbalance Problems, ECCV workshops 2020"
_S4 = "Anomaly Detection in Images (BT4012 assignment report)"


def _published(name: str, source: str, **metrics: Any) -> dict[str, Any]:
    return {"name": name, "source": source, "metrics": metrics}


_ENERGY = {"name": "energy, LeNet-5 (OpenOOD)", "source": "OpenOOD, example notebook", "metrics": {"ood_auroc": 0.9695}}
_MAIN = [_CENTER_LOSS, *_OPEN_OOD]
_EFFICIENTNET = [{**_CENTER_LOSS, "name": "center-loss paper, EfficientNet-B0", "metrics": {"f1": "0.9897–0.9989"}}]

REFERENCES: dict[str, list[dict[str, Any]]] = {
    "centerloss": _MAIN,
    "centerloss_mnist": _MAIN,
    "centerloss_sweep": _MAIN,
    "centerloss_mnist_zero": [_CENTER_LOSS],
    "imagenet30_a": _EFFICIENTNET,
    "imagenet30_b": _EFFICIENTNET,
    "imagenet30_c": _EFFICIENTNET,
    "scorers_mnist": [*_OPEN_OOD, _ENERGY],
    "random_fashion_mnist": [_published("random guessing (course report)", _COURSE, auroc=0.5)],
    "autoencoder_fashion_mnist": [
        _published("autoencoder (course report)", _COURSE, auroc=0.7714),
        _published("Deep SVDD", "Ruff et al. 2018", auroc="0.892–0.928"),
        _published("ESAD, γ = 0", "Huang et al. 2021", auroc=0.940),
    ],
    "gan_fashion_mnist": [
        _published("dual-discriminator GAN (course report)", _COURSE, auroc=0.9391),
        _published("dual-discriminator GAN (its paper)", _KIM, auroc=0.986),
        _published("ESAD, 10 % labelled anomalies", "Huang et al. 2021", auroc=0.958),
    ],
    "gan_mnist": [_published("dual-discriminator GAN (its paper)", _KIM, auroc=0.997)],
    "autoencoder_mnist_zero": [_published("autoencoder (assignment report)", _S4, auroc=0.98)],
    "classifier_mnist_zero": [
        _published("CNN (assignment report): accuracy over folds, AUROC on Kaggle", _S4, accuracy=0.9983, auroc=0.966)
    ],
    "deep_svdd_fashion_mnist": [_published("Deep SVDD", "Ruff et al. 2018", auroc="0.892–0.928")],
}
"""Preset -> rows of the closing table."""


_LENGTH = "no; length of training partly set by hand"
TUNED_ON_TEST: dict[str, str] = {
    "centerloss_mnist": "no, by `experiments.validate`; but `layers` was a candidate as it had been best here",
    "centerloss_mnist_zero": "no: the settings of `centerloss_mnist`",
    "centerloss_sweep": "no: all λ are shown",
    "scorers_mnist": "no: all scorers are shown, by their defaults",
    "scorers_digits": "no: all scorers are shown, by their defaults",
    "ood_head_mnist": _LENGTH,
    "random_fashion_mnist": "no: nothing to choose",
    "autoencoder_fashion_mnist": _LENGTH,
    "autoencoder_mnist_zero": _LENGTH,
    "gan_fashion_mnist": f"{_LENGTH}, weights by validation on one class",
    "gan_mnist": f"{_LENGTH}, weights by validation on one class of Fashion-MNIST",
    "gan_bfloat16": "no: both precisions are shown",
    "gan_float32": "no: both precisions are shown",
    "classifier_fashion_mnist": _LENGTH,
    "classifier_mnist_zero": "**yes**: length, augmentation and threshold after figures of its folds",
    "regressor_fashion_mnist": _LENGTH,
    "hog_ocsvm_fashion_mnist": "no, by validation; but evaluated twice",
    "deep_svdd_fashion_mnist": _LENGTH,
    "gmm_pretrained_mnist_1v7": "not recorded how its shrinkage of 0.01 was chosen",
    "gmm_autoencoder_mnist_1v7": "no, by validation; but evaluated twice",
}
"""Preset -> whether anything of it was chosen on its test set. What is known, and said beside each figure."""
