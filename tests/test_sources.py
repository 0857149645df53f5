"""Where pictures come from: folders, patterns, URLs, tar and Parquet files. Pictures have the same names, in the same
order, wherever they lie."""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import tarfile
import zipfile

import fsspec
import numpy as np
import pytest
from fsspec.spec import AbstractFileSystem
from picture_files import noise, save

from adjax import distribution
from adjax.data import DataError
from adjax.data.io import sources, upload
from adjax.data.io.pattern import escaped, split
from adjax.data.io.sources import parquet

NAMES = ["a.png", "b/c.png", "b/d.jpg", "b.png", "b0.png", "z/ü x.png"]
SHAPE = (4, 4, 3)


@pytest.fixture
def folder(tmp_path):
    for at, name in enumerate([*NAMES, ".hidden/e.png", "b/.f.png"]):
        save(tmp_path / "photos" / name, noise(4, 4, seed=at))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def bucket(folder):
    """The same files in memory, as a bucket has them: no folders, no order."""
    system = fsspec.filesystem("memory")
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), reverse=True):
        system.pipe_file(f"/bucket/photos/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield system
    system.store.clear()


def content(source, name):
    """The bytes of a picture, after the way that workers get them."""
    opened = pickle.loads(pickle.dumps(source)).open(name)
    return opened.read_bytes() if isinstance(opened, os.PathLike) else opened.read()


def same(source, folder, names, shard=""):
    found = source.find()
    assert found.names == [f"{shard}{name}" for name in names]
    for name in names:
        assert content(source, f"{shard}{name}") == (folder / name).read_bytes()
    return found


def pack(path, folder, names=None, mode="w"):
    """A tar file of these, and of others that are no pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name in names or [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*"))]:
            archive.add(folder / name, name, recursive=False)
    return path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["a.png", "b.png", "b0.png"]),
        ("**/*.png", [n for n in NAMES if n.endswith(".png")]),
        ("**", NAMES),
        ("[ab]?.png", ["b0.png"]),
        ("*/[cz]*", ["b/c.png"]),
        ("b*/d.jpg", ["b/d.jpg"]),
    ],
)
def test_a_pattern_takes_the_names_that_fit(folder, bucket, pattern, names):
    for text in (f"{folder}/{pattern}", f"file://{folder}/{pattern}", f"memory://bucket/photos/{pattern}"):
        source = sources.of(text)
        same(source, folder, names)
        same(sources.of(source.where), folder, names)


def test_names_begin_where_the_pattern_does(folder, bucket):
    for text in (f"{folder}/b/*", "memory://bucket/photos/b/*"):
        same(sources.of(text), folder / "b", ["c.png", "d.jpg"])


def test_a_bucket_is_a_folder(folder, bucket):
    local, remote = sources.of(str(folder)), sources.of("memory://bucket/photos")
    for source in (local, remote, sources.of("memory://bucket/photos/"), sources.of(f"file://{folder}")):
        found = same(source, folder, NAMES)
        assert set(found.passed_over) >= {"hidden", ".txt"}
        assert source.title == "photos"
    assert remote.find(hidden=True).names == local.find(hidden=True).names != NAMES
    assert remote.find(any_name=True).names == local.find(any_name=True).names != NAMES
    assert sources.of(remote.where).find() == remote.find()


def test_a_pattern_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert sources.of("*.png").find().names == ["a.png", "b.png", "b0.png"]
    assert sources.of("b/*").find().names == ["c.png", "d.jpg"]
    away = pickle.dumps(sources.of("b/*"))
    monkeypatch.chdir("/")
    assert pickle.loads(away).open("c.png").read_bytes() == (folder / "b" / "c.png").read_bytes()


def test_folders_are_looked_into_as_deep_as_the_pattern_goes(folder, monkeypatch):
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(str(path)) or scandir(path))
    sources.of(f"{folder}/*.png").find()
    assert looked == [str(folder)]


def test_a_folder_named_like_a_pattern_or_a_shard_is_a_folder(tmp_path):
    for name in ("a[1]", "what?", "x.tar", "y.parquet"):
        save(tmp_path / name / "p.png", noise(4, 4))
        source = sources.of(str(tmp_path / name))
        assert source.find().names == ["p.png"]
        assert sources.of(source.where) == sources.of(str(tmp_path / name))
    odd = sources.of(f"{escaped(str(tmp_path / 'a[1]'))}/*.png")
    assert odd.find().names == sources.of(odd.where).find().names == ["p.png"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a/b", ("/a/b", "")),
        ("/a/*.png", ("/a", "*.png")),
        ("/*", ("/", "*")),
        ("*.png", ("", "*.png")),
        ("a/**/b?/c", ("a", "**/b?/c")),
        ("/a[[]1]/x[*]/[ab]", ("/a[1]/x*", "[ab]")),
    ],
)
def test_a_path_is_cut_before_its_pattern(text, parts):
    assert split(text) == parts


def test_members_of_tar_files(folder, bucket, tmp_path):
    one = pack(tmp_path / "shards" / "0.tar", folder)
    pack(tmp_path / "shards" / "1.tar", folder, ["b.png", "a.png"])
    listed = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*"))]
    names = [name for name in listed if name in NAMES]  # as the archive has them
    found = same(sources.of(str(one)), folder, names, "0.tar/")
    assert found.passed_over == {"hidden": 2, ".txt": 1}
    bucket.pipe_file("/bucket/shards/0.tar", one.read_bytes())
    same(sources.of("memory://bucket/shards/0.tar"), folder, names, "0.tar/")
    same(sources.of("memory://bucket/**/*.tar"), folder, names, "shards/0.tar/")
    both = sources.of(f"{tmp_path}/shards/*.tar")
    assert both.find().names == [*(f"0.tar/{name}" for name in names), "1.tar/b.png", "1.tar/a.png"]
    assert sources.of(both.where).find() == both.find()
    assert both.title == "*.tar"


def test_chains_of_file_systems(folder, tmp_path):
    """A zip file, and shards that fsspec keeps copies of."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in reversed(NAMES):
            archive.write(folder / name, f"in/{name}")
    for text in ("zip://in::file://{}/x.zip", "zip:///in/**::{}/x.zip"):
        source = sources.of(text.format(tmp_path))
        same(source, folder, NAMES)
        assert sources.of(source.where) == source
    pack(tmp_path / "0.tar", folder, NAMES)
    same(sources.of(f"simplecache::file://{tmp_path}/*.tar"), folder, NAMES, "0.tar/")
    assert sources.of("github://org:repo@branch/photos").title == "photos", "no password"


def test_shards_in_an_archive(folder, tmp_path):
    """fsspec closes an archive as soon as nobody holds its file system."""
    pictures = [(folder / name).read_bytes() for name in NAMES]
    made = pack(tmp_path / "0.tar", folder, NAMES), table(tmp_path / "0.parquet", image=pictures)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in made:
            archive.write(path, f"in/{path.name}")
    for suffix, names in ((".tar", NAMES), (".parquet", range(6))):
        source = sources.of(f"zip://**/*{suffix}::{tmp_path}/x.zip")
        found = source.find()
        assert found.names == [f"in/0{suffix}/{name}" for name in names]
        assert not found.unlisted
        assert [content(source, name) for name in found.names] == pictures


def test_odd_members(tmp_path):
    """What isn't a file, is there twice, stands at "./", or would lie elsewhere."""
    path = tmp_path / "odd.tar"
    pictures = [noise(4, 4, seed=at) for at in range(5)]
    with tarfile.open(path, "w") as archive:
        for name, picture in zip(("./x.png", "t.png", "t.png", "../up.png", "/root.png"), pictures, strict=True):
            made = save(tmp_path / "made.png", picture).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(made)
            archive.addfile(member, io.BytesIO(made))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "t.png"
        archive.addfile(link)
    source = sources.of(str(path))
    found = source.find()
    assert found.names == ["odd.tar/x.png", "odd.tar/t.png", "odd.tar/../up.png", "odd.tar//root.png"]
    assert found.passed_over == {"no file": 1, "replaced by a later one of the same name": 1}
    for name, picture in zip(found.names[:2], (pictures[0], pictures[2]), strict=True):
        np.testing.assert_array_equal(upload.read(source.open(name), SHAPE).pixels, picture)
    for name in found.names[2:]:
        with pytest.raises(DataError, match="no plain path"):
            source.open(name)


def test_damaged_shards_are_told_and_the_others_read(folder, tmp_path):
    """Python's tarfile takes what can't be a header for the end, so that the rest would be missed."""
    whole = pack(tmp_path / "whole.tar", folder, ["a.png", "b.png", "b0.png"])
    content = whole.read_bytes()
    with tarfile.open(whole) as archive:
        places = {member.name: (member.offset, member.offset_data) for member in archive}
    header, data = places["b.png"]
    end = places["b0.png"][1] + 512
    damaged = {
        "header.tar": content[: header + 100],
        "data.tar": content[: data + 10],
        "garbage.tar": content[:header] + b"\x07" * 512 + content[header + 512 :],
        "no-end.tar": content[:end],
        "none.tar": b"no tar file" * 100,
        "empty.tar": b"",
    }
    for name, bad in damaged.items():
        (tmp_path / name).write_bytes(bad)
    source = sources.of(f"{tmp_path}/*.tar")
    found = source.find()
    assert set(found.unlisted) == set(damaged)
    for name in ("header.tar", "garbage.tar"):
        assert f"no member at byte {header}" in found.unlisted[name]
    assert "no end" in found.unlisted["no-end.tar"]
    for shard, names in {"whole": 3, "no-end": 3, "header": 1, "garbage": 1}.items():
        assert [n for n in found.names if n.startswith(f"{shard}.tar")] == [
            f"{shard}.tar/{n}" for n in ("a.png", "b.png", "b0.png")[:names]
        ]
    for name in found.names:
        if name == "data.tar/b.png":
            with pytest.raises(DataError, match="ends before it"):
                source.open(name)
        else:
            assert source.open(name).read() == (folder / name.partition("/")[2]).read_bytes()


def test_a_member_that_has_gone_since(folder, tmp_path):
    path = pack(tmp_path / "0.tar", folder, ["a.png"])
    source = sources.of(str(path))
    with pytest.raises(DataError, match="not in its tar file any more"):
        source.open("0.tar/b.png")


def table(path, **columns):
    from pyarrow import parquet
    from pyarrow import table as made

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made(columns), path, row_group_size=2)
    return path


