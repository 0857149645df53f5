"""`adjax serve`: a server on loopback says what `predict` says, refuses what is wrong, and loses nothing."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import http.client
import io
import json
import shutil
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import untrained
from picture_files import noise
from PIL import Image

from adjax import __main__, manifest, serialization, thresholds
from adjax.manifest import ArtefactError
from adjax.predict import loading
from adjax.predict.batch import predict_batch
from adjax.serve import app, bodies
from adjax.serve.batching import Batcher, QueueFull
from adjax.serve.model import Model
from adjax.serve.state import State
from adjax.spec import Spec

uvicorn = pytest.importorskip("uvicorn")
SHAPE, PLACES = (8, 8, 1), (28, 28, 1)
TOKEN = "a-token"


pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "parts" / "detector"
    untrained.two_classes(SHAPE).with_false_positive_rate(0.05).save(directory)
    return directory


@pytest.fixture(scope="module")
def with_places(tmp_path_factory):
    images = np.random.default_rng(0).integers(90, 130, (60, *PLACES), np.uint8)
    spec = Spec("gmm", "lenet5", "patchwise", PLACES, ("normal",), {"feature": "pool1"}, frame="whole")
    directory = tmp_path_factory.mktemp("places") / "detector"
    detector = untrained.detector(spec, images[:40], np.zeros(40, np.int32), images[40:])
    detector.with_false_positive_rate(0.05).save(directory)
    return directory


@contextmanager
def serving(directory, *, limits=bodies.Limits(), token=None, max_queue=1024, warm=True):  # noqa: B008
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


@pytest.fixture(scope="module")
def server(saved):
    with serving(saved) as (port, _):
        yield port


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


def test_a_row_is_that_of_predict(server, saved, tmp_path):
    """Raw, as a form and as JSON; a picture alone, many at once."""
    names = [f"{i:02}.png" for i in range(6)]
    contents = [*pictures(5), b"no picture"]
    (tmp_path / "photos").mkdir()
    for name, content in zip(names, contents, strict=True):
        (tmp_path / "photos" / name).write_bytes(content)
    out = tmp_path / "s.jsonl"
    assert __main__.main(["predict", str(saved), str(tmp_path / "photos"), "--out", str(out), "--no-report"]) == 0
    table = [json.loads(line) for line in out.read_text().splitlines()]

    body, kind = form(zip(names, contents, strict=True))
    code, many, _ = ask(server, "POST", "/v1/score", body, Content_Type=kind)
    coded = [{"name": n, "data": base64.b64encode(c).decode()} for n, c in zip(names, contents, strict=True)]
    as_json = ask(server, "POST", "/v1/score", json.dumps({"images": coded}), Content_Type="application/json")
    raw = [ask(server, "POST", "/v1/score", content, Content_Type="image/png")[1] for content in contents]
    assert code == 200 == as_json[0]
    assert [row["name"] for row in as_json[1]["images"]] == names
    assert many["detector"] == table[0]["detector"]
    assert many["threshold"] == table[0]["threshold"]
    for row, wanted, alone, coded in zip(many["images"], table, raw, as_json[1]["images"], strict=True):
        columns = {key: value for key, value in wanted.items() if key not in ("path", "threshold", "detector")}
        # batches of other sizes are rounded otherwise
        score = None if wanted["score"] is None else pytest.approx(wanted["score"], rel=1e-5)
        same = columns | {"name": wanted["path"], "score": score}
        assert row == same
        assert coded == same
        assert alone["images"][0] == same | {"name": ""}


@pytest.mark.parametrize(
    ("body", "kind", "code", "why"),
    [
        (b"", "image/png", 415, "the file is empty"),
        (b"no picture", "image/png", 415, "by its content no PNG"),
        (png(noise(8, 8))[:60], "image/png", 422, "damaged"),
        (b"x", "text/plain", 415, "Content-Type 'text/plain': must be image/"),
        (b"{", "application/json", 422, "the JSON can't be read"),
        (b'{"images": 1}', "application/json", 422, "images is no list"),
        (b'{"images": [1]}', "application/json", 422, "image 0: must be"),
        (b'{"images": ["?"]}', "application/json", 422, "image 0: not base64"),
        (b'{"images": []}', "application/json", 422, "no picture in the request"),
        (json.dumps({"images": [""] * 4}), "application/json", 413, "4 pictures: at most 3"),
        (b"nothing", "multipart/form-data", 422, "the form can't be read"),
        (b"nothing", "multipart/form-data; boundary=x", 422, ""),
        (bytes(3000), "image/png", 413, "more than 2,000 bytes"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(limited, body, kind, code, why):
    found, answer, _ = ask(limited, "POST", "/v1/score", body, Content_Type=kind)
    assert found == code
    assert why in answer["error"]


@pytest.fixture(scope="module")
def limited(saved):
    with serving(saved, limits=bodies.Limits(max_bytes=2000, max_pictures=3, read_s=0.5)) as (port, _):
        yield port


def test_a_picture_that_claims_too_many_pixels_is_too_large(limited):
    file = io.BytesIO()
    Image.new("1", (5000, 5000)).save(file, "png", optimize=True)
    head = file.getvalue()[:1000]  # the header is enough
    code, answer, _ = ask(limited, "POST", "/v1/score", head, Content_Type="image/png")
    assert code == 413
    assert "claims 5000×5000 pixels, more than 16,777,216" in answer["error"]


def test_a_body_that_does_not_end_is_refused_and_costs_others_nothing(limited):
    """Its length told and not sent; not told and too large; compressed."""
    with socket.create_connection(("127.0.0.1", limited)) as slow:
        slow.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert ask(limited, "POST", "/v1/score", pictures(1)[0])[0] == 200
        slow.settimeout(30)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", limited)) as gone:
        gone.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    chunks = (bytes(500) for _ in range(10))
    assert ask(limited, "POST", "/v1/score", chunks, Content_Type="image/png")[0] == 413
    code, answer, _ = ask(limited, "POST", "/v1/score", b"x", Content_Encoding="gzip")
    assert code == 415
    assert "Content-Encoding: must be identity" in answer["error"]
    assert ask(limited, "POST", "/v1/score", pictures(1)[0])[0] == 200


def test_a_name_that_is_half_a_character_comes_back_escaped(server):
    image = {"name": "\ud800.png", "data": base64.b64encode(pictures(1)[0]).decode()}
    code, answer, _ = ask(server, "POST", "/v1/score", json.dumps({"images": [image]}), Content_Type="application/json")
    assert code == 200
    assert answer["images"][0]["name"] == "\\ud800.png"


def test_curl_sends_a_file_under_its_own_kind(server):
    answer = ask(server, "POST", "/v1/score", pictures(1)[0], Content_Type="application/x-www-form-urlencoded")
    assert answer[0] == 200
    assert answer[1]["images"][0]["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/parts/ready", 200),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/parts/versions/1", 404),
        ("GET", "/v1/score", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_routes(server, method, path, code):
    found, answer, _ = ask(server, method, path)
    assert found == code
    assert ("error" in answer) == (code >= 400)


def test_the_page_may_ask_its_server_alone(server):
    code, text, headers = ask(server, "GET", "/")
    assert code == 200
    assert b"<!doctype html>" in text
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"http://" not in text
    assert b"https://" not in text


def test_the_detector_tells_of_itself(server, saved):
    code, about, _ = ask(server, "GET", "/v1/detector")
    loaded = loading.load(saved)
    assert code == 200
    assert about["sha256"] == loaded.sha256
    assert about["image_shape"] == [*SHAPE]
    assert about["name"] == "parts"
    assert about["calibration_images"] == 40
    assert about["maps"] is None
    assert np.float32(about["threshold"]) == loaded.detector.threshold


def test_maps_are_those_of_predict(with_places, tmp_path):
    import tifffile

    image = np.random.default_rng(7).integers(90, 130, PLACES[:2], np.uint8)
    image[4:12, 4:12] = 255
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.png").write_bytes(png(image))
    command = ["predict", with_places, tmp_path / "photos", "--out", tmp_path / "s.jsonl", "--maps", tmp_path / "maps"]
    assert __main__.main([*map(str, command), "--no-report"]) == 0
    wanted = json.loads((tmp_path / "s.jsonl").read_text())
    with serving(with_places) as (port, _):
        plain = ask(port, "POST", "/v1/score", png(image))[1]["images"][0]
        array = ask(port, "POST", "/v1/score?map=array", png(image))[1]["images"][0]["map"]
        painted = ask(port, "POST", "/v1/score?map=png", png(image))[1]["images"][0]["map"]
        code, answer, _ = ask(port, "POST", "/v1/score?map=svg", png(image))
        assert code == 422
        assert "must be one of png, array" in answer["error"]
        said = infer(port, [{"name": "places"}], image[None, ..., None])
    assert plain["boxes"]
    assert plain["boxes"] == wanted["boxes"]
    assert "map" not in plain
    scores = np.frombuffer(base64.b64decode(array["data"]), array["dtype"]).reshape(array["shape"])
    np.testing.assert_allclose(scores, tifffile.imread(tmp_path / "maps" / "bad.png.map.tif"), rtol=1e-5)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(painted))), int)
    overlay = np.asarray(Image.open(tmp_path / "maps" / "bad.png.overlay.png"), int)
    assert np.abs(shown - overlay).max() <= 1
    assert said["places"].ndim == 3
    assert said["places"].max() == pytest.approx(plain["score"], rel=1e-5)


def test_a_map_that_the_detector_has_not_is_refused(server):
    code, answer, _ = ask(server, "POST", "/v1/score?map=png", pictures(1)[0])
    assert code == 422
    assert "has no maps" in answer["error"]


# --- Open Inference Protocol ---


def infer(port, outputs, images):
    request = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": images.shape, "data": images.tolist()}]}
    code, answer, _ = ask(port, "POST", "/v2/models/parts/infer", json.dumps(request | {"outputs": outputs}))
    assert code == 200, answer
    return {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer["outputs"]}


def test_inference_says_what_the_detector_says(server, saved):
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)
    said, wanted = infer(server, [], images), predict_batch(loading.load(saved).detector, images)
    assert set(said) == {"score", "p_value", "probability", "anomalous", "nearest"}
    np.testing.assert_allclose(said["score"].astype(float), wanted["score"], rtol=1e-5)
    np.testing.assert_array_equal(said["anomalous"], wanted["anomalous"])
    np.testing.assert_array_equal(said["nearest"], wanted["nearest"])
    assert set(said["probability"]) == {None}, "JSON has no NaN"
    assert list(infer(server, [{"name": "score"}], images)) == ["score"]


def test_binary_tensors_go_both_ways(server):
    contents = pictures(3)
    raw = b"".join(len(content).to_bytes(4, "little") + content for content in contents)
    head = {
        "id": "mine",
        "inputs": [
            {
                "name": "pictures",
                "datatype": "BYTES",
                "shape": [3],
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "nearest"}],
    }
    text = json.dumps(head).encode()
    code, body, headers = ask(
        server, "POST", "/v2/models/parts/infer", text + raw, Inference_Header_Content_Length=str(len(text))
    )
    length = int(headers["inference-header-content-length"])
    said = json.loads(body[:length])
    assert code == 200
    assert said["id"] == "mine"
    assert said["model_name"] == "parts"
    assert [one.get("parameters") for one in said["outputs"]] == [{"binary_data_size": 12}, None]
    rows = [ask(server, "POST", "/v1/score", content)[1]["images"][0] for content in contents]
    np.testing.assert_allclose(np.frombuffer(body[length:], "<f4"), [row["score"] for row in rows], rtol=1e-5)
    assert ["ab"[one] for one in said["outputs"][1]["data"]] == [row["nearest_class"] for row in rows]


IMAGES = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}


@pytest.mark.parametrize(
    ("change", "header", "code", "why"),
    [
        ({"shape": [1, 9, 8, 1]}, None, 422, "images of 9×8×1: the detector takes 8×8×1"),
        ({"shape": [1, 8, 8, 3]}, None, 422, "images of 8×8×3"),
        ({"shape": [2]}, None, 422, "the detector takes"),
        ({"shape": []}, None, 422, "must begin with the number of pictures"),
        ({"shape": [0, 8, 8, 1], "data": []}, None, 422, "at least 1"),
        ({"shape": [10**9, 8, 8, 1]}, None, 413, "1,000,000,000 pictures: at most 3"),
        ({"data": [0] * 63}, None, 422, "63 numbers, and shape"),
        ({"data": [256] * 64}, None, 422, "whole numbers 0 … 255"),
        ({"data": [0.5] * 64}, None, 422, "whole numbers 0 … 255"),
        ({"data": [[0], [0, 0]]}, None, 422, "whole numbers 0 … 255"),
        ({"datatype": "FP32"}, None, 422, "must be images UINT8"),
        ({"name": "pictures", "datatype": "BYTES", "shape": [1], "data": ["?"]}, None, 422, "base64"),
        (
            {"name": "pictures", "datatype": "BYTES", "shape": [1], "data": [""]},
            None,
            415,
            "picture 0: the file is empty",
        ),
        ({"parameters": {"binary_data_size": 5}}, None, 422, "binary_data_size is 5, and 0 bytes"),
        ({}, "99999", 422, "Inference-Header-Content-Length: must be between"),
        ({}, "x", 422, "Inference-Header-Content-Length"),
        ({"name": None, "shape": None}, None, 422, "no inference request"),
        ({"shape": [1, 8, 8, float("inf")]}, None, 422, "no inference request"),
    ],
)
def test_what_is_wrong_with_an_inference_is_said(limited, change, header, code, why):
    headers = {} if header is None else {"Inference_Header_Content_Length": header}
    body = json.dumps({"inputs": [IMAGES | change]})
    found, answer, _ = ask(limited, "POST", "/v2/models/parts/infer", body, **headers)
    assert found == code
    assert why in answer["error"]


def test_unknown_outputs_and_bodies_that_are_none_are_refused(limited):
    path, known = "/v2/models/parts/infer", "must be one of score, p_value, probability, anomalous, nearest"
    code, answer, _ = ask(limited, "POST", path, json.dumps({"inputs": [IMAGES], "outputs": [{"name": "places"}]}))
    assert code == 422
    assert known in answer["error"]
    code, answer, _ = ask(limited, "POST", path, json.dumps({"inputs": [IMAGES], "id": {"a": float("inf")}}))
    assert code == 422
    assert "id must be a text" in answer["error"]
    for body in (b"", b"[]", b"{}", json.dumps({"inputs": [IMAGES, IMAGES]}), b"\xff" * 100):
        assert ask(limited, "POST", path, body)[0] == 422


# --- token, readiness, queue ---


def test_nothing_but_health_and_the_page_goes_without_the_token(saved):
    with serving(saved, token=TOKEN) as (port, _):
        for path, code in {"/": 200, "/healthz": 200, "/readyz": 200, "/metrics": 401, "/v1/detector": 401}.items():
            assert ask(port, "GET", path)[0] == code
        assert ask(port, "POST", "/v1/reload")[0] == 401
        for shown in (f"Bearer {TOKEN}x", TOKEN, "Bearer ", f"bearer {TOKEN}"):
            code, answer, headers = ask(port, "POST", "/v1/score", pictures(1)[0], Authorization=shown)
            assert code == 401
            assert "Authorization: Bearer TOKEN" in answer["error"]
            assert headers["www-authenticate"] == "Bearer"
        assert ask(port, "POST", "/v1/score", pictures(1)[0], Authorization=f"Bearer {TOKEN}")[0] == 200


def test_nothing_is_scored_before_the_detector_is_compiled(saved):
    with serving(saved, warm=False) as (port, _):
        assert ask(port, "GET", "/healthz")[0] == 200
        for method, path in (("GET", "/readyz"), ("POST", "/v1/score"), ("GET", "/v2/models/parts/ready")):
            code, _, headers = ask(port, method, path, b"x")
            assert code == 503
            assert headers["retry-after"] == "1"


def test_a_full_queue_is_said_and_empties(saved):
    with serving(saved, max_queue=2) as (port, state):
        held, model = threading.Event(), state.model
        score = model.score
        model.score = lambda images: held.wait() and score(images)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            taken = [pool.submit(ask, port, "POST", "/v1/score", content) for content in pictures(2)]
            while state.batcher.pending < 2:
                time.sleep(0.01)
            code, answer, headers = ask(port, "POST", "/v1/score", pictures(1)[0])
            assert code == 429
            assert headers["retry-after"] == "1"
            assert "2 pictures are waiting" in answer["error"]
            held.set()
            assert [one.result()[0] for one in taken] == [200, 200]
        assert ask(port, "POST", "/v1/score", pictures(1)[0])[0] == 200


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(saved):
    with serving(saved, max_queue=2) as (port, _):
        body, kind = form([(f"{i}.png", content) for i, content in enumerate(pictures(9))])
        code, answer, _ = ask(port, "POST", "/v1/score", body, Content_Type=kind)
        assert code == 200
        assert [row["status"] for row in answer["images"]] == ["ok"] * 9


# --- batches ---


def test_no_size_of_batch_is_compiled_while_serving(saved):
    loaded = loading.load(saved)  # with an interval, as no other test of this process
    interval = thresholds.threshold_interval(loaded.detector.calibration_scores, 0.05)
    made, before = Model(loaded._replace(interval=interval), 3), predict_batch._cache_size()
    assert list(made.warm()) == [1, 2, 4]
    assert predict_batch._cache_size() == before + 3
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)
    scores = [[one["score"] for one in made.score(images[:n])] for n in (1, 2, 3, 4)]
    assert predict_batch._cache_size() == before + 3
    for n, some in enumerate(scores, 1):
        np.testing.assert_allclose(some, scores[-1][:n], rtol=1e-5)


class Slow:
    """A model whose pictures are numbers, and which remembers its batches."""

    def __init__(self, name):
        self.name, self.batches, self.held = name, [], threading.Event()

    def score(self, images):
        self.held.wait()
        self.batches.append([int(image[0]) for image in images])
        return [{"score": (self.name, int(image[0]))} for image in images]


def numbers(*values):
    return [np.array([value]) for value in values]


def test_what_comes_while_a_batch_is_scored_is_the_next_batch_and_models_are_not_mixed():
    async def run():
        one, two = Slow("one"), Slow("two")
        batcher = Batcher(max_batch=3, max_queue=100, threads=1)
        first = batcher.submit(one, numbers(0))
        while batcher._ready:
            await asyncio.sleep(0.001)
        rest = [*batcher.submit(one, numbers(1, 2, 3, 4)), *batcher.submit(two, numbers(5, 6))]
        one.held.set(), two.held.set()
        said = [(await future).said["score"] for future in [*first, *rest]]
        await asyncio.to_thread(batcher.close)
        assert one.batches == [[0], [1, 2, 3], [4]]
        assert two.batches == [[5, 6]]
        assert said == [("one", k) for k in range(5)] + [("two", 5), ("two", 6)]
        assert batcher.pending == 0
        with pytest.raises(QueueFull):
            batcher.submit(one, numbers(7))

    asyncio.run(run())


def test_a_batch_waits_as_long_as_it_may_and_no_longer_when_full():
    async def run():
        model = Slow("one")
        model.held.set()
        batcher = Batcher(max_batch=2, max_queue=100, threads=1, delay_s=0.2)
        began = time.monotonic()
        first = batcher.submit(model, numbers(0))
        await asyncio.sleep(0.05)
        await asyncio.gather(*first, *batcher.submit(model, numbers(1)))
        assert time.monotonic() - began < 0.19
        await asyncio.gather(*batcher.submit(model, numbers(2)))
        await asyncio.to_thread(batcher.close)
        assert model.batches == [[0, 1], [2]]

    asyncio.run(run())


def test_a_batch_that_fails_is_an_error_of_its_own():
    async def run():
        model = Slow("one")
        model.held.set()
        score = model.score
        model.score = lambda images: score(images) if images[0][0] else 1 / 0
        batcher = Batcher(max_batch=1, max_queue=100, threads=1)
        bad, good = batcher.submit(model, numbers(0, 1))
        with pytest.raises(ZeroDivisionError):
            await bad
        assert (await good).said["score"] == ("one", 1)
        await asyncio.to_thread(batcher.close)

    asyncio.run(run())


# --- another detector ---


def test_another_detector_is_served_without_a_lost_request(saved, tmp_path):
    place = tmp_path / "detector"
    shutil.copytree(saved, place)
    loaded = loading.load(saved)
    with serving(place) as (port, _state), concurrent.futures.ThreadPoolExecutor(4) as pool:
        stop, asked = threading.Event(), pictures(1)[0]

        def client():
            seen = []
            while not stop.is_set():
                code, answer, _ = ask(port, "POST", "/v1/score", asked)
                assert code == 200
                seen.append((answer["detector"], answer["images"][0]["score"], answer["threshold"]))
            return seen

        running = [pool.submit(client) for _ in range(3)]
        for k in range(4):
            other = loaded.detector.with_quantile(0.5 + 0.1 * k)
            other.save(place)
            code, about, _ = ask(port, "POST", "/v1/reload")
            assert code == 200
            assert about["threshold"] == pytest.approx(0.5 + 0.1 * k)
        for file in place.glob("*.npz"):
            file.write_bytes(file.read_bytes()[:-10])
        for file in place.glob("manifest.json"):
            file.write_bytes(b"{}")
        code, answer, _ = ask(port, "POST", "/v1/reload")
        assert code == 409
        assert "the one before goes on" in answer["error"]
        assert ask(port, "POST", "/v1/score", asked)[1]["threshold"] == pytest.approx(0.8)
        stop.set()
        seen = [one for future in running for one in future.result()]
    np.testing.assert_allclose([score for _, score, _ in seen], seen[0][1], rtol=1e-5)
    assert len({(sha, threshold) for sha, _, threshold in seen}) == len({sha for sha, _, _ in seen}) >= 2


# --- metrics ---


def metrics(port):
    code, text, headers = ask(port, "GET", "/metrics")
    assert code == 200
    assert headers["content-type"].startswith("text/plain")
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_metrics_count(saved):
    with serving(saved) as (port, state):
        body, kind = form([(f"{i}.png", content) for i, content in enumerate(pictures(7))])
        rows = ask(port, "POST", "/v1/score", body, Content_Type=kind)[1]["images"]
        ask(port, "POST", "/v1/score", b"no picture")
        ask(port, "GET", "/nowhere/at/all")
        infer(port, [], np.zeros((1, *SHAPE), np.uint8))
        found = metrics(port)
        rows += ask(port, "POST", "/v1/score", png(np.zeros(SHAPE[:2], np.uint8)))[1]["images"]  # as of the inference
        flagged = sum(row["decision"] == "anomalous" for row in rows)
        assert found['adjax_pictures_total{decision="anomalous"}'] == flagged
        assert found['adjax_pictures_total{decision="normal"}'] == 8 - flagged
        assert found["adjax_batch_pictures_sum"] == 8
        assert found['adjax_requests_total{code="200",route="/v2/infer"}'] == 1
        assert found['adjax_requests_total{code="200",route="/v1/score"}'] == 1
        assert found['adjax_requests_total{code="415",route="/v1/score"}'] == 1
        assert found['adjax_requests_total{code="404",route="other"}'] == 1
        assert found["adjax_queue_pictures"] == 0
        assert found[f'adjax_detector{{name="parts",sha256="{state.model.loaded.sha256}"}}'] == 1


def test_metrics_tell_of_drift(saved):
    """Its scores are those of ever darker pictures."""
    with serving(saved) as (port, state):
        assert np.isnan(metrics(port)["adjax_drift_p_value"])
        detector = state.model.loaded.detector
        low = float(np.asarray(detector.calibration_scores).min()) - 1
        said = [{"score": np.float32(low), "anomalous": np.bool_(False)}] * 500
        state.metrics.scored(state.model, said)
        found = metrics(port)
        assert found["adjax_drift_tests_total"] == found["adjax_drift_alarms_total"] == 1
        assert found["adjax_drift_p_value"] < 1e-6
        assert found["adjax_drift_above"] == 0
        assert found["adjax_drift_distance"] == 1


def test_a_detector_that_is_replaced_while_it_is_loaded_is_named_by_its_own_manifest(saved, tmp_path, monkeypatch):
    """Replaced after its files were read; and its files gone before they were."""
    shutil.copytree(saved, tmp_path / "detector")
    detector, load = serialization.load(saved), serialization.load
    others = [detector.with_quantile(0.5), detector.with_quantile(0.6)]

    def replaced(directory):
        found = load(directory)
        if others:
            others.pop().save(directory)
            if not others:
                raise ArtefactError("a file is missing")
        return found

    monkeypatch.setattr(serialization, "load", replaced)
    found = loading.load(tmp_path / "detector")
    assert found.sha256 == manifest.digest(tmp_path / "detector")
    assert float(found.detector.threshold) == 0.5
    monkeypatch.setattr(serialization, "load", lambda directory: load(tmp_path / "none"))
    with pytest.raises(ArtefactError):
        loading.load(tmp_path / "detector")
