"""Draw receipts and meters."""

from __future__ import annotations

import cv2
import numpy as np
from scenes import DrawnScene

from digitcli.synthesis.page import Kind, Label
from judging.camera import (
    crumple,
    lay,
    reflect,
    smooth_noise,
    speckled,
    take_picture,
)
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet, blend, bounds, corners_of, new_sheet
from judging.texts import (
    CITIES,
    GOODS,
    METERS,
    SHOPS,
    STREETS,
    UNITS,
    clock,
    date,
    postcode,
    price,
    sample_integer,
)

# All sizes, tones and shares were chosen by hand, so that a person can read every number.
SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
SEGMENT_ENDS = {  # in heights of a digit, whose width is a half
    "a": (0, 0, 0.5, 0),
    "b": (0.5, 0, 0.5, 0.5),
    "c": (0.5, 0.5, 0.5, 1),
    "d": (0, 1, 0.5, 1),
    "e": (0, 0.5, 0, 1),
    "f": (0, 0, 0, 0.5),
    "g": (0, 0.5, 0.5, 0.5),
}


def receipt(random: np.random.Generator, room: JudgingRoom, single: str | None = None) -> DrawnScene:
    """Draw a crumpled receipt whose print fades, with prices that are corrected by hand."""
    sheet = new_sheet(random, room, (11, 42), single or "x" * 24, 60)
    print_pen, h = Pen(room.printer(random), 0.0), sheet.digit_px
    wrong_prices: list[tuple[float, float, float]] = []
    width, y = sheet.light.shape[1], 2.0 * h
    if single:
        y = sheet.light.shape[0] / 2 + h / 2
        sheet.write(print_pen, single, width / 2, y, align=0.5)
        y += sheet.light.shape[0]
    else:
        y = _print_receipt(sheet, print_pen, wrong_prices)
    ink = 1 - sheet.light[: round(y)]
    fade = 1 - random.uniform(0.1, 0.5) * np.clip(smooth_noise(random, ink.shape, 9, 3), 0, 1.3)
    fade *= 1 - random.uniform(0, 0.3) * np.clip(smooth_noise(random, ink.shape, 2, 60), 0, 1)  # cold dots
    sheet.light = (random.uniform(0.8, 0.95) - random.uniform(0.5, 0.75) * ink * fade).astype(np.float32)
    biro = Pen(room.person(random), random.uniform(0.1, 0.35))
    for left, right, foot in wrong_prices:
        sheet.line([(left - 0.2 * h, foot - 0.3 * h), (right + 0.2 * h, foot - 0.6 * h)], biro.tone, 0.1)
        sheet.write(biro, price(random), left - 0.9 * h, foot + 0.1 * h, sheet.uniform(1.2, 1.6), align=1)
    crumple(sheet, random.uniform(0.1, 1.0))
    if not single or sheet.chance(0.5):
        lay(sheet, speckled(sheet, random.uniform(0.08, 0.5)), random.normal(0, 4), 0.02)
    return take_picture(sheet)


def _print_receipt(sheet: Sheet, pen: Pen, wrong_prices: list[tuple[float, float, float]]) -> float:
    """Print a receipt, add the ends and the foot of prices to correct, and return the lower end."""
    random, h, width = sheet.random, sheet.digit_px, sheet.light.shape[1]
    left, right, y, step = 1.2 * h, width - 1.2 * h, 3.0 * h, h * sheet.uniform(1.5, 1.9)
    sheet.write(pen, sheet.choose(SHOPS), width / 2, y, 1.5, align=0.5)
    sheet.write_line(pen, pen, [sheet.choose(STREETS), sample_integer(random, 1, 3)], 3 * h, y + 1.2 * step)
    sheet.write_line(pen, pen, [postcode(random), sheet.choose(CITIES)], 3 * h, y + 2.2 * step)
    y += 3.5 * step
    sheet.write(pen, date(random, "." if sheet.chance(0.5) else "/"), left, y)
    sheet.write(pen, clock(random), right, y, align=1)
    y += 1.4 * step
    for _ in range(int(random.integers(3, 15))):
        end = sheet.write(pen, sheet.choose(GOODS), left, y)
        text, foot = price(random), y
        is_wrong = sheet.chance(0.12)
        sheet.write(pen, text, right, y, align=1, ignore=is_wrong)
        start = bounds(sheet.ignored[-1] if is_wrong else sheet.labels[-1].corners)[0]
        if is_wrong:
            wrong_prices.append((start, right, foot))
        elif sheet.chance(0.8):
            for x in np.arange(end + 0.5 * h, start - 0.5 * h, 0.55 * h):
                sheet.fill((x, y - 0.1 * h, x + max(1, 0.1 * h), y), 0.3)
        y += step
    sheet.line([(left, y - 0.5 * step), (right, y - 0.5 * step)], 0.0, 0.05)
    for name, size in (("Subtotal", 1.0), ("VAT", 1.0), ("TOTAL", 1.4)):
        y += 0.3 * step * size
        sheet.write(pen, name, left, y, size)
        sheet.write(pen, price(random, 3), right, y, size, align=1)
        y += step
    x = 4 * h
    while x < width - 4 * h:  # a bar code
        bar = h * float(random.choice([0.08, 0.16, 0.24]))
        sheet.fill((x, y, x + bar, y + 2 * h), 0.0)
        x += bar + h * float(random.choice([0.08, 0.16]))
    sheet.write(pen, sample_integer(random, 10, 13), width / 2, y + 3.4 * h, align=0.5)
    sheet.write(pen, "Thank you", width / 2, y + 5.2 * h, align=0.5)
    return y + 7 * h


