"""Draw letters and exams."""

from __future__ import annotations

import cv2
import numpy as np
from scenes import DrawnScene

from judging.camera import (
    bow,
    fold,
    lay,
    shade,
    smooth_noise,
    speckled,
    take_picture,
    wood,
)
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet, digits_box, new_sheet
from judging.texts import (
    CITIES,
    GOODS,
    NAMES,
    STREETS,
    WEEKDAYS,
    WORDS,
    clock,
    date,
    postcode,
    price,
    sample_integer,
    telephone,
)

# All sizes, tones and shares were chosen by hand, so that a person can read every number.


def letter(random: np.random.Generator, room: JudgingRoom, single: str | None = None) -> DrawnScene:
    """Draw an envelope, a postcard, a delivery note or a leaf of a calendar."""
    kinds = [(_envelope, 17), (_postcard, 17), (_delivery_note, 30), (_calendar, 34)]
    write, rows = kinds[int(random.integers(len(kinds)))]
    sheet = new_sheet(random, room, (16, 62), single or "x" * 32, rows)
    ground = random.uniform(0.4, 0.95)
    sheet.light[:] = ground * (1 + 0.02 * smooth_noise(random, sheet.light.shape, 20, 20))
    for start, step in zip(
        random.uniform(0, 1, (600, 2)), random.normal(0, 0.01, (600, 2)), strict=True
    ):  # fibres
        ends = np.round(np.array([start, start + step]) * sheet.light.shape[::-1]).astype(int)
        cv2.line(
            sheet.light,
            ends[0].tolist(),
            ends[1].tolist(),
            ground * random.uniform(0.9, 1.04),
            1,
            cv2.LINE_AA,
        )
    ink = random.uniform(0.05, 0.3)
    hand, words = Pen(room.person(random), ink), Pen(room.penman(random), ink)
    if single:
        sheet.write(
            hand, single, sheet.light.shape[1] / 2, (sheet.light.shape[0] + sheet.digit_px) / 2, align=0.5
        )
    else:
        write(sheet, hand, words)
    if not single or sheet.chance(0.3):
        fold(sheet)
    if sheet.chance(0.7):
        lay(sheet, wood(sheet), random.normal(0, 5), 0.03)
        sheet.light *= 1 - random.uniform(0, 0.35) * np.clip(
            smooth_noise(random, sheet.light.shape, 2, 2), -0.5, 1
        )
    return take_picture(sheet)


def _envelope(sheet: Sheet, hand: Pen, words: Pen) -> None:
    random, h, (height, width) = sheet.random, sheet.digit_px, sheet.light.shape
    box = (width - 5.5 * h, 1 * h, width - 1.5 * h, 6 * h)  # a postage stamp
    sheet.fill(box, sheet.uniform(0.85, 1))
    sheet.fill(
        (box[0] + 0.4 * h, box[1] + 0.4 * h, box[2] - 0.4 * h, box[3] - 0.4 * h), sheet.uniform(0.4, 0.75)
    )
    cv2.circle(
        sheet.light, (round(box[0] + 2 * h), round(3 * h)), round(h), sheet.uniform(0.2, 0.9), -1, cv2.LINE_AA
    )
    is_struck = sheet.chance(0.6)
    sheet.write(
        Pen(sheet.room.printer(random), 0.1),
        f"{random.integers(20, 190)}",
        box[0] + 0.8 * h,
        5.3 * h,
        0.9,
        ignore=is_struck,
    )
    if is_struck:
        _postmark(sheet, (box[0] - 2.5 * h, 3.6 * h))
    printer = Pen(sheet.room.printer(random), 0.2)
    _write_address(
        sheet, *((printer, printer) if sheet.chance(0.5) else (hand, words)), 1.2 * h, 2.5 * h, 1.75
    )
    y = height - 8.5 * h
    if sheet.chance(0.4):
        sheet.write_in_boxes(hand, postcode(random), width - 10 * h, height - 1.5 * h, 0.5)
    _write_address(sheet, hand, words, width * sheet.uniform(0.3, 0.4), y, 1.8)


