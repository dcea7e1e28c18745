"""Forms are learned from blanks, kept as templates, and read field by field."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from digitcli.errors import InputError, UsageError
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Digit, Number, Reading
from digitcli.tables.forms import (
    Form,
    draw_form,
    find_fields_of,
    form_page,
    learn_form,
    load_form,
    read_forms,
)
from digitcli.tables.spreadsheets import write_tables
from digitcli.tables.table import TablePage
from tests.support.forms import FIELDS, blank_form, filled_form, photograph
from tests.support.pictures import encoded

TEMPLATE = Path("form.toml")


def learned(blank: np.ndarray | None = None) -> Path:
    """Write a blank and its template into the folder of the test."""
    Path("blank.png").write_bytes(encoded(blank_form() if blank is None else blank))
    TEMPLATE.write_text(learn_form(Path("blank.png"), Path()))
    return TEMPLATE


def number(text: str, column: int, status: str = "read") -> Number:
    digits = tuple(Digit(digit, 0.99, (300, 210, 20, 30)) for digit in text)
    found = Number(digits, 0.97, text, row=0, column=column)
    return found if status == "read" else found.refused_for("low_confidence")


def reading_of(numbers: Sequence[Number], file: str = "scan.png") -> Reading:
    return Reading(file, None, "read", None, "", 0.9, tuple(numbers), "")


def test_combs_and_boxes_of_a_blank_are_its_fields() -> None:
    """Letters and ellipses are none; names count in reading order, and the template is as it was written."""
    form = load_form(learned())

    assert form.options.names == tuple(FIELDS)
    assert form.digits == tuple(digits for _, digits in FIELDS.values())
    assert np.abs(np.array(form.boxes) - [box for box, _ in FIELDS.values()]).max() <= 1
    assert np.array_equal(form.blank, blank_form())


def test_frames_and_headings_are_no_fields_and_dotted_boxes_are() -> None:
    """A frame goes around the whole blank, and one box is a heading of a table."""
    blank = blank_form(fields={"box": ((260, 200, 200, 46), 0), "heading": ((500, 200, 220, 46), 0)})
    cv2.rectangle(blank, (4, 4), (795, 995), 40, 2)
    cv2.putText(blank, "Heading of all", (505, 230), cv2.FONT_HERSHEY_SIMPLEX, 0.85, 40, 2)
    for x in range(260, 462, 3):
        blank[420:422, x], blank[466:468, x] = 40, 40
    for y in range(420, 468, 3):
        blank[y, 258:260], blank[y, 460:462] = 40, 40

    boxes = [box for box, _ in find_fields_of(blank)]

    assert np.abs(np.array(boxes) - [[260, 200, 200, 46], [260, 422, 200, 44]]).max() <= 2


def test_a_blank_without_a_box_is_no_form() -> None:
    with pytest.raises(InputError, match="no form"):
        learned(blank_form(fields={}))


@pytest.mark.parametrize(
    ("old", "new", "cause", "remedy"),
    [
        ('name = "field_2"', 'nmae = "field_2"', "no key 'nmae'", "Did you mean name"),
        ("checks = []", "cheks = []", "no key 'cheks'", "Did you mean checks"),
        ('name = "field_2"', 'name = "field_2"\ntype = "amont"', "type is 'amont'", "Did you mean amount"),
        ("checks = []", 'checks = ["field_1 = feild_2 + field_3"]', "no field 'feild_2'", "mean field_2"),
        ("checks = []", 'checks = ["field_1 = running(field_2)"]', "needs several pages", "Give"),
        ("checks = []", 'locale = "xy"', "locale is 'xy'", "Give one of"),
        ('name = "field_2"', 'name = "field_1"', "'field_1' is empty or taken", "its own name"),
        ('name = "field_1"', 'name = "status"', "'status' is empty or taken", "columns of the output"),
        ("digits = 6", "digits = 6000", "digits of 'field_1' is 6000", "number of its boxes"),
        ("digits = 6", 'digits = "6"', "digits of a field is '6'", "int"),
        ("width = 800", "width = 900", "has changed", "Learn the form anew"),
        ('sha256 = "', 'sha256 = "0', "has changed", "Learn the form anew"),
        ("[[fields]]", "[fields]", "cannot be read", "digitcli form learn"),
        ("blank.png", "missing.png", "names its blank form, but 'missing.png'", "the folder of the template"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_template_is_an_error_that_names_it(
    old: str, new: str, cause: str, remedy: str
) -> None:
    text = learned().read_text()
    TEMPLATE.write_text(text.replace(old, new, 1) if "[fields]" not in new else text.replace(old, new))

    with pytest.raises(InputError, match=cause) as caught:
        load_form(TEMPLATE)

    assert remedy in caught.value.remedy


def test_a_field_outside_of_the_blank_is_an_error() -> None:
    text = learned().read_text()
    line = next(line for line in text.splitlines() if line.startswith("box"))
    for box in ("[700, 200, 101, 40]", "[-1, 2, 30, 40]", "[1, 2, 30]", "[1.5, 2, 30, 40]"):
        TEMPLATE.write_text(text.replace(line, f"box = {box}", 1))
        with pytest.raises(InputError, match="box of 'field_1'"):
            load_form(TEMPLATE)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(keep_pictures=True)


def test_the_fields_of_a_photograph_are_read(reader: Reader) -> None:
    """A comb that is full, one that is not, a box, and a field that stays empty; the page is upside down."""
    form = load_form(learned())
    page, _, _ = photograph(
        filled_form(form.blank, {"field_1": "204857", "field_2": "3764", "field_3": "52"})
    )
    strange, _, _ = photograph(blank_form(seed=3))

    read, other, bad = read_forms(reader, [page[::-1, ::-1], strange, b"nothing"], form)

    assert {each.column: each.text for each in read.numbers} == {0: "204857", 1: "3764", 2: "52"}
    assert read.status == "read" and read.picture is not None and read.picture.shape == form.blank.shape
    x, y, width, height = read.numbers[0].box
    assert 255 < x < 275 and 200 < y < 215 and 215 < width < 240 and 25 < height < 45
    assert (other.status, other.reason, bad.status) == ("refused", "not_this_form", "error")
    assert other.note is not None and "would have to" in other.note
    page_of = form_page(read, form, reader.min_confidence)
    assert [cell.number.text if cell.number else "" for cell in page_of.tables[0].cells] == [
        "204857", "3764", "52", "",
    ]  # fmt: skip


def test_models_of_single_digits_do_not_read_forms() -> None:
    with pytest.raises(UsageError, match="Models of single digits"):
        read_forms(Reader("cnn"), [], load_form(learned()))


def typed_form() -> Form:
    """A form with a type and a check."""
    text = (
        learned()
        .read_text()
        .replace("checks = []", 'checks = ["field_4 = field_2 + field_3"]\nlocale = "de"')
    )
    TEMPLATE.write_text(text.replace('name = "field_2"', 'name = "field_2"\ntype = "amount"'))
    return load_form(TEMPLATE)


def test_values_and_checks_of_a_template_count() -> None:
    """A check changes a doubtful number into one that adds up, and a type refuses what does not fit it."""
    form = typed_form()
    doubtful = replace(number("77", 3), confidence=0.6, alternatives=(("42", 0.35),))
    spoilt = replace(number("40", 1), raw="4+0")

    right = form_page(reading_of([number("40", 1), number("2", 2), doubtful]), form, 0.5)
    wrong = form_page(reading_of([spoilt, number("2", 2)]), form, 0.5)

    assert [cell.number.text for cell in right.tables[0].cells if cell.number] == ["40", "2", "42"]
    assert right.tables[0].cells[1].value == "40" and right.tables[0].cells[3].change is not None
    assert (wrong.status, wrong.reason) == ("partial", "constraint")


def pages() -> list[TablePage]:
    form = load_form(learned())
    first = form_page(reading_of([number("007", 0), number("12", 1, "refused")]), form, 0.8)
    strange = Reading("other.png", None, "refused", "not_this_form", "", None, (), "")
    return [first, form_page(strange, form, 0.8)]


def test_each_page_is_a_row_of_csv_and_refused_numbers_are_empty() -> None:
    written = write_tables(pages(), Path("out.csv"), force=False, fields=tuple(FIELDS))

    assert list(csv.reader(Path("out.csv").read_text().splitlines())) == [
        ["file", "page", "status", "reason", *FIELDS],
        ["scan.png", "", "partial", "low_confidence", "007", "", "", ""],
        ["other.png", "", "refused", "not_this_form", "", "", "", ""],
    ]
    assert (written.tables, written.doubts) == (1, 2)
    assert "12" in Path("out.doubts.csv").read_text()


def test_each_page_is_a_row_of_one_sheet_and_doubts_are_yellow() -> None:
    write_tables(pages(), Path("out.xlsx"), force=False, fields=tuple(FIELDS))

    book = openpyxl.load_workbook("out.xlsx")
    rows = list(book["forms"].iter_rows(values_only=True))
    assert rows[1][:6] == ("scan.png", None, "partial", "low_confidence", "007", 12)
    assert rows[2][:4] == ("other.png", None, "refused", "not_this_form")
    assert book["forms"]["F2"].fill.fgColor.rgb == "FFFFFF00"
    assert [row[0].value for row in book["doubts"].iter_rows()] == ["where", "forms F2", "other.png"]


def test_a_drawing_shows_the_fields_over_the_blank() -> None:
    form = load_form(learned())

    picture = cv2.imdecode(np.frombuffer(draw_form(form), np.uint8), cv2.IMREAD_COLOR)

    coloured = np.abs(picture[..., 0].astype(int) - picture[..., 2]) > 50
    assert picture.shape[:2] == form.blank.shape
    assert all(coloured[y + h // 2, x : x + w].sum() >= digits for (x, y, w, h), digits in FIELDS.values())


def test_boxes_of_a_blank_that_was_scanned_a_little_crooked_are_found() -> None:
    turn = cv2.getRotationMatrix2D((400, 500), 0.3, 1)
    blank = cv2.warpAffine(blank_form(), turn, (800, 1000), borderValue=245)

    assert [digits for _, digits in find_fields_of(blank)] == [digits for _, digits in FIELDS.values()]


def test_an_empty_box_between_the_digits_of_a_comb_is_a_doubt(reader: Reader) -> None:
    """A digit may be too faint there, and a dash is none."""
    form = load_form(learned())
    page = filled_form(form.blank, {"field_1": "2048", "field_3": "52"})
    page[:, 340:376] = form.blank[:, 340:376]  # the third box of the first field
    cv2.line(page, (350, 223), (366, 223), 40, 3)

    (read,) = read_forms(reader, [page], form)

    assert [(each.text, each.status, each.reason) for each in read.numbers] == [
        ("208", "refused", "ambiguous"), ("52", "read", None),
    ]  # fmt: skip


def test_a_reader_without_pictures_keeps_none() -> None:
    form = load_form(learned())

    (read,) = read_forms(Reader(), [filled_form(form.blank, {"field_3": "52"})], form)

    assert read.picture is None and [each.text for each in read.numbers] == ["52"]


def test_dates_and_times_in_combs_have_no_marks() -> None:
    text = learned().read_text().replace("checks = []", 'date_order = "dmy:1950"')
    text = text.replace('name = "field_1"', 'name = "field_1"\ntype = "date"')
    TEMPLATE.write_text(text.replace('name = "field_3"', 'name = "field_3"\ntype = "time"'))
    form = load_form(TEMPLATE)

    right = form_page(reading_of([number("030226", 0), number("0715", 2)]), form, 0.5)
    wrong = form_page(reading_of([number("310226", 0), number("2515", 2)]), form, 0.5)

    assert [right.tables[0].cells[index].value for index in (0, 2)] == ["2026-02-03", "07:15"]
    assert (wrong.status, wrong.reason) == ("refused", "constraint")


def test_a_template_with_a_byte_order_mark_is_read() -> None:
    TEMPLATE.write_text("\ufeff" + learned().read_text())

    assert load_form(TEMPLATE).options.names == tuple(FIELDS)


def test_a_picture_is_no_template_and_a_strange_name_fits_in_none() -> None:
    learned()
    with pytest.raises(InputError, match="no template"):
        load_form(Path("blank.png"))
    strange = Path(os.fsdecode(b"\xff.png"))
    try:
        strange.write_bytes(Path("blank.png").read_bytes())
    except OSError:
        pytest.skip("this file system has only names that are UTF-8")
    with pytest.raises(InputError, match="no UTF-8"):
        learn_form(strange, Path())
