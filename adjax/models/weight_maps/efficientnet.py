"""EfficientNet in the names of efficientnet_pytorch, torchvision, timm and Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjax.models import efficientnet
from adjax.models.weight_maps.naming import IMAGENET, LITE, Layer, Naming


def namings(lite: bool, stages: Sequence[efficientnet.Stage] | None, file_name: str) -> Iterator[Naming]:
    """Lists how libraries name EfficientNet's arrays.

    Args:
      lite: without squeeze and excitation.
      stages: of blocks; None: those of B0 and Lite0.
      file_name: of the file; timm's names of training recipes stand in it.

    Yields:
      A `Naming` per library.
    """
    blocks = [
        (f"block{number}{letter}", number, place, stage)
        for number, stage in enumerate(efficientnet.STAGES if stages is None else stages, 1)
        for place, letter in enumerate("abcdefgh"[: stage.blocks])
    ]

    def layers(stem, top, head, parts) -> tuple[Layer, ...]:
        """`parts(block, our part)` -> (their convolution, their norm), or (their layer,) for the se."""
        found = [Layer("stem/conv", stem[0], "conv"), Layer("stem/norm", stem[1], "norm")]
        for block in blocks:
            name, stage = block[0], block[3]
            for part in ["expand"] * (stage.expand > 1) + ["depthwise", "project"]:
                convolution, norm = parts(block, part)
                found.append(Layer(f"{name}/{part}/conv", convolution, "depthwise" if part == "depthwise" else "conv"))
                found.append(Layer(f"{name}/{part}/norm", norm, "norm"))
            for part in () if lite else ("reduce", "expand"):
                (theirs,) = parts(block, f"se_{part}")
                found.append(Layer(f"{name}/se/{part}", theirs, "pointwise"))
        found += [Layer("top/conv", top[0], "conv"), Layer("top/norm", top[1], "norm"), Layer("head", head, "dense")]
        return tuple(found)

    order = [block[0] for block in blocks]

    def lukemelas(block, part):
        prefix = f"_blocks.{order.index(block[0])}._"
        return {
            "expand": (prefix + "expand_conv", prefix + "bn0"),
            "depthwise": (prefix + "depthwise_conv", prefix + "bn1"),
            "project": (prefix + "project_conv", prefix + "bn2"),
        }.get(part) or (prefix + part,)

    def torchvision(block, part):
        _, number, place, stage = block
        parts = ["expand"] * (stage.expand > 1) + ["depthwise"] + ["se"] * (not lite) + ["project"]
        prefix = f"features.{number}.{place}.block.{parts.index(part if part in parts else 'se')}"
        if part.startswith("se_"):
            return (prefix + (".fc1" if part == "se_reduce" else ".fc2"),)
        return prefix + ".0", prefix + ".1"

    def timm(block, part):
        _, number, place, stage = block
        prefix = f"blocks.{number - 1}.{place}."
        if part.startswith("se_"):
            return (f"{prefix}se.conv_{part[3:]}",)
        if stage.expand == 1:
            return {"depthwise": (prefix + "conv_dw", prefix + "bn1"), "project": (prefix + "conv_pw", prefix + "bn2")}[
                part
            ]
        names = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        return tuple(prefix + name for name in names[part])

    def keras(block, part):
        prefix = f"{block[0]}_"
        if part.startswith("se_"):
            return (prefix + part,)
        names = {"expand": ("expand_conv", "expand_bn"), "depthwise": ("dwconv", "bn")}
        return tuple(prefix + name for name in names.get(part, ("project_conv", "project_bn")))

    google = LITE if lite else IMAGENET
    trained_in_torch = {"symmetric": True, "epsilon": 1e-5}
    yield Naming(
        "efficientnet_pytorch",
        True,
        "_conv_stem.weight",
        layers(("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc", lukemelas),
        *google,
    )
    yield Naming(
        "torchvision",
        True,
        "features.0.0.weight",
        layers(("features.0.0", "features.0.1"), ("features.8.0", "features.8.1"), "classifier.1", torchvision),
        *IMAGENET,
        trained_in_torch,
    )
    ported = file_name.startswith("tf_")  # timm's mark of what TensorFlow trained; the names within are the same
    yield Naming(
        "timm",
        True,
        "conv_stem.weight",
        layers(("conv_stem", "bn1"), ("conv_head", "bn2"), "classifier", timm),
        *(google if ported else IMAGENET),
        {} if ported else trained_in_torch,
    )
    yield Naming(
        "Keras",
        False,
        "stem_conv/kernel",
        layers(("stem_conv", "stem_bn"), ("top_conv", "top_bn"), "predictions", keras),
        *google,
        ignored=("normalization",),
    )