def test_rows_of_parquet_files(folder, bucket, tmp_path):
    pictures = [(folder / name).read_bytes() for name in NAMES]
    plain = table(tmp_path / "p" / "0.parquet", label=[1] * 6, image=pictures)
    table(tmp_path / "p" / "1.parquet", image=[{"bytes": picture, "path": "x"} for picture in pictures[:3]])
    bucket.pipe_file("/bucket/p/0.parquet", plain.read_bytes())
    for text in (str(plain), "memory://bucket/p/0.parquet", f"{plain}#image", "memory://bucket/p/*.parquet#image"):
        source = sources.of(text)
        found = source.find()
        assert found.names == [f"0.parquet/{row}" for row in range(6)]
        assert [content(source, name) for name in found.names] == pictures
        assert sources.of(source.where).find() == found
    both = sources.of(f"{tmp_path}/p/*.parquet")
    assert len(both.find().names) == 9
    assert [content(both, f"1.parquet/{row}") for row in (2, 0, 1)] == [pictures[2], *pictures[:2]]


def test_without_pyarrow_the_reason_says_how(tmp_path, monkeypatch):
    path = table(tmp_path / "0.parquet", image=[b"picture"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=re.escape(f"Parquet needs pyarrow: {distribution.install('parquet')}")):
        sources.of(str(path)).find()


def test_rows_of_a_file_that_would_lie_elsewhere(tmp_path):
    made = table(tmp_path / "0.parquet", image=[b"picture"])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("0.parquet", "../up.parquet"):
            archive.write(made, name)
    source = sources.of(f"zip://**/*.parquet::{tmp_path}/x.zip")
    assert source.find().names == ["../up.parquet/0", "0.parquet/0"]
    with pytest.raises(DataError, match="no plain path"):
        source.open("../up.parquet/0")
    assert source.open("0.parquet/0").read() == b"picture"


def test_rows_without_a_picture_and_files_that_are_no_parquet(tmp_path):
    table(tmp_path / "0.parquet", image=[b"no picture", None, {}.get(0)])
    (tmp_path / "1.parquet").write_bytes(b"PAR1 and no more")
    source = sources.of(f"{tmp_path}/*.parquet")
    found = source.find()
    assert found.names == ["0.parquet/0", "0.parquet/1", "0.parquet/2"]
    assert "no Parquet file" in found.unlisted["1.parquet"]
    with pytest.raises(DataError, match="no bytes in this row"):
        source.open("0.parquet/1")
    with pytest.raises(upload.NotAPicture):
        upload.read(source.open("0.parquet/0"), SHAPE)


def test_which_column_has_the_pictures_is_asked(tmp_path):
    path = table(tmp_path / "0.parquet", left=[b"l"], right=[b"r"], n=[1])
    with pytest.raises(DataError, match=r"2 columns have bytes.*FILES\.parquet#COLUMN.*'left', 'right'"):
        sources.of(str(path)).find()
    with pytest.raises(DataError, match="column 'n' has no bytes"):
        sources.of(f"{path}#n").find()
    assert content(sources.of(f"{path}#right"), "0.parquet/0") == b"r"
    with pytest.raises(DataError, match="0 columns have bytes"):
        sources.of(str(table(tmp_path / "1.parquet", n=[1]))).find()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/nowhere", "not there"),
        ("/nowhere/*.tar", "not there"),
        ("memory://nothing/here", "has no files"),
        ("memory://nothing/*.tar", "has no files"),
        ("nothing-has-it://bucket", "can't be listed: .*nothing-has-it"),
        ("s3://user:secret@bucket/photos", "password"),
        ("photos/**.png", r"\*\* stands for folders"),
        ("memory://photos/a**", r"\*\* stands for folders"),
        ("shards/a.tar.gz", "compressed"),
        ("", "SOURCE is empty"),
        (__file__, "is a file: name its folder"),
        ("s3://user:se/secret@bucket/photos", "password"),
        ("http://secret@host/photos", "token"),
        ("http://host/photos?secret=1", "query"),
        ("zip://**::http://user:secret@host/p.zip", "password"),
        ("s3://bucket/a.tgz", "compressed"),
    ],
)
def test_a_source_that_is_none_is_refused(text, said):
    with pytest.raises(DataError, match=said) as caught:
        sources.of(text).find()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "/**/*.png", "/*/*.png"])
