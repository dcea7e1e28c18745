"""A writer keeps the form of each digit and the gaps of the style; no ink leaves the canvas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from digitcli.synthesis.glyphs import glyph_of_image, glyph_of_strokes
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.writers import (
    Form,
    PlacedGlyph,
    Writer,
    Writing,
    draw_glyph,
    ink_profile,
    sample_style,
    write_text,
)

POINTS = np.array([[0, 0], [0.5, 0.5], [1, 1], [0, 1], [1, 0]], np.float32)


def test_the_plain_form_changes_nothing() -> None:
    np.testing.assert_allclose(Form(1, 0, 1).apply(POINTS, 0.5), POINTS)


def test_a_form_widens_the_top_and_lifts_the_waist() -> None:
    formed = Form(1, 0.2, 1.5).apply(POINTS, 0.5)
    assert formed[4, 0] - formed[0, 0] == pytest.approx(1.2)
    assert formed[2, 0] - formed[3, 0] == pytest.approx(0.8)
    assert formed[1].tolist() == pytest.approx([0.5, 0.5**1.5])
    assert formed[[0, 2], 1].tolist() == [0, 1]


def test_a_form_keeps_strokes_below_the_line() -> None:
    below = np.array([[0.5, 1.3]], np.float32)
    assert Form(1, 0.2, 1.5).apply(below, 0.5)[0].tolist() == pytest.approx([0.5, 1.3])


def test_the_same_digit_has_one_form_along_a_line(from_strokes: LineSynthesizer) -> None:
    random = np.random.default_rng(0)
    plain = dataclasses.replace(sample_style(random), jitter=0.0, wobble=0.0, repeats=True, forms=0.3)
    writer = {digit: samples[:1] for digit, samples in from_strokes._writers[0].items()}
    first, second = (Writer(plain, from_strokes._images, writer, np.random.default_rng(n)) for n in (1, 2))
    widths = {round(float(np.ptp(np.concatenate(first.write("2").strokes)[:, 0])), 2) for _ in range(4)}
    assert len(widths) == 1
    assert widths != {round(float(np.ptp(np.concatenate(second.write("2").strokes)[:, 0])), 2)}


def write(synthesizer: LineSynthesizer, text: str, **style: object) -> Writing:
    random = np.random.default_rng(3)
    plain = dataclasses.replace(sample_style(random), **style)
    writer = synthesizer._writers[0] if synthesizer._writers else None
    return write_text(random, Writer(plain, synthesizer._images, writer, random), text)


def test_a_wider_gap_makes_a_wider_line(from_mnist: LineSynthesizer) -> None:
    narrow, wide = (write(from_mnist, "5555", gap=gap) for gap in (-0.1, 0.6))
    assert wide.right - wide.left > narrow.right - narrow.left + 60


def test_a_writer_who_joins_digits_draws_strokes_between_them(from_strokes: LineSynthesizer) -> None:
    assert write(from_strokes, "3" * 10, joins=0.9, gap=0.1).joins
    assert not write(from_strokes, "3" * 10, joins=0.0, zero_joins=0.9, gap=0.1).joins
    assert write(from_strokes, "0" * 10, joins=0.0, zero_joins=0.9, gap=0.1).joins
    assert not write(from_strokes, "0,0,0", joins=0.9, zero_joins=0.9, gap=0.1).joins


def test_small_zeros_are_smaller(from_mnist: LineSynthesizer) -> None:
    small, usual = (write(from_mnist, "0", zero_height=height) for height in (0.5, 1.0))
    assert small.bottom - small.top < 0.8 * (usual.bottom - usual.top)


def test_ink_outside_of_the_canvas_is_cut_off() -> None:
    canvas = np.zeros((10, 10), np.uint8)
    mask = np.full((4, 4), 200, np.uint8)
    for x, y in ((-2, -2), (8, 8), (-9, 0), (0, 30)):
        draw_glyph(canvas, PlacedGlyph(mask, x, y))
    assert (canvas > 0).sum() == 8
    assert canvas[0, 0] == canvas[9, 9] == 200


def test_a_profile_is_the_first_and_last_ink_of_each_row() -> None:
    mask = np.zeros((3, 9), np.uint8)
    mask[1, 2:6] = 255
    left, right = ink_profile(mask)
    assert (left[1], right[1]) == (2, 5)
    assert left[0] > 10**5 and right[0] < -(10**5)
    assert PlacedGlyph(mask, 10, 20).box() == (12, 21, 16, 22)


def test_the_pen_sets_the_stroke_width_of_strokes_and_of_images(from_mnist: LineSynthesizer) -> None:
    seven = from_mnist._images[7][0]
    shape = np.array([[60, 0], [0, 60]], np.float32)
    stroke = np.array([[0, 0], [0, 50]], np.float32)
    thin, thick = (int((glyph_of_strokes([stroke], pen_px).mask > 100).sum()) for pen_px in (2, 8))
    assert thick > 3 * thin
    thin, thick = (int((glyph_of_image(seven, shape, 60, pen_px).mask > 100).sum()) for pen_px in (4, 10))
    assert thick > 1.3 * thin


def test_a_pale_glyph_has_ink() -> None:
    mask = np.zeros((9, 12), np.uint8)
    mask[2:7, 4:6] = 60
    left, right = ink_profile(mask)
    assert (left[2:7] == 4).all() and (right[2:7] == 5).all()
    assert PlacedGlyph(mask, 10, 20).box() == (14, 22, 16, 27)
