"""The Open Inference Protocol, version 2, over HTTP, with its extension for binary tensors.

    images    UINT8 [N, H, W, C], as the detector takes them; or
    pictures  BYTES [N], picture files (base64 in JSON)
    → score, p_value, probability FP32 [N]; anomalous, uncertain BOOL [N]; nearest INT32 [N]; places FP32 [N, h, w]

https://github.com/kserve/open-inference-protocol, Triton's `extension_binary_data`. `places` is sent if it is named.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from starlette.responses import Response

from adjax import distribution
from adjax.serve.bodies import Limits
from adjax.serve.model import Model, Said
from adjax.serve.refusals import Refusal, answer

HEADER = "Inference-Header-Content-Length"
SERVER = {"name": "adjax", "version": distribution.VERSION, "extensions": ["binary_tensor_data"]}
DATATYPES = {
    "score": "FP32",
    "p_value": "FP32",
    "probability": "FP32",
    "anomalous": "BOOL",
    "uncertain": "BOOL",
    "nearest": "INT32",
    "places": "FP32",
}
_MOST_DIGITS, _MOST_SIDE = 18, 2**31  # numbers of more than 4,300 digits are neither read nor written
_NUMPY = {"FP32": "<f4", "BOOL": "?", "INT32": "<i4"}


class Asked(NamedTuple):
    """A request for inference.

    Attributes:
      id: of the client's choice; None: none.
      contents: picture files, or images.
      outputs: name → whether it is sent as binary.
    """

    id: str | None
    contents: list[bytes] | list[np.ndarray]
    outputs: dict[str, bool]


def metadata(name: str, model: Model) -> dict[str, Any]:
    """Describes a model.

    Args:
      name: of the model.
      model: it.

    Returns:
      JSON of the protocol.
    """
    height, width, channels = model.spec.image_shape
    sides = [-1, -1] if model.tiled else [height, width]
    return {
        "name": name,
        "versions": [version(model)],
        "platform": "jax",
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, *sides, channels]},
            {"name": "pictures", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": key, "datatype": DATATYPES[key], "shape": [-1, -1, -1] if key == "places" else [-1]}
            for key in _known(model)
        ],
    }


def version(model: Model) -> str:
    """The beginning of the SHA-256 of the detector's manifest."""
    return model.loaded.sha256[:12]


