"""Numbers of the device against the CPU's, in one process: `python -m benchmarks.gpu.same_numbers --out FOLDER`.

Matmuls in float32 (`highest`) on both. What may differ is rounding, so each row has its bound:

    metrics       the same to the bit
    scores        largest difference / standard deviation of the CPU's scores; fitted on the CPU, and fitted on each
    training      root mean square of the difference of what some steps changed in the weights / of what they changed
    detector      as scores; and how many decisions differ, also with the device's default precision, as a report
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import data, loop, metrics, scorers, surface, train
from adjax.pipeline import Recipe, train_one
from adjax.scorers import SCORERS
from adjax.sharding import make_mesh, to_host
from benchmarks.gpu.rows import Rows, arguments
from benchmarks.training import AUTOENCODER, CNN, LENET, Setting, gan

SCORED, FITTED = 1e-3, 1e-2
"""Bounds: scores of one state; scores of a state fitted on each device."""
STEPS, BATCH, CLASSES = 8, 16, 10
FIRST = "mahalanobis", "mahalanobis_perclass", "cosine", "gmm", "knn", "patchcore", "padim", "vim", "react", "energy"
SETTINGS: dict[str, tuple[Setting, float]] = {
    "LeNet": (LENET, 1e-3),
    "autoencoder": (AUTOENCODER, 1e-3),
    "CNN": (CNN, 1e-3),
    "GAN": (gan(None), 0.3),
}
"""Name -> what is trained, and its bound: fifty times what other fusions changed on a CPU, but three times for the GAN.
Adam's first steps are the signs of gradients, and in batch norm's networks many are nearly zero."""


def on(device: jax.Device, work: Callable[[], Any]) -> Any:
    """Runs work on one device, matmuls in float32; the results as NumPy arrays."""
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        return jax.device_get(work())


def outputs(rows: int, dim: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Outputs of a network that never was: correlated features in classes, logits linear in them, maps."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(dim, dim)) / np.sqrt(dim) + np.diag(np.geomspace(0.5, 4, dim))
    labels = (np.arange(rows) % CLASSES).astype(np.int32)
    x = 3 * rng.normal(size=(CLASSES, dim))[labels] + rng.normal(size=(rows, dim)) @ mix
    logits = x @ rng.normal(size=(dim, CLASSES)) / np.sqrt(dim) + rng.normal(size=CLASSES)
    pool = x[:, None, None] + rng.normal(size=(rows, 4, 4, dim))
    made = {"features": x, "logits": logits, "pool": pool, "score": np.abs(x).max(1)}
    return {name: values.astype(np.float32) for name, values in made.items()}, labels


def apart(here: np.ndarray, there: np.ndarray) -> float:
    """The largest difference, in standard deviations of the first; infinite if NaNs are at other places."""
    known = np.isfinite(here)
    same = np.array_equal(known, np.isfinite(there)) and np.array_equal(here[~known], there[~known], equal_nan=True)
    if not same or not known.any():
        return float("inf")
    return float(np.abs(here - there)[known].max() / max(here[known].std(), 1e-30))


def changed(before: Any, here: Any, there: Any) -> float:
    """Root mean square of the difference of two trained trees, by that of what training changed in the first."""
    leaves = [
        np.concatenate([np.ravel(x).astype(float) for x in jax.tree.leaves(tree)]) for tree in (before, here, there)
    ]
    return float(np.sqrt(np.square(leaves[2] - leaves[1]).mean() / np.square(leaves[1] - leaves[0]).mean()))


def trained(setting: Setting, device: jax.Device) -> tuple[Any, Any]:
    """Weights before and after some steps on one device."""
    built, rng = setting.build(), np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * BATCH, *setting.shape), np.uint8)
    kinds = {"classes": setting.classes, "normal": 1, "anomalies": 2}[built.method.supervision]
    table = built.members([np.arange(len(images))], [(np.arange(len(images)) % kinds).astype(np.int32)])
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        program = train.compile_program(
            built.method,
            images,
            table,
            built.normalise(images),
            batch_size=BATCH,
            steps_per_dispatch=STEPS,
            mesh=make_mesh(1, [device]),
        )
        before = to_host(program.init(program.table).members["params"])
        return before, to_host(loop.train(program, STEPS).members["params"])


def of_scorer(name: str, options: dict[str, Any], device: jax.Device, cpu: jax.Device) -> tuple[float, float]:
    """How far the device's scores are from the CPU's: with the CPU's state, and with its own."""
    scorer, (x, labels) = scorers.make(name, **options), outputs(1024, 32)
    query = {key: values[:512] + np.float32(0.1) for key, values in x.items()}
    fit, score = jax.jit(partial(scorers.fit, scorer, classes=CLASSES)), jax.jit(scorer.score)
    state, own = (on(where, partial(fit, x, labels)) for where in (cpu, device))
    here = on(cpu, partial(score, state, query))
    return apart(here, on(device, partial(score, state, query))), apart(here, on(device, partial(score, own, query)))


