"""A small network answers easy pages; the others find the lines of a page and read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from digitcli.imaging.grayscale import rotate
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition import pages
from digitcli.recognition.confidence import log_odds
from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import BLANK, NOT_A_DIGIT, decide_numbers
from digitcli.recognition.line_reading import Answer, whole_picture
from digitcli.recognition.models import complete_models
from digitcli.recognition.pages import (
    CERTAIN,
    Found,
    Glance,
    answer_instead,
    find_numbers_on,
    look,
    read_found,
    read_page,
)
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import DEFAULT_MODELS, LIKELY, Detection, Nothing, Reading
from digitcli.strip_format import OTHER
from tests.support.networks import FakeReader, line_output, page_networks, page_of_bars
from tests.support.pictures import drawn
from tests.support.readings import number_of

PAPER = np.pad(np.full((40, 60), 20, np.uint8), ((20, 20), (30, 30)), constant_values=200)
FOUND, PASSED_OVER = (Detection(((0, 0), (9, 0), (9, 9), (0, 9)), 0.9, has) for has in (True, False))


def glance_of(
    text: str | FakeReader,
    likely: float = 0.999,
    constraints: Constraints | None = None,
    page: np.ndarray = PAPER,
) -> Glance:
    """Look at a page by a network that is this sure of each character of a text."""
    network = FakeReader(text, name="glance", likely=likely) if isinstance(text, str) else text
    return look(page, page_networks(picture=network), constraints, 2)


def reading_of(*texts: str, confidence: float = 0.8) -> Reading:
    """Return the answer that a page shows these numbers, or that it is blank."""
    numbers = [number_of(text, confidence) for text in texts]
    return replace(decide_numbers(numbers, None), detections=(FOUND,) * len(texts)) if texts else BLANK


def test_one_number_is_the_answer_with_its_marks_and_boxes() -> None:
    reading = glance_of("3.5").reading
    assert reading is not None and (reading.confidence or 0.0) >= CERTAIN
    (number,) = reading.numbers
    assert (reading.text, number.raw, len(number.digits)) == ("35", "3.5", 2)
    for x, y, width, height in (digit.box for digit in number.digits):
        assert 0 <= x < x + width <= 120 and 0 <= y < y + height <= 80


def test_whatever_is_not_one_likely_number_is_left_to_the_other_networks() -> None:
    in_doubt = FakeReader(name="glance")
    in_doubt._outputs = [line_output({"1": 1.0}, {OTHER: 0.4}, {OTHER: 0.4}, {"2": 1.0})]
    of_2, of_3 = parse_constraints(length="2"), parse_constraints(length="3")
    for text, likely, constraints, is_read, has_answer in (
        ("7", 0.9, None, True, True),
        ("72", 0.9, of_2, True, True),
        ("72", 0.9, of_3, False, True),
        ("7", 0.55, None, True, True),
        ("7", 0.4, None, False, False),
        ("3.5", 0.6, None, False, True),
        *(
            (each, 0.999, None, False, False)
            for each in ("", OTHER, f"7{OTHER}", "1 2", "3+4", ".", in_doubt)
        ),
    ):
        glance = glance_of(text, likely, constraints)
        assert (glance.reading is not None, glance.answer is not None) == (is_read, has_answer), text
    for text, least, most in (("", 0.9, 1.0), (OTHER, 0.9, 1.0), ("7", 0.0, 0.01)):
        nothing = glance_of(text).nothing
        assert nothing is not None and least <= nothing <= most
    assert glance_of("7", page=np.tile(PAPER[:, 30:60], (1, 300))) == Glance()  # others bound their memory
    assert look(PAPER, page_networks(), None, 2) == Glance()
    in_doubt._outputs = [line_output({"1": 1.0}, {" ": 0.3}, {"2": 1.0})]  # a space may separate two
    of_one = glance_of(in_doubt).reading
    assert of_one is not None and of_one.confidence == pytest.approx(0.7, abs=0.001)
    free, limited = glance_of("72", 0.9).reading, glance_of("72", 0.9, of_2).reading
    assert free is not None and [len(text) for text, _ in free.numbers[0].alternatives] == [1]
    assert limited is not None and not limited.numbers[0].alternatives


def test_the_other_networks_count_where_it_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only it finds is as sure as a number is there; else it tells how sure it is that none is."""
    seen, doubtful = (reading_of("7", confidence=confidence) for confidence in (CERTAIN, 0.9))
    for first, nothing, found, status, text, confidence in (
        (seen, 0.1, reading_of("2"), "read", "7", CERTAIN),
        (doubtful, 0.1, reading_of("2"), "read", "2", 0.8),
        (None, 0.1, reading_of("2"), "read", "2", 0.8),
        (doubtful, 0.3, BLANK, "read", "7", 0.7 * 0.9),
        (doubtful, 0.3, NOT_A_DIGIT, "read", "7", 0.7 * 0.9),
        (None, 0.8, BLANK, "blank", "", 0.8),
        (None, 0.8, NOT_A_DIGIT, "refused", "", 0.8),
        (None, 0.4, BLANK, "refused", "", 0.4),
        (None, None, BLANK, "blank", "", 0.9),
    ):
        glance, found = Glance(first, nothing), replace(found, detections=found.detections or (PASSED_OVER,))
        monkeypatch.setattr(pages, "look", lambda *_, glance=glance: glance)
        monkeypatch.setattr(pages, "read_found", lambda *_, found=found: Found(found, 2))
        reading = read_page(PAPER, page_networks(), None, 2, finds_rotation=False)
        assert (reading.status, reading.text) == (status, text)
        assert reading.confidence == pytest.approx(confidence)
        assert reading.detections == (seen if first is seen else found).detections


