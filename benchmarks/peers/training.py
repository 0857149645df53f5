"""Training in PyTorch eager mode: the same networks, losses and batches as adjax's, Adam fused, data in memory.

Every factory returns a function that takes `steps` optimiser steps and returns the last loss as a float; on the GPU if
JAX has one. `compiled` is a backend of `torch.compile`; `precision` as in `benchmarks.peers.device`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.device import Precision, device, rounded, tensor
from benchmarks.peers.device import work as with_precision

Work = Callable[[], float]


class LeNet5(nn.Module):
    """The modified LeNet-5 of `adjax.models.lenet`, 61,706 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.hidden1, self.hidden2, self.head = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        features = F.relu(self.hidden2(F.relu(self.hidden1(x))))
        return features, self.head(features)


class CNN(nn.Module):
    """The assignment's classifier, as `adjax.models.cnn`."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, width, 5, padding=2), nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden1, self.hidden2, self.head = nn.Linear(49 * 2 * width, 256), nn.Linear(256, 128), nn.Linear(128, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.head(F.dropout(F.relu(self.hidden2(F.relu(self.hidden1(x)))), 0.2, self.training))


class Autoencoder(nn.Module):
    """The purely convolutional autoencoder of `adjax.models.autoencoder` with `latent=None`.

    Its 3×3 convolution to four times the channels, spread over 2×2 pixels, is a transposed convolution of stride 2 and
    kernel 6; of the two ways to write it in PyTorch the benchmark takes the faster one.
    """

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)

        def up(inputs: int, outputs: int) -> nn.Module:
            if transposed:
                return nn.ConvTranspose2d(inputs, outputs, 6, stride=2, padding=2)
            return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))

        self.up1, self.up2 = up(32, 16), up(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return torch.sigmoid(self.up2(F.relu(self.up1(x))))


def lenet(
    batch_size: int,
    steps: int,
    channels_last: bool,
    lam: float = 0.1,
    rate: float = 0.5,
    compiled: str | None = None,
    precision: Precision = "float32",
) -> Work:
    """LeNet-5 with center loss; the centers follow the features by the rule of Wen et al., as adjax's do."""
    model, adam = _prepared(LeNet5(), channels_last, compiled)
    images, labels = _images(batch_size * steps, (1, 28, 28), channels_last), _labels(batch_size * steps, 10)
    centers = torch.zeros(10, 84, device=device())

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with rounded(precision):
            features, logits = model(x)
            features = features.float()
            loss = F.cross_entropy(logits, y) + lam * 0.5 * (features - centers[y]).square().sum(1).mean()
        _descend(adam, loss)
        with torch.no_grad():
            sums = torch.zeros_like(centers).index_add_(0, y, features.detach())
            counts = torch.bincount(y, minlength=10)[:, None]
            centers.sub_(rate * (counts * centers - sums) / (1 + counts))
        return loss

    return _steps(step, images, labels, batch_size, precision)


def cnn(batch_size: int, steps: int, channels_last: bool) -> Work:
    """The class-weighted classifier."""
    model, adam = _prepared(CNN(), channels_last)
    images, labels = _images(batch_size * steps, (1, 28, 28), channels_last), _labels(batch_size * steps, 2)
    weight = torch.tensor([0.5, 6.0], device=device())

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(model(x), y, weight=weight)
        _descend(adam, loss)
        return loss

    return _steps(step, images, labels, batch_size)


def autoencoder(
    batch_size: int,
    steps: int,
    channels_last: bool,
    transposed: bool,
    compiled: str | None = None,
    precision: Precision = "float32",
) -> Work:
    """The convolutional autoencoder with its squared error."""
    model, adam = _prepared(Autoencoder(transposed), channels_last, compiled)
    images = _images(batch_size * steps, (1, 28, 28), channels_last)

    def step(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        x = x.sqrt()
        with rounded(precision):
            loss = (model(x).float() - x).square().mean()
        _descend(adam, loss)
        return loss

    return _steps(step, images, _labels(batch_size * steps, 1), batch_size, precision)


def efficientnet(batch_size: int, steps: int, channels_last: bool, side_px: int = 128) -> Work:
    """torchvision's EfficientNet-B0 as a classifier of ten classes."""
    from torchvision.models import efficientnet_b0

    model, adam = _prepared(efficientnet_b0(num_classes=10), channels_last)
    images = _images(batch_size * steps, (3, side_px, side_px), channels_last)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(model(x), y)
        _descend(adam, loss)
        return loss

    return _steps(step, images, _labels(batch_size * steps, 10), batch_size)


def _prepared(
    model: nn.Module, channels_last: bool, compiled: str | None = None
) -> tuple[Callable[..., Any], torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = model.to(device()).train()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return torch.compile(model, backend=compiled) if compiled else model, adam


def _descend(adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()


def _steps(
    step: Callable, images: torch.Tensor, labels: torch.Tensor, batch_size: int, precision: Precision = "float32"
) -> Work:
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))

    def work() -> float:
        for x, y in batches:
            loss = step(x, y)
        return float(loss.detach())

    return with_precision(work, precision)


def _images(n: int, shape: tuple[int, int, int], channels_last: bool) -> torch.Tensor:
    images = tensor(np.random.default_rng(0).random((n, *shape), np.float32))
    return images.to(memory_format=torch.channels_last) if channels_last else images


def _labels(n: int, classes: int) -> torch.Tensor:
    return tensor(np.random.default_rng(1).integers(0, classes, n))