def test_a_folder_that_can_not_be_listed_is_not_left_out(bucket, monkeypatch, pattern):
    """fsspec's own `find` leaves it out, and says nothing. That of this file system looks at all files at once."""
    monkeypatch.setattr(type(bucket), "find", AbstractFileSystem.find)
    ls = type(bucket).ls

    def forbidden(self, path, **options):
        if path.endswith("/b"):
            raise PermissionError("Access Denied")
        return ls(self, path, **options)

    assert len(sources.of(f"memory://bucket/photos{pattern}").find().names) > 0
    monkeypatch.setattr(type(bucket), "ls", forbidden)
    with pytest.raises(DataError, match="can't be listed: Access Denied"):
        sources.of(f"memory://bucket/photos{pattern}").find()


def test_the_end_of_a_chain_is_taken_from_here(folder, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(folder / "a.png", "a.png")
    monkeypatch.chdir(tmp_path)
    for text in ("zip://**::x.zip", "zip://**::file://x.zip", "simplecache::file://photos"):
        source = sources.of(text)
        assert str(tmp_path) in source.where
        monkeypatch.chdir("/")
        assert "a.png" in sources.of(source.where).find().names
        monkeypatch.chdir(tmp_path)


def test_a_server_without_ranges_is_not_the_pictures_fault(folder, bucket, tmp_path, monkeypatch):
    bucket.pipe_file("/bucket/0.tar", pack(tmp_path / "0.tar", folder).read_bytes())
    source = sources.of("memory://bucket/0.tar")
    name = source.find().names[0]
    monkeypatch.setattr(type(bucket), "cat_file", lambda self, path, **_: self.store[path].getvalue())
    with pytest.raises(OSError, match="sends all of a file"):
        source.open(name)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_network_that_fails_while_a_shard_is_read_blames_none(folder, bucket, tmp_path, monkeypatch, kind):
    """And what fails now is asked for again later."""
    picture = (folder / "a.png").read_bytes()
    made = pack(tmp_path / "0.tar", folder) if kind == "tar" else table(tmp_path / "0.parquet", image=[picture] * 6)
    bucket.pipe_file(f"/bucket/0.{kind}", made.read_bytes())
    source = sources.of(f"memory://bucket/0.{kind}")
    opened = type(bucket).open

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() + size > 600:
                raise TimeoutError
            return super().read(size)

    def failing(self, path, *arguments, **options):
        with opened(self, path, *arguments, **options) as file:
            return Failing(file.read())

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "open", failing)
        with pytest.raises(OSError, match=f"memory://bucket/0.{kind} can't be had: TimeoutError"):
            source.find()
    names = source.find().names
    if kind == "parquet":
        with monkeypatch.context() as patch:
            patch.setattr(type(bucket), "open", failing)
            parquet._group.cache_clear()
            with pytest.raises(OSError, match="can't be had"):
                source.open(names[0])
    assert source.open(names[0]).read() == picture


