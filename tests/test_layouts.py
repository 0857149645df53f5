"""docs/layouts.md is true: each folder and table of it is made, read by `adjax train`, and compared."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from adjax.auto import scan_folder
from adjax.cli.parsers import train
from adjax.data import DataError, words
from adjax.data.datasets.folder import list_folder
from adjax.data.datasets.table import load_table

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
    pictures = spans(row[0])
    made = [name for path in pictures for name in ([f"{path}0.png", f"{path}1.png"] if path.endswith("/") else [path])]
    touch(tmp_path, *made)

    def under(span):
        assert span in pictures
        return [name for name in made if name == span or (span.endswith("/") and name[:-5] == span)]

    compare(row, tmp_path, [tmp_path, *" ".join(spans(row[1])).split()], under)


@pytest.mark.parametrize("row", TABLES, ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_tables_are_read_as_the_page_says(tmp_path, row):
    touch(tmp_path, *(f"{letter}.png" for letter in "abcd"))
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


# --- the same words in experiments


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
    with pytest.raises(DataError, match="has Train, training: call the one that is the train split train"):
        list_folder(tmp_path)


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
