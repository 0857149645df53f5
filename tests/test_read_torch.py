"""PyTorch's files of weights are read as data: formats, views, and hostile files."""

import collections
import zipfile

import ml_dtypes
import numpy as np
import pytest
from weight_files import Tensor, assert_same, write_legacy, write_zip

from adjax.models import _read_torch
from adjax.models._read_torch import WeightsError, read_torch

pytestmark = pytest.mark.usefixtures("torch_names")


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=6)
    return {
        "a.weight": Tensor(a, "0"),
        "b": Tensor(b, "1", "DoubleStorage"),
        "b.view": Tensor(b, "1", "DoubleStorage", offset=1, shape=(2, 2), strides=(1, 3)),
        "half": Tensor(b.astype(np.float16), "2", "HalfStorage"),
        "brain": Tensor(b.astype(ml_dtypes.bfloat16), "3", "BFloat16Storage"),
        "counter": Tensor(np.array(7), "4", "LongStorage"),
    }


def expected(tensors):
    found = {name: t.array for name, t in tensors.items()}
    b = tensors["b"].array
    return found | {"b.view": np.array([[b[1], b[4]], [b[2], b[5]]])}


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_tensors_come_back_as_they_were_saved(tmp_path, tensors, write):
    file = write(tmp_path / "a.pth", collections.OrderedDict(tensors), tensors.values())
    found = read_torch(file)
    assert_same(found, expected(tensors))
    with pytest.raises(ValueError, match="read-only"):
        found["b.view"][0, 0] = 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_that_can_hold_a_state_dict(tmp_path, tensors, protocol):
    file = write_zip(tmp_path / "a.pth", dict(tensors), tensors.values(), protocol=protocol)
    assert_same(read_torch(file), expected(tensors))


@pytest.mark.parametrize("wrap", [lambda d: {"epoch": 3, "state_dict": d}, lambda d: {"model": d, "args": [1, "x"]}])
def test_a_checkpoint_gives_its_state_dict(tmp_path, tensors, wrap):
    parallel = {f"module.{name}": t for name, t in tensors.items()}
    file = write_zip(tmp_path / "a.pt", wrap(parallel), tensors.values())
    assert_same(read_torch(file), expected(tensors))


# --- hostile files


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("name", ["system", "eval"])
def test_code_in_a_pickle_is_never_run(tmp_path, tensors, write, name):
    import os

    target = tmp_path / "evil"
    call = {"system": (os.system, (f"touch {target}",)), "eval": (eval, (f"open({str(target)!r}, 'w')",))}[name]
    file = write(tmp_path / "a.pth", {**tensors, "x": Evil(*call)}, tensors.values())
    with pytest.raises(WeightsError, match=rf"a\.pth: refused: it asks for \w+\.{name}, which no state dict needs"):
        read_torch(file)
    assert not target.exists()


