"""The Open Inference Protocol of `adjax serve`: the detector's own answers, and refusals that say what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from serving import SHAPE, ask, infer, pictures, save_two_classes, serving

from adjax.predict import loading
from adjax.predict.batch import predict_batch
from adjax.serve import bodies

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_two_classes(tmp_path_factory)


@pytest.fixture(scope="module")
def server(saved):
    with serving(saved) as (port, _):
        yield port


@pytest.fixture(scope="module")
def limited(saved):
    with serving(saved, limits=bodies.Limits(max_bytes=2000, max_pictures=3, read_s=0.5)) as (port, _):
        yield port


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
        ({"shape": [1, 2**31, 8, 1]}, None, 422, "all below 2,147,483,648"),
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
        ({}, "0", 422, "no inference request"),
        ({}, "9" * 5000, 422, "Inference-Header-Content-Length: must be between"),
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
