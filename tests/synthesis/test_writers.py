"""What is written and how: texts, marks, strokes and letters, and the style that a writer keeps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import InputError
from digitcli.strip_format import ALPHABET, DIGITS, MARKS
from digitcli.synthesis import glyphs
from digitcli.synthesis.glyphs import draw_mark, glyph_of_image, glyph_of_strokes, hash_fonts, render_letters
from digitcli.synthesis.stamps import WritingRoom
from digitcli.synthesis.strokes import load_writers
from digitcli.synthesis.texts import sample_amount, sample_integer, sample_number, sample_word
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


def test_texts_have_the_characters_that_can_be_drawn_and_the_lengths_asked_for() -> None:
    random = np.random.default_rng(0)
    numbers = [sample_number(random) for _ in range(4000)]
    assert {character for text in numbers for character in text} == set(DIGITS + MARKS)
    assert all(set(text) & set(DIGITS) for text in numbers)
    assert set(MARKS) == set(glyphs.MARKS) and len(set(ALPHABET)) == len(ALPHABET)
    assert {len(sample_integer(random, 2, 5)) for _ in range(200)} == {2, 3, 4, 5}
    assert not any(set(sample_word(random)) & set(DIGITS) for _ in range(500))
    slashes = [draw_mark(random, "/")[0][:, 1] for _ in range(500)]  # taller than a digit at both ends
    assert all(y.min() <= -0.05 and y.max() >= 1.05 for y in slashes)


def test_an_amount_separates_cents_and_thousands_by_different_marks() -> None:
    random = np.random.default_rng(3)
    texts = [sample_amount(random) for _ in range(2000)]
    both = [text for text in texts if re.fullmatch(r"\d{1,3}([.,])\d{3}(\1\d{3})*[.,]\d\d", text)]
    assert len(both) > 50 and all(text[-3] != text[-7] for text in both)
    assert all(1 <= sum(map(str.isdecimal, text)) <= 10 for text in texts)


def test_the_package_has_the_strokes_of_163_writers() -> None:
    writers = load_writers()
    assert len(writers) == 163 and all(sorted(writer) == list(range(10)) for writer in writers)
    samples = [sample for writer in writers for digit in writer.values() for sample in digit]
    points = np.concatenate([stroke for sample in samples[::50] for stroke in sample])
    assert len(samples) == 33_168 and points.min() >= 0 and points[:, 1].max() <= 1.001


def test_letters_are_rendered_in_the_fonts_of_a_folder(fonts: Path) -> None:
    without, letters = render_letters(), render_letters(fonts)
    added = letters[len(without) :]
    assert len(added) == len(without) / 5 == len({image.tobytes() for image in added})
    assert all(image.shape == (28, 28) and image.any() for image in letters)
    before = hash_fonts(fonts)
    (fonts / "below" / "OFL.txt").write_text("another")
    assert hash_fonts(fonts) == before
    (fonts / "two.otf").write_bytes(b"more")
    assert hash_fonts(fonts) != before


def test_folders_without_a_readable_font_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no font"):
        render_letters(tmp_path)
    for content in (b"", b"no font at all", b"\x00\x01\x00\x00" + bytes(400)):
        (tmp_path / "bad.ttf").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.ttf"):
            render_letters(tmp_path)


def test_a_form_widens_the_top_and_lifts_the_waist() -> None:
    np.testing.assert_allclose(Form(1, 0, 1).apply(POINTS, 0.5), POINTS)
    formed = Form(1, 0.2, 1.5).apply(POINTS, 0.5)
    assert formed[4, 0] - formed[0, 0] == pytest.approx(1.2)
    assert formed[2, 0] - formed[3, 0] == pytest.approx(0.8)
    assert formed[1].tolist() == pytest.approx([0.5, 0.5**1.5])
    assert formed[[0, 2], 1].tolist() == [0, 1]
    below = np.array([[0.5, 1.3]], np.float32)
    assert Form(1, 0.2, 1.5).apply(below, 0.5)[0].tolist() == pytest.approx([0.5, 1.3])


def test_the_same_digit_has_one_form_along_a_line(room: WritingRoom) -> None:
    random = np.random.default_rng(0)
    plain = dataclasses.replace(sample_style(random), jitter=0.0, wobble=0.0, repeats=True, forms=0.3)
    writer = {digit: samples[:1] for digit, samples in room._writers[0].items()}
    first, second = (Writer(plain, room._images, writer, np.random.default_rng(n)) for n in (1, 2))
    widths = {round(float(np.ptp(np.concatenate(first.write("2").strokes)[:, 0])), 2) for _ in range(4)}
    assert len(widths) == 1
    assert widths != {round(float(np.ptp(np.concatenate(second.write("2").strokes)[:, 0])), 2)}


def write(room: WritingRoom, text: str, *, strokes: bool, **style: object) -> Writing:
    random = np.random.default_rng(3)
    plain = dataclasses.replace(sample_style(random), **style)
    writer = room._writers[0] if strokes else None
    return write_text(random, Writer(plain, room._images, writer, random), text)


def test_a_style_sets_gaps_the_height_of_zeros_and_joins(room: WritingRoom) -> None:
    narrow, wide = (write(room, "5555", strokes=False, gap=gap).bounds() for gap in (-0.1, 0.6))
    assert wide[2] - wide[0] > narrow[2] - narrow[0] + 60
    small, usual = (write(room, "0", strokes=False, zero_height=height).bounds() for height in (0.5, 1.0))
    assert small[3] - small[1] < 0.8 * (usual[3] - usual[1])
    assert write(room, "3" * 10, strokes=True, joins=0.9, gap=0.1).joins
    assert not write(room, "3" * 10, strokes=True, joins=0.0, zero_joins=0.9, gap=0.1).joins
    assert write(room, "0" * 10, strokes=True, joins=0.0, zero_joins=0.9, gap=0.1).joins
    assert not write(room, "0,0,0", strokes=True, joins=0.9, zero_joins=0.9, gap=0.1).joins


def test_the_pen_sets_the_stroke_width_of_strokes_and_of_images(room: WritingRoom) -> None:
    seven = room._images[7][0]
    shape = np.array([[60, 0], [0, 60]], np.float32)
    stroke = np.array([[0, 0], [0, 50]], np.float32)
    thin, thick = (int((glyph_of_strokes([stroke], pen_px).mask > 100).sum()) for pen_px in (2, 8))
    assert thick > 3 * thin
    thin, thick = (int((glyph_of_image(seven, shape, 60, pen_px).mask > 100).sum()) for pen_px in (4, 10))
    assert thick > 1.3 * thin


def test_glyphs_have_profiles_and_boxes_and_are_cut_off_at_the_canvas() -> None:
    canvas = np.zeros((10, 10), np.uint8)
    for x, y in ((-2, -2), (8, 8), (-9, 0), (0, 30)):
        draw_glyph(canvas, PlacedGlyph(np.full((4, 4), 200, np.uint8), x, y))
    assert (canvas > 0).sum() == 8 and canvas[0, 0] == canvas[9, 9] == 200
    for level in (255, 60):  # a pale glyph has ink, too
        mask = np.zeros((3, 9), np.uint8)
        mask[1, 2:6] = level
        left, right = ink_profile(mask)
        assert (left[1], right[1]) == (2, 5) and left[0] > 10**5 and right[0] < -(10**5)
        assert PlacedGlyph(mask, 10, 20).box() == (12, 21, 16, 22)
