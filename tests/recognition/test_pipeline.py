"""The pipeline reads pictures in order, and a page that fails costs no other page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import ModelError
from digitcli.imaging.grayscale import rotate
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition import pipeline
from digitcli.recognition.decision import decide_numbers
from digitcli.recognition.digits_apart import DIGIT_SIZES_PX
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.pipeline import PipelineOptions, ordered_map, read_pictures, readings_of
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading
from digitcli.recognition.sources import Picture
from tests.support.networks import page_models, page_of_bars
from tests.support.pictures import drawn, encoded, written
from tests.support.readings import number_of

OPTIONS = PipelineOptions(
    jobs=2, min_confidence=0.5, page_min_confidence=0.5, constraints=None, top_k=2, keep_pictures=False
)
KEEPING = replace(OPTIONS, keep_pictures=True)
BLANK_PAPER = np.full((90, 90), 255, np.uint8)


class CountingNetwork:
    """A network that answers with 0, 1, 2 ... for the digits of a page, and is sure of each."""

    name, device, can_reject = "counting", "cpu", False

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities (N, 10); all crops of a digit get the same answer."""
        return np.eye(10)[np.arange(len(images)) // len(DIGIT_SIZES_PX) % 10]


@pytest.fixture
def models() -> RecognitionModels:
    return RecognitionModels(cast(DigitClassifier, CountingNetwork()))


def tiff(*papers: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(paper) for paper in papers)
    return encoded(first, "TIFF", save_all=True, append_images=others)


def test_a_page_has_its_digits_with_their_places_and_its_picture_where_that_is_kept(
    models: RecognitionModels,
) -> None:
    above, boxes = written("3058", stroke_px=12)
    below, _ = written("62", stroke_px=12)
    below = np.pad(below, ((0, 0), (0, above.shape[1] - below.shape[1])), constant_values=255)
    page = np.vstack([above, below])
    (reading,) = readings_of(page, models, OPTIONS)
    assert (reading.status, reading.text, reading.confidence) == ("read", "0123 45", pytest.approx(1))
    assert np.abs(np.array([digit.box for digit in reading.digits[:4]]) - boxes).max() <= 3
    assert reading.model == "counting" and reading.error is reading.picture is reading.ink is None
    (kept,) = readings_of(rotate(page, 90), models, replace(KEEPING, rotation=270))
    assert kept.picture is not None and kept.picture.shape == page.shape and kept.ink is not None
    assert (kept.text, kept.rotation) == ("0123 45", 270)
    (empty,) = readings_of(Picture("empty", b""), models, KEEPING)
    assert (empty.file, empty.status, empty.reason, empty.text) == ("empty", "error", "empty_file", None)
    assert empty.confidence is empty.picture is None and empty.error is not None


def test_a_page_that_is_found_rotated_is_kept_as_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of_bars((100, 100, 200, 60), shape=(500, 800))
    upright = replace(decide_numbers([number_of("2468", 0.9)], None), rotation=90)
    monkeypatch.setattr(pipeline, "read_page", lambda *_, **__: upright)
    (reading,) = readings_of(rotate(page, 180), page_models(), replace(KEEPING, rotation=90))
    assert reading.rotation == 180 and reading.ink is None  # no ink was looked for
    assert reading.picture is not None and np.array_equal(np.rint(255 * reading.picture), page)


def test_a_fault_is_the_error_of_its_page_and_that_of_a_network_ends_the_run(
    models: RecognitionModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, document = pipeline._read, tiff(drawn("7"), drawn("5", 50, stroke_px=4), drawn("7"))

    def read_or_fail(fault: Exception, grey: np.ndarray, *settings: object) -> Reading:
        if len(grey) == 50:
            raise fault
        return read(grey, *settings)  # type: ignore[arg-type]

    for fault, reason, message in (
        (ZeroDivisionError("a mistake"), "internal", "Internal error in 'a', ZeroDivisionError: a mistake"),
        (MemoryError(), "too_large", "not enough memory for 'a'"),
        (ModelError("The answers are not finite."), None, ""),
    ):
        monkeypatch.setattr(pipeline, "_read", partial(read_or_fail, fault))
        readings = read_pictures([Picture("a", document), drawn("7")], models, OPTIONS)
        assert next(readings).text == "0"
        if reason is None:
            with pytest.raises(ModelError):
                next(readings)
            continue
        failed, after, _ = readings
        assert (failed.status, failed.reason, failed.text) == ("error", reason, None)
        assert message in str(failed.error) and (after.page, after.text) == (3, "0")


def test_pages_of_several_pictures_come_in_order(models: RecognitionModels) -> None:
    pictures = [
        Picture("three pages", tiff(drawn("1"), BLANK_PAPER, drawn("3"))),
        Picture("one page", encoded(drawn("4"))),
        Picture("bad", b"text"),
        Picture("two pages", tiff(drawn("5"), drawn("6"))),
    ]
    for options in (OPTIONS, KEEPING, replace(OPTIONS, jobs=1)):
        readings = list(read_pictures(pictures, models, options))
        assert [(reading.file, reading.page, reading.text) for reading in readings] == [
            ("three pages", 1, "0"),
            ("three pages", 2, ""),
            ("three pages", 3, "0"),
            ("one page", None, "0"),
            ("bad", None, None),
            ("two pages", 1, "0"),
            ("two pages", 2, "0"),
        ]


def test_a_record_depends_on_nothing_but_the_picture() -> None:
    rows = np.vstack([np.hstack([drawn(digit) for digit in text]) for text in ("305", "276")])
    speckles = np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8)
    papers = [written("427")[0], rows, drawn("7"), BLANK_PAPER, speckles, written("555", gap=-0.02)[0]]
    sources = [Picture(str(number), encoded(paper)) for number, paper in enumerate(papers)]
    for named in ((), ("cnn",)):
        one, four = (Reader(*named, device="cpu", jobs=jobs) for jobs in (1, 4))
        alone = {source.name: next(one.read_all([source])).record() for source in sources}
        for reader, order in (
            (one, (3, 1, 5, 0, 2, 4)),
            (four, (0, 1, 2, 3, 4, 5)),
            (four, (5, 2, 4, 1, 3, 0)),
        ):
            for reading in reader.read_all([sources[number] for number in order]):
                assert reading.record() == alone[reading.file]


def test_a_threshold_changes_no_text_and_no_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        page = decide_numbers([number_of("8", 0.97)] * count, None)
        monkeypatch.setattr(pipeline, "read_page", lambda *_, page=page, **__: page)
        for threshold in (0.0, 0.95, 0.98):
            alone, beside = (threshold, 1.0) if count == 1 else (1.0, threshold)
            options = replace(OPTIONS, min_confidence=alone, page_min_confidence=beside)
            (reading,) = read_pictures([drawn("8")], page_models(), options)
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


def test_an_error_follows_the_results_before_it() -> None:
    def start(item: int) -> Future[int]:
        if item == 4:
            raise ZeroDivisionError
        return done(item)

    for limit in (1, 3, 9):
        for submit, items, count in (
            *((done, failing_after(count), count) for count in (0, 1, 5)),
            (start, range(9), 4),
        ):
            results = []
            with pytest.raises(ZeroDivisionError):
                for _, task in ordered_map(submit, items, limit):
                    results.append(task.result())
            assert results == [10 * item for item in range(count)]


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
