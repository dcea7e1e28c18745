"""A table beside pictures tells what is written in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.data.label_tables import (
    LabelledPicture,
    leave_copies_out,
    read_labelled_pictures,
    unlabelled_pictures,
)
from digitcli.errors import InputError
from tests.support.pictures import drawn, encoded


def test_columns_are_found_by_name_and_others_are_ignored(tmp_path: Path) -> None:
    content = "\ufeffnote,text,file,group\n,12.5,a.png,Ann\n,,below/b.png,\n\nx,7,c.png\n"
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    first, second, third = read_labelled_pictures(tmp_path)
    assert (first.file, first.path, first.text, first.group) == ("a.png", tmp_path / "a.png", "12.5", "Ann")
    assert (second.file, second.text, second.group) == ("below/b.png", "", None)
    assert (third.text, third.group) == ("7", None)


def test_spaces_make_no_group_and_digits_of_other_scripts_become_ascii(tmp_path: Path) -> None:
    content = "file,text,group\na.png,\uff13\u0665,Ann \nb.png,7,Ann\nc.png,8, \n"
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    found = read_labelled_pictures(tmp_path)
    assert [(each.text, each.group) for each in found] == [("35", "Ann"), ("7", "Ann"), ("8", None)]


def test_copies_of_earlier_pictures_are_left_out(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "c.png", "missing.png")
    for name, content in zip(names, (b"1", b"2", b"1"), strict=False):
        (tmp_path / name).write_bytes(content)
    pictures = [LabelledPicture(name, tmp_path / name, "7") for name in names]
    kept, copies = leave_copies_out(pictures)
    assert [each.file for each in kept] == ["a.png", "b.png", "missing.png"]
    assert [(each.file, each.cause) for each in copies] == [("c.png", "It is a copy of a.png.")]
    other_label = LabelledPicture("c.png", tmp_path / "c.png", "8")
    (copy,) = leave_copies_out([*pictures[:2], other_label])[1]
    assert copy.cause == "It is a copy of a.png, which has another label."


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_are_separated_as_in_the_first_line(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "labels.csv").write_bytes(f"file{delimiter}text\ra.png{delimiter}7\r".encode())
    assert [each.text for each in read_labelled_pictures(tmp_path)] == ["7"]
    rows = (("file", "text"), ("a,b.png", "12,5"), ("c.png", ""))
    lines = [delimiter.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows]
    lines = [*lines[:2], f" {delimiter} ", delimiter, *lines[2:]]
    (tmp_path / "labels.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8", newline="")
    found = read_labelled_pictures(tmp_path)
    assert [(each.file, each.text) for each in found] == [("a,b.png", "12,5"), ("c.png", "")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
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
    ],
)
def test_a_table_that_cannot_be_used_is_an_input_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_labelled_pictures(tmp_path)
    assert caught.value.remedy


def test_pictures_that_the_table_does_not_list_are_found(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", "b.png", "below/c.png", "below/d.png"):
        (tmp_path / name).write_bytes(encoded(drawn("1")))
    (tmp_path / "labels.csv").write_text("file,text\n./a.png,1\nbelow/c.png,1\n")
    left = unlabelled_pictures(tmp_path, read_labelled_pictures(tmp_path))
    assert left == [tmp_path / "b.png", tmp_path / "below" / "d.png"]


def test_the_labels_of_synthetic_lines_are_taken(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label,raw\n0.png,12,1.2\n")
    (picture,) = read_labelled_pictures(tmp_path)
    assert picture.text == "12"
    (tmp_path / "labels.csv").write_text("file,label,text\n0.png,12,13\n")
    (picture,) = read_labelled_pictures(tmp_path)
    assert picture.text == "13"
