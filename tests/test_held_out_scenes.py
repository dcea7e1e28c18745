"""The generators of pages in benchmarks/ that training never sees."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from held_out.camera import crumple, lay, speckled
from held_out.sheet import HeldOutRoom, HeldOutScene, Pen, digits_box, held_out_room, new_sheet, overlap
from held_out_scenes import WORLDS, judge, score_page, single_number

from digitcli.data.dataset import Digits
from digitcli.strip_format import ALPHABET
from digitcli.synthesis.page import Kind
from tests.support.readings import reading_of


@pytest.fixture(scope="module")
def room(digits: Digits) -> HeldOutRoom:
    return held_out_room(Digits(digits.images[:400], digits.labels[:400]))


@pytest.mark.parametrize("name", WORLDS)
def test_every_generator_labels_numbers_where_their_ink_is(room: HeldOutRoom, name: str) -> None:
    scene = WORLDS[name](np.random.default_rng(3), room, None)
    again = WORLDS[name](np.random.default_rng(3), room, None)
    assert np.array_equal(scene.picture, again.picture)
    assert scene.ignored == again.ignored
    height, width = scene.picture.shape
    assert max(height, width) <= 2500
    numbers = [label for label in scene.labels if label.kind is Kind.NUMBER]
    assert numbers
    for label in numbers:
        assert set(label.text) <= set(ALPHABET)
        assert len(label.corners) == len(label.text)
        x0, y0, x1, y1 = (round(side) for side in digits_box(label))
        assert -2 <= x0 < x1 <= width + 2
        assert -2 <= y0 < y1 <= height + 2
        assert np.ptp(scene.picture[max(y0, 0) : y1, max(x0, 0) : x1]) > 40


def test_labels_follow_the_ink_when_a_sheet_is_crumpled_and_photographed(room: HeldOutRoom) -> None:
    sheet = new_sheet(np.random.default_rng(0), room, (30, 31), "x" * 10, 8)
    sheet.write(Pen(room.fonts.printer(sheet.random), 0.0), "407", 100, 120)
    crumple(sheet, 1.0)
    lay(sheet, speckled(sheet, 0.9), 3.0, 0.05)
    x, y, width, height = cv2.boundingRect((sheet.light < 0.4).astype(np.uint8))
    iou, share_in_label = overlap((x, y, x + width, y + height), digits_box(sheet.labels[0]))
    assert iou > 0.75
    assert share_in_label > 0.97


def test_a_single_number_is_the_only_one_in_its_picture(room: HeldOutRoom) -> None:
    for name, world in WORLDS.items():
        scene = single_number(world, np.random.default_rng(2), room)
        assert [label.kind for label in scene.labels] == [Kind.NUMBER], name
        assert not scene.ignored


def test_what_is_shown_once_is_right_once(room: HeldOutRoom) -> None:
    scene = single_number(WORLDS["receipt"], np.random.default_rng(2), room)
    (label,) = scene.labels
    x0, y0, x1, y1 = (round(side) for side in digits_box(label))
    digits, box = "".join(filter(str.isdecimal, label.text)), (x0, y0, x1 - x0, y1 - y0)
    elsewhere = (x1 + 100, y0, x1 - x0, y1 - y0)
    doubtful = replace(scene, ignored=((x1 + 99, y0 - 1, 2 * x1 + 101, y1 + 1),))
    reading = reading_of((digits, box), (digits, box), (digits, elsewhere))
    assert judge(scene, reading.numbers) == [True, False, False]
    assert judge(doubtful, reading.numbers) == [True, False, None]


def test_a_page_is_scored_by_digits_and_places(room: HeldOutRoom) -> None:
    scene = single_number(WORLDS["exam"], np.random.default_rng(4), room)
    text = "".join(character for character in scene.labels[0].text if character.isdecimal())
    x0, y0, x1, y1 = (round(side) for side in digits_box(scene.labels[0]))
    right, elsewhere = (x0, y0, x1 - x0, y1 - y0), (x1 + 50, y1 + 50, 20, 20)
    wrong_text = "9" * (len(text) + 1)
    assert score_page(scene, reading_of((text, right))).tolist() == [1, 1, 1, 1]
    assert score_page(scene, reading_of((wrong_text, right))).tolist() == [1, 0, 0, 1]
    assert score_page(scene, reading_of((text, right), (text, elsewhere))).tolist() == [1, 1, 1, 2]
    ignoring: HeldOutScene = replace(scene, ignored=((x1 + 40, y1 + 40, x1 + 90, y1 + 90),))
    assert score_page(ignoring, reading_of((text, elsewhere))).tolist() == [1, 0, 0, 0]
    moved = replace(scene.labels[0], corners=scene.labels[0].corners - 500)
    with_two = replace(scene, labels=(moved, *scene.labels))
    assert score_page(with_two, reading_of((text, right), (text, right))).tolist() == [2, 1, 1, 2]
