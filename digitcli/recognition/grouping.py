"""Which digits of a page form one number: what a network sees of the gaps between neighbouring digits.

A gap lies between two digits that follow each other in a row of a page, in one line of the finder or in two.
Whether a row of boxes is one number (a comb) or a row of cells shows only beside the other gaps of the page,
so that one network sees all of them at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey, median
from digitcli.recognition.line_evidence import LineEvidence
from digitcli.recognition.page_decision import log_odds
from digitcli.recognition.region_evidence import RegionEvidence
from digitcli.strip_format import OPERATORS, OTHER

# What the network sees around the middle of a gap, in heights of its digits and in pixels.
PATCH_HEIGHTS = (3.0, 6.0)
PATCH_PX = (24, 48)
LONGEST_GAP = 8.0  # heights of a digit; a longer one counts as this long
LEAST_CONTRAST = 12.0  # levels; a patch with less contrast keeps it
VALUES = 21  # of a gap, see `_values`


@dataclass(frozen=True)
class PlacedDigit:
    """A digit that was read: its region, its centre and size in pixels of the page, the slope of its line."""

    region: int
    x: float
    y: float
    width: float
    height: float
    angle: float


@dataclass(frozen=True)
class PageGaps:
    """The N gaps of a page.

    digits: all digits in reading order.
    left: the index of the digit before each gap (N,); the next digit is behind it.
    places: the middle of each gap (N, 2), in typical heights of a digit.
    values: what is known of each gap (N, F), see `_values`.
    patches: what surrounds it, uint8 (N, 2, 24, 48): the darkest and the lightest pixels; 128 is paper.
    """

    digits: tuple[PlacedDigit, ...]
    left: npt.NDArray[np.int64]
    places: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    patches: npt.NDArray[np.uint8]


def gaps_of(grey: Grey, regions: Sequence[RegionEvidence]) -> PageGaps:
    """Return the gaps between the digits that were read in the lines of a page, uint8 (H, W)."""
    digits: list[PlacedDigit] = []
    firsts: list[int] = []
    for index, region in enumerate(regions):
        firsts.append(len(digits))
        digits += _digits_of(index, region)
    typical = median(np.array([digit.height for digit in digits])) if digits else 1.0
    left, values, places, patches = [], [], [], []
    for place, (before, behind) in enumerate(itertools.pairwise(digits)):
        first, second = regions[before.region], regions[behind.region]
        if first.crops.row != second.crops.row:
            continue
        left.append(place)
        inside = place - firsts[before.region] if before.region == behind.region else None
        values.append(_values(before, behind, first, second, inside, typical))
        places.append(((before.x + behind.x) / 2 / typical, (before.y + behind.y) / 2 / typical))
        patches.append(_patch(grey, before, behind))
    return PageGaps(
        tuple(digits),
        np.array(left, np.int64),
        np.array(places, np.float32).reshape(-1, 2),
        np.array(values, np.float32).reshape(len(left), VALUES),
        np.array(patches, np.uint8).reshape(-1, 2, *PATCH_PX),
    )


def _digits_of(index: int, region: RegionEvidence) -> list[PlacedDigit]:
    line, box = region.reference, region.crops.line.box
    digits = []
    for character, start, end in line.places:
        if character.isdecimal():
            x, y, width, height = _box(line, (start + end) // 2)
            digits.append(
                PlacedDigit(index, x + width / 2, y + height / 2, width, max(height, 0.5 * box.height), box.angle)
            )
    return digits


def _box(line: LineEvidence, column: int) -> tuple[float, float, float, float]:
    from digitcli.recognition.recognize import box_at

    assert line.distances is not None
    return box_at(line.crop, line.distances[column], line.first_column + column)


def _values(
    before: PlacedDigit,
    behind: PlacedDigit,
    first: RegionEvidence,
    second: RegionEvidence,
    inside: int | None,
    typical: float,
) -> list[float]:
    """Return what is known of a gap; lengths are in mean heights of its digits."""
    height = (before.height + behind.height) / 2
    along = np.array([np.cos(before.angle), np.sin(before.angle)])
    step = np.array([behind.x - before.x, behind.y - before.y]) / height
    distance, drop = float(step @ along), float(step @ [-along[1], along[0]])
    gap = distance - (before.width + behind.width) / 2 / height
    separator, operator, between = 0.0, 0.0, ""
    if inside is not None:
        separator, operator = first.gap_log_odds(inside)
        between = first.reference.characters_between(inside)
    lines = first.crops.line, second.crops.line
    return [
        min(gap, LONGEST_GAP),
        min(distance, LONGEST_GAP),
        drop,
        float(np.log(behind.height / before.height)),
        before.width / height,
        behind.width / height,
        float(np.log(height / typical)),
        separator,
        operator,
        float(inside is not None),
        float(any(each in ".," for each in between)),
        float(any(each in "-/:" for each in between)),
        float(any(each in OPERATORS for each in between)),
        float(OTHER in between),
        float(" " in between),
        *(log_odds(line.score) for line in lines),
        *(log_odds(line.other_score) for line in lines),
        *(float(np.log(max(line.box.length / line.box.height, 0.1))) for line in lines),
    ]


def _patch(grey: Grey, before: PlacedDigit, behind: PlacedDigit) -> npt.NDArray[np.uint8]:
    """Return the surroundings of a gap, level with its line: the darkest and the lightest pixels."""
    height = (before.height + behind.height) / 2
    rows, columns = PATCH_PX
    scale = PATCH_HEIGHTS[0] * height / rows  # pixels of the page for each of the patch
    fineness = int(np.clip(np.ceil(scale), 1, 4))
    along = np.array([np.cos(before.angle), np.sin(before.angle)]) * scale / fineness
    across = np.array([-along[1], along[0]])
    size = columns * fineness, rows * fineness
    middle = np.array([(before.x + behind.x) / 2, (before.y + behind.y) / 2])
    matrix = np.column_stack([along, across, middle - along * size[0] / 2 - across * size[1] / 2 - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    blocks = np.asarray(crop).reshape(rows, fineness, columns, fineness)
    extremes = np.stack([blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))]).astype(np.float32)
    paper = float(np.median(crop))
    low, high = np.percentile(crop, (1, 99))
    contrast = max(paper - low, high - paper, LEAST_CONTRAST)
    return np.asarray(np.clip((extremes - paper) * (127 / contrast) + 128, 0, 255), np.uint8)
