"""The text that a line network learns from the label of a picture. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from digitcli.evaluation.metrics import edit_distance
from digitcli.inference.ctc import best_path_of, digit_columns, log_probability, log_softmax
from digitcli.recognition.calibrate import numbers_of

# The probability of the label's digits below which the marks that a network reads beside them are not
# trusted: it misreads the line. Chosen by hand.
LEAST_PROBABILITY = 0.01
# The probability of a mark in a column from which it may be a part of the text: less is no more than a doubt.
LEAST_MARK_PROBABILITY = 0.1
# The largest share of the digits by which the readings of several regions may differ from the label that is
# divided between them. Chosen by hand.
LARGEST_DIFFERENCE = 1 / 3
# Digits by which the part of a label may be longer or shorter than what is read in its region.
LENGTH_DIFFERENCE = 2


def divide_label(label: str, readings: Sequence[str]) -> tuple[str, ...] | None:
    """Return the digits of a label that stand in each region of a picture; None if that cannot be told.

    A single region has all digits. As many regions as the label has numbers have one number each. Otherwise
    the division counts that is closest to what is read in the regions, by edit distance, if it is the only
    one.

    readings: the digits that are read in each region, in reading order.
    """
    numbers = numbers_of(label).split()
    digits = "".join(numbers)
    if len(readings) == 1 or not digits:
        return (digits,) * len(readings)
    if len(numbers) == len(readings):
        parts, distance = tuple(numbers), sum(map(edit_distance, readings, numbers))
    else:
        divided = _closest_division(digits, readings)
        if divided is None:
            return None
        parts, distance = divided
    return parts if distance <= LARGEST_DIFFERENCE * len(digits) else None


def _closest_division(digits: str, readings: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """Return the only division with the least edit distance, and this distance; None if there are several."""
    best: dict[int, tuple[int, int, tuple[str, ...]]] = {0: (0, 1, ())}  # end -> distance, ways, parts
    for reading in readings:
        longer: dict[int, tuple[int, int, tuple[str, ...]]] = {}
        for start, (distance, ways, parts) in best.items():
            shortest = max(0, len(reading) - LENGTH_DIFFERENCE)
            last = min(len(digits), start + len(reading) + LENGTH_DIFFERENCE)
            for end in range(start + shortest, last + 1):
                part = digits[start:end]
                total = distance + edit_distance(reading, part)
                known = longer.get(end)
                if known is None or total < known[0]:
                    longer[end] = total, ways, (*parts, part)
                elif total == known[0]:
                    longer[end] = total, ways + known[1], known[2]
        best = longer
    distance, ways, parts = best.get(len(digits), (0, 0, ()))
    return (parts, distance) if ways == 1 else None


def target_text(logits: npt.NDArray[np.float32], alphabet: str, temperature: float, digits: str) -> str:
    """Return the text to learn for a line: its digits with the marks that a network reads beside them.

    A label often has digits only, although points or a dash are written. Learning the digits alone would
    teach a network to overlook marks. If the network gives the digits less than `LEAST_PROBABILITY`, what it
    takes for marks may be digits, and the digits alone are learned.

    logits: (T, A + 1), the answer of the network to the line.
    """
    columns = digit_columns(logits, alphabet, temperature)
    if not digits or log_probability(columns, digits) < math.log(LEAST_PROBABILITY):
        return digits
    return best_path_of(log_softmax(logits, temperature), digits, alphabet, LEAST_MARK_PROBABILITY)


def marks_of(label: str, alphabet: str) -> str | None:
    """Return a label as a network writes it, if it has marks of the alphabet; None if it has digits only."""
    known = "".join(character for character in label if character in alphabet)
    return None if known.isdecimal() or not known else known
