"""Ruled lines are found, and writing is not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.imaging.binarization import find_ink
from digitcli.imaging.ruled_lines import find_ruled_lines
from tests.support.pictures import cut_tight, grey_of, written

NOISE = 0.004


def find_lines(darkness: np.ndarray, noise: float = NOISE) -> np.ndarray:
    ink = (darkness > max(0.06, 4 * noise)).astype(np.uint8)
    return find_ruled_lines(darkness.astype(np.float32), ink, noise)


def noisy(shape: tuple[int, int], spread: float = NOISE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) * spread


@pytest.mark.parametrize("gap", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("digit", "0123456789")
def test_a_row_of_equal_digits_is_not_a_line(digit: str, gap: float) -> None:
    for height_px, stroke_px, margin_px in ((100, 8, 10), (100, 14, 30), (40, 4, 30), (30, 2, 10)):
        paper, _ = written(digit * 10, height_px, gap=gap, stroke_px=stroke_px, margin_px=margin_px)
        assert find_lines(1 - grey_of(paper)).mean() < 0.001


@pytest.mark.parametrize("strength", [0.02, 0.2, 0.8])
@pytest.mark.parametrize("turned", [False, True])
def test_a_line_through_the_whole_picture_is_found(strength: float, turned: bool) -> None:
    darkness = noisy((300, 400))
    darkness[100:102] += strength
    lines = find_lines(darkness.T if turned else darkness)
    lines = lines.T if turned else lines
    assert lines[100:102].mean() > 0.99
    assert lines[:96].max() == 0 and lines[106:].max() == 0


def test_a_line_fainter_than_the_noise_is_found() -> None:
    darkness = noisy((300, 400), 0.02)
    darkness[200:202] += 0.019
    lines = find_lines(darkness, 0.02)
    assert lines[200:202].mean() > 0.95
    assert find_lines(noisy((300, 400), 0.02), 0.02).max() == 0


def test_a_slightly_sloping_line_is_found() -> None:
    darkness = noisy((300, 400))
    for x in range(400):
        darkness[100 + x // 40 : 102 + x // 40, x] = 0.3
    assert find_lines(darkness)[darkness > 0.2].mean() > 0.95


def test_a_dotted_line_is_found() -> None:
    darkness = noisy((300, 400))
    for x in range(0, 400, 6):
        darkness[150:152, x : x + 3] = 0.4
    assert find_lines(darkness)[darkness > 0.2].mean() > 0.95


def test_a_line_that_ends_within_the_picture_is_not_ruling() -> None:
    darkness = noisy((300, 400))
    darkness[100:102, :330] = 0.5
    assert find_lines(darkness).max() == 0


def test_a_broad_bar_is_not_ruling() -> None:
    darkness = noisy((300, 400))
    darkness[100:130] = 0.5
    assert find_lines(darkness).max() == 0


@pytest.mark.parametrize("digit", "0123456789")
def test_strokes_that_cross_a_line_keep_their_ink(digit: str) -> None:
    crop = cut_tight(digit, 160, stroke_px=12)
    paper = np.full((320, 420), 255, np.uint8)
    height, width = crop.shape
    paper[60 : 60 + height, 150 : 150 + width] = crop
    alone = find_ink(grey_of(paper))
    for row in (95, 150, 195):
        paper[row : row + 2] = np.minimum(paper[row : row + 2], 150)
    ruled = find_ink(grey_of(paper))
    assert (ruled * (alone > 0.5)).sum() > 0.9 * alone[alone > 0.5].sum()
    assert ruled[:, :140].max() == 0


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


@pytest.mark.parametrize("shape", [(31, 300), (300, 31), (28, 28), (1, 1)])
def test_small_pictures_have_no_ruled_lines(shape: tuple[int, int]) -> None:
    darkness = np.zeros(shape, np.float32)
    darkness[shape[0] // 2] = 0.5
    lines = find_lines(darkness)
    assert lines.shape == shape and lines.max() == 0
