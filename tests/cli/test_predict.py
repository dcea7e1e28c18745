"""`digitcli predict` reads pictures in order and writes the results in every format."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from digitcli.cli.readings_view import describe, draw_grid
from digitcli.recognition.reader import THREADS
from digitcli.recognition.readings import DEFAULT_MODELS, Digit, Number, Reading
from tests.support.pictures import drawn, encoded, written
from tests.support.predictions import names_in, put, read, records
from tests.support.processes import Run
from tests.support.terminal import Terminal, run_in_process, terminal

RECORD = ["schema", "file", "page", "status", "reason", "text", "raw", "confidence", "numbers", "model"]
RECORD += ["changed", "rotation"]
NUMBER = ["text", "raw", "status", "reason", "confidence", "row", "column", "box", "digits", "alternatives"]
DIGIT = ["digit", "confidence", "box", "alternatives"]
ROW = ["file", "page", "status", "reason", "text", "raw", "confidence", "model"]
BLANK = np.full((200, 200), 255, np.uint8)


def put_two(path: str, left: str, right: str) -> None:
    """Write a picture of two numbers; each digit is 120 x 200 pixels."""
    gap = np.full((200, 400), 255, np.uint8)
    first, second = ([drawn(digit, 200)[:, 40:160] for digit in text] for text in (left, right))
    Path(path).write_bytes(encoded(np.hstack([*first, gap, *second])))


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A row of digits, a file that is missing, a blank page, one that is no picture, the row again."""
    put(tmp_path / "row.png", "2457")
    (tmp_path / "blank.png").write_bytes(encoded(BLANK))
    (tmp_path / "text.png").write_text("hello")
    return ["row.png", "none.png", "blank.png", "text.png", "row.png"]


def test_json_lines_are_the_records_of_the_design_one_an_input_in_order(
    predict: Run, inputs: list[str]
) -> None:
    done = predict(*inputs, "--format", "jsonl")
    assert done.returncode == 4
    lines = records(done)
    assert [record["file"] for record in lines] == inputs
    assert [record["status"] for record in lines] == ["read", "error", "blank", "error", "read"]
    assert [record["reason"] for record in lines] == [None, "not_found", "blank", "not_an_image", None]
    assert [record["text"] for record in lines] == ["2457", None, "", None, "2457"]
    for record in lines:
        assert list(record) == RECORD
        assert (record["schema"], record["page"], record["raw"]) == (1, None, record["text"])
        named = [model.split("@") for model in record["model"].split("+")]
        assert {name for name, _ in named} == set(DEFAULT_MODELS)
        assert all(len(digest) == 8 and int(digest, 16) >= 0 for _, digest in named)
        assert (record["confidence"] is None) == (record["status"] == "error")
        assert record["confidence"] is None or 0 <= record["confidence"] <= 1
        assert bool(record["numbers"]) == (record["status"] == "read")
    assert "none.png" in done.stderr and "2 of 5 pictures" in done.stderr


def test_numbers_and_digits_have_the_keys_of_the_design_and_boxes_in_the_picture(predict: Run) -> None:
    put_two("two.png", "245", "79")
    (record,) = records(predict("two.png", "--format", "jsonl"))
    assert record["text"] == "245 79" == " ".join(number["text"] for number in record["numbers"])
    assert [(number["row"], number["column"]) for number in record["numbers"]] == [(0, 0), (0, 1)]
    for number in record["numbers"]:
        assert list(number) == NUMBER and number["raw"] == number["text"]
        assert number["text"] == "".join(digit["digit"] for digit in number["digits"])
        for digit in number["digits"]:
            assert list(digit) == DIGIT and len(digit["alternatives"]) == 1
            assert digit["alternatives"][0][0] != digit["digit"]
        for part in [number, *number["digits"]]:
            assert 0 <= part["confidence"] <= 1
            x, y, width, height = part["box"]
            assert all(type(side) is int for side in part["box"])
            assert 0 <= x < x + width <= 1000 and 0 <= y < y + height <= 200
    x, _, width, _ = record["numbers"][0]["digits"][1]["box"]
    assert 120 <= x + width / 2 < 240


