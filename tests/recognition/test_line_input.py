"""Lines are cut out of pictures as `predict` does it."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.imaging.network_inputs import cut_whole, strip_ink
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.line_input import contains, line_cutter, longest_line, reader_with
from digitcli.recognition.pages.page_reader import as_levels
from digitcli.recognition.reader import Reader
from digitcli.recognition.results import Digit, Number, Reading
from tests.support.pictures import grey_of, written


@pytest.fixture(scope="module")
def paper() -> np.ndarray:
    return written("40713", 60)[0]


def test_a_line_reader_sees_the_ink_of_the_strip_that_the_page_finder_finds(paper: np.ndarray) -> None:
    (line,) = line_cutter("reader", "cpu")(grey_of(paper))
    (strip,) = line_cutter("strip_reader", "cpu")(grey_of(paper))
    assert np.array_equal(line, strip_ink(strip))


def test_a_strip_reader_sees_the_strip_that_the_page_finder_finds(paper: np.ndarray) -> None:
    (line,) = line_cutter("strip_reader", "cpu")(grey_of(paper))
    (number,) = Reader("finder", "page_reader", device="cpu").read(paper).numbers
    assert line.shape[:2] == (3, 40) and number.line is not None and np.array_equal(line[0], number.line)


def test_a_picture_reader_sees_the_whole_picture(paper: np.ndarray) -> None:
    (line,) = line_cutter("picture_reader")(grey_of(paper))
    assert np.array_equal(line, cut_whole(as_levels(grey_of(paper))).image)


def test_every_line_of_a_page_is_cut_out_and_the_longest_is_chosen(paper: np.ndarray) -> None:
    short = written("27", 60)[0]
    short = np.pad(short, ((0, 0), (0, paper.shape[1] - short.shape[1])), constant_values=255)
    lines = line_cutter("reader")(grey_of(np.vstack([short, paper])))
    assert len(lines) == 2 and lines[0].shape[1] < lines[1].shape[1]
    assert longest_line(lines, "page.png") is lines[1]


@pytest.mark.parametrize(
    "model, together",
    [("reader", "finder+page_reader+reader"), ("page_reader", "finder+page_reader")],
)
def test_a_line_model_reads_with_what_predict_adds_to_it(model: str, together: str) -> None:
    reader = reader_with(resolve_model(model), "cpu")
    assert reader is not None
    assert "+".join(part.partition("@")[0] for part in reader.name.split("+")) == together


def test_neighbouring_numbers_have_digits_together() -> None:
    numbers = tuple(
        Number(tuple(Digit(digit, 1.0, (0, 0, 1, 1)) for digit in text), 1.0, text)
        for text in ("12", "3", "45")
    )
    page = Reading("a.png", None, "read", None, "12 3 45", 1.0, numbers, "reader@0")
    assert all(contains(page, text) for text in ("12", "3", "45", "123", "345", "12345"))
    assert not any(contains(page, text) for text in ("", "1", "23", "1245", "312"))
    blank = Reading("a.png", None, "blank", "blank", "", 0.9, (), "reader@0")
    assert contains(blank, "") and not contains(blank, "1")


def test_a_picture_without_lines_is_blank() -> None:
    assert line_cutter("reader")(np.ones((300, 300), np.float32)) == []
    with pytest.raises(PictureError, match=r"No number was found in page.png") as caught:
        longest_line([], "page.png")
    assert caught.value.reason == "blank"
