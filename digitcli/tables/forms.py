"""Forms: find the fields of an empty one, keep them as a template in TOML, and read filled ones by it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from digitcli.errors import InputError, PictureError, UsageError, counted, did_you_mean
from digitcli.imaging.grayscale import Box, Grey
from digitcli.imaging.network_inputs import LineBox
from digitcli.imaging.opening import open_picture
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.layout import group_lines
from digitcli.recognition.line_reading import Answer, as_levels, read_lines
from digitcli.recognition.numbers import recognize
from digitcli.recognition.pages import PageNetworks, look, read_page
from digitcli.recognition.pipeline import PictureLike, held, numbered, read_pictures
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number, Reading, page_status, text_of
from digitcli.strip_format import STRIP_HEIGHT_PX
from digitcli.tables.arithmetic import equations, parse_check
from digitcli.tables.cells import number_of
from digitcli.tables.reading import TableOptions, completed
from digitcli.tables.registration import DIGITS_HIGH, Blank, FieldPicture, register
from digitcli.tables.spreadsheets import PLACE
from digitcli.tables.table import Cell, Table, TablePage
from digitcli.tables.values import UNMARKED, ValueType, parse_conventions, parse_type

MOVED = "Write its path, seen from the folder of the template, behind blank = in the template."
NOT_THIS_FORM = "not_this_form"  # reason of a page
UNREADABLE, EMPTY = (Number((), 0.0, "", status="refused", reason=each) for each in ("not_a_digit", "blank"))
# The keys of a template and of a field, and which of them may be missing.
FORM_KEYS = {
    "blank": str, "sha256": str, "width": int, "height": int, "fields": list, "checks": list, "locale": str,
    "date_order": str,
}  # fmt: skip
FIELD_KEYS = {"name": str, "box": list, "digits": int, "type": str}
OPTIONAL = ("checks", "locale", "date_order", "digits", "type")
HEADING = """\
# A form for digitcli predict --form. Give the fields names. A field may have a type, as type = "amount", and
# the form checks = ["total = net + tax"], locale = "de" and date_order = "dmy".
"""
# All values were chosen by hand on 30 drawn forms (`benchmarks/forms.py --seed 1`).
PRINTED = 0.75  # share of the light below which a blank is printed
NARROWEST, DOTS = 0.8, 0.06  # least side of a box, and half of what closes rules, in heights of a digit
FILLED, LARGEST = 0.9, 0.25  # shares of the rectangle around a box, and of the blank
INSIDE = 0.15  # of the height of a box: what counts as its rule (chosen on a blank turned by 0.3 degrees)
WIDEST_CELL, UNEVEN, APART = 1.3, 0.25, 0.5  # of combs: width in heights, difference, distance in widths
# Lengths in heights of a field, or of two digits in a higher one.
LEAST_WRITTEN = 0.3  # height of a digit; a lower stroke is a dash or dirt
GAPS = (0.18, 0.1, 0.3)  # between the digits of a comb, one after the other until the answer is certain
AROUND, EDGE = 0.2, 0.03  # around the digits of a comb, and beside a stroke
CERTAIN = 0.95  # confidence
EMPTY_BETWEEN = 1.5  # cells of a comb; digits further apart are nearer to two cells than to one
TOUCHING = 1.5  # cells of a comb; a wider stroke is of several digits


@dataclass(frozen=True)
class Form:
    """A form.

    blank: uint8 (H, W).
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
    """Return the template, TOML for a file in a folder, with the boxes and combs that an empty form shows.

    Raises:
        InputError: the picture cannot be read, or has no box.
    """
    grey = as_levels(open_picture(blank))
    fields = find_fields_of(grey)
    if not fields:
        cause = f"{blank} is no form: it has no box in which something could be written."
        raise InputError(cause, "Give the picture of an empty form that was scanned, not photographed.")
    is_near = blank.absolute().anchor == folder.absolute().anchor
    name = Path(os.path.relpath(blank, folder) if is_near else blank).as_posix()
    if any("\ud800" <= each <= "\udfff" for each in name):  # a path that is no UTF-8
        raise InputError(
            f"A template cannot hold the name {name!r}, which is no UTF-8.", "Rename the picture."
        )
    head = f'blank = {json.dumps(name, ensure_ascii=False)}\nsha256 = "{_digest(blank)}"'
    text = f"{HEADING}{head}\nwidth = {grey.shape[1]}\nheight = {grey.shape[0]}\nchecks = []\n"
    for index, (box, digits) in enumerate(fields, start=1):
        cells = f"digits = {digits}\n" if digits else ""
        text += f'\n[[fields]]\nname = "field_{index}"\nbox = {list(box)}\n{cells}'
    return text


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load_form(path: Path) -> Form:
    """Load a template with its blank.

    Raises:
        InputError: the template or its blank cannot be read, or a value of it makes no sense.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        _check_keys("the template", data, FORM_KEYS)
        for field in data["fields"]:
            _check_keys("a field", field, FIELD_KEYS)
        return _form_of(data, path.parent / data["blank"])
    except PictureError as error:
        raise InputError(f"{path} names its blank form, but {error.cause}", MOVED) from error
    except UnicodeDecodeError as error:
        cause = f"{path} is no template, which is a text."
        raise InputError(cause, "Make one: digitcli form learn blank.png -o form.toml") from error
    except (OSError, ValueError) as error:
        cause = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, "Make one: digitcli form learn blank.png -o form.toml") from error
    except UsageError as error:  # in the words of options, which a template has none of
        cause = error.cause.replace("--", "").replace("The table has no column", "there is no field")
        raise InputError(f"{path}: {cause}", error.remedy) from error


def _check_keys(what: str, values: Any, keys: Mapping[str, type]) -> None:
    """Check that the keys of a part of a template are known, that none is missing, and their types."""
    if not isinstance(values, dict):
        raise UsageError(f"{what} is {values!r}.", "Write [[fields]] above each field.")
    for key, value in values.items():
        if key not in keys:
            raise UsageError(f"{what} has no key '{key}'.", did_you_mean(key, keys))
        if type(value) is not keys[key]:
            raise UsageError(f"{key} of {what} is {value!r}.", f"Its type is {keys[key].__name__}.")
    if missing := [key for key in keys if key not in values and key not in OPTIONAL]:
        raise UsageError(f"{what} lacks {missing[0]}.", "Learn the form anew to see an example.")


def _form_of(data: Mapping[str, Any], blank: Path) -> Form:
    """Return the form of a template whose keys are known."""
    grey, fields = as_levels(open_picture(blank)), data["fields"]
    if _digest(blank) != data["sha256"] or grey.shape != (data["height"], data["width"]):
        raise UsageError(f"{blank} has changed since its template was made.", "Learn the form anew.")
    if not fields:
        raise UsageError("the template has no field.", "Learn the form anew.")
    names = tuple(field["name"] for field in fields)
    for index, (name, field) in enumerate(zip(names, fields, strict=True)):
        box, digits = field["box"], field.get("digits", 0)
        if not name.strip() or name in (*PLACE, *names[:index]):
            taken = f"Give each field its own name; {', '.join(PLACE)} are columns of the output."
            raise UsageError(f"the name '{name}' is empty or taken.", taken)
        is_inside = len(box) == 4 and all(type(side) is int for side in box) and min(box[:2]) >= 0
        if (
            not is_inside
            or min(box[2:]) < 1
            or box[0] + box[2] > grey.shape[1]
            or box[1] + box[3] > grey.shape[0]
        ):
            size = f"{grey.shape[1]} x {grey.shape[0]} pixels"
            raise UsageError(f"box of '{name}' is {box}.", f"Give x, y, width and height within {size}.")
        if not 0 <= digits <= box[2]:
            raise UsageError(f"digits of '{name}' is {digits}.", "Give the number of its boxes.")
    checks = tuple(parse_check(str(text)) for text in data.get("checks", []))
    for check in checks:
        if check.is_of_rows or check.form != "sum":
            raise UsageError(f"check '{check.text}' needs several pages.", "Give 'total = net + tax'.")
        equations(check, Table((), 1, len(names), names))
    types: dict[str | None, ValueType] = {}
    for field in fields:
        if "type" in field:
            kind = parse_type(field["type"])
            is_unmarked = kind.name in ("date", "time") and field.get("digits")
            types[field["name"]] = replace(kind, detail=UNMARKED) if is_unmarked else kind
    conventions = parse_conventions(data.get("locale"), data.get("date_order"))
    options = TableOptions(names, types, conventions, checks)
    boxes = tuple((x, y, width, height) for x, y, width, height in (field["box"] for field in fields))
    return Form(grey, boxes, tuple(field.get("digits", 0) for field in fields), options)


def draw_form(form: Form) -> bytes:
    """Return PNG of the blank with its fields, the boxes of combs and their names."""
    picture, size = cv2.cvtColor(form.blank, cv2.COLOR_GRAY2BGR), max(form.blank.shape) / 1200
    for (x, y, width, height), digits, name in zip(form.boxes, form.digits, form.options.names, strict=True):
        sides = np.linspace(x, x + width, max(digits, 1) + 1).round().astype(int).tolist()
        for left, right in zip(sides, sides[1:], strict=False):
            cv2.rectangle(picture, (left, y), (right, y + height), (200, 80, 0), max(1, round(2 * size)))
        place, face = (x, y - round(4 * size)), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(picture, name, place, face, 0.45 * size, (0, 0, 220), max(1, round(size)), cv2.LINE_AA)
    return bytes(cv2.imencode(".png", picture)[1])


def find_fields_of(blank: Grey) -> list[tuple[Box, int]]:
    """Return the boxes of an empty form, uint8 (H, W), in reading order, with the number of cells of combs.

    A box is paper that print encloses and that fills a rectangle; what encloses others is a frame.
    """
    unit, dark = max(blank.shape) / DIGITS_HIGH, blank < PRINTED * np.median(blank)
    window = np.ones((2 * round(DOTS * unit) + 1,) * 2, np.uint8)
    closed = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_CLOSE, window)
    _, _, stats, _ = cv2.connectedComponentsWithStats(1 - closed, connectivity=4)
    is_box = stats[:, 4] >= FILLED * stats[:, 2] * stats[:, 3]
    is_box &= (stats[:, 2:4].min(axis=1) >= NARROWEST * unit) & (stats[:, 4] < LARGEST * blank.size)
    boxes: list[Box] = [(x, y, width, height) for x, y, width, height in stats[is_box, :4].tolist()]
    combs: list[list[Box]] = []
    for row in group_lines(np.array(boxes, np.float64)) if boxes else []:
        for place, index in enumerate(row):
            if place and _continues(combs[-1], boxes[index]):
                combs[-1].append(boxes[index])
            else:
                combs.append([boxes[index]])
    fields = []
    for comb in combs:
        (x, y, _, height), (last, _, width, _) = comb[0], comb[-1]
        edge = round(INSIDE * height)  # the rules of a crooked scan reach into the rectangle around a box
        inside = dark[y + edge : y + height - edge, x + edge : x + width - edge]
        if len(comb) > 1 or not _is_heading(inside):
            fields.append(((x, y, last + width - x, height), len(comb) if len(comb) > 1 else 0))
    return fields


def _continues(comb: Sequence[Box], box: Box) -> bool:
    """Tell whether a box is the next cell of a comb."""
    (x, y, width, height), widths = comb[-1], [each[2] for each in (*comb, box)]
    is_level = max(abs(box[1] - y), abs(box[3] - height)) < UNEVEN * height
    is_even = max(widths) <= min((1 + UNEVEN) * min(widths), WIDEST_CELL * height)
    return is_level and is_even and box[0] - x - width < APART * width


def _is_heading(dark: np.ndarray) -> bool:
    """Tell whether print leaves less than half of the width of a box free, bool (H, W)."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], ~dark.any(axis=0), [False]]).astype(int)))
    return bool(max(np.diff(ends)[::2], default=0) < dark.shape[1] / 2)


