"""Published figures, to stand beside ours; never printed as ours."""

from __future__ import annotations

from typing import Any

CENTER_LOSS_PAPER = "Anomaly Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis Distance"

REFERENCES: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {
    ("centerloss", "lenet5", "mnist", "fashion_mnist"): [
        {
            "name": "center-loss paper, LeNet on MNIST and MNIST-1..9",
            "source": CENTER_LOSS_PAPER,
            "metrics": {"f1": "0.9852–0.9915"},
        },
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
    ],
    ("centerloss", "lenet5", "mnist", "holdout:0"): [
        {
            "name": "center-loss paper, LeNet on MNIST and MNIST-1..9",
            "source": CENTER_LOSS_PAPER,
            "metrics": {"f1": "0.9852–0.9915"},
        },
    ],
}
"""(method, model, dataset, ood) -> rows of the closing table."""
