"""Ruled lines are found, and writing is not taken for them."""

from __future__ import annotations

import itertools

import numpy as np

from digitcli.imaging.binarization import find_ink
from digitcli.imaging.ruled_lines import find_ruled_lines
from tests.support.pictures import cut_tight, grey_of, written

NOISE = 0.004


def find_lines(darkness: np.ndarray, noise: float = NOISE) -> np.ndarray:
    ink = (darkness > max(0.06, 4 * noise)).astype(np.uint8)
    return find_ruled_lines(darkness.astype(np.float32), ink, noise)


def noisy(shape: tuple[int, int], spread: float = NOISE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) * spread


def test_a_row_of_equal_digits_is_not_a_line() -> None:
    for digit, gap in itertools.product("0123456789", (0.2, 0.4, 0.6)):
        for height_px, stroke_px, margin_px in ((100, 8, 10), (100, 14, 30), (40, 4, 30), (30, 2, 10)):
            paper, _ = written(digit * 10, height_px, gap=gap, stroke_px=stroke_px, margin_px=margin_px)
            assert find_lines(1 - grey_of(paper)).mean() < 0.001, (digit, gap, height_px)


def test_a_line_through_the_whole_picture_is_found() -> None:
    for strength in (0.02, 0.2, 0.8):
        darkness = noisy((300, 400))
        darkness[100:102] += strength
        for lines in (find_lines(darkness), find_lines(darkness.T).T):
            assert lines[100:102].mean() > 0.99, strength
            assert lines[:96].max() == 0 and lines[106:].max() == 0, strength
    sloping, dotted = noisy((300, 400)), noisy((300, 400))
    for x in range(400):
        sloping[100 + x // 40 : 102 + x // 40, x] = 0.3
        dotted[150:152, x] = 0.4 if x % 6 < 3 else dotted[150:152, x]
    for darkness in (sloping, dotted):
        assert find_lines(darkness)[darkness > 0.2].mean() > 0.95
    faint = noisy((300, 400), 0.02)
    faint[200:202] += 0.019  # below the noise
    assert find_lines(faint, 0.02)[200:202].mean() > 0.95
    assert find_lines(noisy((300, 400), 0.02), 0.02).max() == 0


def test_a_broad_bar_and_a_line_that_ends_within_the_picture_are_not_ruling() -> None:
    for place in (np.s_[100:102, :330], np.s_[100:130]):
        darkness = noisy((300, 400))
        darkness[place] = 0.5
        assert find_lines(darkness).max() == 0


def test_strokes_that_cross_a_line_keep_their_ink() -> None:
    for digit in "0123456789":
        crop = cut_tight(digit, 160, stroke_px=12)
        paper = np.full((320, 420), 255, np.uint8)
        height, width = crop.shape
        paper[60 : 60 + height, 150 : 150 + width] = crop
        alone = find_ink(grey_of(paper))
        for row in (95, 150, 195):
            paper[row : row + 2] = np.minimum(paper[row : row + 2], 150)
        ruled = find_ink(grey_of(paper))
        assert (ruled * (alone > 0.5)).sum() > 0.9 * alone[alone > 0.5].sum(), digit
        assert ruled[:, :140].max() == 0, digit


def test_crossings_of_lines_are_found() -> None:
    darkness = noisy((300, 400))
    darkness[50::40] = darkness[51::40] = 0.3
    darkness[:, 30::40] = darkness[:, 31::40] = 0.3
    assert find_lines(darkness)[darkness > 0.2].mean() > 0.999


def test_an_upright_stroke_between_two_lines_keeps_its_ink() -> None:
    paper = np.full((300, 400), 255, np.uint8)
    paper[[100, 101, 200, 201]] = 100
    paper[102:200, 197:205] = 0
    ink = find_ink(grey_of(paper))
    assert ink[105:197, 198:204].min() > 0.9
    assert ink[:, :190].max() == 0


def test_the_thin_sides_of_a_cell_between_two_lines_are_ruling() -> None:
    darkness = noisy((300, 400))
    darkness[100:102] = darkness[200:202] = 0.5
    darkness[102:200, 150:152] = 0.5
    assert find_lines(darkness)[102:200, 150:152].mean() > 0.99


def test_small_pictures_have_no_ruled_lines() -> None:
    for shape in ((31, 300), (300, 31), (28, 28), (1, 1)):
        darkness = np.zeros(shape, np.float32)
        darkness[shape[0] // 2] = 0.5
        lines = find_lines(darkness)
        assert lines.shape == shape and lines.max() == 0
