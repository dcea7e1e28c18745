"""The kinds of pictures by which confidences are calibrated, eight with numbers and six without any.

Each kind has a layout, a surface and a camera of its own. All values were chosen by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scenes import DrawnScene

from calibrating.camera import fax, photograph, scan, texture
from calibrating.ink import Paper, Room

World = Callable[[np.random.Generator, Room], DrawnScene]
WORDS = [
    "the", "quick", "order", "from", "warehouse", "seven", "pallets", "of", "bolts", "nuts", "washers", "net",
    "gross", "tare", "date", "item", "page", "Menge", "Stück", "Lager", "Kunde", "Firma", "Straße", "rabais",
    "facture", "client", "quantité", "fecha", "cuenta", "saldo",
]  # fmt: skip


def integer(random: np.random.Generator, least: int, most: int) -> str:
    """Return a number of so many digits, at times with leading zeros."""
    digits = random.integers(0, 10, int(random.integers(least, most + 1)))
    if random.random() < 0.9 and len(digits) > 1:
        digits[0] = max(1, digits[0])
    return "".join(map(str, digits.tolist()))


def amount(random: np.random.Generator, most: int = 4) -> str:
    """Return an amount of money with a point or a comma."""
    cents = f"{int(random.integers(100)):02}"
    return integer(random, 1, most) + (",."[int(random.integers(2))]) + cents


def _paper(random: np.random.Generator, room: Room, width: float, height: float, tone: float = 1.0) -> Paper:
    return Paper(random, room, np.full((max(16, round(height)), max(16, round(width))), tone, np.float32))


def _word(random: np.random.Generator) -> str:
    return WORDS[int(random.integers(len(WORDS)))]


def cheque(random: np.random.Generator, room: Room) -> DrawnScene:
    """The field for the amount of a cheque, on security print, scanned."""
    h = random.uniform(16, 60)
    text = amount(random) if random.random() < 0.6 else integer(random, 2, 6)
    paper = _paper(random, room, (len(text) * 1.0 + 4) * h, 2.6 * h, random.uniform(0.75, 1))
    width, height = paper.size
    for k in range(int(random.integers(6, 30))):
        x = np.linspace(0, width, 60)
        y = height * k / 20 + 0.15 * h * np.sin(x / h * random.uniform(1, 4) + k)
        paper.line(list(zip(x.tolist(), y.tolist(), strict=True)), random.uniform(0.6, 0.9), 1)
    paper.line([(0, 2.1 * h), (width, 2.1 * h)], 0.3, max(1, 0.04 * h))
    x = 0.4 * h
    if random.random() < 0.5:
        sign = ["EUR", "CHF", "USD", "Fr.", "PLN"][int(random.integers(5))]
        x = paper.print(room.font(random, 0.6 * h, printed=True), sign, x, 2 * h, 0.2) + 0.4 * h
    hand = room.hand(random)
    paper.write(hand, text, x, (1.95 + random.normal(0, 0.08)) * h, h, random.uniform(0.05, 0.4))
    return scan(paper)


def note(random: np.random.Generator, room: Room) -> DrawnScene:
    """A sticky note with one or two numbers in thick marker, photographed."""
    h = random.uniform(24, 90)
    paper = _paper(random, room, 8 * h, random.uniform(3, 6) * h, random.uniform(0.6, 0.95))
    hand, y, tone = room.hand(random, (0.08, 0.2)), 2.0 * h, random.uniform(0, 0.3)
    while y < paper.size[1] - 0.4 * h:
        paper.write(hand, integer(random, 1, 5), random.uniform(0.6, 2) * h, y, h, tone)
        y += random.uniform(1.7, 3) * h
    return photograph(paper, texture(random, 90, 90))


def ledger(random: np.random.Generator, room: Room) -> DrawnScene:
    """A leaf of an account book: rules, dates, words and columns of amounts, yellowed."""
    h = random.uniform(14, 34)
    rows, columns = int(random.integers(5, 16)), int(random.integers(1, 4))
    paper = _paper(random, room, (14 + 9 * columns) * h, (rows + 1.5) * 1.9 * h, random.uniform(0.7, 0.95))
    width, height = paper.size
    paper.light *= 1 - 0.15 * np.linspace(0, 1, width, dtype=np.float32) ** 4
    hand, tone, pale = room.hand(random, (0.04, 0.1)), random.uniform(0.15, 0.5), random.uniform(0.5, 0.8)
    font = room.font(random, 0.8 * h, printed=False)
    for row in range(rows + 1):
        paper.line([(0, (row + 1.2) * 1.9 * h), (width, (row + 1.2) * 1.9 * h)], pale, 1)
    for column in range(columns):
        x = (14 + 9 * column) * h
        paper.line([(x, 0), (x, height)], pale, 1)
    for row in range(rows):
        foot = (row + 1.13) * 1.9 * h
        paper.write(hand, f"{random.integers(1, 29)}/{random.integers(1, 13)}", 0.5 * h, foot, h, tone)
        paper.print(font, _word(random), 6.5 * h, foot, tone)
        for column in range(columns):
            if random.random() < 0.75:
                paper.write(hand, amount(random, 3), (14.4 + 9 * column) * h, foot, h, tone)
    return scan(paper)


def order_by_fax(random: np.random.Generator, room: Room) -> DrawnScene:
    """An order form, sent by fax: printed words and article numbers, quantities by hand."""
    h = random.uniform(18, 36)
    rows = int(random.integers(4, 12))
    paper = _paper(random, room, 24 * h, (rows + 3) * 2 * h)
    printer, hand = room.font(random, 0.75 * h, printed=True), room.hand(random, (0.07, 0.16))
    paper.print(printer, "Order " + _word(random), h, 1.8 * h, 0)
    for row in range(rows):
        foot = (row + 2.4) * 2 * h
        paper.print(printer, integer(random, 3, 6), h, foot, 0)
        paper.print(printer, _word(random), 8 * h, foot, 0)
        if random.random() < 0.85:
            paper.write(hand, integer(random, 1, 3), 18 * h, foot, h, 0)
        paper.line([(h, foot + 0.5 * h), (23 * h, foot + 0.5 * h)], 0, 2)
    return fax(paper)


def price_tag(random: np.random.Generator, room: Room) -> DrawnScene:
    """A tag at a shelf, printed or written, seen from aside."""
    h = random.uniform(22, 70)
    is_printed = random.random() < 0.5
    text = amount(random, 3) if random.random() < 0.7 else integer(random, 1, 4)
    paper = _paper(random, room, (len(text) + 2.5) * h, 3.4 * h, random.uniform(0.6, 1))
    if random.random() < 0.6:
        paper.print(room.font(random, 0.5 * h, printed=True), _word(random), 0.5 * h, h, 0.2)
    if is_printed:
        paper.print(room.font(random, h, printed=True), text, 0.8 * h, 2.7 * h, random.uniform(0, 0.4))
    else:
        paper.write(room.hand(random), text, 0.8 * h, 2.7 * h, h, random.uniform(0, 0.4))
    return photograph(paper, texture(random, 80, 80), steep=0.2)


def weather_log(random: np.random.Generator, room: Room) -> DrawnScene:
    """A log of days with temperatures and rain in pencil, without upright rules, photographed."""
    h = random.uniform(16, 32)
    rows, columns = int(random.integers(4, 14)), int(random.integers(1, 4))
    tall = random.uniform(1.6, 2.4) * h
    paper = _paper(random, room, (7 + 6 * columns) * h, (rows + 1.6) * tall, random.uniform(0.85, 1))
    hand, tone, rule = room.hand(random, (0.04, 0.1)), random.uniform(0.2, 0.55), random.uniform(0.5, 0.9)
    font = room.font(random, 0.6 * h, printed=True)
    for column in range(columns):
        paper.print(font, _word(random), (7 + 6 * column) * h, tall, 0.2)
    for row in range(rows):
        foot = (row + 2) * tall
        paper.line([(0.3 * h, foot + 0.3 * h), (paper.size[0] - 0.3 * h, foot + 0.3 * h)], rule, 1.5)
        paper.write(hand, f"{row + 1}.{random.integers(1, 13)}", 0.7 * h, foot, h, tone)
        for column in range(columns):
            if random.random() < 0.85:
                text = integer(random, 1, 2) + (f".{random.integers(10)}" if random.random() < 0.7 else "")
                paper.write(hand, text, (7 + 6 * column + random.normal(0, 0.2)) * h, foot, 0.95 * h, tone)
    return photograph(paper, texture(random, 60, 60), steep=0.04)


def house_number(random: np.random.Generator, room: Room) -> DrawnScene:
    """A number painted on a wall, a bin or a jersey, light on dark or dark on light."""
    h = random.uniform(30, 110)
    text = integer(random, 1, 4)
    paper = _paper(random, room, (len(text) + 1.6) * h, 2.2 * h)
    wall = texture(random, paper.size[0], paper.size[1])
    paper.light[:] = wall
    tone = 1.0 if wall.mean() < 0.5 else 0.0
    if random.random() < 0.4:
        paper.print(room.font(random, h, printed=True), text, 0.7 * h, 1.6 * h, tone)
    else:
        paper.write(room.hand(random, (0.12, 0.24)), text, 0.7 * h, 1.65 * h, h, tone)
    return photograph(paper, wall, steep=0.12)


def parcel_label(random: np.random.Generator, room: Room) -> DrawnScene:
    """A label with a long code, a weight and stripes, printed, with a number that somebody added."""
    h = random.uniform(14, 44)
    paper = _paper(random, room, 20 * h, 11 * h, random.uniform(0.8, 1))
    printer, tone = room.font(random, h, printed=True), random.uniform(0, 0.3)
    paper.print(printer, integer(random, 7, 13), h, 2 * h, tone)
    x = 1.2 * h
    while x < 13 * h:
        wide = h * random.uniform(0.06, 0.25)
        paper.light[round(3 * h) : round(5.5 * h), round(x) : round(x + wide)] = tone
        x += wide + h * random.uniform(0.06, 0.25)
    paper.print(room.font(random, 0.8 * h, printed=True), _word(random), h, 7.2 * h, tone)
    paper.print(printer, integer(random, 1, 2) + "," + integer(random, 1, 1), 8 * h, 7.2 * h, tone)
    if random.random() < 0.7:
        paper.write(room.hand(random, (0.08, 0.18)), integer(random, 1, 4), 3 * h, 9.9 * h, 1.6 * h, 0.1)
    return photograph(paper, texture(random, 70, 70))


def lone_letters(random: np.random.Generator, room: Room) -> DrawnScene:
    """One to three letters or signs, as in an answer to choose or on a key."""
    h = random.uniform(20, 90)
    letters = list("ABCDEFGHKMNPRTUVWXYZabdefghkmnprtuwy?!&@")
    text = "".join(random.choice(letters, int(random.integers(1, 4))))
    paper = _paper(random, room, (len(text) + 1.4) * h, 2.2 * h, random.uniform(0.7, 1))
    font = room.font(random, 0.9 * h, printed=bool(random.random() < 0.4))
    paper.print(font, text, 0.6 * h, 1.6 * h, random.uniform(0, 0.4))
    return photograph(paper, texture(random, 50, 50)) if random.random() < 0.5 else scan(paper)


def prose(random: np.random.Generator, room: Room) -> DrawnScene:
    """Lines of words, by hand or in print."""
    h = random.uniform(14, 40)
    rows = int(random.integers(1, 8))
    paper = _paper(random, room, random.uniform(8, 22) * h, (rows + 1) * 1.9 * h, random.uniform(0.8, 1))
    font, tone = room.font(random, 0.9 * h, printed=bool(random.random() < 0.4)), random.uniform(0, 0.4)
    for row in range(rows):
        x = 0.5 * h
        while x < paper.size[0] - 4 * h:
            x = paper.print(font, _word(random), x, (row + 1.2) * 1.9 * h, tone) + 0.6 * h
    return scan(paper) if random.random() < 0.5 else photograph(paper, texture(random, 50, 50))


def music(random: np.random.Generator, room: Room) -> DrawnScene:
    """Staves with notes, bar lines and slurs."""
    gap = random.uniform(6, 18)
    staves, width = int(random.integers(1, 4)), random.uniform(15, 60) * gap
    paper = _paper(random, room, width, (staves * 11 + 3) * gap, random.uniform(0.8, 1))
    image = Image.new("L", paper.size)
    draw = ImageDraw.Draw(image)
    for stave in range(staves):
        top = (3 + stave * 11) * gap
        for line in range(5):
            draw.line((0, top + line * gap, width, top + line * gap), 200, max(1, round(0.1 * gap)))
        x = 3 * gap
        while x < width - 2 * gap:
            y = top + int(random.integers(0, 9)) * gap / 2
            head = (x - 0.65 * gap, y - 0.5 * gap, x + 0.65 * gap, y + 0.5 * gap)
            draw.ellipse(head, 255 if random.random() < 0.7 else None, 255, max(1, round(0.15 * gap)))
            stem = 1 if random.random() < 0.5 else -1
            draw.line((x + 0.6 * gap * stem, y, x + 0.6 * gap * stem, y - 3.5 * gap * stem), 255, 2)
            if random.random() < 0.15:
                draw.line((x + 1.5 * gap, top, x + 1.5 * gap, top + 4 * gap), 255, 2)
            x += random.uniform(1.8, 4) * gap
    paper.blend(np.asarray(image, np.uint8), 0, 0, random.uniform(0, 0.4))
    return scan(paper) if random.random() < 0.5 else photograph(paper)


def scrawl(random: np.random.Generator, room: Room) -> DrawnScene:
    """A signature, a flourish or a child's drawing: smooth curves without meaning."""
    h = random.uniform(30, 120)
    paper = _paper(
        random, room, random.uniform(1.2, 5) * h, random.uniform(1.2, 2.5) * h, random.uniform(0.7, 1)
    )
    width, height = paper.size
    t = np.linspace(0, 1, 240)
    for _ in range(int(random.integers(1, 5))):
        x, y = (
            sum(
                random.normal(0, 1 / k) * np.cos(2 * np.pi * k * t + random.uniform(0, 6))
                for k in range(1, 7)
            )
            for _ in range(2)
        )
        size, place = random.uniform(0.1, 0.3, 2), random.uniform(0.25, 0.75, 2)
        drift = (t - 0.5) * random.uniform(0, 0.5)
        points = zip(
            (width * (place[0] + size[0] * x + drift)).tolist(),
            (height * (place[1] + size[1] * y)).tolist(),
            strict=True,
        )
        paper.line(list(points), random.uniform(0, 0.5), random.uniform(0.02, 0.08) * h)
    return photograph(paper, texture(random, 50, 50)) if random.random() < 0.6 else scan(paper)


