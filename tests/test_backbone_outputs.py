"""The ImageNet networks give what those of torchvision, timm, Hugging Face and facebookresearch give.

The numbers are in `golden_backbones/`, made by `make_backbones.py` where PyTorch is. The weights are drawn by their
names, and files here in the names of each library, read as a user's would be.
"""

import functools
import json
import os
from pathlib import Path

import drawn
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from adjax import models
from adjax.models import vit, weights

FOLDER = Path(__file__).parent / "golden_backbones"
GOLDEN = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.iterdir())}
WHOLE = os.environ.get("ADJAX_WHOLE")  # a folder that `make_backbones.py --whole` wrote: every value is compared
DAILY = {("resnet18-torchvision", 1), ("squeezenet-torchvision", 1)}
CASES = [
    pytest.param(case, number, marks=() if (case, number) in DAILY or "short" in case else pytest.mark.slow)
    for case, golden in GOLDEN.items()
    for number in range(len(golden["cases"]))
]
TOLERANCE = 1e-4  # of the largest value


@functools.lru_cache(maxsize=1)
def loaded(case, folder):
    """By a file in their names."""
    golden = GOLDEN[case]
    file = folder / "theirs.safetensors"
    save_file({name: drawn.weight(name, s) for name, s in drawn.unpacked(golden["weights"]).items()}, file)
    found = weights.load_weights(file, golden["model"])
    file.unlink()
    assert golden["library"] in found.source
    return found


@pytest.mark.parametrize(("case", "number"), CASES)
def test_outputs_are_those_of_the_library(case, number, tmp_path_factory, monkeypatch):
    if "short" in case:
        monkeypatch.setattr(vit, "DEPTH", 4)
    golden, wanted = GOLDEN[case], GOLDEN[case]["cases"][number]
    found = loaded(case, tmp_path_factory.getbasetemp())
    head = found.params.get("head", {"bias": np.zeros(1)})["bias"]
    network = models.make(golden["model"], wanted["images"][1:], len(head), **found.options)
    network = models.pretrained(network, found)
    params = network.init(jax.random.key(0))
    names = tuple(wanted["outputs"])
    apply = jax.jit(lambda params, images: {name: network.apply(params, images)[name] for name in names})
    said = apply(params, drawn.images(tuple(wanted["images"])))
    whole = np.load(Path(WHOLE) / f"{case}-{number}.npz") if WHOLE else None
    for name, expected in wanted["outputs"].items():
        ours = np.asarray(said[name])
        assert list(ours.shape) == expected["shape"], name
        off = np.abs(drawn.sample(name, ours) - expected["sample"]).max() / expected["largest"]
        assert off < TOLERANCE, (name, off)
        if whole is not None:
            off = np.abs(ours - whole[name]).max() / expected["largest"]
            print(f"{case} {wanted['images']} {name}: {off:.1e}")
            assert off < TOLERANCE, (name, off)


def test_names_and_shapes_come_back_as_they_were_packed():
    shapes = {"layer1.0.bn2.weight": (64,), "layer1.10.bn2.weight": (64,), "n": (), "fc.weight": (10, 3)}
    assert drawn.unpacked(drawn.packed(shapes)) == shapes
