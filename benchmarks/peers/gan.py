"""The dual-discriminator GAN in PyTorch, as its users write it: each loss on the images that it is about.

Architecture and losses as in `adjax.methods.gan`; a batch holds normal images first, anomalies after them, and only the
networks that a kind of image needs are run on it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.device import Precision, device, rounded, tensor
from benchmarks.peers.device import work as with_precision


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels, affine=True)


class Down(nn.Sequential):
    """Convolution (kernel 4, pad 1, no bias), norm, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, norm: str | None, stride: int = 2, slope: float = 0.2) -> None:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False)]
        if norm:
            layers.append(_norm(norm, outputs))
        super().__init__(*layers, nn.LeakyReLU(slope))


class UNet(nn.Module):
    """Four levels down, four up, with skips: 6.17 million parameters."""

    def __init__(self, norm: str, width: int = 64) -> None:
        super().__init__()
        self.down1, self.down2 = Down(1, width, None), Down(width, 2 * width, norm)
        self.down3, self.down4 = Down(2 * width, 4 * width, norm), Down(4 * width, 8 * width, norm)

        def up(inputs: int, outputs: int) -> nn.Module:
            transposed = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
            return nn.Sequential(transposed, _norm(norm, outputs), nn.ReLU())

        self.up1, self.up2, self.up3 = up(8 * width, 4 * width), up(8 * width, 2 * width), up(4 * width, width)
        self.up4 = nn.ConvTranspose2d(2 * width, 1, 4, 2, 1, bias=False)

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        one = self.down1(x)
        two = self.down2(one)
        three = self.down3(two)
        return [one, two, three, self.down4(three)]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, two, three, latent = self.encode(x)
        y = self.up1(latent)
        y = self.up2(torch.cat([y, three], 1))
        y = self.up3(torch.cat([y, two], 1))
        return torch.tanh(self.up4(torch.cat([y, one], 1))), latent


class Discriminator(nn.Sequential):
    """Five convolutions and their mean."""

    def __init__(self, norm: str, width: int = 64) -> None:
        super().__init__(
            Down(1, width, None, slope=0.0),
            Down(width, 2 * width, norm, slope=0.0),
            Down(2 * width, 4 * width, norm, slope=0.0),
            Down(4 * width, 4 * width, norm, stride=1, slope=0.0),
            nn.Conv2d(4 * width, 1, 4, 1, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean((1, 2, 3))


def gan(
    batch_size: int,
    steps: int,
    channels_last: bool,
    norm: str,
    compiled: str | None = None,
    precision: Precision = "float32",
) -> Callable[[], float]:
    """`steps` steps of generator and discriminators; at batch 1 a normal image and an anomaly take turns.

    `compiled`: a backend of `torch.compile`; `precision` as in `benchmarks.peers.device`.
    """
    torch.manual_seed(0)
    g = UNet(norm).to(device())
    judges = {kind: Discriminator(norm).to(device()) for kind in ("normal", "anomaly")}
    if channels_last:
        nets: list[torch.nn.Module] = [g, *judges.values()]
        for net in nets:
            net.to(memory_format=torch.channels_last)
    adam_g = torch.optim.Adam(g.parameters(), lr=1e-3, betas=(0.5, 0.999), fused=True)
    parameters = [p for judge in judges.values() for p in judge.parameters()]
    adam_d = torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999), fused=True)
    data = tensor(np.random.default_rng(0).random((steps * batch_size, 1, 32, 32), np.float32) * 2 - 1)
    if channels_last:
        data = data.to(memory_format=torch.channels_last)

    if compiled:
        g.compile(backend=compiled)
        for judge in judges.values():
            judge.compile(backend=compiled)

    def loss_of(x: torch.Tensor, normals: int) -> tuple[torch.Tensor, torch.Tensor]:
        y, latent = g(x)
        y, latent = y.float(), latent.float()
        d = (x - y).abs().mean((1, 2, 3))
        loss = torch.zeros((), device=device())
        if normals:
            again = g.encode(y[:normals])[-1].float()
            loss = loss + 1.5 * d[:normals].mean() + 1.5 * worst_patches(x[:normals], y[:normals])
            loss = loss + 0.5 * (latent[:normals] - again).abs().mean()
            loss = loss + 0.1 * (judges["normal"](y[:normals]).float() - 1).square().mean()
        if normals < len(x):
            loss = loss + 0.2 * judges["anomaly"](y[normals:]).float().square().mean()
            loss = loss - 3 * torch.log(1 - torch.exp(-d[normals:].clamp(min=1e-3))).mean()
        return loss, y

    def step(x: torch.Tensor, normals: int) -> torch.Tensor:
        with rounded(precision):
            loss, y = loss_of(x, normals)
        adam_g.zero_grad(set_to_none=True)
        loss.backward()
        adam_g.step()
        adam_d.zero_grad(set_to_none=True)
        fake, parts = y.detach(), {"normal": slice(0, normals), "anomaly": slice(normals, None)}
        for kind, weight in (("normal", 1.0), ("anomaly", 0.5)):
            if len(x[parts[kind]]):
                with rounded(precision):
                    real, made = (judges[kind](images[parts[kind]]).float() for images in (x, fake))
                (weight * ((real - 1).square() + made.square()).mean()).backward()
        adam_d.step()
        return loss

    def work() -> float:
        for i, x in enumerate(data.split(batch_size)):
            loss = step(x, normals=batch_size // 2 if batch_size > 1 else i % 2)
        return float(loss.detach())

    return with_precision(work, precision)


def worst_patches(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean difference over the three worst of 16 px patches, 8 px apart."""
    means = F.avg_pool2d((x - y).abs().mean(1, keepdim=True), 16, 8).flatten(1)
    return means.topk(3).values.mean()
