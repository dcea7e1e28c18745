"""Forms: find the fields of an empty one, keep them as a template in TOML, and read filled ones by it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from digitcli.errors import InputError, UsageError, counted, did_you_mean
from digitcli.imaging.grayscale import Box, Grey
from digitcli.imaging.network_inputs import LineBox
from digitcli.imaging.opening import open_picture
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.layout import group_lines
from digitcli.recognition.line_reading import as_levels, read_lines
from digitcli.recognition.numbers import recognize
from digitcli.recognition.pages import PageNetworks, look, read_page
from digitcli.recognition.pipeline import PictureLike, held, numbered, read_pictures
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number, Reading, page_status, text_of
from digitcli.strip_format import STRIP_HEIGHT_PX
from digitcli.tables.arithmetic import equations
from digitcli.tables.cells import number_of
from digitcli.tables.reading import TableOptions, completed, parse_table_options
from digitcli.tables.registration import DIGITS_HIGH, Blank, FieldPicture, register
from digitcli.tables.rules import find_rules, junction
from digitcli.tables.table import Cell, Table, TablePage

NOT_THIS_FORM = "not_this_form"  # reason of a page
UNREADABLE = Number((), 0.0, "", status="refused", reason="not_a_digit")
SHAPES = {
    "the template": {"blank": str, "sha256": str, "width": int, "height": int, "locale": str,
                     "date_order": str, "checks": list, "fields": list},
    "a field": {"name": str, "box": list, "digits": int, "type": str},
}  # fmt: skip
OPTIONAL = {"locale", "date_order", "checks", "digits", "type"}
HEADING = (
    "# A form for digitcli predict --form. Change names, and add types, a locale and checks, for example:\n"
)
EXAMPLE = '# type = "amount" for a field; locale = "de" and checks = ["total = net + tax"] here.\n\n'
# Lengths in heights of a digit, see `DIGITS_HIGH`. All values were chosen by hand on 30 drawn forms
# (`benchmarks/forms.py --seed 1`).
NARROWEST, TOUCH, LINE = 0.8, 0.35, 0.06  # least side of a box, miss of two rules, half the width of a rule
INKED = 0.95  # share of a side of a box that is seen
PRINTED = 0.75  # share of the light below which a blank is printed
LARGEST = 0.25  # share of the blank
WIDEST_CELL, EVEN, APART = 1.3, 1.3, 0.5  # of a comb: width in heights, widest in narrowest, gap in widths
FREE = 0.5  # share of the width of a box without print, or it is a heading
# Lengths in heights of a field, or of two digits in a higher one.
LEAST_WRITTEN = 0.3  # height of a digit; a lower stroke is a dash or dirt
GAP, AROUND, EDGE = 0.18, 0.3, 0.03  # between the digits of a comb, around them, and beside a stroke
TOUCHING = 1.5  # pitches of a comb; a wider stroke is of several digits


@dataclass(frozen=True)
class Form:
    """A form.

    boxes: x, y, width, height of each field in pixels of the blank.
    digits: of each field the boxes for single digits, 0 if it has none.
    options: the names of the fields, their types and their arithmetic, as of the columns of a table.
    """

    blank: Grey
    boxes: tuple[Box, ...]
    digits: tuple[int, ...]
    options: TableOptions

    @functools.cached_property
    def prepared(self) -> Blank:
        """The blank as it is sought on pages."""
        return Blank.of(self.blank)


def learn_form(blank: Path, folder: Path) -> str:
    """Return the template, as TOML in a folder, of the boxes and combs that an empty form shows.

    Raises:
        InputError: the picture cannot be read, or has no box.
    """
    grey = as_levels(open_picture(blank))
    fields = find_fields_of(grey)
    if not fields:
        cause = f"{blank} is no form: it has no box in which something could be written."
        raise InputError(cause, "Give the picture of an empty form, without perspective.")
    name = (
        os.path.relpath(blank, folder) if Path(blank).absolute().anchor == folder.absolute().anchor else blank
    )
    lines = [
        f"blank = {json.dumps(Path(name).as_posix(), ensure_ascii=False)}",
        f'sha256 = "{hashlib.sha256(blank.read_bytes()).hexdigest()}"',
        f"width = {grey.shape[1]}\nheight = {grey.shape[0]}\nchecks = []",
    ]
    for index, (box, digits) in enumerate(fields, start=1):
        lines.append(f'\n[[fields]]\nname = "field_{index}"\nbox = {list(box)}')
        lines += [f"digits = {digits}"] * bool(digits)
    return HEADING + EXAMPLE + "\n".join(lines) + "\n"


def load_form(path: Path) -> Form:
    """Load a template with its blank.

    Raises:
        InputError: the template or its blank cannot be read, or a value of it makes no sense.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_shape(data, "the template")
        for field in data["fields"]:
            _check_shape(field, "a field")
        return _form_of(data, path)
    except (OSError, ValueError) as error:
        remedy = "Make a template with: digitcli form learn blank.png -o form.toml"
        raise InputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.", remedy
        ) from error
    except UsageError as error:  # in the words of options, which a template has none of
        cause = error.cause.replace("--", "").replace("The table has no column", "there is no field")
        raise InputError(f"{path}: {cause[0].lower()}{cause[1:]}", error.remedy) from error


