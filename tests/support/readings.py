"""Build readings of pages."""

from __future__ import annotations

from digitcli.imaging.grayscale import Box
from digitcli.recognition.readings import Digit, Number, Reading


def number_of(text: str, confidence: float, box: Box = (0, 0, 9, 9)) -> Number:
    """Return a number, each digit of which is as sure and has the same box."""
    return Number(tuple(Digit(digit, confidence, box) for digit in text), confidence, raw=text)


def reading_of(*numbers: tuple[str, tuple[int, int, int, int]]) -> Reading:
    """Return a reading of numbers, each with one box x, y, width, height."""
    found = tuple(number_of(text, 0.9, box) for text, box in numbers)
    return Reading("page.png", None, "read", None, "", 0.9, found, "model")
