"""Photographed paper is lighter than its ink, and lies on surfaces of things of all sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.network_inputs import line_ink
from digitcli.synthesis import paper
from digitcli.synthesis.page import Kind, Layers, Page, line_box
from digitcli.synthesis.paper import draw_surface, photograph, security_pattern
from digitcli.synthesis.stamps import Stamp


def written(width: int = 300) -> np.ndarray:
    ink = np.zeros((80, width), np.uint8)
    cv2.putText(ink, "4071", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 255, 6, cv2.LINE_AA)
    return ink


def test_a_photograph_is_half_as_high_and_darker_where_there_is_ink() -> None:
    random, ink = np.random.default_rng(0), written()
    small = cv2.resize(ink, (150, 40), interpolation=cv2.INTER_AREA)
    for _ in range(30):
        picture = photograph(random, ink, np.zeros_like(ink))
        assert picture.shape == (40, 150) and picture.dtype == np.uint8
        assert picture[small > 200].mean() < picture[small == 0].mean()


def test_lines_of_any_length_get_noise() -> None:
    ink = written(9000)
    assert {photograph(np.random.default_rng(seed), ink, ink).shape for seed in range(3)} == {(40, 4500)}


def test_security_patterns_lie_between_0_and_1() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        pattern = security_pattern(random, (40, 100))
        assert pattern.shape == (40, 100) and pattern.dtype == np.float32
        assert pattern.min() >= 0 and pattern.max() <= 1.001


@pytest.mark.parametrize("paper, pen", [(250, 20), (250, 150), (120, 10)])
def test_normalization_makes_ink_white_and_paper_black(paper: int, pen: int) -> None:
    ink = cv2.resize(written(), (150, 40), interpolation=cv2.INTER_AREA) / 255
    light = np.linspace(0.7, 1, 150)
    grey = ((paper - (paper - pen) * ink) * light).astype(np.uint8)
    image = line_ink(grey)
    assert image[ink > 0.9].mean() > 220 and image[ink == 0].mean() < 40


def test_blank_paper_stays_black() -> None:
    assert line_ink(np.full((40, 90), 200, np.uint8)).max() == 0


def test_some_pictures_are_drawn_on_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "SCREEN_SHARE", 1.0)
    writing = np.zeros((40, 60), np.uint8)
    writing[10:30, 20:40] = 255
    blank = np.zeros_like(writing)
    layers = Layers(writing, blank, blank, blank + 255)
    grounds = set()
    for seed in range(20):
        picture = paper.photograph_page(np.random.default_rng(seed), layers, 20.0)
        assert len(np.unique(picture)) == 2
        assert abs(int(picture[20, 30]) - int(picture[0, 0])) > 150
        grounds.add(int(picture[0, 0]))
    assert grounds == {0, 255}


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
