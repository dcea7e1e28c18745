"""Draw tables and forms whose numbers have a place: lists of marks, meter sheets, logs, boxes, tallies.

A cell is a `CellLabel`. A person copies a field of boxes, one digit in each, as one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scenes import DrawnScene

from digitcli.synthesis.page import Label
from judging.camera import bow, fold, lay, shade, speckled, take_picture, wood
from judging.grids import write_spaced
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet
from judging.texts import GOODS, NAMES, clock, sample_integer

# All sizes, tones and shares were chosen by hand, so that a person can tell in which cell each number stands.
LEAST_GAP_UNRULED = 2.0  # between two columns without rules, in heights of a digit
PAIR_GAP = (1.0, 6.0)  # between the sheets of two tables, in heights of a digit, beside their own margins


@dataclass(frozen=True)
class CellLabel(Label):
    """A number of a table, with its row and its column from 0 on, heads included."""

    row: int = 0
    column: int = 0
    is_printed: bool = False
    table: int = 0


@dataclass(frozen=True)
class Column:
    """A column of a table.

    width: in heights of a digit.
    write: returns the text of a cell; None for words.
    boxes: how many boxes for single digits each cell has.
    is_printed: whether its numbers are printed.
    filled: the share of its cells in which something stands.
    """

    width: float
    write: Callable[[np.random.Generator, int], str] | None = None
    boxes: int = 0
    is_printed: bool = False
    filled: float = 0.9


@dataclass(frozen=True)
class Style:
    """How a table is ruled.

    tone: the light that a rule reflects, 0 for black.
    width: of a rule, in heights of a digit.
    kind: solid, dotted, double or broken.
    rows, columns: which rules there are.
    """

    tone: float
    width: float
    kind: str = "solid"
    rows: bool = True
    columns: bool = True

    @classmethod
    def sample(cls, sheet: Sheet, rows: float = 0.9, columns: float = 0.9) -> Style:
        """Return a style; `rows` and `columns` are the shares of tables with such rules."""
        kind = sheet.choose(["solid", "solid", "solid", "dotted", "double", "broken"])
        has_rows, has_columns = sheet.chance(rows), sheet.chance(columns)
        return cls(sheet.uniform(0.1, 0.75), sheet.uniform(0.02, 0.09), kind, has_rows, has_columns)

    def draw(self, sheet: Sheet, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw one rule."""
        if self.kind == "solid":
            sheet.line([(x0, y0), (x1, y1)], self.tone, self.width)
            return
        if self.kind == "double":
            shift = np.array([y1 > y0, x1 > x0]) * 0.12 * sheet.digit_px
            for side in (-1, 1):
                sheet.line(np.array([(x0, y0), (x1, y1)]) + side * shift, self.tone, self.width)
            return
        step = 0.25 * sheet.digit_px if self.kind == "dotted" else sheet.uniform(3, 9) * sheet.digit_px
        share = 0.5 if self.kind == "dotted" else sheet.uniform(0.8, 0.95)
        parts = max(1, round(float(np.hypot(x1 - x0, y1 - y0)) / step))
        ends = np.linspace([x0, y0], [x1, y1], parts + 1)
        for start, end in zip(ends, ends[1:], strict=False):
            sheet.line([start, start + share * (end - start)], self.tone, self.width)


