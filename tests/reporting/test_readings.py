from __future__ import annotations

import json
from pathlib import Path

from digitcli.recognition.reading_formats import SavedReading
from digitcli.reporting import readings as module
from digitcli.reporting.page import Page, render
from digitcli.reporting.readings import page_of_readings
from digitcli.reporting.source import read_source
from tests.support.predictions import put

CHECK_THESE = "The least certain answers come first: check these."


def page_of(path: Path) -> Page:
    read = read_source(path)
    assert isinstance(read.content, tuple)
    saved = [each for each in read.content if isinstance(each, SavedReading)]
    return page_of_readings(saved, str(path), read.digest)


def test_the_least_certain_answer_comes_first(readings: Path) -> None:
    page = page_of(readings)
    assert [row.answer.text for row in page.values["rows"]] == ["71", "12", "", "5"]
    assert [row.crop is not None for row in page.values["rows"]] == [False, False, False, True]
    assert page.values["statuses"] == {"read": 1, "partial": 1, "blank": 1, "error": 1}
    html = render(page)
    for text in (
        CHECK_THESE,
        "All 4 answers are",
        "low confidence (1).",
        "or 77, 30.0",
        "nothing",
        "not an image",
        "25.0 %",
        "or, of an answer without digits, what stands below it",
        "95.0\N{NO-BREAK SPACE}%<br><small>that nothing is written</small>",
    ):
        assert text in html
    assert html.count("<br><small>that") == 1


def test_a_number_beside_others_has_a_row_and_a_column(readings: Path) -> None:
    record = json.loads(readings.read_text().splitlines()[0])
    number = record["numbers"][0]
    numbers = [number | {"row": 3, "column": 1}, number | {"row": 3, "column": 2}]
    several = readings.with_name("several.jsonl")
    several.write_text(
        "".join(json.dumps(record | {"numbers": each}) + "\n" for each in (numbers, numbers[:1]))
    )
    assert [row.place for row in page_of(several).values["rows"]] == [
        "row 3, column 1",
        "row 3, column 2",
        "",
    ]
    assert "<small>row 3, column 2</small>" in render(page_of(several))


def test_a_name_of_two_different_pictures_is_told(readings: Path) -> None:
    put("five.png", "7")  # another than the one beside the file
    html = render(page_of(readings))
    assert "have different pictures named five.png, so that none is shown" in html
    assert "found neither" not in html and "<img" not in html


def test_thousands_of_readings_make_a_small_file_that_states_its_limit(readings: Path) -> None:
    good = json.loads(readings.read_text().splitlines()[0])
    many = readings.with_name("many.jsonl")
    numbers = [good["numbers"][0] | {"confidence": index / 2000} for index in range(2000)]
    lines = [json.dumps(good | {"numbers": [number]}) for number in reversed(numbers)]
    failed = [json.dumps(good | {"status": "error", "numbers": []})] * 600
    many.write_text("\n".join(lines + failed))
    page = page_of(many)
    rows = page.values["rows"]
    assert [row.number.confidence for row in rows[:2]] == [0, 1 / 2000]
    assert (len(rows), page.values["crops"]) == (module.MAX_ROWS, module.MAX_CROPS)
    html = render(page)
    assert len(html) < 1_500_000
    assert "The 500 least certain of 2,000 answers are shown" in html and "Only the first 200 get" in html
    assert "The first 500 of 600 pages" in html


def test_failures_alone_make_a_page(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"file": "a.png", "status": "error", "reason": null}')
    html = render(page_of(tmp_path / "f.jsonl"))
    assert "Not readable" in html and "not known" in html and CHECK_THESE not in html
