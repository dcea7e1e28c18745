"""Build readings of pages."""

from __future__ import annotations

from digitcli.recognition.readings import Digit, Number, Reading


def reading_of(*numbers: tuple[str, tuple[int, int, int, int]]) -> Reading:
    """Return a reading of numbers, each with one box x, y, width, height."""
    found = tuple(
        Number(tuple(Digit(digit, 0.9, box) for digit in text), 0.9, raw=text) for text, box in numbers
    )
    return Reading("page.png", None, "read", None, "", 0.9, found, "model")
