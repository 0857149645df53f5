"""What stands before every route: the token, and the clock."""

from __future__ import annotations

import hmac
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adjax.serve.refusals import refused
from adjax.serve.state import State

OPEN = {"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""Without a token: the page, which holds nothing, and what a load balancer asks."""


class Guard:
    """An ASGI application round another."""

    def __init__(self, app: ASGIApp, state: State, token: str | None):
        """Stands before `app`.

        Args:
          app: to guard.
          state: whose metrics count.
          token: that clients have to show as `Authorization: Bearer TOKEN`; None: none.
        """
        self._app, self._state = app, state
        self._wanted = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            if self._wanted is not None and scope["path"] not in OPEN and not self._shown(scope):
                why = "no token, or another one: send Authorization: Bearer TOKEN"
                await refused(401, why)(scope, receive, counted)
            else:
                await self._app(scope, receive, counted)
        finally:
            route = _label(scope)
            self._state.metrics.answered(route, code, time.perf_counter() - began)

    def _shown(self, scope: Scope) -> bool:
        shown = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        return self._wanted is not None and hmac.compare_digest(shown, self._wanted)


def _label(scope: Scope) -> str:
    """What a request is counted as: one of few, whatever clients ask for."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return "other"
    return f"/v2/{endpoint.__name__}" if scope.get("path_params") else scope["path"]
