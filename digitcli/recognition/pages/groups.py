"""Join numbers that stand apart in a row and are one number in groups, if only that has the right length.

People write card numbers in groups of four, and forms have a box for each digit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.pages.evidence import RegionEvidence
from digitcli.recognition.pages.recognize import recognize_whole

# Widest gap between two groups, in heights of a digit. With 1, 1.5, 2, 3 and without a limit, 77, 79, 79, 77
# and 77 % of 2,307 numbers in rows of boxes are answered rightly, and 43, 62, 69, 73 and 73 % of 81 numbers
# in groups, none of them wrongly, on pages composed as by `benchmarks/known_lengths.py`.
WIDEST_GAP = 2.0

# Digits from which a row of single ones is a comb on a page of several rows: two may be a label and a mark.
# With 4, 78 in place of 79 % of those numbers in boxes are answered rightly, and 74 % if none is joined.
LEAST_BOXES = 3

# A line of a page, and the numbers that were read there.
ReadLine = tuple[RegionEvidence, list[NumberResult]]


def join_groups(
    lines: Sequence[ReadLine],
    constraints: Constraints,
    top_k: int,
    read_as_one: Callable[[Sequence[RegionEvidence]], RegionEvidence],
) -> list[ReadLine]:
    """Return the lines of a page, some of which are joined to numbers that meet the constraints.

    The constraints have to set the number of digits: else neighbouring cells of a table would often be a
    number that meets them, too. Only numbers that break the constraints are joined, and only if that is
    possible in just one way. A page of several rows may be a table: there only single digits are joined, in
    rows without a number that meets the constraints. `read_as_one` reads several neighbouring lines as one.
    """
    if not constraints.sets_length:
        return list(lines)
    places = {id(region): place for place, (region, _) in enumerate(lines)}
    joined = [(places[id(line[0])], line) for line in lines if _is_empty(line)]
    written = [line for line in lines if not _is_empty(line)]
    is_table = len({region.crops.row for region, _ in written}) > 1
    rows_that_meet = {line[0].crops.row for line in written if _meets(line)}
    for neighbours in _neighbours_that_break(written):
        bounds = _only_partition([_text(results) for _, results in neighbours], constraints)
        for start, end in itertools.pairwise(bounds or range(len(neighbours) + 1)):
            group = neighbours[start:end]
            is_comb = _is_comb(group) and group[0][0].crops.row not in rows_that_meet
            may_be_one = end - start > 1 and (is_comb or not is_table)
            number = _joined(group, constraints, top_k, read_as_one) if may_be_one else None
            first = places[id(group[0][0])]
            joined += [(first, line) for line in (group if number is None else [number])]
    return [line for _, line in sorted(joined, key=lambda placed: placed[0])]


def _neighbours_that_break(lines: Sequence[ReadLine]) -> Iterator[list[ReadLine]]:
    """Divide the lines of a page where neighbours do not both break the constraints, or are far apart."""
    neighbours: list[ReadLine] = []
    for line in lines:
        if neighbours and not (_break(neighbours[-1]) and _break(line) and _are_near(neighbours[-1], line)):
            yield neighbours
            neighbours = []
        neighbours.append(line)
    if neighbours:
        yield neighbours


def _is_empty(line: ReadLine) -> bool:
    """Tell whether neither a number nor other writing stands there."""
    _, results = line
    return not any(result.number or result.is_other for result in results)


def _break(line: ReadLine) -> bool:
    _, results = line
    return all(result.breaks_constraints for result in results)


def _meets(line: ReadLine) -> bool:
    _, results = line
    return any(result.number is not None and not result.breaks_constraints for result in results)


def _are_near(first: ReadLine, second: ReadLine) -> bool:
    """Tell whether the second line follows the first one in a row, with a gap of `WIDEST_GAP` at most."""
    (before, _), (behind, _) = first, second
    if before.crops.row != behind.crops.row:
        return False
    left, right = before.crops.line.box, behind.crops.line.box
    gap = math.hypot(right.x - left.x, right.y - left.y) - (left.length + right.length) / 2
    return gap <= WIDEST_GAP * (left.height + right.height) / 2


def _is_comb(group: Sequence[ReadLine]) -> bool:
    return len(group) >= LEAST_BOXES and all(len(_text(results)) == 1 for _, results in group)


def _text(results: Sequence[NumberResult]) -> str:
    return "".join(result.number.text for result in results if result.number is not None)


def _only_partition(texts: Sequence[str], constraints: Constraints) -> list[int] | None:
    """Return where the only partition of texts begins and ends whose parts meet the constraints.

    None if there is no such partition, or more than one.
    """
    partitions: list[list[list[int]]] = [[[0]]]  # of the first texts: two of them at most
    for end in range(1, len(texts) + 1):
        found = [
            [*bounds, end]
            for start in range(end)
            if partitions[start] and constraints.accepts("".join(texts[start:end]))
            for bounds in partitions[start]
        ]
        partitions.append(found[:2])
    return partitions[-1][0] if len(partitions[-1]) == 1 else None


def _joined(
    group: Sequence[ReadLine],
    constraints: Constraints,
    top_k: int,
    read_as_one: Callable[[Sequence[RegionEvidence]], RegionEvidence],
) -> ReadLine | None:
    """Return several lines as one number; None if other digits are read then."""
    evidence = read_as_one([region for region, _ in group])
    result = recognize_whole(evidence, constraints, top_k, are_groups=True)
    if result is None or _text([result]) != "".join(_text(each) for _, each in group):
        return None
    return evidence, [result]


def line_around(lines: Sequence[FoundLine]) -> FoundLine:
    """Return the line that covers several neighbouring ones, and is no surer than any of them."""
    boxes = [line.box for line in lines]
    angle = float(np.average([box.angle for box in boxes], weights=[box.length for box in boxes]))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.concatenate([box.corners(box.length, box.height) for box in boxes]) @ axes.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    (x, y), (length, height) = axes.T @ ((low + high) / 2), high - low
    return FoundLine(
        LineBox(float(x), float(y), float(length), float(height), angle),
        min(line.score for line in lines),
        max(line.other_score for line in lines),
        max(line.level_px for line in lines),
    )
