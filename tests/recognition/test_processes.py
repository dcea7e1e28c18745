"""Several processes give the readings of one process, in the same order, and lose no picture."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from digitcli.errors import InputError, PictureError
from digitcli.recognition import reader as reader_module
from digitcli.recognition.reader import THREADS, Reader
from digitcli.recognition.sources import Picture
from tests.support.pictures import drawn, encoded


@pytest.fixture(autouse=True)
def start_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes after three pictures."""
    monkeypatch.setattr(reader_module, "PICTURES_BEFORE_PROCESSES", 3)


def sources(count: int) -> list[Picture]:
    """Return pictures of digits, four of which cannot be read."""
    faults: dict[int, Path | bytes | PictureError] = {
        1: b"",
        7: Path("missing.png"),
        8: encoded(drawn("5", 40, stroke_px=4))[:60],
        9: PictureError("permission", "It may not be read.", "Ask."),
    }
    return [
        Picture(str(number), faults.get(number, encoded(drawn(str(number % 10), 40, stroke_px=4))))
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


def test_opened_images_are_read_by_processes() -> None:
    files = [encoded(drawn("5", 40, stroke_px=4))] * 12
    files[6] = files[6][:60]
    images = [Image.open(io.BytesIO(file)) for file in files]
    readings = list(Reader("cnn", device="cpu", processes=2).read_all(images))
    assert [reading.reason for reading in readings] == [None] * 6 + ["truncated"] + [None] * 5


class Awkward:
    """Fails in the process that unpickles it, or ends it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


def test_a_picture_that_a_process_cannot_take_or_that_ends_it_loses_no_other() -> None:
    content = encoded(drawn("5", 40, stroke_px=4))
    for awkward in (memoryview(content), Awkward(open, "/missing"), Awkward(os._exit, 9)):
        pictures: list[object] = [*sources(12)]
        pictures.insert(6, awkward)
        readings = list(Reader("cnn", device="cpu", processes=2).read_all(pictures))  # type: ignore[arg-type]
        names = [str(number) for number in range(12)]
        assert [reading.file for reading in readings] == [*names[:6], "", *names[6:]]
        is_content = isinstance(awkward, memoryview)
        assert (readings[6].text, readings[6].reason) == (
            ("5", None) if is_content else (None, "not_an_image")
        )


def no_pool(*arguments: object, **settings: object) -> None:
    raise OSError(errno.EROFS, "no shared memory")


def no_process(pool: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "no process")


def test_without_processes_this_process_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for method, fault in (("__init__", no_pool), ("_adjust_process_count", no_process)):
        with monkeypatch.context() as patch:
            patch.setattr(ProcessPoolExecutor, method, fault)
            readings = list(Reader("cnn", device="cpu", processes=2).read_all(sources(12)))
        assert [reading.file for reading in readings] == [str(number) for number in range(12)]
        assert readings[11].text == "1"


def test_without_processes_few_pictures_are_taken_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def listed() -> Iterator[Picture]:
        nonlocal taken
        for source in sources(200):
            taken += 1
            yield source
        raise InputError("The list breaks off.")

    monkeypatch.setattr(ProcessPoolExecutor, "_adjust_process_count", no_process)
    in_flight = (2 * reader_module.PORTIONS_PER_PROCESS + 1) * reader_module.MIN_PORTION
    readings = Reader("cnn", device="cpu", processes=2).read_all(listed())
    for number in range(200):
        assert next(readings).file == str(number)
        assert taken - number <= in_flight + THREADS + 2
    with pytest.raises(InputError, match="breaks off"):
        next(readings)


def test_stopping_early_stops_the_processes_but_not_those_of_the_caller() -> None:
    def listed() -> Iterator[Picture]:
        yield from sources(6)
        raise InputError("The list breaks off.")

    readings = Reader("cnn", device="cpu", processes=2).read_all(listed())
    assert [next(readings).file for _ in range(6)] == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(InputError, match="breaks off"):
        next(readings)
    readings = Reader("cnn", device="cpu", processes=2).read_all(sources(20))
    for _ in range(5):
        next(readings)
    children = multiprocessing.active_children()
    assert len(children) == 2
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        readings.close()  # type: ignore[attr-defined]
        for child in children:
            child.join(10)
        assert other.is_alive() and not any(child.is_alive() for child in children)
    finally:
        other.terminate()
        other.join(10)


def test_few_or_kept_pictures_need_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "_read_in_processes", None)
    assert len(list(Reader("cnn", device="cpu", processes=2).read_all(sources(3)))) == 3
    assert Reader("cnn", device="cpu", processes=2, keep_pictures=True).processes == 1


def test_the_size_of_portions_follows_the_time_that_they_take() -> None:
    size = reader_module.PortionSize()
    assert size.pictures == reader_module.MIN_PORTION
    size.adapt(4, 0.004)  # a thousand pictures a second, but the size at most doubles
    assert size.pictures == 2 * reader_module.MIN_PORTION
    for _ in range(20):
        size.adapt(100, 0.01)
    assert size.pictures == reader_module.MAX_PORTION
    size.adapt(100, 100.0)
    assert size.pictures == reader_module.MIN_PORTION


def test_an_error_of_the_pictures_follows_the_last_portion() -> None:
    def listed(count: int) -> Iterator[Picture]:
        yield from sources(count)
        raise InputError("The list breaks off.")

    size = reader_module.PortionSize()
    for count, expected in ((0, []), (2, [2]), (8, [4, 4]), (9, [4, 4, 1])):
        assert [len(portion) for portion in reader_module._portions(sources(count), size)] == expected
        lengths = []
        with pytest.raises(InputError):
            for portion in reader_module._portions(listed(count), size):
                lengths.append(len(portion))
        assert lengths == expected


def test_errors_keep_their_fields_between_processes() -> None:
    for error in (PictureError("corrupt", "Damaged.", "Mend it."), InputError("No.", "Yes.")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)
