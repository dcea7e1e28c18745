"""Find the region of each number on a page of digits that stand apart. Loads no torch.

The digits are connected components of the ink. Their bounding boxes are grouped into lines, and lines are
split into numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from digitcli.imaging.binarization import find_ink, limit_size
from digitcli.imaging.components import Box, ConnectedComponents
from digitcli.imaging.grayscale import median
from digitcli.recognition.grouping import group_lines, split_at_gaps

# All values were chosen by hand, by looking at pictures and the answers to them.

# Longer side in pixels of the reduced picture in which large digits are searched.
SIDE_PX = 640
# Greatest longer side in pixels of the reduced picture in which small digits are searched.
LARGE_SIDE_PX = 2560
# Height in pixels of digits in the reduced picture below which a larger copy is searched.
SMALL_DIGIT_PX = 24


@dataclass(frozen=True)
class Component:
    """Ink that may be a digit: a connected component and its detached parts.

    box: x, y, width, height in pixels of the picture.
    is_cut_off: whether the component touches the edge of the picture, where a part of it may be missing.
    ink: the ink of this component alone, float32 (h, w) in [0, 1].
    """

    box: Box
    is_cut_off: bool
    ink: np.ndarray


@dataclass(frozen=True)
class Region:
    """The place of one number on the page.

    row: the number of its row, from 0 on.
    components: the components that may be its digits, from left to right.
    """

    row: int
    components: tuple[Component, ...]


@dataclass(frozen=True)
class PageLayout:
    """The regions of a page in reading order, and its ink.

    The ink is float32 (h, w) in [0, 1]; that of a large picture is reduced.
    """

    regions: tuple[Region, ...]
    ink: np.ndarray


def find_numbers(grey: np.ndarray) -> PageLayout:
    """Find the numbers in a grey picture (H, W), float32 in [0, 1].

    They are searched in few pixels first, and in more pixels where the digits are small. Few pixels show
    anything written large, and they hide the texture of the paper.
    """
    connected, groups, boxes = _find_digits(grey, SIDE_PX)
    height_px = median(boxes[:, 3]) if len(boxes) else SMALL_DIGIT_PX
    if height_px < SMALL_DIGIT_PX and max(grey.shape) > SIDE_PX:
        side_px = min(LARGE_SIDE_PX, round(SIDE_PX * 2 * SMALL_DIGIT_PX / height_px))
        connected, groups, boxes = _find_digits(grey, side_px)
    regions = [
        Region(row, tuple(_component(connected, groups[index], grey.shape) for index in number))
        for row, line in enumerate(group_lines(boxes))
        for number in split_at_gaps(boxes, line)
    ]
    return PageLayout(tuple(regions), connected.ink)


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
