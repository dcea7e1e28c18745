"""Each digit of a page is cropped in two sizes."""

from __future__ import annotations

import numpy as np

from digitcli.recognition.crops import DigitCrops, crop_numbers
from digitcli.recognition.segmentation import find_numbers
from tests.support.pictures import grey_of, written


def crops_of(paper: np.ndarray) -> tuple[DigitCrops, ...]:
    return crop_numbers(find_numbers(grey_of(paper)))


def test_the_digits_of_a_number_are_cropped_and_their_ink_is_dropped() -> None:
    (crops,) = crops_of(written("3058")[0])
    assert crops.digits.shape == (4, 2, 28, 28) and crops.digits.dtype == np.uint8
    assert all(component.ink is None for component in crops.region.components)
    heights = [int(np.ptp(np.flatnonzero((crop > 99).any(axis=1)))) + 1 for crop in crops.digits[0]]
    assert heights[0] > heights[1]


def test_lines_of_a_page_are_regions_of_their_own() -> None:
    above, below = written("3058")[0], written("1234")[0]
    width = min(above.shape[1], below.shape[1])
    regions = [crops.region for crops in crops_of(np.vstack([above[:, :width], below[:, :width]]))]
    assert [len(region.components) for region in regions] == [4, 4]
