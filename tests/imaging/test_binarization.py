"""Ink is found in any light and polarity, and never on blank paper."""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.imaging.binarization import find_ink
from digitcli.imaging.digits import digit_from_grey
from tests.support.pictures import distance, drawn, written

GREY = drawn().astype(np.float32) / 255
SLOPE = np.linspace(0.4, 1, 120, dtype=np.float32)[None] * np.linspace(0.7, 1, 120, dtype=np.float32)[:, None]


def test_ink_is_one_and_paper_is_zero_and_edges_are_soft() -> None:
    ink = find_ink(GREY)
    assert ink.dtype == np.float32 and ink.shape == GREY.shape
    assert ink[GREY == 0].min() == 1 and ink[GREY == 1].max() < 1e-4
    assert ((ink > 0.1) & (ink < 0.9)).any()


def test_shaded_paper_gives_the_ink_of_even_paper() -> None:
    assert np.array_equal(digit_from_grey(drawn()), digit_from_grey(GREY))
    assert distance(digit_from_grey(GREY * SLOPE), digit_from_grey(GREY)) < 5
    assert find_ink(GREY * SLOPE)[:5].max() == 0
    shadowed = GREY.copy()
    shadowed[:, :30] *= 0.5
    assert distance(digit_from_grey(shadowed), digit_from_grey(GREY)) < 5


def test_both_polarities_give_the_same_digit_also_where_it_fills_the_picture() -> None:
    for digit in "0123456789":
        assert distance(digit_from_grey(drawn(digit)), digit_from_grey(255 - drawn(digit))) < 1, digit
        for stroke_px in (6, 16) if digit != "1" else ():
            grey = drawn(digit, stroke_px=stroke_px)
            x, y, w, h = cv2.boundingRect(255 - grey)
            tight, whole = np.ascontiguousarray(grey[y : y + h, x : x + w]), digit_from_grey(grey)
            assert distance(digit_from_grey(tight), whole) < 12, (digit, stroke_px)
            assert distance(digit_from_grey(255 - tight), whole) < 12, (digit, stroke_px)


def _step(shape: tuple[int, int], blur_px: float, slant: float = 0.0) -> np.ndarray:
    """Return light that falls by a fifth across the middle of a page (H, W)."""
    down, across = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    beyond = across - shape[1] / 2 + slant * (down - shape[0] / 2)
    return 1 - np.float32(0.1) * (1 + np.tanh(beyond / blur_px))


def test_the_edge_of_a_shadow_is_not_ink() -> None:
    noise = np.random.default_rng(0).standard_normal((400, 600)) * 0.01
    digit = np.pad(drawn("3", 180), ((110, 110), (30, 390)), constant_values=255) / 255
    for blur_px in (0.5, 2, 8, 30):
        for slant in (0.0, 0.3):
            step = _step((400, 600), blur_px, slant)
            assert find_ink((0.88 * step + noise).astype(np.float32)).max() == 0, (blur_px, slant)
            ink = find_ink((0.88 * digit * step + noise).astype(np.float32))
            assert ink[digit == 0].min() > 0.6 and ink[:, 230:].max() == 0, (blur_px, slant)
    noise = np.random.default_rng(0).standard_normal((600, 900)) * 0.01
    for slant in (0.0, 0.1, 0.3):  # a deep shadow with a sharp edge in a large picture
        page = 0.88 * _step((600, 900), 2, slant) ** 2.7 + noise
        assert find_ink(page.astype(np.float32)).max() == 0, slant


def test_writing_near_the_border_is_found_black_or_faint_or_beside_black_borders() -> None:
    for place in (np.s_[2:42, 150:190], np.s_[356:396, 250:290], np.s_[180:220, 2:42]):
        page = np.full((400, 600), 0.9, np.float32)
        page[place] = 0.9 - 0.7 * (1 - cv2.resize(drawn("3"), (40, 40), interpolation=cv2.INTER_AREA) / 255)
        ink = find_ink(page)
        assert ink[place].max() == 1, place
        ink[place] = 0
        assert ink.max() == 0, place
    page = 1 - 0.15 * (1 - drawn("3", 480) / np.float32(255))
    written = page < 0.9
    page[:30] = page[-30:] = 0
    assert find_ink(page)[written].mean() > 0.9
    page = np.full((480, 480), 1, np.float32)
    page[50:150, 50:150] -= 0.15 * (1 - drawn("3", 100) / np.float32(255))
    assert find_ink(page).max() == 1


