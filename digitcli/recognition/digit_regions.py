"""Find the numbers of a page whose digits stand apart, and crop their digits. Loads no torch.

The digits are connected components of the ink. Their bounding boxes are grouped into lines, and lines are
split into numbers. The input of a classifier is a digit crop: one component, normalized as in MNIST. Every
digit is cropped twice, in different sizes, and the answers to both crops are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.imaging.binarization import enhance_faint_marks, find_ink, limit_size
from digitcli.imaging.digits import ConnectedComponents, normalize_digit
from digitcli.imaging.grayscale import Box, median
from digitcli.recognition.layout import group_lines

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

# Least gap between two numbers in digit heights, if the gaps of the line differ enough.
NUMBER_GAP = 1.1
# The gaps differ enough if a gap is this many times as wide as the lower quartile of the gaps of its line.
UNUSUAL_GAP = 2.0
# Least gap between two numbers in digit heights, if the line has only one gap.
LONE_GAP = 2.0
# A gap of this many digit heights separates two numbers, even if all gaps of the line are wide.
WIDEST_GAP = 4.0
# Least width in digit heights that every digit counts as: the paper beside a slim 1 is no gap between
# numbers.
LEAST_WIDTH = 0.5
# A fraction bar is at least this many times as wide as high.
BAR_ASPECT = 2.5
# A fraction bar is at least this long, in widths of the wider number.
SHORTEST_BAR = 0.6
# A fraction bar is at most this long, in widths of the wider number; a longer one is a rule or an edge.
LONGEST_BAR = 3.0
# Greatest gap between a number and the fraction bar, in heights of the number.
BAR_GAP = 0.9
# Greatest width of a number in a fraction, in heights of the number: it has at most two digits.
WIDEST_IN_FRACTION = 2.2

# Side in pixels of the square that the digit fills in its first and in its second crop; 20 is MNIST's side,
# and 16 was chosen by hand.
DIGIT_SIZES_PX = (20, 16)


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


def split_at_gaps(boxes: np.ndarray, line: list[int]) -> list[list[int]]:
    """Split a line into numbers where the gap between two digits is wide for their height."""
    if len(line) == 1:
        return [line]
    x, _, width, height = boxes[line].T
    typical_height = median(height)
    reach = np.maximum(width, LEAST_WIDTH * typical_height) / 2
    gaps = np.diff(x + width / 2) - reach[1:] - reach[:-1]
    numbers = [[line[0]]]
    for index, is_wide in zip(line[1:], wide_gaps(gaps, typical_height), strict=True):
        if is_wide:
            numbers.append([])
        numbers[-1].append(index)
    return numbers


def wide_gaps(gaps: np.ndarray, height: float) -> np.ndarray:
    """Tell which gaps (N,) between digits of this height separate two numbers: bool (N,)."""
    least = LONE_GAP * height
    if len(gaps) > 1:
        narrow = float(np.quantile(gaps, 0.25, method="lower"))
        least = min(max(NUMBER_GAP * height, UNUSUAL_GAP * narrow), WIDEST_GAP * height)
    wide: np.ndarray = gaps > least
    return wide


def find_fractions(
    connected: ConnectedComponents, groups: list[list[int]], numbers: list[list[int]]
) -> list[bool]:
    """Tell which numbers stand above or below a fraction bar, with one other number on its other side.

    `groups` are the connected components of each digit, `numbers` the digits of each number. With more than
    two numbers in a column, the bar is the line below a sum.
    """
    bars = np.flatnonzero(connected.usable & (connected.width > BAR_ASPECT * connected.height)).tolist()
    in_fraction = [False] * len(numbers)
    if not bars or len(numbers) < 2:
        return in_fraction
    boxes = np.array([_box_without_bars(connected, groups, number, bars) for number in numbers])
    x, y, width, height = boxes.T
    for bar in bars:
        left, top = connected.x[bar], connected.y[bar]
        right, bottom = left + connected.width[bar], top + connected.height[bar]
        shared_columns = np.minimum(x + width, right) - np.maximum(x, left)
        column = np.flatnonzero(shared_columns > width / 2)
        if len(column) != 2:
            continue
        upper, lower = column[np.argsort(y[column])]
        fits = width[column] <= WIDEST_IN_FRACTION * height[column]
        gaps = np.array([top - (y[upper] + height[upper]), y[lower] - bottom])
        is_near = np.abs(gaps) <= BAR_GAP * height[[upper, lower]]
        length = (right - left) / width[column].max()
        if fits.all() and is_near.all() and SHORTEST_BAR <= length <= LONGEST_BAR:
            in_fraction[upper] = in_fraction[lower] = True
    return in_fraction


def _box_without_bars(
    connected: ConnectedComponents, groups: list[list[int]], number: list[int], bars: list[int]
) -> tuple[int, ...]:
    """Return the box around a number without a bar that was taken for a part of it."""
    members = [component for index in number for component in groups[index]]
    return connected.box([component for component in members if component not in bars] or members)


@dataclass(frozen=True)
class DigitCrops:
    """A region, which is the place of one number on the page, and its crops.

    region: the region without the ink of its components, to save memory.
    digits: the digit crops, uint8 (N, 2, 28, 28), ink 255 on paper 0: two for each of N components.
    """

    region: Region
    digits: np.ndarray


def crop_numbers(layout: PageLayout) -> tuple[DigitCrops, ...]:
    """Crop the digits of every region of a page."""
    return tuple(DigitCrops(_without_ink(region), _crop_digits(region)) for region in layout.regions)


def _without_ink(region: Region) -> Region:
    return replace(region, components=tuple(replace(component, ink=None) for component in region.components))


def _crop_digits(region: Region) -> np.ndarray:
    crops = [
        [normalize_digit(component.ink, size_px) for size_px in DIGIT_SIZES_PX]
        for component in region.components
        if component.ink is not None
    ]
    return np.array(crops, np.uint8).reshape(-1, len(DIGIT_SIZES_PX), 28, 28)