def parse(body: bytes, header: str | None, model: Model, limits: Limits) -> Asked:
    """Reads a request.

    Args:
      body: JSON, and binary tensors after it.
      header: value of `HEADER`, the bytes of JSON; None: all.
      model: that is to answer.
      limits: on the request.

    Returns:
      An `Asked`.

    Raises:
      Refusal: 422, or 413 for too many pictures; says what is wrong.
    """
    length = len(body)
    if header is not None:
        length = int(header) if header.isascii() and header.isdigit() and len(header) <= _MOST_DIGITS else -1
    if not 0 <= length <= len(body):
        raise Refusal(422, f"{HEADER}: must be between 0 and the {len(body):,} bytes of the body, got {header!r:.20}")
    try:
        given = json.loads(body[:length])
        tensors, wanted = given["inputs"], given.get("outputs") or []
        (tensor,) = tensors
        name, datatype, shape = tensor["name"], tensor["datatype"], [int(side) for side in tensor["shape"]]
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        binary = bool((given.get("parameters") or {}).get("binary_data_output", False))
        outputs = {one["name"]: bool((one.get("parameters") or {}).get("binary_data", binary)) for one in wanted}
        named = given.get("id")
        if not isinstance(named, str | None):
            raise TypeError(f"id must be a text, got {named!r:.40}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Refusal(422, f"no inference request of one input, images or pictures: {error!r}") from error
    raw = None if size is None else body[length:]
    if raw is not None and len(raw) != size:
        raise Refusal(422, f"input {name!r}: binary_data_size is {size}, and {len(raw):,} bytes follow the JSON")
    if not shape or not all(0 <= side < _MOST_SIDE for side in shape) or shape[0] < 1:
        raise Refusal(
            422,
            f"input {name!r}: shape must begin with the number of pictures, at least 1, all below {_MOST_SIDE:,}, got "
            f"{shape}",
        )
    if shape[0] > limits.max_pictures:
        raise Refusal(413, f"{shape[0]:,} pictures: at most {limits.max_pictures:,} a request")
    if (name, datatype) == ("images", "UINT8"):
        contents: Any = list(_images(tensor.get("data"), raw, shape, model))
    elif (name, datatype) == ("pictures", "BYTES") and len(shape) == 1:
        contents = _pictures(tensor.get("data"), raw, shape[0])
    else:
        raise Refusal(422, f"input {name!r} {datatype}{shape}: must be images UINT8[N, H, W, C] or pictures BYTES[N]")
    known = _known(model)
    if unknown := [key for key in outputs if key not in known]:
        raise Refusal(422, f"output {unknown[0]!r}: must be one of {', '.join(known)}")
    return Asked(named, contents, outputs or {key: binary for key in known if key != "places"})


def respond(asked: Asked, said: Sequence[Said], name: str, model: Model) -> Response:
    """Answers a request.

    Args:
      asked: it.
      said: of its pictures.
      name: of the model.
      model: that scored.

    Returns:
      The response.

    Raises:
      Refusal: 422, pictures whose maps differ in size.
    """
    tensors, chunks = [], []
    for key, binary in asked.outputs.items():
        try:
            value = np.stack([one[key] for one in said]).astype(_NUMPY[DATATYPES[key]])
        except ValueError:  # places of pictures that differ in size
            raise Refusal(
                422, f"output {key!r}: pictures of several sizes fill no one array: send each alone"
            ) from None
        tensor: dict[str, Any] = {"name": key, "datatype": DATATYPES[key], "shape": [*value.shape]}
        if binary:
            chunks.append(value.tobytes())
            tensor["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            tensor["data"] = _plain(value)
        tensors.append(tensor)
    body: dict[str, Any] = {"model_name": name, "model_version": version(model), "outputs": tensors}
    if asked.id is not None:
        body["id"] = asked.id
    if not chunks:
        return answer(body)
    head = json.dumps(body, allow_nan=False).encode()
    return Response(b"".join([head, *chunks]), headers={HEADER: str(len(head))}, media_type="application/octet-stream")


def _plain(value: np.ndarray) -> list[Any]:
    """Numbers in row-major order, each the shortest decimal of its float32; null for what JSON has no number for."""
    if value.dtype.kind != "f":
        return value.ravel().tolist()
    return [float(str(x)) if np.isfinite(x) else None for x in value.ravel()]


def _known(model: Model) -> list[str]:
    lacks = {"uncertain": model.loaded.interval is None, "places": model.map_kind is None}
    return [key for key in DATATYPES if not lacks.get(key, False)]


def _images(data: Any, raw: bytes | None, shape: list[int], model: Model) -> np.ndarray:
    own, (height, width, channels) = "×".join(map(str, shape[1:])), model.spec.image_shape
    fits = len(shape) == 4 and shape[3] == channels
    sides = fits and (shape[1] >= height and shape[2] >= width if model.tiled else shape[1:3] == [height, width])
    if not sides:
        at_least = "at least " if model.tiled else ""
        raise Refusal(422, f"images of {own}: the detector takes {at_least}{height}×{width}×{channels}")
    if raw is not None:
        values: Any = np.frombuffer(raw, np.uint8)
    else:
        try:
            values = np.asarray(data)
        except ValueError:
            raise Refusal(422, "data of images: must be whole numbers 0 … 255, flat or nested") from None
        if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() <= 255):
            raise Refusal(422, "data of images: must be whole numbers 0 … 255, flat or nested")
    if values.size != math.prod(shape):
        raise Refusal(422, f"data of images: {values.size:,} numbers, and shape {shape} has {math.prod(shape):,}")
    return values.astype(np.uint8).reshape(shape)


def _pictures(data: Any, raw: bytes | None, number: int) -> list[bytes]:
    if raw is None:
        try:
            found = [base64.b64decode(text, validate=True) for text in data]
        except (binascii.Error, ValueError, TypeError) as error:
            raise Refusal(422, f"data of pictures: must be a list of base64, or binary ({error})") from error
    else:
        found, at = [], 0
        while at + 4 <= len(raw):
            (length,) = struct.unpack_from("<I", raw, at)
            found.append(raw[at + 4 : at + 4 + length])
            at += 4 + length
        if at != len(raw):
            raise Refusal(422, "binary pictures: each is 4 bytes of its length, little-endian, then its bytes")
    if len(found) != number:
        raise Refusal(422, f"data of pictures: {len(found):,} of them, and the shape says {number:,}")
    return found
