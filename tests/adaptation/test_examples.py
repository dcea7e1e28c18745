"""Labelled pictures give the lines that `predict` shows a line network, with their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.adaptation.examples import LONGEST_PX, find_lines_to_learn
from digitcli.data.labelled_pictures import LabelledPicture
from digitcli.errors import PictureError
from digitcli.inference.predictor import LineRecognizer, PageFinder, load_line_recognizer, load_page_finder
from digitcli.recognition.calibrate import answer_pictures
from digitcli.recognition.line_crops import line_cutter
from digitcli.recognition.reader import Reader
from tests.support.pictures import encoded, grey_of, written


@pytest.fixture(scope="module")
def recognizer() -> LineRecognizer:
    return load_line_recognizer("reader", "cpu")


@pytest.fixture(scope="module")
def finder() -> PageFinder:
    return load_page_finder("finder", "cpu")


def picture(folder: Path, paper: np.ndarray, text: str) -> LabelledPicture:
    path = folder / f"{len(list(folder.iterdir()))}.png"
    path.write_bytes(encoded(paper))
    return LabelledPicture(path.name, path, text)


def test_lines_are_the_ink_of_the_strips_of_the_page_finder(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    one = picture(tmp_path, paper, "3058")
    (example,) = find_lines_to_learn([one], recognizer, finder)
    assert example.picture == one and len(example.lines) >= 2
    assert {line.text for line in example.lines} == {"3058"}
    (first,) = line_cutter("reader", "cpu")(grey_of(paper))
    assert np.array_equal(example.lines[0].image, first)
    assert all(line.image.shape[0] == 40 and line.boxes.shape == (0, 4) for line in example.lines)


def test_a_wrong_label_is_learned_and_an_empty_one_too(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    pictures = [picture(tmp_path, paper, text) for text in ("9999", "", "3.058-")]
    examples = find_lines_to_learn(pictures, recognizer, finder)
    assert [{line.text for line in example.lines} for example in examples] == [{"9999"}, {""}, {"3.058-"}]


def test_lines_without_room_for_their_text_or_too_long_are_left_out(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("305", 60, margin_px=30)
    long, _ = written("30" * (LONGEST_PX // 24), 60, gap=0.2, margin_px=30)
    pictures = [picture(tmp_path, paper, "1" * 99), picture(tmp_path, long, "30" * (LONGEST_PX // 24))]
    assert [example.lines for example in find_lines_to_learn(pictures, recognizer, finder)] == [(), ()]


def test_a_label_is_divided_between_regions_or_not_used(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    upper, lower = (written(text, 60, margin_px=60)[0] for text in ("305", "17"))
    width = max(upper.shape[1], lower.shape[1])
    page = np.concatenate(
        [np.pad(each, ((0, 60), (0, width - each.shape[1])), constant_values=255) for each in (upper, lower)]
    )
    pictures = [picture(tmp_path, page, text) for text in ("305 17", "888 99")]
    known, unknown = find_lines_to_learn(pictures, recognizer, finder)
    assert [line.text for line in known.lines] == ["305", "305", "17", "17"]
    assert unknown.lines == ()


def test_only_pictures_that_are_read_as_the_label_in_every_strip_are_kept(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    pictures = [picture(tmp_path, paper, text) for text in ("3058", "3050")]
    right, wrong = find_lines_to_learn(pictures, recognizer, finder, only_agreeing=True)
    assert len(right.lines) >= 2 and wrong.lines == ()
    _, labelled = find_lines_to_learn(pictures, recognizer, finder)
    assert {line.text for line in labelled.lines} == {"3050"}


def test_a_picture_that_cannot_be_opened_is_an_error(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    with pytest.raises(PictureError):
        find_lines_to_learn([LabelledPicture("a", tmp_path / "a", "1")], recognizer, finder)


def test_a_picture_that_lies_on_its_side_is_learned_upright(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    upright, turned = picture(tmp_path, paper, "3058"), picture(tmp_path, np.rot90(paper), "3058")
    (expected,) = find_lines_to_learn([upright], recognizer, finder)
    (learned,) = find_lines_to_learn([turned], recognizer, finder, rotations={turned.file: 90})
    assert len(learned.lines) == len(expected.lines)
    pairs = zip(learned.lines, expected.lines, strict=True)
    assert all(np.array_equal(one.image, other.image) for one, other in pairs)
    ((answer,), _) = answer_pictures(
        Reader(device="cpu", min_confidence=0.0, rotate=90), [turned], lambda event: None
    )
    assert answer.is_right and answer.rotation == 90


def test_a_region_without_a_part_of_its_number_is_left_out(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("305", 60, margin_px=30)
    pictures = [picture(tmp_path, paper, text) for text in ("3058", "3505")]
    cut, wrong = find_lines_to_learn(pictures, recognizer, finder)
    assert cut.lines == ()
    assert {line.text for line in wrong.lines} == {"3505"}  # no part of this label reads 305