def test_its_answer_counts_for_the_only_number_of_a_page_and_for_no_other() -> None:
    bars = (40, 40, 90, 40), (250, 40, 90, 40)
    for count, alternatives in ((1, ["2"]), (2, [])):
        picture = FakeReader("2", name="glance", likely=0.6)
        networks = page_networks(FakeReader("7", likely=0.6), picture=picture)
        page = page_of_bars(*bars[:count], shape=(120, 400))
        reading = read_page(page, networks, None, 2, finds_rotation=False)
        assert [number.text for number in reading.numbers] == ["7"] * count
        assert [text for number in reading.numbers for text, _ in number.alternatives] == alternatives


def test_a_fraction_is_refused_but_not_on_a_rotated_page_or_where_numbers_have_one_digit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "shows_fraction", lambda *_: True)
    for rotation, length, text in ((0, None, ""), (90, None, "3 4"), (0, "1", "3 4"), (0, "1-2", "")):
        found = replace(reading_of("3", "4"), rotation=rotation)
        monkeypatch.setattr(pages, "read_found", lambda *_, found=found: Found(found, 2))
        reading = read_page(PAPER, page_networks(), parse_constraints(length), 2, finds_rotation=False)
        assert (reading.text, reading.reason) == (text, None if text else "not_a_digit")
        assert [each.has_number for each in reading.detections] == [bool(text)] * 2


def test_a_page_has_the_lines_that_were_detected_also_those_that_were_passed_over() -> None:
    bars = (100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60)
    page = page_of_bars(*bars, shape=(500, 800))
    reading = read_page(page, page_networks(FakeReader("1", "", "4")), None, 2, finds_rotation=True)
    assert [(number.text, number.row) for number in reading.numbers] == [("1", 0), ("4", 1)]
    assert [each.has_number for each in reading.detections] == [True, False, True]
    for (x, y, width, height), each in zip(bars, reading.detections, strict=True):
        assert np.mean(each.corners, axis=0) == pytest.approx([x + width / 2, y + height / 2], abs=6)
        assert 0 < each.score <= 1


def test_what_the_finder_says_of_the_other_numbers_counts() -> None:
    bars = (100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60)
    for count in (1, 2, 3):
        page = page_of_bars(*bars[:count], shape=(500, 800))
        numbers, _ = find_numbers_on(page, page_networks(FakeReader("1", "2", "4")), None)
        scores = [log_odds(number.found.score) for number in numbers]
        others = [np.mean(scores[:place] + scores[place + 1 :]) if count > 1 else 0 for place in range(count)]
        assert [number.beside for number in numbers] == pytest.approx(others)


def test_each_part_of_a_line_is_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = iter([number_of("4", 0.9), Nothing(0.8), Nothing(0.8)])
    monkeypatch.setattr(pages, "recognize", lambda *_: next(parts))
    page = page_of_bars((100, 100, 200, 60), shape=(500, 800))
    found = read_found(page, page_networks(FakeReader("4+5+6")), None, 2)
    assert (found.reading.text, found.places, found.mean_confidence) == ("4", 3, pytest.approx(0.3))
    assert [each.has_number for each in found.reading.detections] == [True]


def rotation_of(
    monkeypatch: pytest.MonkeyPatch,
    degrees: int,
    upright: tuple[str, float],
    others: tuple[str, float],
    more_places: int = 0,
    reason: str | None = None,
    answer: Answer | None = None,
    shape: tuple[int, int] = (320, 400),
) -> tuple[int, str]:
    """Return how a page is rotated, and its digits, if networks read it so upright and so otherwise.

    A dark corner, the upper left one of an upright page, tells how it lies. Each digit is a number; a page
    that lies otherwise has further places, and without a text this reason.
    """
    page = page_of_bars(shape=shape)
    page[:4, :4] = 0

    def read(page: np.ndarray, *_: object) -> Found:
        is_upright = page[0, 0] == 0
        text, confidence = upright if is_upright else others
        reading = reading_of(*text, confidence=confidence)
        if not text and reason:
            reading = replace(reading, reason=reason)
        return Found(reading, len(text) + (0 if is_upright else more_places))

    monkeypatch.setattr(pages, "read_found", read)
    monkeypatch.setattr(pages, "look", lambda *_: Glance(None, None, answer))
    lying = rotate(page, -degrees % 360)
    assert read_page(lying, page_networks(), None, 2, finds_rotation=False).rotation == 0
    reading = read_page(lying, page_networks(), None, 2, finds_rotation=True)
    return reading.rotation, "".join(digit.digit for digit in reading.digits)