def test_every_format_has_the_same_records_and_a_file_is_what_standard_output_is(
    predict: Run, inputs: list[str], tmp_path: Path
) -> None:
    before, texts = names_in(), {}
    for form in ("jsonl", "json", "csv"):
        shown, done = predict(*inputs, "--format", form), predict(*inputs, "-o", f"out.{form}")
        assert (shown.returncode, done.returncode, done.stdout) == (4, 4, "")
        texts[form] = (tmp_path / f"out.{form}").read_text()
        assert texts[form] == shown.stdout
    assert names_in() == sorted([*before, *(f"out.{form}" for form in texts)])
    lines = [json.loads(line) for line in texts["jsonl"].splitlines()]
    assert json.loads(texts["json"]) == lines
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert list(rows[0]) == ROW
    assert rows == [{key: "" if line[key] is None else str(line[key]) for key in ROW} for line in lines]
    assert predict("none.png", "-o", "lone.json").returncode == 3
    assert "not_found" in (tmp_path / "lone.json").read_text()


def test_csv_per_number_has_a_row_for_each_and_keeps_pages_without_any(
    predict: Run, inputs: list[str]
) -> None:
    put_two("two.png", "77", "7")
    rows = list(csv.DictReader(io.StringIO(predict("two.png", *inputs, "--per", "number").stdout)))
    assert [row["file"] for row in rows] == ["two.png", "two.png", *inputs]
    assert [row["text"] for row in rows] == ["77", "7", "2457", "", "", "", "2457"]
    assert [row["status"] for row in rows[2:]] == ["read", "error", "blank", "error", "read"]
    assert [row["row"] + row["column"] for row in rows] == ["00", "01", "00", "", "", "", "00"]


def test_only_force_replaces_an_existing_file(predict: Run, tmp_path: Path) -> None:
    put("5.png")
    Path("out.csv").write_text("mine")
    refused = predict("5.png", "-o", "out.csv")
    assert refused.returncode == 7 and "--force" in refused.stderr
    assert Path("out.csv").read_text() == "mine"
    assert predict("5.png", "-o", "out.csv", "--force").returncode == 0
    assert Path("out.csv").read_text().startswith("file,page,")
    assert predict("5.png", "-o", "nowhere/out.csv").returncode == 7
    assert names_in() == ["5.png", "out.csv"]


def test_blank_paper_is_an_answer(predict: Run) -> None:
    Path("blank.png").write_bytes(encoded(BLANK))
    done = predict("blank.png", "--format", "jsonl")
    (record,) = records(done)
    assert (record["status"], record["reason"], record["text"]) == ("blank", "blank", "")
    assert done.returncode == 0 and done.stderr == ""
    assert predict("blank.png").stdout.endswith("%  that nothing is written\n")


def test_an_uncertain_answer_is_refused_with_the_best_guess(predict: Run) -> None:
    put("4.png", "4")
    (sure,) = records(predict("4.png", "--min-confidence", "0%", "--format", "jsonl"))
    assert (sure["status"], sure["text"]) == ("read", "4") and sure["confidence"] < 1
    done = predict("4.png", "--min-confidence", "1", "--format", "jsonl")
    (record,) = records(done)
    assert (record["status"], record["text"]) == ("refused", "4") and done.returncode == 0
    assert record["reason"] in ("low_confidence", "two_candidates")
    (number,), (sure_number,) = record["numbers"], sure["numbers"]
    assert number == sure_number | {"status": "refused", "reason": record["reason"]}
    assert "refused: " in predict("4.png", "--min-confidence", "100%").stdout
    refused = predict("4.png", "--max-error", "one")
    assert refused.returncode == 2 and "--max-error is 'one'" in refused.stderr


def test_a_doubtful_number_leaves_the_others_of_its_page_read(predict: Run) -> None:
    put_two("two.png", "245", "79")
    (sure,) = records(predict("two.png", "--min-confidence", "0", "--format", "jsonl"))
    first, second = (number["confidence"] for number in sure["numbers"])
    between = str((first + second) / 2)
    done = predict("two.png", "--min-confidence", between, "--format", "jsonl")
    (record,) = records(done)
    assert done.returncode == 0
    assert record["status"] == "partial"
    assert sorted(number["status"] for number in record["numbers"]) == ["read", "refused"]
    assert record["text"] == sure["text"]
    shown = predict("two.png", "--min-confidence", between).stdout
    assert "1 of 2 refused (?): " in shown
    doubtful = (number for number in record["numbers"] if number["status"] == "refused")
    assert re.findall(r"(\d+)\?", shown) == [number["text"] for number in doubtful]


def test_several_models_are_averaged_under_both_names(predict: Run) -> None:
    (one,) = records(predict(put("4.png", "4"), "-m", "cnn", "--format", "jsonl"))
    (other,) = records(predict("4.png", "-m", "fast", "--format", "jsonl"))
    (both,) = records(predict("4.png", "-m", "cnn", "--model", "fast", "--format", "jsonl"))
    assert both["model"] == f"{one['model']}+{other['model']}" and both["text"] == "4"
    mean = (one["confidence"] + other["confidence"]) / 2
    assert both["confidence"] == pytest.approx(mean, abs=2e-6)  # records have six decimals


