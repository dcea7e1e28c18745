"""Stage 1, find: where the numbers of a page are. No torch.

The digits are connected components of the ink. They are grouped into lines and numbers by their boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.imaging.binarization import enhance_faint_marks, find_ink, limit_size
from digitcli.imaging.components import Box, ConnectedComponents
from digitcli.imaging.grayscale import median
from digitcli.recognition.grouping import find_fractions, group_lines, split_at_gaps

# All values were chosen by hand while pictures and their answers were watched.

# Pixels of the longer side at which digits that fill a good part of the picture are searched.
SIDE_PX = 640
# Pixels of the longer side at most, for small digits.
LARGE_SIDE_PX = 2560
# Height in pixels below which digits are searched again in more pixels.
SMALL_DIGIT_PX = 24
# Share of the picture's height from which digits make the picture one line.
FILLING_HEIGHT = 0.35
# Height in pixels of a strip at most: a low, wide picture that is one line.
STRIP_HEIGHT_PX = 160
# Width of a strip at least, in heights of the picture.
STRIP_ASPECT = 1.6
# In a strip a single component is a line of its own from this share of the tallest digit's height on ...
LONE_HEIGHT = 0.6
# ... and from this share of the strip's height on.
LONE_STRIP_HEIGHT = 0.25
# Share of its rows that a digit at the edge shares with the number that it belongs to, at least.
EDGE_OVERLAP = 0.5
# Distance of a digit at the edge from its neighbour at most, in widest steps between the number's digits.
EDGE_STEP = 1.3
# Width of a single digit at most, in heights of it; a wider component is several digits that touch.
WIDEST_DIGIT = 1.3


@dataclass(frozen=True)
class Component:
    """Ink that may be a digit; strokes that touch are one component.

    box: x, y, width, height in pixels of the picture.
    is_cut_off: whether the component runs out of the picture.
    ink: its ink alone, float32 (h, w) in [0, 1], or None where only a line network can read the number.
    """

    box: Box
    is_cut_off: bool
    ink: np.ndarray | None = None


@dataclass(frozen=True)
class Region:
    """The place of a number on the page.

    components: what may be its digits, from left to right.
    is_whole_picture: whether the picture is one line, which may hold several numbers.
    is_in_fraction: whether a fraction bar parts it from another number.
    runs_out: whether a further digit of it lies at the picture's edge, where it may be cut off.
    """

    components: tuple[Component, ...]
    is_whole_picture: bool = False
    is_in_fraction: bool = False
    runs_out: bool = False


@dataclass(frozen=True)
class PageLayout:
    """The regions of a page and the pictures in which they were found.

    regions: the numbers in reading order.
    grey: the picture, float32 (H, W) in [0, 1]; its faint marks are lifted where `is_faint`.
    ink: float32 (h, w) in [0, 1], smaller than the picture where that is large.
    is_faint: whether the ink is no darker than stains, show-through or the texture of paper may be.
    """

    regions: tuple[Region, ...]
    grey: np.ndarray
    ink: np.ndarray
    is_faint: bool = False


def find_numbers(grey: np.ndarray, with_lines: bool = False) -> PageLayout:
    """Find the numbers in a grey picture (H, W), float32 in [0, 1]; where there are none, search faint marks.

    `with_lines` says that a line network will read the numbers, so that their digits may touch.
    """
    layout = _find_regions(grey, with_lines)
    if layout.regions or (lifted := enhance_faint_marks(grey)) is None:
        return layout
    faint_layout = _find_regions(lifted, with_lines)
    return replace(faint_layout, is_faint=True) if faint_layout.regions else layout


def _find_regions(grey: np.ndarray, with_lines: bool) -> PageLayout:
    """Find the regions in few pixels first, and in more pixels where the digits are small.

    Few pixels show anything written large, and they hide the texture of the paper.
    """
    connected, groups, boxes = _find_digits(grey, SIDE_PX)
    height_px = median(boxes[:, 3]) if len(boxes) else SMALL_DIGIT_PX
    if height_px < SMALL_DIGIT_PX and max(grey.shape) > SIDE_PX:
        side_px = min(LARGE_SIDE_PX, round(SIDE_PX * 2 * SMALL_DIGIT_PX / height_px))
        connected, groups, boxes = _find_digits(grey, side_px)
    lines = group_lines(boxes)
    only_line = _only_line(boxes, lines, grey.shape, len(connected.ink)) if with_lines else None
    if only_line is not None:
        components = tuple(_component(connected, groups[index], grey.shape, False) for index in only_line)
        return PageLayout((Region(components, is_whole_picture=True),), grey, connected.ink)
    regions = []
    numbers = [number for line in lines for number in split_at_gaps(boxes, line)]
    for number, is_in_fraction in zip(numbers, find_fractions(connected, groups, numbers), strict=True):
        keep_ink = _are_separate(boxes[number]) or not with_lines
        components = tuple(_component(connected, groups[index], grey.shape, keep_ink) for index in number)
        runs_out = len(number) > 1 and _runs_out(
            connected, [groups[index] for index in number], boxes[number]
        )
        regions.append(Region(components, is_in_fraction=is_in_fraction, runs_out=runs_out))
    return PageLayout(tuple(regions), grey, connected.ink)


def _find_digits(grey: np.ndarray, side_px: int) -> tuple[ConnectedComponents, list[list[int]], np.ndarray]:
    """Find the digits of the picture reduced to a longer side of `side_px`.

    Returns the connected components, the indices of the components of each digit, and the boxes of the
    digits (N, 4) in pixels of the reduced picture.
    """
    connected = ConnectedComponents(find_ink(limit_size(grey, side_px)))
    groups = connected.group_digits()
    return connected, groups, np.array([connected.box(group) for group in groups]).reshape(-1, 4)


def _component(
    connected: ConnectedComponents, group: list[int], picture: tuple[int, ...], keep_ink: bool
) -> Component:
    """Return the component of a digit, its box in pixels of the picture (H, W)."""
    x, y, width, height = connected.box(group)
    down, across = picture[0] / connected.ink.shape[0], picture[1] / connected.ink.shape[1]
    left, right = round(x * across), round((x + width) * across)
    top, bottom = round(y * down), round((y + height) * down)
    is_cut_off = bool(connected.touches_edge[group].any())
    ink = connected.crop_ink(group) if keep_ink else None
    return Component((left, top, right - left, bottom - top), is_cut_off, ink)


def _only_line(
    boxes: np.ndarray, lines: list[list[int]], picture: tuple[int, ...], height_px: int
) -> list[int] | None:
    """Return the indices of the boxes of a picture that is one line from top to bottom, else None.

    Such a picture is a strip, for example a field cut out of a form, or a line of touching digits that are as
    high as the picture. A strip may have no boxes at all: the background may hide all of the writing.
    """
    height, width = picture
    if height <= STRIP_HEIGHT_PX and width >= STRIP_ASPECT * height:
        least = max(LONE_HEIGHT * boxes[:, 3].max(initial=0), LONE_STRIP_HEIGHT * height_px)
        rows = [line for line in lines if len(line) > 1 or boxes[line[0], 3] >= least]
        tops = [boxes[line, 1].min() for line in rows]
        bottoms = [(boxes[line, 1] + boxes[line, 3]).max() for line in rows]
        if max(tops, default=0) < min(bottoms, default=1):
            from_left_to_right: list[int] = np.argsort(boxes[:, 0], kind="stable").tolist()
            return from_left_to_right
    filling = [line for line in lines if median(boxes[line, 3]) >= FILLING_HEIGHT * height_px]
    if len(filling) != 1 or _are_separate(boxes[filling[0]]):
        return None
    line = filling[0]
    top, bottom = boxes[line, 1].min(), (boxes[line, 1] + boxes[line, 3]).max()
    middles = boxes[:, 1] + boxes[:, 3] / 2
    return None if ((middles < top) | (middles > bottom)).any() else line


def _runs_out(connected: ConnectedComponents, digits: list[list[int]], boxes: np.ndarray) -> bool:
    """Tell whether a number, boxes (N, 4), goes on with a digit at the edge, which was left out.

    A digit at the edge beside a single digit is the neighbour in a form.
    """
    middles = boxes[:, 0] + boxes[:, 2] / 2
    top, bottom = boxes[:, 1].min(), (boxes[:, 1] + boxes[:, 3]).max()
    for x, y, width, height in connected.digits_at_edge(digits):
        shared_rows = min(y + height, bottom) - max(y, top)
        steps = np.abs(middles - (x + width / 2))
        if shared_rows > EDGE_OVERLAP * height and steps.min() < EDGE_STEP * np.diff(middles).max():
            return True
    return False


def _are_separate(boxes: np.ndarray) -> bool:
    """Tell whether none of the boxes (N, 4) is so wide that several digits must touch in it."""
    return bool((boxes[:, 2] <= WIDEST_DIGIT * boxes[:, 3]).all())
