"""The annotated pictures can be looked at, and none is written over another."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import OutputError
from digitcli.recognition.annotation import FRAME_PX, Annotator, annotate
from digitcli.recognition.readings import Detection, Digit, Number, Reading, Status

GREEN, ORANGE, RED, BLUE = (0, 130, 60), (190, 110, 0), (200, 30, 30), (40, 90, 210)
BANNER_PX = 34


def reading(
    file: str = "photo.jpg",
    *,
    page: int | None = None,
    confidence: float = 0.99,
    box: tuple[int, int, int, int] = (200, 150, 60, 100),
    shape: tuple[int, int] = (400, 600),
    status: Status = "read",
) -> Reading:
    picture = np.ones(shape, np.float32)
    number = Number((Digit("5", confidence, box),), confidence, "5")
    return Reading(
        file, page, status, None, "5", confidence, (number,), "cnn@1a2b3c4d", picture=picture, ink=picture
    )


def image_of(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and image.mode == "RGB"
    return image


def written_names(folder: Path, *readings: Reading) -> list[str]:
    """The names of the pictures written for readings, one by one in their order."""
    annotator = Annotator(folder)
    names: list[str] = []
    for original, passed in zip(readings, annotator.write_all(readings), strict=True):
        assert passed is original
        names += [path.name for path in folder.iterdir() if path.name not in names]
    return names


def test_the_colour_of_a_box_shows_the_confidence_of_its_digit_or_a_refusal() -> None:
    for confidence, colour in ((0.99, GREEN), (0.7, ORANGE), (0.3, RED)):
        image = image_of(annotate(reading(confidence=confidence)))
        assert image.size == (600, 400 + BANNER_PX)
        for point in ((198, 200), (261, 200), (230, 148), (230, 251)):
            assert image.getpixel(point) == colour
        assert image.getpixel((230, 200)) == image.getpixel((100, 100)) == (255, 255, 255)
    sure = reading(confidence=0.99)
    refused = dataclasses.replace(sure, numbers=(sure.numbers[0].refused_for("low_confidence"),))
    assert image_of(annotate(refused)).getpixel((198, 200)) == RED


def test_places_that_are_passed_over_have_a_blue_frame() -> None:
    corners = ((20.0, 300.0), (80.0, 300.0), (80.0, 340.0), (20.0, 340.0))
    passed_over, read = Detection(corners, 0.61, has_number=False), Detection(corners, 0.98, has_number=True)
    with_one, with_other = (
        dataclasses.replace(reading(), detections=(each,)) for each in (passed_over, read)
    )
    assert image_of(annotate(with_one)).getpixel((50, 300)) == BLUE
    assert image_of(annotate(with_other)).getpixel((50, 300)) == (255, 255, 255)


def test_a_frame_shows_which_digits_are_one_of_several_numbers() -> None:
    one = reading(box=(200, 150, 60, 100))
    digits = one.numbers[0].digits + reading(box=(300, 150, 60, 100)).numbers[0].digits
    other = reading(box=(20, 20, 9, 9)).numbers[0]
    two = dataclasses.replace(one, numbers=(Number(digits, 0.7, "55"), other))
    frame = (200 - FRAME_PX, 200), (360 + FRAME_PX, 200), (280, 150 - FRAME_PX), (280, 250 + FRAME_PX)
    assert {image_of(annotate(two)).getpixel(point) for point in frame} == {ORANGE}
    alone = dataclasses.replace(one, numbers=(Number(digits, 0.7, "55"),))
    assert {image_of(annotate(alone)).getpixel(point) for point in frame} == {(255, 255, 255)}


def test_the_name_of_a_digit_stands_above_its_box_or_below_where_there_is_no_room() -> None:
    above = np.asarray(image_of(annotate(reading())))
    assert (above[125:146, 198:204] == GREEN).all(axis=-1).any()
    below = np.asarray(image_of(annotate(reading(box=(200, 5, 60, 100)))))
    assert (below[110:125, 198:204] == GREEN).all(axis=-1).any()


def test_small_digits_are_enlarged_and_no_label_covers_one() -> None:
    boxes = [(x, y, 14, 28) for y in (1, 33) for x in (20, 36, 120, 136)]  # two rows without a gap for labels
    digits = [Digit("5", 0.99, box) for box in boxes]
    numbers = tuple(
        Number((left, right), 0.99, "55") for left, right in zip(digits[::2], digits[1::2], strict=True)
    )
    image = image_of(annotate(dataclasses.replace(reading(shape=(64, 550)), numbers=numbers)))
    times = 3  # 28 pixels become 60 or more
    assert image.size == (550 * times, 64 * times + BANNER_PX)
    pixels = np.asarray(image)
    for x, y, width, height in boxes:
        inside = pixels[y * times : (y + height) * times, x * times : (x + width) * times]
        assert (inside == 255).all()
    is_green = (pixels[:-BANNER_PX] == GREEN).all(axis=-1)
    assert is_green.sum() > 8 * 15 * 20  # the labels, of more than so many pixels each


def test_pictures_of_any_size_become_ones_to_be_looked_at_with_the_box_where_the_digit_is() -> None:
    for height, width in ((1, 1), (2, 300), (5000, 3), (28, 28), (3000, 4000)):
        image = image_of(annotate(reading(shape=(height, width), box=(0, 0, width, height))))
        assert 480 <= max(image.size) <= 1600 + BANNER_PX
    image = image_of(annotate(reading(shape=(2400, 3200), box=(1600, 1000, 400, 800))))
    assert image.size == (1600, 1200 + BANNER_PX)
    assert image.getpixel((798, 700)) == GREEN and image.getpixel((1001, 700)) == GREEN


def test_the_answer_stands_below_and_tells_blank_from_refused() -> None:
    paper = np.ones((500, 500), np.float32)
    blank = Reading("a.png", None, "blank", "blank", "", 0.93, (), "m", picture=paper, ink=paper)
    refused = dataclasses.replace(blank, status="refused", reason="cut_off")
    words = []
    for answer in (reading(), blank, refused):
        banner = np.asarray(image_of(annotate(answer)))[-BANNER_PX:, :150]
        assert (banner > 200).all(axis=-1).any() and (banner[0] == (30, 30, 40)).all()
        words.append(banner.tolist())
    assert words[1] != words[2]


def test_a_long_answer_does_not_widen_the_picture() -> None:
    widths = [
        image_of(annotate(dataclasses.replace(reading(), text=" ".join(["12"] * n)))).width for n in (30, 300)
    ]
    assert widths[0] == widths[1] < 1000


def test_pictures_are_named_after_their_files_and_none_is_written_over(tmp_path: Path) -> None:
    files = ("scans/photo.jpg", "photo.jpg", "PHOTO.jpg", "-", "", "a", "a-2", "a", "a")
    pages = [("scan.tif", 1), ("scan.tif", 2), ("other/scan.tif", 2)]
    readings = [*map(reading, files), *(reading(file, page=page) for file, page in pages)]
    names = written_names(tmp_path / "out", *readings)
    assert names == [
        "photo.jpg.png", "photo.jpg-2.png", "PHOTO.jpg-3.png", "stdin.png", "picture.png", "a.png", "a-2.png",
        "a-3.png", "a-4.png", "scan.tif-page1.png", "scan.tif-page2.png", "scan.tif-page2-2.png",
    ]  # fmt: skip
    strange = ["x" * 250, "字" * 84, os.fsdecode(b"caf\xe9\xff.png"), "a\0b", "new\nline"]
    names = written_names(
        tmp_path / "more", *(reading(name, page=page) for name in strange for page in (1, 3))
    )
    assert len(names) == 2 * len(strange)
    for written in names:  # any disk takes them
        assert written.endswith(".png") and len(os.fsencode(written)) <= 255
        written.encode("utf-8")


def test_readings_are_written_as_they_pass_into_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "below"
    annotator = Annotator(folder)
    assert not (tmp_path / "deep").exists()
    assert list(annotator.write_all([])) == [] and not folder.exists()
    bad = Reading("bad.png", None, "error", "corrupt", None, None, (), "m")
    passing = annotator.write_all([reading("a.png"), reading("b.png"), bad])
    next(passing)
    assert [path.name for path in folder.iterdir()] == ["a.png.png"]
    assert [each.file for each in passing] == ["b.png", "bad.png"] and len(list(folder.iterdir())) == 2


def test_a_folder_that_holds_something_wants_force_and_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png.png").write_bytes(b"old")
    with pytest.raises(OutputError, match="not empty"):
        Annotator(tmp_path)
    list(Annotator(tmp_path, force=True).write_all([reading("a.png")]))
    image_of((tmp_path / "a.png.png").read_bytes())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be used"):
            list(Annotator(folder, force=True).write_all([reading("a.png")]))
