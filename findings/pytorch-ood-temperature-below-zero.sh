#!/usr/bin/env bash
# TemperatureScaling of pytorch-ood 0.4.0 takes 50 steps of L-BFGS at a rate of 0.01 from T = 1, without a line search or a
# bound, and says "fitted" wherever it is then. Of an over-confident classifier it stays near 1.2, whatever the best T is
# (4.1, 8.3). Of an under-confident one, whose best T is 0.5, it ends *below zero*: the softmax is turned round, so the
# likelihood is worse than before, and the least likely class decides the score. Nothing is raised.
# VRA of the same release raises activations below the lower limit to that limit; its paper (NeurIPS 2023) sets them to 0.
#
# Seen (torch 2.13.0, CPU): logits x 8: T 1.27, best 4.14. x 16: T 1.28, best 8.27. x 1: T -9.33, negative log-likelihood 2.50,
# best 0.52 with 0.98. VRA of 0, 0.5, 2, 9 between 0.1 and 9.9: 0.1, 0.5, 2, 9.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet torch==2.13.0 torchvision==0.28.0 pytorch-ood==0.4.0 numpy==2.4.6

env/bin/python - <<'PYTHON'
import warnings

import numpy as np
import torch
from torch import nn

warnings.simplefilter("ignore")
try:  # a torchvision built for another torch (CUDA's beside the CPU's) lacks operators, which nothing here calls
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from pytorch_ood.detector import VRA, TemperatureScaling

torch.manual_seed(0)
labels = torch.arange(2000) % 10
logits = 2 * nn.functional.one_hot(labels, 10).float() + torch.randn(2000, 10)
found = {}
for sure in (8.0, 16.0, 1.0):
    z = sure * logits
    detector = TemperatureScaling(nn.Identity()).fit_logits(z, labels)
    loss = lambda t: float(nn.functional.cross_entropy(z.double() / t, labels))
    best = float(min(np.geomspace(0.05, 200, 4000), key=loss))
    found[sure] = t = float(detector.t.detach())
    print(f"logits x {sure:g}: T {t:.3g}, loss {loss(t):.3f}; best {best:.3g}, loss {loss(best):.3f}; at 1 {loss(1.0):.3f}")
assert 1 < found[8.0] < 2 and 1 < found[16.0] < 2 and found[1.0] < 0, found

x = torch.tensor([0.0, 0.5, 2.0, 9.0]).reshape(4, 1, 1, 1)
vra = VRA(nn.Identity(), nn.Flatten())
vra.fit_feature_maps(torch.linspace(0, 10, 1001).reshape(-1, 1, 1, 1), torch.zeros(1001, dtype=torch.long))
low, high = float(vra._lower_threshold), float(vra._upper_threshold)
clipped = vra._clip(x).ravel().tolist()
print(f"VRA between {low:g} and {high:g}: {x.ravel().tolist()} become {clipped}")
assert clipped[0] == low > 0
PYTHON
echo "still so"
