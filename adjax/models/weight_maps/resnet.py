"""ResNet in the names of torchvision, which are timm's too, and of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adjax.models.resnet import Plan
from adjax.models.weight_maps.naming import IMAGENET, Layer, Naming

Theirs = Callable[[int, int, int], tuple[str, str]]
"""(stage, block, convolution; 0 the shortcut) -> their convolution, their norm."""


def namings(plan: Plan, _: str) -> Iterator[Naming]:
    """Lists how libraries name a ResNet's arrays.

    Args:
      plan: of the network.
      _: name of the file; not used.

    Yields:
      A `Naming` per library, with and without a prefix.
    """
    yield Naming(
        "torchvision or timm", True, "conv1.weight", _layers(plan, ("conv1", "bn1"), _torchvision, "fc"), *IMAGENET
    )
    for prefix in ("resnet.", ""):  # with a head, and without
        stem = prefix + "embedder.embedder."
        layers = _layers(
            plan, (stem + "convolution", stem + "normalization"), _transformers(prefix + "encoder."), "classifier.1"
        )
        yield Naming("Hugging Face", True, stem + "convolution.weight", layers, *IMAGENET)


def _layers(plan: Plan, stem: tuple[str, str], theirs: Theirs, head: str) -> tuple[Layer, ...]:
    found = [Layer("stem/conv", stem[0], "conv"), Layer("stem/norm", stem[1], "norm")]
    for stage, depth in enumerate(plan.depths):
        for block in range(depth):
            shortcut = block == 0 and plan.widens(stage)
            for number in range(0 if shortcut else 1, len(plan.block(stage, 1)) + 1):
                ours = f"layer{stage + 1}_{block}/" + (f"conv{number}" if number else "shortcut")
                convolution, norm = theirs(stage, block, number)
                found += [Layer(f"{ours}/conv", convolution, "conv"), Layer(f"{ours}/norm", norm, "norm")]
    return *found, Layer("head", head, "dense")


def _torchvision(stage: int, block: int, number: int) -> tuple[str, str]:
    prefix = f"layer{stage + 1}.{block}."
    if number == 0:
        return prefix + "downsample.0", prefix + "downsample.1"
    return f"{prefix}conv{number}", f"{prefix}bn{number}"


def _transformers(encoder: str) -> Theirs:
    def theirs(stage: int, block: int, number: int) -> tuple[str, str]:
        prefix = f"{encoder}stages.{stage}.layers.{block}."
        prefix += f"layer.{number - 1}." if number else "shortcut."
        return prefix + "convolution", prefix + "normalization"

    return theirs
