"""Writes tests/golden_backbones/: what torchvision, timm and Hugging Face make of drawn weights and images.

Run where these are, in an environment of their own (nothing of adjax is imported):

    python -m venv torch && torch/bin/pip install torch torchvision timm transformers safetensors
    torch/bin/pip install --no-deps dinov2==0.0.1.dev2      # facebookresearch's code of April 2023, without registers
    torch/bin/python tests/make_backbones.py                # all; or the names of some
    torch/bin/python tests/make_backbones.py --whole FOLDER # all values as well, as .npz, to look into a difference

Each file says which versions made it. It holds names and shapes of the weights as the library saves them, and of every
output its largest absolute value and some values: `tests/drawn.py` makes the same weights and images again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import drawn
import numpy as np
import timm
import torch
import torchvision
import transformers
from safetensors.numpy import load_file, save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

FOLDER = Path(__file__).parent / "golden_backbones"
CLASSES = 10
SIZES = (2, 64, 64, 3), (1, 96, 64, 3)
VIT_SIZES = (2, 70, 70, 3), (1, 98, 56, 3), (1, 28, 532, 3)  # positions shrunk; and shrunk one way, stretched the other
LARGE = ((1, 518, 518, 3),)  # positions as they are

Made = tuple[nn.Module, dict[str, tuple[int, ...]], dict[str, str]]
"""The network, names and shapes of its weights as saved, our output -> their module."""


def draw(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Gives a network drawn weights; their names and shapes."""
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(drawn.weight(name, shape)) for name, shape in shapes.items()})
    return shapes


def from_torchvision(name: str, maps: dict[str, str]) -> Made:
    model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    return model, draw(model), maps


def short_resnet() -> Made:
    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    return model, draw(model), layers("layer{}")


def from_timm(name: str, maps: dict[str, str], **options) -> Made:
    model = timm.create_model(name, num_classes=CLASSES, **options)
    return model, draw(model), maps