def _check_shape(values: Any, what: str) -> None:
    """Check the keys of a part of a template, and the types of their values."""
    shape = SHAPES[what]
    if not isinstance(values, dict):
        raise UsageError(f"{what} is {values!r}.", "Write [[fields]] above each field.")
    for key, value in values.items():
        if key not in shape:
            raise UsageError(f"{what} has no key '{key}'.", did_you_mean(key, shape))
        if type(value) is not shape[key]:
            raise UsageError(f"{key} of {what} is {value!r}.", f"Give a {shape[key].__name__}.")
    if missing := [key for key in shape if key not in values and key not in OPTIONAL]:
        raise UsageError(f"{what} lacks {missing[0]}.", "See docs/tables.md for an example.")


def _form_of(data: dict[str, Any], path: Path) -> Form:
    blank, fields = path.parent / data["blank"], data["fields"]
    grey, names = as_levels(open_picture(blank)), [field["name"] for field in fields]
    if hashlib.sha256(blank.read_bytes()).hexdigest() != data["sha256"]:
        raise UsageError(f"{blank} has changed since its template was made.", "Learn the form anew.")
    for index, field in enumerate(fields):
        name, box = field["name"], field["box"]
        if not name or name in names[:index]:
            raise UsageError(f"the name '{name}' stands twice or is empty.", "Give each field its own name.")
        is_box = len(box) == 4 and all(type(side) is int for side in box)
        if not is_box or min(*box, box[2] - 1, box[3] - 1) < 0 or _outside(box, data):
            size = f"{data['width']} x {data['height']} pixels"
            raise UsageError(f"box of '{name}' is {box}.", f"Give x, y, width, height within {size}.")
        if not 0 <= field.get("digits", 0) <= box[2]:
            raise UsageError(f"digits of '{name}' is {field['digits']}.", "Give the number of its boxes.")
    checks = [str(each) for each in data.get("checks", [])]
    options = replace(
        parse_table_options(None, [], checks, data.get("locale"), data.get("date_order")), names=tuple(names)
    )
    for field in fields:
        if "type" in field:
            kind = parse_table_options(types=[field["type"]]).types[None]
            options.types[field["name"]] = kind
    for check in options.checks:
        if check.is_of_rows or check.form != "sum":
            raise UsageError(f"--check '{check.text}' is not of one page.", "Give 'total = a + b'.")
        equations(check, Table((), 1, len(names), tuple(names)))
    boxes = tuple((x, y, width, height) for x, y, width, height in (field["box"] for field in fields))
    return Form(grey, boxes, tuple(field.get("digits", 0) for field in fields), options)


def _outside(box: Sequence[int], data: dict[str, Any]) -> bool:
    return box[0] + box[2] > data["width"] or box[1] + box[3] > data["height"]


