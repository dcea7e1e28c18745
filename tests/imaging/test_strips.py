"""Strips: a line is cut out level, at one height, with paper at 128."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.strips import STRIP_HEIGHT_PX, LineBox, cut_strip


def _picture(angle: float, ink: int = 20, paper: int = 220) -> np.ndarray:
    """Draw a bar of 160 x 30 pixels about the middle of a page, turned by an angle in radians."""
    page = np.full((300, 400), paper, np.uint8)
    corners = LineBox(200, 150, 160, 30, angle).corners(160, 30)
    cv2.fillConvexPoly(page, np.round(corners).astype(np.int32), ink)
    return page


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
def test_a_sloping_line_becomes_level(angle: float) -> None:
    strip = cut_strip(_picture(angle), LineBox(200, 150, 160, 30, angle), margin=0.5)
    rows = np.flatnonzero((strip.image[0] < 64).mean(axis=1) > 0.5)
    assert strip.image.shape[:2] == (3, STRIP_HEIGHT_PX)
    assert strip.image.shape[2] % 4 == 0
    assert rows.min() == pytest.approx(10, abs=1)  # the margin is half of the height
    assert rows.max() == pytest.approx(29, abs=1)


def test_points_of_a_strip_lead_back_to_the_picture() -> None:
    box = LineBox(200, 150, 160, 30, 0.3)
    strip = cut_strip(_picture(0.3), box, margin=0.2)
    middle = np.array([strip.image.shape[2] / 2, STRIP_HEIGHT_PX / 2, 1])
    assert strip.to_picture @ middle == pytest.approx([200, 150], abs=0.01)


def test_dark_and_light_ink_lie_on_either_side_of_the_paper() -> None:
    box = LineBox(200, 150, 160, 30, 0)
    dark = cut_strip(_picture(0, 20, 220), LineBox(260, 150, 160, 30, 0), 0.5).image[0]
    light = cut_strip(_picture(0, 220, 20), LineBox(260, 150, 160, 30, 0), 0.5).image[0]
    assert dark.min() <= 2
    assert light.max() >= 254
    assert np.median(dark) == np.median(light) == 128
    assert cut_strip(np.full((300, 400), 90, np.uint8), box, 0.2).image.std() == 0


def test_a_line_at_the_edge_of_the_picture_is_extended_by_its_border() -> None:
    strip = cut_strip(np.full((50, 50), 200, np.uint8), LineBox(0, 0, 40, 30, 0), 0.2)
    assert strip.image.shape[1] == STRIP_HEIGHT_PX
    assert (strip.image == 128).all()


def test_the_share_of_a_box_outside_of_the_picture_is_measured() -> None:
    assert LineBox(50, 50, 20, 10, 0).share_outside((100, 100)) == pytest.approx(0)
    assert LineBox(0, 50, 20, 10, 0).share_outside((100, 100)) == pytest.approx(0.5)
    assert LineBox(-50, 50, 20, 10, 0).share_outside((100, 100)) == pytest.approx(1)
    assert LineBox(50, 0, 20, 10, np.pi / 2).share_outside((100, 100)) == pytest.approx(0.5)
    # A square on its corner, whose centre lies on an edge.
    assert LineBox(0, 50, 20, 20, np.pi / 4).share_outside((100, 100)) == pytest.approx(0.5)
    assert LineBox(0, 0, 20, 20, np.pi / 4).share_outside((100, 100)) == pytest.approx(0.75)
