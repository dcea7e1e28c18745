"""The four stages find, crop, recognize and decide, with a small network that the tests control."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import ModelError
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition import pipeline
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.crops import DIGIT_SIZES_PX
from digitcli.recognition.decision import Decision
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.pipeline import (
    PipelineOptions,
    PreparedPage,
    find_and_crop,
    recognize_and_decide,
    run_pipeline,
)
from digitcli.recognition.recognize import DigitEvidence
from digitcli.recognition.results import Detection, Digit, Number
from digitcli.recognition.sources import Source
from tests.support.networks import FakeReader, page_models, page_of_bars
from tests.support.pictures import drawn, encoded, written

OPTIONS = PipelineOptions(
    batch_size=256,
    jobs=2,
    min_confidence=0.5,
    page_min_confidence=0.5,
    constraints=None,
    top_k=2,
    keep_pictures=False,
)
BLANK_PAPER = np.full((90, 90), 255, np.uint8)


class CountingNetwork:
    """A network that answers with 0, 1, 2 ... for one digit after another, and is sure of each."""

    name, device, can_reject = "counting", "cpu", False

    def __init__(self) -> None:
        self.calls: list[int] = []

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities (N, 10); all crops of a digit get the same answer."""
        self.calls.append(len(images))
        return np.eye(10)[np.arange(len(images)) // len(DIGIT_SIZES_PX) % 10]


@pytest.fixture
def network() -> CountingNetwork:
    return CountingNetwork()


@pytest.fixture
def models(network: CountingNetwork) -> RecognitionModels:
    return RecognitionModels(cast(DigitClassifier, network))


def tiff(*papers: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(paper) for paper in papers)
    return encoded(first, "TIFF", save_all=True, append_images=others)


def test_stages_of_a_page_with_two_numbers(models: RecognitionModels) -> None:
    above, boxes = written("3058", stroke_px=12)
    below, _ = written("62", stroke_px=12)
    below = np.pad(below, ((0, 0), (0, above.shape[1] - below.shape[1])), constant_values=255)
    (page,) = find_and_crop(np.vstack([above, below]), models, OPTIONS)
    assert [len(crops.region.components) for crops in page.regions] == [4, 2]
    assert [crops.digits.shape for crops in page.regions] == [(4, 2, 28, 28), (2, 2, 28, 28)]
    assert not page.is_faint and page.error is None and page.picture is None
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert (reading.status, reading.text, reading.confidence) == ("read", "0123 45", pytest.approx(1))
    assert np.abs(np.array([digit.box for digit in reading.digits[:4]]) - boxes).max() <= 3
    assert reading.model == "counting" and reading.error is None


def test_a_page_with_an_error_is_not_recognized(
    models: RecognitionModels, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "recognize_page", None)
    (page,) = find_and_crop(Source("empty.png", b""), models, OPTIONS)
    assert page.error is not None and page.regions == ()
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert (reading.file, reading.status, reading.reason) == ("empty.png", "error", "empty_file")
    assert reading.error is page.error and reading.text is None and reading.confidence is None
    assert network.calls == []


def test_a_blank_page_has_no_regions(models: RecognitionModels, network: CountingNetwork) -> None:
    (page,) = find_and_crop(BLANK_PAPER, models, OPTIONS)
    assert page.regions == () and page.error is None
    (reading,) = recognize_and_decide([page], models, OPTIONS)
    assert (reading.status, reading.text, reading.numbers) == ("blank", "", ())
    assert network.calls == []


def test_pictures_and_ink_are_kept_on_demand(models: RecognitionModels) -> None:
    options = PipelineOptions(256, 1, 0.5, 0.5, None, 2, keep_pictures=True)
    (page,) = find_and_crop(drawn("3"), models, options)
    assert page.picture is not None and page.picture.shape == (120, 120) and page.ink is not None


def prepared(models: RecognitionModels, *pictures: np.ndarray | bytes) -> list[PreparedPage]:
    return [
        page
        for number, picture in enumerate(pictures)
        for page in find_and_crop(
            Source(str(number), picture if isinstance(picture, bytes) else encoded(picture)), models, OPTIONS
        )
    ]


def test_the_network_runs_once_for_all_pages_and_each_page_gets_its_own_answers(
    models: RecognitionModels, network: CountingNetwork
) -> None:
    pages = prepared(models, drawn("7"), b"", written("58", stroke_px=12)[0], BLANK_PAPER, drawn("7"))
    readings = recognize_and_decide(pages, models, OPTIONS)
    assert [(reading.file, reading.status, reading.text) for reading in readings] == [
        ("0", "read", "0"),
        ("1", "error", None),
        ("2", "read", "12"),
        ("3", "blank", ""),
        ("4", "read", "3"),
    ]
    assert network.calls == [4 * len(DIGIT_SIZES_PX)]


def test_a_fault_while_a_page_is_recognized_loses_no_other(
    models: RecognitionModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognize_page = pipeline.recognize_page

    def recognize(regions: Sequence[DigitEvidence], *settings: object) -> object:
        if sum(len(region.crops.digits) for region in regions) == 2:
            raise ZeroDivisionError("a mistake")
        return recognize_page(regions, *settings)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "recognize_page", recognize)
    pages = prepared(models, drawn("7"), written("58", stroke_px=12)[0], drawn("7"))
    readings = recognize_and_decide(pages, models, OPTIONS)
    assert [reading.text for reading in readings] == ["0", None, "3"]
    assert readings[1].reason == "internal" and "ZeroDivisionError" in str(readings[1].error)


def test_a_fault_of_a_network_loses_no_other_page(
    models: RecognitionModels, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    probabilities = network.probabilities

    def fail(images: np.ndarray) -> np.ndarray:
        if len(images) >= 2 * len(DIGIT_SIZES_PX):
            raise RuntimeError("a mistake")
        return probabilities(images)

    monkeypatch.setattr(network, "probabilities", fail)
    pages = prepared(models, drawn("7"), written("58", stroke_px=12)[0], drawn("7"))
    readings = recognize_and_decide(pages, models, OPTIONS)
    assert [reading.text for reading in readings] == ["0", None, "0"]
    assert readings[1].reason == "internal" and "RuntimeError" in str(readings[1].error)


def test_a_network_that_fails_ends_the_run(
    models: RecognitionModels, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise ModelError("The answers are not finite.")

    monkeypatch.setattr(network, "probabilities", fail)
    with pytest.raises(ModelError):
        list(run_pipeline([drawn("7")], models, OPTIONS))


@pytest.mark.parametrize("keep_pictures", [False, True])
def test_pages_of_several_pictures_come_in_order(models: RecognitionModels, keep_pictures: bool) -> None:
    options = PipelineOptions(256, 2, 0.5, 0.5, None, 2, keep_pictures)
    pictures = [
        Source("three pages", tiff(drawn("1"), BLANK_PAPER, drawn("3"))),
        Source("one page", encoded(drawn("4"))),
        Source("bad", b"text"),
        Source("two pages", tiff(drawn("5"), drawn("6"))),
    ]
    readings = list(run_pipeline(pictures, models, options))
    assert [(reading.file, reading.page, reading.status) for reading in readings] == [
        ("three pages", 1, "read"),
        ("three pages", 2, "blank"),
        ("three pages", 3, "read"),
        ("one page", None, "read"),
        ("bad", None, "error"),
        ("two pages", 1, "read"),
        ("two pages", 2, "read"),
    ]
    assert "".join(reading.text or "" for reading in readings) == "01234"


def test_a_batch_ends_at_the_batch_size(models: RecognitionModels, network: CountingNetwork) -> None:
    options = PipelineOptions(2 * len(DIGIT_SIZES_PX), 2, 0.5, 0.5, None, 2, keep_pictures=False)
    assert len(list(run_pipeline([drawn("7")] * 5, models, options))) == 5
    assert network.calls == [2 * len(DIGIT_SIZES_PX)] * 2 + [len(DIGIT_SIZES_PX)]


def test_a_lack_of_memory_for_a_page_is_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    page, _ = written("2457", stroke_px=12)
    monkeypatch.setattr(PageReader, "read", fail)
    assert next(run_pipeline([page], page_models(FakeReader("1")), OPTIONS)).reason == "too_large"


def test_pages_are_read_with_their_picture_and_the_rows_of_their_numbers() -> None:
    page = page_of_bars((100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60), shape=(500, 800))
    options = dataclasses.replace(OPTIONS, keep_pictures=True)
    (reading,) = run_pipeline([page], page_models(FakeReader("1", "23", "4")), options)
    assert (reading.status, reading.text) == ("read", "1 23 4")
    assert [number.row for number in reading.numbers] == [0, 0, 1]
    assert reading.picture is not None and reading.ink is None  # no ink was looked for


@pytest.mark.parametrize(
    ("rotation", "length", "text"), [(0, None, ""), (90, None, "3 4"), (0, "1", "3 4"), (0, "1-2", "")]
)
def test_a_fraction_is_refused_but_not_on_a_turned_page_or_where_numbers_have_one_digit(
    monkeypatch: pytest.MonkeyPatch, rotation: int, length: str | None, text: str
) -> None:
    numbers = tuple(Number((Digit(digit, 0.9, (0, 0, 9, 9)),), 0.9, digit) for digit in "34")
    detections = (Detection(((0, 0), (9, 0), (9, 9), (0, 9)), 0.9, has_number=True),)
    decision = Decision("read", None, "3 4", 0.8, numbers, rotation=rotation, detections=detections)
    monkeypatch.setattr(PageReader, "read", lambda *_: decision)
    monkeypatch.setattr(pipeline, "shows_fraction", lambda *_: True)
    page, _ = written("2457", stroke_px=12)
    options = dataclasses.replace(OPTIONS, constraints=parse_constraints(length))
    (reading,) = run_pipeline([page], page_models(FakeReader("1")), options)
    assert (reading.text, reading.reason) == (text, None if text else "not_a_digit")
    assert [each.has_number for each in reading.detections] == [bool(text)]


def test_a_reading_has_the_lines_that_were_detected_also_those_that_were_passed_over() -> None:
    bars = (100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60)
    page = page_of_bars(*bars, shape=(500, 800))
    (reading,) = run_pipeline([page], page_models(FakeReader("1", "", "4")), OPTIONS)
    assert [each.has_number for each in reading.detections] == [True, False, True]
    for (x, y, width, height), each in zip(bars, reading.detections, strict=True):
        assert np.mean(each.corners, axis=0) == pytest.approx([x + width / 2, y + height / 2], abs=6)
        assert 0 < each.score <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_threshold_changes_no_text_and_no_confidence(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    number = Number((Digit("8", 0.97, (0, 0, 9, 9)),), 0.97, "8")
    page = Decision("read", None, " ".join("8" * count), 0.97**count, (number,) * count)
    monkeypatch.setattr(PageReader, "read", lambda *_: page)
    for threshold in (0.0, 0.95, 0.98):
        limits = (threshold, 1.0) if count == 1 else (1.0, threshold)  # of a lone number, and of others
        options = dataclasses.replace(OPTIONS, min_confidence=limits[0], page_min_confidence=limits[1])
        (reading,) = run_pipeline([drawn("8")], page_models(), options)
        assert (reading.text, reading.confidence) == (page.text, page.confidence)
        assert (reading.status == "read") == (threshold < 0.97)
