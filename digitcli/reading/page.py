"""Where the digits of a picture are: shapes found in its ink, in reading order. No torch.

Digits stand apart from each other here; strokes that touch are one shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from digitcli.pictures import find_ink
from digitcli.pictures.centring import fit_digit
from digitcli.pictures.shapes import Box, Pieces

VIEWS_PX = (20, 16)  # the box that each view of a digit is fitted into
_SIDE_PX = 640  # digits that fill a good part of the picture are looked for at this size
_LARGE_SIDE_PX = 2560  # and small ones at up to this
_SMALL_PX = 24  # digits below this height are looked at again in more pixels
_NUMBER_GAP = 1.1  # of a digit's height: wider gaps part two numbers


@dataclass(frozen=True)
class Shape:
    """Something that may be a digit: `box` is x, y, width, height in pixels of the picture; `views` are what
    a network sees of it, uint8 (V, 28, 28), white on black, the first as large as the digits of MNIST are;
    `cut_off` where it runs out of the picture.
    """

    box: Box
    views: np.ndarray
    cut_off: bool


Numbers = tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True)
class Page:
    """The numbers of a picture in reading order, each a row of shapes, and the ink they were found in.

    `ink` is float32 (H, W), smaller than the picture where that was large.
    """

    numbers: Numbers
    ink: np.ndarray


def find_page(grey: np.ndarray) -> Page:
    """Find the digits in a grey picture (H, W), float32 in [0, 1].

    A picture is first looked at in few pixels, which shows anything written large and forgives the paper's
    texture; where what is found there is small, again in more.
    """
    page, height_px = _find(grey, _SIDE_PX)
    if 0 < height_px < _SMALL_PX and max(grey.shape) > _SIDE_PX:
        side_px = min(_LARGE_SIDE_PX, round(_SIDE_PX * 2 * _SMALL_PX / height_px))
        page, _ = _find(grey, side_px)
    return page


def _find(grey: np.ndarray, side_px: int) -> tuple[Page, float]:
    """The page as it looks with a longer side of `side_px`, and the height of its digits in these pixels."""
    scale = max(grey.shape) / side_px
    if scale > 1:
        size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    ink = find_ink(grey)
    pieces = Pieces(ink)
    groups = pieces.digits()
    boxes = [pieces.box(group) for group in groups]
    numbers = tuple(
        tuple(_shape(pieces, groups[index], max(scale, 1.0)) for index in number)
        for line in _lines(boxes)
        for number in _split_at_gaps(boxes, line)
    )
    return Page(numbers, ink), float(np.median([box[3] for box in boxes])) if boxes else 0.0


def _shape(pieces: Pieces, group: list[int], scale: float) -> Shape:
    x, y, width, height = (round(side * scale) for side in pieces.box(group))
    cut_off = bool(pieces.touches_edge[group].any())
    ink = pieces.cut_out(group)
    views = np.stack([fit_digit(ink, box_px) for box_px in VIEWS_PX])
    return Shape((x, y, width, height), views, cut_off)


def _lines(boxes: list[Box]) -> list[list[int]]:
    """Indices of boxes, line by line from top to bottom, each line from left to right.

    A box continues the line whose last box it overlaps most in height, so lines may slope.
    """
    lines: list[list[int]] = []
    for index in sorted(range(len(boxes)), key=lambda index: boxes[index][0]):
        overlaps = [_overlap(boxes[line[-1]], boxes[index]) for line in lines]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] > 0.4:
            lines[best].append(index)
        else:
            lines.append([index])
    return sorted(lines, key=lambda line: float(np.mean([boxes[i][1] + boxes[i][3] / 2 for i in line])))


def _overlap(one: Box, other: Box) -> float:
    """The rows two boxes share, as a share of the lower one's height."""
    shared = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return shared / max(min(one[3], other[3]), 1)


def _split_at_gaps(boxes: list[Box], line: list[int]) -> list[list[int]]:
    """A line cut into numbers where the gap between two digits is wide for their height."""
    wide = _NUMBER_GAP * float(np.median([boxes[index][3] for index in line]))
    gaps = [boxes[right][0] - sum(boxes[left][::2]) for left, right in zip(line, line[1:], strict=False)]
    numbers = [[line[0]]]
    for index, gap in zip(line[1:], gaps, strict=True):
        if gap > wide and gap > 2 * float(np.median(gaps)):
            numbers.append([])
        numbers[-1].append(index)
    return numbers
