"""What a server is, beside its answers: guarded, ready, replaced without a lost request, and counted."""

from __future__ import annotations

import concurrent.futures
import shutil
import threading

import numpy as np
import pytest
from picture_files import noise
from serving import SHAPE, ask, form, infer, pictures, png, save_two_classes, serving

from adjax import manifest, serialization
from adjax.manifest import ArtefactError
from adjax.predict import loading

TOKEN = "a-token"
pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_two_classes(tmp_path_factory)


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


def test_no_thread_is_left_of_a_server_that_has_ended(saved):
    def threads():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(("score", "decode"))]

    with serving(saved) as (port, _):
        assert ask(port, "POST", "/v1/score", png(noise(300, 300)))[0] == 200
        assert {name.split("_")[0] for name in threads()} == {"score", "decode"}
    assert not threads()


def test_nothing_is_scored_before_the_detector_is_compiled(saved):
    with serving(saved, warm=False) as (port, _):
        assert ask(port, "GET", "/healthz")[0] == 200
        for method, path in (("GET", "/readyz"), ("POST", "/v1/score"), ("GET", "/v2/models/parts/ready")):
            code, _, headers = ask(port, method, path, b"x")
            assert code == 503
            assert headers["retry-after"] == "1"


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
        counted = metrics(port)
    assert counted['adjax_reloads_total{result="ok"}'] == 4
    assert counted['adjax_reloads_total{result="refused"}'] == 1
    np.testing.assert_allclose([score for _, score, _ in seen], seen[0][1], rtol=1e-5)
    assert len({(sha, threshold) for sha, _, threshold in seen}) == len({sha for sha, _, _ in seen}) >= 2


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