def meter(random: np.random.Generator, room: JudgingRoom, single: str | None = None) -> DrawnScene:
    """Draw the counters of a meter behind glass."""
    text = single or sample_integer(random, 4, 8)
    sheet = new_sheet(random, room, (24, 90), text + "x" * (0 if single else 6), 12, pitch=1.3)
    h, height = sheet.digit_px, sheet.light.shape[0]
    tone, shine = random.uniform(0.2, 0.85), smooth_noise(random, sheet.light.shape, 3, 2)
    grain = cv2.blur(random.standard_normal(sheet.light.shape).astype(np.float32), (61, 1))  # brushed metal
    sheet.light[:] = tone * (1 + random.uniform(0, 0.6) * grain) * (1 + 0.08 * shine)
    draw = draw_display if sheet.chance(0.35) else draw_counter
    if single:
        right = draw(sheet, text, 0.6 * h, (height + h) / 2)
        sheet.light = sheet.light[:, : round(right + 0.7 * h)]
    else:
        right = draw(sheet, text, 2 * h, 4.5 * h)
        _write_plate(sheet, tone, right)
        if sheet.chance(0.5):
            draw(sheet, sample_integer(random, 4, 6), 2 * h, 11 * h)
    lay(sheet, speckled(sheet, random.uniform(0.3, 0.8)), random.normal(0, 2.5), 0.02, margin=0.04)
    reflect(sheet)
    return take_picture(sheet)


def _write_plate(sheet: Sheet, tone: float, right: float) -> None:
    """Write the name, unit, serial number and rating of a meter; draw its screws and pointers."""
    random, h, (height, width) = sheet.random, sheet.digit_px, sheet.light.shape
    ink, small = Pen(sheet.room.printer(random), 0.08 if tone > 0.45 else 0.9), max(0.4, 12 / h)
    sheet.write(ink, sheet.choose(METERS), 2 * h, 2 * h, 0.6)
    sheet.write(ink, sheet.choose(UNITS), right + 0.7 * h, 4.5 * h, 0.7)
    name, year = sheet.choose(["No.", "Nr.", "Serial", "Type"]), f"{random.integers(1985, 2025)}"
    rating = [f"{random.integers(1, 60)}", "A", "IP54", sheet.choose(["V", "Hz", "bar"])]
    sheet.write_line(ink, ink, [name, sample_integer(random, 6, 9), "Year", year], 2 * h, 7.1 * h, small)
    sheet.write_line(ink, ink, rating, 2 * h, 8.5 * h, small)
    for x in (0.7 * h, width - 0.7 * h):
        for y in (0.7 * h, height - 0.7 * h):
            _draw_disc(sheet, x, y, 0.35, tone * 0.6, tone * 1.2)
    for index in range(int(random.integers(0, 3))):
        centre, angle = np.array([width - (2.4 + 2.4 * index) * h, 10.3 * h]), random.uniform(0, 2 * np.pi)
        _draw_disc(sheet, *centre, 1.0, 0.9, 0.3)
        sheet.line([centre, centre + 0.8 * h * np.array([np.cos(angle), np.sin(angle)])], 0.35, 0.1)


def _draw_disc(sheet: Sheet, x: float, y: float, radius: float, tone: float, rim: float) -> None:
    radius_px = round(radius * sheet.digit_px)
    cv2.circle(sheet.light, (round(x), round(y)), radius_px, tone, -1, cv2.LINE_AA)
    cv2.circle(sheet.light, (round(x), round(y)), radius_px, rim, 2, cv2.LINE_AA)