PROGRAMS = {
    "a call of a builtin": (b"c__builtin__\neval\n(U\x01x\x85R.", "asks for __builtin__.eval"),
    "a name by the stack": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for os.system"),
    "torch's own loader": (b"ctorch\nload\n.", "asks for torch.load"),
    "an old instance": (b"(cos\nsystem\no.", "asks for os.system"),
    "opcode INST": (b"(ios\nsystem\n.", "opcode INST"),
    "opcode NEWOBJ": (b"ccollections\nOrderedDict\n)\x81.", "opcode NEWOBJ"),
    "opcode EXT1": (b"\x82\x01.", "opcode EXT1"),
    "a call of a tuple that looks like a name": (b"X\x0b\0\0\0collectionsX\x0b\0\0\0OrderedDict\x86)R.", "than a name"),
    "a call of a storage's type": (b"ctorch\nFloatStorage\n)R.", "a call that no state dict needs"),
    "a tuple as a key": (b"})\x85Ns.", "a dict key of type tuple"),
    "a persistent id of another kind": (b"X\x02\0\0\0idQ.", "other than a storage"),
    "text that isn't there": (b"X\xff\xff\xff\x7fabc.", "damaged pickle"),
    "an empty stack": (b"\x85.", "damaged pickle"),
    "a memo that isn't there": (b"h\x07.", "damaged pickle"),
    "a tensor without a storage": (b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR.", "tensor whose offset"),
    "no end": (b"}", "damaged pickle"),
    "no dict": (b"K\x01.", "no state dict"),
    "no tensor": (b"}.", "no tensor"),
}


@pytest.mark.parametrize(("program", "message"), PROGRAMS.values(), ids=PROGRAMS)
def test_programs_that_no_state_dict_needs_are_refused(tmp_path, program, message):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("net/data.pkl", program)
    with pytest.raises(WeightsError, match=message):
        read_torch(tmp_path / "a.pth")


def test_a_pickle_that_doubles_itself_is_read_in_no_time(tmp_path):
    """Tuples of the tuple before, 2^200 leaves: nothing here walks through them."""
    program = b")q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("net/data.pkl", program)
    with pytest.raises(WeightsError, match="no state dict"):
        read_torch(tmp_path / "a.pth")


VIEWS = {
    "beyond the end": ({"offset": 4, "shape": (3,), "strides": (1,)}, "reaches to value 6 of a storage of 6"),
    "by its strides": ({"shape": (2, 2), "strides": (5, 1)}, "reaches to value 6 of a storage of 6"),
    "of one value, a terabyte": ({"shape": (2**40,), "strides": (0,)}, "1099511627776 values, more than its storage"),
    "before its start": ({"shape": (2,), "strides": (-1,)}, "not natural numbers"),
    "of negative size": ({"shape": (-2,), "strides": (1,)}, "not natural numbers"),
    "larger than any memory": ({"shape": (2**70,), "strides": (1,)}, "not natural numbers"),
    "of too many axes": ({"shape": (1,) * 40, "strides": (1,) * 40}, "not natural numbers"),
    "of unequal axes": ({"shape": (1, 1), "strides": (1,)}, "not natural numbers"),
    "by a flag": ({"shape": (True,), "strides": (1,)}, "not natural numbers"),
}


@pytest.mark.parametrize(("view", "message"), VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_views_outside_of_their_storage_are_refused(tmp_path, write, view, message):
    tensor = Tensor(np.zeros(6, np.float32), "0", **view)
    file = write(tmp_path / "a.pth", {"w": tensor}, [tensor])
    with pytest.raises(WeightsError, match=message):
        read_torch(file)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("count", [5, 7, 2**62])
def test_a_storage_of_another_size_than_its_tensors_say_is_refused(tmp_path, write, count):
    tensor = Tensor(np.zeros(6, np.float32), "0")
    tensor.count = count
    file = write(tmp_path / "a.pth", {"w": tensor}, [tensor])
    with pytest.raises(WeightsError, match="storage '0' has"):
        read_torch(file)


ARCHIVES = {
    "compressed": ({"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
    "big-endian": ({"byteorder": b"big"}, "byte order b'big'"),
    "code": ({"extra": ["constants.pkl"]}, "TorchScript archive, which is code"),
    "two programs": ({"extra": ["more/data.pkl"]}, "holds 2 files data.pkl"),
}


@pytest.mark.parametrize(("options", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_that_torch_save_does_not_write_are_refused(tmp_path, tensors, options, message):
    file = write_zip(tmp_path / "a.pth", dict(tensors), tensors.values(), **options)
    with pytest.raises(WeightsError, match=message):
        read_torch(file)


def test_a_storage_key_is_no_path(tmp_path):
    tensor = Tensor(np.zeros(6, np.float32), "../x")
    file = write_zip(tmp_path / "a.pth", {"w": tensor}, [tensor])
    with pytest.raises(WeightsError, match="keys are letters and digits"):
        read_torch(file)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_damaged_files_give_this_error_and_no_other(tmp_path, tensors, write):
    """Cut at many places, and with bytes changed at random: an error of ours, or arrays."""
    whole = write(tmp_path / "whole.pth", dict(tensors), tensors.values()).read_bytes()
    file, rng = tmp_path / "a.pth", np.random.default_rng(0)
    refused = 0
    for trial in range(200):
        damaged = bytearray(whole[: rng.integers(len(whole))] if trial % 2 else whole)
        for place in rng.integers(len(whole), size=trial % 4):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            found = read_torch(file)
        except WeightsError:
            refused += 1
        else:
            assert sum(a.nbytes for a in found.values()) < 10 * len(whole)
    assert refused > 100  # every file that was cut


def test_a_file_too_large_is_refused_and_a_missing_one_named(tmp_path, tensors, monkeypatch):
    file = write_zip(tmp_path / "a.pth", dict(tensors), tensors.values())
    monkeypatch.setattr(_read_torch, "MAX_FILE_BYTES", 100)
    with pytest.raises(WeightsError, match="larger than 100 bytes"):
        read_torch(file)
    with pytest.raises(WeightsError, match=r"cannot read .*none\.pth"):
        read_torch(tmp_path / "none.pth")
