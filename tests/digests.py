"""Digests of what adjax computes, to hold beside those of another revision on the same machine.

    python tests/digests.py before.json     # at one revision
    python tests/digests.py after.json      # at another
    diff before.json after.json

Every method on digits for two epochs by `experiments.run`, some again by `adjax train` and by `adjax.sklearn`; of each
the figures, the detector's arrays and scores, an export's scores, a table of `predict`. A refactoring changes none.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

QUICK = ["--dataset", "digits", "--seed", "1", "--validation", "0.3"]
SHORT = ["--epochs", "2", "--batch-size", "64"]
"""Of those that train."""
RUNS = {
    "autoencoder": ["--normal", "0"],
    "centerloss": ["--seeds", "2", "--lam", "0", "0.1", "--scorers", "energy"],
    "classifier": ["--protocol", "one_vs_rest", "--normal", "0"],
    "deep_svdd": ["--normal", "3"],
    "gan": ["--protocol", "one_vs_rest", "--model-options", "width=8", "--method-options", "width=2"],
    "gmm": ["--protocol", "one_vs_rest", "--normal", "0", "--model", "hog", "--model-options", "cell_px=4"],
    "hog_ocsvm": ["--normal", "0"],
    "random": ["--normal", "0"],
    "regressor": ["--protocol", "one_vs_rest", "--normal", "0"],
}
SKLEARN = ("autoencoder", "centerloss", "deep_svdd", "hog_ocsvm", "ood_head", "regressor")


def digest(value) -> str:
    content = np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else json.dumps(value).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def of_detector(folder: Path) -> dict[str, str]:
    import adjax
    from adjax import data

    files = json.loads((folder / "manifest.json").read_text())
    detector = adjax.load(folder)
    images = data.load("digits", "test").images
    found = {"manifest": digest(files), "repr": repr(detector)}
    if images.shape[1:] == detector.spec.image_shape:
        found["scores"] = digest(np.asarray(detector.score(images)))
    return found


def of_run(method: str, out: Path) -> dict[str, str]:
    from adjax import data
    from adjax.methods import entry
    from experiments.run import main

    if method == "gan":  # which takes no image of 8 px
        arrays = {}
        for split in ("train", "test"):
            digits = data.load("digits", split)
            larger = digits.images.repeat(3, 1).repeat(3, 2)
            arrays |= {f"x_{split}": larger, f"y_{split}": digits.labels}
        np.savez(out.parent / "larger.npz", **arrays)
        RUNS[method] += ["--dataset", str(out.parent / "larger.npz"), "--normal", "0"]
    length = SHORT if entry(method).trains else []
    assert main(["--method", method, *QUICK, *length, *RUNS[method], "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    timeless = {k: v for k, v in results.items() if k not in ("timing", "environment", "references", "config")}
    placeless = json.dumps(timeless).replace(str(out.parent), "")
    found = {
        "results": digest(placeless),
        "auroc": {k: v["mean"] for k, v in results["summary"].items() if k.endswith("auroc")},
    }
    folder = next(p for p in (out / "detector", *sorted(out.glob("detectors/*"))) if p.is_dir())
    return found | of_detector(folder)


def of_sklearn(method: str) -> dict[str, str]:
    from sklearn.datasets import load_digits

    from adjax.methods import entry
    from adjax.sklearn import ImageOutlierDetector

    x, y = load_digits(return_X_y=True)
    y = np.where(y == 9, -1, y)
    epochs = 2 if entry(method).trains else None
    made = ImageOutlierDetector(method, image_shape=(8, 8, 1), pixel_max=16, epochs=epochs).fit(x[:500], y[:500])
    return {"scores": digest(made.score_samples(x)), "offset": repr(made.offset_)}


def of_train(folder: Path, arguments: list[str]) -> dict[str, str]:
    from PIL import Image

    from adjax import __main__, data

    split = data.load("digits", "train")
    pictures = folder / "pictures"
    for i, (image, label) in enumerate(zip(split.images[:400], split.labels[:400], strict=True)):
        if label < 3:
            (pictures / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(pictures / str(label) / f"{i}.png")
    out = folder / "detector"
    assert __main__.main(["train", str(pictures), "--out", str(out), *arguments]) == 0
    table = folder / "scores.csv"
    assert __main__.main(["predict", str(out), str(pictures), "--out", str(table), "--no-report"]) == 0
    return of_detector(out) | {"table": digest(table.read_text().replace(str(folder), ""))}


def main(path: str) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        found = {f"run {method}": of_run(method, work / method) for method in RUNS}
        found |= {f"sklearn {method}": of_sklearn(method) for method in SKLEARN}
        small = ["--side-px", "8", "--method"]
        found["train hog_ocsvm"] = of_train(work / "a", [*small, "hog_ocsvm"])
        found["train centerloss"] = of_train(work / "b", [*small, "centerloss", "--steps", "40"])
        found["train autoencoder"] = of_train(work / "c", [*small, "autoencoder", "--steps", "40"])
    Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
