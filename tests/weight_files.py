"""Files of weights as PyTorch and Keras write them, made without either."""

import collections
import io
import pickle
import struct
import sys
import zipfile

import h5py
import numpy as np


class Tensor:
    """What pickles as a tensor does: an array, and by request another view of its storage."""

    def __init__(self, array, key, kind="FloatStorage", offset=0, shape=None, strides=None):
        self.array, self.key, self.kind, self.offset = np.array(array, order="C"), key, kind, offset
        self.shape = array.shape if shape is None else shape
        items = tuple(s // array.itemsize for s in self.array.strides)
        self.strides = items if strides is None else strides

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (Stored(self), self.offset, self.shape, self.strides, False, collections.OrderedDict())


class Stored:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, Stored):
            return None
        t = obj.tensor
        identity = ("storage", getattr(sys.modules["torch"], t.kind), t.key, "cpu", getattr(t, "count", t.array.size))
        return (*identity, None) if self.proto_legacy else identity


def pickled(obj, legacy=False, protocol=2):
    stream = io.BytesIO()
    pickler = Pickler(stream, protocol)
    pickler.proto_legacy = legacy
    pickler.dump(obj)
    return stream.getvalue()


def write_zip(path, obj, tensors, compression=zipfile.ZIP_STORED, byteorder=b"little", protocol=2, extra=()):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled(obj, protocol=protocol))
        archive.writestr("net/byteorder", byteorder)
        for name in extra:
            archive.writestr(f"net/{name}", b"")
        for t in {t.key: t for t in tensors}.values():
            archive.writestr(f"net/data/{t.key}", t.array.tobytes())
    return path


def write_legacy(path, obj, tensors):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    stored = {t.key: t.array for t in tensors}
    heads = [0x1950A86A20F9469CFC6C, 1001, system]
    parts = [pickle.dumps(head, 2) for head in heads] + [pickled(obj, legacy=True), pickle.dumps(list(stored), 2)]
    parts += [struct.pack("<q", a.size) + a.tobytes() for a in stored.values()]
    path.write_bytes(b"".join(parts))
    return path


def write_h5(path, arrays, root=""):
    """`arrays`: "layer/variable" -> array, as Keras 2 writes them."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = np.array(sorted({name.rsplit("/", 1)[0] for name in arrays}), "S")
        for name, array in arrays.items():
            layer, variable = name.rsplit("/", 1)
            group[f"{layer}/{layer}/{variable}:0"] = array
    return path


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def as_published(arrays, naming):
    """The file that a library would have written, laid out as it would."""
    theirs = {}
    if naming.torch:
        names, dot = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}, "."
    else:
        names, dot = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}, "/"
    for layer in naming.layers:
        for variable in ("kernel", "bias", "scale", "mean", "var"):
            if (array := arrays.get(f"{layer.ours}/{variable}")) is None:
                continue
            name = names.get(variable, variable)
            if layer.kind == "norm" and variable == "bias" and not naming.torch:
                name = "beta"
            if variable == "kernel":
                if layer.kind == "pointwise":
                    array = array[None, None]
                if naming.bgr and layer == naming.layers[0]:
                    array = array[:, :, [2, 1, 0]]
                if naming.torch:
                    array = np.einsum("hwio->oihw", array) if array.ndim == 4 else array.T
                elif layer.kind == "depthwise":
                    array, name = np.einsum("hwoc->hwco", array), "depthwise_kernel"
            theirs[f"{layer.theirs}{dot}{name}"] = array
    return {name: np.ascontiguousarray(array) for name, array in theirs.items()}
