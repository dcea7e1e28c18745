"""The pipeline reads pictures in order, and a page that fails costs no other page."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import ModelError
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition import digits_apart, pipeline
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import Decision
from digitcli.recognition.digit_regions import DIGIT_SIZES_PX
from digitcli.recognition.digits_apart import DigitEvidence
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.page_networks import PageNetworks
from digitcli.recognition.pipeline import (
    OpenedPage,
    PipelineOptions,
    grouped_until,
    open_and_glance,
    ordered_map,
    read_pages,
    run_pipeline,
)
from digitcli.recognition.readings import Detection, Digit, Number
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


def test_stages_of_a_page(models: RecognitionModels, network: CountingNetwork) -> None:
    above, boxes = written("3058", stroke_px=12)
    below, _ = written("62", stroke_px=12)
    below = np.pad(below, ((0, 0), (0, above.shape[1] - below.shape[1])), constant_values=255)
    (page,) = open_and_glance(np.vstack([above, below]), models, OPTIONS)
    assert [len(crops.region.components) for crops in page.regions] == [4, 2]
    assert [crops.digits.shape for crops in page.regions] == [(4, 2, 28, 28), (2, 2, 28, 28)]
    assert not page.is_faint and page.error is None and page.picture is None
    (reading,) = read_pages([page], models, OPTIONS)
    assert (reading.status, reading.text, reading.confidence) == ("read", "0123 45", pytest.approx(1))
    assert np.abs(np.array([digit.box for digit in reading.digits[:4]]) - boxes).max() <= 3
    assert reading.model == "counting" and reading.error is None
    options = dataclasses.replace(OPTIONS, keep_pictures=True)
    (page,) = open_and_glance(drawn("3"), models, options)
    assert page.picture is not None and page.picture.shape == (120, 120) and page.ink is not None
    network.calls.clear()
    (empty,), (blank,) = (
        list(open_and_glance(picture, models, OPTIONS)) for picture in (Source("empty", b""), BLANK_PAPER)
    )
    first, second = read_pages([empty, blank], models, OPTIONS)
    assert (first.file, first.status, first.reason) == ("empty", "error", "empty_file")
    assert first.error is empty.error and first.text is None and first.confidence is None
    assert (second.status, second.text, second.numbers) == ("blank", "", ())
    assert network.calls in ([], [0])


def prepared(models: RecognitionModels, *pictures: np.ndarray | bytes) -> list[OpenedPage]:
    return [
        page
        for number, picture in enumerate(pictures)
        for page in open_and_glance(
            Source(str(number), picture if isinstance(picture, bytes) else encoded(picture)), models, OPTIONS
        )
    ]


def test_the_network_runs_once_for_all_pages_and_each_page_gets_its_own_answers(
    models: RecognitionModels, network: CountingNetwork
) -> None:
    pages = prepared(models, drawn("7"), b"", written("58", stroke_px=12)[0], BLANK_PAPER, drawn("7"))
    readings = read_pages(pages, models, OPTIONS)
    assert [(reading.file, reading.status, reading.text) for reading in readings] == [
        ("0", "read", "0"),
        ("1", "error", None),
        ("2", "read", "12"),
        ("3", "blank", ""),
        ("4", "read", "3"),
    ]
    assert network.calls == [4 * len(DIGIT_SIZES_PX)]


def test_a_fault_loses_no_other_page(
    models: RecognitionModels, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognize_page, probabilities = digits_apart.recognize_page, network.probabilities
    pages = prepared(models, drawn("7"), written("58", stroke_px=12)[0], drawn("7"))

    def recognize(regions: Sequence[DigitEvidence], *settings: object) -> object:
        if sum(len(region.crops.digits) for region in regions) == 2:
            raise ZeroDivisionError("a mistake")
        return recognize_page(regions, *settings)  # type: ignore[arg-type]

    def classify(images: np.ndarray) -> np.ndarray:
        if len(images) >= 2 * len(DIGIT_SIZES_PX):
            raise RuntimeError("a mistake")
        return probabilities(images)

    for place, name, fault, error in (
        (digits_apart, "recognize_page", recognize, "ZeroDivisionError"),
        (network, "probabilities", classify, "RuntimeError"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fault)
            readings = read_pages(pages, models, OPTIONS)
        assert [reading.text is None for reading in readings] == [False, True, False]
        assert readings[1].reason == "internal" and error in str(readings[1].error)


def test_a_network_that_fails_ends_the_run(
    models: RecognitionModels, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise ModelError("The answers are not finite.")

    monkeypatch.setattr(network, "probabilities", fail)
    with pytest.raises(ModelError):
        list(run_pipeline([drawn("7")], models, OPTIONS))


def test_pages_of_several_pictures_come_in_order(models: RecognitionModels) -> None:
    pictures = [
        Source("three pages", tiff(drawn("1"), BLANK_PAPER, drawn("3"))),
        Source("one page", encoded(drawn("4"))),
        Source("bad", b"text"),
        Source("two pages", tiff(drawn("5"), drawn("6"))),
    ]
    for keep_pictures in (False, True):
        readings = list(
            run_pipeline(pictures, models, dataclasses.replace(OPTIONS, keep_pictures=keep_pictures))
        )
        assert [(reading.file, reading.page, reading.status) for reading in readings] == [
            ("three pages", 1, "read"),
            ("three pages", 2, "blank"),
            ("three pages", 3, "read"),
            ("one page", None, "read"),
            ("bad", None, "error"),
            ("two pages", 1, "read"),
            ("two pages", 2, "read"),
        ]
        assert len("".join(reading.text or "" for reading in readings)) == 5


def test_a_batch_ends_at_the_batch_size(models: RecognitionModels, network: CountingNetwork) -> None:
    options = PipelineOptions(2 * len(DIGIT_SIZES_PX), 2, 0.5, 0.5, None, 2, keep_pictures=False)
    assert len(list(run_pipeline([drawn("7")] * 5, models, options))) == 5
    assert network.calls == [2 * len(DIGIT_SIZES_PX)] * 2 + [len(DIGIT_SIZES_PX)]


def test_a_lack_of_memory_for_a_page_is_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    page, _ = written("2457", stroke_px=12)
    monkeypatch.setattr(PageNetworks, "read", fail)
    assert next(run_pipeline([page], page_models(FakeReader("1")), OPTIONS)).reason == "too_large"


def test_pages_are_read_with_their_picture_and_the_rows_of_their_numbers() -> None:
    page = page_of_bars((100, 100, 200, 60), (400, 100, 200, 60), (100, 300, 200, 60), shape=(500, 800))
    options = dataclasses.replace(OPTIONS, keep_pictures=True)
    (reading,) = run_pipeline([page], page_models(FakeReader("1", "23", "4")), options)
    assert (reading.status, reading.text) == ("read", "1 23 4")
    assert [number.row for number in reading.numbers] == [0, 0, 1]
    assert reading.picture is not None and reading.ink is None  # no ink was looked for


def test_a_fraction_is_refused_but_not_on_a_turned_page_or_where_numbers_have_one_digit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = tuple(Number((Digit(digit, 0.9, (0, 0, 9, 9)),), 0.9, digit) for digit in "34")
    detections = (Detection(((0, 0), (9, 0), (9, 9), (0, 9)), 0.9, has_number=True),)
    monkeypatch.setattr(pipeline, "shows_fraction", lambda *_: True)
    page, _ = written("2457", stroke_px=12)
    for rotation, length, text in ((0, None, ""), (90, None, "3 4"), (0, "1", "3 4"), (0, "1-2", "")):
        decision = Decision("read", None, "3 4", 0.8, numbers, rotation=rotation, detections=detections)
        monkeypatch.setattr(PageNetworks, "read", lambda *_, decision=decision: decision)
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


def test_a_threshold_changes_no_text_and_no_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    number = Number((Digit("8", 0.97, (0, 0, 9, 9)),), 0.97, "8")
    for count in (1, 2):
        page = Decision("read", None, " ".join("8" * count), 0.97**count, (number,) * count)
        monkeypatch.setattr(PageNetworks, "read", lambda *_, page=page: page)
        for threshold in (0.0, 0.95, 0.98):
            limits = (threshold, 1.0) if count == 1 else (1.0, threshold)  # of a lone number, and of others
            options = dataclasses.replace(OPTIONS, min_confidence=limits[0], page_min_confidence=limits[1])
            (reading,) = run_pipeline([drawn("8")], page_models(), options)
            assert (reading.text, reading.confidence) == (page.text, page.confidence)
            assert (reading.status == "read") == (threshold < 0.97)


def done(item: int) -> Future[int]:
    """Return a finished task."""
    task: Future[int] = Future()
    task.set_result(10 * item)
    return task


def failing_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise ZeroDivisionError


def test_results_come_in_the_order_of_the_input() -> None:
    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return 10 * item

    with ThreadPoolExecutor(4) as pool:
        tasks = ordered_map(lambda item: pool.submit(work, item), range(50), 6)
        assert [(item, task.result()) for item, task in tasks] == [(item, 10 * item) for item in range(50)]


def test_no_more_tasks_than_the_limit_are_in_flight_one_of_them_while_a_result_is_used() -> None:
    for limit in (1, 3):
        taken: list[int] = []
        tasks = ordered_map(done, (taken.append(item) or item for item in range(100)), limit)
        assert taken == []
        for number in range(5):
            next(tasks)
            assert len(taken) == limit + number + 1
    is_running = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        results = ordered_map(lambda item: pool.submit(is_running.set if item else int), range(2), 1)
        next(results)
        assert is_running.wait(10)


def test_an_error_follows_the_results_before_it() -> None:
    def start(item: int) -> Future[int]:
        if item == 4:
            raise RuntimeError("can't start new thread")
        return done(item)

    for limit in (1, 3, 9):
        for count in (0, 1, 5):
            results = []
            with pytest.raises(ZeroDivisionError):
                for _, task in ordered_map(done, failing_after(count), limit):
                    results.append(task.result())
            assert results == [10 * item for item in range(count)]
        results = []
        with pytest.raises(RuntimeError, match="new thread"):
            for _, task in ordered_map(start, range(9), limit):
                results.append(task.result())
        assert results == [0, 10, 20, 30]
    groups = grouped_until(failing_after(3), lambda group: len(group) == 2)
    assert [next(groups), next(groups)] == [[0, 1], [2]]
    with pytest.raises(ZeroDivisionError):
        next(groups)


def test_an_error_of_a_task_stays_in_the_task_and_closing_cancels_those_that_have_not_begun() -> None:
    started: list[Future[int]] = []

    def start(item: int) -> Future[int]:
        started.append(done(item) if item == 0 else Future())
        if item == 1:
            started[-1].set_exception(ZeroDivisionError())
        return started[-1]

    tasks = ordered_map(start, range(9), 3)
    next(tasks)
    assert isinstance(next(tasks)[1].exception(), ZeroDivisionError)
    tasks.close()
    assert [task.cancelled() for task in started] == [False, False, True, True, True]


def test_groups_end_with_the_item_that_makes_them_full() -> None:
    groups = grouped_until([1, 2, 3, 4, 5, 6, 1], lambda group: sum(group) >= 5)
    assert list(groups) == [[1, 2, 3], [4, 5], [6], [1]]
    assert list(grouped_until([], lambda group: True)) == []