def draw_form(form: Form) -> bytes:
    """Return PNG of the blank with its fields, the boxes of combs and their names."""
    picture = cv2.cvtColor(form.blank, cv2.COLOR_GRAY2BGR)
    size = max(form.blank.shape) / 1200
    for (x, y, width, height), digits, name in zip(form.boxes, form.digits, form.options.names, strict=True):
        colour = (200, 80, 0) if digits else (0, 120, 0)
        for side in np.linspace(x, x + width, max(digits, 1) + 1).round().astype(int).tolist():
            cv2.line(picture, (side, y), (side, y + height), colour, max(1, round(2 * size)))
        cv2.rectangle(picture, (x, y), (x + width, y + height), colour, max(1, round(2 * size)))
        place = (x, y - round(4 * size))
        cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * size, (0, 0, 220), 1, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", picture)[1])


def find_fields_of(blank: Grey) -> list[tuple[Box, int]]:
    """Return the boxes of an empty form, uint8 (H, W), in reading order, with the cells of combs."""
    boxes = _boxes(blank)
    if not boxes:
        return []
    rows = [[boxes[index] for index in row] for row in group_lines(np.array(boxes, np.float64))]
    found: list[tuple[Box, int]] = []
    for row in rows:
        combs: list[list[Box]] = []
        for box in row:
            if combs and _continues(combs[-1], box):
                combs[-1].append(box)
            else:
                combs.append([box])
        for comb in combs:
            (x, y, _, height), (last, _, width, _) = comb[0], comb[-1]
            found.append(((x, y, last + width - x, height), len(comb) if len(comb) > 1 else 0))
    return [(box, digits) for box, digits in found if digits or not _is_heading(blank, box)]


def _continues(comb: Sequence[Box], box: Box) -> bool:
    """Tell whether a box is the next cell of a comb."""
    (x, y, width, height), widths = comb[-1], [each[2] for each in (*comb, box)]
    is_level = abs(box[1] - y) < 0.2 * height and abs(box[3] - height) < 0.2 * height
    is_even = max(widths) <= min(EVEN * min(widths), WIDEST_CELL * height)
    return is_level and is_even and -0.2 * width < box[0] - x - width < APART * width


def _is_heading(blank: Grey, box: Box) -> bool:
    """Tell whether most of a box is printed."""
    x, y, width, height = box
    inset = round(0.15 * height)
    inside = blank[y + inset : y + height - inset, x + inset : x + width - inset]
    bare = (inside > PRINTED * np.median(blank)).all(axis=0)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], bare, [0]])))
    return bool(max(np.diff(ends)[::2], default=0) < FREE * len(bare))


def _boxes(blank: Grey) -> list[Box]:
    """Return the rectangles that rules enclose, and that hold no others."""
    height, width = blank.shape
    unit = max(height, width) / DIGITS_HIGH
    ends = np.array([[0, 0, 1, unit], [width - 1, height - unit, 1, unit]])
    rules = find_rules(blank, ends)
    cross = {
        (i, k): point
        for i, level in enumerate(rules.level)
        for k, upright in enumerate(rules.upright)
        if (point := junction(level, upright, TOUCH * unit)) is not None
    }
    window = np.ones((2 * round(LINE * unit) + 3,) * 2, np.uint8)
    ink = cv2.dilate((blank < PRINTED * np.median(blank)).astype(np.uint8), window)
    found: list[Box] = []
    for i, k in cross:
        right = sorted((cross[i, m], m) for m in range(len(rules.upright)) if (i, m) in cross)
        below = sorted((cross[n, k][1], n) for n in range(len(rules.level)) if (n, k) in cross)
        sizes = ((n, m) for (_, m) in right for (_, n) in below if (n, m) in cross)
        for n, m in sizes:
            corners = np.array([cross[i, k], cross[i, m], cross[n, m], cross[n, k]])
            x, y, x1, y1 = (
                *corners.min(axis=0).round().astype(int),
                *corners.max(axis=0).round().astype(int),
            )
            is_there = corners[1, 0] > corners[0, 0] and corners[3, 1] > corners[0, 1]
            if is_there and min(x1 - x, y1 - y) >= NARROWEST * unit and _is_framed(ink, corners):
                found.append((int(x), int(y), int(x1 - x), int(y1 - y)))
                break
    found = [box for box in found if box[2] * box[3] < LARGEST * blank.size]
    found.sort(key=lambda box: box[2] * box[3])
    kept: list[Box] = []
    for box in found:  # a double line makes a box twice, and a frame holds others
        if not any(_shared(box, other) > 0.5 * other[2] * other[3] for other in kept):
            kept.append(box)
    return kept


