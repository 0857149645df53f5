"""`adjax serve`: a server on loopback says what `predict` says, and refuses what is wrong."""

from __future__ import annotations

import base64
import io
import json
import socket

import numpy as np
import pytest
from picture_files import noise
from PIL import Image
from serving import PLACES, SHAPE, ask, form, infer, pictures, png, save_two_classes, save_with_places, serving

from adjax import __main__
from adjax.data.io.upload import Header, NotAPicture
from adjax.predict import loading
from adjax.serve import bodies, rows
from adjax.serve.batching import Scored
from adjax.serve.refusals import Refusal

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_two_classes(tmp_path_factory)


@pytest.fixture(scope="module")
def with_places(tmp_path_factory):
    return save_with_places(tmp_path_factory)


@pytest.fixture(scope="module")
def server(saved):
    with serving(saved) as (port, _):
        yield port


@pytest.fixture(scope="module")
def limited(saved):
    with serving(saved, limits=bodies.Limits(max_bytes=2000, max_pictures=3, read_s=0.5)) as (port, _):
        yield port


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


@pytest.mark.parametrize("number", [4, 9])
def test_a_form_of_too_many_files_is_too_large(limited, number):
    body, kind = form([(f"{i}.png", b"x") for i in range(number)])
    code, answer, _ = ask(limited, "POST", "/v1/score", body, Content_Type=kind)
    assert code == 413
    assert f"{number} pictures: at most 3" in answer["error"]


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
    written = tifffile.imread(tmp_path / "maps" / "bad.png.map.tif")
    # near 0 lies what is interpolated between numbers of about ±3, whose last digit is 2.4e-7
    np.testing.assert_allclose(scores, written, rtol=1e-5, atol=3e-7)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(painted))), int)
    overlay = np.asarray(Image.open(tmp_path / "maps" / "bad.png.overlay.png"), int)
    assert np.abs(shown - overlay).max() <= 1
    assert said["places"].ndim == 3
    assert said["places"].max() == pytest.approx(plain["score"], rel=1e-5)


@pytest.mark.parametrize("kind", rows.MAPS)
def test_maps_that_are_too_large_together_are_refused(with_places, monkeypatch, kind):
    """Some thousand bytes a picture would be answered by gigabytes."""
    monkeypatch.setattr(rows, "MOST_MAP_PIXELS", 2 * 28 * 28)
    contents = pictures(3, side=28)
    with serving(with_places) as (port, _):
        for number, wanted in ((2, 200), (3, 413)):
            body, form_kind = form([(f"{at}.png", content) for at, content in enumerate(contents[:number])])
            code, answer, _ = ask(port, "POST", f"/v1/score?map={kind}", body, Content_Type=form_kind)
            assert code == wanted, answer
        assert "maps of 2,352 pixels: at most 1,568 a request; send fewer" in answer["error"]
        assert ask(port, "POST", "/v1/score", body, Content_Type=form_kind)[0] == 200


def test_the_map_of_a_picture_alone_is_never_too_large():
    def scored(height, width):
        return Scored(Header(height, width, 1, "L"), {})

    rows.check_maps([scored(60_000, 60_000), NotAPicture()])
    with pytest.raises(Refusal, match="at most 67,108,864"):
        rows.check_maps([scored(60_000, 60_000)] * 5)


def test_a_map_that_the_detector_has_not_is_refused(server):
    code, answer, _ = ask(server, "POST", "/v1/score?map=png", pictures(1)[0])
    assert code == 422
    assert "has no maps" in answer["error"]
