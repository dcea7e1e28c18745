"""Find the tables of a page: its rules make rows and columns, and the numbers do where there are none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from digitcli.imaging.grayscale import Grey, median
from digitcli.recognition.confidence import from_log_odds
from digitcli.recognition.layout import find_columns
from digitcli.recognition.readings import Detection, Number
from digitcli.tables.blanks import Blank, ReadBlank, read_blanks
from digitcli.tables.blocks import find_blocks
from digitcli.tables.cells import number_of
from digitcli.tables.fields import Field, find_fields, log_odds_of_field
from digitcli.tables.plane import (
    Floats,
    Integers,
    PlacedDigits,
    Plane,
    Separators,
    clusters,
    covered,
    straighten,
)
from digitcli.tables.rules import Rules, find_rules
from digitcli.tables.table import Cell, Table

Span = tuple[float, float] | None  # None for what has no rules at both sides

# All lengths are in heights of a digit. The values were chosen on 48 synthetic tables of eight kinds.
AROUND = 2.5  # the digits; what lies farther away is a rule of their table if it is connected to it
TOUCH = 0.6  # by which two rules that are connected may miss each other
MOST_STEPS = 4  # from a rule to a connected one
LONG = 3.0  # a line that tells how the page lies
SAME_RULE = 0.5  # distance of the pieces of one rule, and of both lines of a double one
LEAST_LENGTH = 0.6  # of a rule, as a share of the table
LOWEST_ROW, NARROWEST_COLUMN = 1.0, 0.7  # without a number: no digit fits between the lines of a double rule
TALLEST_ROW = 3.5  # between two rules; a taller one may hold several
ROW_GAP = 0.8  # between two numbers of one ruled row
BOX = 1.6  # height of a box without rules above and below
WITHIN = 0.5  # from the sides of a field, where rules part its boxes
GROUP_GAP = 1.2  # between the groups of a number in one ruled cell


def find_tables(
    grey: Grey,
    numbers: Sequence[Number],
    detections: Sequence[Detection],
    min_confidence: float,
    read_blank: ReadBlank | None = None,
) -> tuple[Table, ...]:
    """Return the tables of a page, uint8 (H, W), whose numbers are in these places.

    detections: the lines of writing on it.
    min_confidence: below it the numbers of cells are refused.
    read_blank: reads what stands where no number was found, if something does.
    """
    numbers = [number for number in numbers if number.digits]
    if not numbers:
        return ()
    boxes = np.array([digit.box for number in numbers for digit in number.digits], np.float64)
    unit = median(boxes[:, 3])
    lines = [_middle_line(each) for each in detections]
    lines = [line for line in lines if np.hypot(*(line[-1] - line[0])) > LONG * unit]
    slopes = [float(np.arctan2(*(line[-1] - line[0])[::-1])) for line in lines]
    found = find_rules(grey, boxes, median(np.array(slopes)) if slopes else 0.0)
    rules = _connected(found, boxes, unit)
    level, upright = (
        [each for each in chains if _length(each) > LONG * unit] for chains in (rules.level, rules.upright)
    )
    plane = straighten([*level, *lines], upright, (grey.shape[0], grey.shape[1]), unit)
    digits = _placed(numbers, plane)
    boxes_on_plane = np.array([_outline(digits, index) for index in range(len(numbers))])
    placed = [[plane.place(chain) for chain in chains] for chains in rules.families]
    return tuple(
        _table(
            grey,
            [numbers[index] for index in block.numbers],
            Rules(
                *(tuple(chains[k] for k in kept) for chains, kept in zip(placed, block.rules, strict=True))
            ),
            plane,
            min_confidence,
            read_blank,
        )
        for block in find_blocks(boxes_on_plane, *placed)
    )


def _placed(numbers: Sequence[Number], plane: Plane) -> PlacedDigits:
    counts = [len(number.digits) for number in numbers]
    boxes = np.array([digit.box for number in numbers for digit in number.digits], np.float64)
    return PlacedDigits(
        np.repeat(np.arange(len(numbers)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        plane.place(boxes[:, :2] + boxes[:, 2:] / 2),
        boxes[:, 2] / plane.unit,
    )


def _outline(digits: PlacedDigits, number: int) -> Floats:
    """Return x0, y0, x1 and y1 of a number on the plane."""
    own = digits.number == number
    places, halves = digits.places[own], np.stack([digits.widths[own] / 2, np.full(own.sum(), 0.5)], axis=1)
    return np.concatenate([(places - halves).min(axis=0), (places + halves).max(axis=0)])


def _middle_line(detection: Detection) -> Floats:
    corners = np.array(detection.corners, np.float64)
    left, right = corners[[0, 3]].mean(axis=0), corners[[1, 2]].mean(axis=0)
    return np.stack([left, (left + right) / 2, right])


def _length(line: Floats) -> float:
    return float(np.hypot(*(line[-1] - line[0])))


def _connected(rules: Rules, boxes: Floats, unit: float) -> Rules:
    """Return the rules most of which lie around the digits, and those that cross them, as far as they reach.

    The edges of paper and the grain of a desk do not.
    """
    low = boxes[:, :2].min(axis=0) - AROUND * unit
    high = (boxes[:, :2] + boxes[:, 2:]).max(axis=0) + AROUND * unit
    kept = [
        [((chain >= low) & (chain <= high)).all(axis=1).mean() > 0.5 for chain in chains]
        for chains in rules.families
    ]
    level, upright = (np.array(each, bool) for each in kept)
    crossings = np.array(
        [[_cross(row, column, unit) for column in rules.upright] for row in rules.level], bool
    )
    for _ in range(MOST_STEPS if crossings.size else 0):
        level, upright = level | crossings[:, upright].any(axis=1), upright | crossings[level].any(axis=0)
    chosen = (itertools.compress(rules.level, level), itertools.compress(rules.upright, upright))
    return Rules(*map(tuple, chosen))


def _cross(level: Floats, upright: Floats, unit: float) -> bool:
    """Tell whether two rules cross or touch each other."""
    x, y = upright[:, 0].mean(), level[:, 1].mean()
    for _ in range(2):
        y = float(np.interp(x, level[:, 0], level[:, 1]))
        x = float(np.interp(y, upright[:, 1], upright[:, 0]))
    near_x = level[0, 0] - TOUCH * unit <= x <= level[-1, 0] + TOUCH * unit
    return bool(near_x and upright[0, 1] - TOUCH * unit <= y <= upright[-1, 1] + TOUCH * unit)


def _table(
    grey: Grey,
    numbers: Sequence[Number],
    rules: Rules,
    plane: Plane,
    min_confidence: float,
    read_blank: ReadBlank | None,
) -> Table:
    """Return the table that numbers and rules on the plane make."""
    digits, (level, upright) = _placed(numbers, plane), rules.families
    low, high = digits.places.min(axis=0) - 1, digits.places.max(axis=0) + 1
    ys = _separators([chain[:, ::-1] for chain in level], low[0], high[0])
    xs = _separators(upright, low[1], high[1]).within(ys, low[0] + 1, high[0] - 1)
    ys = ys.within(xs, low[1] + 1, high[1] - 1)
    rows, row_spans = _rows(numbers, digits, ys)
    fields = find_fields(digits, rows[digits.number], level, upright)
    columns, column_spans, sure = _columns(digits, rows[digits.number], xs, fields)
    owners, indices, across = digits.number.tolist(), digits.index.tolist(), digits.places[:, 0].tolist()
    placed = list(zip(rows[digits.number].tolist(), columns.tolist(), across, owners, indices, strict=True))
    numbers = list(numbers)
    if read_blank is not None:
        blanks = _blanks(digits, columns, fields, placed, row_spans, column_spans)
        for blank, number in read_blanks(grey, plane, blanks, [number.box for number in numbers], read_blank):
            middle = (blank.start + blank.end) / 2
            placed += [(blank.row, blank.column, middle, len(numbers), k) for k in range(len(number.digits))]
            numbers.append(number)
    certainty = {(field.row, int(columns[field.digits[0]])): field.certainty for field in fields}
    cells = []
    for place, parts in itertools.groupby(sorted(placed), lambda part: part[:2]):
        inside = [(number, index) for *_, number, index in parts]
        number = number_of(numbers, inside, certainty.get(place, sure.get(place[1])), min_confidence)
        row, column = place
        number = replace(number, row=row, column=column)
        cells.append(Cell(row, column, number, is_printed=number.is_printed))
    return Table(tuple(cells), len(row_spans), len(column_spans), is_ruled=len(ys.at) > 1 and len(xs.at) > 1)


def _blanks(
    digits: PlacedDigits,
    columns: Integers,
    fields: Sequence[Field],
    placed: Sequence[tuple[int, int, float, int, int]],
    row_spans: Sequence[Span],
    column_spans: Sequence[Span],
) -> list[Blank]:
    """Return the boxes of fields and the ruled cells in which no digit was read."""
    blanks = []
    for field in fields:
        middle = float(np.median(digits.places[field.digits, 1]))
        top, bottom = row_spans[field.row] or (middle - BOX / 2, middle + BOX / 2)
        filled = np.searchsorted(field.sides, digits.places[field.digits, 0]) - 1
        for box in sorted(set(range(len(field.sides) - 1)) - set(filled.tolist())):
            start, end = field.sides[box : box + 2].tolist()
            column = int(columns[field.digits[0]])
            blanks.append(Blank(field.row, column, start, end, top, bottom, is_box=True))
    filled_cells = {part[:2] for part in placed}
    for row, rows in enumerate(row_spans):
        for column, across in enumerate(column_spans):
            if rows is not None and across is not None and (row, column) not in filled_cells:
                blanks.append(Blank(row, column, *across, *rows))
    return blanks


def _separators(chains: Sequence[Floats], low: float, high: float) -> Separators:
    """Return where rules part a table that goes from low to high along them.

    chains: of each rule its points (P, 2): across the table, and along the rule.
    """
    places = np.array([median(chain[:, 0]) for chain in chains])
    at, spans = [], []
    for group in clusters(places, SAME_RULE):
        ends = np.array([(chains[each][:, 1].min(), chains[each][:, 1].max()) for each in group])
        if covered(np.clip(ends, low, high)) >= LEAST_LENGTH * (high - low):
            at.append(np.average(places[group], weights=np.ptp(ends, axis=1)))
            spans.append((ends[:, 0].min(), ends[:, 1].max()))
    if len(at) < 2:  # a fold of the paper, or a line below a heading
        return Separators(np.zeros(0), np.zeros((0, 2)))
    return Separators(np.array(at), np.array(spans))


def _rows(numbers: Sequence[Number], digits: PlacedDigits, ys: Separators) -> tuple[Integers, list[Span]]:
    """Return the row of each number, and from where to where each row goes, empty ones included."""
    middles = np.array([median(digits.places[digits.number == index, 1]) for index in range(len(numbers))])
    read = np.array([number.row or 0 for number in numbers])
    is_low = [
        ys.width(interval) < LOWEST_ROW and interval not in ys.interval(middles)
        for interval in range(len(ys.at) + 1)
    ]
    kept = ~np.array([before and behind for before, behind in itertools.pairwise(is_low)], bool)
    ys = Separators(ys.at[kept], ys.spans[kept])  # without words of a heading that look like a rule
    intervals, rows, spans = ys.interval(middles), np.zeros(len(numbers), np.int64), list[Span]()
    for interval in range(len(ys.at) + 1):
        inside = np.flatnonzero(intervals == interval)
        is_row = ys.width(interval) < TALLEST_ROW
        inside = inside[np.argsort(middles[inside], kind="stable")]
        if is_row:
            groups = np.split(inside, np.flatnonzero(np.diff(middles[inside]) > ROW_GAP) + 1)
        else:
            groups = [inside[read[inside] == row] for row in dict.fromkeys(read[inside].tolist())]
        groups = [group for group in groups if len(group)]
        for group in groups:
            rows[group] = len(spans)
            spans.append(ys.span(interval) if is_row and len(groups) == 1 else None)
        if not groups and ys.encloses(interval) and ys.width(interval) >= LOWEST_ROW:
            spans.append(ys.span(interval) if is_row else None)
    return rows, spans


def _columns(
    digits: PlacedDigits, rows: Integers, xs: Separators, fields: Sequence[Field]
) -> tuple[Integers, list[Span], dict[int, float]]:
    """Return the column of each digit, from where to where each goes, and how sure fields without boxes are.

    rows: of each digit.
    """
    is_inside = np.zeros(len(xs.at), bool)  # a field, whose sides are no columns
    middles = digits.places[:, 0].copy()
    piece = digits.number.copy()
    for field in fields:
        is_inside |= (xs.at > field.sides[0] + WITHIN) & (xs.at < field.sides[-1] - WITHIN)
        middles[field.digits] = field.sides[[0, -1]].mean()
        piece[field.digits] = piece[field.digits[0]]
    xs = Separators(xs.at[~is_inside], xs.spans[~is_inside])
    intervals = xs.interval(middles)
    columns, spans, sure = np.zeros(len(rows), np.int64), list[Span](), dict[int, float]()
    for interval in range(len(xs.at) + 1):
        inside = np.flatnonzero(intervals == interval)
        if len(inside):
            own = _columns_between(digits, rows, piece, inside)
            if xs.encloses(interval) and own.any():
                own, certainty = _joined_columns(digits, rows, inside, own)
                sure |= {} if certainty is None else {len(spans): certainty}
            columns[inside] = len(spans) + own
            spans += [None] * (int(own.max()) + 1) if own.any() else [xs.span(interval)]
        elif xs.encloses(interval) and xs.width(interval) >= NARROWEST_COLUMN:
            spans.append(xs.span(interval))
    return columns, spans, sure


def _columns_between(digits: PlacedDigits, rows: Integers, piece: Integers, inside: Integers) -> Integers:
    """Return the column of each digit inside of an interval, by the gaps between the numbers.

    piece: to which number each digit (D,) belongs, after fields were joined.
    """
    parts, owner = np.unique(piece[inside], return_inverse=True)
    middles, halves = digits.places[inside], digits.widths[inside] / 2
    boxes, row_of = np.ones((len(parts), 4)), np.zeros(len(parts), np.int64)
    for part in range(len(parts)):
        own = owner == part
        left, right = (middles[own, 0] - halves[own]).min(), (middles[own, 0] + halves[own]).max()
        boxes[part, :3] = left, middles[own, 1].mean(), right - left
        row_of[part] = rows[inside][own][0]
    return np.asarray(find_columns(boxes, row_of)[owner], np.int64)


def _joined_columns(
    digits: PlacedDigits, rows: Integers, inside: Integers, columns: Integers
) -> tuple[Integers, float | None]:
    """Join columns between two rules that are the places of one number's digits, or groups of its digits.

    Return how sure the former is, too.
    """
    order = np.lexsort((digits.places[inside, 0], rows[inside]))
    starts = np.flatnonzero(np.diff(rows[inside][order])) + 1
    lines = np.split(order, starts)
    odds = log_odds_of_field(
        [columns[line] for line in lines], [digits.number[inside[line]] for line in lines],
        int(columns.max()) + 1, is_framed=True,
    )  # fmt: skip
    if odds > 0:
        return np.zeros_like(columns), from_log_odds(odds)
    places, halves, joined = digits.places[inside, 0], digits.widths[inside] / 2, columns.copy()
    for column in range(int(columns.max()), 0, -1):
        gaps = []
        for line in lines:
            before, behind = (line[columns[line] == each] for each in (column - 1, column))
            if len(before) and len(behind):
                gaps.append((places - halves)[behind].min() - (places + halves)[before].max())
        if not gaps or median(np.array(gaps)) < GROUP_GAP:
            joined[joined >= column] -= 1
    return joined, None