def empty_grid(random: np.random.Generator, room: Room) -> DrawnScene:
    """A crossword, a calendar or a form that nobody has filled in."""
    h = random.uniform(16, 50)
    rows, columns = int(random.integers(1, 8)), int(random.integers(1, 10))
    paper = _paper(random, room, (columns + 1) * 1.6 * h, (rows + 1) * 1.6 * h, random.uniform(0.8, 1))
    tone, wide = random.uniform(0.1, 0.7), random.uniform(0.03, 0.1) * h
    for row in range(rows + 1):
        paper.line(
            [(0.8 * h, (row + 0.5) * 1.6 * h), ((columns + 0.5) * 1.6 * h, (row + 0.5) * 1.6 * h)], tone, wide
        )
    for column in range(columns + 1):
        x = (column + 0.5) * 1.6 * h
        paper.line([(x, 0.8 * h), (x, (rows + 0.5) * 1.6 * h)], tone, wide)
    for row in range(rows):
        for column in range(columns):
            if random.random() < 0.15:
                x0, y0 = round((column + 0.5) * 1.6 * h), round((row + 0.5) * 1.6 * h)
                paper.light[y0 : y0 + round(1.6 * h), x0 : x0 + round(1.6 * h)] = tone
    return scan(paper) if random.random() < 0.5 else photograph(paper)


