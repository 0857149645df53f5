"""Refusals, each with the code of its kind: a client's mistake is never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from adjax.data.io.upload import NotAPicture, TooLarge, reason

RETRY_S = 1
"""When to come again, if the queue is full or the detector is still compiled."""


class Refusal(Exception):
    """A request that is not served.

    Attributes:
      code: of the answer.
      why: a sentence for the client.
    """

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code, self.why = code, why


def code_of(error: Exception) -> int:
    """Chooses the code for a picture that can't be read: 413 too many pixels, 415 no picture, else 422."""
    return 413 if isinstance(error, TooLarge) else 415 if isinstance(error, NotAPicture) else 422


def answer(body: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Makes an answer of JSON.

    Args:
      body: to send.
      code: of the answer.
      headers: more of them.

    Returns:
      The response.
    """
    content = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    return Response(content, code, headers=dict(headers or {}), media_type="application/json")


def refused(code: int, why: str) -> Response:
    """Makes the answer of a refusal.

    Args:
      code: of the answer.
      why: a sentence.

    Returns:
      The response: {"error": why}.
    """
    later, ask = {"Retry-After": str(RETRY_S)}, {"WWW-Authenticate": "Bearer"}
    headers = {401: ask, 429: later, 503: later}.get(code)
    return answer({"error": reason(ValueError(why))}, code, headers)