def read_forms(reader: Reader, pictures: Iterable[PictureLike], form: Form) -> Iterator[Reading]:
    """Yield the reading of each page, in the order of the pictures; a bad picture has the status `error`.

    A number has the row 0 and the index of its field as its column; an empty field has none. Boxes are in
    pixels of the blank. A page that is not this form is refused as `not_this_form`; `note` says why.

    Raises:
        UsageError: the reader reads only digits that stand apart.
    """
    if reader.models.page_networks is None:
        raise UsageError("Models of single digits do not read forms.", "Leave --model out.")
    read = functools.partial(read_form, form, keeps_picture=reader.options.keep_pictures)
    options = replace(reader.options, read_page=read)
    return numbered(read_pictures(map(held, pictures), reader.models, options))


def read_form(
    form: Form, page: Grey, networks: PageNetworks, top_k: int, *, keeps_picture: bool = True
) -> Reading:
    """Read the fields of a page, uint8 (H, W), at no threshold; see `read_forms`.

    keeps_picture: whether the reading has the straightened page, float32 of the shape of the blank.
    """
    match, found = register(page, form.prepared)
    if found is None:
        note = (
            f"{match.inliers} of {counted(match.matches, 'feature')} agree, and {match.needed} would have to"
        )
        return replace(Reading.of("refused", NOT_THIS_FORM, "", None), note=f"not this form: {note}.")
    fields = (
        _read_field(found.without_print(box), box, digits, networks, top_k)
        for box, digits in zip(form.boxes, form.digits, strict=True)
    )
    numbers = tuple(replace(each, row=0, column=k) for k, each in enumerate(fields) if each is not None)
    status, reason = page_status(numbers) if numbers else ("blank", "blank")
    confidence = float(np.prod([number.confidence for number in numbers])) if numbers else None
    reading = Reading.of(status, reason, text_of(numbers), confidence, numbers)
    if not keeps_picture:
        return reading
    picture = found.crop((0, 0, *form.blank.shape[::-1]), 1.0).astype(np.float32) / 255
    return replace(reading, picture=picture)


