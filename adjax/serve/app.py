"""The routes of a server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from adjax import distribution
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
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "byte"}}},
                }
            },
        },
    }
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
    async def life(app: FastAPI) -> AsyncIterator[None]:
        state.batcher = batcher = Batcher(
            max_batch=max_batch,
            max_queue=max_queue,
            threads=threads,
            delay_s=delay_s,
            scored=state.metrics.scored,
        )
        warming = asyncio.create_task(_warm(state))
        again: set[asyncio.Task[None]] = set()

        def reload() -> None:
            again.add(task := asyncio.create_task(_reload(state)))
            task.add_done_callback(again.discard)

        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):  # no such signal, or thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        yield
        await warming
        await asyncio.gather(*again)
        await asyncio.to_thread(batcher.close)

    app = FastAPI(title="adjax", version=distribution.VERSION, lifespan=life, docs_url=None, redoc_url=None)

    @app.exception_handler(Refusal)
    async def say(request: Request, error: Refusal) -> Response:
        return refused(error.code, error.why)

    @app.exception_handler(HTTPException)
    async def say_otherwise(request: Request, error: HTTPException) -> Response:
        return refused(error.status_code, str(error.detail))

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        text = resources.files("adjax.serve").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": CONTENT_POLICY, "Cache-Control": "no-store"})

    @app.get("/healthz")
    @app.get("/v2/health/live", include_in_schema=False)
    async def alive() -> Response:
        return answer({"live": True})

    @app.get("/readyz")
    @app.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> Response:
        _ready(state)
        return answer({"ready": True})

    @app.get("/metrics")
    async def metrics() -> Response:
        pending = 0 if state.batcher is None else state.batcher.pending
        return Response(state.metrics.text(pending), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/v1/detector")
    async def detector() -> Response:
        return answer(_about(state.name, state.model))

    @app.post("/v1/score", openapi_extra=_BODY)
    async def score(request: Request) -> Response:
        model = _ready(state)
        drawn = request.query_params.get("map")
        if drawn is not None and drawn not in rows.MAPS:
            raise Refusal(422, f"map={drawn[:20]!r}: must be one of {', '.join(rows.MAPS)}")
        if drawn is not None and model.map_kind is None:
            raise Refusal(422, f"map={drawn}: this detector has no maps, since its scorer has no places")
        files = await bodies.files(request, limits)
        answers = await _scored(state, model, [file.content for file in files])
        each = [await rows.of(model, file, found, drawn) for file, found in zip(files, answers, strict=True)]
        body = {"detector": model.loaded.sha256, "threshold": _threshold(model), "images": each}
        failed = [one for one in answers if isinstance(one, DataError)]
        if len(failed) == len(answers):
            return answer(body | {"error": each[0]["error"]}, code_of(failed[0]))
        return answer(body)

    @app.post("/v1/reload")
    async def reload() -> Response:
        try:
            return answer(_about(state.name, await state.reload()))
        except Exception as error:  # whatever is wrong with what lies there, this one goes on serving
            raise Refusal(409, f"not loaded, and the one before goes on: {upload.reason(error)}") from error

    @app.get("/v2")
    async def server() -> Response:
        return answer(openinference.SERVER)

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str = "") -> Response:
        return answer(openinference.metadata(state.name, _named(state, name, version)))

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str = "") -> Response:
        _named(state, name, version)
        _ready(state)
        return answer({"name": name, "ready": True})

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, name: str, version: str = "") -> Response:
        _ready(state)
        model = _named(state, name, version)
        body = await bodies.read(request, limits)
        asked = openinference.parse(body, request.headers.get(openinference.HEADER), model, limits)
        answers = await _scored(state, model, asked.contents)
        for number, one in enumerate(answers):
            if isinstance(one, DataError):
                raise Refusal(code_of(one), f"picture {number}: {one}")
        said = [one.said for one in answers if isinstance(one, Scored)]
        return openinference.respond(asked, said, state.name, model)

    return Guard(app, state, token)


async def _warm(state: State) -> None:
    try:
        await asyncio.to_thread(state.warm)
    except Exception as error:  # the command says it, and ends the server
        state.failure = error
        signal.raise_signal(signal.SIGTERM)


async def _reload(state: State) -> None:
    with suppress(Exception):  # counted; the one before goes on serving
        await state.reload()


def _ready(state: State) -> Model:
    if not state.ready:
        raise Refusal(503, "the detector is still being compiled: come again")
    return state.model


def _named(state: State, name: str, version: str) -> Model:
    model = state.model
    if name != state.name or version not in ("", openinference.version(model)):
        own = f"{state.name!r}, version {openinference.version(model)}"
        raise Refusal(404, f"no model {name[:80]!r} {version[:80]}: this server has {own}")
    return model


async def _scored(state: State, model: Model, contents: Any) -> list[Scored | DataError]:
    assert state.batcher is not None
    try:
        futures = state.batcher.submit(model, contents)
    except QueueFull:
        raise Refusal(429, f"{state.batcher.pending:,} pictures are waiting: come again after {RETRY_S} s") from None
    answers = await asyncio.gather(*futures, return_exceptions=True)
    for one in answers:
        if isinstance(one, BaseException) and not isinstance(one, DataError):
            raise one
    return answers  # type: ignore[return-value]


def _threshold(model: Model) -> float:
    return float(model.loaded.detector.threshold)


def _about(name: str, model: Model) -> dict[str, Any]:
    loaded, spec = model.loaded, model.spec
    return {
        "name": name,
        "sha256": loaded.sha256,
        "made_of": list(spec.names),
        "image_shape": list(spec.image_shape),
        "frame": spec.frame,
        "classes": list(spec.classes),
        "threshold": _threshold(model),
        "false_positive_rate": loaded.alpha,
        "calibration_images": len(loaded.detector.calibration_scores),
        "maps": model.map_kind,
    }