def draw_table(
    sheet: Sheet, columns: Sequence[Column], rows: int, style: Style, pens: tuple[Pen, Pen], heads: int = 1
) -> None:
    """Draw a table with its upper left corner at a margin of the sheet, and fill it."""
    h, (hand, printer) = sheet.digit_px, pens
    row_px = sheet.uniform(1.5, 2.6) * h
    left, top = sheet.uniform(1, 3) * h, sheet.uniform(1.5, 5) * h
    gap = 0.0 if style.columns else LEAST_GAP_UNRULED
    xs = left + h * np.cumsum([0.0, *(column.width + gap for column in columns)])
    ys = top + row_px * np.arange(rows + heads + 1)
    _rule(sheet, xs, ys, style, heads)
    last = rows if sheet.chance(0.6) else int(sheet.random.integers(max(1, rows // 2), rows + 1))
    for index, column in enumerate(columns):
        right = xs[index + 1] - gap * h
        align, lean, is_right = sheet.uniform(0.3, 0.7), 0.05 * h, sheet.chance(0.7)
        for row in range(heads):
            if sheet.chance(0.8):
                _head(sheet, printer, xs[index], right, ys[row], row_px)
        for row in range(rows):
            foot = ys[row + heads] + row_px / 2 + h / 2
            if column.write is None:
                word = sheet.choose(NAMES).split()[-1]
                pen = printer if column.is_printed else hand
                if any(c.isalpha() for c in word) and not column.is_printed:
                    pen = replace(pen, scribe=sheet.room.penman(sheet.random))
                _fitted(sheet, pen, word, xs[index] + 0.2 * h, foot, right - xs[index] - 0.4 * h)
                continue
            if column.boxes:
                _boxes(sheet, xs[index], right, foot, row_px, column, style)
            if (row >= last and not column.is_printed) or not sheet.chance(column.filled):
                continue
            text, before = column.write(sheet.random, row), len(sheet.labels)
            pen = printer if column.is_printed else hand
            if column.boxes:
                pitch = (right - xs[index]) / column.boxes
                shift = pitch * (column.boxes - len(text)) * is_right
                write_spaced(sheet, pen, text, xs[index] + shift, foot, pitch, row_px)
            else:
                x = xs[index] + align * (right - xs[index]) + lean * sheet.random.normal()
                drop = 0.08 * h * sheet.random.normal()
                sheet.write(pen, text, x, foot + drop, 0.75 if column.is_printed else 0.95, align)
            sheet.labels[before:] = [
                CellLabel(
                    each.kind,
                    each.text,
                    each.corners,
                    row=row + heads,
                    column=index,
                    is_printed=column.is_printed,
                )
                for each in sheet.labels[before:]
            ]


def _head(sheet: Sheet, printer: Pen, left: float, right: float, top: float, row_px: float) -> None:
    h = sheet.digit_px
    foot = top + row_px / 2 + 0.3 * h
    _fitted(sheet, printer, sheet.choose(GOODS), left + 0.2 * h, foot, right - left - 0.4 * h)


def _fitted(sheet: Sheet, pen: Pen, word: str, x: float, foot: float, width: float) -> None:
    """Write a word that is not wider than its cell."""
    size = float(np.clip(width / max(len(word), 1) / sheet.digit_px / 0.6, 0.3, 0.7))
    sheet.write(pen, word, x, foot, size)


def _boxes(
    sheet: Sheet, left: float, right: float, foot: float, row_px: float, column: Column, style: Style
) -> None:
    """Draw the rules between the boxes of a field."""
    top, bottom = foot - sheet.digit_px / 2 - row_px / 2, foot - sheet.digit_px / 2 + row_px / 2
    for x in np.linspace(left, right, column.boxes + 1)[1:-1]:
        style.draw(sheet, x, top, x, bottom)


def _rule(sheet: Sheet, xs: np.ndarray, ys: np.ndarray, style: Style, heads: int) -> None:
    """Draw the rules of a table; with two rows of heads some cells of the first are wider."""
    for x in xs if style.columns else ():
        is_spanned = heads > 1 and 0 < np.flatnonzero(xs == x)[0] < len(xs) - 1 and sheet.chance(0.4)
        style.draw(sheet, x, ys[1] if is_spanned else ys[0], x, ys[-1])
    for index, y in enumerate(ys):
        if style.rows or (style.columns and index in (0, heads, len(ys) - 1)):
            style.draw(sheet, xs[0], y, xs[-1], y)


def _integers(longest: int) -> Callable[[np.random.Generator, int], str]:
    return lambda random, row: sample_integer(random, 1, longest)


def _fixed(digits: int) -> Callable[[np.random.Generator, int], str]:
    return lambda random, row: sample_integer(random, digits, digits)


def _decimals(random: np.random.Generator, row: int) -> str:
    return f"{sample_integer(random, 1, 2)}.{int(random.integers(10))}"


def _count(random: np.random.Generator, row: int) -> str:
    return f"{row + 1}"


def class_list(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Numbers of rows, names and marks."""
    marks = [Column(sheet.uniform(2.2, 4), _integers(2), filled=sheet.uniform(0.4, 1))] * int(
        sheet.random.integers(3, 9)
    )
    columns = [Column(2, _count, is_printed=True), Column(sheet.uniform(5, 8)), *marks]
    draw_table(sheet, columns, int(sheet.random.integers(8, 26)), Style.sample(sheet), pens)


def meter_sheet(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Flats, and readings of five digits before and now."""
    readings = [Column(sheet.uniform(5, 7), _fixed(5))] * int(sheet.random.integers(2, 5))
    columns = [Column(2.5, _count, is_printed=sheet.chance(0.5)), *readings, Column(4, _integers(3))]
    draw_table(sheet, columns, int(sheet.random.integers(10, 26)), Style.sample(sheet, 1, 1), pens)


def weather_log(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Days and many columns of decimals, below two rows of heads."""
    values = [Column(sheet.uniform(3.2, 4.4), _decimals, filled=0.95)] * int(sheet.random.integers(5, 11))
    columns = [Column(2, _count, is_printed=True), *values]
    draw_table(sheet, columns, int(sheet.random.integers(10, 31)), Style.sample(sheet, 0.6, 1), pens, heads=2)


def box_form(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Names, and one or two fields of boxes in each row."""
    box = sheet.uniform(1.05, 1.7)
    fields = []
    for _ in range(int(sheet.random.integers(1, 3))):
        count = int(sheet.random.integers(2, 7))
        fields += [
            Column(count * box, _integers(count), boxes=count),
            Column(sheet.uniform(2, 4), None, 0, True),
        ]
    columns = [Column(sheet.uniform(5, 9), None, 0, True), *fields[:-1]]
    draw_table(sheet, columns, int(sheet.random.integers(4, 12)), Style.sample(sheet, 1, 1), pens)


def tally(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """A few large rows: a printed number, a name, and a field of three boxes."""
    columns = [Column(2.5, _count, is_printed=True), Column(sheet.uniform(6, 14), None, 0, True)]
    columns += [Column(3 * sheet.uniform(1.2, 2), _integers(3), boxes=3)]
    draw_table(sheet, columns, int(sheet.random.integers(5, 12)), Style.sample(sheet, 1, 1), pens)


def score_card(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Names, one digit a round in narrow cells, and a sum."""
    rounds = [Column(sheet.uniform(1.4, 2.2), _fixed(1), filled=0.95)] * int(sheet.random.integers(5, 12))
    columns = [Column(6), *rounds, Column(3.5, _fixed(2))]
    draw_table(sheet, columns, int(sheet.random.integers(3, 10)), Style.sample(sheet, 1, 1), pens)


def hours(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Rows of times and amounts without any rules."""
    times: list[Column] = [Column(4.2, lambda random, row: clock(random))] * int(sheet.random.integers(1, 4))
    columns = [Column(2.5, _integers(2)), *times, Column(3.5, _integers(3))]
    without = Style(tone=1.0, width=0.0, rows=False, columns=False)
    draw_table(sheet, columns, int(sheet.random.integers(4, 16)), without, pens)


def ledger(sheet: Sheet, pens: tuple[Pen, Pen]) -> None:
    """Entries and amounts, with rules in one direction only."""
    amounts = [Column(5, _integers(5), filled=0.7)] * int(sheet.random.integers(2, 4))
    is_upright = sheet.chance(0.5)
    style = replace(Style.sample(sheet), rows=not is_upright, columns=is_upright)
    draw_table(
        sheet, [Column(3, _integers(2)), Column(8), *amounts], int(sheet.random.integers(6, 20)), style, pens
    )


TABLES: dict[str, Callable[[Sheet, tuple[Pen, Pen]], None]] = {
    "class_list": class_list, "meter_sheet": meter_sheet, "weather_log": weather_log, "box_form": box_form,
    "tally": tally, "score_card": score_card, "hours": hours, "ledger": ledger,
}  # fmt: skip


def table_page(random: np.random.Generator, room: JudgingRoom, name: str) -> DrawnScene:
    """Draw a page with one table, scanned, or photographed on a table or a wall."""
    return _pictured(_drawn(random, room, name, float(np.exp(random.uniform(*np.log((18, 44)))))))


def pair_page(random: np.random.Generator, room: JudgingRoom, name: str) -> DrawnScene:
    """Draw a page with a table of this kind, and one of any kind below or beside it."""
    digit_px = float(np.exp(random.uniform(*np.log((18, 30)))))
    names = (name, list(TABLES)[int(random.integers(len(TABLES)))])
    sheet, other = (_drawn(random, room, each, digit_px) for each in names)
    sizes = np.array([sheet.light.shape, other.light.shape])
    gap = round(sheet.uniform(*PAIR_GAP) * digit_px)
    # below or beside, whichever makes the shorter page
    axis = int(sizes[:, 0].sum() > sizes[:, 1].sum())
    size, shift = sizes.max(axis=0), np.zeros(2, np.int64)
    size[axis], shift[axis] = sizes[:, axis].sum() + gap, sizes[0, axis] + gap
    light = np.full(size, sheet.light.max(), np.float32)
    light[: sizes[0, 0], : sizes[0, 1]] = sheet.light
    place = tuple(slice(start, start + length) for start, length in zip(shift, sizes[1], strict=True))
    light[place] = other.light * (sheet.light.max() / other.light.max())
    moved = [replace(each, corners=each.corners + np.float32(shift[::-1])) for each in other.labels]
    sheet.labels += [replace(each, table=1) if isinstance(each, CellLabel) else each for each in moved]
    sheet.ignored += [corners + np.float32(shift[::-1]) for corners in other.ignored]
    sheet.light = light
    return _pictured(sheet)


def _drawn(random: np.random.Generator, room: JudgingRoom, name: str, digit_px: float) -> Sheet:
    """Return a sheet with a table, cut to what is drawn."""
    sheet = Sheet(random, room, np.ones((round(90 * digit_px), round(70 * digit_px)), np.float32), digit_px)
    sheet.light[:] = random.uniform(0.85, 1.0)
    ink = random.uniform(0.05, 0.4)
    TABLES[name](sheet, (Pen(room.person(random), ink), Pen(room.printer(random), random.uniform(0.05, 0.3))))
    _trim(sheet)
    return sheet


def _pictured(sheet: Sheet) -> DrawnScene:
    if sheet.chance(0.65):
        bow(sheet)
        fold(sheet)
        surface = wood(sheet) if sheet.chance(0.5) else speckled(sheet, sheet.uniform(0.2, 0.6))
        lay(sheet, surface, sheet.random.normal(0, 4), 0.05)
        if sheet.chance(0.5):
            shade(sheet)
    elif sheet.chance(0.7):
        lay(sheet, lambda shape: np.ones(shape, np.float32), sheet.random.normal(0, 1), 0.0)
    return take_picture(sheet)


def _trim(sheet: Sheet) -> None:
    """Cut off the paper that nothing stands on."""
    inked = sheet.light < sheet.light.max() - 0.03
    margin = sheet.uniform(0.5, 4) * sheet.digit_px
    bottom, right = (int(np.flatnonzero(inked.any(axis=axis))[-1] + margin) for axis in (1, 0))
    sheet.light = np.ascontiguousarray(sheet.light[:bottom, :right])