def form_page(reading: Reading, form: Form, min_confidence: float) -> TablePage:
    """Return a page as a table of one row, with the values of its fields and after its checks."""
    page = TablePage(reading.file, reading.page, (), reading.status, reading.reason, reading.picture)
    if reading.reason == NOT_THIS_FORM or reading.status == "error":
        return page
    numbers, names = {number.column: number for number in reading.numbers}, form.options.names
    corners = [((x, y), (x + w, y), (x + w, y + h), (x, y + h)) for x, y, w, h in form.boxes]
    cells = tuple(Cell(0, k, numbers.get(k), corners=each) for k, each in enumerate(corners))
    table = completed(Table(cells, 1, len(names), names, is_ruled=True), min_confidence, form.options)
    read = [cell.number for cell in table.cells if cell.number]
    status, reason = page_status(read) if read else (reading.status, reading.reason)
    return replace(page, tables=(table,), status=status, reason=reason)


def _read_field(
    seen: FieldPicture, box: Box, digits: int, networks: PageNetworks, top_k: int
) -> Number | None:
    """Return the number of a field, None if it is empty; one without digits if they cannot be read."""
    size = np.array(box[2:]) * seen.fineness
    starts, ends = seen.strokes[:, :2] - seen.margin, seen.strokes[:, :2] + seen.strokes[:, 2:] - seen.margin
    middles = (starts + ends) / 2
    inside = ((middles >= 0) & (middles < size)).all(axis=1)
    cells = (middles[:, 0] / size[0] * max(digits, 1)).astype(int)
    owns = [inside & (cells == each) for each in np.unique(cells[inside])]
    places = [np.concatenate([starts[own].min(axis=0), ends[own].max(axis=0)]) for own in owns]
    places = [each for each in places if each[3] - each[1] >= LEAST_WRITTEN * seen.line_px]
    if not places:
        return None
    if digits and seen.strokes[inside, 2].max() <= TOUCHING * size[0] / digits:
        number = _read_comb(seen, np.array(places) + seen.margin, networks, top_k)
        pitches = np.diff([each[::2].mean() for each in places]) * digits / size[0]
        if pitches.max(initial=0) > EMPTY_BETWEEN:  # a digit may be too faint, or a dash may part two numbers
            number = number.refused_for("ambiguous")
    else:
        number = _read_loose(seen.picture, digits, networks, top_k)
        corners = [(*each.box[:2], *np.add(each.box[:2], each.box[2:])) for each in number.digits]
        places = [np.array(each) - seen.margin for each in corners]
    if len(places) != len(number.digits):  # it breaks the constraints, and is refused
        places = [np.array([0, 0, *size])] * len(number.digits)
    moved = []
    for digit, place in zip(number.digits, places, strict=True):
        left, top, right, bottom = np.round(place / seen.fineness).astype(int).tolist()
        moved.append(replace(digit, box=(box[0] + left, box[1] + top, right - left, bottom - top)))
    return replace(number, digits=tuple(moved)) if number is not EMPTY else None


