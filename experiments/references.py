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

_AUTOENCODER = _published("autoencoder (assignment report)", _S4, auroc=0.98)
_CNN = _published("CNN (assignment report): accuracy over folds, AUROC on Kaggle", _S4, accuracy=0.9983, auroc=0.966)

REFERENCES: dict[str, list[dict[str, Any]]] = {
    "centerloss": _MAIN,
    "centerloss_mnist": _MAIN,
    "centerloss_sweep": _MAIN,
    "centerloss_mnist_zero": [_CENTER_LOSS],
    "centerloss_sweep_zero": [_CENTER_LOSS],
    "ood_head_mnist": [_CENTER_LOSS],
    "ood_head_sweep": [_CENTER_LOSS],
    "ood_head_sweep_zero": [_CENTER_LOSS],
    "autoencoder_course": [_published("autoencoder (course report)", _COURSE, auroc=0.7714)],
    "autoencoder_assignment_conv_mse": [_AUTOENCODER],
    "autoencoder_assignment_conv_bce": [_AUTOENCODER],
    "autoencoder_assignment_deep_mse": [_AUTOENCODER],
    "autoencoder_assignment_deep_bce": [_AUTOENCODER],
    "gan_course_shirt": [_published("dual-discriminator GAN (course report), mean of all ten", _COURSE, auroc=0.9391)],
    "classifier_assignment": [_CNN],
    "classifier_assignment_pool1": [_CNN],
    "classifier_assignment_three": [_CNN],
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
    "autoencoder_mnist_zero": [_AUTOENCODER],
    "classifier_mnist_zero": [_CNN],
    "deep_svdd_fashion_mnist": [_published("Deep SVDD", "Ruff et al. 2018", auroc="0.892–0.928")],
}
"""Preset -> rows of the closing table."""


_REPORT = "no: its report's settings, ours where it names none"
_LENGTH = "no; length of training partly set by hand"
TUNED_ON_TEST: dict[str, str] = {
    "centerloss_mnist": "no, by `experiments.validate`; but sums over layers were candidates as they were best here",
    "centerloss_mnist_zero": (
        "no: the settings of `centerloss_mnist`; but covariances per class were candidates as they had been best here"
    ),
    "centerloss_sweep": "no: all λ are shown",
    "centerloss_sweep_zero": "no: all λ are shown",
    "scorers_mnist": "no: all scorers are shown, by their defaults",
    "scorers_digits": "no: all scorers are shown, by their defaults",
    "ood_head_mnist": _LENGTH,
    "ood_head_sweep": f"{_LENGTH}; all λ are shown",
    "ood_head_sweep_zero": f"{_LENGTH}; all λ are shown",
    "random_fashion_mnist": "no: nothing to choose",
    "autoencoder_fashion_mnist": _LENGTH,
    "autoencoder_mnist_zero": _LENGTH,
    "autoencoder_course": _REPORT,
    "autoencoder_assignment_conv_mse": _REPORT,
    "autoencoder_assignment_conv_bce": _REPORT,
    "autoencoder_assignment_deep_mse": _REPORT,
    "autoencoder_assignment_deep_bce": _REPORT,
    "gan_fashion_mnist": "no, by validation on one class (`experiments.validate_gan`)",
    "gan_mnist": "no, by validation on one class of Fashion-MNIST",
    "gan_bfloat16": "no: both precisions are shown",
    "gan_adam": "no: both optimisers are shown, beside `gan_bfloat16`",
    "gan_float32": "no: both precisions are shown",
    "gan_random_sampling": "no: both ways to draw are shown, beside `gan_bfloat16`",
    "gan_course_shirt": _REPORT,
    "classifier_fashion_mnist": _LENGTH,
    "classifier_assignment": _REPORT,
    "classifier_assignment_pool1": _REPORT,
    "classifier_assignment_three": "no: the report's settings, and three networks as in `classifier_mnist_zero`",
    "classifier_mnist_zero": "**yes**: length, augmentation and threshold after figures of its folds",
    "regressor_fashion_mnist": _LENGTH,
    "hog_ocsvm_fashion_mnist": "no, by validation; but evaluated twice",
    "deep_svdd_fashion_mnist": _LENGTH,
    **{f"gmm_vgg16_block{block}": "no: nothing chosen; the layer is named in the row" for block in range(1, 6)},
    "gmm_pretrained_mnist_1v7": "not recorded how its shrinkage of 0.01 was chosen",
    "gmm_autoencoder_mnist_1v7": "no, by validation; but evaluated twice",
}
"""Preset -> whether anything of it was chosen on its test set. What is known, and said beside each figure."""


_OURS = "source's protocol, our settings"
_OWN = "our protocol and settings"
SETTINGS: dict[str, str] = {
    "centerloss_mnist": "paper's protocol and network; our settings and scorer",
    "centerloss_mnist_zero": "paper's protocol and network; our settings and scorer",
    "centerloss_sweep": "paper's protocol, network and λ; our settings, one covariance for all classes",
    "centerloss_sweep_zero": "paper's protocol, network and λ; our settings, one covariance for all classes",
    "scorers_mnist": "paper's protocol and network; our settings",
    "scorers_digits": _OWN,
    "ood_head_mnist": "paper's protocol, network and head; our settings",
    "ood_head_sweep": "paper's protocol, network, head and λ; our settings",
    "ood_head_sweep_zero": "paper's protocol, network, head and λ; our settings",
    "random_fashion_mnist": "report's protocol",
    "autoencoder_fashion_mnist": _OURS,
    "autoencoder_course": "report's protocol and settings; channels and the rate's cosine decay ours",
    "autoencoder_mnist_zero": _OWN,
    **{
        f"autoencoder_assignment_{name}": "report's split, losses and layers; widths, rate's decay and stopping ours"
        for name in ("conv_mse", "conv_bce", "deep_mse", "deep_bce")
    },
    "gan_fashion_mnist": _OURS,
    "gan_mnist": "paper's protocol, our settings",
    "gan_bfloat16": "source's protocol on one class, our settings",
    "gan_float32": "source's protocol on one class, our settings",
    "gan_adam": "source's protocol on one class, our settings but for its optimiser",
    "gan_random_sampling": "source's protocol on one class but for k-means sampling, our settings",
    "gan_course_shirt": "report's protocol on one class, and its settings; norm and the rate's cosine decay ours",
    "classifier_fashion_mnist": _OURS,
    "classifier_mnist_zero": "report's protocol and network; our settings, three networks",
    "classifier_assignment": "report's protocol and settings; channels, rate's decay and AUROC to stop by ours",
    "classifier_assignment_pool1": "report's alternative network; else as `classifier_assignment`",
    "classifier_assignment_three": "three networks; else as `classifier_assignment`",
    "regressor_fashion_mnist": "another source's protocol, our settings",
    "hog_ocsvm_fashion_mnist": "another source's protocol, our settings",
    "deep_svdd_fashion_mnist": _OURS,
    **{
        f"gmm_vgg16_block{block}": "source's protocol, network and threshold; our layer, the user's weights"
        for block in range(1, 6)
    },
    "gmm_pretrained_mnist_1v7": "source's protocol and threshold; another network",
    "gmm_autoencoder_mnist_1v7": "source's protocol, threshold and proposed features; our settings",
}
"""Preset -> whether protocol and settings are its source's or ours."""