def test_marks_fainter_than_the_least_contrast_are_paper() -> None:
    for contrast, found in ((0.03, 0), (0.045, 0), (0.08, 1), (0.12, 1)):
        page = 0.9 * (1 - contrast * (1 - drawn("3", 240, stroke_px=12) / np.float32(255)))
        assert find_ink(page).max() == found, contrast
    noise = np.random.default_rng(0).standard_normal((480, 480)) * 0.01
    pencil = 0.8 - 0.12 * (1 - drawn("3", 480, stroke_px=6) / 255.0) + noise
    assert find_ink(pencil.astype(np.float32)).max() == 1


def test_the_paler_part_of_a_faint_stroke_is_ink() -> None:
    paper = np.full((200, 300), 0.9, np.float32)
    paper[60:140, 100:110] = 0.9 * 0.93
    paper[60:140, 150:160] = paper[100:140, 100:110] = 0.9 * 0.95
    ink = find_ink(paper)
    assert ink[60:140, 100:110].min() > 0.4
    assert ink[:, 150:160].max() == 0  # equally pale, but without a darker part


def test_faint_writing_is_equally_dark_everywhere_in_steeply_sloping_light() -> None:
    across = np.linspace(1, 0.35, 480, dtype=np.float32)[None]
    page = np.ones((480, 480), np.float32)
    for left in (0, 160, 320):
        page[160:320, left : left + 160] -= 0.2 * (1 - drawn("3", 160) / np.float32(255))
    ink = find_ink(page * across)
    assert ink[page < 0.82].min() > 0.8
    assert ink[page == 1].max() < 0.1


def test_blank_paper_has_no_ink_also_if_it_is_noisy_textured_and_shaded() -> None:
    for side_px in (1, 5, 28, 100, 500):
        for level in (0.0, 0.3, 0.8, 1.0):
            assert find_ink(np.full((side_px, side_px), level, np.float32)).max() == 0, (side_px, level)
    for seed in range(3):
        noise: np.ndarray = np.random.default_rng(seed).standard_normal((240, 240))
        texture = cv2.GaussianBlur(noise, (0, 0), 2)
        for pattern in (noise, texture / texture.std()):
            for spread in (0.005, 0.02, 0.05):
                for light in (cv2.resize(SLOPE, (240, 240)), 0.8):
                    paper = np.clip(light + spread * pattern, 0, 1).astype(np.float32)
                    assert find_ink(paper).max() == 0, (seed, spread)


def test_pictures_of_any_shape_are_read() -> None:
    for shape in ((1, 1), (1, 20_000), (20_000, 1), (2, 3), (3000, 2)):
        grey = np.random.default_rng(0).random(shape, np.float32)
        assert find_ink(grey).shape == shape
        assert digit_from_grey(grey).shape == (28, 28)


def test_a_large_picture_keeps_its_resolution() -> None:
    page = cv2.resize(drawn(), (1800, 1800), interpolation=cv2.INTER_LINEAR)
    ink = find_ink(page.astype(np.float32) / 255)
    assert ink.shape == (1800, 1800)
    assert np.abs(ink - (1 - page / 255.0)).mean() < 0.01
    assert distance(digit_from_grey(page), digit_from_grey(drawn())) < 4


def test_chalk_on_a_blackboard_beside_ink_on_paper_is_found() -> None:
    paper = written("3058")[0].astype(np.float32) / 255 * 0.75 + 0.2
    for axis in (0, 1):
        expected = np.concatenate([find_ink(paper)] * 2, axis=axis)
        for parts in ([paper, 1.1 - paper], [1.1 - paper, paper]):
            ink = find_ink(np.concatenate(parts, axis=axis))
            assert np.mean((ink > 0.5) != (expected > 0.5)) < 0.002, axis
