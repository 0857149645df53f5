"""The protocol of `benchmarks.protocol` as it is written in PyTorch, NumPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from benchmarks.peers.training import LeNet5

LAM, RATE = 0.1, 0.5


def centerloss(
    images: np.ndarray, labels: np.ndarray, known: np.ndarray, odd: np.ndarray, batch_size: int
) -> Callable[[], float]:
    """Trains, fits and scores at each call; the AUROC.

    Args:
      images, labels: uint8[N, 28, 28, 1] and int[N], to train on and fit to.
      known, odd: test images that belong, and that don't.
      batch_size: images a step, one epoch.
    """
    mean, sd = images.mean() / 255, images.std() / 255

    def tensor(x: np.ndarray) -> torch.Tensor:
        scaled = (x / np.float32(255) - np.float32(mean)) / np.float32(sd)
        return torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy()).to(memory_format=torch.channels_last)

    truth = np.repeat([0, 1], [len(known), len(odd)])
    y = torch.from_numpy(labels.astype(np.int64))

    def work() -> float:
        torch.manual_seed(0)
        x, model = tensor(images), LeNet5().to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(model.parameters(), fused=True)
        centers = torch.zeros(10, 84)
        order = torch.randperm(len(x))
        for rows in order[: len(x) // batch_size * batch_size].split(batch_size):
            features, logits = model(x[rows])
            loss = F.cross_entropy(logits, y[rows]) + LAM * 0.5 * (features - centers[y[rows]]).square().sum(1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                sums = torch.zeros_like(centers).index_add_(0, y[rows], features.detach())
                counts = torch.bincount(y[rows], minlength=10)[:, None]
                centers.sub_(RATE * (counts * centers - sums) / (1 + counts))
        with torch.inference_mode():
            seen, fits, strange = (
                torch.cat([model(part)[0] for part in z.split(1024)]).numpy() for z in (x, tensor(known), tensor(odd))
            )
        means = np.stack([seen[labels == k].mean(0) for k in range(10)])
        rest = seen - means[labels]
        cov = rest.T @ rest / len(rest)
        cov = 0.9 * cov + 0.1 * np.trace(cov) / len(cov) * np.eye(len(cov), dtype=np.float32)
        precision = np.linalg.inv(cov)
        queries = np.concatenate([fits, strange])
        squares = [((queries - m) @ precision * (queries - m)).sum(1) for m in means]
        return float(roc_auc_score(truth, np.min(squares, 0)))

    return work
