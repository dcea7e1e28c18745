"""The central digit is cut out of a picture as `predict` does it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.recognition.digit_input import central_digit
from digitcli.recognition.reader import Reader
from tests.support.pictures import drawn, grey_of, written


@pytest.mark.parametrize(("text", "place"), [("4", 0), ("427", 1), ("40713", 2)])
def test_the_digit_is_the_crop_that_predict_shows_the_network(text: str, place: int) -> None:
    paper = written(text, gap=0.2)[0]
    digit = central_digit(grey_of(paper), "number.png")
    (number,) = Reader("fast", device="cpu").read(paper).numbers
    assert digit.count == len(number.digits) == len(text) and not digit.may_touch
    assert np.array_equal(digit.image, number.digits[place].image)


def test_the_middle_is_that_of_the_writing_and_not_of_the_paper() -> None:
    paper = written("427", gap=0.2)[0]
    wide = np.pad(paper, ((0, 0), (0, 250)), constant_values=255)
    digit, moved = (central_digit(grey_of(each), "number.png") for each in (paper, wide))
    assert np.array_equal(digit.image, moved.image)


def test_digits_that_touch_are_refused() -> None:
    grey = grey_of(written("555", gap=-0.02)[0])
    with pytest.raises(PictureError, match=r"The digits of 555\.png touch") as caught:
        central_digit(grey, "555.png")
    assert "digitcli explain reader 555.png" in caught.value.remedy


def test_a_wide_digit_that_stands_alone_may_be_two_that_touch() -> None:
    paper = drawn("0")
    assert not central_digit(grey_of(paper), "0.png").may_touch
    wide = cv2.resize(paper, None, fx=2.4, fy=1)
    assert central_digit(grey_of(wide), "0.png").may_touch


def test_paper_without_ink_has_no_digit() -> None:
    with pytest.raises(PictureError, match=r"Nothing is written in white\.png"):
        central_digit(np.ones((90, 90), np.float32), "white.png")