def _postmark(sheet: Sheet, centre: tuple[float, float]) -> None:
    """Draw a postmark, whose small date nobody can be sure of, and its wavy lines."""
    h, angles = sheet.digit_px, np.linspace(0, 2 * np.pi, 60)
    for radius in (2.3, 1.5):
        circle = np.array(centre) + radius * h * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        sheet.line(circle, 0.15, 0.08, 0.7)
    word = sheet.choose(CITIES).upper()
    sheet.write(
        Pen(sheet.room.printer(sheet.random), 0.2),
        word,
        centre[0],
        centre[1] - 0.3 * h,
        0.35,
        align=0.5,
    )
    sheet.write(
        Pen(sheet.room.printer(sheet.random), 0.2),
        date(sheet.random, "."),
        centre[0],
        centre[1] + 0.5 * h,
        0.5,
        align=0.5,
        ignore=True,
    )
    for row in range(5):
        x = np.linspace(centre[0] + 2.4 * h, centre[0] + 7 * h, 50)
        sheet.line(
            np.stack([x, centre[1] + (row - 2) * 0.7 * h + 0.25 * h * np.sin(x / h * 3)], axis=1),
            0.15,
            0.07,
            0.7,
        )


def _write_address(sheet: Sheet, hand: Pen, words: Pen, x: float, y: float, step: float) -> None:
    random, slope = sheet.random, sheet.random.normal(0, 0.015)
    lines = [
        [sheet.choose(NAMES)],
        [sheet.choose(STREETS), sample_integer(random, 1, 3)],
        [postcode(random), sheet.choose(CITIES)],
    ]
    if sheet.chance(0.4):
        lines.append(["Tel.", telephone(random)])
    for index, texts in enumerate(lines):
        sheet.write_line(hand, words, texts, x, y + index * step * sheet.digit_px, 1.0, slope)


def _postcard(sheet: Sheet, hand: Pen, words: Pen) -> None:
    random, h, (height, width) = sheet.random, sheet.digit_px, sheet.light.shape
    sheet.line([(0.56 * width, h), (0.56 * width, height - h)], 0.5)
    y = 2.2 * h
    sheet.write(hand, date(random, "."), 1.5 * h, y)
    while (y := y + 1.8 * h) < height - h:
        x = 1.2 * h
        while x < 0.42 * width:
            is_number = sheet.chance(0.2)
            text = (
                sheet.choose([clock(random), date(random, "."), sample_integer(random, 1, 4)])
                if is_number
                else sheet.choose(WORDS)
            )
            x = sheet.write_line(hand, words, [text], x + (0.5 * h if is_number else 0), y) + (
                0.5 * h if is_number else 0
            )
            if x > 0.42 * width:
                break
    _write_address(sheet, hand, words, 0.6 * width, 0.45 * height, 1.9)


def _delivery_note(sheet: Sheet, hand: Pen, words: Pen) -> None:
    random, h, (_height, _width) = sheet.random, sheet.digit_px, sheet.light.shape
    printer = Pen(sheet.room.printer(random), 0.15)
    sheet.write(printer, "Delivery note", 1.5 * h, 2.5 * h, 1.4)
    sheet.write_line(printer, printer, ["No.", sample_integer(random, 5, 7)], 20 * h, 2.5 * h)
    x = sheet.write(printer, "Date", 1.5 * h, 5 * h)
    sheet.write(hand, date(random, "/"), x + h, 5 * h)
    x = sheet.write(printer, "Phone", 17 * h, 5 * h)
    sheet.write(hand, telephone(random), x + h, 5 * h)
    ends, y, step = np.array([1, 9, 20, 25, 31]) * h, 7 * h, 2.2 * h
    rows = int(random.integers(3, 9))
    for x in ends:
        sheet.line([(x, y), (x, y + (rows + 1) * step)], 0.3, 0.04)
    for row in range(rows + 2):
        sheet.line([(ends[0], y + row * step), (ends[-1], y + row * step)], 0.3, 0.04)
    for row in range(rows + 1):
        foot = y + (row + 0.75) * step
        if row == 0:
            for x, name in zip(ends, ("Item", "Name", "Qty", "Price"), strict=False):
                sheet.write(printer, name, x + 0.5 * h, foot, 0.9)
            continue
        sheet.write(printer, sample_integer(random, 5, 6), ends[0] + 0.5 * h, foot)
        sheet.write(printer, sheet.choose(GOODS), ends[1] + 0.5 * h, foot)
        sheet.write(hand, sample_integer(random, 1, 3), ends[2] + h, foot)
        sheet.write(hand, price(random), ends[4] - 0.4 * h, foot, 0.9, align=1)
    foot = y + (rows + 1) * step + 2.2 * h
    sheet.write(printer, "Received by", 1.5 * h, foot)
    path = np.cumsum(random.normal(0, 0.6, (25, 2)) * h * [0.4, 1] + [0.4 * h, 0], axis=0) * [1, 0.4]
    sheet.line(path + [10 * h, foot], hand.tone, 0.06)
    sheet.write(hand, price(random, 3), ends[4] - 0.4 * h, foot, 1.1, align=1)