def from_transformers(model: nn.Module, maps: dict[str, str]) -> Made:
    """By a folder, since names on disk are others than in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {name: x.shape for name, x in load_file(file).items()}
        save_file({name: drawn.weight(name, s) for name, s in shapes.items()}, file, {"format": "pt"})
        return type(model).from_pretrained(folder), shapes, maps


def from_facebook(depth: int = 12) -> Made:
    from dinov2.models.vision_transformer import vit_small

    model = vit_small(patch_size=14, img_size=518, init_values=1.0, block_chunks=0)
    del model.blocks[depth:]
    return model, draw(model), vit("blocks.", "norm", depth)


def from_facebook_with_registers() -> Made:
    """Their names, as timm reads them: the package has none with registers."""
    model = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, dynamic_img_size=True)
    shapes = {name: tuple(x.shape) for name, x in from_facebook()[0].state_dict().items()}
    shapes["register_tokens"] = (1, 4, 384)
    arrays = {name: torch.from_numpy(drawn.weight(name, shape)) for name, shape in shapes.items()}
    model.load_state_dict(checkpoint_filter_fn(arrays, model))
    return model, shapes, VIT


def hugging_dinov2(registers: int, depth: int = 12) -> Made:
    """Without registers as `Dinov2Model` has it, with them within a classifier: the names differ by a prefix."""
    size = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    size["num_hidden_layers"] = depth
    if not registers:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**size))
        return from_transformers(model, vit("encoder.layer.", "layernorm", depth))
    config = transformers.Dinov2WithRegistersConfig(**size, num_register_tokens=registers, num_labels=CLASSES)
    model = transformers.Dinov2WithRegistersForImageClassification(config)
    prefix = "dinov2_with_registers."
    return from_transformers(model, vit(prefix + "encoder.layer.", prefix + "layernorm", depth))


def hugging_resnet(depths: list[int], kind: str) -> Made:
    sizes = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    config = transformers.ResNetConfig(depths=depths, hidden_sizes=sizes, layer_type=kind, num_labels=CLASSES)
    return from_transformers(transformers.ResNetForImageClassification(config), layers("resnet.encoder.stages.{}", 0))


def layers(pattern: str, first: int = 1, step: int = 1) -> dict[str, str]:
    return {f"layer{i + 1}": pattern.format(first + step * i) for i in range(4)}


def vit(blocks: str, norm: str, depth: int = 12) -> dict[str, str]:
    return {**layers(blocks + "{}", depth // 4 - 1, depth // 4), "patches": norm}


VIT = vit("blocks.", "norm")
# timm's ResNets have torchvision's names and gave the same values, to the last digit: one of them is enough.
CASES: dict[str, tuple[str, str, tuple, Callable[[], Made]]] = {
    "resnet18-torchvision": ("resnet18", "torchvision", SIZES, lambda: from_torchvision("resnet18", layers("layer{}"))),
    "resnet18-timm": ("resnet18", "timm", SIZES, lambda: from_timm("resnet18", layers("layer{}"))),
    "resnet18-transformers": ("resnet18", "Hugging Face", SIZES, lambda: hugging_resnet([2, 2, 2, 2], "basic")),
    "resnet50-torchvision": ("resnet50", "torchvision", SIZES, lambda: from_torchvision("resnet50", layers("layer{}"))),
    "resnet50-transformers": ("resnet50", "Hugging Face", SIZES, lambda: hugging_resnet([3, 4, 6, 3], "bottleneck")),
    "wide_resnet50_2-torchvision": (
        "wide_resnet50_2",
        "torchvision",
        SIZES,
        lambda: from_torchvision("wide_resnet50_2", layers("layer{}")),
    ),
    "convnext_tiny-torchvision": (
        "convnext_tiny",
        "torchvision",
        SIZES,
        lambda: from_torchvision("convnext_tiny", layers("features.{}", 1, 2)),
    ),
    "convnext_tiny-timm": ("convnext_tiny", "timm", SIZES, lambda: from_timm("convnext_tiny", layers("stages.{}", 0))),
    "vgg16-torchvision": (
        "vgg16",
        "torchvision",
        SIZES,
        lambda: from_torchvision("vgg16", {f"layer{i + 1}": f"features.{n}" for i, n in enumerate((8, 15, 22, 29))}),
    ),
    "squeezenet-torchvision": (
        "squeezenet",
        "torchvision",
        SIZES,
        lambda: from_torchvision(
            "squeezenet1_1", {f"layer{i + 1}": f"features.{n}" for i, n in enumerate((1, 4, 7, 12))}
        ),
    ),
    "dinov2_vits14-facebook": ("dinov2_vits14", "facebookresearch/dinov2", VIT_SIZES + LARGE, from_facebook),
    "dinov2_vits14_reg4-facebook": (
        "dinov2_vits14",
        "facebookresearch/dinov2",
        VIT_SIZES,
        from_facebook_with_registers,
    ),
    "dinov2_vits14-timm": (
        "dinov2_vits14",
        "timm",
        VIT_SIZES + LARGE,
        lambda: from_timm("vit_small_patch14_dinov2", VIT, dynamic_img_size=True),
    ),
    "dinov2_vits14_reg4-timm": (
        "dinov2_vits14",
        "timm",
        VIT_SIZES,
        lambda: from_timm("vit_small_patch14_reg4_dinov2", VIT, dynamic_img_size=True),
    ),
    "dinov2_vitb14_reg4-timm": (
        "dinov2_vitb14",
        "timm",
        VIT_SIZES,
        lambda: from_timm("vit_base_patch14_reg4_dinov2", VIT, dynamic_img_size=True),
    ),
    "dinov2_vitb14-timm": (
        "dinov2_vitb14",
        "timm",
        VIT_SIZES,
        lambda: from_timm("vit_base_patch14_dinov2", VIT, dynamic_img_size=True),
    ),
    "dinov2_vits14-transformers": ("dinov2_vits14", "Hugging Face", VIT_SIZES + LARGE, lambda: hugging_dinov2(0)),
    "dinov2_vits14_reg4-transformers": ("dinov2_vits14", "Hugging Face", VIT_SIZES, lambda: hugging_dinov2(4)),
    # a block a stage, or four of twelve, for tests that run each time
    "resnet_short-torchvision": ("resnet_short_basic", "torchvision", SIZES[1:], short_resnet),
    "resnet_short-transformers": (
        "resnet_short_bottleneck",
        "Hugging Face",
        SIZES[1:],
        lambda: hugging_resnet([1, 1, 1, 1], "bottleneck"),
    ),
    "dinov2_short-facebook": (
        "dinov2_vits14",
        "facebookresearch/dinov2",
        VIT_SIZES[1:2],
        lambda: from_facebook(4),
    ),
    "dinov2_short_reg4-timm": (
        "dinov2_vits14",
        "timm",
        VIT_SIZES[1:2],
        lambda: from_timm("vit_small_patch14_reg4_dinov2", vit("blocks.", "norm", 4), depth=4, dynamic_img_size=True),
    ),
    "dinov2_short_reg4-transformers": (
        "dinov2_vits14",
        "Hugging Face",
        VIT_SIZES[1:2],
        lambda: hugging_dinov2(4, 4),
    ),
}
"""File name -> our model, the library whose names these are, sizes of images, the network."""


def outputs(model: nn.Module, maps: dict[str, str], images: np.ndarray, tokens_before: int | None) -> dict:
    """Our outputs, as theirs, float32 arrays with channels last. `tokens_before` the patches; None: convolutional."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in maps.items():

        def keep(_, __, y, name=name):
            found[name] = (y[0] if isinstance(y, tuple) else y).clone()

        handles.append(model.get_submodule(module).register_forward_hook(keep))
    with torch.no_grad():
        said = model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    for handle in handles:
        handle.remove()
    if tokens_before is None:
        result = {name: x.permute(0, 2, 3, 1).numpy() for name, x in found.items()}
        result["patches"] = result["layer4"]
        result["features"] = result["patches"].mean((1, 2))
    else:
        n, height, width = len(images), images.shape[1] // 14, images.shape[2] // 14
        result = {name: x[:, tokens_before:].reshape(n, height, width, -1).numpy() for name, x in found.items()}
        result["features"] = found["patches"][:, 0].numpy()
    logits = said if isinstance(said, torch.Tensor) else getattr(said, "logits", None)
    if logits is not None and logits.shape[-1] == CLASSES:
        result["logits"] = logits.numpy()
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--whole", type=Path)
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for case in asked.cases:
        model_name, library, sizes, make = CASES[case]
        model, shapes, maps = make()
        before = (5 if "reg4" in case else 1) if "dinov2" in case else None
        records = []
        for size in sizes:
            said = outputs(model, maps, drawn.images(size), before)
            if model_name == "vgg16" or ("transformers" in case and before):
                said.pop("logits", None)  # of another head than ours
            if asked.whole is not None:
                asked.whole.mkdir(exist_ok=True)
                np.savez(asked.whole / f"{case}-{len(records)}.npz", **said)
            records.append(
                {
                    "images": size,
                    "outputs": {
                        name: {
                            "shape": x.shape,
                            "largest": float(np.abs(x).max()),
                            "sample": [float(f"{v:.7g}") for v in drawn.sample(name, x)],
                        }
                        for name, x in said.items()
                    },
                }
            )
        made_with = {p: version(p) for p in ("torch", "torchvision", "timm", "transformers", "dinov2", "numpy")}
        facts = {"model": model_name, "library": library, "made_with": made_with}
        text = json.dumps(facts | {"weights": drawn.packed(shapes)}, indent=1)[:-2]
        text += ',\n "cases": [\n  ' + ",\n  ".join(json.dumps(r) for r in records) + "\n ]\n}\n"
        (FOLDER / f"{case}.json").write_text(text)
        print(case, f"{len(text):,} bytes", {n: round(o["largest"], 1) for n, o in records[0]["outputs"].items()})


if __name__ == "__main__":
    main()
