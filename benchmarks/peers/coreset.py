"""anomalib's k-center greedy on random rows: python coreset.py ROWS FEATURES SHARE CHOICES; prints seconds as JSON.

Only the first CHOICES are made; each costs as much as another, and what comes before the first is timed apart.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Times the projection with one choice, and with CHOICES."""
    import torch
    from anomalib.models.components import KCenterGreedy

    n, dim, share, choices = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(0))
    seconds = []
    for count in (1, choices):
        sampler = KCenterGreedy(rows, share)
        whole, sampler.coreset_size = sampler.coreset_size, count
        started = time.perf_counter()
        sampler.sample_coreset()
        seconds.append(time.perf_counter() - started)
    each = (seconds[1] - seconds[0]) / (choices - 1)
    print(json.dumps({"whole": whole, "before_s": seconds[0], "each_s": each, "whole_s": seconds[0] + whole * each}))


if __name__ == "__main__":
    main()