def _calendar(sheet: Sheet, hand: Pen, words: Pen) -> None:
    random, h, width = sheet.random, sheet.digit_px, sheet.light.shape[1]
    printer, cell = Pen(sheet.room.printer(random), 0.15), (width - 2 * h) / 7
    month = sheet.choose(["March", "June", "July", "October", "December"])
    sheet.write_line(printer, printer, [month, f"{random.integers(1970, 2030)}"], 2 * h, 2.8 * h, 1.5)
    first, height = int(random.integers(7)), 4.6 * h
    for column, name in enumerate(WEEKDAYS):
        sheet.write(printer, name, h + (column + 0.5) * cell, 5 * h, 0.8, align=0.5)
    for day in range(1, 31):
        row, column = divmod(first + day - 1, 7)
        x, y = h + column * cell, 5.6 * h + row * height
        sheet.frame((x, y, x + cell, y + height), 0.5, 0.04)
        sheet.write(printer, f"{day}", x + 0.4 * h, y + 1.3 * h, 0.9)
        if sheet.chance(0.2):
            text = clock(random) if sheet.chance(0.7) else sample_integer(random, 1, 3)
            sheet.write(hand, text, x + 0.3 * h, y + 2.9 * h, 0.75)
        if sheet.chance(0.15):
            sheet.write(words, sheet.choose(NAMES).split()[0], x + 0.3 * h, y + 4.2 * h, 0.9)


def exam(random: np.random.Generator, room: JudgingRoom, single: str | None = None) -> DrawnScene:
    """Draw an answer sheet in perspective: printed questions, answers by hand, and red marks."""
    sheet = new_sheet(random, room, (16, 58), single or "x" * 32, 46)
    h, (height, width) = sheet.digit_px, sheet.light.shape
    sheet.light[:] = random.uniform(0.85, 0.98)
    if sheet.chance(0.6):
        step, tone = h * sheet.uniform(0.7, 1.3), sheet.uniform(0.68, 0.85)
        for at in np.arange(step, max(height, width), step):
            sheet.light[int(at) : int(at) + max(1, round(0.04 * h))] = tone
            sheet.light[:, int(at) : int(at) + max(1, round(0.04 * h))] = tone
    pencil = random.uniform(0.1, 0.45)
    hand, words = Pen(room.person(random), pencil), Pen(room.penman(random), pencil)
    red = Pen(room.person(random), random.uniform(0.35, 0.5))
    if single:
        sheet.write(hand if sheet.chance(0.7) else red, single, width / 2, (height + h) / 2, align=0.5)
        if sheet.chance(0.4):
            sheet.frame((0.1 * width, 0.08 * height, 0.9 * width, 0.92 * height), 0.3, 0.05)
    else:
        sheet.light = sheet.light[: round(_write_exam(sheet, hand, words, red))]
    bow(sheet)
    lay(
        sheet,
        wood(sheet) if sheet.chance(0.5) else speckled(sheet, random.uniform(0.2, 0.6)),
        random.normal(0, 4),
        0.07,
    )
    if sheet.chance(0.6):
        shade(sheet)
    return take_picture(sheet)


