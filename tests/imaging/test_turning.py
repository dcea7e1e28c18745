"""Pages that are turned by any angle, and the places on them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from digitcli.imaging.strips import LineBox
from digitcli.imaging.turning import turn, turned_shape


def test_all_of_a_turned_page_is_kept_and_its_lines_become_level() -> None:
    page = np.full((300, 400), 200, np.uint8)
    for step in range(-100, 101):
        page[150 + round(step * math.tan(math.radians(25))), 200 + step] = 0
    turned = turn(page, math.radians(25))
    assert turned.picture.shape == turned_shape(page.shape, math.radians(25))
    rows, _ = np.nonzero(turned.picture < 160)
    assert np.ptp(rows) <= 2
    assert turned.picture[0, 0] == 200


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 12.0])
def test_a_place_on_the_turned_page_is_found_on_the_page(degrees: float) -> None:
    page = np.full((300, 400), 200, np.uint8)
    page[60:63, 330:333] = 0
    turned = turn(page, math.radians(degrees))
    y, x = (place.mean() + 0.5 for place in np.nonzero(turned.picture < 130))
    box = turned.box_on_page(LineBox(x, y, 10, 5, 0.1))
    assert (box.x, box.y) == pytest.approx((331.5, 61.5), abs=1)
    assert box.angle == pytest.approx(0.1 + math.radians(degrees))
