"""Tables as CSV, as Excel and as records, read back with other programs."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.errors import EnvironmentFault, OutputError, UsageError
from digitcli.recognition.readings import Number
from digitcli.tables.spreadsheets import (
    CELL_FIELDS,
    TablesWritten,
    grid_csv,
    record_lines,
    table_records,
    write_tables,
)
from digitcli.tables.table import Cell, Table, TablePage
from tests.support.readings import number_of

BOX = (60, 40, 30, 20)
CORNERS = ((50.0, 30.0), (110.0, 32.0), (109.0, 72.0), (49.0, 70.0))
FOUND = (("11", 0.2), ("71", 0.1), ("12", 0.05), ("13", 0.04))
OTHERS = "11 (20.0 %), 71 (10.0 %), 12 (5.0 %)"
GUESS = dataclasses.replace(number_of("17", 0.45, BOX), alternatives=FOUND).refused_for("low_confidence")
FAILED = TablePage("broken.png", None, (), "error", "corrupt")
EMPTY = TablePage("scan.pdf", 2, (), "blank")


def written(raw: str) -> Number:
    return dataclasses.replace(number_of("".join(filter(str.isdigit, raw)), 0.9, BOX), raw=raw)


def table_of(*rows: list[str | Number | None], names: tuple[str, ...] = ()) -> Table:
    places = [(row, column) for row in range(len(rows)) for column in range(len(rows[0]))]
    found = [written(each) if isinstance(each, str) else each for row in rows for each in row]
    cells = [Cell(*place, each, corners=CORNERS) for place, each in zip(places, found, strict=True)]
    return Table(tuple(cells), len(rows), len(rows[0]), names)


def valued(*values: str) -> Table:
    return Table(tuple(Cell(0, k, written("1"), value=each) for k, each in enumerate(values)), 1, len(values))


def page_of(*tables: Table, file: str = "marks.jpg", page: int | None = None) -> TablePage:
    return TablePage(file, page, tables, picture=np.ones((100, 200), np.float32))


ONE = page_of(valued("1"))
MARKS = table_of(["007", "12"], [None, None], [GUESS, "1.5"], [None, None])


def excel_of(path: Path, *pages: TablePage) -> Any:
    _, openpyxl = map(pytest.importorskip, ("xlsxwriter", "openpyxl"))
    write_tables(pages, path, force=False)
    return openpyxl.load_workbook(path)


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_excel_keeps_zeros_and_marks_and_writes_other_digits_as_numbers(tmp_path: Path) -> None:
    table = table_of(["007", "0", "12/", "1.5", "9" * 15, "1" + "0" * 15])
    (cells,) = excel_of(tmp_path / "a.xlsx", page_of(table))["marks"].iter_rows()
    assert [cell.value for cell in cells] == ["007", 0, 12, "1.5", int("9" * 15), "1" + "0" * 15]
    assert [cell.number_format for cell in cells] == ["@", "0", "0", "@", "0", "@"]
    assert b"numberStoredAsText" in zipfile.ZipFile(tmp_path / "a.xlsx").read("xl/worksheets/sheet1.xml")
    table = valued("12.50", "-3", "2024-02-29", "2024-02-30", "1899-01-01", "012", "14:30")
    (cells,) = excel_of(tmp_path / "b.xlsx", page_of(table))["marks"].iter_rows()
    texts = ["2024-02-30", "1899-01-01", "012", "14:30"]
    assert [cell.value for cell in cells] == [12.5, -3, datetime.datetime(2024, 2, 29), *texts]
    assert [cell.number_format for cell in cells[:3]] == ["0.00", "0", "yyyy-mm-dd"]
    assert rows_of(grid_csv([page_of(table)]))[0][:3] == ["12.50", "-3", "2024-02-29"]


def test_excel_shows_a_refused_number_with_its_picture_and_a_changed_one(tmp_path: Path) -> None:
    table = Table((*MARKS.cells, Cell(1, 1, written("8"), change="was 9")), 4, 2)
    book = excel_of(tmp_path / "a.xlsx", FAILED, page_of(table), EMPTY)
    cell, sheet = book["marks"]["A3"], book["doubts"]
    assert (cell.value, cell.fill.fgColor.rgb, cell.hyperlink.location) == (17, "FFFFFF00", "doubts!A3")
    said = f"guess: 17\nconfidence: 45.0 %\nalternatives: {OTHERS}\nreason: low confidence"
    assert (cell.comment.text, sheet["A3"].hyperlink.location) == (said, "'marks'!A3")
    rows = [[text for text in row if text] for row in sheet.values][1:]
    guess = ["marks A3", "17", "45.0 %", OTHERS, "low confidence"]
    assert rows == [["broken.png", "corrupt"], guess, ["scan.pdf page 2", "no table"]]
    assert [(image.anchor._from.row, image.height) for image in sheet._images] == [(2, 48)]
    light, plain = book["marks"]["B2"], book["marks"]["A1"]
    assert (light.value, light.fill.fgColor.rgb, light.comment.text) == (8, "FFDDEBF7", "was 9")
    assert plain.fill.fill_type is plain.comment is plain.hyperlink is None


def test_a_spreadsheet_takes_no_cell_for_a_formula(tmp_path: Path) -> None:
    table = table_of(["=1+1", "-5", "{=1}"], names=("=A1", "http://a.b", "+"))
    book = excel_of(tmp_path / "a.xlsx", page_of(table), dataclasses.replace(FAILED, file="=1.png"))
    cells = [*book["marks"][1], *book["marks"][2], book["doubts"]["A2"]]
    assert [cell.value for cell in cells] == ["=A1", "http://a.b", "+", "=1+1", -5, "{=1}", "=1.png"]
    assert all(cell.data_type == ("n" if cell.value == -5 else "s") for cell in cells)
    assert not any(cell.hyperlink for cell in cells)
    assert rows_of(grid_csv([page_of(table)])) == [["'=A1", "http://a.b", "'+"], ["'=1+1", "-5", "{=1}"]]


def test_every_table_has_a_sheet_with_a_name_that_excel_allows(tmp_path: Path) -> None:
    named, plain = table_of(["1", "2"], names=("mark", "of [%]", "remark")), table_of(["3"])
    pages = [page_of(named, plain, file="a/[x]:*?\\'.pdf", page=3), page_of(plain, file="doubts.png")]
    pages += [page_of(plain, file=f"{'long' * 20}\U0001f600{os.fsdecode(bytes([255]))}{k}.png") for k in "12"]
    book = excel_of(tmp_path / "a.xlsx", *pages, page_of(plain, file=""))
    assert book.sheetnames[:3] == ["_x______ page 3 table 0", "_x______ page 3 table 1", "doubts (2)"]
    ends = [("long" * 8 + f"__udcff{number}")[-31:] for number in "12"]
    assert book.sheetnames[3:] == [*ends, "table"]
    assert [*book.worksheets[0].values] == [("mark", "of [%]", "remark"), (1, 2, None)]


def test_csv_of_one_table_is_its_grid_and_pandas_groups_several() -> None:
    assert rows_of(grid_csv([FAILED, page_of(MARKS)])) == [["007", "12"], ["", ""], ["17", "1.5"], ["", ""]]
    assert grid_csv([page_of(table_of(["1"], [None], ["2"]))]) == '1\n""\n2\n'
    text = grid_csv([page_of(MARKS, page=1), page_of(table_of(["1"]), table_of(["2", "3", "4"]), page=2)])
    frame = pytest.importorskip("pandas").read_csv(io.StringIO(text), dtype=str)
    assert [len(rows) for _, rows in frame.groupby(["file", "page", "table"])] == [4, 1, 1]
    assert text.splitlines()[0] == "file,page,table,1,2,3"
    named = dataclasses.replace(MARKS, names=("first",))
    assert rows_of(grid_csv([page_of(named)]))[:2] == [["first", ""], ["007", "12"]]
    assert rows_of(grid_csv([page_of(named, named)]))[0] == ["file", "page", "table", "first", ""]
    assert rows_of(grid_csv([page_of(named, MARKS)]))[1] == ["marks.jpg", "", "0", "first", ""]
    assert grid_csv([FAILED]) == "file,page,table\n"


def test_doubts_stand_beside_csv_and_go_when_there_are_none(tmp_path: Path) -> None:
    path, doubts = tmp_path / "marks.csv", tmp_path / "marks.doubts.csv"
    assert write_tables([page_of(MARKS), FAILED], path, force=False) == TablesWritten(1, 4, 2)
    _, guess, failed = rows_of(doubts.read_text())
    assert guess == ["marks.jpg", "", "0", "2", "0", "17", OTHERS, "low_confidence", "0.45", *map(str, BOX)]
    assert [text for text in failed if text] == ["broken.png", "corrupt"]
    for name in ("marks.csv", "marks.doubts.csv"):
        with pytest.raises(OutputError, match=f"{name} exists already"):
            write_tables([ONE], path, force=False)
        path.unlink(missing_ok=True)
    write_tables([ONE], path, force=True)
    assert path.read_text() == "1\n" and sorted(tmp_path.iterdir()) == [path]


def test_records_are_of_cells_with_a_number_and_of_pages_without_tables() -> None:
    cells = (Cell(0, 1, GUESS, value="17"), Cell(1, 0), Cell(2, 0, written("1."), is_printed=True))
    first, second = table_records(page_of(valued("2"), Table(cells, 3, 2)))[1:]
    assert tuple(first) == (*CELL_FIELDS, "alternatives") and first["alternatives"][0] == ["11", 0.2]
    place = [first[name] for name in ("table", "row", "column", "value", "x", "height")]
    assert place == [1, 0, 1, "17", 60, 20] and first["reason"] == "low_confidence"
    assert [second[name] for name in ("text", "raw", "value", "printed")] == ["1", "1.", None, True]
    assert [(each["status"], each["reason"]) for each in table_records(EMPTY)] == [("blank", "no_table")]


def test_programs_read_negative_values_as_numbers() -> None:
    """What is written stays guarded against formulas; a value is a number, and is not."""
    table = Table((Cell(0, 0, written("-3.50"), value="-3.5"), Cell(0, 1, written("=1"), value="=1")), 1, 2)
    heading, first, second = rows_of("".join(record_lines([page_of(table)], "csv")))
    assert [dict(zip(heading, row, strict=True))["value"] for row in (first, second)] == ["-3.5", "'=1"]
    assert dict(zip(heading, first, strict=True))["raw"] == "'-3.50"
    assert json.loads(next(record_lines([page_of(table)], "jsonl")))["value"] == "-3.5"


def test_equal_tables_give_equal_bytes_and_a_fault_leaves_no_file(tmp_path: Path) -> None:
    paths = [tmp_path / "a.xlsx", tmp_path / "b.xlsx"]
    books = [excel_of(path, page_of(MARKS), FAILED) for path in paths]
    assert paths[0].read_bytes() == paths[1].read_bytes() and books[0].properties.created.year == 2000
    with pytest.raises(ZeroDivisionError):
        write_tables((page_of(MARKS, page=1 // k) for k in (1, 0)), tmp_path / "c.xlsx", force=False)
    assert sorted(tmp_path.iterdir()) == paths


def test_a_file_that_excel_keeps_locked_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "marks.csv"
    path.write_text("old")
    for call in ("open", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OutputError, match="denied") as caught:
            patch.setattr(Path, call, fail)
            write_tables([ONE], path, force=True)
        assert caught.value.exit_code == 7 and "Close it" in caught.value.remedy
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_excel_needs_its_extra_and_csv_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    for name, error in [("a.xlsx", EnvironmentFault), ("a.txt", UsageError)]:
        with pytest.raises(error):
            write_tables([], tmp_path / name, force=False)
    assert write_tables([], tmp_path / "a.csv", force=False) == TablesWritten(0, 0, 0)