def _is_framed(ink: Grey, corners: np.ndarray) -> bool:
    """Tell whether there is ink along all sides of a box, whose corners (4, 2) go around it."""
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        points = start + np.linspace(0.02, 0.98, 100)[:, None] * (end - start)
        x, y = np.clip(points.round().astype(int), 0, np.array(ink.shape[::-1]) - 1).T
        if ink[y, x].mean() < INKED:
            return False
    return True


def _shared(box: Box, other: Box) -> float:
    sides = [min(box[k] + box[k + 2], other[k] + other[k + 2]) - max(box[k], other[k]) for k in (0, 1)]
    return max(sides[0], 0) * max(sides[1], 0)


def read_forms(reader: Reader, pictures: Iterable[PictureLike], form: Form) -> Iterator[Reading]:
    """Yield the reading of each page, in the order of the pictures; a bad picture has the status `error`.

    A number has the row 0 and the index of its field as its column; an empty field has none. Boxes are in
    pixels of the blank. A page that is not this form is refused as `not_this_form`; `note` says why.

    Raises:
        UsageError: the reader reads only digits that stand apart.
    """
    if reader.models.page_networks is None:
        raise UsageError("Forms are not read by models of single digits.", "Leave --model out.")
    options = replace(reader.options, read_page=functools.partial(read_form, form))
    return numbered(read_pictures(map(held, pictures), reader.models, options))


def form_page(reading: Reading, form: Form, min_confidence: float) -> TablePage:
    """Return a page as a table of one row, with the values of its fields and after its checks."""
    page = TablePage(reading.file, reading.page, (), reading.status, reading.reason, reading.picture)
    if reading.reason == NOT_THIS_FORM or reading.status == "error":
        return page
    numbers = {number.column: number for number in reading.numbers}
    corners = [((x, y), (x + w, y), (x + w, y + h), (x, y + h)) for x, y, w, h in form.boxes]
    cells = tuple(Cell(0, k, numbers.get(k), corners=each) for k, each in enumerate(corners))
    names = form.options.names
    table = completed(Table(cells, 1, len(names), names, is_ruled=True), min_confidence, form.options)
    read = [cell.number for cell in table.cells if cell.number]
    status, reason = page_status(read) if read else (reading.status, reading.reason)
    return replace(page, tables=(table,), status=status, reason=reason)


def read_form(form: Form, page: Grey, networks: PageNetworks, top_k: int) -> Reading:
    """Read the fields of a page, uint8 (H, W), at no threshold; see `read_forms`."""
    match, found = register(page, form.prepared)
    if found is None:
        note = (
            f"{match.inliers} of {counted(match.matches, 'feature')} agree, and {match.needed} would have to"
        )
        return replace(Reading.of("refused", NOT_THIS_FORM, "", None), note=f"not this form: {note}.")
    numbers = []
    for column, (box, digits) in enumerate(zip(form.boxes, form.digits, strict=True)):
        number = _read_field(found.without_print(box), box, digits, networks, top_k)
        if number is not None:
            numbers.append(replace(number, row=0, column=column))
    picture = found.crop((0, 0, *form.blank.shape[::-1]), 1.0).astype(np.float32) / 255
    if not numbers:
        return replace(Reading.of("blank", "blank", "", None), picture=picture)
    confidence = float(np.prod([number.confidence for number in numbers]))
    reading = Reading.of(*page_status(numbers), text_of(numbers), confidence, tuple(numbers))
    return replace(reading, picture=picture)


