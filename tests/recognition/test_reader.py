"""The reader of numbers."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from digitcli.errors import PictureError, UsageError
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.line_finding import Findings, FoundLine
from digitcli.inference.runtime import LineOutput
from digitcli.recognition import pipeline
from digitcli.recognition.decision import BLANK_CONFIDENCE
from digitcli.recognition.digits_apart import DIGIT_SIZES_PX
from digitcli.recognition.reader import THREADS, Reader
from digitcli.recognition.readings import Reading
from digitcli.strip_format import ALPHABET
from tests.support.models import saved
from tests.support.pictures import drawn, encoded, grey_of, written

PAPER, BOXES = written("3058", stroke_px=12)

SURE = 900.0  # a logit so large that the temperature of an untrained network does not matter

Softmax = Callable[..., Reader]


@pytest.fixture
def softmax(tmp_path: Path) -> Softmax:
    """Load a reader whose network is small and knows nothing."""

    def load(**options: object) -> Reader:
        return Reader(str(saved(tmp_path / "softmax.safetensors")), device="cpu", **options)

    return load


@pytest.fixture
def sure(softmax: Softmax, monkeypatch: pytest.MonkeyPatch) -> Softmax:
    """Load a reader whose network answers with these probabilities."""

    def load(*rows: list[float], **options: object) -> Reader:
        reader = softmax(**options)
        by_crop = np.repeat(np.array(rows), len(DIGIT_SIZES_PX), axis=0)
        monkeypatch.setattr(
            reader.models.classifier, "probabilities", lambda images: np.resize(by_crop, (len(images), 10))
        )
        return reader

    return load


def likely(**probabilities: float) -> list[float]:
    """Return ten probabilities by digit: likely(d3=0.7, d5=0.2)."""
    return [probabilities.get(f"d{digit}", 0.0) for digit in range(10)]


def pages(*papers: np.ndarray) -> bytes:
    """Return a TIFF of several pages."""
    first, *others = (Image.fromarray(paper) for paper in papers)
    return encoded(first, "TIFF", save_all=True, append_images=others)


def test_drawn_digits_are_read_where_they_are(cnn_reader: Reader) -> None:
    reading = cnn_reader.read(PAPER)
    assert (reading.status, reading.reason, reading.text, reading.error) == ("read", None, "3058", None)
    assert reading.confidence == pytest.approx(np.prod([digit.confidence for digit in reading.digits]))
    assert np.abs(np.array([digit.box for digit in reading.digits]) - BOXES).max() <= 3
    assert [number.text for number in reading.numbers] == ["3058"]
    assert reading.model == cnn_reader.name and reading.model.startswith("cnn@")
    below = written("62", stroke_px=12)[0]
    below = np.pad(below, ((0, 0), (0, PAPER.shape[1] - below.shape[1])), constant_values=255)
    assert cnn_reader.read(np.vstack([PAPER, below])).text == "3058 62"


def test_every_way_to_give_a_picture_gives_the_same(cnn_reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "row.png"
    path.write_bytes(encoded(PAPER))
    content, expected = path.read_bytes(), cnn_reader.read(PAPER)
    ways = [path, str(path), content, bytearray(content), memoryview(content), Image.fromarray(PAPER)]
    ways += [grey_of(PAPER), PAPER[:, ::-1][:, ::-1], np.dstack([PAPER] * 3)]
    ways += [PAPER.astype(np.uint16) * 257, grey_of(PAPER).astype(np.float64)]
    for way in ways:
        reading = cnn_reader.read(way)
        assert (reading.text, reading.page) == ("3058", None)
        assert [digit.box for digit in reading.digits] == [digit.box for digit in expected.digits]
        assert reading.confidence == pytest.approx(expected.confidence, abs=1e-5)
        assert reading.file == (str(path) if isinstance(way, str | Path) else "")


def test_the_grouping_does_not_depend_on_the_threads() -> None:
    gaps = np.random.default_rng(0).integers(0, 256, (1, 117, 2329), dtype=np.uint8)
    networks = [Reader(device="cpu", threads=threads).models.page_networks for threads in (1, 5)]
    one, five = (network.grouper(gaps) for network in networks if network and network.grouper)
    assert np.array_equal(one, five)


def test_a_picture_is_read_as_it_is_when_it_is_taken(cnn_reader: Reader) -> None:
    papers = [PAPER, np.full_like(PAPER, 255)] * 6
    image, buffer = Image.open(io.BytesIO(pages(*papers))), np.empty_like(PAPER)

    def refilled() -> Iterator[np.ndarray]:
        for paper in papers:
            buffer[:] = paper
            yield buffer

    for taken in (ImageSequence.Iterator(image), refilled()):
        assert [reading.text for reading in cnn_reader.read_all(taken)] == ["3058", ""] * 6


def test_what_is_no_picture_is_an_error_and_loses_no_other(softmax: Softmax) -> None:
    reader = softmax(min_confidence=0.0)
    bad = {
        "not_found": ["missing.png"],
        "empty_file": [b""],
        "truncated": [encoded(PAPER)[:300]],
        "not_an_image": [
            b"text", np.full((4, 4), np.nan), np.zeros((0, 4), np.uint8), None, 7, ["image.png"],
            io.BytesIO(b"text"),
        ],
    }  # fmt: skip
    for reason, pictures in bad.items():
        for picture in pictures:
            with pytest.raises(PictureError) as caught:
                reader.read(picture)
            assert caught.value.reason == reason, picture
            before, error, behind = reader.read_all([PAPER, picture, PAPER])
            assert before.status == behind.status == "read"
            assert (error.status, error.reason) == ("error", reason), picture
            assert error.text is None and error.confidence is None and error.numbers == ()
            assert error.error is not None and error.error.reason == reason


def test_one_picture_is_not_several_and_a_stack_is(softmax: Softmax) -> None:
    reader = softmax(min_confidence=0.0)
    for picture in (
        "image.png",
        Path("image.png"),
        b"bytes",
        bytearray(b"bytes"),
        PAPER,
        np.stack([PAPER] * 3, axis=-1),
    ):
        with pytest.raises(UsageError, match="several") as of_one:
            reader.read_all(picture)  # type: ignore[arg-type]
        assert "call read" in of_one.value.remedy
    grey = np.stack([PAPER, PAPER])
    for stack in (grey, np.stack([grey] * 3, axis=-1)):
        assert [len(reading.digits) for reading in reader.read_all(stack)] == [4, 4]
        with pytest.raises(PictureError, match="is not a picture") as of_several:
            reader.read(stack)
        assert "read_all" in of_several.value.remedy
    assert list(reader.read_all([])) == []


def test_the_first_page_of_a_file_is_its_picture(cnn_reader: Reader) -> None:
    first = cnn_reader.read(pages(drawn("6"), drawn("0")))
    assert (first.text, first.page) == ("6", 1)


def test_pictures_are_taken_as_they_are_needed(
    softmax: Softmax, default_reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        taken.clear()
        return (taken.append(number) or drawn("3", 28, stroke_px=3) for number in itertools.count())

    readings = default_reader.read_all(endless())
    next(readings)
    readings.close()
    assert len(taken) <= THREADS + 2
    readings = softmax().read_all(endless())
    assert taken == []
    for number in range(1, 30):
        next(readings)
        assert number <= len(taken) <= number + THREADS + 1
    readings.close()


def test_stopping_early_stops_the_work(softmax: Softmax, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[pipeline.ThreadPoolExecutor] = []
    closed = False

    class Watched(pipeline.ThreadPoolExecutor):
        def __init__(self, threads: int) -> None:
            super().__init__(threads)
            pools.append(self)

    def endless() -> Iterator[np.ndarray]:
        nonlocal closed
        try:
            while True:
                yield drawn("3", 28, stroke_px=3)
        finally:
            closed = True

    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", Watched)
    pictures = endless()
    readings = softmax().read_all(pictures)
    next(readings)
    readings.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pools[0].submit(print)
    pictures.close()
    assert closed


def test_values_out_of_range_are_usage_errors() -> None:
    bad = {
        "min_confidence": (-0.1, 1.1, float("nan")),
        "max_error": (0.0,),
        "top_k": (0, 11),
        "rotate": (45,),
    }
    bad |= dict.fromkeys(("jobs", "processes", "batch_size"), (0,))
    for name, values in bad.items():
        for value in values:
            with pytest.raises(UsageError):
                Reader("cnn", **{name: value})
    with pytest.raises(UsageError):
        Reader("cnn", max_error=0.1, min_confidence=0.9)


def test_alternatives_are_the_next_likely_digits(sure: Softmax) -> None:
    row = likely(d7=0.6, d1=0.2, d9=0.1, d4=0.1)
    expected = [("1", 0.2), ("4", 0.1), ("9", 0.1), ("0", 0.0)]
    for top_k in (1, 3, 10):
        (digit,) = sure(row, top_k=top_k).read(drawn("7")).digits
        assert (digit.digit, digit.confidence) == ("7", 0.6)
        assert list(digit.alternatives[:4]) == expected[: top_k - 1]
        assert len(digit.alternatives) == top_k - 1


def test_a_checkpoint_sets_the_least_confidence(tmp_path: Path) -> None:
    careful = str(saved(tmp_path / "careful.safetensors", refusal_threshold=0.999999))
    plain = str(saved(tmp_path / "plain.safetensors", seed=1))
    assert Reader(careful, device="cpu").min_confidence == 0.999999
    assert Reader(careful, device="cpu").read(drawn("3")).status == "refused"
    assert Reader(careful, device="cpu", min_confidence=0.0).read(drawn("3")).status == "read"
    assert Reader(plain, device="cpu").min_confidence == 0.5
    assert Reader(plain, careful, device="cpu").min_confidence == 0.999999


def test_the_least_certain_digit_gives_the_reason_of_a_refusal(sure: Softmax) -> None:
    reading = sure(likely(d3=1.0), likely(d5=0.48, d6=0.46)).read(written("35")[0])
    assert (reading.status, reading.reason, reading.text) == ("refused", "two_candidates", "35")
    assert reading.confidence == pytest.approx(0.48)
    half = drawn("3")[:, 45:]  # runs out of the picture
    assert sure(likely(d3=0.45, d2=0.4)).read(half).reason == "cut_off"
    assert sure(likely(d3=0.9)).read(half).status == "read"


def faint(paper: np.ndarray, levels: int = 10) -> np.ndarray:
    """Return a picture whose ink is this many of 255 levels darker than its paper."""
    return (230 - levels * (255.0 - paper) / 255).astype(np.uint8)


def test_a_number_too_faint_to_be_sure_of_is_refused_with_a_guess() -> None:
    reading = Reader(device="cpu", min_confidence=0.999).read(faint(PAPER))
    assert (reading.status, reading.reason, reading.text) == ("refused", "too_faint", "3058")
    assert np.abs(np.array([digit.box for digit in reading.digits]) - BOXES).max() <= 20


def test_faint_marks_are_digits_if_a_network_that_can_reject_reads_them(sure: Softmax) -> None:
    for min_confidence, (confidence, can_reject, reason) in itertools.product(
        (0.0, 0.99), ((0.4, True, "blank"), (0.6, True, "too_faint"), (0.6, False, "blank"))
    ):
        reader = sure(likely(d3=confidence, d5=0.3), min_confidence=min_confidence)
        assert reader.models.classifier is not None
        reader.models.classifier.can_reject = can_reject
        reading = reader.read(faint(drawn("3")))
        assert reading.reason == reason
        if reason == "blank":
            assert (reading.text, reading.confidence, reading.numbers) == ("", BLANK_CONFIDENCE, ())


def test_models_and_crops_are_averaged(
    tmp_path: Path, sure: Softmax, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(saved(tmp_path / f"{seed}.safetensors", seed=seed)) for seed in (1, 2)]
    options = {"device": "cpu", "top_k": 10, "min_confidence": 0.0}
    together = Reader(*paths, **options).read(drawn("3"))
    alone = [Reader(path, **options).read(drawn("3")) for path in paths]
    means = sum(np.array(_by_digit(reading)) for reading in alone) / 2
    np.testing.assert_allclose(_by_digit(together), means, atol=1e-5)
    assert together.model == "+".join(reading.model for reading in alone)

    reader = sure()
    answers = iter([likely(d3=0.9, d5=0.1), likely(d3=0.5, d5=0.5)])
    monkeypatch.setattr(
        reader.models.classifier, "probabilities", lambda images: np.array([next(answers) for _ in images])
    )
    (digit,) = reader.read(drawn("3")).digits
    assert (digit.digit, digit.confidence) == ("3", pytest.approx(0.7))
    assert digit.alternatives == (("5", pytest.approx(0.3)),)


def _by_digit(reading: Reading) -> list[float]:
    (digit,) = reading.digits
    probabilities = dict([(digit.digit, digit.confidence), *digit.alternatives])
    return [probabilities[name] for name in "0123456789"]


def test_pages_before_a_thread_that_cannot_be_started_are_answered(
    softmax: Softmax, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = 0

    class Failing(pipeline.ThreadPoolExecutor):
        def submit(self, *arguments: object) -> Future[object]:  # type: ignore[override]
            nonlocal submitted
            submitted += 1
            if submitted > 5:
                raise RuntimeError("can't start new thread")
            return super().submit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", Failing)
    readings = softmax(jobs=2).read_all([PAPER] * 9)
    assert (
        len(list(itertools.islice(readings, 2))) == 2
    )  # three were begun, and the first was looked at again
    with pytest.raises(RuntimeError, match="new thread"):
        next(readings)


def test_several_threads_read_as_one(cnn_reader: Reader) -> None:
    papers = [written(text, stroke_px=12)[0] for text in ("3058", "24", "7", "605")] * 3
    expected = [cnn_reader.read(paper).text for paper in papers]
    with ThreadPoolExecutor(4) as pool:
        assert [reading.text for reading in pool.map(cnn_reader.read, papers)] == expected


def test_lines_and_lone_digits_are_read_alike(default_reader: Reader) -> None:
    strip, _ = written("3058", gap=0.1)
    for text, paper in (("3058", PAPER), ("3058", strip), ("7", drawn("7"))):
        reading = default_reader.read(paper)
        assert (reading.text, reading.status) == (text, "read")
        assert all(number.line is not None for number in reading.numbers)


def test_a_named_model_replaces_the_default_one_of_its_kind() -> None:
    for named, expected in (
        (["reader"], ["finder", "reader", "grouper"]),
        (["grouper"], ["finder", "reader", "grouper"]),
        (["cnn"], ["cnn"]),
        (["finder", "reader"], ["finder", "reader", "grouper"]),
    ):
        reader = Reader(*named, device="cpu", max_error=0.01)
        assert [part.split("@")[0] for part in reader.name.split("+")] == expected
        assert (reader.calibration_note is None) == ("reader" in expected)


def test_a_star_is_refused_without_a_guess(default_reader: Reader) -> None:
    star = np.full((120, 200), 255, np.uint8)
    for angle in np.linspace(0, np.pi, 9):
        x, y = 45 * np.cos(angle), 45 * np.sin(angle)
        cv2.line(star, (int(100 - x), int(60 - y)), (int(100 + x), int(60 + y)), 0, 2)
    reading = default_reader.read(star)
    assert (reading.status, reading.reason, reading.text) == ("refused", "not_a_digit", "")
    assert reading.numbers == () and reading.confidence is not None and reading.confidence > 0.5


def test_a_stacked_fraction_is_refused(default_reader: Reader) -> None:
    for margin_px, found in ((16, 1), (20, 2), (30, 2)):  # the closest as one line
        above, below = written("3", 60, margin_px=margin_px)[0], written("4", 60, margin_px=margin_px)[0]
        width = max(above.shape[1], below.shape[1])
        above, below = (
            np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=255) for each in (above, below)
        )
        bar = np.full((6, width), 0, np.uint8)
        reading = default_reader.read(np.pad(np.vstack([above, bar, below]), 60, constant_values=255))
        assert (reading.status, reading.reason, reading.text) == ("refused", "not_a_digit", "")
        assert len(reading.detections) == found and not any(each.has_number for each in reading.detections)
        without_bar = default_reader.read(np.pad(np.vstack([above, below]), 60, constant_values=255))
        assert without_bar.text == "3 4" and all(each.has_number for each in without_bar.detections)


def printed(text: str) -> np.ndarray:
    """Draw a character in a font whose letters no model has seen."""
    page = Image.new("L", (120, 120), 235)
    ImageDraw.Draw(page).text((60, 60), text, 40, ImageFont.load_default(70), anchor="mm")
    return np.asarray(page)


def test_lone_letters_are_refused_and_lone_digits_read(default_reader: Reader) -> None:
    digits = [default_reader.read(printed(text)) for text in "0123456789"]
    assert [reading.text for reading in digits] == list("0123456789")
    assert [reading.text for reading in digits if reading.status == "read"] == list("023456789")  # 1 is a bar
    assert all(default_reader.read(printed(text)).status == "refused" for text in "AEFHKMNRWXk")


def test_a_rotation_is_a_number_or_a_text() -> None:
    for degrees in (90, "90"):
        reading = Reader("cnn", device="cpu", rotate=degrees).read(np.rot90(PAPER))
        assert (reading.text, reading.rotation) == ("3058", 90)


def test_the_first_pages_of_long_documents_are_answered_before_the_last_are_opened(
    softmax: Softmax, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()

    def document(content: bytes, **_: object) -> Iterator[tuple[int, np.ndarray]]:
        for number in range(1, 100_000):
            opened[content.decode()] = number
            yield number, np.full((20, 20), 1.0, np.float32)

    monkeypatch.setattr(pipeline, "open_pages", document)
    readings = softmax(jobs=2).read_all([b"first", b"second"])
    for number in range(1, 30):
        assert next(readings).page == number
        assert opened["first"] <= number + 1 and opened["second"] <= 1
    readings.close()


def test_a_fault_while_a_document_is_opened_loses_no_page_before_it(
    softmax: Softmax, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(content: object, **_: object) -> Iterator[tuple[int, np.ndarray]]:
        yield 1, np.full((20, 20), 1.0, np.float32)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(pipeline, "open_pages", broken)
    readings = list(softmax().read_all([b"document", PAPER]))
    assert [reading.status for reading in readings[:2]] == ["blank", "error"]
    assert readings[1].reason == "internal" and len(readings[2].digits) == 4


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page finder, its copy with another seed, and a reader of strips, which know nothing."""
    folder = tmp_path_factory.mktemp("untrained")
    tasks = {"finder": {"task": "page"}, "reader": {"task": "line", "alphabet": ALPHABET}}
    paths = {
        name: saved(folder / f"{name}.safetensors", name, **header)  # type: ignore[arg-type]
        for name, header in tasks.items()
    }
    header, tensors = read_checkpoint(paths["finder"])
    paths["other_finder"] = folder / "other_finder.safetensors"
    write_checkpoint(paths["other_finder"], dataclasses.replace(header, seed=1), tensors)
    return paths