def test_shards_that_were_replaced_are_read_anew(folder, tmp_path):
    tar, rows = tmp_path / "0.tar", tmp_path / "0.parquet"
    for names in (["a.png"], ["b.png", "a.png"]):
        contents = [(folder / name).read_bytes() for name in names]
        pack(tar, folder, names)
        table(rows, image=contents)
        for path in (tar, rows):
            source = sources.of(str(path))
            assert [source.open(name).read() for name in source.find().names] == contents


def test_gzip_named_tar_is_told(folder, tmp_path):
    pack(tmp_path / "0.tar", folder, mode="w:gz")
    assert sources.of(str(tmp_path / "0.tar")).find().unlisted == {"0.tar": "gzip: unpack it"}


def test_a_damaged_parquet_file_costs_no_other(folder, bucket, tmp_path, monkeypatch):
    """pyarrow has errors of many kinds for it, OSError among them, which a network has, too."""
    picture = (folder / "a.png").read_bytes()
    whole = table(tmp_path / "p" / "0.parquet", image=[picture] * 6).read_bytes()
    for at, name in ((len(whole) - 40, "1"), (len(whole) - 200, "2"), (6, "3")):
        (tmp_path / "p" / f"{name}.parquet").write_bytes(
            whole[:at] + bytes(b ^ 0x55 for b in whole[at : at + 8]) + whole[at + 8 :]
        )
    for name in range(4):
        bucket.pipe_file(f"/bucket/p/{name}.parquet", (tmp_path / "p" / f"{name}.parquet").read_bytes())
    for text in (f"{tmp_path}/p/*.parquet", "memory://bucket/p/*.parquet"):
        source = sources.of(text)
        found = source.find()
        damaged = set(found.unlisted)
        for name in found.names:
            try:
                assert source.open(name).read() == picture or not name.startswith("0")
            except DataError:
                damaged.add(name.partition("/")[0])
        assert {"2.parquet", "3.parquet"} <= damaged
        assert "0.parquet" not in damaged

    def down(self, path, *_, **__):
        raise TimeoutError

    monkeypatch.setattr(type(bucket), "open", down)
    monkeypatch.setattr(type(bucket), "cat_file", down)
    with pytest.raises(OSError, match="can't be had"):
        sources.of("memory://bucket/p/0.parquet").find()


def test_an_object_that_was_named_as_a_folder(bucket):
    with pytest.raises(DataError, match="is a file"):
        sources.of("memory://bucket/photos/a.png").find()


def test_only_what_is_missing_is_a_pictures_own_fault(bucket, monkeypatch):
    """Without a network or a valid token all would fail alike, and the journal would keep that."""
    source = sources.of("memory://bucket/photos")
    with pytest.raises(DataError, match="not there any more"):
        source.open("gone.png")
    for error in (PermissionError("token has expired"), TimeoutError(), RuntimeError("Could not connect")):

        def fails(self, path, error=error, **_):
            raise error

        monkeypatch.setattr(type(bucket), "cat_file", fails)
        with pytest.raises(OSError, match=r"memory://bucket/photos/a.png can't be had: .*goes on"):
            source.open("a.png")
