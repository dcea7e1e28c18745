"""Fill a page with lists: a menu or a bill, a calendar, the numbers of an axis, addresses.

All sizes and shares were chosen by hand.
"""

from __future__ import annotations

import numpy as np

from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, decorate, draw_table_lines, draw_tick, rule_width
from digitcli.synthesis.texts import sample_amount, sample_decimal, sample_integer, sample_number
from digitcli.synthesis.things import cross_out

LAST_DAY = 31


def fill_with_menu(desk: Desk) -> None:
    """Write words at the left and amounts at the right of each row, as on bills, menus and receipts."""
    height, words = desk.height_px, desk.label_scribe()
    numbers = desk.scribe if desk.chance(0.6) else desk.label_scribe()
    sample = sample_amount if desk.chance(0.6) else sample_decimal
    right = desk.page.width - desk.uniform(0.2, 2) * height
    y, step = desk.uniform(0, 1) * height, desk.uniform(1.2, 2.4) * height
    has_leaders, counts_share = desk.chance(0.3), desk.uniform(-0.5, 1)
    while y < desk.page.height:
        x = desk.uniform(0, 1) * height
        if desk.chance(counts_share):
            text = sample_integer(desk.random, 1, 2)
            stamp = numbers.number(desk.random, text, height)
            desk.page.put(stamp, x, y + (height - stamp.height) / 2, Kind.NUMBER, text)
            x += stamp.width + desk.uniform(0.6, 1.2) * height
        for _ in range(desk.count(0, 4)):
            stamp = desk.word(words, 0.6, 1.1)
            if x + stamp.width > right - 3 * height:
                break
            desk.page.put(stamp, x, y + height - stamp.height, Kind.OTHER)
            x += stamp.width + 0.4 * height
        if desk.chance(0.85):
            text = sample(desk.random)
            stamp = numbers.number(desk.random, text, height)
            if right - stamp.width > x + 0.5 * height:
                desk.page.put(stamp, right - stamp.width, y + (height - stamp.height) / 2, Kind.NUMBER, text)
                if has_leaders:
                    foot, pen = y + 0.95 * height, rule_width(desk)
                    for dot in np.arange(x + 0.2 * height, right - stamp.width - 0.6 * height, 0.4 * height):
                        desk.page.line([(dot, foot), (dot + 0.05 * height, foot)], pen, 200)
        y += step


def fill_with_calendar(desk: Desk) -> None:
    """Write or print the days of a month into seven columns, and circle or cross out some."""
    height, first = desk.height_px, desk.count(0, 7)
    scribe = desk.label_scribe() if desk.chance(0.7) else desk.scribe
    column_px, row_px = height * desk.uniform(1.9, 3.4), height * desk.uniform(1.4, 3)
    left, top = desk.uniform(-0.5, 2) * height, desk.uniform(-0.5, 2) * height
    if desk.chance(0.5):
        xs, ys = left + column_px * np.arange(8), top + row_px * np.arange(7)
        draw_table_lines(desk, xs, ys, rows=desk.chance(0.8), columns=desk.chance(0.8))
    marked, crossed = desk.uniform(0, 0.15), max(0.0, desk.uniform(-0.3, 0.3))
    for day in range(1, LAST_DAY + 1):
        row, column = divmod(first + day - 1, 7)
        stamp = scribe.number(desk.random, f"{day}", height)
        x = left + (column + 0.5) * column_px - stamp.width / 2
        y = top + (row + 0.5) * row_px - stamp.height / 2
        box = (x, y, x + stamp.width, y + stamp.height)
        is_crossed = desk.chance(crossed)
        kind, text = (Kind.OTHER, "") if is_crossed else (Kind.NUMBER, f"{day}")
        if not desk.page.put(stamp.as_one() if is_crossed else stamp, x, y, kind, text):
            continue
        if is_crossed:
            cross_out(desk, box)
        elif desk.chance(marked):
            decorate(desk, box)


def fill_with_axis(desk: Desk) -> None:
    """Draw rulers or axes with a number at every tick, or at every second or fifth."""
    height, scribe = desk.height_px, desk.label_scribe() if desk.chance(0.6) else desk.scribe
    y = desk.uniform(0, 2) * height
    while y < desk.page.height:
        x0, x1 = desk.uniform(0, 2) * height, desk.page.width - desk.uniform(0, 2) * height
        every, start, step = (
            desk.count(1, 6),
            desk.count(0, 50),
            int(desk.random.choice([1, 1, 1, 2, 5, 10, 25])),
        )
        pitch = height * desk.uniform(2.2, 4) / every
        pen, level, tick = rule_width(desk), desk.uniform(100, 255), desk.uniform(0.15, 0.5) * height
        desk.page.line([(x0, y), (x1, y)], pen, level)
        for index, x in enumerate(np.arange(x0, x1, pitch)):
            is_numbered = index % every == 0
            desk.page.line([(x, y), (x, y + tick * (1.5 if is_numbered else 1))], pen, level)
            if is_numbered:
                text = f"{start + index // every * step}"
                stamp = scribe.number(desk.random, text, height)
                desk.page.put(stamp, x - stamp.width / 2, y + 1.7 * tick, Kind.NUMBER, text)
        y += height * desk.uniform(3, 7)


def fill_with_address(desk: Desk) -> None:
    """Write blocks of a few lines of words with a number at the start or the end of some, as addresses."""
    height, words = desk.height_px, desk.label_scribe()
    numbers = words if desk.chance(0.5) else desk.scribe
    y = desk.uniform(0, 2) * height
    while y < desk.page.height:
        left, step = desk.uniform(0, 0.4) * desk.page.width, desk.uniform(1.25, 1.9) * height
        for _ in range(desk.count(2, 6)):
            x, place = left, desk.random.choice(["none", "start", "end"])
            for part in ("start", "words", "end"):
                if part == "words":
                    for _ in range(desk.count(1, 3)):
                        stamp = desk.word(words, 0.8, 1.1)
                        desk.page.put(stamp, x, y + height - stamp.height, Kind.OTHER)
                        x += stamp.width + 0.5 * height
                elif part == place:
                    text = (
                        sample_integer(desk.random, 1, 6) if desk.chance(0.8) else sample_number(desk.random)
                    )
                    stamp = numbers.number(desk.random, text, height)
                    desk.page.put(stamp, x + 0.2 * height, y + (height - stamp.height) / 2, Kind.NUMBER, text)
                    x += stamp.width + 0.8 * height
            if desk.chance(0.05):
                draw_tick(desk, left - height, y + height / 2)
            y += step
        y += desk.uniform(1, 5) * height
