"""What line networks take and give: the format of strips, their columns, and the alphabet of the texts.

Every value is part of how the line networks were trained; another value needs a new training.
"""

from __future__ import annotations

STRIP_HEIGHT_PX = 40
STRIP_PAPER = 128  # the level of the paper; ink is darker or lighter
COLUMN_PX = 4  # pixels of a strip for each column of the network's output
BOX_SCALE_PX = 20.0  # pixels of a strip; the unit of the distances that a network predicts

DIGITS = "0123456789"
MARKS = ".,-/:+×*=%()[]#$€£÷"
OTHER = "□"  # stands for all other characters, however many
ALPHABET = DIGITS + MARKS + " " + OTHER  # a space separates two numbers
OPERATORS = frozenset("+×*÷=" + OTHER)  # separate two numbers, as a space does
SEPARATORS = OPERATORS | {" "}


def count_ctc_columns(text: str) -> int:
    """Return the number of columns that CTC needs for a text.

    Each character needs one, and a blank between equal characters needs another.
    """
    return len(text) + sum(left == right for left, right in zip(text, text[1:], strict=False))