def test_a_page_is_rotated_if_its_numbers_are_much_surer_then(monkeypatch: pytest.MonkeyPatch) -> None:
    sure = ("2468", 0.9)
    for degrees in (0, 90, 180, 270):
        assert rotation_of(monkeypatch, degrees, sure, ("111", 0.6)) == (degrees, "2468")
    for upright, others in (
        (("246", 0.9), ("111", 0.4)),  # too few digits
        (("2468", 0.5), ("111", 0.3)),  # not sure enough
        (("2468", 0.7), ("111", 0.6)),  # hardly surer
        (sure, ("13579", 0.5)),  # less is read
        (("2468", 0.99), ("1357", 0.8)),  # easy as it is
    ):
        assert rotation_of(monkeypatch, 180, upright, others) == (0, others[0])
    assert rotation_of(monkeypatch, 180, sure, ("111", 0.6), shape=(280, 400))[0] == 0  # it is small
    assert rotate(np.array([[1, 2], [3, 4]]), 90).tolist() == [[3, 1], [4, 2]]  # clockwise


def test_places_without_a_number_make_a_page_doubtful_unless_letters_stand_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (whole,) = whole_picture(PAPER, FakeReader("7", name="glance")).answers  # type: ignore[arg-type]
    for text, more_places, reason, answer, degrees in (
        ("", 1, None, None, 180),
        ("", 0, None, None, 0),
        ("", 1, "not_a_digit", None, 0),  # some letters look like digits when they are rotated
        ("", 1, None, whole, 0),  # one number is seen, so that the page is upright
        ("40", 2, None, None, 180),
        ("40", 0, None, None, 0),  # few places
    ):
        case = (("2468", 0.9), (text, 0.6), more_places, reason, answer)
        assert rotation_of(monkeypatch, 180, *case)[0] == degrees


def test_the_default_models_find_what_is_easy_faint_blank_or_a_column(
    default_reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    faint = (230 - 8 * (255 - drawn("7").astype(float)) / 255).round().astype(np.uint8)
    reading = default_reader.read(faint)
    assert (reading.status, reading.text) == ("read", "7")
    for height_px in (40, 44, 50):  # which is no 1
        column = Image.new("L", (400, 600), 255)
        for place, text in enumerate("6374766299"):
            font = ImageFont.load_default(height_px)
            ImageDraw.Draw(column).text((120, 40 + 50 * place), text, fill=0, font=font)
        assert default_reader.read(column).text == "6 3 7 4 7 6 6 2 9 9"
    for shape in ((1, 1), (100, 100), (300, 300), (1000, 800), (40, 900), (3000, 60)):
        for level in (0, 128, 230, 255):
            reading = default_reader.read(np.full(shape, level, np.uint8))
            assert reading.status == "blank" and (reading.confidence or 0.0) > LIKELY, (shape, level)

    def find_nothing(*_: object) -> None:
        raise AssertionError("this picture is easy")

    monkeypatch.setattr(pages, "read_found", find_nothing)
    for text in "0123456789":
        assert default_reader.read(drawn(text, 90)).text == text


def test_the_shipped_weights_tell_whether_a_number_was_missed(default_reader: Reader) -> None:
    networks = default_reader.models.page_networks
    assert networks is not None and set(networks.picture_weights.presence) == {"nothing", "bias"}
    blank = [
        answer_instead(Glance(None, nothing), BLANK, networks.picture_weights).confidence or 0.0
        for nothing in (0.01, 0.5, 0.99)
    ]
    assert blank == sorted(blank)


def test_it_comes_first_where_no_reader_of_lines_is_named_or_one_that_was_adapted_with_it(
    default_reader: Reader,
) -> None:
    assert {part.split("@")[0] for part in default_reader.name.split("+")} == set(DEFAULT_MODELS)
    assert "glance" not in Reader("reader", device="cpu").name
    reader, first = resolve_models(["reader", "glance"])
    for companions, expected in ((first.sha256,), True), (("of another",), False):
        header = replace(reader.header, risk_companions=companions)
        models = complete_models([replace(reader, header=header)])
        assert ("glance" in [model.name for model in models]) == expected