def check_detector(rows: Rows, device: jax.Device, cpu: jax.Device) -> None:
    """A detector from images to decisions."""
    digits, test = data.load("digits", "train"), data.load("digits", "test")
    normal = np.flatnonzero(digits.labels < 9)
    with jax.default_device(cpu), jax.default_matmul_precision("highest"):
        one = train_one(
            Recipe("centerloss"),
            digits.images,
            digits.labels,
            tuple("012345678"),
            normal[200:],
            normal[:200],
            steps=100,
            batch_size=64,
            mesh=make_mesh(1, [cpu]),
        )
        detector = jax.device_get(one.detector)
    here, there = (
        {
            "score": on(where, lambda: detector.score(test.images)),
            "p_value": on(where, lambda: detector.p_value(test.images)),
            "predict": on(where, lambda: detector.predict(test.images)),
        }
        for where in (cpu, device)
    )
    with jax.default_device(device):  # as precise as the device likes
        default = jax.device_get(detector.predict(test.images))
    found = apart(here["score"], there["score"])
    flips = int((here["predict"] != there["predict"]).sum())
    ok = {
        "difference": found,
        "p_values": float(np.abs(here["p_value"] - there["p_value"]).max()),
        "decisions_changed": flips,
        "by_default_precision": int((here["predict"] != default).sum()),
        "images": len(test.images),
        "bound": SCORED,
    }
    if found <= SCORED:
        rows.add("detector of LeNet", **ok)
    else:
        rows.refuse("detector of LeNet", "beyond its bound", **ok)


def hold(rows: Rows, name: str, difference: float, bound: float) -> None:
    """A row, refused where it is beyond its bound."""
    if difference <= bound:
        rows.add(name, difference=difference, bound=bound)
    else:
        rows.refuse(name, "beyond its bound", difference=difference, bound=bound)


def main() -> int:
    """Compares everything, the metrics first."""
    parser = arguments("same_numbers", __doc__)
    args = parser.parse_args()
    rows, cpu, device = Rows("same_numbers", args.out, args.dry), jax.devices("cpu")[0], jax.devices()[0]
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=5000).round(2).astype(np.float32), rng.integers(0, 2, 5000)
    for name in ("auroc", "aupr", "fpr_at_tpr"):
        with rows.guarded(name):
            metric = getattr(metrics, name)
            here, there = (float(on(where, partial(metric, scores, truth))) for where in (cpu, device))
            hold(rows, name, abs(here - there), 0.0)
    with rows.guarded("detector of LeNet"):
        check_detector(rows, device, cpu)
    for name, (setting, bound) in list(SETTINGS.items())[: 1 if args.dry else None]:
        with rows.guarded(f"{name}, {STEPS} steps"):
            (before, here), (_, there) = (trained(setting, where) for where in (cpu, device))
            hold(rows, f"{name}, {STEPS} steps", changed(before, here, there), bound)
    x, _ = outputs(32, 32)
    suite: dict[str, dict[str, Any]] = scorers.suite(SCORERS, jax.tree.map(jnp.asarray, x), CLASSES)
    names = [*FIRST, *(name for name in suite if name not in FIRST)]
    names = names[:2] if args.dry else names
    with ThreadPoolExecutor(1 if args.dry else 8) as pool:  # compiling is most of it
        found = {name: pool.submit(of_scorer, name, suite[name], device, cpu) for name in names}
        for name, future in found.items():
            with rows.guarded(f"scorer {name}"):
                scored, fitted = future.result()
                hold(rows, f"scorer {name}", scored, SCORED)
                hold(rows, f"scorer {name}, fitted there", fitted, FITTED)
    return rows.status()


if __name__ == "__main__":
    surface.script(main)
