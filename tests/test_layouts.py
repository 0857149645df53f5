"""docs/layouts.md is true: each folder and table of it is made, read by `adjax train`, and compared."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adjax.auto import scan_folder
from adjax.cli.parsers import train
from adjax.data import DataError, find, load, words
from adjax.data.datasets.folder import list_folder
from adjax.data.datasets.table import load_table
from adjax.data.io import gather

PAGE = (Path(__file__).parents[1] / "docs" / "layouts.md").read_text(encoding="utf-8")


def rows(which):
    section = PAGE.split(f"<!-- {which} -->")[1].split(f"<!-- end of {which} -->")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def spans(cell):
    return re.findall(r"`([^`]+)`", cell)


FOLDERS, TABLES = rows("folders"), rows("tables")


def read(*arguments):
    return scan_folder.chosen_by(train.parser().parse_args([*map(str, arguments)]))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def make(root, row):
    """The pictures of a row, two in a folder."""
    names = [name for p in spans(row[0]) for name in ([f"{p}0.png", f"{p}1.png"] if p.endswith("/") else [p])]
    touch(root, *names)
    return names


def compare(row, root, arguments, under):
    """`under`: a name on the page → files."""
    _, _, normal, test_normal, anomalous, left_out = row
    if normal.startswith("refused:"):
        with pytest.raises(DataError) as caught:
            read(*arguments)
        missing = [part for part in spans(normal) if part not in str(caught.value)]
        assert not missing, str(caught.value)
        return
    found = read(*arguments)

    def files(cell):
        return sorted(file for span in spans(cell) for file in under(span))

    def names(paths):
        return sorted(path.relative_to(root).as_posix() for path in paths)

    assert names(found.files) == files(normal)
    assert names(found.test_normal) == files(test_normal)
    assert names(found.test_anomalous) == files(anomalous)
    classes = re.search(r"as (\d+) classes", normal)
    assert len(found.classes) == (int(classes[1]) if classes else 1)
    assert len(set(found.labels.tolist())) == len(found.classes)
    reasons = [part.strip().split(": `") for part in left_out.split(";") if part.strip()]
    assert found.passed_over == Counter({why: len(files(f"`{what}")) for why, what in reasons})


@pytest.mark.parametrize("row", FOLDERS, ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_folders_are_read_as_the_page_says(tmp_path, row):
    pictures, made = spans(row[0]), make(tmp_path, row)

    def under(span):
        assert span in pictures
        return [name for name in made if name == span or (span.endswith("/") and name[:-5] == span)]

    compare(row, tmp_path, [tmp_path, *" ".join(spans(row[1])).split()], under)


@pytest.mark.parametrize("row", TABLES, ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_tables_are_read_as_the_page_says(tmp_path, row):
    named = re.findall(r"\b[a-d]\b", "".join(row))
    touch(tmp_path, *(f"{letter}.png" for letter in named))
    table = tmp_path / "table.csv"
    table.write_text("\n".join(spans(row[0])).replace("⇥", "\t") + "\n", encoding="utf-8")
    arguments = [tmp_path, "--labels", table, *" ".join(spans(row[1])).split()]
    compare(row, tmp_path, arguments, lambda span: [f"{span}.png"])


def test_the_pages_words_are_those_of_the_code():
    section = PAGE.split("<!-- words -->")[1].split("<!-- end of words -->")[0]
    said = dict(re.findall(r"^\| (\w+) \| (.*) \|$", section, re.MULTILINE))
    del said["Says"]
    every = {
        kind: {*found, *words.WHOLE.get(kind, ()), *words.PAIRS.get(kind, ())} for kind, found in words.WORDS.items()
    }
    assert {kind: {w.replace("_", "") for w in spans(cell)} for kind, cell in said.items()} == every


def test_the_page_has_enough_of_both():
    assert len(FOLDERS) >= 30
    assert len(TABLES) >= 30


@pytest.mark.parametrize(
    ("name", "split", "verdict"),
    [
        ("abnormal", None, "anomalous"),
        ("Not-OK", None, "anomalous"),
        ("normal2", None, "normal"),
        ("subnormal", None, None),
        ("normal_or_abnormal", None, None),
        ("TrainSet", "train", None),
        ("train_test", None, None),
        ("trainer", None, None),
        ("ground truth", None, "mask"),
        ("no_mask", None, None),
        ("GoodYear", None, None),
        ("größer ok", None, "normal"),
        ("fail", None, "anomalous"),
        ("fail_safe", None, None),
        ("", None, None),
    ],
)
def test_words_are_whole_tokens(name, split, verdict):
    assert words.read(name) == (split, verdict)


def test_options_that_can_not_be_meant_are_refused(tmp_path):
    touch(tmp_path, "good/0.png", "crack/0.png")
    for arguments, message in (
        (["--classes", "--one-class"], "--classes says that all are normal: leave out --normal"),
        (["--normal", "goood"], "--normal goood: the folders of .* are crack, good"),
        (["--anomalous", "NG"], "--anomalous NG: the folders of .* are crack, good"),
        (["--normal", "good", "--anomalous", "good"], "good can't be both --normal and --anomalous"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, *arguments)


def test_what_was_taken_for_what_is_told(tmp_path):
    touch(tmp_path, "OK/0.png", "NG/0.png", "test/ok/0.png", ".hidden.png", "mask/0.png", "OK/notes.txt")
    found = read(tmp_path)
    assert found.about == (
        f"1 pictures in {tmp_path} (OK/), taken as normal; 1 in NG/ taken as anomalies, to evaluate on; 1 in test/ok/ "
        "as normal beside them"
    )
    assert found.passed_over == {"hidden": 1, ".txt": 1, "masks": 1}


def test_a_test_table_without_anomalies_leaves_those_of_the_training_table(tmp_path):
    touch(tmp_path, *(f"{letter}.png" for letter in "abcd"))
    (tmp_path / "train.csv").write_text("file,label\na,OK\nb,NG\n")
    (tmp_path / "test.csv").write_text("file,label\nc,good\n")
    found = scan_folder.of_table(tmp_path / "train.csv")
    assert [file.name for file in found.test_normal] == ["c.png"], "normal by another word"
    assert [file.name for file in found.test_anomalous] == ["b.png"]
    (tmp_path / "test.csv").write_text("file,label\nc,good\nd,NG\n")
    found = scan_folder.of_table(tmp_path / "train.csv")
    assert [file.name for file in found.test_anomalous] == ["d.png"]
    assert sum(found.passed_over.values()) == 1


# --- the same folders and tables in experiments


def outcome(call, *arguments):
    """What it returns, or why it refuses."""
    try:
        return call(*arguments)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("row", [row for row in FOLDERS if not row[1]], ids=lambda row: row[0][:60])
def test_experiments_load_what_train_takes(tmp_path, row):
    make(tmp_path, row)
    taken, listing = outcome(read, tmp_path), outcome(list_folder, tmp_path)
    if isinstance(taken, str):  # the same; or it is left open who is normal, which the protocol says
        assert listing == taken or (len(listing.classes) > 1 and "test" not in row[0])
        return
    halves = {file: half for half, files in listing.files.items() for file in files}
    labels = np.concatenate([listing.labels[half] for half in listing.files])
    classes = {file: listing.classes[label] for file, label in zip(halves, labels, strict=True)}
    assert sorted(halves) == sorted([*taken.files, *taken.test_normal, *taken.test_anomalous])
    assert listing.passed_over + listing.no_pictures == taken.passed_over
    assert {halves[file] for file in taken.test_normal} <= {"test"}
    if len(taken.classes) > 1:
        assert [classes[file] for file in taken.files] == [taken.classes[label] for label in taken.labels]
    else:
        assert len({classes[file] for file in [*taken.files, *taken.test_normal]}) == 1
    assert not {classes[file] for file in taken.files} & {classes[file] for file in taken.test_anomalous}


@pytest.mark.parametrize(
    ("names", "classes", "test"),
    [
        ("OK/0.png OK/1.png NG/0.png NG/1.png", ("NG", "OK"), "NG/1.png OK/1.png"),
        ("train/0.png test/good/0.png other/bad/0.png", ("normal", "bad"), "other/bad/0.png test/good/0.png"),
        ("Train/0.png Train/1.png Test/crack/0.png", ("normal", "crack"), "Test/crack/0.png"),
        ("cat/train/0.png dog/train/0.png cat/test/0.png", ("cat", "dog"), "cat/test/0.png"),
    ],
)
def test_experiments_name_the_classes_and_halves_of_a_folder(tmp_path, names, classes, test):
    touch(tmp_path, *names.split())
    listing = list_folder(tmp_path)
    assert listing.classes == classes
    assert sorted(file.relative_to(tmp_path).as_posix() for file in listing.files["test"]) == test.split()


@pytest.mark.parametrize("row", [row for row in TABLES if not row[1]], ids=lambda row: row[0][:60])
def test_experiments_load_the_tables_that_train_takes(tmp_path, row):
    for i, letter in enumerate("abcd"):
        Image.new("L", (4, 4), i).save(tmp_path / f"{letter}.png")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(spans(row[0])).replace("⇥", "\t") + "\n", encoding="utf-8")
    taken = outcome(read, tmp_path, "--labels", table)
    if not isinstance(taken, str):
        halves = [outcome(load_table, table, half) for half in ("train", "test")]
        loaded = [row for half in halves if not isinstance(half, str) for row in half.images[:, 0, 0, 0].tolist()]
        known = [*taken.files, *taken.test_normal, *taken.test_anomalous]
        assert sorted(loaded) == sorted("abcd".index(file.stem) for file in known)


def test_experiments_skip_what_train_skips(tmp_path):
    """Odd files are read alike, broken ones skipped and told of; with `strict` both are refused."""
    touch(tmp_path, "cat/0.png", "dog/0.png", "cat/broken.png", "cat/notes.txt")
    for i in range(4):
        Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4096).save(tmp_path / f"cat/{i}.png")
        Image.new("LA", (4, 4), (9, 128)).save(tmp_path / f"dog/{i}.png")
    with pytest.warns(UserWarning, match=r"skipped: 1 that can't be read \(the first, .*broken.png: the file is empty"):
        halves = [load(str(tmp_path), half) for half in ("train", "test")]
    assert sum(len(half.images) for half in halves) == 8
    for half, (label, name) in itertools.product(halves, enumerate(("cat", "dog"))):
        wanted = gather.images([tmp_path / f"{name}/0.png"], (4, 4, 1))[0][0]
        assert (half.images[half.labels == label] == wanted).all()
    assert "skipped: 1 .txt" in find(str(tmp_path)).about
    with pytest.raises(DataError, match=r"cannot read .*(8-bit grey or RGB is needed|the file is empty)"):
        load(str(tmp_path), "train", strict=True)


def test_experiments_know_halves_by_words_and_pass_over_masks(tmp_path):
    touch(
        tmp_path, "Train/good/0.png", "Train/good/0_mask.png", "TEST/good/1.png", "TEST/crack/2.png", "TEST/mask/2.png"
    )
    found = list_folder(tmp_path)
    assert found.classes == ("good", "crack")
    assert [file.relative_to(tmp_path).as_posix() for half in ("train", "test") for file in found.files[half]] == [
        "Train/good/0.png",
        "TEST/crack/2.png",
        "TEST/good/1.png",
    ]
    assert found.labels["test"].tolist() == [1, 0]
    touch(tmp_path, "training/good/0.png")
    assert len(list_folder(tmp_path).files["train"]) == 2


def test_experiments_keep_a_class_called_mask(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.png" for name in ("mask", "helmet") for i in range(5)))
    assert list_folder(tmp_path).classes == ("helmet", "mask")


def test_experiments_train_on_no_row_of_validation(tmp_path):
    for i, name in enumerate("abcd"):
        Image.new("L", (4, 4), i).save(tmp_path / f"{name}.png")
    table = tmp_path / "all.csv"
    table.write_text("file,set,label\na,train,x\nb,val,x\nc,train,x\nd,train,x\n")
    kept = [load_table(table, split).images[:, 0, 0, 0].tolist() for split in ("train", "test")]
    assert sorted([*kept[0], *kept[1]]) == [0, 2, 3]
    table.write_text("file,set,label\na,val,x\nb,test,x\n")
    with pytest.raises(DataError, match="no line says train"):
        load_table(table, "train")


def test_experiments_read_a_column_of_splits(tmp_path):
    for i, name in enumerate("abc"):
        Image.new("L", (4, 4), i).save(tmp_path / f"{name}.png")
    (tmp_path / "all.csv").write_text("file;split;label\na;train;x\nb;test;y\nc;Train;x\n")
    assert load_table(tmp_path / "all.csv", "train").images[:, 0, 0, 0].tolist() == [0, 2]
    test = load_table(tmp_path / "all.csv", "test")
    assert test.images[:, 0, 0, 0].tolist() == [1]
    assert test.labels.tolist() == [1]
