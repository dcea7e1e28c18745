"""Fill a page as people do: free numbers, tables, forms, text, sums, one number alone, or nothing to read.

All sizes and shares were chosen by hand, wide enough that real pages lie inside. No real page was used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from digitcli.strip_format import DIGITS, OTHER
from digitcli.synthesis.glyphs import CLEAR_LETTERS, draw_strokes
from digitcli.synthesis.lists import (
    fill_with_address,
    fill_with_axis,
    fill_with_calendar,
    fill_with_menu,
)
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import (
    Desk,
    decorate,
    draw_edges_of_cell,
    draw_table_lines,
    draw_tick,
    put_freely,
    rule_width,
)
from digitcli.synthesis.page_parts import (
    draw_comb,
    fill_with_choices,
    fill_with_combs,
    fill_with_exercises,
    fill_with_letters,
    fill_with_one_box,
    fill_with_one_comb,
    fill_with_row,
    fill_with_spaced_numbers,
    fill_with_sums,
)
from digitcli.synthesis.stamps import Scribe, Stamp, side_by_side
from digitcli.synthesis.texts import LOWER, UPPER, sample_integer, sample_number, sample_word
from digitcli.synthesis.things import cross_out, draw_things

# Range of the gap between two numbers in a line, in heights of a digit.
NUMBER_GAP = (0.45, 0.9)
# Share of free numbers that are fractions with a bar, and the height of a digit in one that is alone on its
# page, in heights of the page.
FRACTION_SHARE = 0.08
FRACTION_DIGIT = (0.15, 0.38)
# Heights of a digit between two cells without a line between them: a wider gap than between digits.
UNRULED_GAP = 1.2
# Heights of a digit by which a number may be wider than its cell.
LARGEST_OVERFLOW = 0.15
# Greatest height in pixels of a number alone on its page; a larger one takes long to draw and teaches little.
LARGEST_DIGIT_PX = 320
# Share of letters among the pictures of one character.
LETTER_SHARE = 0.2
CELL_SHARE = 0.3  # of these pictures show parts of the frame of a cell
# Shares of such pictures without a number that show an empty cell or a box to tick.
EMPTY_CELL_SHARE = 0.5
BOX_SHARE = 0.15


def fill_with_free_numbers(desk: Desk) -> None:
    """Put lines of one to three numbers anywhere, each line with an angle of its own on some pages."""
    tilt = desk.uniform(0, 14) if desk.chance(0.3) else 0.0
    words = desk.label_scribe()
    for _ in range(desk.count(1, 14)):
        if desk.chance(0.2):
            put_freely(desk, desk.word(words, 0.7, 1.1), tilt)
            continue
        text, stamp = _line_of_numbers(desk)
        if desk.chance(FRACTION_SHARE):
            put_freely(desk, _fraction(desk), tilt)
            continue
        place = put_freely(desk, stamp, tilt, Kind.NUMBER, text)
        if place and desk.chance(0.25):
            decorate(desk, place)


def fill_with_table(desk: Desk) -> None:
    """Draw a table of numbers with row labels, column heads, empty cells, dashes and ticks."""
    height = desk.height_px
    single = desk.chance(0.35)  # digits in cells of their own
    longest = 1 if single else desk.count(2, 7)
    has_row_lines, has_column_lines = desk.chance(0.75), desk.chance(0.65)
    row_px = height * desk.uniform(1.15, 2.6)
    widths = desk.uniform(1, 2.2) if single else desk.uniform(0.7, 1) * longest + desk.uniform(0.5, 2)
    gap_px = 0.0 if has_column_lines else height * UNRULED_GAP
    column_px = height * widths + gap_px
    left, top = desk.uniform(-0.5, 2) * height, desk.uniform(-0.5, 2) * height
    has_labels, has_heads = desk.chance(0.5), desk.chance(0.5)
    label_px = height * desk.uniform(2, 6) if has_labels else 0.0
    columns = max(1, min(int((desk.page.width - left - label_px) / column_px), desk.count(1, 14)))
    rows = max(1, min(int((desk.page.height - top) / row_px), desk.count(1, 18)))
    if single and rows == 1:  # a single row of equal boxes is one number
        draw_comb(desk, max(left, 0.1 * height), max(top, 0.4 * height))
        return
    xs = left + label_px + column_px * np.arange(columns + 1)
    ys = top + row_px * np.arange(rows + 1)
    lines_x = np.concatenate([[left], xs]) if has_labels else xs
    draw_table_lines(desk, lines_x, ys, rows=has_row_lines, columns=has_column_lines)
    words, filled = desk.label_scribe(), desk.uniform(0.5, 1)
    crossed = desk.uniform(0, 0.15) if desk.chance(0.15) else 0.0  # share of the numbers that are crossed out
    kind = desk.random.random()
    for row in range(rows):
        if has_labels and not (row == 0 and has_heads):
            cell = (left, ys[row], xs[0], ys[row + 1])
            if desk.chance(0.3):
                _put_in_cell(desk, desk.number(f"{row + 1}"), cell, f"{row + 1}", 0.1)
            else:
                _put_word_in_cell(desk, words, cell)
        for column in range(columns):
            cell = (xs[column], ys[row], xs[column + 1] - gap_px, ys[row + 1])
            if row == 0 and has_heads:
                _put_word_in_cell(desk, words, cell)
            elif desk.chance(filled):
                text = _cell_text(desk, kind, longest)
                _put_in_cell(desk, desk.number(text), cell, text, desk.uniform(0, 1), crossed)
            elif desk.chance(0.3):
                draw_tick(desk, (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2)


def fill_with_marks(desk: Desk) -> None:
    """Draw a grid with one digit in each cell, as of marks or scores, often with names, heads and sums."""
    height = desk.height_px
    cell_px, row_px = height * desk.uniform(1.05, 2.6), height * desk.uniform(1.25, 2.8)
    left, top = desk.uniform(0, 2) * height, desk.uniform(0, 2) * height
    has_names, has_heads, has_sums = desk.chance(0.6), desk.chance(0.6), desk.chance(0.35)
    names_px = height * desk.uniform(2.5, 7) if has_names else 0.0
    sums, sum_px = desk.count(1, 3) if has_sums else 0, height * desk.uniform(2.2, 4)
    spare = desk.page.width - left - names_px - sums * sum_px
    columns = max(2, min(int(spare / cell_px), desk.count(2, 16)))
    rows = max(2, min(int((desk.page.height - top) / row_px), desk.count(2, 18)))
    widths = [0.0, *[cell_px] * columns, *[sum_px] * sums]
    xs, ys = left + names_px + np.cumsum(widths), top + row_px * np.arange(rows + 1)
    lines_x = np.concatenate([[left], xs]) if has_names else xs
    draw_table_lines(desk, lines_x, ys, rows=desk.chance(0.9), columns=desk.chance(0.9))
    words, filled, align = desk.label_scribe(), desk.uniform(0.4, 1), desk.uniform(0.2, 0.8)
    for row in range(rows):
        if has_names:
            _put_word_in_cell(desk, words, (left, ys[row], xs[0], ys[row + 1]))
        for column in range(columns + sums):
            cell, is_sum = (xs[column], ys[row], xs[column + 1], ys[row + 1]), column >= columns
            if row == 0 and has_heads and is_sum:
                _put_word_in_cell(desk, words, cell)
            elif row == 0 and has_heads:
                head = words.number(desk.random, f"{column + 1}", 0.8 * height)
                _put_in_cell(desk, head, cell, f"{column + 1}", 0.5)
            elif desk.chance(filled):
                text = sample_integer(desk.random, 1, 3 if is_sum else 1)
                _put_in_cell(desk, desk.number(text), cell, text, 0.5 if is_sum else align)


def fill_with_form(desk: Desk) -> None:
    """Write fields one below the other: a printed name, then a comb, a frame, a line or nothing."""
    y, height = desk.uniform(-0.3, 1.5) * desk.height_px, desk.height_px
    words = desk.room.printer(desk.random)
    while y < desk.page.height:
        x = desk.uniform(0, 1.5) * height
        while x < desk.page.width:
            if desk.chance(0.75):
                for _ in range(desk.count(1, 3)):
                    stamp = desk.word(words, 0.35, 0.8)
                    desk.page.put(stamp, x, y + height - stamp.height, Kind.OTHER)
                    x += stamp.width + 0.3 * height
            x = _field(desk, x, y) + desk.uniform(0.8, 3) * height
        y += height * desk.uniform(1.6, 3)


def fill_with_text(desk: Desk) -> None:
    """Write lines of words, on most pages with numbers among them."""
    scribe = desk.label_scribe()
    share = 0.0 if desk.chance(0.35) else desk.uniform(0.05, 0.4)
    writer = scribe if desk.chance(0.6) else desk.scribe  # of numbers
    y, step = desk.uniform(-0.5, 1) * desk.height_px, desk.uniform(1.4, 2.4) * desk.height_px
    while y < desk.page.height:
        x = desk.uniform(-1, 2) * desk.height_px
        while x < desk.page.width and not desk.chance(0.04):
            if desk.chance(share):
                text, kind = sample_number(desk.random), Kind.NUMBER
                stamp = writer.number(desk.random, text, desk.height_px)
            else:
                text, kind = "", Kind.OTHER
                stamp = scribe.word(desk.random, sample_word(desk.random), desk.height_px)
            drop_px = desk.random.normal(0, 0.04 * desk.height_px)
            desk.page.put(stamp, x, y + desk.height_px - stamp.height / 2 + drop_px, kind, text)
            x += stamp.width + desk.uniform(0.35, 0.9) * desk.height_px
            x += 0.6 * desk.height_px if kind is Kind.NUMBER else 0
        y += step


def fill_with_one_number(desk: Desk) -> None:
    """Write one number, or a single digit, as large as the page."""
    text = _digit(desk) if desk.chance(0.45) else sample_number(desk.random)
    stamp = desk.number(text)
    margin = desk.uniform(0.9, 1) if desk.chance(0.5) else desk.uniform(0.35, 0.9)
    scale = margin * min(desk.page.height / stamp.height, desk.page.width / stamp.width)
    height_px = min(desk.height_px * scale, LARGEST_DIGIT_PX)
    stamp = desk.scribe.number(desk.random, text, height_px)
    spare_x, spare_y = desk.page.width - stamp.width, desk.page.height - stamp.height
    x, y = (desk.uniform(0, max(1, spare)) if spare > 0 else spare / 2 for spare in (spare_x, spare_y))
    degrees = float(desk.random.normal(0, 5)) if desk.chance(0.3) else 0.0
    desk.page.put(stamp, x, y, Kind.NUMBER, text, degrees)
    if desk.chance(0.3):
        decorate(desk, (x, y, x + stamp.width, y + stamp.height))


def fill_with_one_fraction(desk: Desk) -> None:
    """Write one fraction with a bar."""
    largest_px = 0.3 * min(desk.page.width, LARGEST_DIGIT_PX)
    height_px = min(desk.uniform(*FRACTION_DIGIT) * desk.page.height, largest_px)
    stamp = _fraction(replace(desk, height_px=height_px))
    spare_x, spare_y = desk.page.width - stamp.width, desk.page.height - stamp.height
    desk.page.put(stamp, desk.uniform(0, max(1, spare_x)), desk.uniform(0, max(1, spare_y)), Kind.OTHER)


def fill_with_one_character(desk: Desk) -> None:
    """Write one digit, or sometimes one letter, that fills much of the page."""
    is_letter = desk.chance(LETTER_SHARE)
    text = str(desk.random.choice(list(CLEAR_LETTERS))) if is_letter else _digit(desk)
    write = desk.label_scribe().word if is_letter else desk.scribe.number
    height_px = desk.uniform(0.5, 0.98) * desk.page.height
    stamp = write(desk.random, text, height_px)
    if stamp.width > desk.page.width or stamp.height > desk.page.height:
        height_px *= 0.98 * min(desk.page.width / stamp.width, desk.page.height / stamp.height)
        stamp = write(desk.random, text, height_px)
    spare_x, spare_y = desk.page.width - stamp.width, desk.page.height - stamp.height
    x, y = (spare * np.clip(desk.random.normal(0.5, 0.15), 0, 1) for spare in (spare_x, spare_y))
    desk.page.put(stamp, x, y, Kind.OTHER if is_letter else Kind.NUMBER, "" if is_letter else text)
    if desk.chance(CELL_SHARE):
        draw_edges_of_cell(desk)


def fill_with_no_number(desk: Desk) -> None:
    """Draw the edges of an empty cell, a box to tick, or anything else that is no number."""
    kind = desk.random.random()
    if kind < EMPTY_CELL_SHARE:
        draw_edges_of_cell(desk)
    elif kind < EMPTY_CELL_SHARE + BOX_SHARE:
        fill_with_one_box(desk)
    else:
        fill_with_nothing(desk)


def fill_with_nothing(desk: Desk) -> None:
    """Draw things that are no numbers, or digits too large for the page."""
    draw_things(desk)
    if desk.chance(0.5) and not desk.page.labels:  # a photograph of things, without paper
        desk.page.layers.sheet[:] = 0
    if desk.chance(0.2):
        large = min(desk.uniform(1.5, 3) * min(desk.page.height, desk.page.width), 400)
        stamp = desk.scribe.number(desk.random, str(desk.random.choice(list(DIGITS))), large)
        spare = desk.page.width - stamp.width
        x = desk.uniform(-0.8, 0.2) * stamp.width if spare > 0 else desk.uniform(spare, 0)
        desk.page.put(stamp, x, desk.uniform(desk.page.height - stamp.height, 0), Kind.NUMBER, "")


def fill_with_things(desk: Desk) -> None:
    """Show a photograph of things, without paper."""
    desk.page.layers.sheet[:] = 0


def fill_with_words(desk: Desk) -> None:
    """Write words of two letters or more: a single one may look like a digit."""
    words = desk.label_scribe()
    for _ in range(desk.count(3, 16)):
        text = next(word for word in iter(lambda: sample_word(desk.random), "") if len(word) > 1)
        put_freely(desk, words.word(desk.random, text, desk.height_px * desk.uniform(0.6, 1.5)), 5)


# Fills a page.
Layout = Callable[[Desk], None]
LAYOUTS: dict[str, Layout] = {
    "free_numbers": fill_with_free_numbers,
    "table": fill_with_table,
    "marks": fill_with_marks,
    "form": fill_with_form,
    "combs": fill_with_combs,
    "text": fill_with_text,
    "letters": fill_with_letters,
    "sums": fill_with_sums,
    "exercises": fill_with_exercises,
    "choices": fill_with_choices,
    "menu": fill_with_menu,
    "calendar": fill_with_calendar,
    "axis": fill_with_axis,
    "address": fill_with_address,
    "spaced_numbers": fill_with_spaced_numbers,
    "row": fill_with_row,
    "one_number": fill_with_one_number,
    "one_comb": fill_with_one_comb,
    "one_fraction": fill_with_one_fraction,
    "one_box": fill_with_one_box,
    "nothing": fill_with_nothing,
}


def _line_of_numbers(desk: Desk) -> tuple[str, Stamp]:
    """Write one number, two that stand so near that they are one line with a space, or one with a unit.

    A unit is letters that nearly touch the number, for example those of a currency.
    """
    first = sample_number(desk.random)
    if desk.chance(0.08):
        scribe = desk.scribe if desk.chance(0.7) else desk.label_scribe()
        letters = "".join(desk.random.choice(list(LOWER + UPPER), desk.count(1, 4)))
        word = scribe.word(desk.random, letters, desk.height_px * desk.uniform(0.7, 1.05))
        gap_px = desk.uniform(0.05, 0.45) * desk.height_px
        number = desk.number(first)
        if desk.chance(0.5):
            return f"{OTHER}{first}", side_by_side([word, number], gap_px)
        return f"{first}{OTHER}", side_by_side([number, word], gap_px)
    if not desk.chance(0.15):
        return first, desk.number(first)
    second = sample_integer(desk.random, 1, 4)
    stamps = [desk.number(first), desk.number(second)]
    return f"{first} {second}", side_by_side(stamps, desk.uniform(*NUMBER_GAP) * desk.height_px)


def _fraction(desk: Desk) -> Stamp:
    """Write a fraction with a bar, which is other writing: it is not the number that its digits give."""
    upper, lower = (desk.number(sample_integer(desk.random, 1, 2)) for _ in range(2))
    gap, pen = desk.uniform(0.15, 0.4) * desk.height_px, desk.uniform(0.05, 0.12) * desk.height_px
    width, bar = max(upper.width, lower.width) + round(2 * gap), upper.height + gap / 2
    mask = np.zeros((round(upper.height + gap + lower.height), width), np.uint8)
    for stamp, y in ((upper, 0), (lower, len(mask) - lower.height)):
        x = (width - stamp.width) // 2
        mask[y : y + stamp.height, x : x + stamp.width] |= stamp.mask
    slope = float(desk.random.normal(0, 0.05)) * width
    draw_strokes(mask, [np.array([(1, bar), (width - 2, bar + slope)], np.float32)], max(1.0, pen))
    return Stamp(mask, np.array([[0, 0, width, len(mask)]], np.float32))


def _digit(desk: Desk) -> str:
    """Return a digit; a 1 is twice as frequent, because it is hard to tell from other strokes."""
    return str(desk.random.choice(list(DIGITS + "1")))


def _cell_text(desk: Desk, kind: float, longest: int) -> str:
    if longest == 1:
        return _digit(desk)
    if kind < 0.6:
        return sample_integer(desk.random, 1, longest)
    if kind < 0.8:
        return sample_integer(desk.random, 1, max(1, longest - 2)) + "." + sample_integer(desk.random, 1, 2)
    text = sample_number(desk.random)
    return text if len(text) <= longest + 2 else sample_integer(desk.random, 1, longest)


def _put_in_cell(
    desk: Desk, stamp: Stamp, cell: Sequence[float], text: str, align: float, crossed: float = 0.0
) -> None:
    """Put a number into a cell x0 y0 x1 y1, or a word, whose text is empty; `align` is 0 at its left side.

    crossed: the share of the numbers that are crossed out, which makes them none.
    """
    x0, y0, x1, y1 = cell
    spare_x, spare_y = x1 - x0 - stamp.width, y1 - y0 - stamp.height
    if spare_x < -LARGEST_OVERFLOW * desk.height_px:
        return
    jitter_x, jitter_y = desk.random.normal(0, 0.12, 2) * desk.height_px
    x, y = x0 + align * spare_x + jitter_x, y0 + spare_y * desk.uniform(0.3, 0.7) + jitter_y
    if not text or not desk.chance(crossed):
        desk.page.put(stamp, x, y, Kind.NUMBER if text else Kind.OTHER, text)
    elif desk.page.put(stamp.as_one(), x, y, Kind.OTHER):
        cross_out(desk, (x, y, x + stamp.width, y + stamp.height))


def _put_word_in_cell(desk: Desk, words: Scribe, cell: Sequence[float]) -> None:
    _put_in_cell(desk, desk.word(words, 0.5, 0.9), cell, "", desk.uniform(0, 0.6))


def _field(desk: Desk, x: float, y: float) -> float:
    """Write a field at x, y, and return its right end."""
    kind, height = desk.random.random(), desk.height_px
    if kind < 0.45:
        return draw_comb(desk, x, y)
    text = sample_number(desk.random)
    stamp = desk.number(text)
    width = max(stamp.width + 0.4 * height, desk.uniform(2, 8) * height)
    if kind < 0.7:
        box = (x, y - desk.uniform(0.1, 0.4) * height, x + width, y + height * desk.uniform(1.1, 1.5))
        desk.page.frame(box, rule_width(desk), desk.uniform(80, 255))
    elif kind < 0.9:
        bottom = y + height * desk.uniform(0.95, 1.2)
        desk.page.line([(x, bottom), (x + width, bottom)], rule_width(desk), desk.uniform(80, 255))
    if desk.chance(0.85):
        left = x + desk.uniform(0.1, 0.4) * height
        desk.page.put(stamp, left, y + (height - stamp.height) / 2, Kind.NUMBER, text)
    return x + width
