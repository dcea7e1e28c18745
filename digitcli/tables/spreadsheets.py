"""Tables as CSV, as Excel and as records. Excel needs XlsxWriter.

A cell shows its value where it has one, and otherwise what is written, with its marks; of a refused number,
that is the guess. In Excel, a value that is a decimal or a date, and a text of digits without a leading zero,
are a number or a date if Excel can hold them exactly; all else is text as it stands.

CSV of one table is its plain grid. Several tables stand below each other, so that pandas can group them: each
row begins with `file`, `page` and `table`, which counts from 0 on each page.

A page of a form is one row, behind `file`, `page`, `status` and `reason`, in CSV and in one sheet of Excel.
Its refused numbers are left empty in CSV, where nothing else tells them from answers.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from digitcli.atomic_write import check_writable, faults_of, write_whole, writing_whole
from digitcli.errors import UsageError, import_packages
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.readings import DECIMALS, as_percentage
from digitcli.recognition.results import as_bytes, csv_line
from digitcli.tables.table import Cell, Table, TablePage

# Columns of the records, and of the doubts beside CSV.
CELL_FIELDS = (
    "file", "page", "table", "row", "column", "text", "raw", "value", "status", "reason", "confidence",
    "printed", "change", "x", "y", "width", "height",
)  # fmt: skip
DOUBT_FIELDS = (*CELL_FIELDS[:5], "guess", "alternatives", "reason", "confidence", *CELL_FIELDS[-4:])
NO_TABLE = "no_table"  # reason of a page without a table that has no other
STRAY = "/,:×÷* "  # marks that begin and end no number: of a rule, or of the writing beside it
MOST_ALTERNATIVES = 3  # that a person is shown; further ones are hardly ever right
EXACT_DIGITS = 15  # that Excel keeps of a number
FIRST_DATE = date(1900, 3, 1)  # before it, Excel counts a day that never was
MADE = datetime(2000, 1, 1)  # date of every workbook, so that equal tables give equal bytes
YELLOW, LIGHT_BLUE = "#FFFF00", "#DDEBF7"  # of a cell that is refused, and of one that a check changed
FORMS = "forms"  # the sheet of forms
PLACE = ("file", "page", "status", "reason")  # columns before those of a form
DOUBTS = "doubts"  # the sheet of doubts
DOUBT = ("where", "guess", "confidence", "alternatives", "reason", "picture")  # its columns
SHEET_NAME = 31  # characters that Excel allows
NARROWEST, WIDEST = 8, 60  # column, in characters (chosen by hand)
PICTURE_PX, WIDEST_PX = 48, 400  # height and greatest width of the picture of a cell (chosen by hand)
MARGIN = 0.15  # around a cell in its picture, in its heights, since digits cross rules (chosen by hand)
COMMENT = {"width": 240, "height": 80}  # in pixels, for five lines

_INTEGER, _DECIMAL = re.compile("-?(0|[1-9][0-9]*)"), re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
# What the name of a sheet may not hold; characters beyond the basic plane count twice.
_UNSAFE = re.compile(r"[\[\]:*?/\\']|[^\x20-\ud7ff\ue000-\ufffd]")


@dataclass(frozen=True)
class TablesWritten:
    """How many tables, cells with a number, and doubts were written."""

    tables: int
    cells: int
    doubts: int


def write_tables(
    pages: Iterable[TablePage], path: Path, *, force: bool, fields: Sequence[str] | None = None
) -> TablesWritten:
    """Write the tables of pages to a file of CSV or Excel, whole or not at all.

    fields: the names of the fields, if the pages are forms.

    Nothing is written if no page could be read. The doubts are the refused numbers, and the pages without a
    table. They are a sheet of Excel, and beside `marks.csv` the file `marks.doubts.csv`; without doubts, that
    of an earlier run is removed.

    Raises:
        UsageError: the name of the file ends in neither .csv nor .xlsx.
        OutputError: without `force` a file exists; or it cannot be written, e.g. because Excel has it open.
        EnvironmentFault: XlsxWriter is not installed.
    """
    is_excel = path.suffix.lower() == ".xlsx"
    if not is_excel and path.suffix.lower() != ".csv":
        raise UsageError(f"The name {path} does not say which format to write.", "Name a .csv or .xlsx file.")
    doubts_path = path.with_suffix(".doubts.csv")
    for file in [path] if is_excel else [path, doubts_path]:
        with faults_of(file):
            check_writable(file, force)
            if file.exists():
                file.open("r+b").close()  # fails for a file that Excel keeps locked
    workbook = _Workbook(fields) if is_excel else None
    kept, records = list[TablePage](), list[dict[str, Any]]()
    for page in pages:
        records += table_records(page)
        kept.append(replace(page, picture=None))  # pictures of thousands of pages do not fit in memory
        if workbook:
            workbook.add(page)
    if all(page.status == "error" for page in kept):
        return TablesWritten(0, 0, 0)
    doubts = [record for record in records if record["table"] is None or record["status"] == "refused"]
    with writing_whole(path) as write:
        write(workbook.content() if workbook else as_bytes(grid_csv(kept, fields)))
        if not is_excel:
            _write_doubts(doubts, doubts_path)
    cells = len(records) - sum(not page.tables for page in kept)
    return TablesWritten(sum(len(page.tables) for page in kept), cells, len(doubts))


def table_records(page: TablePage) -> list[dict[str, Any]]:
    """Return a record of each cell with a number: `CELL_FIELDS`, and the alternatives with probabilities.

    A page without a table has one record with its status and reason, so that none is missed.
    """
    if page.tables:
        cells = [(index, cell) for index, table in enumerate(page.tables) for cell in table.cells]
        return [_record(page, index, cell) for index, cell in cells if cell.number]
    whole = {"file": page.file, "page": page.page, "status": page.status, "reason": page.reason or NO_TABLE}
    return [dict.fromkeys(CELL_FIELDS) | whole | {"alternatives": []}]


def record_lines(pages: Iterable[TablePage], form: str) -> Iterator[str]:
    """Yield the lines of the records of pages: as `jsonl`, or as `csv` with a heading."""
    if form == "csv":
        yield csv_line(CELL_FIELDS)
    for page in pages:
        for record in table_records(page):
            if form == "csv":
                value = record["value"]  # which no spreadsheet takes for a formula if it is a number
                number = Decimal(value) if value and _DECIMAL.fullmatch(value) else value
                yield csv_line(number if name == "value" else record[name] for name in CELL_FIELDS)
            else:
                yield json.dumps(record) + "\n"


def grid_csv(pages: Iterable[TablePage], fields: Sequence[str] | None = None) -> str:
    """Return CSV of the tables of pages, with their empty cells and rows, or of forms with these fields.

    One table has a heading only if its columns have names. The heading of several has the names of their
    columns, or else their numbers from 1 on; where they differ, the names are the first row of each table.
    """
    if fields is not None:
        return "".join(map(csv_line, [(*PLACE, *fields), *(_form_row(page, fields) for page in pages)]))
    tables = [(page.file, page.page, k, table) for page in pages for k, table in enumerate(page.tables)]
    if len(tables) == 1:
        return "".join(map(csv_line, _grid(tables[0][-1])))
    is_common = len({table.names for *_, table in tables}) == 1 and bool(tables[0][-1].names)
    rows = [(*place, *row) for *place, table in tables for row in _grid(table)[is_common:]]
    width = max(map(len, rows), default=3)
    heading = tables[0][-1].names if is_common else range(1, width - 2)
    lines = [("file", "page", "table", *heading), *rows]
    return "".join(csv_line((*line, *[""] * (width - len(line)))) for line in lines)


def _write_doubts(doubts: Sequence[Mapping[str, Any]], path: Path) -> None:
    if not doubts:
        with faults_of(path):
            return path.unlink(missing_ok=True)
    rows = [{**doubt, "guess": doubt["raw"], "alternatives": _alternatives(doubt)} for doubt in doubts]
    lines = [DOUBT_FIELDS, *([row[name] for name in DOUBT_FIELDS] for row in rows)]
    write_whole(path, as_bytes("".join(map(csv_line, lines))))


def _record(page: TablePage, table: int, cell: Cell) -> dict[str, Any]:
    number = cell.number
    assert number is not None, "only cells with a number have a record"
    values = (
        page.file, page.page, table, cell.row, cell.column, number.text, number.raw or number.text,
        cell.value, number.status, number.reason, round(number.confidence, DECIMALS), cell.is_printed,
        cell.change, *(number.box if number.digits else (None,) * 4),
    )  # fmt: skip
    alternatives = [[text, round(probability, DECIMALS)] for text, probability in number.alternatives]
    return dict(zip(CELL_FIELDS, values, strict=True)) | {"alternatives": alternatives}


def _alternatives(record: Mapping[str, Any]) -> str:
    shown = record["alternatives"][:MOST_ALTERNATIVES]
    return ", ".join(f"{text} ({as_percentage(probability)})" for text, probability in shown)


def _typed(cell: Cell) -> str | Decimal | date:
    """Return what stands in a cell of a spreadsheet, see the module."""
    written = (cell.number.raw or cell.number.text).strip(STRAY) if cell.number else ""
    text = written if cell.value is None else cell.value
    if (_INTEGER if cell.value is None else _DECIMAL).fullmatch(text):
        number = Decimal(text)
        return number if len(number.as_tuple().digits) <= EXACT_DIGITS else text
    if cell.value is not None and _DATE.fullmatch(text):
        with contextlib.suppress(ValueError):  # the calendar has no such day
            day = date.fromisoformat(text)
            return day if day >= FIRST_DATE else text
    return text


def _grid(table: Table) -> list[list[Any]]:
    """Return the names of columns, if there are any, and the rows."""
    width = max(table.columns, len(table.names))
    rows: list[list[Any]] = [[""] * width for _ in range(table.rows)]
    for cell in table.cells:
        rows[cell.row][cell.column] = _typed(cell)
    return [[*table.names, *[""] * (width - len(table.names))], *rows] if table.names else rows


def _form_row(page: TablePage, fields: Sequence[str]) -> list[Any]:
    row: list[Any] = [page.file, page.page, page.status, page.reason, *[""] * len(fields)]
    for cell in (cell for table in page.tables for cell in table.cells):
        if cell.number and cell.number.status == "read":
            row[len(PLACE) + cell.column] = _typed(cell)
    return row


class _Workbook:
    """A workbook in memory, with a sheet of each table, or one of all forms, and one of the doubts."""

    def __init__(self, fields: Sequence[str] | None = None) -> None:
        import_packages("Excel", "excel", "xlsxwriter")
        from xlsxwriter import Workbook, utility

        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._file, self._taken = io.BytesIO(), {DOUBTS, "history"}  # Excel keeps `history` to itself
        self._book = Workbook(self._file, options)
        self._book.set_properties({"created": MADE})
        self._format = functools.cache(lambda **properties: self._book.add_format(properties))
        self._name_of = utility.xl_rowcol_to_cell
        # Of each doubt: its cell, if it has one, the texts of its row, and its picture.
        self._doubts = list[tuple[str, list[str], bytes | None]]()
        self._forms: Any = None
        self._rows = 1
        if fields is not None:
            self._taken.add(FORMS)
            self._forms = self._add_sheet(FORMS, (*PLACE, *fields), [(*PLACE, *fields)])

    def add(self, page: TablePage) -> None:
        """Add the tables of a page, and its doubts."""
        page = replace(page, file=as_bytes(page.file).decode())
        on_page = "" if page.page is None else f" page {page.page}"
        if self._forms is not None:
            self._add_form(page)
        for index, table in enumerate(page.tables if self._forms is None else ()):
            end = on_page + (f" table {index}" if len(page.tables) > 1 else "")
            sheet = self._add_sheet(self._sheet_name(page.file, end), table.names, _grid(table))
            for cell in table.cells:
                if cell.number:
                    place = cell.row + bool(table.names), cell.column
                    self._write_cell(sheet, place, page, cell, _record(page, index, cell))
        if not page.tables:
            self._doubts.append(("", _doubt_texts(page.file + on_page, table_records(page)[0]), None))

    def _add_form(self, page: TablePage) -> None:
        """Add a page of a form as the next row."""
        self._forms.write_row(self._rows, 0, [page.file, page.page, page.status, page.reason])
        for cell in (cell for table in page.tables for cell in table.cells if cell.number):
            place = self._rows, len(PLACE) + cell.column
            self._write_cell(self._forms, place, page, cell, _record(page, 0, cell))
        self._rows += 1

    def content(self) -> bytes:
        """Return the file; nothing can be added any more."""
        if self._doubts:
            sheet = self._add_sheet(DOUBTS, DOUBT, [DOUBT, *(texts for _, texts, _ in self._doubts)])
            for row, doubt in enumerate(self._doubts, start=1):
                self._write_doubt(sheet, row, *doubt)
        self._book.close()
        return self._file.getvalue()

    def _sheet_name(self, file: str, end: str) -> str:
        """Return a name that Excel allows, and that no other sheet has."""
        stem = _UNSAFE.sub("_", Path(file).stem) or "table"
        ends = itertools.chain([end], (f"{end} ({number})" for number in itertools.count(2)))
        names = ((stem + each)[-SHEET_NAME:] for each in ends)  # scans of a series differ at the end
        name = next(name for name in names if name.lower() not in self._taken)
        self._taken.add(name.lower())
        return name

    def _add_sheet(self, name: str, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Add a sheet with a heading, and columns that are as wide as these rows need."""
        sheet = self._book.add_worksheet(name)
        for column, contents in enumerate(itertools.zip_longest(*rows, fillvalue="")):
            longest = max(len(str(content)) for content in contents)
            sheet.set_column(column, column, min(max(longest + 2, NARROWEST), WIDEST))
        sheet.write_row(0, 0, [as_bytes(text).decode() for text in heading], self._format(bold=True))
        sheet.freeze_panes(1 if heading else 0, 0)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        return sheet

    def _write_cell(
        self, sheet: Any, place: tuple[int, int], page: TablePage, cell: Cell, record: dict[str, Any]
    ) -> None:
        """Write a cell of a table into a row and a column of a sheet, and keep its doubt."""
        content, fill = _typed(cell), {}
        name, comment = self._name_of(*place), list[str]()
        if cell.change:
            fill, comment = {"bg_color": LIGHT_BLUE}, [cell.change]
        if record["status"] == "refused":
            fill, texts = {"bg_color": YELLOW}, _doubt_texts(f"{sheet.name} {name}", record)
            comment = [f"{what}: {text}" for what, text in zip(DOUBT[1:-1], texts[1:], strict=True)] + comment
            self._doubts.append((f"'{sheet.name}'!{name}", texts, _picture(cell, page.picture)))
            sheet.write_url(*place, f"internal:{DOUBTS}!A{len(self._doubts) + 1}")
        style = self._format(num_format=_number_format(content), **fill)
        sheet.write(*place, content, style)  # keeps the link
        if comment:
            sheet.write_comment(*place, "\n".join(comment), COMMENT)

    def _write_doubt(self, sheet: Any, row: int, cell: str, texts: list[str], picture: bytes | None) -> None:
        style = self._format(num_format="@", valign="vcenter")
        for column, text in enumerate(texts):
            sheet.write(row, column, text, style)
        if cell:
            sheet.write_url(row, 0, f"internal:{cell}", None, texts[0])
        if picture:
            sheet.set_row_pixels(row, PICTURE_PX + 4)
            sheet.insert_image(row, len(texts), "cell.png", {"image_data": io.BytesIO(picture)})


