from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from digitcli.recognition.reading_formats import SavedNumber, SavedReading
from digitcli.reporting.crops import CROP_SIZE_PX, Answer, crop_answers
from digitcli.reporting.page import Figure
from tests.support.pictures import drawn
from tests.support.predictions import put


def size_of(url: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size


def figures(answers: Sequence[Answer], folder: Path) -> Mapping[int, Figure]:
    crops = crop_answers(answers, folder)
    assert crops.ambiguous == ()
    return crops.figures


def number(*box: int) -> SavedNumber:
    return SavedNumber("5", "5", "read", 0.9, box)


def test_a_number_is_cut_out_with_some_paper_around_it() -> None:
    put("five.png", "5")
    answer = SavedReading("five.png", "read")
    crops = figures([(answer, number(80, 60, 40, 40)), (answer, None)], Path("elsewhere"))
    assert size_of(crops[0].url) == (64, 64)
    assert size_of(crops[1].url) == (CROP_SIZE_PX[1], CROP_SIZE_PX[1])  # the whole picture, smaller


def test_boxes_are_those_of_the_turned_page() -> None:
    Image.fromarray(drawn("5", 100)[:, :50]).save("narrow.png")
    upright = figures([(SavedReading("narrow.png", "read"), None)], Path())
    turned = figures([(SavedReading("narrow.png", "read", rotation=90), None)], Path())
    assert size_of(upright[0].url) == (36, 72) and size_of(turned[0].url) == (100, 50)


def test_pages_of_a_document_are_told_apart() -> None:
    pages = [Image.new("L", (30, 40)), Image.new("L", (60, 40))]
    pages[0].save("two.tif", save_all=True, append_images=pages[1:])
    answers = [(SavedReading("two.tif", "read", page=page), None) for page in (2, 1, 3)]
    crops = figures(answers, Path())
    assert {index: size_of(crop.url) for index, crop in crops.items()} == {0: (60, 40), 1: (30, 40)}


def test_pictures_are_found_beside_the_file_too() -> None:
    put("beside/five.png", "5")
    assert figures([(SavedReading("five.png", "read"), None)], Path("beside"))
    assert not figures([(SavedReading("five.png", "read"), None)], Path("elsewhere"))


def test_of_two_different_pictures_with_one_name_none_is_shown() -> None:
    put("five.png", "5")
    put("same.png", "5")
    put("beside/five.png", "7")
    put("beside/same.png", "5")
    names = ("five.png", "same.png", str(Path("five.png").absolute()))
    crops = crop_answers([(SavedReading(name, "read"), None) for name in names], Path("beside"))
    assert crops.figures.keys() == {1, 2} and crops.ambiguous == ("five.png",)


@pytest.mark.parametrize("file", ["none.png", "text.png", "", ".", "a\0b", "n" * 5000, "-", "/dev/null"])
def test_what_is_no_picture_has_no_crop(file: str) -> None:
    Path("text.png").write_text("no picture")
    assert figures([(SavedReading(file, "read"), number(0, 0, 9, 9))], Path()) == {}


def test_a_picture_that_became_smaller_has_no_crop() -> None:
    put("five.png", "5")
    assert figures([(SavedReading("five.png", "read"), number(900, 900, 9, 9))], Path()) == {}
    assert figures([(SavedReading("five.png", "read"), number(5, 5, 0, 0))], Path()) == {}
