"""Tables tell what pictures show and correct labels; rows that do not fit are refused with their line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits, Splits, split
from digitcli.data.label_tables import (
    LabelledPicture,
    apply_corrections,
    correct_labels,
    corrections_csv,
    describe_corrections,
    digest_of,
    leave_copies_out,
    read_corrections,
    read_labelled_pictures,
    unlabelled_pictures,
)
from digitcli.errors import InputError
from tests.support.digits import are_equal


def pictures_of(folder: Path, content: str) -> list[tuple[str, str, str | None]]:
    (folder / "labels.csv").write_text(content, encoding="utf-8", newline="")
    found = read_labelled_pictures(folder)
    assert all(each.path == folder / each.file for each in found)
    return [(each.file, each.text, each.group) for each in found]


def test_labels_are_read_from_columns_that_are_found_by_name(tmp_path: Path) -> None:
    content = "\ufeffnote,text,file,group\n,12.5,a.png,Ann\n,,below/b.png,\n\nx,7,c.png\n"
    expected = [("a.png", "12.5", "Ann"), ("below/b.png", "", None), ("c.png", "7", None)]
    assert pictures_of(tmp_path, content) == expected
    content = "file,text,group\na.png,\uff13\u0665,Ann \nb.png,7,Ann\nc.png,8, \n"
    expected = [("a.png", "35", "Ann"), ("b.png", "7", "Ann"), ("c.png", "8", None)]
    assert pictures_of(tmp_path, content) == expected
    assert pictures_of(tmp_path, "file,label,raw\n0.png,12,1.2\n") == [("0.png", "12", None)]
    assert pictures_of(tmp_path, "file,label,text\n0.png,12,13\n") == [("0.png", "13", None)]
    for mark in ",;\t":
        assert pictures_of(tmp_path, f"file{mark}text\ra.png{mark}7\r") == [("a.png", "7", None)]
        rows = (("file", "text"), ('"a,b.png"', '"12,5"'), (" ", " "), ("", ""), ("c.png", ""))
        content = "\ufeff" + "\r\n".join(mark.join(row) for row in rows)
        assert pictures_of(tmp_path, content) == [("a,b.png", "12,5", None), ("c.png", "", None)]


def test_copies_and_pictures_without_a_label_are_found(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, content in {"a.png": b"1", "b.png": b"2", "c.png": b"1", "below/d.png": b"3"}.items():
        (tmp_path / name).write_bytes(content)
    names = ("a.png", "b.png", "c.png", "missing.png")
    pictures = [LabelledPicture(name, tmp_path / name, "7") for name in names]
    kept, copies = leave_copies_out(pictures)
    assert [each.file for each in kept] == ["a.png", "b.png", "missing.png"]
    assert [(each.file, each.cause) for each in copies] == [("c.png", "It is a copy of a.png.")]
    other_label = LabelledPicture("c.png", tmp_path / "c.png", "8")
    (copy,) = leave_copies_out([*pictures[:2], other_label])[1]
    assert copy.cause == "It is a copy of a.png, which has another label."
    pictures_of(tmp_path, "file,text\n./a.png,1\nc.png,1\n")
    left = unlabelled_pictures(tmp_path, read_labelled_pictures(tmp_path))
    assert left == [tmp_path / "b.png", tmp_path / "below" / "d.png"]


def test_tables_of_labels_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for content, message in [
        (None, "There is no labels.csv in"),
        (b"", "has no column file"),
        (b"file,digits\na.png,1\n", "has no column text, but file, digits."),
        (b"file,text\n", "lists no pictures"),
        (b"file,text\na.png,1\n,2\n", "line 3, has no file"),
        (b"text,file\n1,a.png\n2\n", "line 3, has no file"),
        (b"file,text\na.png\n", "line 2, has no text"),
        (b"file,text\na.png,1\nb.png,2\n./a.png,1\n", "line 4, lists ./a.png again, after line 2"),
        (b"file,text\na.png,12,5\n", "line 2, has more cells"),
        (b"file,text\n\xff.png,1\n", "cannot be read"),
        (b'file,text\n"' + 200_000 * b"x", "cannot be read: field larger"),
    ]:
        if content is not None:
            (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_labelled_pictures(tmp_path)
        assert caught.value.remedy
    for name, message in (
        ("none", "There is no folder"), ("labels.csv", "is not a folder"), ("a" * 300, "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_labelled_pictures(tmp_path / name)


def dataset(files: tuple[str, ...] = ()) -> Dataset:
    """24 digits whose labels are 0 to 9 and so on, and 4 test digits."""
    images = np.arange(28 * 784, dtype=np.int64).astype(np.uint8).reshape(28, 28, 28)
    labels = np.arange(28) % 10
    train, test = Digits(images[:24], labels[:24]), Digits(images[24:], labels[24:])
    return Dataset("some", train, test, (), files)


def corrected(text: str, tmp_path: Path, files: tuple[str, ...] = ()) -> Splits:
    (tmp_path / "c.csv").write_text(text)
    return correct_labels(split(dataset(files)), dataset(files), tmp_path / "c.csv")


def test_corrections_change_labels_or_leave_digits_out_of_the_training_part_alone(tmp_path: Path) -> None:
    before, path = split(dataset()), tmp_path / "c.csv"
    held_out = sorted(set(range(24)) - set(before.train_indices.tolist()))
    first, second = before.train_indices[:2].tolist()
    text = f"index,label\n{first},{(first + 7) % 10}\n{second},\n" + "".join(f"{i},\n" for i in held_out)
    result = corrected(text, tmp_path)
    assert result.train_indices.tolist() == [first, *before.train_indices[2:].tolist()]
    assert result.train.labels.tolist() == [(first + 7) % 10, *before.train.labels[2:].tolist()]
    assert np.array_equal(result.train.images[1:], before.train.images[2:])
    assert are_equal(result.validation, before.validation) and are_equal(result.test, before.test)

    def described(content: str) -> list[str]:
        path.write_text(content)
        labels = read_corrections(dataset(), path)
        return list(describe_corrections(before, apply_corrections(before, labels), labels))

    rows = f"Rows of validation or test digits, which stay as they are: {len(held_out)}."
    assert described(text) == ["Labels corrected: 1; training digits left out: 1.", rows]
    (unchanged,) = described(f"index,label\n{first},{first % 10}")
    assert unchanged.startswith("The corrections change nothing")
    with pytest.raises(InputError, match="leave out every digit to train on"):
        corrected("index,label\n" + "".join(f"{index},\n" for index in range(24)), tmp_path)


def test_corrections_are_read_as_doctor_or_a_spreadsheet_writes_them(tmp_path: Path) -> None:
    index = int(split(dataset()).train_indices[0])
    for text in (
        f"\ufeffindex,label\r\n{index},8\r\n",
        f"index,error,label,given,part\n{index},yes,8,  , \n",
        f"index;label\n;\n ; \n{index};8\n",
    ):
        assert corrected(text, tmp_path).train.labels[0] == 8, text
    text = corrections_csv("train", [(index, 9, index % 10, 9, 0.01, True, "4/a.png")])
    assert text.splitlines()[1] == f"train,{index},9,{index % 10},9,0.010000,yes,4/a.png"
    assert corrected(text, tmp_path).train.labels[0] == 9
    files = tuple(f"digits/{number % 10}/{number}.png" for number in range(24))
    with pytest.raises(InputError, match=f"the file is 4/a.png, but that of the digit is {files[index]}"):
        corrected(text, tmp_path, files)
    for folder, is_it in (("moved/", True), ("", True), ("9", False), ("digits/x", False)):
        file = f"{folder}{index % 10}/{index}.png"
        with contextlib.nullcontext() if is_it else pytest.raises(InputError, match="the file is"):
            assert corrected(text.replace("4/a.png", file), tmp_path, files).train.labels[0] == 9


def test_corrections_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for text, words in [
        ("index,label\n24,1\n", "line 2: the index 24 is not from 0 to 23"),
        (f"index,label\n{'9' * 5000},1\n", "line 2: the index"),
        ("index,label\n-1,1\n", "line 2: the index -1 is not from 0 to 23"),
        ("index,label\n0,1\n1,x\n", "line 3: the label 'x'"),
        ("index,label\n0,10\n", "'10'"),
        ("index,label\n0,1\n0,2\n", "line 3: the index 0 occurs twice"),
        ("index,name\n0,1\n", "has no column"),
        ("", "has no column"),
        ("index,label\n,1\n", "line 2: it has no index"),
        ("part,index,label\ntest,0,1\n", "the part is test"),
        ("index,label,given\n0,1,5\n", "the given is 5, but that of the digit is 0"),
        ("index,label,given\n0,1,x/0\n", "the given is x/0, but that of the digit is 0"),
        ("part,index,label\nx/train,0,1\n", "the part is x/train"),
        ('index,label\n\n"0",1\n\n\n1,x\n', "line 6: the label 'x'"),
    ]:
        with pytest.raises(InputError, match=words):
            corrected(text, tmp_path)
    for read in (lambda path: correct_labels(split(dataset()), dataset(), path), digest_of):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "none.csv")
