"""A small network answers easy pictures; the others find the lines of a page and read them."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from digitcli.imaging.grayscale import rotate
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition import page_networks as module
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import CERTAIN, LIKELY, Decision, NumberResult
from digitcli.recognition.line_crops import LineCrop, RegionCrops
from digitcli.recognition.line_evidence import LineEvidence
from digitcli.recognition.models import complete_models
from digitcli.recognition.page_networks import (
    NOTHING_FEATURES,
    Glance,
    PageAnswer,
    PageEvidence,
    PageNetworks,
    PictureNetwork,
)
from digitcli.recognition.pipeline import OpenedPage, PipelineOptions, read_pages, run_pipeline
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import DEFAULT_MODELS, Digit, Number, Reading
from digitcli.recognition.region_evidence import RegionEvidence
from digitcli.strip_format import OTHER
from tests.support.networks import ALPHABET, FakeReader, line_output, page_models, page_of_bars
from tests.support.pictures import drawn

PAPER = np.pad(np.full((40, 60), 20, np.uint8), ((20, 20), (30, 30)), constant_values=200)

BAR = (40, 40, 90, 40)
CROP = LineCrop(np.zeros((3, 40, 80), np.uint8), np.eye(2, 3), (80, 40))
NUMBER = LineEvidence.of(CROP, line_output({"7": 0.99}), ALPHABET, 1.0)


def glance_of(text: str | FakeReader, likely: float = 0.999, length: int | None = None) -> Glance:
    """Read a page by a network that is this sure of each character of a text."""
    network = FakeReader(text, name="picture_reader", likely=likely) if isinstance(text, str) else text
    constraints = None if length is None else parse_constraints(length=str(length))
    return PictureNetwork(cast(LineRecognizer, network)).read(PAPER, constraints, top_k=2)


def answer(text: str, likely: float = 0.999, length: int | None = None) -> Decision | None:
    return glance_of(text, likely, length).decision


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


def test_whatever_is_not_one_likely_number_is_left_to_the_other_networks() -> None:
    for text in ("", OTHER, f"7{OTHER}", "1 2", "3+4", "."):
        assert answer(text) is None
    network = FakeReader(name="picture_reader")
    network._outputs = [line_output({"1": 1.0}, {OTHER: 0.4}, {OTHER: 0.4}, {"2": 1.0})]
    for of_two in (glance_of(network), glance_of("1 2"), glance_of("")):
        assert of_two.decision is None and of_two.line is None
    for likely, is_read, is_certain in ((0.99, True, True), (0.9, True, False), (0.4, False, False)):
        read = answer("7", likely)
        assert (read is not None) == is_read
        assert (read is not None and read.is_certain) == is_certain
    assert glance_of("7", 0.9).line is not None and glance_of("3.5", 0.9).line is not None
    long = PictureNetwork(cast(LineRecognizer, network)).read(np.tile(PAPER[:, 30:60], (1, 300)), None, 2)
    assert long == Glance()  # others bound their memory
    for text, least, most in (("", 0.9, 1.0), (OTHER, 0.9, 1.0), ("7", 0.0, 0.01)):
        nothing = glance_of(text).nothing
        assert nothing is not None and least <= nothing <= most


def test_numbers_meet_the_constraints_or_are_left_to_the_other_networks() -> None:
    assert answer("72", length=2) is not None and answer("72", length=3) is None
    free, constrained = answer("72", likely=0.9), answer("72", likely=0.9, length=2)
    assert free is not None and [len(text) for text, _ in free.numbers[0].alternatives] == [1]
    assert constrained is not None and not constrained.numbers[0].alternatives


def test_faint_writing_is_read_where_it_is_clear(default_reader: Reader) -> None:
    faint = (230 - 8 * (255 - drawn("7").astype(float)) / 255).round().astype(np.uint8)
    reading = default_reader.read(faint)
    assert (reading.status, reading.text) == ("read", "7")


OPTIONS = PipelineOptions(
    batch_size=8, jobs=1, min_confidence=0.5, page_min_confidence=0.5, constraints=None, top_k=2,
    keep_pictures=False,
)  # fmt: skip


def read_with(
    monkeypatch: pytest.MonkeyPatch, first: Glance, page: Decision | None, min_confidence: float = 0.5
) -> Reading:
    """Read a page of which the network for pictures says this, and those that find and read numbers that."""
    network = cast(LineRecognizer, FakeReader("", name="picture_reader"))
    models = replace(page_models(), picture_network=PictureNetwork(network))
    monkeypatch.setattr(PageNetworks, "read", lambda *_: page or Decision("blank", "blank", "", 0.9))
    levels = None if first.is_certain else PAPER
    options = replace(OPTIONS, min_confidence=min_confidence, page_min_confidence=min_confidence)
    prepared = OpenedPage("a.png", None, levels=levels, glance=first)
    (reading,) = read_pages([prepared], models, options)
    return reading


def test_the_other_networks_count_where_it_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    first: tuple[str, float] | None
    for first, page, expected in (
        (("7", CERTAIN), ["2"], "7"),
        (("7", 0.9), ["2"], "2"),
        (None, ["2"], "2"),
        (("7", 0.9), [], "7"),  # nothing else finds a number
        (None, [], ""),
    ):
        nothing = 0.1 if expected else 0.7
        answers = Glance(decision(*first) if first else None, nothing), several(*page) if page else None
        reading = read_with(monkeypatch, *answers)
        assert (reading.text, reading.status) == (expected, "read" if expected else "blank")
        refused = read_with(monkeypatch, *answers, min_confidence=0.999)
        assert refused.text == expected and (refused.status == "refused") == bool(expected)
        assert refused.confidence == reading.confidence


def several(*texts: str) -> Decision:
    """Return the answer that a page shows these numbers, each with a confidence of 0.8."""
    numbers = tuple(decision(text, 0.8).numbers[0] for text in texts)
    return Decision("read", None, " ".join(texts), 0.8 ** len(texts), numbers)


def test_a_number_that_nothing_else_finds_is_as_sure_as_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = read_with(monkeypatch, Glance(decision("7", 0.9), 0.3), None)
    assert (reading.status, reading.text) == ("read", "7") and reading.confidence == pytest.approx(0.63)
    reading = read_with(monkeypatch, Glance(decision("7", 0.6), 0.3), None)
    assert (reading.status, reading.reason) == ("refused", "low_confidence")


def test_a_doubted_number_has_alternatives_that_are_less_likely() -> None:
    sure = decision("12", 0.8)
    (number,) = sure.numbers
    digits = tuple(replace(digit, alternatives=(("3", 0.1),)) for digit in number.digits)
    two = replace(
        sure, numbers=2 * (replace(number, digits=digits, alternatives=(("1", 0.1),)),), confidence=0.64
    )
    doubted = two.at_most(0.4)
    for number in doubted.numbers:
        assert number.confidence == pytest.approx(0.4)
        assert number.alternatives[0][1] == pytest.approx(0.05)
        assert number.digits[0].confidence == pytest.approx(0.4)
        assert number.digits[0].alternatives[0][1] == pytest.approx(0.05)
    assert doubted.confidence == pytest.approx(0.4)
    assert two.at_most(0.9) == two


def test_it_tells_how_sure_it_is_that_a_page_is_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    for nothing, answer in (
        (0.8, ("blank", "blank", 0.8)),
        (0.4, ("refused", "low_confidence", 0.4)),
        (None, ("blank", "blank", 0.9)),
    ):
        reading = read_with(monkeypatch, Glance(None, nothing), None)
        assert (reading.status, reading.reason, reading.confidence, reading.text) == (*answer, "")


def test_paper_of_one_shade_is_blank(default_reader: Reader) -> None:
    for shape in ((1, 1), (100, 100), (300, 300), (1000, 800), (40, 900), (3000, 60)):
        for level in (0, 128, 230, 255):
            reading = default_reader.read(np.full(shape, level, np.uint8))
            assert reading.status == "blank" and (reading.confidence or 0.0) > LIKELY, (shape, level)


def test_the_shipped_weights_tell_whether_a_number_was_missed(default_reader: Reader) -> None:
    picture_reader = default_reader.models.picture_network
    assert picture_reader is not None and set(picture_reader.presence) == set(NOTHING_FEATURES)
    seen = [picture_reader.probability_of_number(nothing) for nothing in (0.01, 0.5, 0.99)]
    assert seen == sorted(seen, reverse=True)  # a number is the less likely


def test_easy_digits_are_read_by_no_other_network(
    default_reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_nothing(*_: object) -> None:
        raise AssertionError("this picture is easy")

    monkeypatch.setattr(PageNetworks, "read", read_nothing)
    for text in "0123456789":
        assert default_reader.read(drawn(text, 90)).text == text


def test_a_column_of_numbers_is_not_read_as_a_1(default_reader: Reader) -> None:
    for height_px in (40, 44, 50):
        column = Image.new("L", (400, 600), 255)
        for place, text in enumerate("6374766299"):
            font = ImageFont.load_default(height_px)
            ImageDraw.Draw(column).text((120, 40 + 50 * place), text, fill=0, font=font)
        assert default_reader.read(column).text == "6 3 7 4 7 6 6 2 9 9"


def test_it_comes_first_only_where_no_reader_of_lines_is_named(default_reader: Reader) -> None:
    assert {part.split("@")[0] for part in default_reader.name.split("+")} == set(DEFAULT_MODELS)
    assert "picture_reader" not in Reader("reader", device="cpu").name


def test_it_comes_before_a_model_that_was_adapted_together_with_it() -> None:
    reader, first = resolve_models(["reader", "picture_reader"])
    for companions, expected in ((first.sha256,), True), (("of another",), False):
        header = replace(reader.header, risk_companions=companions)
        models = complete_models([replace(reader, header=header)])
        assert ("picture_reader" in [model.name for model in models]) == expected


def networks() -> PageNetworks:
    """Return a reader of pages whose answers the tests replace."""
    reader = page_models().page_networks
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

    def decide(_: PageNetworks, page: np.ndarray, *__: object) -> PageAnswer:
        text, confidence = upright if page[0, 0] == 0 else others
        digits = [Digit(digit, confidence, (0, 0, 9, 9)) for digit in text]
        numbers = tuple(Number((digit,), confidence, raw=digit.digit) for digit in digits)
        decision = Decision(
            "read" if text else "refused", None if text else reason, text, confidence, numbers
        )
        is_upright = page[0, 0] == 0
        return PageAnswer(decision, len(text) if is_upright or places is None else places)

    monkeypatch.setattr(PageNetworks, "_decide", decide)


@pytest.fixture
def turning() -> PageNetworks:
    """Networks that look for the rotation of a page; the tests replace their answers."""
    return replace(networks(), finds_rotation=True)


def test_a_page_is_turned_if_its_numbers_are_much_surer_then(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, turning: PageNetworks
) -> None:
    answers(monkeypatch, ("2468", 0.9), ("111", 0.6))
    for degrees in (0, 90, 180, 270):
        page = rotate(marked, -degrees % 360)
        decision = turning.read(page, None, 2)
        assert (decision.rotation, decision.text) == (degrees, "2468")
        assert networks().read(page, None, 2).rotation == 0
    assert turning.read(rotate(marked[:280], 180), None, 2).rotation == 0  # it is small
    assert rotate(np.array([[1, 2], [3, 4]]), 90).tolist() == [[3, 1], [4, 2]]  # clockwise


def test_a_page_stays_as_it_is_if_that_is_not_much_harder(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, turning: PageNetworks
) -> None:
    for upright, others in (
        (("246", 0.9), ("111", 0.4)),  # too few digits
        (("2468", 0.5), ("111", 0.3)),  # not sure enough
        (("2468", 0.7), ("111", 0.6)),  # hardly surer
        (("2468", 0.9), ("13579", 0.5)),  # less is read
        (("2468", 0.99), ("1357", 0.8)),  # easy as it is
    ):
        answers(monkeypatch, upright, others)
        decision = turning.read(rotate(marked, 180), None, 2)
        assert (decision.rotation, decision.text) == (0, others[0])


def test_places_without_a_number_make_a_page_doubtful_unless_letters_stand_there(
    monkeypatch: pytest.MonkeyPatch, marked: np.ndarray, turning: PageNetworks
) -> None:
    page = rotate(marked, 180)
    # letters, some of which look like digits when they are turned, are not_a_digit
    for places, reason, rotation in ((1, "blank", 180), (0, "blank", 0), (1, "not_a_digit", 0)):
        answers(monkeypatch, ("2468", 0.9), ("", 0.9), places, reason)
        assert turning.read(page, None, 2).rotation == rotation
        assert turning.read(page, None, 2, whole=NUMBER).rotation == 0
    for places, rotation in ((4, 180), (2, 0)):
        answers(monkeypatch, ("2468", 0.9), ("40", 0.8), places)
        assert turning.read(page, None, 2).rotation == rotation


def test_a_turned_page_is_kept_as_it_was_read(monkeypatch: pytest.MonkeyPatch, marked: np.ndarray) -> None:
    answers(monkeypatch, ("2468", 0.9), ("111", 0.4))
    options = PipelineOptions(8, 1, 0.5, 0.5, None, 2, keep_pictures=True)
    models = replace(page_models(), page_networks=replace(networks(), finds_rotation=True))
    (reading,) = run_pipeline([rotate(marked, 270)], models, options)
    assert reading.rotation == 90 and reading.picture is not None
    assert reading.picture.shape == marked.shape and reading.picture[0, 0] == 0


def test_each_part_of_a_split_line_is_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    number = Number((Digit("4", 0.9, (0, 0, 9, 9)),), 0.9, raw="4")
    results = [NumberResult(number, 0.9), NumberResult(None, 0.8), NumberResult(None, 0.8)]
    monkeypatch.setattr(module, "recognize_region", lambda *_: results)
    region = RegionEvidence(RegionCrops(0, FoundLine(LineBox(5, 5, 9, 9, 0.0), 0.9, 0.1, 20), ()), ())
    monkeypatch.setattr(PageNetworks, "find_and_read", lambda *_: PageEvidence((region,), 0.0))
    answer = networks()._decide(np.zeros((9, 9), np.uint8), None, 2)
    assert (answer.places, answer.digits, answer.mean_confidence) == (3, 1, pytest.approx(0.3))
