"""A bar between two short numbers makes a fraction of them; rules, sums and minus signs do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.recognition.segmentation import find_numbers
from tests.support.pictures import cut_tight, grey_of

SIDE = 700


def sheet(*marks: tuple[str, int, int]) -> np.ndarray:
    """Draw numbers on white paper, each by its text, x and y; "-120" is a bar 120 pixels long."""
    paper = np.full((SIDE, SIDE), 255, np.uint8)
    for text, x, y in marks:
        if text[0] == "-":
            cv2.line(paper, (x, y), (x + int(text[1:]), y + 3), 0, 8)
            continue
        for digit in text:
            crop = cut_tight(digit)
            paper[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
            x += crop.shape[1] + 20
    return paper


def in_fraction(paper: np.ndarray) -> list[bool]:
    return [region.is_in_fraction for region in find_numbers(grey_of(paper)).regions]


@pytest.mark.parametrize("gap", [18, 30, 60])
@pytest.mark.parametrize(("upper", "lower"), [("1", "2"), ("3", "16"), ("15", "16")])
def test_numbers_above_and_below_a_bar_are_a_fraction(upper: str, lower: str, gap: int) -> None:
    wide = max(len(upper), len(lower))
    marks = ((upper, 300, 150), (f"-{90 * wide}", 285, 255 + gap), (lower, 300, 262 + 2 * gap))
    assert in_fraction(sheet(*marks)) == [True, True]


NO_FRACTIONS = {
    "two lines": (("12", 300, 150), ("34", 300, 300)),
    "a long rule": (("12", 300, 150), ("-600", 50, 280), ("34", 300, 320)),
    "a sum": (("12", 300, 50), ("34", 300, 200), ("-200", 280, 330), ("46", 300, 370)),
    "longer numbers": (("1234", 150, 150), ("-350", 140, 280), ("5678", 150, 310)),
    "underlined, and another below": (("12", 300, 100), ("-180", 290, 220), ("34", 300, 500)),
    "a bar beside": (("12", 300, 150), ("-100", 500, 280), ("34", 300, 310)),
}


@pytest.mark.parametrize("kind", NO_FRACTIONS)
def test_other_numbers_and_bars_are_no_fraction(kind: str) -> None:
    assert not any(in_fraction(sheet(*NO_FRACTIONS[kind])))