def _read_field(
    seen: FieldPicture, box: Box, digits: int, networks: PageNetworks, top_k: int
) -> Number | None:
    """Return the number of a field, None if it is empty; one without digits if they cannot be read."""
    x, y, width, height = box
    low, size = np.full(2, seen.margin), np.array([width, height]) * seen.fineness
    starts, ends = seen.strokes[:, :2], seen.strokes[:, :2] + seen.strokes[:, 2:]
    middles = (starts + ends) / 2
    inside = ((middles >= low) & (middles <= low + size)).all(axis=1)
    cell = ((middles[:, 0] - low[0]) / size[0] * max(digits, 1)).astype(int)
    parts = []
    for each in np.unique(cell[inside]).tolist():
        own = inside & (cell == each)
        part = np.concatenate([starts[own].min(axis=0), ends[own].max(axis=0)])
        if part[3] - part[1] >= LEAST_WRITTEN * seen.digit_px:
            parts.append(part)
    if not parts:
        return None
    touch = digits and (seen.strokes[inside, 2] > TOUCHING * size[0] / digits).any()
    if digits and not touch:
        number = _read_comb(seen, np.array(parts), networks, top_k)
    else:
        number = _read_loose(seen.picture, digits, networks, top_k)
    if number is None or not number.digits:
        return number
    places = [
        (each.box[0], each.box[1], each.box[0] + each.box[2], each.box[1] + each.box[3])
        for each in number.digits
    ]
    if digits and not touch and len(number.digits) == len(parts):
        places = [tuple(part) for part in parts]
    elif digits and not touch:
        places = [(*low, *(low + size))] * len(number.digits)
    boxes = np.round((np.array(places) - seen.margin) / seen.fineness + [x, y, x, y]).astype(int).tolist()
    found = (
        replace(digit, box=(x0, y0, max(1, x1 - x0), max(1, y1 - y0)))
        for digit, (x0, y0, x1, y1) in zip(number.digits, boxes, strict=True)
    )
    return replace(number, digits=tuple(found))


def _read_comb(seen: FieldPicture, parts: np.ndarray, networks: PageNetworks, top_k: int) -> Number:
    """Read the digits of a comb, x0, y0, x1, y1 of each (N, 4), after they are moved together."""
    gap, around, edge = (max(1, round(share * seen.digit_px)) for share in (GAP, AROUND, EDGE))
    paper, picture = int(np.median(seen.picture)), seen.picture
    top, bottom = max(parts[:, 1].min() - edge, 0), parts[:, 3].max() + edge
    pieces = [picture[top:bottom, max(x0 - edge, 0) : x1 + edge] for x0, _, x1, _ in parts.tolist()]
    spaced = [cv2.copyMakeBorder(piece, 0, 0, 0, gap, cv2.BORDER_CONSTANT, value=paper) for piece in pieces]
    row = np.hstack(spaced)[:, :-gap]
    row = np.asarray(cv2.copyMakeBorder(row, *[around] * 4, cv2.BORDER_CONSTANT, value=paper), np.uint8)
    height, width = row.shape
    place = LineBox(width / 2, height / 2, width - 2 * around, height - 2 * around, 0.0)
    (line,) = read_lines(
        row, [(0, FoundLine(place, 1.0, 0.0, STRIP_HEIGHT_PX))], networks.readers, is_alone=True
    )
    whole = look(row, networks, None, top_k).answer
    line = line if whole is None else replace(line, answers=(*line.answers, whole))
    number = recognize(line, networks.weights, Constraints(lengths=(len(parts), len(parts))), top_k)
    return number if isinstance(number, Number) else UNREADABLE


def _read_loose(picture: Grey, digits: int, networks: PageNetworks, top_k: int) -> Number | None:
    """Read what stands in a field without boxes, or across them, as one number."""
    constraints = Constraints(lengths=(1, digits)) if digits else None
    reading = read_page(picture, networks, constraints, top_k, finds_rotation=False)
    if not reading.numbers:
        return None if reading.status == "blank" else UNREADABLE
    parts = [(k, each) for k, number in enumerate(reading.numbers) for each in range(len(number.digits))]
    return number_of(reading.numbers, parts, None, 0.0)
