"""A folder of picture files to scores, against decoding the same files alone: what scoring adds to reading."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from adjax import augment, features
from adjax.data.io import upload
from adjax.data.io.sources.folder import Folder
from adjax.detector import Detector, Spec, fit
from adjax.predict import stream
from adjax.spec import resolve
from benchmarks.harness import Timing, compare


def write_pictures(folder: Path, count: int, width_px: int, height_px: int) -> list[str]:
    """Names of `count` pictures written to `folder`, PNG and JPEG in turn: smooth with grain, as photographs."""
    rng, names = np.random.default_rng(0), []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width_px, height_px), Image.Resampling.BICUBIC)).astype(int)
        pixels = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        names.append(f"{i:04}.{('png', 'jpg')[i % 2]}")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def untrained(model: str, side_px: int) -> Detector:
    """A detector of two classes of noise, as fast as a trained one."""
    rng, shape = np.random.default_rng(0), (side_px, side_px, 3)
    images, labels = rng.integers(0, 256, (80, *shape), np.uint8), np.arange(80) % 2
    spec = Spec("centerloss", model, "mahalanobis", shape, ("a", "b"))
    method = resolve(spec).method
    params = jax.jit(method.init)(jax.random.key(0), dict(method.hparams))["params"]
    return fit(spec, params, augment.normalise_of(images), images[40:], labels[40:], images[:40])


def predict(model: str, side_px: int, n: int, quick: bool) -> Timing:
    """`python -m adjax predict` without its table; the peer decodes to the same pixels with as many threads."""
    count, size = (32, (160, 120)) if quick else (256, (640, 480))
    detector = untrained(model, side_px)
    spec = detector.spec
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        names = write_pictures(folder, count, *size)
        batch_size = min(features.batch_size_for(spec.image_shape), count // 4)

        def ours() -> None:
            scored = [
                row for rows in stream.rows(detector, Folder(folder), names, batch_size=batch_size) for row in rows
            ]
            assert [row.status for row in scored] == ["ok"] * count

        def decode() -> None:
            with ThreadPoolExecutor(stream.THREADS) as pool:
                for _ in pool.map(lambda name: upload.read(folder / name, spec.image_shape, spec.frame), names):
                    pass

        return compare(
            f"files to scores, {model} {side_px} px, {count} PNG and JPEG of {size[0]}×{size[1]}",
            f"decoding alone, {stream.THREADS} threads",
            ours,
            decode,
            images=count,
            n=n,
        )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "decode_score_lenet5": partial(predict, "lenet5", 28),
}
"""Name -> `(pairs, quick) -> Timing`."""
