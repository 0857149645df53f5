"""DINOv2 in the names of facebookresearch/dinov2, timm and Hugging Face transformers.

The three keep the same arrays. Hugging Face has queries, keys and values apart, and other names, which become
facebookresearch's here; timm adds the class token's position to that token where there are registers, and we do always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from adjax.models import vit
from adjax.models._read_torch import WeightsError
from adjax.models.weight_maps.naming import IMAGENET, Layer, Naming

_PARTS = {
    "norm1": ("norm1", "norm"),
    "qkv": ("attn.qkv", "dense"),
    "project": ("attn.proj", "dense"),
    "scale1": ("ls1.gamma", "value"),
    "norm2": ("norm2", "norm"),
    "widen": ("mlp.fc1", "dense"),
    "narrow": ("mlp.fc2", "dense"),
    "scale2": ("ls2.gamma", "value"),
}
_TRANSFORMERS = {
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "",
    "encoder.layer.": "blocks.",
    "attention.attention.": "attn.",
    "attention.output.dense.": "attn.proj.",
    "attention.o_proj.": "attn.proj.",
    "attention.q_proj.": "attn.query.",
    "attention.k_proj.": "attn.key.",
    "attention.v_proj.": "attn.value.",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "layernorm.": "norm.",
}
"""Parts of their names, to be replaced in this order; those of files on the hub, and within transformers 5."""


def namings(_: str) -> Iterator[Naming]:
    """Those of a DINOv2 of any width."""
    layers = [Layer(f"embed/{name}", name, "value") for name in ("class_token", "registers", "positions")]
    layers.append(Layer("embed/patches", "patch_embed.proj", "conv"))
    for block in range(vit.DEPTH):
        for part, (theirs, kind) in _PARTS.items():
            layers.append(Layer(f"block{block}/{part}", f"blocks.{block}.{theirs}", kind))
    layers += [Layer("norm", "norm", "norm"), Layer("head", "head", "dense")]
    naming = partial(Naming, torch=True, layers=tuple(layers), mean=IMAGENET[0], sd=IMAGENET[1])
    registers = {"registers": 4, "antialias": True}
    facebook = partial(naming, "facebookresearch/dinov2", rewrite=_tokens)
    yield facebook(marker="register_tokens", options=registers)
    yield facebook(marker="mask_token", options={"antialias": False, "offset": 0.1})
    yield naming("timm", marker="reg_token", options=registers, rewrite=_tokens)
    yield naming("timm", marker="cls_token", options={"antialias": True}, rewrite=_tokens)
    for prefix in ("", "dinov2_with_registers."):  # without a head, and with one, which sees more than our features
        hugging = partial(naming, "Hugging Face", rewrite=partial(_transformers, prefix), ignored=("classifier.",))
        yield hugging(marker=f"{prefix}embeddings.register_tokens", options=registers)
    for prefix in ("", "dinov2."):
        hugging = partial(naming, "Hugging Face", rewrite=partial(_transformers, prefix), ignored=("classifier.",))
        yield hugging(marker=f"{prefix}embeddings.cls_token", options={"antialias": False})


def _tokens(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Class token, registers and positions as ours, under our names; no mask token, which is of training alone.

    Raises:
      WeightsError: they are missing or of other shapes.
    """
    arrays = {name: x for name, x in arrays.items() if name != "mask_token"}
    try:
        token, positions = arrays.pop("cls_token"), arrays.pop("pos_embed")
    except KeyError as error:
        raise WeightsError(f"{error.args[0]} is missing") from None
    for name in ("register_tokens", "reg_token"):
        if name in arrays:
            x = arrays.pop(name)
            arrays["registers"] = x[0] if x.ndim == 3 else x
    dim = token.shape[-1] if token.ndim else 0
    side = math.isqrt(positions.shape[1]) if positions.ndim == 3 else 0
    if token.shape != (1, 1, dim) or positions.shape not in ((1, side * side, dim), (1, 1 + side * side, dim)):
        raise WeightsError(
            f"cls_token {list(token.shape)} and pos_embed {list(positions.shape)}: must be [1, 1, dim] and "
            "[1, n², dim] or [1, 1 + n², dim]"
        )
    token, positions = (np.asarray(x[0], np.float32) for x in (token, positions))
    if len(positions) > side * side:
        token, positions = token + positions[:1], positions[1:]
    return {**arrays, "class_token": token[0], "positions": positions.reshape(side, side, dim)}


def _transformers(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    renamed = {}
    for name, x in arrays.items():
        name = name.removeprefix(prefix)
        for theirs, other in _TRANSFORMERS.items():
            name = name.replace(theirs, other)
        renamed[name] = x
    for block in range(vit.DEPTH):
        for variable in ("weight", "bias"):
            names = [f"blocks.{block}.attn.{part}.{variable}" for part in ("query", "key", "value")]
            if all(name in renamed and renamed[name].ndim for name in names):
                apart = [np.asarray(renamed.pop(name), np.float32) for name in names]
                if len({x.shape for x in apart}) > 1:
                    raise WeightsError(f"{names[0]}, key and value have shapes {[list(x.shape) for x in apart]}")
                renamed[f"blocks.{block}.attn.qkv.{variable}"] = np.concatenate(apart)
    return _tokens(renamed)
