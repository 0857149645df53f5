"""A CSV of labels beside a folder of images in, a CSV of probabilities out."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from adjax.data import DataError, find, load
from adjax.data.datasets.table import class_names, load_table, read_table, read_unlabelled
from adjax.data.io.probabilities import write_probabilities
from adjax.data.protocols import task


def save(path, value, size=(5, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path)
    return path


def values(split):
    return split.images[:, 0, 0, 0].tolist()


@pytest.fixture
def folder(tmp_path):
    """Ten images in images/, named 0 to 9, whose grey is ten times the name."""
    root = tmp_path / "set"
    for row in range(10):
        save(root / "images" / f"{row}.png", 10 * row)
    return root


def write(path, *lines, end="\n"):
    path.write_bytes((end.join(lines) + end).encode())
    return str(path)


@pytest.mark.parametrize(
    "lines",
    [
        ["file,label", "3.png,1", "7.png,0", "1.png,1"],
        ["\ufeffLABEL , ID", "1,3", "0,7", "1,1"],
        ["image_id,other,target", "3,x,1", '"7","a, b",0', "1,,1"],
        ["3.png,1", "7,0", "", "1,1"],
        ["3.png,1,x", "7,0,x", "1,1,x"],
    ],
    ids=["names", "other names, byte-order mark", "a third column, quotes", "no header", "three columns, no header"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_are_found_by_name_or_place(folder, lines, end):
    path = write(folder / "train.csv", *lines, end=end)
    write(folder / "test.csv", "file,label", "2,0", "5,1")
    train = load(path, "train")
    assert values(train) == [30, 70, 10]
    assert train.labels.tolist() == [1, 0, 1]
    assert values(load(path, "test")) == [20, 50]
    assert find(path).classes == ("0", "1")


@pytest.mark.parametrize("first", ["anomaly", "target", "class", "is_ok"])
def test_a_line_with_a_picture_is_no_header(folder, first):
    """Even if its label is what a column may be called."""
    path = folder / "train.csv"
    write(path, f"3.png,{first}", "7.png,other", "1.png,other")
    table = read_table(path)
    assert table.names == ["3.png", "7.png", "1.png"]
    assert table.labels == [first, "other", "other"]
    assert table.header == ()


def test_columns_may_be_said(folder):
    path = folder / "train.csv"
    write(path, "wie,was,file", "gut,3,x", "schlecht,4,y")
    assert read_table(path, file="Was", label=0).labels == ["gut", "schlecht"]
    assert class_names(path, file=1, label="wie") == ("gut", "schlecht")
    with pytest.raises(DataError, match="no column 'what', but wie, was, file"):
        load_table(path, "train", file="what")
    with pytest.raises(DataError, match="has 3 columns, so there is no column 3"):
        load_table(path, "train", file=3)
    with pytest.raises(DataError, match="can't hold both"):
        load_table(path, "train", file=1, label=1)


def test_classes_are_numbered_as_numbers_and_those_trained_on_come_first(folder):
    path = folder / "train.csv"
    write(path, "file,label", "1,10", "2,9")
    write(folder / "test.csv", "file,label", "3,2", "4,10")
    assert class_names(path) == ("9", "10", "2")
    assert load_table(path, "test").labels.tolist() == [2, 1]
    assert task(str(path), "holdout:2").ood.images[0, 0, 0, 0] == 30


def test_without_a_test_table_it_is_split_by_class(folder):
    path = write(folder / "labels.csv", "file,label", *(f"{row},{row % 2}" for row in range(10)))
    train, test = load(path, "train"), load(path, "test")
    assert sorted(values(train) + values(test)) == [10 * row for row in range(10)]
    assert sorted(test.labels) == [0, 1]


def test_a_competitions_test_table_is_scored_not_judged(folder):
    path = write(folder / "train.csv", "id,label", *(f"{row},{row % 2}" for row in range(6)))
    save(folder / "test" / "a.png", 200)
    write(folder / "test.csv", "id", "a", "8")
    assert len(load(path, "train").images) == 4, "its own fifth is the test split"
    names, images = read_unlabelled(folder / "test.csv")
    assert names == ["a", "8"]
    assert images[:, 0, 0, 0].tolist() == [200, 80]
    with pytest.raises(DataError, match=r"test\.csv has no labels to test by"):
        load_table(folder / "train.csv", "test", test=folder / "test.csv")
    with pytest.raises(DataError, match=r"test\.csv has no labels, its columns are id: call the one"):
        load(str(folder / "test.csv"), "train")


def test_colours_and_sizes_are_those_of_both_tables(folder):
    path = write(folder / "train.csv", "file,label", "1,0", "2,1")
    write(folder / "test.csv", "file,label", "3,0", "rgb,1")
    save(folder / "images/rgb.jpg", 60, mode="RGB")
    assert load(path, "train").images.shape == load(path, "test").images.shape == (2, 4, 5, 3)
    save(folder / "images/rgb.jpg", 60, size=(9, 7))
    with pytest.raises(DataError, match=r"rgb\.jpg is 9×7 pixels"):
        load(path, "train")
    assert load(path, "train", side_px=6).images.shape == (2, 6, 6, 3)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "..\\secret.png",
        "images/../../secret.png",
        "images/../images/2.png",
        "{outside}/secret.png",
        "C:\\secret.png",
        "C:secret.png",
        "\\\\server\\share\\secret.png",
        "link.png",
        "linked/secret.png",
        "1\0.png",
        "",
    ],
)
def test_no_file_outside_the_folder_is_read(folder, name):
    outside = save(folder.parent / "secret.png", 1)
    (folder / "images/link.png").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    path = write(folder / "train.csv", "file,label", "1,0", f"{name.format(outside=outside.parent)},1")
    with pytest.raises(DataError, match=r"train\.csv.*line 3.*(isn't a path inside|leads out of)|cannot read"):
        load(path, "train")


def test_links_and_folders_inside_are_followed(folder):
    (folder / "images/again.png").symlink_to(folder / "images/4.png")
    save(folder / "images/deep/er.png", 90)
    path = write(folder / "train.csv", "file,label", "again.png,0", "deep/er,1", "deep\\er2,1")
    save(folder / "images/deep/er2.png", 91)
    write(folder / "test.csv", "file,label", "1,0", "2,1")
    assert values(load(path, "train")) == [40, 90, 91]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "1,0", "77,1"], r"line 3: no file '77' in .*images"),
        (["file,label", "1,0", "2"], "line 3, has 1 cells, but the first line 2"),
        (["file,label", "1,0", "a,b.png,1"], "line 3, has 3 cells.*double quotes"),
        (["file,label", "1,0", "", "1.png,1"], r"line 4: 1\.png stands in line 2 already"),
        (["file,label", "1,"], "line 2, has no label"),
        (["file,label"], "a header and no rows"),
        ([""], "is empty"),
        (["file label", "1.png 0"], "parts its cells by blanks"),
        (["1.png 0", "2.png 1"], "parts its cells by blanks"),
        (["photo,kind", "1,0"], "line 1: no file 'photo'.*call its columns file and label"),
        (["file,label", '"1,0'], "cannot read .* after line 1"),
    ],
)
def test_errors_name_the_row(folder, lines, message):
    with pytest.raises(DataError, match=message):
        load(write(folder / "train.csv", *lines), "train")


def test_not_utf8_and_a_damaged_image_are_named(folder):
    (folder / "train.csv").write_bytes("file,label\n1,größer\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot read .*train\.csv"):
        load(str(folder / "train.csv"), "train")
    path = write(folder / "train.csv", "file,label", *(f"{row},0" for row in range(10)))
    (folder / "images/3.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"cannot read .*3\.png"):
        load(path, "train", strict=True)


def test_no_image_is_in_both_tables(folder):
    path = write(folder / "train.csv", "file,label", "1,0", "2,1")
    write(folder / "test.csv", "file,label", "3,0", "2.png,1")
    with pytest.raises(DataError, match=r"2\.png stands in .*train\.csv and in .*test\.csv"):
        load(path, "train")
    (folder / "test.csv").rename(folder / "test_a.csv")
    write(folder / "test_b.csv", "file,label", "3,0", "4,1")
    with pytest.raises(DataError, match=r"test_a\.csv, test_b\.csv: call the test table test\.csv"):
        load(path, "train")
    assert values(load_table(folder / "train.csv", "test", test=folder / "test_b.csv")) == [30, 40]


# --- probabilities out


def test_probabilities_round_trip(tmp_path):
    names = ["a.png", 'q"uo,te', "zwei\nZeilen", "größer"]
    numbers = [0.0, 1.0, 1 / 3, 1.25e-7]
    write_probabilities(tmp_path / "new" / "out.csv", names, np.float32(numbers))
    content = (tmp_path / "new" / "out.csv").read_bytes()
    assert content.startswith(b'file,probability\r\na.png,0\r\n"q""uo,te",1\r\n')
    with open(tmp_path / "new" / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))[1:]
    assert [name for name, _ in rows] == names
    assert np.array_equal(np.float32([number for _, number in rows]), np.float32(numbers)), "float32 to the last bit"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.csv"], "nothing half-written stays"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_runs_as_a_formula(tmp_path, name):
    write_probabilities(tmp_path / "out.csv", [name, "plain"], [0.5, 0.25], columns=("=id", "p"))
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows == [["'=id", "p"], ["'" + name, "0.5"], ["plain", "0.25"]]


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5], "2 names, but probabilities of shape"),
        ([[0.5, 0.5]], r"shape \(1, 2\)"),
        ([0.5, 1.5], r"of b \(row 1\) is 1\.5, but must lie in 0\.\.1"),
        ([-0.1, 0.5], r"of a \(row 0\) is -0\.1"),
        ([0.5, float("nan")], r"of b \(row 1\) is nan"),
    ],
)
def test_what_is_no_probability_is_refused_and_leaves_the_file(tmp_path, probabilities, message):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(DataError, match=message):
        write_probabilities(path, ["a", "b"], probabilities)
    assert path.read_text() == "before"


def test_no_place_to_write_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*out\.csv"):
        write_probabilities(tmp_path / "file" / "out.csv", [], [])
