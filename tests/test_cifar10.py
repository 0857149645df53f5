"""CIFAR-10 from the publisher's binary files: made-up ones of a few records."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from adjax import __main__ as command_line
from adjax.data import DataError, find, load
from adjax.data.datasets import cifar10
from adjax.data.download import tfds

RECORDS = 20


pytestmark = pytest.mark.usefixtures("clean_machine")


def write(folder, records=RECORDS):
    """The six files; returns {split: (images as published [N, 3, 32, 32], labels)}."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    whole = {}
    for split, names in cifar10.FILES.items():
        planes = rng.integers(0, 256, (len(names), records, 3, 32, 32), dtype=np.uint8)
        labels = rng.integers(0, 10, (len(names), records), dtype=np.uint8)
        for name, images, of in zip(names, planes, labels, strict=True):
            (folder / name).write_bytes(np.column_stack([of, images.reshape(records, -1)]).tobytes())
        whole[split] = (planes.reshape(-1, 3, 32, 32), labels.ravel())
    return whole


@pytest.mark.parametrize("inside", ["", "cifar10", "cifar-10-batches-bin"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_round_trip(tmp_path, inside, split):
    planes, labels = write(tmp_path / "mine" / inside)[split]
    got = cifar10.load_cifar10(split, tmp_path / "mine", RECORDS)
    assert got.images.shape == ((100, 20)[split == "test"], 32, 32, 3)
    np.testing.assert_array_equal(got.labels, labels)
    row, channel = 7, 2
    np.testing.assert_array_equal(got.images[row, :, :, channel], planes[row, channel])
    assert got.images.flags.c_contiguous


@pytest.mark.slow
def test_the_real_size_by_name(tmp_path, monkeypatch):
    write(tmp_path / "cifar10", 10_000)
    monkeypatch.setenv("ADJAX_DATA_DIR", str(tmp_path))
    assert load("cifar10", "test").images.shape == (10_000, 32, 32, 3)
    assert find("cifar10").classes[9] == "truck"


def test_files_of_another_length_or_with_other_labels_are_named(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1\.bin has 61,460 bytes, but 10,000 records of 3,073"):
        load("cifar10", "train", tmp_path)
    path = tmp_path / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 4] = 10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch\.bin: record 4 has label 10"):
        cifar10.load_cifar10("test", tmp_path, RECORDS)


def test_pickles_are_refused_unopened(tmp_path):
    class Evil:
        def __reduce__(self):
            return ((tmp_path / "owned").touch, ())

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"cifar-10-batches-py is the Python version.*get the \*binary version\*"):
        load("cifar10", "train", tmp_path)
    assert not (tmp_path / "owned").exists()


def test_what_is_missing_is_named(tmp_path, capsys):
    with pytest.raises(DataError, match=r"no CIFAR-10 in .*cifar-10-batches-bin.*no tfds:cifar10: .*--data-dir DIR"):
        load("cifar10", "train", tmp_path)
    write(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin: put all six"):
        load("cifar10", "train", tmp_path)


@pytest.mark.slow
def test_command_line_lists_and_checks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert command_line.main(["data", "list"]) == 0
    assert "bring its files" in capsys.readouterr().out
    write(tmp_path / "cifar10")
    assert command_line.main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    assert str(tmp_path / "cifar10") in capsys.readouterr().out
    assert command_line.main(["data", "fetch", "cifar10", "--data-dir", str(tmp_path)]) == 1
    assert "test_batch.bin has 61,460 bytes" in capsys.readouterr().err
    write(tmp_path / "cifar10", 10_000)
    assert command_line.main(["data", "fetch", "cifar10", "--data-dir", str(tmp_path)]) == 0
    assert "cifar10: in" in capsys.readouterr().out


def test_a_prepared_tfds_set_is_used_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "prepared", lambda name, data_dir: tmp_path / name)
    monkeypatch.setattr(tfds, "read", lambda folder, split: (folder.name, split))
    assert load("cifar10", "test") == ("cifar10", "test")
