"""Where the numbers of a picture are: shapes found in its ink, line by line in reading order. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.imaging.binarization import enhance_faint_marks, find_ink, limit_size
from digitcli.imaging.components import Box, ConnectedComponents
from digitcli.imaging.normalization import normalize_digit
from digitcli.imaging.quantiles import median
from digitcli.recognition.fractions import in_fractions
from digitcli.recognition.line_crops import LineView, view_line, view_whole

VIEWS_PX = (20, 16)  # the box that each view of a digit is fitted into
_SIDE_PX = 640  # digits that fill a good part of the picture are looked for at this size
_LARGE_SIDE_PX = 2560  # and small ones at up to this
_SMALL_PX = 24  # digits below this height are looked at again in more pixels
_NUMBER_GAP = 1.1  # of a digit's height: wider gaps part two numbers
_UNUSUAL_GAP = 2.0  # if they are this many times as wide as the narrow ones,
_LONE_GAP = 2.0  # or where there is one gap alone, this wide,
_WIDEST_GAP = 4.0  # or this wide whatever the others are
_FILLING = 0.35  # of a picture's height: digits as high as this make it one line
_STRIP_PX, _STRIP_ASPECT = 160, 1.6  # a picture so low and so wide for that is one line
_TALL, _ROW = 0.6, 0.25  # of the tallest digit's height and of a strip's: what is alone and lower is no line
_SHARED, _NEXT = 0.5, 1.3  # of its rows and of the widest step: a digit at the edge that belongs to a number
_WIDEST_DIGIT = 1.3  # times its height; what is wider is several that touch
_LEAST_WIDTH = 0.5  # of a digit's height: slimmer digits stand in as much room as this


@dataclass(frozen=True)
class Shape:
    """Something that may be a digit: `box` is x, y, width, height in pixels of the picture; `views` are what
    a network sees of it, uint8 (V, 28, 28), white on black, the first as large as the digits of MNIST are;
    `cut_off` where it runs out of the picture.
    """

    box: Box
    views: np.ndarray
    cut_off: bool


@dataclass(frozen=True)
class Region:
    """A number: the shapes found in it from left to right, and where they are asked for, views of its line.

    Strokes that touch are one shape. `whole` where the views show the whole picture, which is one line;
    `in_fraction` where a bar parts it from another number, `runs_out` where a digit of it is at the picture's
    edge, and may be cut off.
    """

    shapes: tuple[Shape, ...]
    views: tuple[LineView, ...] = ()
    whole: bool = False
    in_fraction: bool = False
    runs_out: bool = False


@dataclass(frozen=True)
class Page:
    """The numbers of a picture in reading order, and the ink they were found in.

    `ink` is float32 (H, W), smaller than the picture where that was large; `faint` where it is no darker than
    stains, show-through or the paper's texture may be.
    """

    regions: tuple[Region, ...]
    ink: np.ndarray
    faint: bool = False


def find_page(grey: np.ndarray, with_lines: bool = False) -> Page:
    """Find the numbers in a grey picture (H, W), float32 in [0, 1]; `with_lines` for a line network too.

    Where there are none, faint marks are looked for.
    """
    page = _find_page(grey, with_lines)
    if page.regions or (lifted := enhance_faint_marks(grey)) is None:
        return page
    faint = _find_page(lifted, with_lines)
    return replace(faint, faint=True) if faint.regions else page


def _find_page(grey: np.ndarray, with_lines: bool) -> Page:
    """The numbers of a picture, which is first looked at in few pixels: that shows anything written large and
    forgives the paper's texture. Where what is found there is small, it is looked at again in more.
    """
    pieces, groups, boxes = _find(grey, _SIDE_PX)
    height_px = median(boxes[:, 3]) if len(boxes) else _SMALL_PX
    if height_px < _SMALL_PX and max(grey.shape) > _SIDE_PX:
        side_px = min(_LARGE_SIDE_PX, round(_SIDE_PX * 2 * _SMALL_PX / height_px))
        pieces, groups, boxes = _find(grey, side_px)
    lines = _lines(boxes)
    line = _only_line(boxes, lines, grey.shape, len(pieces.ink)) if with_lines else None
    if line is not None:
        shapes = tuple(_shape(pieces, groups[index], grey.shape, views=False) for index in line)
        return Page((Region(shapes, view_whole(grey), whole=True),), pieces.ink)
    regions = []
    numbers = [number for line in lines for number in _split_at_gaps(boxes, line)]
    for number, in_fraction in zip(numbers, in_fractions(pieces, groups, numbers), strict=True):
        views = _are_separate(boxes[number]) or not with_lines
        shapes = tuple(_shape(pieces, groups[index], grey.shape, views) for index in number)
        seen = view_line(grey, pieces.ink, [shape.box for shape in shapes]) if with_lines else ()
        runs_out = len(number) > 1 and _runs_out(pieces, [groups[index] for index in number], boxes[number])
        regions.append(Region(shapes, seen, in_fraction=in_fraction, runs_out=runs_out))
    return Page(tuple(regions), pieces.ink)


def _only_line(
    boxes: np.ndarray, lines: list[list[int]], picture: tuple[int, ...], height_px: int
) -> list[int] | None:
    """The boxes on a picture that is one line from top to bottom: a strip, such as a field cut out of a form,
    or a line of touching digits that are as high. None where it is something else.

    Of a strip nothing need be known: what lies behind the writing may hide all of it.
    """
    height, width = picture
    if height <= _STRIP_PX and width >= _STRIP_ASPECT * height:
        least = max(_TALL * boxes[:, 3].max(initial=0), _ROW * height_px)
        rows = [line for line in lines if len(line) > 1 or boxes[line[0], 3] >= least]
        tops = [boxes[line, 1].min() for line in rows]
        bottoms = [(boxes[line, 1] + boxes[line, 3]).max() for line in rows]
        if max(tops, default=0) < min(bottoms, default=1):
            in_order: list[int] = np.argsort(boxes[:, 0], kind="stable").tolist()
            return in_order
    filling = [line for line in lines if median(boxes[line, 3]) >= _FILLING * height_px]
    if len(filling) != 1 or _are_separate(boxes[filling[0]]):
        return None
    line = filling[0]
    top, bottom = boxes[line, 1].min(), (boxes[line, 1] + boxes[line, 3]).max()
    middles = boxes[:, 1] + boxes[:, 3] / 2
    return None if ((middles < top) | (middles > bottom)).any() else line


def _runs_out(pieces: ConnectedComponents, digits: list[list[int]], boxes: np.ndarray) -> bool:
    """Whether a number of several digits, boxes (N, 4), goes on with one at the edge, which was left out.

    Beside a digit that stands alone such a one is the neighbour in a form.
    """
    middles = boxes[:, 0] + boxes[:, 2] / 2
    top, bottom = boxes[:, 1].min(), (boxes[:, 1] + boxes[:, 3]).max()
    for x, y, width, height in pieces.digits_at_edge(digits):
        shared = min(y + height, bottom) - max(y, top)
        steps = np.abs(middles - (x + width / 2))
        if shared > _SHARED * height and steps.min() < _NEXT * np.diff(middles).max():
            return True
    return False


def _are_separate(boxes: np.ndarray) -> bool:
    """Whether none of the boxes (N, 4) is so wide that several digits must touch in it."""
    return bool((boxes[:, 2] <= _WIDEST_DIGIT * boxes[:, 3]).all())


def _find(grey: np.ndarray, side_px: int) -> tuple[ConnectedComponents, list[list[int]], np.ndarray]:
    """The pieces of the picture as it looks with a longer side of `side_px`, those of each digit, and the
    boxes of the digits, (N, 4).
    """
    pieces = ConnectedComponents(find_ink(limit_size(grey, side_px)))
    groups = pieces.group_digits()
    return pieces, groups, np.array([pieces.box(group) for group in groups]).reshape(-1, 4)


def _shape(pieces: ConnectedComponents, group: list[int], picture: tuple[int, ...], views: bool) -> Shape:
    """One shape, its box in pixels of the picture, which is (H, W), with or without views of it."""
    x, y, width, height = pieces.box(group)
    down, across = picture[0] / pieces.ink.shape[0], picture[1] / pieces.ink.shape[1]
    left, right = round(x * across), round((x + width) * across)
    top, bottom = round(y * down), round((y + height) * down)
    cut_off = bool(pieces.touches_edge[group].any())
    box = left, top, right - left, bottom - top
    if not views:
        return Shape(box, np.zeros((0, 28, 28), np.uint8), cut_off)
    ink = pieces.crop_ink(group)
    return Shape(box, np.stack([normalize_digit(ink, box_px) for box_px in VIEWS_PX]), cut_off)


def _lines(boxes: np.ndarray) -> list[list[int]]:
    """Indices of boxes (N, 4), line by line from top to bottom, each line from left to right.

    A box continues the line whose last box shares most rows with it, so lines may slope.
    """
    if len(boxes) == 1:
        return [[0]]
    lines: list[list[int]] = []
    lasts = np.zeros_like(boxes)
    for index in np.argsort(boxes[:, 0], kind="stable"):
        shared = _shared_rows(lasts[: len(lines)], boxes[index])
        lower = np.minimum(lasts[: len(lines), 3], boxes[index, 3])
        shared[shared <= 0.4 * lower] = 0
        line = int(np.argmax(shared)) if shared.any() else len(lines)
        if line == len(lines):
            lines.append([])
        lines[line].append(int(index))
        lasts[line] = boxes[index]
    return sorted(lines, key=lambda line: float(np.mean(boxes[line, 1] + boxes[line, 3] / 2)))


def _shared_rows(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """How many rows each of the boxes (N, 4) shares with one, (N,)."""
    ends = np.minimum(boxes[:, 1] + boxes[:, 3], box[1] + box[3])
    shared: np.ndarray = np.maximum(ends - np.maximum(boxes[:, 1], box[1]), 0)
    return shared


def _split_at_gaps(boxes: np.ndarray, line: list[int]) -> list[list[int]]:
    """A line cut into numbers where the gap between two digits is wide for their height.

    Slim digits count as broader than they are, or a 1 would part numbers by the paper around it.
    """
    if len(line) == 1:
        return [line]
    x, _, width, height = boxes[line].T
    typical = median(height)
    reach = np.maximum(width, _LEAST_WIDTH * typical) / 2
    gaps = np.diff(x + width / 2) - reach[1:] - reach[:-1]
    numbers = [[line[0]]]
    for index, wide in zip(line[1:], wide_gaps(gaps, typical), strict=True):
        if wide:
            numbers.append([])
        numbers[-1].append(index)
    return numbers


def wide_gaps(gaps: np.ndarray, height: float) -> np.ndarray:
    """Which of the gaps between digits of such a height, (N,), part two numbers: bool (N,)."""
    least = _LONE_GAP * height
    if len(gaps) > 1:
        narrow = float(np.quantile(gaps, 0.25, method="lower"))
        least = min(max(_NUMBER_GAP * height, _UNUSUAL_GAP * narrow), _WIDEST_GAP * height)
    wide: np.ndarray = gaps > least
    return wide
