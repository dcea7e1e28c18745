"""Corrections change labels and leave digits out; a file that does not fit is refused with its line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits, Splits, split
from digitcli.data.label_tables import (
    apply_corrections,
    correct_labels,
    corrections_csv,
    describe_corrections,
    digest_of,
    read_corrections,
)
from digitcli.errors import InputError
from tests.support.digits import are_equal


def dataset(files: tuple[str, ...] = ()) -> Dataset:
    """24 digits whose labels are 0 to 9 and so on, and 4 test digits."""
    images = np.arange(28 * 784, dtype=np.int64).astype(np.uint8).reshape(28, 28, 28)
    labels = np.arange(28) % 10
    train, test = Digits(images[:24], labels[:24]), Digits(images[24:], labels[24:])
    return Dataset("some", train, test, (), files)


def corrected(text: str, tmp_path: Path, files: tuple[str, ...] = ()) -> Splits:
    (tmp_path / "c.csv").write_text(text)
    return correct_labels(split(dataset(files)), dataset(files), tmp_path / "c.csv")


def test_labels_of_the_training_part_are_changed_and_digits_left_out(tmp_path: Path) -> None:
    before = split(dataset())
    first, second = before.train_indices[:2].tolist()
    result = corrected(f"index,label\n{first},7\n{second},\n", tmp_path)
    assert result.train_indices.tolist() == [first, *before.train_indices[2:].tolist()]
    assert result.train.labels.tolist() == [7, *before.train.labels[2:].tolist()]
    assert np.array_equal(result.train.images[1:], before.train.images[2:])


def test_held_out_digits_stay_as_they_are(tmp_path: Path) -> None:
    before = split(dataset())
    held_out = sorted(set(range(24)) - set(before.train_indices.tolist()))
    assert held_out
    text = "index,label\n" + "".join(f"{index},\n" for index in held_out)
    result = corrected(text, tmp_path)
    assert are_equal(result.validation, before.validation) and are_equal(result.test, before.test)
    assert are_equal(result.train, before.train)


def test_a_written_file_can_be_read(tmp_path: Path) -> None:
    index = int(split(dataset()).train_indices[0])
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


def test_what_changed_is_described_and_what_could_not(tmp_path: Path) -> None:
    before, path = split(dataset()), tmp_path / "c.csv"
    held_out = sorted(set(range(24)) - set(before.train_indices.tolist()))
    first, second = before.train_indices[:2].tolist()

    def described(*rows: str) -> list[str]:
        path.write_text("\n".join(("index,label", *rows)))
        labels = read_corrections(dataset(), path)
        return list(describe_corrections(before, apply_corrections(before, labels), labels))

    assert described(f"{first},{(first + 1) % 10}", f"{second},") == [
        "Labels corrected: 1; training digits left out: 1."
    ]
    unchanged, rows = described(f"{first},{first % 10}", *(f"{index},1" for index in held_out))
    assert unchanged.startswith("The corrections change nothing")
    assert rows == f"Rows of validation or test digits, which stay as they are: {len(held_out)}."


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    index = int(split(dataset()).train_indices[0])
    for text in (
        f"\ufeffindex,label\r\n{index},8\r\n",
        f"index,error,label,given,part\n{index},yes,8,  , \n",
        f"index;label\n;\n ; \n{index};8\n",
    ):
        assert corrected(text, tmp_path).train.labels[0] == 8, text
    assert are_equal(corrected("index,label\n", tmp_path).train, split(dataset()).train)


def test_a_file_that_leaves_no_digit_is_refused(tmp_path: Path) -> None:
    text = "index,label\n" + "".join(f"{index},\n" for index in range(24))
    with pytest.raises(InputError, match="leave out every digit to train on"):
        corrected(text, tmp_path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("index,label\n24,1\n", "line 2: the index 24 is not from 0 to 23"),
        (f"index,label\n{'9' * 5000},1\n", "line 2: the index"),
        ("index,label\n-1,1\n", "line 2: the index -1 is not from 0 to 23"),
        ("index,label\n0,1\n1,x\n", "line 3: the label 'x'"),
        ("index,label\n0,10\n", "'10'"),
        ("index,label\n0,1\n0,2\n", "line 3: the index 0 occurs twice"),
        ("index,name\n0,1\n", "no columns index and label"),
        ("", "no columns index and label"),
        ("index,label\n,1\n", "line 2: it has no index"),
        ("part,index,label\ntest,0,1\n", "the part is test"),
        ("index,label,given\n0,1,5\n", "the given is 5, but that of the digit is 0"),
        ("index,label,given\n0,1,x/0\n", "the given is x/0, but that of the digit is 0"),
        ("part,index,label\nx/train,0,1\n", "the part is x/train"),
        ('index,label\n\n"0",1\n\n\n1,x\n', "line 6: the label 'x'"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        corrected(text, tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        correct_labels(split(dataset()), dataset(), tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        digest_of(tmp_path / "none.csv")
