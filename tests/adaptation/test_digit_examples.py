"""Labelled pictures give the digit crops that `predict` shows a classifier, with their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.adaptation.digit_examples import find_digits_to_learn
from digitcli.data.labelled_pictures import LabelledPicture
from digitcli.imaging import open_pages
from digitcli.recognition.calibrate import Answer
from digitcli.recognition.crops import crop_numbers
from digitcli.recognition.segmentation import find_numbers
from tests.support.pictures import encoded, written


def answer(folder: Path, shown: str, label: str, rotation: int = 0, gap: float = 0.4) -> Answer:
    path = folder / f"{len(list(folder.iterdir()))}.png"
    paper = written(shown, 120, gap=gap)[0]
    path.write_bytes(encoded(np.rot90(paper, rotation // 90)))
    return Answer(LabelledPicture(path.name, path, label), 0.9, is_right=True, rotation=rotation)


def test_digits_are_the_crops_that_predict_shows_a_classifier(tmp_path: Path) -> None:
    (single, number, turned) = find_digits_to_learn(
        [answer(tmp_path, "5", "5"), answer(tmp_path, "305", "3.05-"), answer(tmp_path, "5", "5", 90)]
    )
    assert single.is_of_one_digit and single.digits.labels.tolist() == [5, 5]
    ((_, grey),) = open_pages(single.picture.path)
    assert isinstance(grey, np.ndarray)
    (region,) = crop_numbers(find_numbers(grey))
    assert np.array_equal(single.digits.images, region.digits[0])
    assert not number.is_of_one_digit and number.digits.labels.tolist() == [3, 3, 0, 0, 5, 5]
    assert np.array_equal(turned.digits.images, single.digits.images)


@pytest.mark.parametrize(("shown", "label"), [("305", "30"), ("305", "3055"), ("5", ""), ("5", "?")])
def test_pictures_whose_components_are_not_the_digits_of_the_label_give_none(
    tmp_path: Path, shown: str, label: str
) -> None:
    (example,) = find_digits_to_learn([answer(tmp_path, shown, label)])
    assert len(example.digits) == 0 and not example.is_of_one_digit


def test_digits_that_touch_give_none(tmp_path: Path) -> None:
    (example,) = find_digits_to_learn([answer(tmp_path, "35", "35", gap=-0.1)])
    assert len(example.digits) == 0
