"""A server of `adjax serve` in a thread, and how to ask it, for tests."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import untrained
import uvicorn
from PIL import Image

from adjax.predict import loading
from adjax.serve import app, bodies
from adjax.serve.state import State

SHAPE, PLACES = (8, 8, 1), (28, 28, 1)
LIMITS = bodies.Limits()


def save_two_classes(tmp_path_factory):
    """The folder of a detector of `SHAPE`."""
    directory = tmp_path_factory.mktemp("run") / "parts" / "detector"
    untrained.two_classes(SHAPE).with_false_positive_rate(0.05).save(directory)
    return directory


def save_with_places(tmp_path_factory):
    """The folder of a detector of `PLACES` that has maps."""
    directory = tmp_path_factory.mktemp("places") / "detector"
    untrained.with_places(PLACES).with_false_positive_rate(0.05).save(directory)
    return directory


@contextmanager
def serving(directory, *, limits=LIMITS, token=None, max_queue=1024, warm=True):
    """(port, state) of a server in a thread."""

    def load():
        return loading.load(directory)

    state = State("parts", load(), load, 4)
    if not warm:
        state.warm = lambda: None
    served = app.make(state, max_batch=4, max_queue=max_queue, threads=2, delay_s=0.0, limits=limits, token=token)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(served, log_level="error", lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            while not server.started or (warm and not state.ready):
                time.sleep(0.01)
            yield listener.getsockname()[1], state
        finally:
            server.should_exit = True
            thread.join()


def ask(port, method, path, body=None, **headers):
    """(code, JSON or bytes, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, json.loads(content) if "json" in found["content-type"] else content, found


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def pictures(number, seed=1, side=8):
    rng = np.random.default_rng(seed)
    return [png(rng.integers(0, 80, (side, side), np.uint8) + np.uint8(100 * (i % 2))) for i in range(number)]


def form(files, boundary="xyz"):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def infer(port, outputs, images):
    request = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": images.shape, "data": images.tolist()}]}
    code, answer, _ = ask(port, "POST", "/v2/models/parts/infer", json.dumps(request | {"outputs": outputs}))
    assert code == 200, answer
    return {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer["outputs"]}
