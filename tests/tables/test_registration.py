"""The blank of a form is found in photographs of it, and in no others."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.tables.registration import Blank, register
from tests.support.forms import FIELDS, blank_form, filled_form, on_photograph, photograph

TEXTS = {"field_1": "314159", "field_2": "2718", "field_3": "14"}


@pytest.fixture(scope="module")
def blank() -> Blank:
    return Blank.of(blank_form())


@pytest.fixture(scope="module")
def corners() -> np.ndarray:
    """The corners (N, 2) of all fields."""
    boxes = [box for box, _ in FIELDS.values()]
    return np.array([(x + dx * w, y + dy * h) for x, y, w, h in boxes for dx in (0, 1) for dy in (0, 1)])


def test_a_bent_page_in_perspective_is_registered_within_two_pixels(
    blank: Blank, corners: np.ndarray
) -> None:
    """It is bent by eight pixels; a homography alone is farther off."""
    page, matrix, bend = photograph(filled_form(blank.picture, TEXTS))

    match, found = register(page, blank)

    assert found is not None and match.inliers >= match.needed
    away = np.hypot(*(found.on_page(corners) - on_photograph(corners, matrix, bend)).T) / found.fineness
    assert away.mean() < 2


@pytest.mark.parametrize("turns", [1, 2])
def test_a_page_that_is_turned_is_found_as_well(blank: Blank, turns: int) -> None:
    page, _, _ = photograph(filled_form(blank.picture, TEXTS), bend_px=2)

    _, found = register(np.ascontiguousarray(np.rot90(page, turns)), blank)

    assert found is not None
    upright = found.crop((0, 0, *blank.picture.shape[::-1]), 1.0)
    assert np.corrcoef(upright.ravel(), blank.picture.ravel())[0, 1] > 0.5


def test_other_forms_and_empty_pages_are_none(blank: Blank) -> None:
    """Another form has boxes at the same places and other print in the same font; a mirror image is none."""
    other, _, _ = photograph(blank_form(seed=3))
    mirrored, _, _ = photograph(np.ascontiguousarray(blank.picture[:, ::-1]))

    for page in (other, mirrored, np.full((900, 700), 230, np.uint8)):
        match, found = register(page, blank)
        assert found is None and match.inliers < match.needed


def test_the_print_of_a_field_is_taken_away_and_its_strokes_stay(blank: Blank) -> None:
    page, _, _ = photograph(filled_form(blank.picture, TEXTS))
    _, found = register(page, blank)
    assert found is not None

    filled, empty = (found.without_print(FIELDS[name][0]) for name in ("field_1", "field_4"))

    assert len(filled.strokes) == 6 and not len(empty.strokes)
    assert empty.picture.min() > 0.7 * np.median(empty.picture)
