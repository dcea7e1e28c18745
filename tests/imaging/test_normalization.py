"""A digit is scaled and centred like the digits of MNIST."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from digitcli.imaging import digit_from_grey, normalize_central_digit
from digitcli.imaging.normalization import mean_stroke_width
from tests.support.pictures import distance, drawn


def ink_of(grey: np.ndarray) -> np.ndarray:
    return (1 - grey / 255).astype(np.float32)


@pytest.mark.parametrize("digit", "0123456789")
@pytest.mark.parametrize("stroke", [1, 4, 12])
def test_a_digit_fills_the_box_and_its_centre_of_mass_is_in_the_middle(digit: str, stroke: int) -> None:
    centred = normalize_central_digit(ink_of(drawn(digit, stroke_px=stroke)))
    assert centred.shape == (28, 28) and centred.dtype == np.uint8
    _, _, width, height = cv2.boundingRect(centred)
    assert 19 <= max(width, height) <= 20
    moments = cv2.moments(centred)
    assert abs(moments["m10"] / moments["m00"] - 14) < 1
    assert abs(moments["m01"] / moments["m00"] - 14) < 1


def test_no_ink_gives_zeros() -> None:
    assert normalize_central_digit(np.zeros((50, 40), np.float32)).max() == 0


def test_a_normalized_digit_stays_as_it_is() -> None:
    once = digit_from_grey(drawn("3", stroke_px=12))
    assert distance(digit_from_grey(once), once) < 2


def test_hairlines_are_thickened() -> None:
    hairline = normalize_central_digit(ink_of(drawn("0", 600, stroke_px=3)))
    assert mean_stroke_width(hairline / np.float32(255)) > 1.7
    assert hairline.max() == 255


def test_the_place_on_the_page_does_not_matter() -> None:
    page = np.full((400, 400), 255, np.uint8)
    page[150:270, 100:220] = drawn("5")
    assert distance(normalize_central_digit(ink_of(page)), normalize_central_digit(ink_of(drawn("5")))) < 2


def test_the_bar_of_a_five_is_kept() -> None:
    five = drawn("5", stroke_px=8)
    five[26:34] = 255
    centred = normalize_central_digit(ink_of(five))
    assert cv2.connectedComponents((centred > 60).astype(np.uint8))[0] == 3
    assert cv2.boundingRect(centred)[3] == 20


def _framed(page: np.ndarray) -> None:
    cv2.rectangle(page, (0, 0), (119, 119), 0, 3)


def _specked(page: np.ndarray) -> None:
    for x, y in ((8, 8), (110, 20), (15, 105)):
        cv2.circle(page, (x, y), 2, 0, -1)


def _cut_neighbour(page: np.ndarray) -> None:
    page[20:100, 114:] = 0


def _ruled(page: np.ndarray) -> None:
    page[[6, 112]] = 90


def _ruled_through(page: np.ndarray) -> None:
    np.minimum(page[70:72], 60, out=page[70:72])


@pytest.mark.parametrize("spoil", [_framed, _specked, _cut_neighbour, _ruled, _ruled_through])
def test_frames_specks_neighbours_and_ruled_lines_are_removed(spoil: Callable[[np.ndarray], None]) -> None:
    page = drawn("3", stroke_px=8)
    spoil(page)
    assert distance(digit_from_grey(page), digit_from_grey(drawn("3", stroke_px=8))) < 8
