"""Corrections change labels and leave digits out; a file that does not fit is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.corrections import correct_labels, corrections_csv
from digitcli.data.dataset import Dataset, Digits
from digitcli.errors import InputError


def dataset() -> Dataset:
    images = np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28)
    return Dataset("four", Digits(images, np.array([1, 2, 3, 4])))


def corrected(text: str, tmp_path: Path) -> Dataset:
    (tmp_path / "c.csv").write_text(text)
    return correct_labels(dataset(), tmp_path / "c.csv")


def test_labels_are_changed_and_digits_left_out(tmp_path: Path) -> None:
    result = corrected("index,label\n0,7\n2,\n", tmp_path)
    assert result.train.labels.tolist() == [7, 2, 4]
    assert np.array_equal(result.train.images, dataset().train.images[[0, 1, 3]])
    assert result.digest != dataset().digest


def test_a_written_file_can_be_read(tmp_path: Path) -> None:
    text = corrections_csv("train", [(3, 9, 4, 9, 0.01, "4/a.png")])
    assert text.splitlines()[1] == "train,3,9,4,9,0.010000,4/a.png"
    assert corrected(text, tmp_path).train.labels.tolist() == [1, 2, 3, 9]


def test_a_file_without_rows_changes_nothing(tmp_path: Path) -> None:
    assert corrected("index,label\n", tmp_path).digest == dataset().digest


@pytest.mark.parametrize(
    "text, words",
    [
        ("index,label\n4,1\n", "line 2: the index 4 is not below 4"),
        ("index,label\n-1,1\n", "line 2"),
        ("index,label\n0,1\n1,x\n", "line 3: the label 'x'"),
        ("index,label\n0,10\n", "'10'"),
        ("index,name\n0,1\n", "line 2 has no label"),
        ("label\n1\n", "the index that is missing"),
        ("part,index,label\ntest,0,1\n", "the test part"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        corrected(text, tmp_path)


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        correct_labels(dataset(), tmp_path / "none.csv")
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00index")
    with pytest.raises(InputError, match="cannot be read"):
        correct_labels(dataset(), tmp_path / "c.csv")
