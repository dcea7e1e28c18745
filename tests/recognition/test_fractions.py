"""A number above a bar and one below it are a fraction, and no two numbers."""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.recognition.fractions import shows_fraction
from digitcli.recognition.readings import Digit, Number
from tests.support.pictures import cut_tight

Mark = tuple[str, int, int]  # a number, or "-120" for a bar 120 pixels long; x and y


def drawn(*marks: Mark) -> tuple[np.ndarray, list[Number]]:
    """Draw numbers and bars on white paper, and return the numbers with exact boxes."""
    paper, numbers = np.full((700, 700), 235, np.uint8), []
    for text, x, y in marks:
        if text[0] == "-":
            cv2.line(paper, (x, y), (x + int(text[1:]), y + 3), 30, 8)
            continue
        digits = []
        for digit in text:
            crop = cut_tight(digit)
            height, width = crop.shape
            paper[y : y + height, x : x + width] = np.minimum(paper[y : y + height, x : x + width], crop)
            digits.append(Digit(digit, 0.9, (x, y, width, height)))
            x += width + 20
        numbers.append(Number(tuple(digits), 0.9, raw=text))
    return paper, numbers


def test_numbers_above_and_below_a_bar_are_a_fraction() -> None:
    for upper, lower in (("1", "2"), ("3", "16"), ("15", "16")):
        for gap in (8, 30, 60):
            bar = f"-{90 * max(len(upper), len(lower))}", 285, 255 + gap
            page, numbers = drawn((upper, 300, 150), bar, (lower, 300, 262 + 2 * gap))
            for each in (page, 255 - page):
                assert shows_fraction(each, numbers) and shows_fraction(each, numbers[::-1])
                assert not shows_fraction(each, numbers[:1])
                assert not shows_fraction(each, [*numbers, numbers[0]])


NO_FRACTIONS: dict[str, tuple[Mark, ...]] = {
    "two lines": (("12", 300, 150), ("34", 300, 300)),
    "a long rule": (("12", 300, 150), ("-600", 50, 280), ("34", 300, 320)),
    "a sum": (("12", 300, 50), ("34", 300, 200), ("-200", 280, 330), ("46", 300, 370)),
    "longer numbers": (("1234", 150, 150), ("-350", 140, 280), ("5678", 150, 310)),
    "underlined, and another below": (("12", 300, 100), ("-180", 290, 220), ("34", 300, 330)),
    "another above, and overlined": (("12", 300, 80), ("-180", 290, 320), ("34", 300, 335)),
    "a bar beside": (("12", 300, 150), ("-200", 480, 280), ("34", 300, 310)),
    "a table": (
        ("-200", 270, 120), ("12", 300, 150), ("-200", 270, 280), ("34", 300, 310), ("-200", 270, 440),
    ),
    "a short dash": (("12", 300, 150), ("-50", 330, 280), ("34", 300, 310)),
    "dashes": (("12", 300, 150), ("-40", 290, 280), ("-40", 360, 280), ("-40", 430, 280), ("34", 300, 310)),
    "a number beside, below a bar": (("12", 200, 150), ("-290", 190, 280), ("34", 350, 310)),
}  # fmt: skip


def test_other_numbers_and_bars_are_no_fraction() -> None:
    for kind, marks in NO_FRACTIONS.items():
        assert not shows_fraction(*drawn(*marks)), kind


def test_a_bar_is_no_stripe_and_may_touch_the_digits() -> None:
    page, numbers = drawn(("12", 300, 150), ("34", 300, 330))
    (x, y, width, height), below = numbers[0].box, numbers[1].box[1]
    for thickness, expected in ((8, True), (50, False)):
        middle = (y + height + below) // 2
        striped = page.copy()
        striped[middle - thickness // 2 : middle + thickness // 2, x - 10 : x + width + 10] = 30
        assert shows_fraction(striped, numbers) == expected
        striped[middle - 30 : middle + 30, x + width // 3 : x + width // 3 + 4] = 235  # a small break
        assert shows_fraction(striped, numbers) == expected
    page, numbers = drawn(("12", 300, 150), ("-180", 285, 248), ("34", 300, 246))
    assert shows_fraction(page, numbers)
