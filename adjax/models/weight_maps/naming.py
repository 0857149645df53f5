"""Translation of a published file's arrays to ours, given its library's names and layouts.

A file is known by one name in it. Layouts: PyTorch keeps convolutions as [O, I, kh, kw] and dense layers as [O, I],
Keras as [kh, kw, I, O] and [I, O]; ours are Keras' but for depthwise convolutions, [kh, kw, 1, C].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adjax.models._read_torch import WeightsError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)


class Layer(NamedTuple):
    """One layer: our path, their prefix, what it is ("conv", "depthwise", "dense", "pointwise", "norm", "value").

    "pointwise" is a 1×1 convolution of theirs that is a dense layer of ours; "value" is a single array, whose whole
    name `theirs` is, taken as it is.
    """

    ours: str
    theirs: str
    kind: str


class Naming(NamedTuple):
    """The names of a model's arrays in the files of one library.

    Attributes:
      library: for messages.
      torch: PyTorch's layouts and variables; else Keras'.
      marker: a name that only these files have.
      layers: all layers; a head may be absent.
      mean, sd: the normalisation that the weights were trained with, of pixels in 0..1, RGB.
      options: of the model, so that it computes what the weights were trained for.
      ignored: beginnings of names that these files have beyond our layers.
      bgr: the first layer sees blue, green, red.
      rewrite: turns their arrays into those that `layers` speaks of, where that takes more than new names.
    """

    library: str
    torch: bool
    marker: str
    layers: tuple[Layer, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    options: Mapping[str, Any] = {}
    ignored: tuple[str, ...] = ()
    bgr: bool = False
    rewrite: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] | None = None


_TORCH = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "norm": {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
}
_KERAS = {
    "conv": {"kernel": "kernel", "depthwise_kernel": "kernel", "bias": "bias"},
    "norm": {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"},
}


def translate(
    model: str, namings: Iterable[Naming], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], Naming]:
    """Translates a library's arrays to ours.

    Args:
      model: name of the network, for messages.
      namings: candidates; the first whose marker is among the arrays is taken.
      arrays: by the library's names.

    Returns:
      Arrays float32 by path such as "stem/conv/kernel", and the naming. Shapes are checked elsewhere.

    Raises:
      WeightsError: no naming fits, or names are left over.
    """
    known = tuple(namings)
    naming = next((n for n in known if n.marker in arrays), None)
    if naming is None:
        markers = "; ".join(f"{n.library}: {n.marker}" for n in known) or "none is known"
        raise WeightsError(
            f"no weights of {model}: none of the names that mark its files ({markers}) is there, but "
            f"{', '.join(sorted(arrays)[:3])}, …"
        )
    if naming.rewrite is not None:
        arrays = naming.rewrite(arrays)
    separator, variables = (".", _TORCH) if naming.torch else ("/", _KERAS)
    ours, used = {}, set()
    for layer in naming.layers:
        if layer.kind == "value":
            if layer.theirs in arrays:
                used.add(layer.theirs)
                ours[layer.ours] = np.asarray(arrays[layer.theirs], np.float32)
            continue
        for theirs, name in variables["norm" if layer.kind == "norm" else "conv"].items():
            key = f"{layer.theirs}{separator}{theirs}"
            if key in arrays:
                used.add(key)
                ours[f"{layer.ours}/{name}"] = _relaid(np.asarray(arrays[key], np.float32), layer, name, naming)
    extra = [k for k in sorted(arrays) if k not in used and not k.startswith(naming.ignored)]
    extra = [k for k in extra if not k.endswith("num_batches_tracked")]
    if extra:
        raise WeightsError(
            f"{len(extra)} arrays that {model} in {naming.library}'s names doesn't have: {', '.join(extra[:3])}"
        )
    return ours, naming


def _relaid(array: np.ndarray, layer: Layer, name: str, naming: Naming) -> np.ndarray:
    if layer.kind == "norm" or name == "bias":
        return array
    if array.ndim not in (2, 4):
        raise WeightsError(f"{layer.theirs}: a kernel of shape {array.shape} must have 2 or 4 axes")
    if naming.torch:
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    elif layer.kind == "depthwise":
        array = array.transpose(0, 1, 3, 2) if array.ndim == 4 else array
    if layer.kind == "pointwise" and array.shape[:2] == (1, 1):
        array = array[0, 0]
    if naming.bgr and layer == naming.layers[0] and array.ndim == 4:
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array)
