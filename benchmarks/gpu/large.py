"""Scorers of up to 10,000,000 × 512 features on the device: `python -m benchmarks.gpu.large --out FOLDER`.

Beside each time stands what the device needs at least, by its own rates measured here: operations / the rate of a large
matmul, and bytes / the bandwidth of a sum over memory, whichever is longer. `share` is that by the time taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import scorers, surface
from benchmarks import needs
from benchmarks.gpu.rows import Rows, arguments, median_s

_BLOCK = 10_000


class Rates(NamedTuple):
    """What the device does: GFLOP/s of float32 matmuls in full and by default, and GB/s read."""

    highest: float
    default: float
    gb_per_s: float


def measured(side: int, mib: int) -> Rates:
    """Measures them.

    Args:
      side: of the square matrices.
      mib: what is read.
    """
    a = jnp.ones((side, side), jnp.float32) / side

    def rate(precision: jax.lax.Precision) -> float:
        product: Callable[..., Any] = jax.jit(partial(jnp.matmul, precision=precision))
        return 2 * side**3 / median_s(lambda: product(a, a), 5) / 1e9

    values = jnp.ones((mib * 2**18,), jnp.float32)
    total = jax.jit(lambda x: x.sum())
    read = values.nbytes / median_s(lambda: total(values), 5) / 1e9
    return Rates(rate(jax.lax.Precision.HIGHEST), rate(jax.lax.Precision.DEFAULT), read)


def features(rows: int, dim: int) -> jax.Array:
    """Random features float32[rows, dim], made on the device a block at a time."""
    block = min(_BLOCK, rows)

    @jax.jit
    def make() -> jax.Array:
        keys = jax.random.split(jax.random.key(0), rows // block)
        return jax.lax.map(lambda key: jax.random.normal(key, (block, dim)), keys).reshape(rows, dim)

    return make()


def works(dry: bool) -> list[tuple[str, int, dict[str, Any], needs.Needs]]:
    """Scorer, rows, options, and what the algorithm needs; the tied distance first."""
    sizes = (1000, 10_000) if dry else (100_000, 1_000_000, 10_000_000)
    dim, last = (64 if dry else 512), sizes[-1]
    bank = 1000 if dry else 10_000
    return [
        *(("mahalanobis", n, {}, needs.mahalanobis(n, dim, 10, 1)) for n in sizes),
        ("cosine", last, {}, needs.cosine(last, dim, 10)),
        ("gmm", last, {"components": 4}, needs.gmm(last, dim, 4)),
        ("knn", sizes[-2], {"capacity": bank}, needs.knn(sizes[-2], dim, bank)),
        ("mahalanobis_perclass", sizes[-2], {}, needs.mahalanobis(sizes[-2], dim, 10, 10)),
    ]


def main() -> int:
    """Times every scorer; the smaller sizes come first."""
    args = arguments("large", __doc__).parse_args()
    rows = Rows("large", args.out, args.dry)
    rates = measured(*((512, 16) if args.dry else (8192, 4096)))
    rows.add("rates", **rates._asdict())
    made: tuple[int, jax.Array] | None = None
    for name, n, options, needed in works(args.dry):
        label = f"{name}, {n:,} × {needed.dim}"
        with rows.guarded(label):
            if made is None or made[0] != n:
                x, made = {}, None  # or both sizes would lie there
                made = n, features(n, needed.dim)
            x = {"features": made[1]}
            scorer = scorers.make(name, **options)
            few, labels = {"features": x["features"][:20_000]}, np.arange(min(n, 20_000)) % 10
            state = jax.jit(partial(scorers.fit, scorer, classes=10))(few, labels)
            score: Callable[..., jax.Array] = jax.jit(scorer.score)
            seconds = median_s(lambda: score(state, x), 2 if args.dry else 7)  # noqa: B023 (called at once)
            flop_s, byte_s = needed.flop / rates.highest / 1e9, needed.bytes / rates.gb_per_s / 1e9
            scores = np.asarray(score(state, x)[:1000])
            if not np.isfinite(scores).all():
                rows.refuse(label, f"{int((~np.isfinite(scores)).sum())} of 1,000 scores are not finite")
                continue
            rows.add(
                label,
                rows=n,
                ms=1e3 * seconds,
                images_per_s=n / seconds,
                gflops=needed.flop / seconds / 1e9,
                gb_per_s=needed.bytes / seconds / 1e9,
                share=max(flop_s, byte_s) / seconds,
                bound="matmuls" if flop_s > byte_s else "memory",
            )
    return rows.status()


if __name__ == "__main__":
    surface.script(main)
