"""Draw pages on which it is hard to tell which digits form one number: grids, lists and exercises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scenes import DrawnScene

from judging.camera import bow, lay, shade, speckled, take_picture, wood
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet, new_sheet
from judging.texts import GOODS, NAMES, clock, date, price, sample_integer

# All sizes, tones and shares were chosen by hand, so that a person can tell which digits form one number.
Fill = Callable[[Sheet, Pen, Pen], None]


def combs(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Draw a form: names, and behind each a field of boxes with one digit in each."""
    h, (height, width) = sheet.digit_px, sheet.light.shape
    pitch, tall, kind = sheet.uniform(1.05, 1.9) * h, sheet.uniform(1.3, 1.7) * h, int(sheet.uniform(0, 4))
    tone, pen, same = sheet.uniform(0.1, 0.7), sheet.uniform(0.03, 0.09), sheet.chance(0.4)
    step, y, cells = tall + sheet.uniform(0.3, 2.2) * h, 2.5 * h, int(sheet.random.integers(4, 11))
    while y < height - 2 * h:
        x = sheet.write(printer, sheet.choose(NAMES).split()[0], h, y, 0.7)
        x = 7 * h if same else max(7 * h, x + sheet.uniform(0.5, 2) * h)
        while x + 4 * pitch < width - h:
            count = cells if same else int(sheet.random.integers(3, 10))
            count = min(count, int((width - h - x) / pitch))
            text = sample_integer(sheet.random, max(2, count - int(sheet.random.integers(0, 4))), count)
            _draw_boxes(sheet, (x, y), (pitch, tall, count), tone, pen, kind)
            is_right = sheet.chance(0.3)
            write_spaced(sheet, hand, text, x + (count - len(text)) * pitch * is_right, y, pitch, tall)
            x += count * pitch + sheet.uniform(1.5, 6) * h
            if sheet.chance(0.6):
                break
        y += step


def _draw_boxes(
    sheet: Sheet, at: tuple[float, float], grid: tuple[float, float, int], tone: float, pen: float, kind: int
) -> None:
    """Draw a row of boxes: joined, apart, open above, or a base line with short ticks."""
    (x, y), (pitch, tall, count), h = at, grid, sheet.digit_px
    top, bottom = y - h / 2 - tall / 2, y - h / 2 + tall / 2
    for index in range(count):
        left, right = x + index * pitch, x + (index + 1) * pitch
        if kind == 1:
            left, right = left + 0.06 * pitch, right - 0.06 * pitch
        if kind < 2:
            sheet.frame((left, top, right, bottom), tone, pen)
        else:
            side = top + (0.55 if kind == 2 else 0.8) * tall
            sheet.line([(left, side), (left, bottom), (right, bottom), (right, side)], tone, pen)


def write_spaced(
    sheet: Sheet, pen: Pen, text: str, x: float, y: float, pitch: float, tall: float, one: bool = True
) -> None:
    """Write digits in the middle of places that are `pitch` apart, as `one` number or each by itself."""
    first = len(sheet.labels)
    for index, digit in enumerate(text):
        middle = x + (index + 0.5 + 0.07 * sheet.random.normal()) * pitch
        drop = 0.07 * sheet.random.normal() * min(tall, 2 * sheet.digit_px)
        sheet.write(pen, digit, middle, y + drop, sheet.uniform(0.85, 1.0), align=0.5)
    if one and text:
        labels = sheet.labels[first:]
        whole = type(labels[0])(labels[0].kind, text, np.concatenate([each.corners for each in labels]))
        sheet.labels[first:] = [whole]