def pages(*digits: str) -> bytes:
    """A TIFF with a page for each digit."""
    first, *others = [Image.fromarray(drawn(digit, 200)) for digit in digits]
    return encoded(first, "TIFF", save_all=True, append_images=others, compression="packbits")


def test_each_page_is_a_record_and_a_broken_one_loses_no_other(predict: Run) -> None:
    whole = pages("2", "5", "7")
    Path("whole.tif").write_bytes(whole)
    with Image.open("whole.tif") as image:
        image.seek(1)
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    Path("broken.tif").write_bytes(whole[:start] + b"\x80" * length + whole[start + length :])
    done = predict("whole.tif", "broken.tif", "--annotate", "out", "--format", "jsonl")
    pages_read = [(record["file"], record["page"], record["text"]) for record in records(done)]
    assert pages_read[:3] == [("whole.tif", 1, "2"), ("whole.tif", 2, "5"), ("whole.tif", 3, "7")]
    assert pages_read[3:] == [("broken.tif", 1, "2"), ("broken.tif", 2, None), ("broken.tif", 3, "7")]
    assert done.returncode == 4
    assert "broken.tif-page3.png" in names_in("out") and len(names_in("out")) == 5


def test_annotated_pictures_are_not_read_themselves(predict: Run) -> None:
    for number in range(3 * THREADS):
        put(f"scans/{number}.png")
    done = predict("scans", "--annotate", "scans/out", "--format", "jsonl")
    assert done.returncode == 0 and len(records(done)) == 3 * THREADS == len(names_in("scans/out"))


def test_a_folder_that_is_read_or_holds_something_is_not_annotated_into(predict: Run) -> None:
    put("scans/5.png"), put("scans/below/5.png"), Path("link").symlink_to("scans")
    for name in ("scans", "link"):
        done = predict(name, "--annotate", "scans", "--force")
        assert done.returncode == 2 and "same folder" in done.stderr
    assert predict("scans/below", "--annotate", "scans", "--force").returncode == 0
    matched = predict("scans/*.png", "--annotate", "scans", "--force")
    assert matched.returncode == 3 and "written to" in matched.stderr
    refused = predict("scans/5.png", "--annotate", "scans/below")
    assert refused.returncode == 7 and refused.stdout == "" and "--force" in refused.stderr
    assert predict("scans/5.png", "--annotate", "scans/5.png").returncode == 7


def test_the_steps_are_shown_beside_the_table_and_never_in_the_data(predict: Run) -> None:
    put("57.png", "57"), put("4.png", "4")
    easy = predict("4.png", "--show-steps").stdout
    assert "2  each number as networks see it, 40 pixels high" in easy and "the ink" not in easy
    shown = predict("57.png", "--show-steps", "-m", "reader").stdout
    assert "2  lines that the page finder detects: 1" in shown and "the ink" not in shown
    assert "3  each number as networks see it, 40 pixels high" in shown
    for name in ("57.png", "4.png"):
        shown = predict(name, "--show-steps", "-m", "cnn").stdout
        assert all(f"\n{step}  " in f"\n{shown}" or f" {step}  " in shown for step in "123"), shown
        assert "200 pixels" in shown and "█" in shown and "28 x 28" in shown
    data = predict("57.png", "--show-steps", "--format", "jsonl")
    assert read(data) == [("57.png", "57")]
    assert "40 pixels high" in data.stderr and data.returncode == 0


def test_the_steps_of_a_strip_can_still_be_looked_at(predict: Run) -> None:
    for name, size in (("tall.png", (1, 20_000)), ("wide.png", (20_000, 1)), ("dot.png", (1, 1))):
        Path(name).write_bytes(encoded(Image.new("L", size, 255)))
    done = predict("tall.png", "wide.png", "dot.png", "--show-steps")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) < 50_000


def test_constraints_are_met_and_named_if_they_change_a_number(predict: Run) -> None:
    put("57.png", "57")
    plain = ("57.png", "--format", "jsonl", "--min-confidence", "0")
    (free,), (met,) = records(predict(*plain)), records(predict(*plain, "--length", "2", "--range", "50-60"))
    assert free["text"] == met["text"] == "57" and not met["changed"]
    (unmet,) = records(predict(*plain, "--length", "9"))
    assert (unmet["status"], unmet["reason"], unmet["text"]) == ("refused", "constraint", "57")
    (single,) = records(predict(*plain, "--single-digit"))
    assert single["changed"] or single["reason"] == "constraint"
    assert ("changed by the constraints" in predict("57.png", "--single-digit").stdout) == single["changed"]
    (luhn,) = records(predict(*plain, "--check-digit", "luhn"))
    assert luhn["changed"] or luhn["reason"] == "constraint"


