"""Tell a fraction with a bar from two numbers, one above the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey
from digitcli.recognition.readings import Number

# Lengths are in heights of the lower of two numbers, if nothing else is said. The values were chosen on 260
# composed fractions and on 200 synthetic pages with two or three numbers in a column.
MOST_DIGITS = 3  # of a part: longer numbers above each other are a sum
INK = 0.5  # of the contrast of the digits, from which a pixel belongs to a bar
SHORTEST_BAR = 0.9  # length, in widths of the wider number
LONGEST_OVERHANG = 1.5  # by which a bar may be longer than the wider number; longer ones are rules
THICKEST_BAR = 0.3
LARGEST_BREAK = 0.15  # in a bar
LARGEST_GAP = 0.9  # between a number and the bar, in heights of the number
NEAREST = 0.12  # a bar reaches so far into the boxes of the digits, which are not exact
SURROUNDINGS = 0.8  # above and below the numbers, in which a rule shows that they stand in a table


def shows_fraction(grey: Grey, numbers: Sequence[Number]) -> bool:
    """Tell whether a page, uint8 (H, W), shows nothing but one number above a fraction bar, and one below.

    The boxes of the numbers lie on the page. Another rule above or below them is that of a table.
    """
    if len(numbers) != 2 or any(len(number.text) > MOST_DIGITS for number in numbers):
        return False
    upper, lower = sorted((number.box for number in numbers), key=lambda box: box[1])
    height, widths = min(upper[3], lower[3]), (upper[2], lower[2])
    top, bottom = upper[1] + upper[3], lower[1]
    shared = min(upper[0] + upper[2], lower[0] + lower[2]) - max(upper[0], lower[0])
    if shared < min(widths) / 2:
        return False
    paper, contrast = _contrast_of(grey, (upper, lower))

    def has_bar(first: float, last: float, span: Box, longest: float) -> bool:
        rows = slice(max(0, int(first)), max(0, int(np.ceil(last))))
        marks = (grey[rows].astype(np.float32) - paper) / contrast > INK
        return _has_bar(marks, (span[0], span[0] + span[2]), height, longest)

    around, wider = SURROUNDINGS * height, max(upper, lower, key=lambda box: box[2])
    middle, reach = (top + bottom) / 2, max((bottom - top) / 2, NEAREST * height)
    first = max(middle - reach, bottom - LARGEST_GAP * lower[3])
    last = min(middle + reach, top + LARGEST_GAP * upper[3])
    is_between = has_bar(first, last, wider, max(widths) + LONGEST_OVERHANG * height)
    in_table = is_between and (
        has_bar(upper[1] - around, upper[1], upper, np.inf)
        or has_bar(lower[1] + lower[3], lower[1] + lower[3] + around, lower, np.inf)
    )
    return is_between and not in_table


def _contrast_of(grey: Grey, boxes: Sequence[Box]) -> tuple[float, float]:
    """Return the grey of the paper of some digits, and that of their ink less that of the paper."""
    parts = [grey[max(0, int(y)) : int(y + h), max(0, int(x)) : int(x + w)].ravel() for x, y, w, h in boxes]
    paper, dark, light = np.quantile(np.concatenate(parts), (0.5, 0.05, 0.95))
    return float(paper), float(max(dark - paper, light - paper, key=abs)) or 1.0


def _has_bar(marks: npt.NDArray[np.bool_], span: tuple[float, float], height: float, longest: float) -> bool:
    """Tell whether a thin bar crosses the middle of a span of columns and is nearly as long, or longer."""
    columns = np.flatnonzero(marks.any(axis=0))
    if not len(columns):
        return False
    ends = np.flatnonzero(np.diff(columns) > max(2, LARGEST_BREAK * height))
    for first, last in zip(columns[np.r_[0, ends + 1]], columns[np.r_[ends, -1]], strict=True):
        length, thickness = last - first + 1, marks[:, first : last + 1].sum(axis=0).mean()
        is_long = SHORTEST_BAR * (span[1] - span[0]) <= length <= longest
        if first <= sum(span) / 2 <= last and is_long and thickness <= THICKEST_BAR * height:
            return True
    return False
