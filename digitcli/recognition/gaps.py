"""The gaps between neighbouring digits of a page, and what the network that groups them sees of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.gap_format import COLUMNS, PATCH_HEIGHTS, PATCH_PAPER, PATCH_PX, PLACE_STEPS, VALUES
from digitcli.imaging.grayscale import Grey, median
from digitcli.imaging.network_inputs import quantiles
from digitcli.recognition.confidence import log_odds
from digitcli.recognition.line_reading import Line
from digitcli.recognition.numbers import box_at
from digitcli.strip_format import OPERATORS, OTHER

LEAST_CONTRAST = 12.0  # levels; what surrounds a gap with less contrast keeps it


@dataclass(frozen=True)
class PlacedDigit:
    """A digit that was read: its line, its centre and size in pixels of the page, the slope of its line."""

    line: int
    text: str
    x: float
    y: float
    width: float
    height: float
    angle: float


@dataclass(frozen=True)
class Gap:
    """What stands between two digits that follow each other in a row of a page.

    length: between the boxes of both, in their mean heights.
    distance: of their middles, in the same unit.
    separator, operator: how likely a space or an operator, or an operator, separates numbers there, by the
        line networks; 1 and 0 between two lines.
    characters: what the line networks read there; None between two lines.
    """

    length: float
    distance: float
    separator: float
    operator: float
    characters: str | None


def digits_of(lines: Sequence[Line]) -> list[PlacedDigit]:
    """Return the digits of a page in reading order."""
    return [digit for index, line in enumerate(lines) for digit in _digits_of(index, line)]


def gaps_between(digits: Sequence[PlacedDigit], lines: Sequence[Line]) -> list[Gap | None]:
    """Return the gap behind each digit of a page but the last; None where a row ends."""
    gaps: list[Gap | None] = []
    inside = 0
    for left, (before, behind) in enumerate(itertools.pairwise(digits)):
        inside = inside + 1 if left and digits[left - 1].line == before.line else 0
        line = lines[before.line]
        if line.row != lines[behind.line].row:
            gaps.append(None)
            continue
        separator, operator, characters = 1.0, 0.0, None
        if before.line == behind.line:
            separator, operator = line.gap(inside)
            characters = line.reference.gaps[inside].characters
        height = (before.height + behind.height) / 2
        along = np.array([math.cos(before.angle), math.sin(before.angle)])
        distance = float(np.array([behind.x - before.x, behind.y - before.y]) @ along) / height
        length = distance - (before.width + behind.width) / 2 / height
        gaps.append(Gap(length, distance, separator, operator, characters))
    return gaps


def network_input(
    grey: Grey, digits: Sequence[PlacedDigit], gaps: Sequence[Gap | None], lines: Sequence[Line]
) -> npt.NDArray[np.uint8]:
    """Return what the network sees of the G gaps of a page, uint8 (1, G, 2329), see `gap_format`."""
    typical = median(np.array([digit.height for digit in digits])) if digits else 1.0
    low, high = np.array(list(VALUES.values())).T
    found = [
        (gap, before, behind)
        for gap, (before, behind) in zip(gaps, itertools.pairwise(digits), strict=True)
        if gap is not None
    ]
    rows = np.zeros((1, len(found), COLUMNS), np.uint8)
    for row, (gap, before, behind) in zip(rows[0], found, strict=True):
        values = np.array(list(_values(gap, before, behind, lines, typical).values()))
        row[: len(VALUES)] = np.round(255 * np.clip((values - low) / (high - low), 0, 1))
        middle = np.array([before.x + behind.x, before.y + behind.y]) / 2 / typical
        steps = np.clip(np.round(PLACE_STEPS * middle), 0, 2**16 - 1).astype(np.uint16)
        row[len(VALUES) : len(VALUES) + 4] = np.stack([steps >> 8, steps & 255], axis=1).ravel()
        row[len(VALUES) + 4 :] = _patch(grey, before, behind).ravel()
    return rows


def _values(
    gap: Gap, before: PlacedDigit, behind: PlacedDigit, lines: Sequence[Line], typical: float
) -> dict[str, float]:
    """Return the values of `gap_format.VALUES`."""
    first, second = lines[before.line].found, lines[behind.line].found
    height, characters = (before.height + behind.height) / 2, gap.characters or ""
    across = -math.sin(before.angle) * (behind.x - before.x) + math.cos(before.angle) * (behind.y - before.y)
    is_inside = gap.characters is not None
    return {
        "gap": gap.length,
        "distance": gap.distance,
        "drop": across / height,
        "ratio": math.log(behind.height / before.height),
        "before": before.width / height,
        "behind": behind.width / height,
        "size": math.log(height / typical),
        "separator": log_odds(gap.separator) if is_inside else 0.0,
        "operator": log_odds(gap.operator) if is_inside else 0.0,
        "inside": float(is_inside),
        "point": float(any(each in ".," for each in characters)),
        "dash": float(any(each in "-/:" for each in characters)),
        "sign": float(any(each in OPERATORS for each in characters)),
        "other": float(OTHER in characters),
        "space": float(" " in characters),
        "score_before": log_odds(first.score),
        "score_behind": log_odds(second.score),
        "other_before": log_odds(first.other_score),
        "other_behind": log_odds(second.other_score),
        "length_before": math.log(max(first.box.length / first.box.height, 0.1)),
        "length_behind": math.log(max(second.box.length / second.box.height, 0.1)),
    }


def _digits_of(index: int, line: Line) -> list[PlacedDigit]:
    answer, box = line.reference, line.found.box
    digits = []
    for character, start, end in answer.digits:
        if answer.distances is None:  # the network gives no boxes: the digit is as wide as its columns
            x, y = (answer.point_at(start) + answer.point_at(end)) / 2
            width, height = float(np.hypot(*(answer.point_at(end) - answer.point_at(start)))), box.height
        else:
            left, top, width, height = box_at(answer, (start + end) // 2)
            x, y, height = left + width / 2, top + height / 2, max(height, 0.5 * box.height)
        digits.append(PlacedDigit(index, character, x, y, width, height, box.angle))
    return digits


def _patch(grey: Grey, before: PlacedDigit, behind: PlacedDigit) -> npt.NDArray[np.uint8]:
    """Return the surroundings of a gap, level with its line: the darkest and the lightest pixels."""
    rows, columns = PATCH_PX
    scale = PATCH_HEIGHTS * (before.height + behind.height) / 2 / rows  # pixels of the page for each of these
    fineness = int(np.clip(np.ceil(scale), 1, 4))
    along = np.array([np.cos(before.angle), np.sin(before.angle)]) * scale / fineness
    across = np.array([-along[1], along[0]])
    size = columns * fineness, rows * fineness
    middle = np.array([(before.x + behind.x) / 2, (before.y + behind.y) / 2])
    matrix = np.column_stack([along, across, middle - along * size[0] / 2 - across * size[1] / 2 - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop: Grey = np.asarray(
        cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    extremes = np.stack([_reduce(crop, fineness, extreme) for extreme in (np.minimum, np.maximum)])
    low, paper, high = quantiles(crop, (0.01, 0.5, 0.99))
    contrast = max(paper - low, high - paper, LEAST_CONTRAST)
    return np.asarray(
        np.clip((extremes.astype(np.float32) - paper) * (127 / contrast) + PATCH_PAPER, 0, 255), np.uint8
    )


def _reduce(pixels: Grey, side: int, extreme: np.ufunc) -> Grey:
    """Return the extreme of each square block of pixels."""
    rows = extreme.reduce(pixels.reshape(-1, side, pixels.shape[1]), axis=1)
    return np.asarray(extreme.reduce([rows[:, start::side] for start in range(side)]), np.uint8)
