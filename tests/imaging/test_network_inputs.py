"""Pages and strips as networks see them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from digitcli.imaging.grayscale import shrink
from digitcli.imaging.network_inputs import (
    NEUTRAL,
    STRIP_HEIGHT_PX,
    LineBox,
    cut_strip,
    finder_input,
    turn,
    turned_shape,
)


def test_a_stroke_of_two_pixels_and_the_last_row_survive_any_shrinking() -> None:
    picture = np.full((640, 640), 230, np.uint8)
    picture[:, 301:303] = 20
    for factor in (2, 3.5, 7, 16):
        side = round(640 / factor)
        _, darkest, lightest = shrink(picture, side, side)
        assert (darkest.min(axis=1) == 20).all() and (lightest == 230).any(axis=1).all(), factor
    odd = np.full((333, 517), 255, np.uint8)
    odd[-1] = 0
    assert (shrink(odd, 20, 31)[1][-1] == 0).all()
    small = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    mean, darkest, lightest = shrink(small, 40, 60)  # an enlarged picture has three equal channels
    assert mean.shape == (40, 60) and np.array_equal(mean, darkest) and np.array_equal(mean, lightest)


def test_weak_light_changes_little_but_the_grey_itself() -> None:
    page = finder_input(np.full((90, 120), 200, np.uint8), 45, 60)
    assert page.shape == (4, 45, 60) and (page[:3] == NEUTRAL).all() and (page[3] == 200).all()
    random = np.random.default_rng(1)
    picture = np.full((128, 128), 240, np.uint8)
    for _ in range(12):
        x, y = random.integers(8, 110, 2)
        picture[y : y + 12, x : x + 3] = 40
    dim = (picture * 0.5).astype(np.uint8)
    bright_input, dim_input = (finder_input(grey, 128, 128).astype(int) for grey in (picture, dim))
    assert np.abs(bright_input[:3] - dim_input[:3]).max() <= 3
    assert np.abs(bright_input[3] - dim_input[3]).max() > 100


def _picture(angle: float, ink: int = 20, paper: int = 220) -> np.ndarray:
    """Draw a bar of 160 x 30 pixels about the middle of a page, turned by an angle in radians."""
    page = np.full((300, 400), paper, np.uint8)
    corners = LineBox(200, 150, 160, 30, angle).corners(160, 30)
    cv2.fillConvexPoly(page, np.round(corners).astype(np.int32), ink)
    return page


def test_a_sloping_line_becomes_level_and_its_points_lead_back_to_the_picture() -> None:
    for angle in (0.0, 0.3, -0.5):
        strip = cut_strip(_picture(angle), LineBox(200, 150, 160, 30, angle), margin=0.5)
        rows = np.flatnonzero((strip.image[0] < 64).mean(axis=1) > 0.5)
        assert strip.image.shape[:2] == (3, STRIP_HEIGHT_PX) and strip.image.shape[2] % 4 == 0
        assert rows.min() == pytest.approx(10, abs=1)  # the margin is half of the height
        assert rows.max() == pytest.approx(29, abs=1)
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
    # Beyond the edge of the picture is paper.
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


def test_all_of_a_turned_page_is_kept_and_its_lines_become_level() -> None:
    page = np.full((300, 400), 200, np.uint8)
    for step in range(-100, 101):
        page[150 + round(step * math.tan(math.radians(25))), 200 + step] = 0
    turned = turn(page, math.radians(25))
    assert turned.picture.shape == turned_shape(page.shape, math.radians(25))
    rows, _ = np.nonzero(turned.picture < 160)
    assert np.ptp(rows) <= 2
    assert turned.picture[0, 0] == 200


def test_a_place_on_the_turned_page_is_found_on_the_page() -> None:
    page = np.full((300, 400), 200, np.uint8)
    page[60:63, 330:333] = 0
    for degrees in (-30.0, 0.0, 12.0):
        turned = turn(page, math.radians(degrees))
        y, x = (place.mean() + 0.5 for place in np.nonzero(turned.picture < 130))
        box = turned.box_on_page(LineBox(x, y, 10, 5, 0.1))
        assert (box.x, box.y) == pytest.approx((331.5, 61.5), abs=1), degrees
        assert box.angle == pytest.approx(0.1 + math.radians(degrees))