def test_numbers_are_read_where_they_are_found(
    untrained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[FoundLine] = []
    monkeypatch.setattr(
        "digitcli.recognition.pages.find_lines", lambda grey, maps: Findings(tuple(lines), 0.0)
    )
    reader = Reader(untrained["finder"], untrained["reader"], device="cpu")
    assert reader.read(np.full((40, 60), 200, np.uint8)).status == "blank"
    assert reader.models.page_networks is not None
    monkeypatch.setattr(
        reader.models.page_networks.readers[0], "outputs", lambda crops: [_answer(crop) for crop in crops]
    )
    lines += [FoundLine(LineBox(300, y, 120, 40, 0.0), 0.99, 0.0, 30) for y in (260, 60)]
    page = np.full((400, 600), 230, np.uint8)
    page[50:70, 280:320] = 20  # the upper line is dark, and the answer to it "17.5"
    reading = reader.read(page)
    assert reading.status == "read"
    assert [number.raw for number in reading.numbers] == ["17.5", "8"]
    upper, lower = (number.box for number in reading.numbers)
    assert 40 <= upper[1] + upper[3] / 2 <= 80
    assert 240 <= lower[1] + lower[3] / 2 <= 280
    assert [part.split("@")[0] for part in reading.model.split("+")] == ["finder", "reader", "grouper"]


def _answer(crop: np.ndarray) -> LineOutput:
    text = "17.5" if crop.min() < 60 else "8"
    logits = np.full((crop.shape[-1] // 4, len(ALPHABET) + 1), -SURE, np.float32)
    logits[:, -1] = SURE
    for place, character in enumerate(text):
        column = round((place + 1) * len(logits) / (len(text) + 1))
        logits[column, [ALPHABET.index(character), -1]] = SURE, -SURE
    return LineOutput(logits, np.tile(np.array([0.4, 0.4, 0.4, 1.6], np.float32), (len(logits), 1)))


def test_untrained_networks_answer_any_page(untrained: dict[str, Path]) -> None:
    reader = Reader(untrained["finder"], untrained["reader"], device="cpu", keep_pictures=True)
    random = np.random.default_rng(0)
    for shape in ((28, 28), (50, 400), (300, 200)):
        reading = reader.read(random.integers(0, 256, shape, np.uint8))
        assert reading.status in ("read", "partial", "refused", "blank")
        assert reading.picture is not None


def test_models_that_do_not_fit_together_are_refused(untrained: dict[str, Path]) -> None:
    for names, message, remedy in (
        ("finder other_finder reader", "Several page finders", "Name one."),
        ("cnn reader", "cnn reads single digits", "Name models of one kind."),
        ("FINDER reader cnn", "cnn reads single digits", "Name models of one kind."),
        ("glance", "reads easy pictures only", "Add -m reader"),
        ("READER glance glance", "glance", ""),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            Reader(*(untrained.get(name, name.lower()) for name in names.split()), device="cpu")
        assert remedy in caught.value.remedy
