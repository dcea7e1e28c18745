"""One easy digit is read at first sight; other pages are read line by line, turned if that is much easier."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from digitcli.imaging.grayscale import rotate
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import Decision
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.pipeline import PipelineOptions, run_pipeline
from digitcli.recognition.results import Digit, Number
from tests.support.networks import FakeReader, page_of_bars, page_reader

BAR = (40, 40, 90, 40)


def reader_of(picture: FakeReader, *lines: FakeReader) -> PageReader:
    """Return a reader of pages with a network that answers a whole picture."""
    return replace(page_reader(*lines), picture_models=(cast(LineRecognizer, picture),))


def read(reader: PageReader, page: np.ndarray, **constraints: str | bool) -> Decision:
    return reader.read(page, parse_constraints(**constraints), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sight", "likely", "text"),
    [("7", 0.99, "7"), ("7", 0.85, "5"), ("77", 0.99, "5"), ("7□", 0.99, "5"), ("", 0.99, "5")],
)
def test_a_certain_single_digit_is_read_at_first_sight(sight: str, likely: float, text: str) -> None:
    lines = FakeReader("5")
    decision = read(reader_of(FakeReader(sight, likely=likely), lines), page_of_bars(BAR))
    assert (decision.text, decision.status) == (text, "read")
    assert bool(lines.calls) == (text == "5")


def test_a_likely_digit_counts_where_no_number_is_found() -> None:
    page = page_of_bars(shape=(120, 120))
    assert read(reader_of(FakeReader("7", likely=0.6), FakeReader("5")), page).text == "7"
    assert read(reader_of(FakeReader("7", likely=0.4), FakeReader("5")), page).status == "blank"


@pytest.mark.parametrize(("sight", "lines", "text"), [(0.85, 0.7, "7"), (0.7, 0.85, "5 6")])
def test_of_a_digit_and_several_numbers_the_surer_counts(sight: float, lines: float, text: str) -> None:
    page = page_of_bars((20, 40, 40, 40), (120, 40, 40, 40))
    reader = reader_of(FakeReader("7", likely=sight), FakeReader("5", "6", likely=lines))
    assert read(reader, page).text == text


def test_a_digit_that_breaks_the_constraints_is_not_read_at_first_sight() -> None:
    reader = reader_of(FakeReader("7"), FakeReader("12"))
    assert read(reader, page_of_bars(BAR), length="2").text == "12"
    assert read(reader, page_of_bars(BAR), single_digit=True).text == "7"


def test_constraints_make_no_digit_easy() -> None:
    reader = reader_of(FakeReader("7", likely=0.6), FakeReader("5"))
    assert read(reader, page_of_bars(BAR), single_digit=True).text == "5"


def test_a_picture_too_wide_for_a_strip_is_read_line_by_line() -> None:
    picture = FakeReader("7")
    decision = read(reader_of(picture, FakeReader("12")), page_of_bars(BAR, shape=(100, 12_000)))
    assert decision.text == "12" and not sum(picture.calls)


def test_several_pictures_are_seen_together() -> None:
    picture = FakeReader("7", "8", "9")
    options = PipelineOptions("fake", 8, 1, None, 2, keep_pictures=False)
    reader = reader_of(picture, FakeReader("1"))
    readings = list(run_pipeline([page_of_bars(BAR)] * 3, reader, options))
    assert [reading.text for reading in readings] == ["7", "8", "9"]
    assert picture.calls == [3]


@pytest.fixture
def marked() -> np.ndarray:
    """A page with a bar, and a dark corner that tells how it is turned."""
    page = page_of_bars(BAR, shape=(120, 200))
    page[:4, :4] = 0
    return page


def answers(monkeypatch: pytest.MonkeyPatch, upright: tuple[str, float], others: tuple[str, float]) -> None:
    """Let pages be read as one text if their dark corner is the upper left one, and as another elsewhere."""

    def read_lines(self: PageReader, page: np.ndarray, *_: object) -> Decision:
        text, confidence = upright if page[0, 0] == 0 else others
        digits = tuple(Digit(digit, confidence, (0, 0, 9, 9)) for digit in text)
        number = Number(digits, confidence, raw=text)
        return Decision("read", None, text, confidence, (number,) if text else ())

    monkeypatch.setattr(PageReader, "read_lines", read_lines)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_page_is_turned_if_its_numbers_are_much_surer_then(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, degrees: int
) -> None:
    answers(monkeypatch, ("2468", 0.9), ("11", 0.6))
    decision = replace(page_reader(), finds_rotation=True).read(rotate(marked, -degrees % 360), None, 2)
    assert (decision.rotation, decision.text) == (degrees, "2468")
    assert page_reader().read(rotate(marked, -degrees % 360), None, 2).rotation == 0


@pytest.mark.parametrize(
    ("upright", "others"),
    [
        (("246", 0.9), ("11", 0.4)),  # too few digits
        (("2468", 0.5), ("11", 0.3)),  # not sure enough
        (("2468", 0.7), ("11", 0.6)),  # hardly surer
        (("2468", 0.9), ("13579", 0.5)),  # less is read
        (("2468", 0.99), ("1357", 0.8)),  # easy as it is
    ],
)
def test_a_page_stays_as_it_is_if_that_is_not_much_harder(
    monkeypatch: pytest.MonkeyPatch,
    marked: np.ndarray,
    upright: tuple[str, float],
    others: tuple[str, float],
) -> None:
    answers(monkeypatch, upright, others)
    decision = replace(page_reader(), finds_rotation=True).read(rotate(marked, 180), None, 2)
    assert (decision.rotation, decision.text) == (0, others[0])


def test_a_turned_page_is_kept_as_it_was_read(monkeypatch: pytest.MonkeyPatch, marked: np.ndarray) -> None:
    answers(monkeypatch, ("2468", 0.9), ("11", 0.4))
    options = PipelineOptions("fake", 8, 1, None, 2, keep_pictures=True)
    reader = replace(page_reader(), finds_rotation=True)
    (reading,) = run_pipeline([rotate(marked, 270)], reader, options)
    assert reading.rotation == 90 and reading.picture is not None
    assert reading.picture.shape == marked.shape and reading.picture[0, 0] == 0


def test_pictures_are_rotated_clockwise() -> None:
    assert rotate(np.array([[1, 2], [3, 4]]), 90).tolist() == [[3, 1], [4, 2]]
    assert rotate(np.array([[1, 2], [3, 4]]), 270).tolist() == [[2, 4], [1, 3]]
