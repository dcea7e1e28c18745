"""Stage 1 of the reading pipeline, find: find the region of each number on a page. Loads no torch.

The stages are listed in `pipeline.py`. The digits are connected components of the ink. Their bounding boxes
are grouped into lines, and lines are split into numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.imaging.binarization import enhance_faint_marks, find_ink, limit_size
from digitcli.imaging.digits import ConnectedComponents
from digitcli.imaging.grayscale import Box, median
from digitcli.recognition.grouping import find_fractions, group_lines, split_at_gaps

# All values were chosen by hand, by looking at pictures and the answers to them.

# Longer side in pixels of the reduced picture in which large digits are searched.
SIDE_PX = 640
# Greatest longer side in pixels of the reduced picture in which small digits are searched.
LARGE_SIDE_PX = 2560
# Height in pixels of digits in the reduced picture below which a larger copy is searched.
SMALL_DIGIT_PX = 24
# Least share of the rows of a digit at the edge that are also rows of the number to which it belongs.
EDGE_OVERLAP = 0.5
# Greatest distance of a digit at the edge from its neighbour, in widest steps between the number's digits.
EDGE_STEP = 1.3


@dataclass(frozen=True)
class Component:
    """Ink that may be a digit: a connected component and its detached parts.

    box: x, y, width, height in pixels of the picture.
    is_cut_off: whether the component touches the edge of the picture, where a part of it may be missing.
    ink: the ink of this component alone, float32 (h, w) in [0, 1]; None where it is no longer needed.
    """

    box: Box
    is_cut_off: bool
    ink: np.ndarray | None = None


@dataclass(frozen=True)
class Region:
    """The place of one number on the page.

    components: the components that may be the digits of the number, from left to right.
    is_in_fraction: whether a fraction bar lies between this number and another one.
    runs_out: whether a further digit of the number lies at the edge of the picture, where it may be cut off.
    """

    components: tuple[Component, ...]
    is_in_fraction: bool = False
    runs_out: bool = False


@dataclass(frozen=True)
class PageLayout:
    """The regions of a page and the pictures in which they were found.

    regions: the regions in reading order.
    grey: the picture, float32 (H, W) in [0, 1]; if `is_faint`, its faint marks are enhanced.
    ink: the ink of the picture, float32 (h, w) in [0, 1]; a large picture is reduced first.
    is_faint: whether the ink may be stains, show-through or the texture of the paper, because it is so faint.
    """

    regions: tuple[Region, ...]
    grey: np.ndarray
    ink: np.ndarray
    is_faint: bool = False


def find_numbers(grey: np.ndarray) -> PageLayout:
    """Find the numbers in a grey picture (H, W), float32 in [0, 1]; without any, search its faint marks."""
    layout = _find_regions(grey)
    if layout.regions or (lifted := enhance_faint_marks(grey)) is None:
        return layout
    faint_layout = _find_regions(lifted)
    return replace(faint_layout, is_faint=True) if faint_layout.regions else layout


def _find_regions(grey: np.ndarray) -> PageLayout:
    """Find the regions in few pixels first, and in more pixels where the digits are small.

    Few pixels show anything written large, and they hide the texture of the paper.
    """
    connected, groups, boxes = _find_digits(grey, SIDE_PX)
    height_px = median(boxes[:, 3]) if len(boxes) else SMALL_DIGIT_PX
    if height_px < SMALL_DIGIT_PX and max(grey.shape) > SIDE_PX:
        side_px = min(LARGE_SIDE_PX, round(SIDE_PX * 2 * SMALL_DIGIT_PX / height_px))
        connected, groups, boxes = _find_digits(grey, side_px)
    lines = group_lines(boxes)
    regions = []
    numbers = [number for line in lines for number in split_at_gaps(boxes, line)]
    for number, is_in_fraction in zip(numbers, find_fractions(connected, groups, numbers), strict=True):
        components = tuple(_component(connected, groups[index], grey.shape) for index in number)
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


def _component(connected: ConnectedComponents, group: list[int], picture: tuple[int, ...]) -> Component:
    """Return the component of a digit, its box in pixels of the picture (H, W)."""
    x, y, width, height = connected.box(group)
    down, across = picture[0] / connected.ink.shape[0], picture[1] / connected.ink.shape[1]
    left, right = round(x * across), round((x + width) * across)
    top, bottom = round(y * down), round((y + height) * down)
    is_cut_off = bool(connected.touches_edge[group].any())
    return Component((left, top, right - left, bottom - top), is_cut_off, connected.crop_ink(group))


def _runs_out(connected: ConnectedComponents, digits: list[list[int]], boxes: np.ndarray) -> bool:
    """Tell whether a number, boxes (N, 4), continues with a digit at the edge of the picture, which was left
    out.

    A digit at the edge beside a single digit does not count: it belongs to the next field of a form.
    """
    middles = boxes[:, 0] + boxes[:, 2] / 2
    top, bottom = boxes[:, 1].min(), (boxes[:, 1] + boxes[:, 3]).max()
    for x, y, width, height in connected.digits_at_edge(digits):
        shared_rows = min(y + height, bottom) - max(y, top)
        steps = np.abs(middles - (x + width / 2))
        if shared_rows > EDGE_OVERLAP * height and steps.min() < EDGE_STEP * np.diff(middles).max():
            return True
    return False
