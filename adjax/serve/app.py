"""The routes of a server."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import Any

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from adjax.data.io import upload
from adjax.data.split import DataError
from adjax.serve import bodies, openinference, rows
from adjax.serve.batching import Batcher, QueueFull, Scored
from adjax.serve.bodies import Limits
from adjax.serve.guard import Guard
from adjax.serve.model import Model
from adjax.serve.refusals import RETRY_S, Refusal, answer, code_of, refused
from adjax.serve.state import State

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page asks nobody but its server."""


class Api:
    """The handlers of all routes."""

    def __init__(self, state: State, limits: Limits):
        """Serves a model.

        Args:
          state: with the model.
          limits: on a request.
        """
        self._state, self._limits = state, limits
        self._page = resources.files("adjax.serve").joinpath("page.html").read_text(encoding="utf-8")

    def routes(self) -> list[Route]:
        """Lists the routes, with the busiest first."""
        model = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        table: list[tuple[str, str, Any]] = [
            ("POST", "/v1/score", self.score),
            *(("POST", f"{path}/infer", self.infer) for path in model),
            ("GET", "/", self.page),
            ("GET", "/healthz", self.alive),
            ("GET", "/readyz", self.ready),
            ("GET", "/metrics", self.metrics),
            ("GET", "/v1/detector", self.detector),
            ("POST", "/v1/reload", self.reload),
            ("GET", "/v2", self.server),
            ("GET", "/v2/health/live", self.alive),
            ("GET", "/v2/health/ready", self.ready),
            *(("GET", path, self.metadata) for path in model),
            *(("GET", f"{path}/ready", self.model_ready) for path in model),
        ]
        return [Route(path, handler, methods=[method]) for method, path, handler in table]

    async def page(self, request: Request) -> Response:
        """The page to drop pictures on."""
        headers = {"Content-Security-Policy": CONTENT_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(self._page, headers=headers)

    async def alive(self, request: Request) -> Response:
        """Whether the process serves at all."""
        return answer({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether it scores: 503 until all batch sizes are compiled."""
        self._ready()
        return answer({"ready": True})

    async def metrics(self, request: Request) -> Response:
        """What is counted, for Prometheus."""
        pending = 0 if self._state.batcher is None else self._state.batcher.pending
        return Response(self._state.metrics.text(pending), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def detector(self, request: Request) -> Response:
        """What is served."""
        return answer(self._about(self._state.model))

    async def score(self, request: Request) -> Response:
        """Scores the pictures of a request: a row for each; 4xx if none can be read."""
        model, drawn = self._ready(), request.query_params.get("map")
        if drawn is not None and drawn not in rows.MAPS:
            raise Refusal(422, f"map={drawn[:20]!r}: must be one of {', '.join(rows.MAPS)}")
        if drawn is not None and model.map_kind is None:
            raise Refusal(422, f"map={drawn}: this detector has no maps, since its scorer has no places")
        files = await bodies.files(request, self._limits)
        answers = await self._scored(model, [file.content for file in files])
        if drawn is not None:
            rows.check_maps(answers)
        each = [await rows.of(model, file, found, drawn) for file, found in zip(files, answers, strict=True)]
        body = {"detector": model.loaded.sha256, "threshold": model.threshold, "images": each}
        failed = [one for one in answers if isinstance(one, DataError)]
        if len(failed) == len(answers):
            return answer(body | {"error": each[0]["error"]}, code_of(failed[0]))
        return answer(body)

    async def reload(self, request: Request) -> Response:
        """Serves what lies where the detector was loaded from."""
        try:
            return answer(self._about(await self._state.reload()))
        except Exception as error:  # whatever is wrong with what lies there, this one goes on serving
            raise Refusal(409, f"not loaded, and the one before goes on: {upload.reason(error)}") from error

    async def server(self, request: Request) -> Response:
        """Metadata of the server."""
        return answer(openinference.SERVER)

    async def metadata(self, request: Request) -> Response:
        """Metadata of the model."""
        return answer(openinference.metadata(self._state.name, self._named(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether the model scores."""
        self._named(request)
        self._ready()
        return answer({"name": self._state.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Answers an inference request, see `openinference`."""
        self._ready()
        model = self._named(request)
        body = await bodies.read(request, self._limits)
        asked = openinference.parse(body, request.headers.get(openinference.HEADER), model, self._limits)
        answers = await self._scored(model, asked.contents)
        for number, one in enumerate(answers):
            if isinstance(one, DataError):
                raise Refusal(code_of(one), f"picture {number}: {one}")
        said = [one.said for one in answers if isinstance(one, Scored)]
        return openinference.respond(asked, said, self._state.name, model)

    def _ready(self) -> Model:
        if not self._state.ready:
            raise Refusal(503, "the detector is still being compiled: come again")
        return self._state.model

    def _named(self, request: Request) -> Model:
        """The model that the path names."""
        name, version = request.path_params["name"], request.path_params.get("version", "")
        own, model = self._state.name, self._state.model
        if name != own or version not in ("", openinference.version(model)):
            there = f"{own!r}, version {openinference.version(model)}"
            raise Refusal(404, f"no model {name[:80]!r} {version[:80]}: this server has {there}")
        return model

    async def _scored(self, model: Model, contents: Sequence[bytes | np.ndarray]) -> list[Scored | DataError]:
        batcher = self._state.batcher
        assert batcher is not None
        try:
            futures = batcher.submit(model, contents)
        except QueueFull:
            raise Refusal(429, f"{batcher.pending:,} pictures are waiting: come again after {RETRY_S} s") from None
        answers: list[Scored | DataError] = []
        for one in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(one, BaseException) and not isinstance(one, DataError):
                raise one
            answers.append(one)
        return answers

    def _about(self, model: Model) -> dict[str, Any]:
        loaded, spec = model.loaded, model.spec
        return {
            "name": self._state.name,
            "sha256": loaded.sha256,
            "made_of": list(spec.names),
            "image_shape": list(spec.image_shape),
            "frame": spec.frame,
            "classes": list(spec.classes),
            "threshold": model.threshold,
            "false_positive_rate": loaded.alpha,
            "calibration_images": len(loaded.detector.calibration_scores),
            "maps": model.map_kind,
        }


def make(
    state: State, *, max_batch: int, max_queue: int, threads: int, delay_s: float, limits: Limits, token: str | None
) -> Guard:
    """Makes the ASGI application.

    Args:
      state: with the model.
      max_batch, max_queue, threads, delay_s: as of `Batcher`.
      limits: on a request.
      token: that clients have to show; None: none.

    Returns:
      The application.
    """

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        state.batcher = batcher = Batcher(
            max_batch=max_batch, max_queue=max_queue, threads=threads, delay_s=delay_s, scored=state.metrics.scored
        )
        warming = asyncio.create_task(_warm(state))
        again: set[asyncio.Task[None]] = set()

        def reload() -> None:
            again.add(task := asyncio.create_task(_reload(state)))
            task.add_done_callback(again.discard)

        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():  # not on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        yield
        await warming
        await asyncio.gather(*again)
        await asyncio.to_thread(batcher.close)

    handlers: dict[Any, Any] = {Refusal: _say, HTTPException: _say, Exception: _fail}
    return Guard(
        Starlette(routes=Api(state, limits).routes(), lifespan=life, exception_handlers=handlers), state, token
    )


async def _say(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return refused(error.status_code, str(error.detail))
    assert isinstance(error, Refusal)
    return refused(error.code, error.why)


async def _fail(request: Request, error: Exception) -> Response:
    return refused(500, f"{type(error).__name__}: {error}. This was not foreseen; the server's log says where")


async def _warm(state: State) -> None:
    try:
        await asyncio.to_thread(state.warm)
    except Exception as error:  # the command says it, and ends the server
        state.failure = error
        signal.raise_signal(signal.SIGTERM)


async def _reload(state: State) -> None:
    with suppress(Exception):  # counted; the one before goes on serving
        await state.reload()
