"""Bodies of requests to picture files: one raw, many as a form, or base64 in JSON; bounded before they are parsed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import Any, NamedTuple

from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from adjax.serve.refusals import Refusal

_RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Whatever a client calls a file that it sends as it is: the second is curl's word for `--data-binary`."""


class Limits(NamedTuple):
    """Limits on a request.

    Attributes:
      max_bytes: of its body.
      max_pictures: in it.
      read_s: seconds for its body to arrive.
    """

    max_bytes: int = 32 * 2**20
    max_pictures: int = 256
    read_s: float = 30.0


class File(NamedTuple):
    """A picture file of a request."""

    name: str
    content: bytes


async def read(request: Request, limits: Limits) -> bytes:
    """Reads the body of a request.

    Args:
      request: to read.
      limits: on it.

    Returns:
      The body.

    Raises:
      Refusal: too large, too slow, compressed, or the client has gone.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "Content-Encoding: must be identity; send pictures as they are, they are compressed already")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limits.max_bytes:
        raise _too_large(limits)
    parts, total = [], 0
    try:
        async with asyncio.timeout(limits.read_s):
            async for part in request.stream():
                total += len(part)
                if total > limits.max_bytes:
                    raise _too_large(limits)
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {limits.read_s:g} s") from None
    except ClientDisconnect:
        raise Refusal(499, "the client has gone") from None
    return b"".join(parts)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"the body has more than {limits.max_bytes:,} bytes: send fewer or smaller pictures a request")


def _too_many(pictures: int, limits: Limits) -> Refusal:
    return Refusal(413, f"{pictures:,} pictures: at most {limits.max_pictures:,} a request")


async def files(request: Request, limits: Limits) -> list[File]:
    """Reads the picture files of a request, by its Content-Type.

    Args:
      request: to read.
      limits: on it.

    Returns:
      At least one file.

    Raises:
      Refusal: of `read`; no file, too many, or another kind of body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read(request, limits)
    if kind == "multipart/form-data":
        found = await _of_form(request, body, limits)
    elif kind == "application/json":
        found = _of_json(body)
    elif kind.startswith("image/") or kind in _RAW:
        found = [File("", body)]
    else:
        raise Refusal(
            415,
            f"Content-Type {kind[:80]!r}: must be image/*, application/octet-stream, multipart/form-data or "
            "application/json",
        )
    if not found:
        raise Refusal(422, "no picture in the request: send at least one")
    if len(found) > limits.max_pictures:
        raise _too_many(len(found), limits)
    return found


async def _of_form(request: Request, body: bytes, limits: Limits) -> list[File]:
    async def again() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    bounded = {key: value for key, value in request.scope.items() if key != "app"}
    try:
        async with Request(bounded, again).form(max_files=limits.max_pictures + 1, max_fields=100) as form:
            parts = [value for _, value in form.multi_items() if not isinstance(value, str)]
            return [File(part.filename or "", await part.read()) for part in parts]
    except (MultiPartException, KeyError, ValueError) as error:
        if body.count(b"filename=") > limits.max_pictures:  # the parser stops at the first too many
            raise _too_many(body.count(b"filename="), limits) from error
        raise Refusal(422, f"the form can't be read: {getattr(error, 'message', error)}") from error


def _of_json(body: bytes) -> list[File]:
    shape = 'must be {"images": [BASE64 or {"name": NAME, "data": BASE64}, …]}'
    try:
        given = json.loads(body)
        images = given["images"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal(422, f"the JSON can't be read: {shape}") from error
    if not isinstance(images, list):
        raise Refusal(422, f"images is no list: {shape}")
    found = []
    for number, image in enumerate(images):
        name, data = (image.get("name", ""), image.get("data")) if isinstance(image, dict) else ("", image)
        if not isinstance(name, str) or not isinstance(data, str):
            raise Refusal(422, f"image {number}: {shape}")
        try:
            found.append(File(name, base64.b64decode(data, validate=True)))
        except (binascii.Error, ValueError) as error:
            raise Refusal(422, f"image {number}: not base64 ({error})") from error
    return found
