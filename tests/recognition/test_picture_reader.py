"""The network that reads whole pictures answers the easy ones, and leaves the others to the pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from digitcli.errors import UsageError
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition import pipeline
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import CERTAIN, EASY, LIKELY, Decision
from digitcli.recognition.models import complete_models
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.picture_reader import PictureAnswer, PictureReader
from digitcli.recognition.pipeline import PipelineOptions, PreparedPage, recognize_and_decide
from digitcli.recognition.reader import Reader
from digitcli.recognition.results import DEFAULT_MODELS, Digit, Number
from digitcli.strip_format import OTHER
from tests.support.networks import FakeReader, page_models
from tests.support.pictures import drawn

PAPER = np.pad(np.full((40, 60), 20, np.uint8), ((20, 20), (30, 30)), constant_values=200)


def answer(text: str, likely: float = 0.999, length: int | None = None) -> Decision | None:
    """Read a page by a network that is this sure of each character of a text."""
    network = cast(LineRecognizer, FakeReader(text, name="picture_reader", likely=likely))
    constraints = None if length is None else parse_constraints(length=str(length))
    return PictureReader(network).read(PAPER, constraints, top_k=2).decision


def decision(text: str, confidence: float) -> Decision:
    """Return the answer that a page shows one number."""
    digits = tuple(Digit(digit, confidence, (0, 0, 9, 9)) for digit in text)
    return Decision("read", None, text, confidence, (Number(digits, confidence, raw=text),))


def test_one_number_is_the_answer_with_its_marks_and_boxes() -> None:
    read = answer("3.5")
    assert read is not None and read.is_certain
    (number,) = read.numbers
    assert (read.text, number.raw, len(number.digits)) == ("35", "3.5", 2)
    for x, y, width, height in (digit.box for digit in number.digits):
        assert 0 <= x < x + width <= 120 and 0 <= y < y + height <= 80


@pytest.mark.parametrize("text", ["", OTHER, f"7{OTHER}", "1 2", "3+4", "."])
def test_whatever_is_not_one_number_is_left_to_the_other_networks(text: str) -> None:
    assert answer(text) is None


@pytest.mark.parametrize(
    "likely, is_read, is_certain", [(0.99, True, True), (0.9, True, False), (0.4, False, False)]
)
def test_a_number_counts_if_it_is_likely_and_alone_if_it_is_certain(
    likely: float, is_read: bool, is_certain: bool
) -> None:
    read = answer("7", likely)
    assert (read is not None) == is_read
    assert (read is not None and read.is_certain) == is_certain


def test_a_number_that_breaks_a_constraint_is_left_to_the_other_networks() -> None:
    assert answer("72", length=2) is not None
    assert answer("72", length=3) is None


def test_other_numbers_meet_the_constraints_too() -> None:
    free, constrained = answer("72", likely=0.9), answer("72", likely=0.9, length=2)
    assert free is not None and [len(text) for text, _ in free.numbers[0].alternatives] == [1]
    assert constrained is not None and not constrained.numbers[0].alternatives


def test_a_very_long_picture_is_left_to_networks_that_bound_their_memory() -> None:
    network = cast(LineRecognizer, FakeReader("7", name="picture_reader"))
    long = PictureReader(network).read(np.tile(PAPER[:, 30:60], (1, 300)), None, 2)
    assert long == PictureAnswer()


@pytest.mark.parametrize("text, least, most", [("", 0.9, 1.0), (OTHER, 0.9, 1.0), ("7", 0.0, 0.01)])
def test_it_says_how_likely_no_digit_is_written(text: str, least: float, most: float) -> None:
    network = cast(LineRecognizer, FakeReader(text, name="picture_reader"))
    nothing = PictureReader(network).read(PAPER, None, 2).nothing
    assert nothing is not None and least <= nothing <= most


def test_faint_writing_is_read_where_it_is_clear(shipped: Reader) -> None:
    faint = (230 - 8 * (255 - drawn("7").astype(float)) / 255).round().astype(np.uint8)
    assert (shipped.read(faint).status, shipped.read(faint).text) == ("read", "7")
    assert shipped.read(np.full_like(faint, 230)).status == "blank"


OPTIONS = PipelineOptions(
    batch_size=8, jobs=1, min_confidence=0.5, page_min_confidence=0.5, constraints=None, top_k=2,
    keep_pictures=False,
)  # fmt: skip


@pytest.mark.parametrize(
    "first, by_ink, whole, expected",
    [
        (("7", CERTAIN), None, None, "7"),
        (("7", EASY), ("1", EASY), ("2", 0.8), "2"),  # a doubt: the networks for pages decide
        (("7", LIKELY), ("1", EASY), ("7", 0.8), "7"),
        (("7", LIKELY), ("7", EASY), ("1", 0.8), "7"),  # no doubt: they are not asked
        (("7", LIKELY), ("7", LIKELY), ("1", EASY), "7"),
        (("7", LIKELY), ("7", LIKELY - 0.1), ("1", 0.8), "1"),
        (None, ("1", EASY), ("2", 0.8), "1"),
        (("7", EASY), None, None, "7"),  # nothing else finds a number
        (("7", EASY - 0.1), None, None, "7"),  # a guess, which is refused
        (None, None, None, ""),
    ],
)
def test_the_networks_are_asked_where_those_before_disagree(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, float] | None,
    by_ink: tuple[str, float] | None,
    whole: tuple[str, float] | None,
    expected: str,
) -> None:
    blank = Decision("blank", "blank", "", 0.9)
    models = page_models()
    nothing = 0.3 if expected else 0.7
    assert models.page_reader is not None
    monkeypatch.setattr(type(models.page_reader), "read", lambda *_: decision(*whole) if whole else blank)
    monkeypatch.setattr(pipeline, "_decide_regions", lambda *_: decision(*by_ink) if by_ink else blank)
    monkeypatch.setattr(type(models), "read_regions", True)
    page = PreparedPage(
        "a.png", None, levels=PAPER, first=PictureAnswer(decision(*first) if first else None, nothing)
    )
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert reading.text == expected
    assert (reading.status == "read") == (bool(expected) and first != ("7", EASY - 0.1))
    stricter = replace(OPTIONS, min_confidence=0.999, page_min_confidence=0.999)
    (refused,) = recognize_and_decide([page], models, stricter)
    assert refused.text == expected and (refused.status == "refused") == bool(expected)


@pytest.mark.parametrize(
    "nothing, whole, text, status",
    [(0.2, "2", "1", "read"), (0.6, "2", "2", "read"), (0.6, "", "1", "refused")],
)
def test_a_number_of_which_it_sees_no_digit_is_read_again_and_doubted(
    monkeypatch: pytest.MonkeyPatch, nothing: float, whole: str, text: str, status: str
) -> None:
    blank = Decision("blank", "blank", "", 0.9)
    models = page_models()
    monkeypatch.setattr(PageReader, "read", lambda *_: decision(whole, 0.8) if whole else blank)
    monkeypatch.setattr(pipeline, "_decide_regions", lambda *_: decision("1", EASY))
    monkeypatch.setattr(type(models), "read_regions", True)
    page = PreparedPage("a.png", None, levels=PAPER, first=PictureAnswer(None, nothing))
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert (reading.text, reading.status) == (text, status)
    assert reading.confidence == {"read": 0.8 if text == "2" else EASY, "refused": 0.4}[status]


@pytest.mark.parametrize("has_page_reader", [False, True])
def test_it_answers_where_no_ink_is_a_number_and_pages_are_not_read(
    monkeypatch: pytest.MonkeyPatch, has_page_reader: bool
) -> None:
    def fill_the_memory(*_: object) -> None:
        raise MemoryError

    models = page_models() if has_page_reader else replace(page_models(), page_reader=None)
    monkeypatch.setattr(PageReader, "read", fill_the_memory)
    monkeypatch.setattr(pipeline, "_decide_regions", lambda *_: Decision("blank", "blank", "", 0.9))
    monkeypatch.setattr(type(models), "read_regions", True)
    page = PreparedPage("a.png", None, levels=PAPER, first=PictureAnswer(decision("7", EASY), 0.1))
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert reading.text == "7"


@pytest.mark.parametrize(
    "nothing, status, confidence", [(0.8, "blank", 0.8), (0.4, "refused", 0.4), (None, "blank", 0.9)]
)
def test_it_tells_how_sure_it_is_that_a_page_is_blank(
    monkeypatch: pytest.MonkeyPatch, nothing: float | None, status: str, confidence: float
) -> None:
    models = page_models()
    blank = Decision("blank", "blank", "", 0.9)
    monkeypatch.setattr(PageReader, "read", lambda *_: blank)
    page = PreparedPage("a.png", None, levels=PAPER, first=PictureAnswer(None, nothing))
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert (reading.status, reading.confidence, reading.text) == (status, confidence, "")


@pytest.fixture(scope="module")
def shipped() -> Reader:
    return Reader(device="cpu")


def test_easy_digits_are_read_without_looking_for_ink(
    shipped: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(*_: object) -> None:
        raise AssertionError("this picture is easy")

    monkeypatch.setattr(pipeline, "find_numbers", find_nothing)
    for text in "0123456789":
        assert shipped.read(drawn(text, 90)).text == text


def test_it_comes_first_only_where_no_reader_of_lines_is_named(shipped: Reader) -> None:
    assert [part.split("@")[0] for part in shipped.name.split("+")] == list(DEFAULT_MODELS)
    assert "picture_reader" not in Reader("reader", device="cpu").name


def test_it_comes_before_a_model_that_was_adapted_together_with_it() -> None:
    reader, first = resolve_models(["reader", "picture_reader"])
    for companions, expected in ((first.sha256,), True), (("of another",), False):
        header = replace(reader.header, risk_companions=companions)
        models = complete_models([replace(reader, header=header)])
        assert ("picture_reader" in [model.name for model in models]) == expected


@pytest.mark.parametrize(
    ("named", "message", "remedy"),
    [
        (["picture_reader"], "reads easy pictures only", "Add -m reader"),
        (["reader", "picture_reader", "picture_reader"], "picture_reader", ""),
    ],
)
def test_it_needs_others_and_is_named_once(named: list[str], message: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Reader(*named, device="cpu")
    assert remedy in caught.value.remedy
