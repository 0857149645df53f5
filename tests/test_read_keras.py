"""Keras' files of weights are read as data: names by layer and variable, and hostile files."""

import sys

import h5py
import numpy as np
import pytest
from weight_files import assert_same, write_h5

from adjax.models._read_keras import read_keras
from adjax.models._read_torch import WeightsError
from adjax.models.weight_maps import naming


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_keras_arrays_come_by_layer_and_variable(tmp_path, root):
    rng = np.random.default_rng(0)
    arrays = {"conv/kernel": rng.normal(size=(3, 3)), "fire2/squeeze/bias": rng.normal(size=4).astype(np.float32)}
    found = read_keras(write_h5(tmp_path / "a.h5", arrays, root))
    assert_same(found, arrays)


def test_variables_of_old_keras_get_their_names_of_today(tmp_path):
    old = {"conv1/conv1_W": np.ones((1, 2)), "fire2/expand1x1/expand1x1_b": np.ones(3), "c/c_W_1": np.ones(2)}
    found = read_keras(write_h5(tmp_path / "a.h5", old))
    assert set(found) == {"conv1/kernel", "fire2/expand1x1/bias", "c/kernel"}


def test_hdf5_that_points_elsewhere_is_not_followed(tmp_path):
    write_h5(tmp_path / "other.h5", {"secret/kernel": np.ones(3)})
    (tmp_path / "raw").write_bytes(bytes(24))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own/kernel"] = np.ones(2)
        file["linked"] = h5py.ExternalLink("other.h5", "/secret")
    assert set(read_keras(tmp_path / "a.h5")) == {"own/kernel"}
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("l/kernel", (3,), np.float64, external=[(str(tmp_path / "raw"), 0, 24)])
    with pytest.raises(WeightsError, match="l/kernel lies in another file: refused"):
        read_keras(tmp_path / "b.h5")


def test_hdf5_that_is_larger_than_its_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("l/kernel", (2**40,), np.float32, chunks=(1024,), compression="gzip")
    with pytest.raises(WeightsError, match=r"says it holds 4,398,046,511,104 bytes, more than"):
        read_keras(tmp_path / "a.h5")


def test_what_is_no_hdf5_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(WeightsError, match=r"cannot read .*a\.h5"):
        read_keras(tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(WeightsError, match=r"install h5py: pip install .*\[weights\]'"):
        read_keras(tmp_path / "a.h5")


def test_keras_own_weights_see_pixels_less_the_published_means():
    """keras.applications' mode "caffe": blue, green and red less 103.939, 116.779 and 123.68, not divided."""
    mean, sd = naming.CAFFE
    pixels = np.array([0.0, 100.0, 255.0])[:, None]
    seen = (pixels / 255 - np.array(mean)) / np.array(sd)
    np.testing.assert_allclose(seen, pixels - np.array([123.68, 116.779, 103.939]), rtol=1e-12)
