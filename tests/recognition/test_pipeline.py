"""Pages are opened, prepared, seen and decided on, with small networks that the tests control."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import ModelError
from digitcli.imaging.grayscale import rotate
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.decision import Decision, NumberResult
from digitcli.recognition.digits import digit_reader
from digitcli.recognition.digits.crops import DIGIT_SIZES_PX, DigitCrops
from digitcli.recognition.digits.digit_reader import DigitReader, PreparedDigits
from digitcli.recognition.pages.page_reader import PageReader, PreparedPage
from digitcli.recognition.pipeline import (
    OpenedPage,
    PipelineOptions,
    open_and_prepare,
    run_pipeline,
    see_and_decide,
)
from digitcli.recognition.sources import Source
from tests.support.networks import FakeReader, page_of_bars, page_reader
from tests.support.pictures import drawn, encoded, written

OPTIONS = PipelineOptions("counting", batch_size=256, jobs=2, constraints=None, top_k=2, keep_pictures=False)
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
def models(network: CountingNetwork) -> DigitReader:
    return DigitReader(cast(DigitClassifier, network), 0.5)


def tiff(*papers: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(paper) for paper in papers)
    return encoded(first, "TIFF", save_all=True, append_images=others)


def test_stages_of_a_page_with_two_numbers(models: DigitReader) -> None:
    above, boxes = written("3058", stroke_px=12)
    below, _ = written("62", stroke_px=12)
    below = np.pad(below, ((0, 0), (0, above.shape[1] - below.shape[1])), constant_values=255)
    (page,) = open_and_prepare(np.vstack([above, below]), models, OPTIONS)
    assert isinstance(page.prepared, PreparedDigits)
    assert [len(crops.boxes) for crops in page.prepared.numbers] == [4, 2]
    assert [crops.images.shape for crops in page.prepared.numbers] == [(4, 2, 28, 28), (2, 2, 28, 28)]
    assert page.error is None and page.picture is None
    (reading,) = see_and_decide([page], models, OPTIONS)
    assert (reading.status, reading.text, reading.confidence) == ("read", "0123 45", pytest.approx(1))
    assert np.abs(np.array([digit.box for digit in reading.digits[:4]]) - boxes).max() <= 3
    assert reading.model == "counting" and reading.error is None


def test_a_page_with_an_error_is_not_recognized(models: DigitReader, network: CountingNetwork) -> None:
    (page,) = open_and_prepare(Source("empty.png", b""), models, OPTIONS)
    assert page.error is not None and page.prepared is None
    (reading,) = see_and_decide([page], models, OPTIONS)
    assert (reading.file, reading.status, reading.reason) == ("empty.png", "error", "empty_file")
    assert reading.error is page.error and reading.text is None and reading.confidence is None
    assert network.calls == []


def test_a_blank_page_has_no_regions(models: DigitReader, network: CountingNetwork) -> None:
    (page,) = open_and_prepare(BLANK_PAPER, models, OPTIONS)
    assert isinstance(page.prepared, PreparedDigits)
    assert page.prepared.numbers == () and page.error is None
    (reading,) = see_and_decide([page], models, OPTIONS)
    assert (reading.status, reading.text, reading.numbers) == ("blank", "", ())
    assert network.calls == []


def test_pictures_and_ink_are_kept_on_demand(models: DigitReader) -> None:
    options = dataclasses.replace(OPTIONS, keep_pictures=True)
    (page,) = open_and_prepare(drawn("3"), models, options)
    assert page.picture is not None and page.picture.shape == (120, 120)
    (reading,) = see_and_decide([page], models, options)
    assert reading.picture is not None and reading.ink is not None


def prepared(models: DigitReader, *pictures: np.ndarray | bytes) -> list[OpenedPage]:
    return [
        page
        for number, picture in enumerate(pictures)
        for page in open_and_prepare(
            Source(str(number), picture if isinstance(picture, bytes) else encoded(picture)), models, OPTIONS
        )
    ]


def test_the_network_runs_once_for_all_pages_and_each_page_gets_its_own_answers(
    models: DigitReader, network: CountingNetwork
) -> None:
    pages = prepared(models, drawn("7"), b"", written("58", stroke_px=12)[0], BLANK_PAPER, drawn("7"))
    readings = list(see_and_decide(pages, models, OPTIONS))
    assert [(reading.file, reading.status, reading.text) for reading in readings] == [
        ("0", "read", "0"),
        ("1", "error", None),
        ("2", "read", "12"),
        ("3", "blank", ""),
        ("4", "read", "3"),
    ]
    assert network.calls == [4 * len(DIGIT_SIZES_PX)]


def test_a_fault_while_a_page_is_recognized_loses_no_other(
    models: DigitReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognize_number = digit_reader.recognize_number

    def recognize(crops: DigitCrops, *settings: Any) -> NumberResult:
        if len(crops.boxes) == 2:
            raise ZeroDivisionError("a mistake")
        return recognize_number(crops, *settings)

    monkeypatch.setattr(digit_reader, "recognize_number", recognize)
    pages = prepared(models, drawn("7"), written("58", stroke_px=12)[0], drawn("7"))
    readings = list(see_and_decide(pages, models, OPTIONS))
    assert [reading.text for reading in readings] == ["0", None, "3"]
    assert readings[1].reason == "internal" and "ZeroDivisionError" in str(readings[1].error)


def test_a_network_that_fails_ends_the_run(
    models: DigitReader, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise ModelError("The answers are not finite.")

    monkeypatch.setattr(network, "probabilities", fail)
    with pytest.raises(ModelError):
        list(run_pipeline([drawn("7")], models, OPTIONS))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pages_are_turned_before_they_are_read(models: DigitReader, degrees: int) -> None:
    page, boxes = written("3058", stroke_px=12)
    options = dataclasses.replace(OPTIONS, rotation=degrees, keep_pictures=True)
    (reading,) = run_pipeline([rotate(page, 360 - degrees)], models, options)
    assert (reading.text, reading.rotation) == ("0123", degrees)
    assert np.abs(np.array([digit.box for digit in reading.digits]) - boxes).max() <= 3
    assert reading.picture is not None and reading.picture.shape == page.shape


@pytest.mark.parametrize("keep_pictures", [False, True])
def test_pages_of_several_pictures_come_in_order(models: DigitReader, keep_pictures: bool) -> None:
    options = dataclasses.replace(OPTIONS, keep_pictures=keep_pictures)
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


def test_a_batch_ends_at_the_batch_size(models: DigitReader, network: CountingNetwork) -> None:
    options = dataclasses.replace(OPTIONS, batch_size=2 * len(DIGIT_SIZES_PX))
    assert len(list(run_pipeline([drawn("7")] * 5, models, options))) == 5
    assert network.calls == [2 * len(DIGIT_SIZES_PX)] * 2 + [len(DIGIT_SIZES_PX)]


def test_a_fault_while_a_whole_page_is_read_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = PageReader.decide

    def fail_on_wide_pages(self: PageReader, page: PreparedPage, *rest: Any) -> Decision:
        if page.levels.shape[1] > 300:
            raise MemoryError
        return decide(self, page, *rest)

    monkeypatch.setattr(PageReader, "decide", fail_on_wide_pages)
    pages = [page_of_bars((40, 40, 90, 40)), page_of_bars(shape=(120, 400)), page_of_bars((40, 40, 90, 40))]
    readings = list(run_pipeline(pages, page_reader(FakeReader("1")), OPTIONS))
    assert [reading.status for reading in readings] == ["read", "error", "read"]
    assert readings[1].reason == "too_large"


def test_pages_are_read_with_their_picture_and_the_rows_of_their_numbers() -> None:
    page = page_of_bars((100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60), shape=(500, 800))
    options = dataclasses.replace(OPTIONS, keep_pictures=True)
    (reading,) = run_pipeline([page], page_reader(FakeReader("1", "23", "4")), options)
    assert (reading.status, reading.text) == ("read", "1 23 4")
    assert [number.row for number in reading.numbers] == [0, 0, 1]
    assert reading.picture is not None and reading.ink is None