def _read_comb(seen: FieldPicture, places: np.ndarray, networks: PageNetworks, top_k: int) -> Number:
    """Read the digits of a comb, x0, y0, x1, y1 of each (N, 4), moved together as in other numbers.

    Where a doubt is left, they are moved to other distances, and the mean of all answers counts.
    """
    constraints = Constraints(lengths=(len(places), len(places)))
    answers: tuple[Answer, ...] = ()
    for gap in GAPS:
        row = _moved_together(seen, places, gap)
        height, width = row.shape
        around = 2 * round(AROUND * seen.line_px)
        place = LineBox(width / 2, height / 2, width - around, height - around, 0.0)
        found = FoundLine(place, 1.0, 0.0, STRIP_HEIGHT_PX)
        (line,) = read_lines(row, [(0, found)], networks.readers)
        whole = look(row, networks, None, top_k).answer
        answers += (*line.answers, *filter(None, [whole]))
        number = recognize(replace(line, answers=answers), networks.weights, constraints, top_k)
        if isinstance(number, Number) and number.confidence >= CERTAIN:
            break
    return number if isinstance(number, Number) else UNREADABLE


def _moved_together(seen: FieldPicture, places: np.ndarray, gap: float) -> Grey:
    edge = max(1, round(EDGE * seen.line_px))
    rows = slice(max(int(places[:, 1].min()) - edge, 0), int(places[:, 3].max()) + edge)
    level = int(np.median(seen.picture))
    paper = np.full((seen.picture[rows].shape[0], round(gap * seen.line_px)), level, np.uint8)
    pieces = []
    for x0, x1 in places[:, ::2].astype(int).tolist():
        pieces += [seen.picture[rows, max(x0 - edge, 0) : x1 + edge], paper]
    return np.pad(np.hstack(pieces[:-1]), round(AROUND * seen.line_px), constant_values=level)


def _read_loose(picture: Grey, digits: int, networks: PageNetworks, top_k: int) -> Number:
    """Read what stands in a field without boxes, or across them, as one number."""
    constraints = Constraints(lengths=(1, digits)) if digits else None
    reading = read_page(picture, networks, constraints, top_k, finds_rotation=False)
    if not reading.numbers:
        return EMPTY if reading.status == "blank" else UNREADABLE
    parts = [(k, each) for k, number in enumerate(reading.numbers) for each in range(len(number.digits))]
    number = number_of(reading.numbers, parts, None, 0.0)
    is_one_line = len({each.row for each in reading.numbers}) == 1
    return number if is_one_line else number.refused_for("ambiguous")
