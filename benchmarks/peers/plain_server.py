"""A detector behind FastAPI without `adjax serve`, one picture a request.

    python -m benchmarks.peers.plain_server {plain,lean} DETECTOR PORT

`plain` is what one writes first, with adjax's public functions: a handler that FastAPI runs in its threads, and
`detector.score`. `lean` is as fast as it gets without batches: decoded and scored in the event loop, by a program
compiled for one image.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import uvicorn
from fastapi import Body, FastAPI, Request

import adjax
from adjax import process
from adjax.data.io import upload
from adjax.predict.batch import predict_batch


def plain(app: FastAPI, detector: adjax.Detector) -> None:
    """Adds the handler that one writes first."""

    @app.post("/v1/score")
    def score(body: bytes = Body(media_type="image/png")) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(body)
            file.flush()
            images = adjax.read_images([file.name], detector)
        return {"score": float(detector.score(images)[0]), "p_value": float(detector.p_value(images)[0])}


def lean(app: FastAPI, detector: adjax.Detector) -> None:
    """Adds the fastest handler without batches."""
    spec, state = detector.spec, jax.device_put(detector)

    @app.post("/v1/score")
    async def score(request: Request) -> dict[str, Any]:
        picture = upload.read(io.BytesIO(await request.body()), spec.image_shape, spec.frame)
        said = jax.device_get(predict_batch(state, picture.pixels[None]))
        return {name: float(said[name][0]) for name in ("score", "p_value", "anomalous")}

    predict_batch(state, np.zeros((1, *spec.image_shape), np.uint8))


def main() -> None:
    """Serves until it is killed."""
    process.prepare()
    app = FastAPI()
    {"plain": plain, "lean": lean}[sys.argv[1]](app, adjax.load(Path(sys.argv[2])))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
