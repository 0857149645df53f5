"""`python -m adjax serve` as a process: what it prints, refuses, and does at signals; and clients that others wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from serving import SHAPE, ask, pictures, save_two_classes

import adjax
from adjax import __main__
from adjax.cli.parsers.serve import parser
from adjax.serve import model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_two_classes(tmp_path_factory)


@contextmanager
def started(directory, *options, **environment):
    """(process, port) of a server that is ready."""
    command = [sys.executable, "-m", "adjax", "serve", str(directory), "--port", "0", "--max-batch", "2", *options]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}, **output)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://[^:]+:(\d+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        port = int(found[1])
        while not answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def answers(port):
    try:
        return ask(port, "GET", "/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.slow
def test_what_was_taken_is_answered_before_the_end(saved):
    """At SIGTERM with requests under way: each is answered, and the exit code is 0."""
    with started(saved, "--batch-delay-ms", "1500") as (process, port):
        found = []
        asking = threading.Thread(target=lambda: found.append(ask(port, "POST", "/v1/score", pictures(1)[0])))
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert found[0][0] == 200
        assert process.wait(30) == 0
        with pytest.raises(OSError, match="refused"):
            ask(port, "GET", "/healthz")


@pytest.mark.slow
def test_sighup_serves_what_lies_there_now(saved, tmp_path):
    detector = adjax.load(saved)
    detector.save(tmp_path / "detector")
    with started(tmp_path) as (process, port):
        before = ask(port, "GET", "/v1/detector")[1]
        detector.with_quantile(0.5).save(tmp_path / "detector")
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 30
        while ask(port, "GET", "/v1/detector")[1]["sha256"] == before["sha256"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert ask(port, "POST", "/v1/score", pictures(1)[0])[1]["threshold"] == 0.5
        assert before["name"] == tmp_path.name


@pytest.mark.slow
def test_a_killed_server_comes_back_and_says_the_same(saved):
    contents, said = pictures(3), []
    for _ in range(2):
        with started(saved, ADJAX_TOKEN="secret") as (process, port):
            shown = {"Authorization": "Bearer secret"}
            said.append([ask(port, "POST", "/v1/score", content, **shown)[1] for content in contents])
            assert ask(port, "POST", "/v1/score", contents[0])[0] == 401
            process.kill()
    assert said[0] == said[1]


@pytest.mark.slow
def test_clients_of_the_open_inference_protocol(saved):
    client = pytest.importorskip("tritonclient.http", reason="tritonclient is missing: pip install tritonclient[http]")
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    with started(saved) as (_, port):
        triton = client.InferenceServerClient(f"127.0.0.1:{port}")
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("parts")
        assert triton.get_model_metadata("parts")["inputs"][0]["shape"] == [-1, *SHAPE]
        assert triton.get_server_metadata()["name"] == "adjax"
        tensor = client.InferInput("images", images.shape, "UINT8")
        found = []
        for binary in (True, False):
            tensor.set_data_from_numpy(images, binary_data=binary)
            asked = [
                client.InferRequestedOutput(name, binary_data=binary) for name in ("score", "anomalous", "nearest")
            ]
            for outputs in (asked, None):
                found.append(triton.infer("parts", [tensor], outputs=outputs))
        files = client.InferInput("pictures", [3], "BYTES")
        files.set_data_from_numpy(np.array(pictures(3), object))
        as_files = triton.infer("parts", [files]).as_numpy("score")
        triton.close()
    detector = adjax.load(saved)
    for answer in found:
        np.testing.assert_allclose(answer.as_numpy("score"), detector.score(images), rtol=1e-5)
        np.testing.assert_array_equal(answer.as_numpy("anomalous"), detector.predict(images))
    assert as_files.shape == (3,)
    assert np.isfinite(as_files).all()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl on the path")
def test_the_curl_lines_of_the_page_work_as_printed(saved, tmp_path):
    page = (Path(adjax.__file__).parents[1] / "docs" / "recipes" / "server.md").read_text()
    (block,) = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, content in zip(("photo.png", "other.png"), pictures(2), strict=True):
        (tmp_path / name).write_bytes(content)
    with started(saved) as (_, port):
        lines = block.replace(":8000", f":{port}").splitlines()
        said = [json.loads(subprocess.check_output(f"{line} -s", shell=True, cwd=tmp_path)) for line in lines]
    assert [len(one["images"]) for one in said[:2]] == [1, 2]
    assert [row["name"] for row in said[1]["images"]] == ["photo.png", "other.png"]
    assert said[2]["name"] == "parts"


# --- command lines ---


def refused(capsys, *arguments):
    assert __main__.main(["serve", *map(str, arguments)]) == 1
    return capsys.readouterr().err


@pytest.mark.usefixtures("process_as_it_was")
def test_what_can_not_be_served_is_refused(saved, tmp_path, capsys, monkeypatch):
    assert "holds no detector/" in refused(capsys, tmp_path)
    (tmp_path / "token").write_text("\n")
    assert "is empty or no ASCII text" in refused(capsys, saved, "--token-file", tmp_path / "token")
    assert "can't be read" in refused(capsys, saved, "--token-file", tmp_path / "none")
    monkeypatch.setenv("ADJAX_TOKEN", "")
    assert "the token of ADJAX_TOKEN is empty" in refused(capsys, saved)
    monkeypatch.delenv("ADJAX_TOKEN")
    with monkeypatch.context() as broken:
        broken.setattr(model.Model, "warm", lambda self: 1 / 0)
        assert "ZeroDivisionError" in refused(capsys, saved, "--port", "0")
    assert "can promise" in refused(capsys, saved, "--false-positive-rate", "0.001")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use; name another" in refused(capsys, saved, "--port", port)


@pytest.mark.usefixtures("process_as_it_was")
def test_what_is_missing_is_named_with_its_extra(saved, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "serving needs uvicorn: pip install" in refused(capsys, saved)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--batch-delay-ms", "-1"], "-1: must be between 0 and 10,000 ms"),
        (["--batch-delay-ms", "nan"], "must be finite"),
        (["--read-timeout-s", "0"], "0: must be above 0 s"),
        (["--port", "65536"], "65536: must be between 0 and 65,535"),
        (["--false-positive-rate", "1"], "must lie between 0 and 1"),
    ],
)
def test_options_have_limits(options, why, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["run", *options])
    assert why in capsys.readouterr().err