def test_an_interrupted_run_continues_where_it_stopped(predict: Run) -> None:
    for number in range(4):
        put(f"scans/{number}.png", "2457"[number])
    whole = predict("scans", "--format", "jsonl").stdout
    Path("out.jsonl.partial").write_text("".join(whole.splitlines(keepends=True)[:3]))
    done = predict("scans", "-o", "out.jsonl", "--resume")
    assert done.returncode == 0 and "2 pictures had results in out.jsonl under the same names" in done.stderr
    lines = Path("out.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == list("2457")
    again = predict("scans", "-o", "out.jsonl", "--resume")
    assert again.returncode == 0 and "4 pictures had results" in again.stderr
    put("more/9.png")
    others = predict("more", "-o", "out.jsonl", "--resume")
    assert others.returncode == 0 and "0 pictures had results" in others.stderr
    assert "holds 4 results of pictures that are not named now" in others.stderr
    shutil.rmtree("more")
    assert names_in() == ["out.jsonl", "scans"]


def test_a_run_with_other_options_is_not_mixed_with_earlier_results(predict: Run) -> None:
    put("scans/1.png"), put("scans/2.png")
    command = ("scans", "-o", "out.csv", "--resume")
    assert predict(*command, "--length", "1-3").returncode == 0
    other = predict(*command, "--length", "1", "--min-confidence", "0.9")
    assert other.returncode == 2 and "with --length 1-3, no --min-confidence, but" in other.stderr
    assert predict("scans", "-o", "out.csv", "--force").returncode == 0
    other = predict(*command, "--length", "1")
    assert other.returncode == 2 and "no --length, but this run has --length 1-1" in other.stderr
    Path(".out.csv.options").unlink()
    unknown = predict(*command, "--length", "1")
    assert unknown.returncode == 0 and "options with which they were read are not known" in unknown.stderr


def test_an_interrupted_run_with_csv_continues_where_it_stopped(predict: Run) -> None:
    for number in range(4):
        put(f"scans/={number},.png", "2457"[number])
    for per, other in (("page", "number"), ("number", "page")):
        assert predict("scans", "--per", per, "-o", "out.csv").returncode == 0
        whole = Path("out.csv").read_text()
        Path("out.csv").unlink()
        Path("out.csv.partial").write_text("".join(whole.splitlines(keepends=True)[:4]) + "cut off")
        done = predict("scans", "--per", per, "-o", "out.csv", "--resume")
        assert done.returncode == 0 and "2 pictures had results in out.csv" in done.stderr
        mixed = predict("scans", "--resume", "-o", "out.csv", "--per", other)
        assert mixed.returncode != 0 and "CSV with a row per" in mixed.stderr
        assert Path("out.csv").read_text() == whole
        Path("out.csv").unlink()


def test_a_resumed_run_says_why_its_last_picture_cannot_be_read(predict: Run) -> None:
    put("scans/1.png"), Path("scans/2.png").write_text("hello")
    assert predict("scans", "-o", "out.jsonl").returncode == 4
    done = predict("scans", "-o", "out.jsonl", "--resume")
    assert done.returncode == 4 and "'scans/2.png' is not a picture" in done.stderr


def test_a_run_that_names_the_default_limit_continues_one_that_does_not(predict: Run) -> None:
    put("scans/1.png")
    assert predict("scans", "-o", "out.jsonl").returncode == 0
    assert predict("scans", "-o", "out.jsonl", "--resume", "--max-error", "0.03").returncode == 0
    assert predict("scans", "-o", "out.jsonl", "--resume", "--max-error", "0.02").returncode == 2


def shown_rows(text: str) -> list[str]:
    """Return the rows of a table on a terminal, without colours, final blanks and the progress before it."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "")
    return [row.rstrip() for row in plain[plain.index("picture ") :].splitlines() if row.strip()]


def put_page(path: str, *rows: str) -> None:
    """A page with a number in each row."""
    papers = [written(row)[0] for row in rows]
    widest = max(paper.shape[1] for paper in papers)
    padded = [np.pad(p, ((20, 20), (0, widest - p.shape[1])), constant_values=255) for p in papers]
    Path(path).write_bytes(encoded(np.vstack(padded)))


def test_a_terminal_shows_a_row_a_page(on_terminal: Terminal) -> None:
    put("a.png"), put("b.png", "2457"), put_page("c.png", "57", "31")
    code, shown = on_terminal("predict", "a.png", "b.png", "c.png", "-m", "cnn", COLUMNS="100", LINES="30")
    rows = shown_rows(shown)
    assert code == 0 and rows[0].split() == ["picture", "reads", "sure"]
    assert [row.split()[0] for row in rows[1:4]] == ["a.png", "b.png", "c.png"]
    assert rows[4].startswith("3 pictures") and len(rows) == 5


def test_a_narrow_terminal_leaves_out_what_matters_least(monkeypatch: pytest.MonkeyPatch) -> None:
    number = number_of("12", 0, 0, "refused")
    page = Reading("scans/of/a/very/long/name/page-0001.png", 3, "refused", "low_confidence", "12", 0.5,
                   (number,), "reader", changed=True, rotation=90)  # fmt: skip
    shown = {}
    for width in range(40, 201):
        console = Console(width=width, force_terminal=True)
        monkeypatch.setattr("digitcli.console.out", console)
        (line,) = describe(page).plain.splitlines()
        assert len(line) <= width and "0001.png page 3"[-9:] in line and " 12? " in line, line
        assert "low confidence" in line and ("50.0 %" in line) == (width >= 60), line
        if "turned" in line:
            assert "changed" in line and "refused: " in line and "50.0 %" in line
        shown[width] = line
        failed = describe(dataclasses.replace(page, status="error", reason="not_an_image", text=None))
        assert "error " in failed.plain and "not an image" in failed.plain and len(failed) <= width
    assert "turned" in shown[200] and "turned" not in shown[100]
    monkeypatch.setattr("digitcli.console.out", Console(width=80))
    marked = dataclasses.replace(page, status="read", reason=None, numbers=(number_of("1.2", 0, 0),))
    assert "written 1.2" in describe(marked).plain and "written" not in shown[200]


def number_of(text: str, row: int, column: int, status: Literal["read", "refused"] = "read") -> Number:
    digits = tuple(Digit(digit, 0.9, (0, 0, 9, 9)) for digit in text if digit.isdecimal())
    return Number(digits, 0.9, raw=text, row=row, column=column, status=status)


def test_the_numbers_of_a_page_stand_in_their_rows_and_columns() -> None:
    numbers = [number_of("12", 0, 0), number_of("1.5", 1, 0), number_of("7", 1, 2, "refused")]
    grid = draw_grid([*numbers, number_of("8", 1, 2)], width=40, rows=10)
    assert [line.rstrip() for line in grid.plain.split("\n")] == ["  12", "  1.5    7? 8"]
    assert [str(span.style) for span in grid.spans if span.style] == ["yellow"]


def test_a_grid_never_exceeds_its_place() -> None:
    numbers = [number_of("123", row, column) for row in range(12) for column in range(9)]
    full = "  Of 12 rows and 9 columns, these fit. Write all with: --per number -o FILE.csv"
    for width, rows in ((20, 50), (100, 6), (20, 6), (1, 1)):
        *lines, note = draw_grid(numbers, width, rows).plain.split("\n")
        assert len(lines) <= max(0, rows - 1) and all(len(line) <= width for line in (*lines, note))
        assert note == (full if width >= len(full) else full[: width - 1] + "…")


def test_one_page_never_fills_more_than_the_screen(on_terminal: Terminal) -> None:
    put_page("page.png", "2457", "31", "908", "1234", "77", "5", "66", "4", "3", "2", "1", "90")
    for width, height in ((40, 12), (60, 40)):
        screen = {"COLUMNS": str(width), "LINES": str(height)}
        code, shown = on_terminal("predict", "page.png", "--max-error", "0.05", **screen)
        rows = sum(-(-len(row) // width) for row in shown_rows(shown))
        assert code == 0 and rows < height
    put("3.png", "3")
    code, shown = on_terminal("predict", "3.png", COLUMNS="60", LINES="24", NO_COLOR="1")
    rows_of_digit = shown_rows(shown)
    assert code == 0 and 6 <= len(rows_of_digit) <= 13 and rows_of_digit[-1].startswith("3 ")


def test_data_in_a_file_is_not_shown_on_the_terminal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something is shown on the terminal, standard output is data all the same."""
    picture, results = put(tmp_path / "3.png", "3"), tmp_path / "out.jsonl"
    with terminal(monkeypatch) as shown, results.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        arguments = ["predict", picture, "--format", "jsonl", "-m", "cnn"]
        assert run_in_process(monkeypatch, arguments, {"TERM": "xterm-256color"}) == 0
    assert json.loads(results.read_text())["text"] == "3"
    assert "schema" not in shown() and "Loading" in shown()
