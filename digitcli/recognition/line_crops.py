"""Cut the lines that a page finder found out of a page, as strips for a line reader.

A strip shows raw pixels of a line with its surroundings (`imaging.network_inputs`). A second one shows more
of them, and a third the page, if the line fills it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from digitcli.errors import PictureError
from digitcli.imaging.grayscale import Box, Grey
from digitcli.imaging.network_inputs import LineBox, Strip, cut_strip, cut_whole, strip_ink
from digitcli.inference.line_finding import FoundLine, find_lines
from digitcli.inference.predictor import load_page_finder
from digitcli.recognition.layout import group_lines
from digitcli.strip_format import STRIP_HEIGHT_PX

# The architecture that reads strips as they are, and the one that reads whole pictures; others read the ink
# of strips.
STRIP_READER = "strip_reader"
PICTURE_READER = "picture_reader"
# Margin above and below the line in its strip, and in a second one, in heights of the line. The readers were
# trained on margins from 0.1 to 0.5.
MARGIN = 0.2
WIDER_MARGIN = 0.35
# Share of the height of a picture from which a lone line fills it: the height of the line in a strip with the
# greatest margin that the reader was trained on.
LEAST_SHARE = 0.5
# Greatest length of a strip in heights of its line. It bounds the memory that a line reader takes; a longer
# line is refused.
MAX_LENGTH = 100.0

# The shipped model that finds the lines for strip readers.
FINDER = "finder"

CutLines = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class LineCrop:
    """A strip, and its place on the page.

    image: uint8 (3, 40, W), see `imaging.network_inputs`.
    to_page: affine matrix (2, 3) from points of the crop to points of the page, both in pixels.
    page_size: width and height of the page in pixels.
    is_faint: whether its ink hardly differs from the paper.
    """

    image: np.ndarray
    to_page: np.ndarray
    page_size: tuple[int, int]
    is_faint: bool = False

    def box_on_page(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return the upright box on the page, x, y, width, height, around a box of the crop."""
        corners = np.array([[x, y, 1] for x in (x0, x1) for y in (y0, y1)]) @ self.to_page.T
        corners = np.clip(corners, 0, self.page_size)
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        left, top = min(left, self.page_size[0] - 1), min(top, self.page_size[1] - 1)
        return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))


@dataclass(frozen=True)
class RegionCrops:
    """A line on the page and its strips.

    row: the number of its row on the page, from 0 on.
    line: the line that the page finder found.
    strips: the strips of the line, each of which is cut out when it is asked for.
    fills_page: whether the last one shows the whole page.
    """

    row: int
    line: FoundLine
    strips: Sequence[LineCrop]
    fills_page: bool = False


def reading_order(lines: Sequence[FoundLine]) -> list[list[FoundLine]]:
    """Return the rows of a page from top to bottom, and the lines of each row from left to right."""
    if not lines:
        return []
    boxes = [line.box for line in lines]
    slope = float(np.average([box.angle for box in boxes], weights=[box.length for box in boxes]))
    rotation = np.array([[np.cos(slope), np.sin(slope)], [-np.sin(slope), np.cos(slope)]])
    corners = np.array([box.corners(box.length, box.height) @ rotation.T for box in boxes])  # N, 4, 2
    low, high = corners.min(axis=1), corners.max(axis=1)
    rows = group_lines(np.concatenate([low, high - low], axis=1))
    return [[lines[index] for index in row] for row in rows]


def crop_lines(grey: Grey, rows: Sequence[Sequence[FoundLine]]) -> tuple[RegionCrops, ...]:
    """Return the lines of a page, uint8 (H, W), with their strips."""
    is_alone = sum(map(len, rows)) == 1
    return tuple(
        crop_line(grey, row, line, is_alone=is_alone) for row, lines in enumerate(rows) for line in lines
    )


def whole_picture(grey: Grey) -> RegionCrops:
    """Return a page, uint8 (H, W), as one line that fills it."""
    height, width = grey.shape
    line = FoundLine(LineBox(width / 2, height / 2, width, height, 0.0), 1.0, 0.0, STRIP_HEIGHT_PX)
    return RegionCrops(0, line, [_page_crop(grey)])


def cut_line(grey: Grey, box: LineBox, margin: float = MARGIN) -> LineCrop:
    """Cut out a line, or the middle of one that is too long, with a margin in heights of the line."""
    shortened = replace(box, length=min(box.length, MAX_LENGTH * box.height))
    return _line_crop(grey, cut_strip(grey, shortened, margin))


def crop_line(grey: Grey, row: int, line: FoundLine, *, is_alone: bool) -> RegionCrops:
    """Return a line of a page, uint8 (H, W), with its strips; `is_alone` tells whether it is the only one."""
    height, width = grey.shape
    cuts = [functools.partial(cut_line, grey, line.box, margin) for margin in (MARGIN, WIDER_MARGIN)]
    fills_page = is_alone and line.box.height >= LEAST_SHARE * height and width <= MAX_LENGTH * height
    if fills_page:
        cuts.append(functools.partial(_page_crop, grey))
    return RegionCrops(row, line, _LazyStrips(cuts), fills_page)


class _LazyStrips(Sequence[LineCrop]):
    """Strips that are cut out when they are asked for."""

    def __init__(self, cuts: Sequence[Callable[[], LineCrop]]) -> None:
        self._cuts = [functools.cache(cut) for cut in cuts]

    def __len__(self) -> int:
        return len(self._cuts)

    def __getitem__(self, index: Any) -> Any:
        return self._cuts[index]()


def _line_crop(grey: Grey, strip: Strip) -> LineCrop:
    return LineCrop(strip.image, strip.to_picture, (grey.shape[1], grey.shape[0]), strip.is_faint)


def _page_crop(grey: Grey) -> LineCrop:
    return _line_crop(grey, cut_whole(grey))


def as_levels(grey: np.ndarray) -> Grey:
    """Convert a grey picture, float32 in [0, 1], into levels, uint8."""
    levels = 255 * grey
    levels += 0.5
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def line_cutter(architecture: str, device: str = "auto") -> CutLines:
    """Return a function from a picture, float32 (H, W) in [0, 1], to its lines as an architecture sees them.

    A `picture_reader` sees the whole picture as a strip, uint8 (3, 40, W), and a `strip_reader` strips of the
    lines that the shipped page finder finds. Other architectures see the ink of these strips, uint8 (40, W).
    Of several strips of a line, this is the first. The lines are in reading order.

    Raises:
        ModelError, EnvironmentFault: the page finder cannot be loaded.
    """
    if architecture == PICTURE_READER:
        return lambda grey: [cut_whole(as_levels(grey)).image]
    finder, reads_raw = load_page_finder(FINDER, device), architecture == STRIP_READER

    def cut(grey: np.ndarray) -> list[np.ndarray]:
        levels = as_levels(grey)
        regions = crop_lines(levels, reading_order(find_lines(levels, finder.maps).lines))
        images = [region.strips[0].image for region in regions]
        return images if reads_raw else [strip_ink(image) for image in images]

    return cut


def longest_line(lines: list[np.ndarray], name: str) -> np.ndarray:
    """Return the longest line of a picture, in heights of the line.

    Raises:
        PictureError: there is no line.
    """
    if not lines:
        raise PictureError("blank", f"No number was found in {name}.", "Name a picture of a number.")
    return max(lines, key=lambda line: int(line.shape[-1]))
