"""`digitcli predict --table` shows tables, and writes them to CSV, to Excel and for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.dataset import Digits
from tests.support.pictures import drawn, encoded
from tests.support.processes import Run

TEXTS = [["1", "40", "25", "65"], ["2", "38", "", "38"], ["", "", "", ""], ["4", "17", "60", "77"]]


def ruled(texts: list[list[str]]) -> np.ndarray:
    """A ruled table of numbers, each digit 40 pixels high."""
    width, height = 160 * len(texts[0]), 80 * len(texts)
    page = np.full((height + 40, width + 40), 255, np.uint8)
    for row, column in np.ndindex(len(texts), len(texts[0])):
        digits = [
            cv2.resize(drawn(digit, 200)[:, 40:-40], (24, 40), interpolation=cv2.INTER_AREA)
            for digit in texts[row][column]
        ]
        if digits:
            stamp = np.hstack(digits)
            top, left = 20 + 80 * row + 20, 20 + 160 * column + 50
            page[top : top + 40, left : left + stamp.shape[1]] = stamp
    for y in range(20, height + 21, 80):
        cv2.line(page, (20, y), (20 + width, y), 90, 2)
    for x in range(20, width + 21, 160):
        cv2.line(page, (x, 20), (x, 20 + height), 90, 2)
    return page


@pytest.fixture
def sheet(tmp_path: Path) -> str:
    """A table with an empty row."""
    path = tmp_path / "sheet.png"
    path.write_bytes(encoded(ruled(TEXTS)))
    return str(path)


def test_a_table_is_written_with_its_empty_cells(predict: Run, sheet: str) -> None:
    """The columns have names, and the doubts a file of their own if there are any."""
    done = predict(sheet, "--table", "--columns", "no,a,b,total", "-o", "marks.csv")

    assert done.returncode == 0, done.stderr
    assert list(csv.reader(Path("marks.csv").read_text().splitlines())) == [["no", "a", "b", "total"], *TEXTS]
    assert "1 table" in done.stderr


def test_what_is_printed_can_be_skipped_or_read_alone(predict: Run, digits: Digits, tmp_path: Path) -> None:
    """Print in the first column of a ruled table, handwritten digits in the second one."""
    image = Image.fromarray(ruled([["", ""]] * 4))
    draw, font, printed = ImageDraw.Draw(image), ImageFont.load_default(44), ["17", "23", "48", "96"]
    for row, text in enumerate(printed):
        draw.text((70, 30 + 80 * row), text, fill=40, font=font)
    page = np.array(image)
    for k, digit in enumerate(digits.images[:8]):
        ink = cv2.resize(digit, (48, 48), interpolation=cv2.INTER_AREA)
        page[36 + 80 * (k // 2) :, 212 + 40 * (k % 2) :][:48, :48] -= ink // 10 * 9
    path = tmp_path / "printed.png"
    path.write_bytes(encoded(page))

    for kept, column in (("only", 0), ("skip", 1)):
        done = predict(str(path), "--table", "--printed", kept, "-o", f"{kept}.csv")
        assert done.returncode == 0, done.stderr
        rows = list(csv.reader(Path(f"{kept}.csv").read_text().splitlines()))
        assert [[bool(text) for text in row] for row in rows] == [[column == 0, column == 1]] * 4
        assert column or [row[0] for row in rows] == printed


def test_programs_get_a_record_of_each_cell(predict: Run, sheet: str) -> None:
    """A type gives each number its value, and a check that holds changes nothing."""
    options = ("--type", "integer", "--check", "4 = 2 + 3", "--format", "jsonl")
    done = predict(sheet, "--table", "--per", "number", *options)

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["row"], each["column"], each["value"]) for each in records] == [
        (row, column, text) for row, texts in enumerate(TEXTS) for column, text in enumerate(texts) if text
    ]
    assert {each["status"] for each in records} == {"read"}


def test_readings_of_meters_are_compared_with_earlier_ones(predict: Run, sheet: str) -> None:
    """40 follows 20; 38 does not follow 70; 17 follows 9."""
    Path("readings.csv").write_text("no,b\n1,20\n2,70\n4,9\n")
    options = ("--columns", "no,b", "--previous", "readings.csv", "--max-change", "30", "--format", "jsonl")
    done = predict(sheet, "--table", "--per", "number", *options)

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["text"], each["reason"]) for each in records if each["column"] == 1] == [
        ("40", None), ("38", "implausible_change"), ("17", None),
    ]  # fmt: skip


def test_readings_of_no_known_meter_are_told(predict: Run, sheet: str) -> None:
    """Most likely --columns names other columns; without a word all readings would look plausible."""
    Path("readings.csv").write_text("2,1\n771,30\n772,\n")
    done = predict(sheet, "--table", "--previous", "readings.csv", "--max-change", "5", "-o", "now.csv")

    assert done.returncode == 4 and "No number in the column 2 is a key" in done.stderr
    assert list(csv.reader(Path("now.csv").read_text().splitlines())) == TEXTS


def test_rows_that_do_not_add_up_are_named(predict: Run, sheet: str) -> None:
    done = predict(sheet, "--table", "--check", "4 = 2 + 3")
    assert "does not hold" not in done.stderr
    done = predict(sheet, "--table", "--check", "4 = 1 + 3")
    assert f"--check does not hold for row 1 of {sheet}, row 2 of {sheet}, row 4 of {sheet}." in " ".join(
        done.stderr.split()
    )


def test_nothing_is_written_if_no_page_can_be_read(predict: Run, sheet: str) -> None:
    """The name of the file stays free for the command with the right name of the picture."""
    done = predict("shet.png", "--table", "-o", "marks.csv")

    assert done.returncode == 3 and "holds" not in done.stderr
    assert not [*Path().glob("marks*.csv")]


def test_a_number_that_a_table_joins_meets_the_constraints(predict: Run, tmp_path: Path) -> None:
    """Two groups of digits in one cell are one number of six digits, and the length is three."""
    page = np.full((300, 380), 255, np.uint8)
    for row in range(3):
        for x in (30, 130):
            for k, digit in enumerate("174"):
                stamp = cv2.resize(drawn(digit, 200)[:, 40:-40], (24, 40), interpolation=cv2.INTER_AREA)
                page[40 + 80 * row : 80 + 80 * row, x + 26 * k : x + 26 * k + 24] = stamp
        cv2.line(page, (20, 20 + 80 * row), (230, 20 + 80 * row), 90, 2)
    cv2.line(page, (20, 260), (230, 260), 90, 2)
    for x in (20, 230):
        cv2.line(page, (x, 20), (x, 260), 90, 2)
    path = tmp_path / "groups.png"
    path.write_bytes(encoded(page))
    done = predict(str(path), "--table", "--per", "number", "--length", "3", "--format", "jsonl")

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["text"], each["reason"]) for each in records} == {("174174", "constraint")}


def test_guesses_in_csv_on_standard_output_are_announced(predict: Run, sheet: str) -> None:
    """CSV cannot show which numbers were refused, and there is no file of doubts beside it."""
    Path("blank.png").write_bytes(encoded(np.full((200, 300), 240, np.uint8)))
    done = predict(sheet, "blank.png", "--table", "--format", "csv", "--min-confidence", "1")

    assert list(csv.reader(done.stdout.splitlines())) == TEXTS
    assert "a guess stands in their cells: 11" in done.stderr
    assert "blank.png has no table: blank" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--check", "9 = sum(1..3)"), "no column '9'"),
        (("--type", "9=date"), "no column '9'"),
        (("--columns", "a,b,c,d,e"), "--columns names 5"),
    ],
)
def test_a_page_without_a_column_that_is_named_is_written_all_the_same(
    predict: Run, sheet: str, options: tuple[str, str], words: str
) -> None:
    """Hours of reading must not be lost because one table has fewer columns; the exit code tells it."""
    done = predict(sheet, "--table", *options, "-o", "marks.csv")

    assert done.returncode == 4
    assert words in done.stderr and "has 4 columns" in done.stderr
    assert list(csv.reader(Path("marks.csv").read_text().splitlines()))[-4:] == TEXTS


def test_several_tables_on_a_page_are_told_apart_and_those_with_the_columns_are_checked(
    predict: Run, tmp_path: Path
) -> None:
    """The sum of the first table corrects nothing; the second has no fourth column."""
    second = [["5", "6", ""], ["17", "", "9"], ["1", "40", "25"]]
    below = np.full((440, 680), 255, np.uint8)
    below[140:-20, :520] = ruled(second)
    path = tmp_path / "two.png"
    path.write_bytes(encoded(np.vstack([ruled(TEXTS), below])))
    done = predict(str(path), "--table", "--check", "4 = 2 + 3", "-o", "two.csv")

    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(Path("two.csv").read_text().splitlines()))
    assert [row[3:] for row in rows[1:]] == [*TEXTS, *([*row, ""] for row in second)]
    assert [row[2] for row in rows[1:]] == ["0"] * 4 + ["1"] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--columns", "a,b"], "is for tables"),
        (["--table", "-o", "marks.parquet"], "cannot be written to marks.parquet"),
        (["--table", "--check", "total = sum(1..2)"], "no column 'total'"),
        (["--table", "--type", "marks=integer"], "no column 'marks'"),
        (["--table", "--columns", "a,,b"], "has an empty name"),
        (["--table", "--columns", "a,b,a"], "names 'a' twice"),
        (["-o", "marks.xlsx"], "For tables in Excel give --table"),
        (["--table", "--previous", "readings.csv"], "need each other"),
        (["--table", "--max-change", "0"], "need each other"),
        (["--max-change", "0"], "is for tables"),
        (["--table", "--resume", "-o", "marks.csv"], "do not go together"),
    ],
)
def test_options_that_make_no_sense_are_errors(
    predict: Run, sheet: str, options: list[str], words: str
) -> None:
    done = predict(sheet, *options)

    assert done.returncode == 2
    assert words in done.stderr
    assert not list(Path().glob("marks*"))
