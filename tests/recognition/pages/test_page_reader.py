"""A page that is hard to read is turned, if it is much easier to read then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digitcli.imaging.grayscale import rotate
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.decision import Decision
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.pages import page_reader as module
from digitcli.recognition.pages.crops import LineCrop, RegionCrops
from digitcli.recognition.pages.evidence import RegionEvidence
from digitcli.recognition.pages.page_reader import PageAnswer, PageEvidence, PageReader
from digitcli.recognition.pipeline import PipelineOptions, run_pipeline
from digitcli.recognition.results import Digit, Number
from tests.support.networks import ALPHABET, line_output, page_models, page_of_bars

BAR = (40, 40, 90, 40)
CROP = LineCrop(np.zeros((3, 40, 80), np.uint8), np.eye(2, 3), (80, 40))
NUMBER = LineEvidence.of(CROP, line_output({"7": 0.99}), ALPHABET, 1.0)


def networks() -> PageReader:
    """Return a reader of pages whose answers the tests replace."""
    reader = page_models().page_reader
    assert reader is not None
    return reader


@pytest.fixture
def marked() -> np.ndarray:
    """A page with a bar, and a dark corner that tells how it is turned."""
    page = page_of_bars(BAR, shape=(320, 400))
    page[:4, :4] = 0
    return page


def answers(
    monkeypatch: pytest.MonkeyPatch,
    upright: tuple[str, float],
    others: tuple[str, float],
    places: int | None = None,
    reason: str | None = None,
) -> None:
    """Let pages be read as one text if their dark corner is the upper left one, and as another elsewhere.

    Each digit is a number at a place; a page that lies otherwise may have more places. `reason` is that of a
    page without a text.
    """

    def decide(_: PageReader, page: np.ndarray, *__: object) -> PageAnswer:
        text, confidence = upright if page[0, 0] == 0 else others
        digits = [Digit(digit, confidence, (0, 0, 9, 9)) for digit in text]
        numbers = tuple(Number((digit,), confidence, raw=digit.digit) for digit in digits)
        decision = Decision(
            "read" if text else "refused", None if text else reason, text, confidence, numbers
        )
        is_upright = page[0, 0] == 0
        return PageAnswer(decision, len(text) if is_upright or places is None else places)

    monkeypatch.setattr(PageReader, "_decide", decide)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_page_is_turned_if_its_numbers_are_much_surer_then(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, degrees: int
) -> None:
    answers(monkeypatch, ("2468", 0.9), ("111", 0.6))
    decision = replace(networks(), finds_rotation=True).read(rotate(marked, -degrees % 360), None, 2)
    assert (decision.rotation, decision.text) == (degrees, "2468")
    assert networks().read(rotate(marked, -degrees % 360), None, 2).rotation == 0


@pytest.mark.parametrize(
    ("upright", "others"),
    [
        (("246", 0.9), ("111", 0.4)),  # too few digits
        (("2468", 0.5), ("111", 0.3)),  # not sure enough
        (("2468", 0.7), ("111", 0.6)),  # hardly surer
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
    decision = replace(networks(), finds_rotation=True).read(rotate(marked, 180), None, 2)
    assert (decision.rotation, decision.text) == (0, others[0])


@pytest.mark.parametrize(
    ("places", "reason", "rotation"),
    [
        (1, "blank", 180),
        (0, "blank", 0),
        (1, "not_a_digit", 0),  # letters, some of which look like digits when they are turned
    ],
)
def test_a_page_without_a_number_is_turned_if_places_for_one_were_found(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, places: int, reason: str, rotation: int
) -> None:
    answers(monkeypatch, ("2468", 0.9), ("", 0.9), places, reason)
    reader = replace(networks(), finds_rotation=True)
    assert reader.read(rotate(marked, 180), None, 2).rotation == rotation
    assert reader.read(rotate(marked, 180), None, 2, whole=NUMBER).rotation == 0


@pytest.mark.parametrize(("places", "rotation"), [(4, 180), (2, 0)])
def test_places_without_a_number_make_a_page_doubtful(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, places: int, rotation: int
) -> None:
    answers(monkeypatch, ("2468", 0.9), ("40", 0.8), places)
    decision = replace(networks(), finds_rotation=True).read(rotate(marked, 180), None, 2)
    assert decision.rotation == rotation


def test_a_small_picture_is_not_turned(monkeypatch: pytest.MonkeyPatch, marked: np.ndarray) -> None:
    answers(monkeypatch, ("2468", 0.9), ("111", 0.4))
    reader = replace(networks(), finds_rotation=True)
    assert reader.read(rotate(marked[:280], 180), None, 2).rotation == 0


def test_a_turned_page_is_kept_as_it_was_read(monkeypatch: pytest.MonkeyPatch, marked: np.ndarray) -> None:
    answers(monkeypatch, ("2468", 0.9), ("111", 0.4))
    options = PipelineOptions(8, 1, 0.5, 0.5, None, 2, keep_pictures=True)
    models = replace(page_models(), page_reader=replace(networks(), finds_rotation=True))
    (reading,) = run_pipeline([rotate(marked, 270)], models, options)
    assert reading.rotation == 90 and reading.picture is not None
    assert reading.picture.shape == marked.shape and reading.picture[0, 0] == 0


def test_pictures_are_rotated_clockwise() -> None:
    assert rotate(np.array([[1, 2], [3, 4]]), 90).tolist() == [[3, 1], [4, 2]]
    assert rotate(np.array([[1, 2], [3, 4]]), 270).tolist() == [[2, 4], [1, 3]]


def test_each_part_of_a_split_line_is_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    number = Number((Digit("4", 0.9, (0, 0, 9, 9)),), 0.9, raw="4")
    results = [NumberResult(number, 0.9), NumberResult(None, 0.8), NumberResult(None, 0.8)]
    monkeypatch.setattr(module, "recognize_region", lambda *_: results)
    region = RegionEvidence(RegionCrops(0, FoundLine(LineBox(5, 5, 9, 9, 0.0), 0.9, 0.1, 20), ()), ())
    monkeypatch.setattr(PageReader, "find_and_read", lambda *_: PageEvidence((region,), 0.0))
    answer = networks()._decide(np.zeros((9, 9), np.uint8), None, 2)
    assert (answer.places, answer.digits, answer.mean_confidence) == (3, 1, pytest.approx(0.3))
