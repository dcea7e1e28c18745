"""Look once more where no number was found: in the boxes of fields, and in ruled cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from digitcli.imaging.grayscale import Box, Grey, median
from digitcli.recognition.readings import Number
from digitcli.tables.plane import Plane

# Of heights of a digit, if nothing else is said; chosen by hand.
INSET = 0.12  # from the rules around a cell
LARGEST = 12.0  # of a cell that is looked at
INK = (
    0.5  # contrast in a cell, as a share of that of the digits of the page, from which something stands there
)
DIGIT_PX = 32  # height of a digit as it is seen
LEVELS = (0.02, 0.5, 0.98)  # quantiles that are the dark, the middle and the light of a part of a page

ReadBlank = Callable[[Grey], Number | None]  # takes a part of a page, uint8 (H, W)


@dataclass(frozen=True)
class Blank:
    """A place in which no digit was read.

    row, column: of its table.
    start, end, top, bottom: its sides on the plane.
    is_box: whether it holds one digit at most.
    """

    row: int
    column: int
    start: float
    end: float
    top: float
    bottom: float
    is_box: bool = False


def read_blanks(
    grey: Grey, plane: Plane, blanks: Sequence[Blank], boxes: Sequence[Box], read_blank: ReadBlank
) -> Iterator[tuple[Blank, Number]]:
    """Yield the numbers that stand in blanks of a page, uint8 (H, W), after all.

    boxes: of the numbers that were found before.
    """
    limit = INK * median(np.array([_contrast(_cut(grey, box)) for box in boxes]))
    for blank in blanks:
        width, height = blank.end - blank.start - 2 * INSET, blank.bottom - blank.top - 2 * INSET
        if not 0 < width < LARGEST or not 0 < height < LARGEST:
            continue
        size = max(8, round(width * DIGIT_PX)), max(8, round(height * DIGIT_PX))
        sides = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        corners = np.array([blank.start, blank.top]) + INSET + sides * [width, height]
        matrix = cv2.getPerspectiveTransform(
            plane.on_page(corners).astype(np.float32), (sides * size).astype(np.float32)
        )
        seen = np.asarray(cv2.warpPerspective(grey, matrix, size, flags=cv2.INTER_AREA), np.uint8)
        if _contrast(seen) < limit:
            continue
        number = read_blank(seen)
        if number is not None and not (blank.is_box and len(number.digits) > 1):
            yield blank, _on_page(number, np.linalg.inv(matrix))


def _cut(grey: Grey, box: Box) -> Grey:
    x, y, width, height = box
    return grey[max(y, 0) : y + height, max(x, 0) : x + width]


def _contrast(part: Grey) -> float:
    dark, middle, light = np.quantile(part, LEVELS) if part.size else (0.0, 0.0, 0.0)
    return float(max(middle - dark, light - middle))


def _on_page(number: Number, matrix: np.ndarray) -> Number:
    """Return a number with the boxes of its digits on the page."""
    digits = []
    for digit in number.digits:
        x, y, width, height = digit.box
        corners = np.array([[(x, y), (x + width, y), (x + width, y + height), (x, y + height)]], np.float32)
        left, top, across, down = cv2.boundingRect(cv2.perspectiveTransform(corners, matrix))
        digits.append(replace(digit, box=(left, top, across, down)))
    return replace(number, digits=tuple(digits))
