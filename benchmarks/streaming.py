"""A million rows through `fit_stream`: memory, time, digits. `python -m benchmarks.streaming`.

Rows of 512 features with mean 10,000 and standard deviation about 1, classes a few hundredths apart, are made chunk by
chunk and forgotten. Each fit has a process of its own, so that its peak of resident memory is its own: of 50,000 rows
and of 1,000,000. The same rows are summed in float64 as they are made: means, covariance and distances are held against
that; a sample of rows, against distances from the rows that it kept. Making and summing is timed apart; what XLA
computes meanwhile does not show.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax import scorers, surface
from experiments.rundir import environment, write_json

ROWS, DIM, CLASSES = (50_000, 1_000_000), 512, 10
CHUNK, QUERIES = 2048, 1000
MEAN = 1e4
SCORERS: dict[str, dict[str, Any]] = {"mahalanobis": {}, "pca": {"components": 4}, "knn": {"normalise": False}}
"""Name -> options: two by running sums, one by a sample."""


class Source:
    """Rows, made chunk by chunk, their float64 sums, and the seconds that both took.

    Attributes:
      counts: float64[K]; sums: float64[K, D]; squares: float64[D, D], of rows less `MEAN`; None of it without `truth`.
    """

    def __init__(self, rows: int, dim: int, truth: bool, seed: int = 0):
        self.rows, self.dim, self.truth = rows, dim, truth
        self.rng = np.random.default_rng(seed)
        layout = np.random.default_rng(1)
        self.common = layout.normal(size=(4, dim)).astype(np.float32) / 4
        self.means = (MEAN + 0.05 * layout.normal(size=(CLASSES, dim))).astype(np.float32)
        self.counts, self.sums = np.zeros(CLASSES), np.zeros((CLASSES, dim))
        self.squares = np.zeros((dim, dim))
        self.making_s = self.summing_s = 0.0

    def chunk(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Features float32[n, D] and classes int32[n]."""
        y = self.rng.integers(0, CLASSES, n).astype(np.int32)
        x = self.rng.standard_normal((n, self.dim), np.float32)
        x += self.rng.standard_normal((n, len(self.common)), np.float32) @ self.common
        return x + self.means[y], y

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for start in range(0, self.rows, CHUNK):
            began = time.perf_counter()
            x, y = self.chunk(min(CHUNK, self.rows - start))
            made = time.perf_counter()
            if self.truth:
                rest = x.astype(np.float64) - MEAN
                self.squares += rest.T @ rest
                member = np.eye(CLASSES)[y]
                self.sums += member.T @ rest
                self.counts += member.sum(0)
            self.making_s += made - began
            self.summing_s += time.perf_counter() - made
            yield {"features": x}, y

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Class means [K, D] less `MEAN`, and the covariance [D, D] within classes, float64."""
        means = self.sums / self.counts[:, None]
        return means, (self.squares - (self.counts[:, None] * means).T @ means) / self.counts.sum()


def measured(name: str, rows: int, dim: int = DIM) -> dict[str, Any]:
    """Fits one scorer to a number of rows, in this process.

    Returns:
      `fit_s`, seconds without `making_s` and `summing_s`; `peak_mib`, of this process since it began; and errors
      against float64: `mean` and `covariance`, largest, in standard deviations and as a share of the largest variance;
      `distance`, largest, as a share of each.
    """
    scorer = scorers.make(name, **SCORERS[name])
    source: Any = Source(rows, dim, truth=name != "knn")
    began = time.perf_counter()
    # what is in between is looked at, too
    stats = scorers.fit_stream(scorer._replace(finalize=lambda stats: stats), source, dim, CLASSES)
    state = jax.block_until_ready(jax.jit(scorer.finalize)(stats))
    total = time.perf_counter() - began
    row = {"scorer": name, "rows": rows, "features": dim, "fit_s": total - source.making_s - source.summing_s}
    row |= {"making_s": source.making_s, "summing_s": source.summing_s, "peak_mib": peak_mib()}

    query, _ = Source(QUERIES, dim, truth=False, seed=2).chunk(QUERIES)
    found = np.float64(jax.jit(scorer.score)(state, {"features": query}))
    errors = {}
    if name == "knn":
        rows_kept = np.asarray(state.rows, np.float64) + np.asarray(state.origin, np.float64)
        memory = rows_kept[np.asarray(state.known)]
        expected = np.sort(np.sqrt(_squares(query.astype(np.float64) - MEAN, memory - MEAN)), 1)[:, 9]
    else:
        means, cov = source.moments()
        own = np.float64(stats.anchor) - MEAN + np.float64(stats.mean)
        errors["mean"] = np.abs(own - means).max()
        errors["covariance"] = np.abs(np.float64(stats.scatter[0]) / rows - cov).max() / cov.diagonal().max()
        expected = _distances(name, query.astype(np.float64) - MEAN, means, cov, source.counts)
    errors["distance"] = np.abs(found / expected - 1).max()
    return row | {"errors": {key: float(value) for key, value in errors.items()}}


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` counts that of the process which began this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)[None], 0)


def _distances(name: str, x: np.ndarray, means: np.ndarray, cov: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if name == "mahalanobis":
        cov = 0.9 * cov + 0.1 * np.trace(cov) / len(cov) * np.eye(len(cov))
        whiten = np.linalg.cholesky(np.linalg.inv(cov))
        return np.sqrt(_squares(x @ whiten, means @ whiten).min(1))
    middle = counts @ means / counts.sum()
    apart = means - middle
    cov = cov + (counts[:, None] * apart).T @ apart / counts.sum()
    outside = np.linalg.eigh(cov)[1][:, : len(cov) - SCORERS["pca"]["components"]]
    return np.linalg.norm((x - middle) @ outside, axis=1)


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table, and under it what it was made on."""
    lines = [
        "| scorer | rows | peak MiB | fit s | making the rows, s | float64 sums, s | error of means, sd "
        "| of the covariance | of distances |",
        "|" + "---|" * 9,
    ]
    for r in rows:
        errors = [f"{r['errors'][key]:.1e}" if key in r["errors"] else "" for key in ("mean", "covariance", "distance")]
        numbers = [
            f"{r['rows']:,}",
            f"{r['peak_mib']:,.0f}",
            *(f"{r[k]:.1f}" for k in ("fit_s", "making_s", "summing_s")),
        ]
        lines.append("| " + " | ".join([r["scorer"], *numbers, *errors]) + " |")
    lines += [
        "",
        f"{rows[0]['features']} features float32, mean {MEAN:g}, sd about 1, {CLASSES} classes, {CHUNK:,} rows at a "
        "time. Peak: resident memory of a process that does nothing else. Errors against float64: the covariance's as "
        "a share of the largest variance, a distance's as a share of itself.",
        f"`{where['command']}`, {where['date']}, {where['cores']} cores of {where['cpu']} "
        f"({where['devices']['platform']}), Python {where['python']}, jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fits each scorer to each number of rows in a process of its own; writes streaming.json and streaming.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument(
        "--one", nargs=2, metavar=("SCORER", "ROWS"), help="fit this alone, and print what was measured"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "streaming.json")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(args.one[0], int(args.one[1]))))
        return
    rows = []
    for name in SCORERS:
        for n in ROWS:
            command = [sys.executable, "-m", "benchmarks.streaming", "--one", name, str(n)]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(rows[-1], flush=True)
    where = environment("benchmarks.streaming")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"what": __doc__, "rows": rows, "environment": where})
    args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