def _write_exam(sheet: Sheet, hand: Pen, words: Pen, red: Pen) -> float:
    """Write an answer sheet and return its lower end."""
    random, h, (height, width) = sheet.random, sheet.digit_px, sheet.light.shape
    printer, y = Pen(sheet.room.printer(random), 0.1), 2.5 * h
    x = sheet.write(printer, "Name", 4 * h, y)
    x = sheet.write(words, sheet.choose(NAMES), x + h, y)
    x = sheet.write(printer, "Class", x + h, y)
    sheet.write(hand, sample_integer(random, 1, 2), x + h, y)
    result, out_of = random.integers(5, 20), random.integers(20, 60)
    sheet.write(red, f"{result}/{out_of}", width - 2.5 * h, y + 2.7 * h, 1.4, align=1)
    if sheet.chance(0.5):
        x0, y0, x1, y1 = digits_box(sheet.labels[-1])
        angles, radii = np.linspace(0.3, 6.8, 50), np.array([(x1 - x0) / 2 + h, (y1 - y0) / 2 + 0.5 * h])
        ring = radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        sheet.line(ring + [(x0 + x1) / 2, (y0 + y1) / 2], red.tone, 0.09)
    y += 5 * h
    for question in range(1, 30):
        kind, foot = int(random.integers(4)), y
        x = sheet.write(printer, f"{question}.", 4 * h, foot)
        y = (_answer_in_box, _choose_answer, _work_out, _write_expression)[kind](
            sheet, printer, hand, x + h, foot
        )
        if sheet.chance(0.7):
            at = sheet.uniform(1.2, 1.8) * h
            path = [(at - 0.5 * h, foot - 0.4 * h), (at - 0.1 * h, foot), (at + 0.7 * h, foot - 1.3 * h)]
            if sheet.chance(0.6):
                sheet.line(path, red.tone, 0.1)
            else:
                sheet.write(red, sample_integer(random, 1, 1), at, foot + 0.2 * h, 1.2, align=0.5)
        if y > height - 12 * h:
            break
    return y + h


def _answer_in_box(sheet: Sheet, printer: Pen, hand: Pen, x: float, y: float) -> float:
    random, h = sheet.random, sheet.digit_px
    first, second = sample_integer(random, 1, 3), sample_integer(random, 1, 3)
    x = sheet.write_line(printer, printer, ["Work out", first, "+", second], x, y)
    if sheet.chance(0.3):
        sheet.write_in_boxes(hand, sample_integer(random, 2, 5), x + h, y, 0.3)
        return y + 3 * h
    right = sheet.write(hand, sample_integer(random, 1, 4), x + 1.2 * h, y, 1.1)
    sheet.frame((x + 0.4 * h, y - 1.6 * h, max(right + 0.6 * h, x + 5 * h), y + 0.6 * h), 0.25)
    return y + 3 * h


def _choose_answer(sheet: Sheet, printer: Pen, hand: Pen, x: float, y: float) -> float:
    random, h = sheet.random, sheet.digit_px
    sheet.write(printer, "Which number is the largest", x, y)
    ticked = int(random.integers(4))
    for index in range(4):
        left, foot = x + index * 6 * h, y + 2.2 * h
        sheet.frame((left, foot - h, left + h, foot), 0.2, 0.05)
        sheet.write(printer, sample_integer(random, 2, 4), left + 1.6 * h, foot, 0.9)
        if index == ticked:
            sheet.line([(left - 0.1 * h, foot - 1.1 * h), (left + 1.1 * h, foot + 0.1 * h)], hand.tone, 0.1)
            sheet.line([(left - 0.1 * h, foot + 0.1 * h), (left + 1.2 * h, foot - 1.2 * h)], hand.tone, 0.1)
    return y + 5 * h


def _work_out(sheet: Sheet, printer: Pen, hand: Pen, x: float, y: float) -> float:
    random, h = sheet.random, sheet.digit_px
    sheet.write(printer, "Add the numbers", x, y)
    right, widest = x + 7 * h, 0.0
    for row in range(int(random.integers(2, 4))):
        y += 1.7 * h
        text = sample_integer(random, 2, 4)
        sheet.write(hand, text, right, y, align=1)
        widest = max(widest, right - float(sheet.labels[-1].corners[..., 0].min()))
        if row:
            sheet.write(hand, "+", right - widest - 0.8 * h, y, align=1)
    sheet.line([(right - widest - h, y + 0.4 * h), (right + 0.3 * h, y + 0.35 * h)], hand.tone, 0.07)
    sheet.write(hand, sample_integer(random, 2, 4), right, y + 1.9 * h, align=1)
    return y + 4.2 * h


def _write_expression(sheet: Sheet, printer: Pen, hand: Pen, x: float, y: float) -> float:
    random, h = sheet.random, sheet.digit_px
    sheet.write_line(
        printer,
        printer,
        [
            sheet.choose(["How many minutes is", "Divide the sum by", "Round to the next"]),
            sample_integer(random, 1, 3),
        ],
        x,
        y,
    )
    sheet.write_line(
        hand,
        hand,
        [
            sample_integer(random, 1, 3),
            sheet.choose("+×"),
            sample_integer(random, 1, 2),
            "=",
            sample_integer(random, 1, 4),
        ],
        x + 2 * h,
        y + 2 * h,
    )
    return y + 4.5 * h
