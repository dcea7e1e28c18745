"""The crops of a number show its digits, normalized at two sizes."""

from __future__ import annotations

import numpy as np

from digitcli.recognition.digits.crops import DIGIT_SIZES_PX, crop_numbers
from digitcli.recognition.digits.segmentation import find_numbers
from tests.support.pictures import drawn, grey_of, written


def test_every_digit_is_cropped_at_two_sizes() -> None:
    paper, boxes = written("3058", stroke_px=12)
    (number,) = crop_numbers(find_numbers(grey_of(paper)))
    assert number.images.shape == (4, 2, 28, 28) and number.images.dtype == np.uint8
    assert np.abs(np.array(number.boxes) - boxes).max() <= 3 and not number.is_cut_off
    for images in number.images:
        heights = [int(np.ptp(np.flatnonzero((image > 60).any(axis=1)))) + 1 for image in images]
        assert np.abs(np.array(heights) - DIGIT_SIZES_PX).max() <= 2


def test_only_a_lone_digit_at_the_edge_is_cut_off() -> None:
    (half,) = crop_numbers(find_numbers(grey_of(drawn("3")[:, 45:])))
    assert half.is_cut_off


def test_a_page_without_digits_has_no_crops() -> None:
    assert crop_numbers(find_numbers(np.ones((90, 90), np.float32))) == ()
