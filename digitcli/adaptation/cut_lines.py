"""Tell whether a crop of a line shows only a part of its label. NumPy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from digitcli.inference.ctc import Columns, align, best_path, log_probability
from digitcli.inference.runtime import LineOutput
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX

# The probability of the label from which on the crop may show all of it, whatever else is likelier.
LEAST_PROBABILITY = 0.01
# The ink, from 0 to 255, and the rows of it that make a column of a crop part of a stroke.
LEAST_INK, LEAST_ROWS = 100, 2
# The least columns of ink of a digit that is not read, as a share of the mean width of those that are. It is
# less than the width of a 1. Chosen, like the two values above, on 500 composed lines, half of them cut off:
# of the clean ones 438 cut and no whole line were found, and with noise 205 cut and 3 whole ones.
LEAST_SHARE_OF_WIDTH = 0.3


def shows_part_only(image: npt.NDArray[np.uint8], answer: LineOutput, columns: Columns, digits: str) -> bool:
    """Tell whether a crop, uint8 (40, W), shows a part of a label's digits, and no ink where others would be.

    This is so if the network reads a part of the digits, takes all of them for unlikely, and beside what it
    reads is less ink than the others need. A number that the network misreads in another way, or whose other
    digits have left ink, is probably whole.

    answer, columns: what the network answers to the crop, and the log-probabilities of its digits (T, 11).
    """
    reading = best_path(columns)
    if not reading or len(reading) >= len(digits) or reading not in digits or answer.distances is None:
        return False
    if log_probability(columns, digits) >= math.log(LEAST_PROBABILITY):
        return False
    places = align(columns, reading)
    to_sides = answer.distances * BOX_SCALE_PX  # T, 4
    left = (places[0] + 0.5) * COLUMN_PX - float(to_sides[places[0], 0])
    right = (places[-1] + 0.5) * COLUMN_PX + float(to_sides[places[-1], 1])
    has_stroke = (image >= LEAST_INK).sum(axis=0) >= LEAST_ROWS  # W
    before, after = has_stroke[: max(0, int(left) - 1)].sum(), has_stroke[math.ceil(right) + 1 :].sum()
    needed = LEAST_SHARE_OF_WIDTH * (right - left) / len(reading)
    starts = [start for start in range(len(digits)) if digits.startswith(reading, start)]
    return not any(
        before >= needed * start and after >= needed * (len(digits) - start - len(reading))
        for start in starts
    )
