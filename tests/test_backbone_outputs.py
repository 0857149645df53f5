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
from adjax.models import resnet, vit, weight_maps, weights

FOLDER = Path(__file__).parent / "golden_backbones"
GOLDEN = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.iterdir())}
WHOLE = os.environ.get("ADJAX_WHOLE")  # a folder that `make_backbones.py --whole` wrote: every value is compared
DAILY = "resnet_short-torchvision", "dinov2_short_reg4-timm"
"""A convolution net and a transformer; other names of the same arrays are looked at in `test_weights.py`, too."""
CASES = [
    pytest.param(case, number, marks=() if case in DAILY and (number or "short" in case) else pytest.mark.slow)
    for case, golden in GOLDEN.items()
    for number in range(len(golden["cases"]))
    if WHOLE or "short" in case or number == min(len(golden["cases"]) - 1, 2)  # of large networks one size, not square
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


@pytest.fixture
def short_ones(monkeypatch):
    """Networks with a block a stage, or four of twelve."""
    monkeypatch.setattr(vit, "DEPTH", 4)
    for kind in ("basic", "bottleneck"):
        plan = resnet.Plan((1, 1, 1, 1), bottleneck=kind == "bottleneck")
        name, make = f"resnet_short_{kind}", functools.partial(resnet.ResNet, plan=plan)
        monkeypatch.setitem(models.MODELS, name, make)
        monkeypatch.setitem(weight_maps.MODELS, name, (make, functools.partial(weight_maps.resnet.namings, plan)))


@pytest.mark.parametrize(("case", "number"), CASES)
def test_outputs_are_those_of_the_library(case, number, tmp_path_factory, request):
    if "short" in case:
        request.getfixturevalue("short_ones")
    golden, wanted = GOLDEN[case], GOLDEN[case]["cases"][number]
    found = loaded(case, tmp_path_factory.getbasetemp())
    head = found.params.get("head", {"bias": np.zeros(1)})["bias"]
    network = models.make(golden["model"], wanted["images"][1:], len(head), **found.options)
    network = models.pretrained(network, found)
    params = network.init(jax.random.key(0))
    apply = jax.jit(network.apply)
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


def changed(tmp_path, case, change):
    """A DINOv2 of four blocks by a file that something was done to."""
    arrays = {name: drawn.weight(name, s) for name, s in drawn.unpacked(GOLDEN[case]["weights"]).items()}
    change(arrays)
    save_file(arrays, tmp_path / "a.safetensors")
    return weights.load_weights(tmp_path / "a.safetensors", "dinov2_vits14")


@pytest.mark.slow
@pytest.mark.usefixtures("short_ones")
def test_weights_with_registers_are_none_of_a_network_without(tmp_path):
    found = changed(tmp_path, "dinov2_short_reg4-timm", lambda arrays: None)
    assert found.options == {"registers": 4, "antialias": True}
    assert found.params["embed"]["registers"].shape == (4, 384)
    with pytest.raises(weights.WeightsError, match="of another network: 1 arrays don't fit, embed/registers"):
        models.pretrained(models.make("dinov2_vits14", (28, 28, 3), 10), found)


SPOILT = {
    "no positions": (lambda a: a.pop("pos_embed"), "pos_embed is missing"),
    "positions of no square": (
        lambda a: a.update(pos_embed=a["pos_embed"][:, :1300]),
        r"pos_embed \[1, 1300, 384\]: must be \[1, 1, dim\] and \[1, n², dim\]",
    ),
    "positions of another grid": (
        lambda a: a.update(pos_embed=a["pos_embed"][:, :256]),
        r"embed/positions has shape \[16, 16, 384\], not \[37, 37, 384\]",
    ),
    "a flat token": (lambda a: a.update(cls_token=np.zeros(384, np.float32)), r"cls_token \[384\] and pos_embed"),
    "no blocks": (lambda a: a.pop("blocks.3.ls2.gamma"), "block3/scale2 is missing"),
    "one too many": (lambda a: a.update({"blocks.4.ls2.gamma": np.zeros(3)}), r"doesn't have: blocks\.4\.ls2"),
}


@pytest.mark.usefixtures("short_ones")
@pytest.mark.parametrize(("change", "message"), SPOILT.values(), ids=SPOILT)
def test_tokens_and_positions_that_do_not_fit_are_named(tmp_path, change, message):
    with pytest.raises(weights.WeightsError, match=message):
        changed(tmp_path, "dinov2_short_reg4-timm", change)


@pytest.mark.usefixtures("short_ones")
def test_queries_keys_and_values_of_unequal_shapes_are_named(tmp_path):
    name = "dinov2_with_registers.encoder.layer.2.attention.attention.key.bias"
    with pytest.raises(weights.WeightsError, match=r"blocks\.2\.attn\.query\.bias, key and value have shapes"):
        changed(tmp_path, "dinov2_short_reg4-transformers", lambda a: a.update({name: np.zeros(3)}))
