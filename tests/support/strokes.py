"""Pen strokes in the UNIPEN format."""

from __future__ import annotations

# A stroke with eight points stands for every digit, because nobody reads these files.
POINTS = "100 400\n 180 420\n 260 380\n 300 300\n 250 220\n 180 180\n 220 100\n 300 60\n"


def unipen(digit: int, writer: int, points: str = POINTS) -> str:
    """Return the segment of one digit, in the form of the published files."""
    return (
        f'.SEGMENT DIGIT    0 ? "{digit}"\n.COMMENT {digit} {writer}  224\n'
        f".PEN_DOWN\n {points}.PEN_UP\n.DT 100\n\n"
    )