def ruled_cells(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Draw a table in whose cells stand single digits, such as marks for questions or a puzzle."""
    _table(sheet, hand, printer, rules=True, longest=1)


def unruled_cells(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Write single digits in rows and columns without rules, at distances at which they stand apart."""
    _table(sheet, hand, printer, rules=False, longest=1)


def numbers_in_cells(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Draw a table in whose cells stand numbers of up to four digits."""
    _table(sheet, hand, printer, rules=sheet.chance(0.8), longest=4)


def _table(sheet: Sheet, hand: Pen, printer: Pen, *, rules: bool, longest: int) -> None:
    h, (height, width), random = sheet.digit_px, sheet.light.shape, sheet.random
    column = (sheet.uniform(1.2, 2.6) if rules else sheet.uniform(2.4, 4)) * h + 0.75 * (longest - 1) * h
    row, tone, pen = sheet.uniform(1.4, 2.4) * h, sheet.uniform(0.1, 0.75), sheet.uniform(0.02, 0.08)
    has_names, filled = sheet.chance(0.5), sheet.uniform(0.6, 1)
    left, top = (7 * h if has_names else 1.5 * h), 3.2 * h
    columns, rows = int((width - left - h) / column), int((height - top - h) / row)
    columns, rows = (int(random.integers(max(most // 2, 3), max(most, 3) + 1)) for most in (columns, rows))
    for index in range(columns):
        if sheet.chance(0.7):
            sheet.write(printer, f"{index + 1}.", left + (index + 0.5) * column, top - 0.5 * h, 0.6, 0.5)
    for index in range(rows):
        foot = top + (index + 0.5) * row + h / 2
        if has_names:
            sheet.write(printer, sheet.choose(NAMES).split()[1], h, foot, 0.8)
        for place in range(columns):
            if sheet.chance(filled):
                text = sample_integer(random, 1, longest)
                middle = left + (place + 0.5 + 0.06 * random.normal()) * column
                sheet.write(hand, text, middle, foot + 0.06 * h * random.normal(), 0.95, align=0.5)
    if rules:
        right, bottom = left + columns * column, top + rows * row
        for x in left + column * np.arange(columns + 1):
            sheet.line([(x, top), (x, bottom)], tone, pen)
        for y in top + row * np.arange(rows + 1):
            if sheet.chance(0.9):
                sheet.line([(left - 6 * h * has_names, y), (right, y)], tone, pen)


def exercises(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Write sums with or without spaces around the operators, and their answers."""
    h, (height, width), random = sheet.digit_px, sheet.light.shape, sheet.random
    gap, operators = sheet.uniform(0.25, 0.9) * h, ("+", "×", "÷") if sheet.chance(0.7) else ("+",)
    x, task = 1.5 * h, (printer if sheet.chance(0.6) else hand)
    while x < width - 8 * h:
        y = 2.2 * h
        while y < height - h:
            at = x
            for text in (sample_integer(random, 1, 3), str(random.choice(operators)), ""):
                at = sheet.write(task, text or sample_integer(random, 1, 2), at, y) + gap
            at = sheet.write(task, "=", at, y) + gap
            if sheet.chance(0.8):
                sheet.write(hand, sample_integer(random, 1, 4), at, y)
            y += sheet.uniform(1.7, 2.6) * h
        x += sheet.uniform(11, 14) * h


def lists(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Write a list: a number in front, words, and amounts, dates or times behind them."""
    h, (height, width), random = sheet.digit_px, sheet.light.shape, sheet.random
    y, count, words = 2.2 * h, 1, (printer if sheet.chance(0.5) else hand)
    ends = (np.array([0.5, 0.7, 0.97]) * width + random.normal(0, 0.02, 3) * width).clip(0, width - h)
    kinds = [int(kind) for kind in random.integers([0, 0, 0], [2, 2, 4])]
    while y < height - h:
        if sheet.chance(0.8):
            sheet.write(words, f"{count}", h, y, 0.9)
        sheet.write(printer, sheet.choose(GOODS), 3 * h, y, 0.8)
        for kind, end in zip(kinds, ends, strict=True):
            text = (sample_integer(random, 1, 4), price(random), date(random, "."), clock(random))[kind]
            if sheet.chance(0.85):
                sheet.write(hand, text, end, y, 0.9, align=1)
        y, count = y + sheet.uniform(1.5, 2.4) * h, count + 1


def score_cards(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Draw a card of a game: players, a grid with one or two digits a hole, and sums in wider cells."""
    h, (_, width), random = sheet.digit_px, sheet.light.shape, sheet.random
    left, narrow, wide, row = 6 * h, sheet.uniform(1.5, 2) * h, 3.2 * h, sheet.uniform(1.6, 2.2) * h
    columns = [narrow] * int(random.integers(6, 10)) + [wide] * int(random.integers(1, 3))
    while left + sum(columns) > width - h:
        columns.pop(0)
    edges, tone, pen = left + np.cumsum([0.0, *columns]), sheet.uniform(0.1, 0.5), sheet.uniform(0.03, 0.08)
    y = 2.5 * h
    for _ in range(int(random.integers(1, 4))):
        rows = int(random.integers(3, 7))
        for line in range(rows + 1):
            sheet.line([(h, y + line * row), (edges[-1], y + line * row)], tone, pen)
        for x in (h, *edges.tolist()):
            sheet.line([(x, y), (x, y + rows * row)], tone, pen)
        for line in range(rows):
            pen_of_row, foot = (printer if line == 0 else hand), y + (line + 0.5) * row + 0.45 * h
            sheet.write(printer, sheet.choose(NAMES).split()[0], 1.3 * h, foot, 0.7)
            for place, size in enumerate(columns):
                text = sample_integer(random, 2, 3) if size == wide else sample_integer(random, 1, 1)
                if line == 0 and size != wide:
                    text = f"{place + 1}"
                if line == 0 or sheet.chance(0.9):
                    sheet.write(pen_of_row, text, edges[place] + size / 2, foot, 0.9, align=0.5)
        y += rows * row + sheet.uniform(1, 3) * h
        if y > sheet.light.shape[0] - 7 * row:
            break


def wide_gaps(sheet: Sheet, hand: Pen, printer: Pen) -> None:
    """Write numbers of widely spaced digits with still wider gaps between the numbers."""
    h, (height, width), random = sheet.digit_px, sheet.light.shape, sheet.random
    pitch, y = sheet.uniform(1.0, 1.5) * h, 2.2 * h
    while y < height - h:
        x = sheet.uniform(1, 3) * h
        while True:
            text = sample_integer(random, 2, 6)
            if x + len(text) * pitch > width - h:
                break
            write_spaced(sheet, hand, text, x, y, pitch, 1.5 * h)
            x += len(text) * pitch + sheet.uniform(1.8, 4) * pitch
        y += sheet.uniform(1.8, 2.8) * h


GRIDS: dict[str, Fill] = {
    "combs": combs,
    "ruled cells": ruled_cells,
    "unruled cells": unruled_cells,
    "numbers in cells": numbers_in_cells,
    "exercises": exercises,
    "lists": lists,
    "score cards": score_cards,
    "wide gaps": wide_gaps,
}


def grid_page(random: np.random.Generator, room: JudgingRoom, fill: Fill) -> DrawnScene:
    """Draw a page by one of the above, scanned flat or photographed on a table."""
    sheet = new_sheet(random, room, (16, 44), "x" * int(random.integers(22, 40)), random.uniform(14, 34))
    sheet.light[:] = random.uniform(0.8, 1.0)
    ink = random.uniform(0.05, 0.4)
    fill(sheet, Pen(room.person(random), ink), Pen(room.printer(random), random.uniform(0.05, 0.3)))
    if sheet.chance(0.6):
        bow(sheet)
        surface = wood(sheet) if sheet.chance(0.5) else speckled(sheet, random.uniform(0.2, 0.6))
        lay(sheet, surface, random.normal(0, 4), 0.04)
        if sheet.chance(0.5):
            shade(sheet)
    return take_picture(sheet)
