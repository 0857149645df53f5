"""`predict` of a bucket: against an S3 server (moto) on loopback, as a nightly job runs it. docs/recipes/bucket.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import ray_processes
import untrained
from picture_files import save

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes" / "bucket.md"
DAY, COUNT, SHAPE = "2026-11-28", 60, (8, 8, 1)
MISSING = [name for name in ("moto", "s3fs") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} missing: pip install -e '.[dev]'"),
]


@pytest.fixture(scope="module")
def server():
    """An S3 server, in a process of its own; its address."""
    port = ray_processes.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if "Running on" in line:
                break
        reader = threading.Thread(target=process.stderr.read)  # or its pipe fills up, and it stops
        reader.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


@pytest.fixture(scope="module")
def place(server, tmp_path_factory):
    """A detector, and pictures both in a folder and in the bucket."""
    import s3fs

    root = tmp_path_factory.mktemp("bucket")
    untrained.two_classes(SHAPE).save(root / "detector")
    rng = np.random.default_rng(1)
    for at in range(COUNT):
        save(
            root / "uploads" / DAY / f"{at % 3}" / f"{at:03}.png", rng.integers(0, 80 + 80 * (at % 2), (8, 8), np.uint8)
        )
    (root / "uploads" / DAY / "1" / "bad.png").write_bytes(b"no picture")
    (root / "uploads" / DAY / "notes.txt").write_bytes(b"no picture")
    system = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=server)
    system.mkdir("uploads")
    system.put(str(root / "uploads" / DAY), "uploads/", recursive=True)
    return root


def environment(server, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": server,
        "AWS_MAX_ATTEMPTS": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **more,
    }


@pytest.fixture(scope="module")
def local(place, server):
    """The table of the folder."""
    code, said = predict(place, server, place / "uploads" / DAY, place / "local.csv")
    assert code == 0, said
    return (place / "local.csv").read_bytes()


def predict(place, server, source, out, *more):
    line = ["-m", "adjax", "predict", place / "detector", source, "--out", out, *(more or ["--no-report"])]
    done = subprocess.run(
        [sys.executable, *map(str, line)], env=environment(server), capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_a_bucket_is_a_folder(place, server, local, tmp_path):
    code, said = predict(place, server, f"s3://uploads/{DAY}", tmp_path / "s.csv", "--report", tmp_path / "r.html")
    assert code == 0, said
    assert (tmp_path / "s.csv").read_bytes() == local
    assert "61 picture files; skipped: .txt 1" in said
    assert "data:image" in (tmp_path / "r.html").read_text()
    code, said = predict(place, server, f"s3://uploads/{DAY}/[01]/*.png", tmp_path / "some.csv")
    assert code == 0, said
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 42


def test_the_script_of_the_page(place, server, tmp_path):
    """As printed; and again, when a picture has come since."""
    import s3fs

    (script,) = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "nightly.sh").write_text(script)
    (tmp_path / "detector").symlink_to(place / "detector")
    job = ["bash", "nightly.sh", DAY]

    def run():
        done = subprocess.run(
            job, cwd=tmp_path, env=environment(server), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "61 picture files" in run()
    assert (tmp_path / "scores" / f"{DAY}.parquet").exists()
    flagged = {
        path.relative_to(tmp_path / "flagged" / DAY).as_posix() for path in (tmp_path / "flagged").rglob("*.png")
    }
    assert flagged
    for name in flagged:
        assert (tmp_path / "flagged" / DAY / name).read_bytes() == (place / "uploads" / DAY / name).read_bytes()
    system = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=server)
    system.pipe_file(f"uploads/{DAY}/late.png", (place / "uploads" / DAY / "0" / "000.png").read_bytes())
    try:
        assert "62 picture files; 60 of them done before; tried again, as they could not be read before: 1" in run()
    finally:
        system.rm_file(f"uploads/{DAY}/late.png")


def test_without_a_network_or_a_bucket_no_picture_is_blamed(place, server, tmp_path):
    out = tmp_path / "s.csv"
    code, said = predict(place, "http://127.0.0.1:9", f"s3://uploads/{DAY}", out)
    assert code == 1, said
    assert f"s3://uploads/{DAY} can't be listed" in said
    code, said = predict(place, server, "s3://nothing/here", out)
    assert code == 1, said
    assert not out.exists()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is missing: pip install -e '.[ray]'")
def test_workers_read_the_bucket_themselves(place, server, local, tmp_path):
    with ray_processes.running() as ray:
        ray.environment |= environment(server, PYTHONPATH=ray.environment["PYTHONPATH"])
        line = ["predict", place / "detector", f"s3://uploads/{DAY}", "--out", tmp_path / "s.csv", "--no-report"]
        process = ray.start("-m", "adjax", *line, "--engine", "ray", "--workers", 2, "--worker-cpus", 1)
        assert process.wait(300) == 0, process.stdout.read()
    assert (tmp_path / "s.csv").read_bytes() == local
