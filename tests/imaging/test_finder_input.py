"""The input of the page finder: thin ink survives, and the contrast does not depend on the light."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.imaging.finder_input import NEUTRAL, finder_input, shrink


def test_a_flat_picture_is_neutral_and_keeps_its_grey() -> None:
    page = finder_input(np.full((90, 120), 200, np.uint8), 45, 60)
    assert page.shape == (4, 45, 60)
    assert (page[:3] == NEUTRAL).all()
    assert (page[3] == 200).all()


@pytest.mark.parametrize("factor", [2, 3.5, 7, 16])
def test_a_stroke_of_two_pixels_survives_any_shrinking(factor: float) -> None:
    picture = np.full((640, 640), 230, np.uint8)
    picture[:, 301:303] = 20
    side = round(640 / factor)
    _, darkest, lightest = shrink(picture, side, side)
    assert (darkest.min(axis=1) == 20).all()
    assert (lightest == 230).any(axis=1).all()


def test_an_enlarged_picture_has_three_equal_channels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    mean, darkest, lightest = shrink(picture, 40, 60)
    assert mean.shape == (40, 60)
    assert np.array_equal(mean, darkest)
    assert np.array_equal(mean, lightest)


def test_weak_light_changes_little_but_the_grey_itself() -> None:
    random = np.random.default_rng(1)
    picture = np.full((128, 128), 240, np.uint8)
    for _ in range(12):
        x, y = random.integers(8, 110, 2)
        picture[y : y + 12, x : x + 3] = 40
    dim = (picture * 0.5).astype(np.uint8)
    bright_input, dim_input = (finder_input(grey, 128, 128).astype(int) for grey in (picture, dim))
    assert np.abs(bright_input[:3] - dim_input[:3]).max() <= 3
    assert np.abs(bright_input[3] - dim_input[3]).max() > 100


def test_an_odd_size_is_shrunk_without_losing_its_last_row() -> None:
    picture = np.full((333, 517), 255, np.uint8)
    picture[-1] = 0
    _, darkest, _ = shrink(picture, 20, 31)
    assert (darkest[-1] == 0).all()