def _number_format(content: str | Decimal | date) -> str:
    if isinstance(content, Decimal):
        return f"{0:.{-int(content.as_tuple().exponent)}f}"  # as many decimals as were written
    return "@" if isinstance(content, str) else "yyyy-mm-dd"


def _doubt_texts(where: str, record: Mapping[str, Any]) -> list[str]:
    """Return what a person reads about a doubt, in the order of `DOUBT`."""
    confidence = "" if record["confidence"] is None else as_percentage(record["confidence"])
    reason = (record["reason"] or "").replace("_", " ")
    return [where, record["raw"] or "", confidence, _alternatives(record), reason]


def _picture(cell: Cell, page: np.ndarray | None) -> bytes | None:
    """Return a cell of a page, or else its number, as PNG; None if neither page nor place is known."""
    if page is None or cell.number is None or not (cell.corners or cell.number.digits):
        return None
    around = cv2.boundingRect(np.array(cell.corners, np.float32)) if cell.corners else cell.number.box
    x, y, width, height = around
    margin = round(MARGIN * height)
    crop = page[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    if not crop.size:
        return None
    scale = min(PICTURE_PX / crop.shape[0], WIDEST_PX / crop.shape[1])
    size = [max(1, round(scale * side)) for side in crop.shape[::-1]]
    return bytes(cv2.imencode(".png", as_levels(cv2.resize(crop, size, interpolation=cv2.INTER_AREA)))[1])
