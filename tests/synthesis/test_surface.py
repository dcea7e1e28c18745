"""Surfaces of things of all sizes, and pages that lie on them as sheets."""

from __future__ import annotations

import numpy as np

from digitcli.synthesis.page import Kind, Page, line_box
from digitcli.synthesis.stamps import Stamp
from digitcli.synthesis.surface import draw_surface


def test_a_surface_depends_on_the_generator_alone_and_stays_in_range() -> None:
    first, again, other = (draw_surface(np.random.default_rng(seed), (60, 90)) for seed in (4, 4, 5))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (60, 90) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1


def test_most_surfaces_show_things() -> None:
    surfaces = [draw_surface(np.random.default_rng(seed), (120, 160)) for seed in range(40)]
    spread = [float(np.ptp(surface)) for surface in surfaces]
    assert sum(each > 0.3 for each in spread) > 20
    assert len({round(float(surface.mean()), 1) for surface in surfaces}) > 4


def test_a_sheet_keeps_thin_ink_and_labels_it_where_it_lies() -> None:
    page = Page.blank(200, 300)
    mask = np.zeros((40, 11), np.uint8)
    mask[:, 5] = 255  # one pixel wide
    for x in range(10, 280, 13):
        page.put(Stamp(mask, np.array([[5, 0, 6, 40]], np.float32)), x, 60, Kind.NUMBER, "1")
    sheet = page.shrunk(0.4, 100, 50)
    ink = sheet.layers.writing.astype(float)
    assert ink.sum() / page.layers.writing.astype(float).sum() > 0.9 * 0.4**2
    for label in sheet.labels:
        box = line_box(label)
        assert box.height == 16
        x, y = int(box.x), round(box.y)
        assert ink[y, x - 1 : x + 2].sum() > 0.9 * 0.4 * 255
    assert sheet.layers.sheet[50:130, 100:220].all()
    assert sheet.layers.sheet.sum() == 255 * 80 * 120
