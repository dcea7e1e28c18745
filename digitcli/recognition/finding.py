"""Stage 1, find: run the page finder on an image pyramid, and turn its maps into boxes of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.finder_input import NEUTRAL, Grey, finder_input
from digitcli.imaging.strips import LineBox
from digitcli.recognition.grouping import group_lines

Maps = npt.NDArray[np.float32]  # (5, H / 4, W / 4), see `architectures.finder`
RunFinder = Callable[[Grey], Maps]  # from an input (4, H, W) to maps

STRIDE_PX = 4
MULTIPLE_PX = 32  # the sides of an input
REFERENCE_PX = 28.0  # the height of a line whose logarithm is 0
# The longer sides of the levels of the pyramid, in pixels. A level finds lines from 11 to 70 pixels high, so
# that two levels find most lines.
LEVELS_PX = (56, 90, 140, 350, 875, 2190)
LARGEST_ENLARGEMENT = 2.6
# Heights at a level that are trusted fully; the score of others falls with the logarithm of the ratio.
TRUSTED_PX = (14.0, 52.0)
# Probabilities of the core of a line: of a cell that belongs to it, and of the surest cell.
CELL_THRESHOLD = 0.35
PEAK_THRESHOLD = 0.5
SHORTENED = 0.18  # heights by which a core is shorter than its line at each end
OVERLAP = 0.35  # share of the smaller of two boxes that the surer one may cover


@dataclass(frozen=True)
class FoundLine:
    """A line of a number on a page.

    box: its place, in pixels of the page.
    score: the probability of the core of a number, the mean over its surest cells.
    other_score: the probability of other writing at the same place.
    level_px: the height of the line on the level of the pyramid on which it was found.
    """

    box: LineBox
    score: float
    other_score: float
    level_px: float


def find_lines(grey: Grey, run_finder: RunFinder) -> list[FoundLine]:
    """Find the lines of numbers on a page, uint8 (H, W), the surest first."""
    lines: list[FoundLine] = []
    for side in levels_of(grey.shape[0], grey.shape[1]):
        scale = side / max(grey.shape)
        height, width = (max(8, round(length * scale)) for length in grey.shape)
        page = _pad(finder_input(grey, height, width))
        lines += decode_maps(run_finder(page), grey.shape[1] / width, grey.shape[0] / height)
    return suppress(lines)


def reading_order(lines: Sequence[FoundLine]) -> list[list[FoundLine]]:
    """Return the rows of a page from top to bottom, and the lines of each row from left to right."""
    if not lines:
        return []
    corners = [line.box.corners(line.box.length, line.box.height) for line in lines]
    low, high = (np.array([reduce(each, axis=0) for each in corners]) for reduce in (np.min, np.max))
    rows = group_lines(np.concatenate([low, high - low], axis=1))
    return [[lines[index] for index in row] for row in rows]


def levels_of(height: int, width: int) -> list[int]:
    """Return the longer sides of the levels of the pyramid for a page."""
    longer = max(height, width)
    largest = min(LEVELS_PX[-1], longer * LARGEST_ENLARGEMENT)
    levels = [side for side in LEVELS_PX if side < largest / 1.2]
    return [*levels, round(largest)]


def decode_maps(maps: Maps, scale_x: float, scale_y: float) -> list[FoundLine]:
    """Return the lines in maps; the page has `scale_x` and `scale_y` pixels for each of the level."""
    number = _probability(maps[0])
    count, components, stats, _ = cv2.connectedComponentsWithStats((number > CELL_THRESHOLD).astype(np.uint8))
    lines = []
    for index in range(1, count):
        x, y, width, height, _ = stats[index]
        window = np.s_[y : y + height, x : x + width]
        is_core = components[window] == index
        if number[window][is_core].max() >= PEAK_THRESHOLD:
            rows, columns = np.nonzero(is_core)
            lines.append(_line_of(maps, number, rows + y, columns + x, scale_x, scale_y))
    return [line for line in lines if line is not None]


def suppress(lines: Sequence[FoundLine]) -> list[FoundLine]:
    """Drop lines of which a surer one covers much (non-maximum suppression)."""
    kept: list[FoundLine] = []
    for line in sorted(lines, key=_trusted_score, reverse=True):
        if all(_overlap(line.box, other.box) < OVERLAP for other in kept):
            kept.append(line)
    return kept


def _line_of(
    maps: Maps,
    number: Maps,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    scale_x: float,
    scale_y: float,
) -> FoundLine:
    """Return the line whose core has these cells."""
    probability = number[rows, columns]
    weights = probability / probability.sum()
    height = REFERENCE_PX * float(2 ** (maps[2, rows, columns] @ weights))
    angle = float(np.arcsin(np.clip(maps[4, rows, columns] @ weights, -0.9, 0.9)))
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    places = (np.stack([columns, rows], axis=1) + 0.5) * STRIDE_PX
    u = places @ along
    v = (places @ across - maps[3, rows, columns] * height) @ weights
    length = float(np.ptp(u)) + STRIDE_PX / 2 + 2 * SHORTENED * height
    centre = along * (u.min() + u.max()) / 2 + across * v
    box = LineBox(centre[0] * scale_x, centre[1] * scale_y, length * scale_x, height * scale_y, angle)
    surest = np.sort(probability)[-max(3, len(probability) // 2) :]
    return FoundLine(box, float(surest.mean()), float(_probability(maps[1, rows, columns]) @ weights), height)


def _trusted_score(line: FoundLine) -> float:
    low, high = TRUSTED_PX
    distance = max(np.log2(low / line.level_px), np.log2(line.level_px / high), 0.0)
    return line.score - 0.3 * float(distance)


def _overlap(first: LineBox, second: LineBox) -> float:
    """Return the share of the smaller of two boxes that both cover."""
    reach = np.hypot(first.length, first.height) + np.hypot(second.length, second.height)
    if np.hypot(first.x - second.x, first.y - second.y) * 2 > reach:
        return 0.0
    corners = (first.corners(first.length, first.height), second.corners(second.length, second.height))
    area, _ = cv2.intersectConvexConvex(*corners)
    return float(area) / max(min(first.length * first.height, second.length * second.height), 1e-6)


def _pad(page: Grey) -> Grey:
    """Extend an input (4, H, W) with mean grey to multiples of `MULTIPLE_PX`."""
    height, width = (-(-side // MULTIPLE_PX) * MULTIPLE_PX for side in page.shape[1:])
    padded = np.full((len(page), height, width), NEUTRAL, np.uint8)
    padded[:, : page.shape[1], : page.shape[2]] = page
    return padded


def _probability(logits: Maps) -> Maps:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
