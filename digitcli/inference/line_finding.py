"""Run a page finder on an image pyramid, and turn its maps into boxes of lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey
from digitcli.imaging.network_inputs import NEUTRAL, LineBox, finder_input, turn, turned_shape
from digitcli.page_format import AXIS, HEIGHT, NUMBER, OTHER, REFERENCE_PX, SHORTENED, SLOPE, SMALL, STRIDE_PX

Maps = npt.NDArray[np.float32]  # (6, H / 4, W / 4), see `architectures.text_networks`
Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the page
RunFinder = Callable[[Grey], Maps]  # from an input (4, H, W) to maps

MULTIPLE_PX = 32  # the sides of an input
FRAME_PX = 16  # around an input, so that writing which touches the edges of a picture has surroundings
# The finest level of the pyramid has at most as many pixels, so that a page takes less than a second, and
# enlarges a small picture at most by this factor.
FINEST_PIXELS, LARGEST_SCALE = 3_600_000, 2.6
LARGEST_INPUT = 2 * FINEST_PIXELS  # pixels with the frame, which is most of a picture one pixel high
COARSEST_PX = 20  # the least longer side of a level, on which a digit may fill the picture
LEVEL_STEP = 2.5  # a level finds lines from 11 to 70 pixels high, so that two levels find most lines
# Levels with fewer pixels are always searched, unless they enlarge the page by more than a tenth. The third
# finest level of a large page has 92,000 pixels. Without it small writing was overlooked: of 2,502 numbers on
# 26 composed pages of 0.5 to 12 megapixels 45 % were found, with it 85 %, as many as on all levels.
ALWAYS_PIXELS, ALWAYS_SCALE = 100_000, 1.1
SMALL_THRESHOLD = 0.3  # probability of small writing, from which a finer level is searched
FINER_BELOW_PX = 20.0  # height of lines on a level, below which a finer level reads them better
MARGIN_CELLS = 8  # around small writing, so that the finer level sees its surroundings
HEIGHT_LIMITS_PX = (4.0, 200.0)  # of lines at a level; no network was trained on others
# Heights at a level that are trusted fully.
TRUSTED_PX = (14.0, 52.0)
SCORE_LOSS = 0.3  # of the score of other lines, for each time that their height is halved or doubled
# Probabilities of the core of a line: of a cell that belongs to it, and of the surest cell.
CELL_THRESHOLD = 0.35
PEAK_THRESHOLD = 0.5
LEAST_CELLS = 3  # that tell how sure it is that something is written
OVERLAP = 0.35  # share of the smaller of two boxes that the surer one may cover
# A page is turned from this slope on, so often and so far. The finder sees steep slopes too flat, so that one
# turn leaves a rest. Of 160 numbers turned by 30 degrees 44 % were read without a turn, 58 % after one and
# 62 % after up to three from 6 degrees on, 65 % from 4 on. Beyond 45 degrees a line is as likely upright.
LEAST_SLOPE, MOST_TURNS, MOST_SLOPE = math.radians(4), 3, math.radians(45)
# Length of a line, in its heights, from which its slope counts: that of a single digit is not known. By hand.
LEAST_SLOPING = 1.2
# Share of what was found, by length and score, that has to be found again on the turned page: on a page of
# several slopes a turn loses lines. Chosen by hand.
LEAST_FOUND_AGAIN = 0.5
# Times as many pixels that the turned page may have, which bounds its memory: a line from edge to edge makes
# it twice, and less for most others. A picture of one long line would become a hundred times as large.
MOST_GROWTH = 3


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


@dataclass(frozen=True)
class Findings:
    """What the page finder found on a page.

    lines: the lines of numbers, the surest first.
    other: the probability of other writing at the surest place.
    """

    lines: tuple[FoundLine, ...]
    other: float


def find_lines(grey: Grey, run_finder: RunFinder) -> Findings:
    """Find the lines of numbers on a page, uint8 (H, W); they are in its pixels, whatever their slope.

    A page of more than `ALWAYS_PIXELS` on which nothing is found is searched again, whole on all levels but
    those that enlarge it. A page whose lines slope is deskewed: turned by their slope, and searched again.
    """
    whole_scale = 0.0
    found = _search(grey, run_finder)
    if not found.lines and grey.size > ALWAYS_PIXELS:
        whole_scale = ALWAYS_SCALE
        found = _search(grey, run_finder, whole_scale)
    slope = angle = _slope(found.lines)
    for _ in range(MOST_TURNS):
        is_steep = abs(slope) >= LEAST_SLOPE and abs(angle) <= MOST_SLOPE
        if not is_steep or math.prod(turned_shape(grey.shape, angle)) > MOST_GROWTH * grey.size:
            break
        page = turn(grey, angle)
        again = _search(page.picture, run_finder, whole_scale)
        lines = tuple(replace(line, box=page.box_on_page(line.box)) for line in again.lines)
        if _amount(lines) < LEAST_FOUND_AGAIN * _amount(found.lines):
            break
        found, slope = Findings(lines, again.other), _slope(again.lines)
        angle += slope
    return found


def _amount(lines: Sequence[FoundLine]) -> float:
    """Return the length of lines in pixels, weighted by how sure they are."""
    return sum(line.score * line.box.length for line in lines)


def _slope(lines: Sequence[FoundLine]) -> float:
    """Return the median slope of lines, in radians; long and sure lines weigh more, single digits do not."""
    sloping = [line for line in lines if line.box.length >= LEAST_SLOPING * line.box.height]
    if not sloping:
        return 0.0
    sloping.sort(key=lambda line: line.box.angle)
    weights = np.cumsum([line.score * line.box.length for line in sloping])
    return sloping[int(np.searchsorted(weights, weights[-1] / 2))].box.angle


def _search(grey: Grey, run_finder: RunFinder, whole_scale: float = 0.0) -> Findings:
    """Search the levels of an image pyramid, from the coarsest to the finest.

    A fine level is only searched around writing that is too small for the level before, as in Najibi, Singh &
    Davis, "AutoFocus: efficient multi-scale inference", 2019. Levels up to `whole_scale` are searched whole.
    """
    lines: list[FoundLine] = []
    other = 0.0
    window = (0, 0, grey.shape[1], grey.shape[0])
    small: npt.NDArray[np.bool_] | None = None  # cells of small writing on the level before
    for scale in scales_of(*grey.shape):
        is_fine = scale > ALWAYS_SCALE or scale * scale * grey.size > ALWAYS_PIXELS
        if small is not None and is_fine and scale > whole_scale:
            if not small.any():
                break
            window = _around(small, window)
        x0, y0, x1, y1 = window
        part = grey[y0:y1, x0:x1]
        height, width = (max(8, round(length * scale)) for length in part.shape)
        maps = run_finder(_frame(finder_input(part, height, width)))
        across, down = part.shape[1] / width, part.shape[0] / height
        lines += decode_maps(maps, across, down, (x0 - FRAME_PX * across, y0 - FRAME_PX * down))
        rows, columns = (
            slice(FRAME_PX // STRIDE_PX, -(-(FRAME_PX + side) // STRIDE_PX)) for side in (height, width)
        )
        other = max(other, _surest(_probability(maps[OTHER, rows, columns])))
        small = _small_writing(maps[:, rows, columns])
    return Findings(tuple(suppress(lines)), other)


def _small_writing(maps: Maps) -> npt.NDArray[np.bool_]:
    """Return the cells with writing that is too small for a level, or hardly large enough."""
    is_low = maps[HEIGHT] < np.log2(FINER_BELOW_PX / REFERENCE_PX)
    is_written = _probability(np.maximum(maps[NUMBER], maps[OTHER])) > CELL_THRESHOLD
    is_small = _probability(maps[SMALL]) > SMALL_THRESHOLD
    return np.asarray(is_small | (is_written & is_low))


def _around(cells: npt.NDArray[np.bool_], window: Window) -> Window:
    """Return the part of a window, x0, y0, x1, y1 in pixels of the page, around some of its cells."""
    x0, y0, x1, y1 = window
    across, down = (x1 - x0) / cells.shape[1], (y1 - y0) / cells.shape[0]
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    return (
        x0 + int(max(0, columns[0] - MARGIN_CELLS) * across),
        y0 + int(max(0, rows[0] - MARGIN_CELLS) * down),
        min(x1, x0 + int(np.ceil((columns[-1] + 1 + MARGIN_CELLS) * across))),
        min(y1, y0 + int(np.ceil((rows[-1] + 1 + MARGIN_CELLS) * down))),
    )


def scales_of(height: int, width: int) -> list[float]:
    """Return the scales of the levels of the pyramid for a page, the coarsest first."""
    scales = [min(LARGEST_SCALE, math.sqrt(FINEST_PIXELS / (height * width)))]
    while _framed_pixels(height * scales[0], width * scales[0]) > LARGEST_INPUT:
        scales[0] /= 2
    while max(height, width) * scales[-1] / LEVEL_STEP >= COARSEST_PX:
        scales.append(scales[-1] / LEVEL_STEP)
    return scales[::-1]


def _framed_pixels(height: float, width: float) -> float:
    return (height + 2 * FRAME_PX + MULTIPLE_PX) * (width + 2 * FRAME_PX + MULTIPLE_PX)


def decode_maps(
    maps: Maps, scale_x: float, scale_y: float, corner: tuple[float, float] = (0, 0)
) -> list[FoundLine]:
    """Return the lines in maps of a window of the page.

    The page has `scale_x` and `scale_y` pixels for each of the level, and the window begins at `corner`.
    """
    number = _probability(maps[NUMBER])
    count, components, stats, _ = cv2.connectedComponentsWithStats((number > CELL_THRESHOLD).astype(np.uint8))
    lines = []
    for index in range(1, count):
        x, y, width, height, _ = stats[index]
        window = np.s_[y : y + height, x : x + width]
        is_core = components[window] == index
        if number[window][is_core].max() >= PEAK_THRESHOLD:
            rows, columns = np.nonzero(is_core)
            line = _line_of(maps, number, rows + y, columns + x, scale_x, scale_y)
            box = replace(line.box, x=line.box.x + corner[0], y=line.box.y + corner[1])
            lines.append(replace(line, box=box))
    return lines


def suppress(lines: Sequence[FoundLine]) -> list[FoundLine]:
    """Drop lines of which a surer one covers much (non-maximum suppression)."""
    lines = sorted(lines, key=_trusted_score, reverse=True)
    centres = np.array([(line.box.x, line.box.y) for line in lines]).reshape(-1, 2)
    radii = np.array([np.hypot(line.box.length, line.box.height) / 2 for line in lines])
    is_kept = np.ones(len(lines), bool)
    for index, line in enumerate(lines):
        if is_kept[index]:
            is_near = np.hypot(*(centres - centres[index]).T) <= radii + radii[index]
            is_near[: index + 1] = False
            for other in np.flatnonzero(is_near & is_kept):
                is_kept[other] = line.box.overlap(lines[other].box) < OVERLAP
    return [line for line, kept in zip(lines, is_kept, strict=True) if kept]


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
    level = float(maps[HEIGHT, rows, columns] @ weights)
    height = float(np.clip(REFERENCE_PX * 2**level, *HEIGHT_LIMITS_PX))
    angle = float(np.arcsin(np.clip(maps[SLOPE, rows, columns] @ weights, -0.9, 0.9)))
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    places = (np.stack([columns, rows], axis=1) + 0.5) * STRIDE_PX
    u = places @ along
    v = (places @ across - maps[AXIS, rows, columns] * height) @ weights
    length = float(np.ptp(u)) + STRIDE_PX / 2 + 2 * SHORTENED * height
    centre = along * (u.min() + u.max()) / 2 + across * v
    box = LineBox(centre[0] * scale_x, centre[1] * scale_y, length * scale_x, height * scale_y, angle)
    surest = np.sort(probability)[-max(LEAST_CELLS, len(probability) // 2) :]
    return FoundLine(
        box, float(surest.mean()), float(_probability(maps[OTHER, rows, columns]) @ weights), height
    )


def _surest(probability: Maps) -> float:
    """Return the mean over the surest cells: a single cell proves no writing."""
    return float(np.sort(probability, axis=None)[-LEAST_CELLS:].mean())


def _trusted_score(line: FoundLine) -> float:
    low, high = TRUSTED_PX
    distance = max(np.log2(low / line.level_px), np.log2(line.level_px / high), 0.0)
    return line.score - SCORE_LOSS * float(distance)


def _frame(page: Grey) -> Grey:
    """Put an input (4, H, W) into a frame of mean grey, with sides that are multiples of `MULTIPLE_PX`."""
    height, width = page.shape[1:]
    sides = (-(-(side + 2 * FRAME_PX) // MULTIPLE_PX) * MULTIPLE_PX for side in (height, width))
    framed = np.full((len(page), *sides), NEUTRAL, np.uint8)
    framed[:, FRAME_PX : FRAME_PX + height, FRAME_PX : FRAME_PX + width] = page
    return framed


def _probability(logits: Maps) -> Maps:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
