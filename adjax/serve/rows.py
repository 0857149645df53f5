"""Rows of answers: the columns of `adjax.predict`, and maps."""

from __future__ import annotations

import asyncio
import base64
import io
import math
from collections.abc import Sequence
from typing import Any

from adjax.data.io import upload
from adjax.data.split import DataError
from adjax.predict import regions
from adjax.predict.stream import Prediction
from adjax.serve.batching import Scored
from adjax.serve.bodies import File
from adjax.serve.model import Model
from adjax.serve.refusals import Refusal

MAPS = ("png", "array")
"""Kinds of maps: the overlay as a PNG file; the scores of all pixels, float32, little-endian."""
MOST_MAP_PIXELS = 64 * 2**20
"""Pixels of all maps of an answer, which is made in memory: 358 MB of base64 as arrays."""


def check_maps(answers: Sequence[Scored | DataError]) -> None:
    """Refuses maps that are too large together, before any is drawn.

    Args:
      answers: what came of each picture of a request.

    Raises:
      Refusal: their maps have more than `MOST_MAP_PIXELS`.
    """
    headers = [one.header for one in answers if isinstance(one, Scored) and one.header is not None]
    total = sum(math.prod(regions.map_size((header.height, header.width))) for header in headers)
    if total > MOST_MAP_PIXELS:
        raise Refusal(
            413, f"maps of {total:,} pixels: at most {MOST_MAP_PIXELS:,} a request; send fewer pictures in each"
        )


async def of(model: Model, file: File, found: Scored | DataError, drawn: str | None) -> dict[str, Any]:
    """Makes the row of a picture; its boxes and map are drawn in a thread.

    Args:
      model: that scored.
      file: the picture.
      found: what came of it.
      drawn: one of `MAPS`; None: no map is asked for.

    Returns:
      The columns of a table of predictions, with the client's `name` for `path`; and `map` if asked for.
    """
    if isinstance(found, DataError):
        return _json(Prediction(file.name, "error", upload.reason(found)))
    header, said = found
    assert header is not None  # it came as a file
    if "places" not in said or (drawn is None and not said["anomalous"]):
        return _json(model.row(file.name, header, said))
    return await asyncio.to_thread(_with_map, model, file, header, found, drawn)


def _with_map(model: Model, file: File, header: upload.Header, found: Scored, drawn: str | None) -> dict[str, Any]:
    from PIL import Image

    row = _json(model.row(file.name, header, found.said))
    if drawn is None:
        return row
    size = header.height, header.width
    scores, painted = regions.drawn(io.BytesIO(file.content), found.said["places"], model.level, size, model.spec)
    if drawn == "array":
        data = base64.b64encode(scores.astype("<f4").tobytes()).decode()
        return row | {"map": {"dtype": "<f4", "shape": [*scores.shape], "data": data}}
    png = io.BytesIO()
    Image.fromarray(painted).save(png, "png")
    return row | {"map": base64.b64encode(png.getvalue()).decode()}


def _json(row: Prediction) -> dict[str, Any]:
    values = row._asdict()
    name = values.pop("path").encode("utf-8", "backslashreplace").decode()  # JSON may hold half a character
    return {"name": name, **values}