def surface(random: np.random.Generator, room: Room) -> DrawnScene:
    """A photograph of bark, cloth, gravel or leaves without any writing."""
    width, height = random.integers(60, 500, 2).tolist()
    paper = _paper(random, room, width, height)
    paper.light = texture(random, width, height)
    shapes = Image.new("L", (width, height))
    draw = ImageDraw.Draw(shapes)
    for _ in range(int(random.integers(0, 40))):
        x, y, size = (
            random.uniform(0, width),
            random.uniform(0, height),
            min(width, height) * random.uniform(0.02, 0.3),
        )
        corners = np.array([x, y]) + size * random.normal(0, 0.6, (int(random.integers(3, 8)), 2))
        draw.polygon([tuple(corner) for corner in corners.tolist()], int(random.integers(40, 256)))
    if random.random() < 0.6:
        paper.blend(np.asarray(shapes, np.uint8), 0, 0, random.uniform(0, 1))
    return photograph(paper)


NUMBERS: dict[str, World] = {
    "cheque": cheque,
    "note": note,
    "ledger": ledger,
    "order by fax": order_by_fax,
    "price tag": price_tag,
    "weather log": weather_log,
    "house number": house_number,
    "parcel label": parcel_label,
}
NOTHING: dict[str, World] = {
    "lone letters": lone_letters,
    "prose": prose,
    "music": music,
    "scrawl": scrawl,
    "empty grid": empty_grid,
    "surface": surface,
}
KINDS = NUMBERS | NOTHING
