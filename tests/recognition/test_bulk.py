"""Several processes give the readings of one process, in the same order, and lose no picture."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from digitcli.errors import DigitcliError, InputError, PictureError
from digitcli.recognition import bulk
from digitcli.recognition import reader as reader_module
from digitcli.recognition.pipeline import PAGES_AT_ONCE
from digitcli.recognition.reader import THREADS, Reader
from digitcli.recognition.sources import Source
from tests.support.pictures import drawn, encoded


@pytest.fixture(autouse=True)
def start_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes after three pictures."""
    monkeypatch.setattr(reader_module, "PICTURES_BEFORE_PROCESSES", 3)


def sources(count: int) -> list[Source]:
    """Return pictures of digits, four of which cannot be read."""
    faults: dict[int, Path | bytes | PictureError] = {
        1: b"",
        7: Path("missing.png"),
        8: encoded(drawn("5", 40, stroke_px=4))[:60],
        9: PictureError("permission", "It may not be read.", "Ask."),
    }
    return [
        Source(str(number), faults.get(number, encoded(drawn(str(number % 10), 40, stroke_px=4))))
        for number in range(count)
    ]


def test_several_processes_give_the_readings_of_one(tmp_path: Path) -> None:
    pictures = sources(30)
    alone = list(Reader("cnn", device="cpu", threads=1, jobs=1).read_all(pictures))
    together = list(Reader("cnn", device="cpu", processes=2).read_all(iter(pictures)))
    assert [reading.record() for reading in together] == [reading.record() for reading in alone]
    errors = {reading.file: reading.error for reading in together if reading.error}
    assert {name: error.reason for name, error in errors.items()} == {
        "1": "empty_file", "7": "not_found", "8": "truncated", "9": "permission",
    }  # fmt: skip
    assert errors["9"].cause == "It may not be read." and errors["9"].remedy == "Ask."
    assert not multiprocessing.active_children()


def test_opened_images_are_read_in_this_process() -> None:
    files = [encoded(drawn("5", 40, stroke_px=4))] * 12
    files[6] = files[6][:60]
    images = [Image.open(io.BytesIO(file)) for file in files]
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(images))
    assert [reading.reason for reading in readings] == [None] * 6 + ["truncated"] + [None] * 5


class Unreadable:
    """Fails in the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("/missing",)


def test_a_picture_that_a_process_cannot_take_loses_no_other() -> None:
    pictures: list[object] = [*sources(12)]
    pictures.insert(6, Unreadable())
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(pictures))  # type: ignore[arg-type]
    assert len(readings) == 13 and readings[6].reason == "not_an_image"


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (9,)


def test_a_process_that_dies_loses_no_picture() -> None:
    pictures: list[object] = [*sources(12)]
    pictures.insert(6, Deadly())
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(pictures))  # type: ignore[arg-type]
    names = [str(number) for number in range(12)]
    assert [reading.file for reading in readings] == [*names[:6], "", *names[6:]]
    assert readings[6].reason == "not_an_image"


def no_pool(*arguments: object, **settings: object) -> None:
    raise OSError(errno.EROFS, "no shared memory")


def no_process(pool: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "no process")


@pytest.mark.parametrize(("method", "fault"), [("__init__", no_pool), ("_adjust_process_count", no_process)])
def test_without_processes_this_process_reads_all(
    monkeypatch: pytest.MonkeyPatch, method: str, fault: object
) -> None:
    monkeypatch.setattr(ProcessPoolExecutor, method, fault)
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(sources(12)))
    assert [reading.file for reading in readings] == [str(number) for number in range(12)]
    assert readings[11].text == "1"


@pytest.mark.parametrize("error", [None, InputError("The list breaks off.")])
def test_without_processes_few_pictures_are_taken_ahead(
    monkeypatch: pytest.MonkeyPatch, error: InputError | None
) -> None:
    taken = 0

    def listed() -> Iterator[Source]:
        nonlocal taken
        for source in sources(200):
            taken += 1
            yield source
        if error is not None:
            raise error

    monkeypatch.setattr(ProcessPoolExecutor, "_adjust_process_count", no_process)
    in_flight = (2 * bulk.PORTIONS_PER_PROCESS + 1) * bulk.MIN_PORTION
    readings = Reader("cnn", device="cpu", processes=2).read_all(listed())
    for number in range(200):
        assert next(readings).file == str(number)
        assert taken - number <= in_flight + PAGES_AT_ONCE + 2 * THREADS
    with pytest.raises(StopIteration if error is None else InputError):
        next(readings)


def test_an_error_of_the_input_follows_the_readings_before_it() -> None:
    def listed() -> Iterator[Source]:
        yield from sources(6)
        raise InputError("The list breaks off.")

    readings = Reader("cnn", device="cpu", processes=2).read_all(listed())
    assert [next(readings).file for _ in range(6)] == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(InputError, match="breaks off"):
        next(readings)


def test_stopping_early_stops_the_processes() -> None:
    readings = Reader("cnn", device="cpu", processes=2).read_all(sources(20))
    for _ in range(5):
        next(readings)
    children = multiprocessing.active_children()
    assert len(children) == 2
    readings.close()
    for child in children:
        child.join(10)
    assert not any(child.is_alive() for child in children)


def test_the_processes_of_the_caller_go_on() -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    readings = Reader("cnn", device="cpu", processes=2).read_all(sources(20))
    next(readings)
    other.start()
    try:
        readings.close()
        assert other.is_alive()
    finally:
        other.terminate()
        other.join(10)


def test_a_picture_that_cannot_be_sent_is_read_here() -> None:
    content = encoded(drawn("5", 40, stroke_px=4))
    pictures: list[object] = [*sources(6), memoryview(content), *sources(6)]
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(pictures))  # type: ignore[arg-type]
    assert len(readings) == 13 and readings[6].text == "5"


def test_few_pictures_need_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "read_in_processes", None)
    assert len(list(Reader("cnn", device="cpu", processes=2).read_all(sources(3)))) == 3


def test_a_reader_that_keeps_pictures_uses_one_process() -> None:
    assert Reader("cnn", device="cpu", processes=2, keep_pictures=True).processes == 1


def test_the_size_of_portions_follows_the_time_that_they_take() -> None:
    size = bulk.PortionSize()
    assert size.pictures == bulk.MIN_PORTION
    size.adapt(4, 0.004)  # a thousand pictures a second, but the size at most doubles
    assert size.pictures == 2 * bulk.MIN_PORTION
    for _ in range(20):
        size.adapt(100, 0.01)
    assert size.pictures == bulk.MAX_PORTION
    size.adapt(100, 100.0)
    assert size.pictures == bulk.MIN_PORTION


@pytest.mark.parametrize(
    "error", [PictureError("corrupt", "Damaged.", "Mend it."), InputError("No.", "Yes.")]
)
def test_errors_keep_their_fields_between_processes(error: DigitcliError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)