def draw_counter(sheet: Sheet, text: str, x: float, y: float) -> float:
    """Draw the wheels of a counter behind windows; the last wheel may stand between two digits."""
    random, h = sheet.random, sheet.digit_px
    font, pitch = sheet.room.printer(random), h * sheet.uniform(0.85, 1.25)
    window_w, window_h = round(pitch * sheet.uniform(0.8, 1.0)), round(h * sheet.uniform(1.3, 1.7))
    ground, tone = (sheet.uniform(0.04, 0.2), 0.9) if sheet.chance(0.6) else (sheet.uniform(0.75, 0.92), 0.08)
    reds, boxes = int(random.integers(0, min(4, len(text)))), []
    turn = sheet.uniform(0.35, 0.65) if sheet.chance(0.2) else random.normal(0, 0.07)
    sheet.fill(
        (
            x - 0.25 * h,
            y - h / 2 - 0.6 * window_h,
            x + pitch * len(text) + 0.2 * h,
            y - h / 2 + 0.6 * window_h,
        ),
        ground * 0.5,
    )
    for index, digit in enumerate(text):
        is_last, is_red = index == len(text) - 1, index >= len(text) - reds
        cell = np.full((window_h, window_w), 0.36 if is_red else ground, np.float32)
        shift = (turn if is_last else random.normal(0, 0.025)) * 1.3 * h
        cell_tone = 0.95 if is_red else tone
        for step in (-1, 0, 1):
            stamp = font.number(random, str((int(digit) + step) % 10), h)
            left = round((window_w - stamp.width) / 2)
            top = round((window_h - stamp.height) / 2 - shift + step * 1.3 * h)
            blend(cell, stamp.mask, left, top, cell_tone)
            if step == 0:
                boxes.append(stamp.boxes + np.array([left, top, left, top], np.float32))
        curve = np.cos(np.linspace(-1.15, 1.15, window_h, dtype=np.float32))[:, None]
        at = round(x + index * pitch), round(y - h / 2 - window_h / 2)
        sheet.light[at[1] : at[1] + window_h, at[0] : at[0] + window_w] = cell * curve
        boxes[-1] = boxes[-1].clip(0, [window_w, window_h] * 2) + np.array([*at, *at], np.float32)
    corners = corners_of(np.concatenate(boxes))
    if abs(turn) > 0.15:
        sheet.ignored.append(corners)
    else:
        sheet.labels.append(Label(Kind.NUMBER, text, corners))
    return x + pitch * len(text)


def draw_display(sheet: Sheet, text: str, x: float, y: float) -> float:
    """Draw a display of seven segments, dark on light or glowing, with faint segments that are off."""
    _random, h = sheet.random, sheet.digit_px
    glows, slant, thick = sheet.chance(0.4), sheet.uniform(0, 0.14), h * sheet.uniform(0.09, 0.15)
    pitch, top = h * sheet.uniform(0.72, 0.9), y - h
    ground = sheet.uniform(0.02, 0.12) if glows else sheet.uniform(0.5, 0.75)
    tone = sheet.uniform(0.75, 1.0) if glows else sheet.uniform(0.05, 0.15)
    sheet.fill((x - 0.5 * h, top - 0.4 * h, x + pitch * len(text) + 0.4 * h, y + 0.4 * h), ground)
    ghost, boxes = sheet.uniform(0, 0.12), []
    on, off = (np.zeros(sheet.light.shape, np.uint8) for _ in range(2))
    for index, digit in enumerate(text):
        left = x + index * pitch
        for name, (x0, y0, x1, y1) in SEGMENT_ENDS.items():
            ends = np.array(
                [(left + (px + slant * (1 - py)) * h, top + py * h) for px, py in ((x0, y0), (x1, y1))]
            )
            along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0]) * thick
            across = np.array([-along[1], along[0]]) / 2
            a, b = ends[0] + 0.12 * along, ends[1] - 0.12 * along
            outline = [
                a,
                a + along / 2 + across,
                b - along / 2 + across,
                b,
                b - along / 2 - across,
                a + along / 2 - across,
            ]
            layer = on if name in SEGMENTS[int(digit)] else off
            cv2.fillPoly(layer, [np.round(np.array(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        x0 = left + (0.5 * h if digit == "1" else 0) - thick / 2
        boxes.append((x0, top - thick / 2, left + (0.5 + slant) * h + thick / 2, y + thick / 2))
    blend(sheet.light, (off * ghost).astype(np.uint8), 0, 0, tone)
    if glows:
        blend(sheet.light, (cv2.GaussianBlur(on, (0, 0), 0.12 * h) * 0.5).astype(np.uint8), 0, 0, tone)
    blend(sheet.light, on, 0, 0, tone)
    sheet.labels.append(Label(Kind.NUMBER, text, corners_of(np.array(boxes, np.float32))))
    return x + pitch * len(text)
