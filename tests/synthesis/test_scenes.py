"""Scenes, and the strips that are cut out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.imaging.network_inputs import LineBox
from digitcli.strip_format import ALPHABET, OTHER
from digitcli.synthesis import page_parts
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.page import Kind, Label, Layers, Page, joined, line_box
from digitcli.synthesis.page_layouts import LAYOUTS, Layout, fill_with_table
from digitcli.synthesis.page_marks import Desk, draw_discs
from digitcli.synthesis.scenes import MOST_ROWS, Scene, SceneComposer
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strips import fills_picture, strip_of_picture, strips_of, strips_of_mistakes
from digitcli.synthesis.strokes import load_writers


@pytest.fixture(scope="module")
def composer(room: WritingRoom) -> SceneComposer:
    return SceneComposer(room, LineSynthesizer(split(load_mnist()).train, load_writers()))


def test_the_same_generator_gives_the_same_scene(composer: SceneComposer) -> None:
    first, again = (composer.page(np.random.default_rng(3), 200, 300) for _ in range(2))
    assert np.array_equal(first.picture, again.picture)
    assert [label.text for label in first.labels] == [label.text for label in again.labels]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout[2].__name__)
def test_every_layout_labels_each_character_where_its_ink_is(room: WritingRoom, layout) -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        page = Page.blank(300, 400)
        layout[2](Desk(random, page, room, room.scribe(random), 30.0))
        for label in page.labels:
            if label.kind is Kind.NUMBER and label.text:
                assert len(label.corners) == len(label.text.replace(" ", ""))
                assert set(label.text) <= set(ALPHABET)
            box = line_box(label)
            x, y = round(box.x), round(box.y)
            reach = round(box.height / 2) + 2
            window = page.layers.writing[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
            if label.text and 0 <= x < page.width and 0 <= y < page.height:
                assert window.any()


def test_a_column_has_rows_below_each_other_or_one_number(composer: SceneComposer) -> None:
    alone = 0
    for seed in range(40):
        scene = composer.column(np.random.default_rng(seed))
        boxes = [line_box(label) for label in scene.labels]
        assert 1 <= len(boxes) <= MOST_ROWS
        assert all(label.kind is Kind.NUMBER and label.text.isdecimal() for label in scene.labels)
        assert all(0 < box.y < scene.picture.shape[0] for box in boxes)
        distances = np.diff([box.y for box in boxes])
        assert np.all(distances > 0.6 * max(box.height for box in boxes))
        text = strip_of_picture(scene).text
        assert text in (OTHER, scene.labels[0].text) if len(boxes) == 1 else text == OTHER
        alone += text != OTHER
    assert alone >= 5


@pytest.mark.parametrize("fill", [page_parts.fill_with_choices, page_parts.fill_with_one_box])
@pytest.mark.parametrize("seed", range(6))
def test_boxes_to_tick_are_ink_without_a_label(
    room: WritingRoom, monkeypatch: pytest.MonkeyPatch, seed: int, fill: Layout
) -> None:
    boxes: list[np.ndarray] = []  # where their outlines are drawn
    draw = page_parts.draw_strokes

    def remember(canvas: np.ndarray, strokes: list[np.ndarray], width_px: float, level: int) -> None:
        boxes.extend(strokes)
        draw(canvas, strokes, width_px, level)

    monkeypatch.setattr(page_parts, "draw_strokes", remember)
    random = np.random.default_rng(seed)
    page = Page.blank(300, 400)
    fill(Desk(random, page, room, room.scribe(random), 30.0))
    ink = np.maximum(page.layers.writing, page.layers.rules)
    seen = [box for box in boxes if box.min() >= 0 and (box.max(axis=0) < (400, 300)).all()]
    assert seen
    for box in seen:
        x, y = np.round(box).astype(int).T
        assert (ink[y, x] > 0).mean() > 0.9
        centre = box.mean(axis=0)
        for label in page.labels:
            low, high = label.corners.min((0, 1)), label.corners.max((0, 1))
            assert not ((low < centre) & (centre < high)).all()


def test_a_lone_box_to_tick_is_no_circle(room: WritingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    outlines: list[np.ndarray] = []
    monkeypatch.setattr(page_parts, "draw_strokes", lambda canvas, strokes, *_: outlines.extend(strokes))
    monkeypatch.setattr(page_parts, "draw_tick", lambda *_: None)
    for seed in range(40):
        random = np.random.default_rng(seed)
        page_parts.fill_with_one_box(Desk(random, Page.blank(300, 400), room, room.scribe(random), 30.0))
    assert len(outlines) == 40
    for outline in outlines:
        half = np.ptp(outline, axis=0) / 2
        distances = np.hypot(*((outline - outline.mean(axis=0)) / half).T)
        assert distances.max() > 1.2  # those of an ellipse are 1


def test_a_square_of_one_shade_has_no_label(composer: SceneComposer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digitcli.synthesis.scenes.PLAIN_SHARE", 1.0)
    (tile,) = composer.square(np.random.default_rng(0), 64)
    assert np.ptp(tile.scene.picture) == 0
    assert not tile.scene.labels


@pytest.mark.parametrize("fineness", [1, 2])
def test_what_paper_cuts_off_has_no_label_beside_it(
    composer: SceneComposer, monkeypatch: pytest.MonkeyPatch, fineness: int
) -> None:
    """Also where the paper is a sheet on a table, or is seen from the side."""
    written: list[np.ndarray] = []

    def remember(random: np.random.Generator, layers: Layers, digit_px: float) -> np.ndarray:
        written.append(layers.writing)
        return layers.writing

    monkeypatch.setattr("digitcli.synthesis.scenes.photograph_page", remember)
    random = np.random.default_rng(0)
    for _ in range(60):
        for label in composer.page(random, 256 * fineness, 256 * fineness, digit_px=20.0 * fineness).labels:
            if label.kind is not Kind.NUMBER or not len(label.corners):
                continue
            outside = label.shares_outside(written[-1].shape[::-1])
            for character, share in zip(label.corners, outside, strict=True):
                (x0, y0), (x1, y1) = np.floor(character.min(axis=0)), np.ceil(character.max(axis=0))
                seen = written[-1][max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1]
                assert share > 0.5 or seen.any()


def test_a_label_moves_with_what_the_paper_shows_of_it() -> None:
    def corners(*lefts: float) -> np.ndarray:
        return np.array([[[x, 5], [x + 20, 5], [x + 20, 35], [x, 35]] for x in lefts], np.float32)

    page = Page.blank(100, 100)
    for kind, text, lefts in (
        (Kind.NUMBER, "1 23", [60, 90, 120]),
        (Kind.NUMBER, "4", [110]),
        (Kind.OTHER, "", [-5]),
    ):
        page.labels.append(Label(kind, text, corners(*lefts)))
    (number, word) = page.shrunk(0.5, 10, 20).labels
    assert (number.text, word.kind) == ("1 2", Kind.OTHER)
    assert number.seen is not None and number.seen[1, :, 0] == pytest.approx([55, 60, 60, 55])
    assert number.corners[0, 0] == pytest.approx([40, 22.5])
    assert number.shares_outside((100, 100)) == pytest.approx([0, 0.5])
    assert number.shares_outside((55, 100)) == pytest.approx([0, 1])
    assert number.shares_outside((58, 100)) == pytest.approx([0, 0.7])  # cut off twice at the same side
    assert word.shares_outside((100, 100)) == pytest.approx([0.25])
    both = joined([word, number])
    assert both.shares_outside((100, 100)) == pytest.approx([0.25, 0, 0.5]) and len(both.corners) == 3
    assert joined([Label(Kind.NUMBER, "4", corners(10))] * 2).text == "4 4"


def test_discs_are_filled_and_cover_no_writing(room: WritingRoom) -> None:
    random = np.random.default_rng(0)
    page = Page.blank(200, 200)
    desk = Desk(random, page, room, room.scribe(random), 30.0)
    page.put(desk.number("0"), 85, 85, Kind.NUMBER, "0")
    x0, y0 = np.floor(page.labels[0].corners.min(axis=(0, 1))).astype(int)
    x1, y1 = np.ceil(page.labels[0].corners.max(axis=(0, 1))).astype(int)
    for _ in range(40):
        draw_discs(desk)
    assert (page.layers.rules > 0).mean() > 0.2
    assert (page.layers.rules[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] == 0).all()
    assert len(page.labels) == 1


def test_scenes_fill_most_of_a_square_and_do_not_overlap(composer: SceneComposer) -> None:
    filled = []
    for seed in range(12):
        placed = composer.square(np.random.default_rng(seed), 256)
        covered = np.zeros((256, 256), int)
        for each in placed:
            assert each.x + each.width <= 256 and each.y + each.height <= 256
            covered[each.y : each.y + each.height, each.x : each.x + each.width] += 1
            rows, columns = each.scene.picture.shape
            assert abs(each.width * rows - each.height * columns) <= 0.5 * (rows + columns) + 1
        assert covered.max() == 1
        filled += [covered.mean()] if len(placed) > 1 else []
    assert np.mean(filled) > 0.6  # a line or a character may leave a part of its tile empty


def test_a_line_is_a_scene_of_one_number_or_of_nothing(composer: SceneComposer) -> None:
    random = np.random.default_rng(2)
    scenes = [composer.line(random) for _ in range(40)]
    assert {len(scene.labels) for scene in scenes} == {0, 1}
    for scene in scenes:
        assert scene.picture.shape[0] == 40
        for label in scene.labels:
            assert len(label.corners) == len(label.text)


def test_a_picture_of_one_character_shows_a_digit_or_a_letter(composer: SceneComposer) -> None:
    random = np.random.default_rng(4)
    scenes = [composer.character(random) for _ in range(60)]
    assert {scene.labels[0].kind for scene in scenes} == {Kind.NUMBER, Kind.OTHER}
    for scene in scenes:
        (label,) = scene.labels
        height, width = scene.picture.shape
        assert 0.5 < width / height < 2
        assert label.text.isdecimal() == (label.kind is Kind.NUMBER)
        assert len(label.text) <= 1
        assert line_box(label).share_outside((width, height)) < 0.3


def test_a_picture_without_a_number_is_labelled_so(composer: SceneComposer) -> None:
    scenes = [composer.empty(np.random.default_rng(seed)) for seed in range(40)]
    assert not any(label.text for scene in scenes for label in scene.labels)
    assert {strip_of_picture(scene).text for scene in scenes} == {"", OTHER}
    assert sum(float(scene.picture.std()) > 2 for scene in scenes) >= 20  # most show something


def test_a_single_row_of_boxes_is_one_number(room: WritingRoom) -> None:
    for seed in range(25):
        random = np.random.default_rng(seed)
        page = Page.blank(70, 300)  # too low for a second row
        fill_with_table(Desk(random, page, room, room.scribe(random), 40.0))
        texts = [label.text for label in page.labels if label.kind is Kind.NUMBER]
        assert len(texts) < 3 or max(map(len, texts)) > 1


def test_held_out_fonts_are_not_among_the_others() -> None:
    fonts = load_fonts()
    train, held_out = fonts.split(held_out=False), fonts.split(held_out=True)
    assert not set(train.handwritten) & set(held_out.handwritten)
    assert len(train.handwritten) + len(held_out.handwritten) == len(fonts.handwritten)
    assert len(train.printed) + len(held_out.printed) == len(fonts.printed)


def test_strips_show_numbers_other_writing_and_nothing(composer: SceneComposer) -> None:
    random = np.random.default_rng(0)
    strips = [
        strip
        for _ in range(20)
        for placed in composer.square(random, 256)
        for strip in strips_of(random, placed.scene)
    ]
    texts = [strip.text for strip in strips]
    assert "" in texts
    assert OTHER in texts
    assert sum(any(character.isdecimal() for character in text) for text in texts) > len(texts) / 3
    for strip in strips:
        assert strip.image.shape[:2] == (3, 40)
        assert len(strip.boxes) == len(strip.text.replace(" ", ""))
        assert (strip.boxes[:, 2:] >= strip.boxes[:, :2]).all()
        assert (strip.boxes[:, 2] <= strip.image.shape[2]).all()


def test_an_image_of_the_dataset_is_a_picture_with_its_digit_in_the_box(composer: SceneComposer) -> None:
    random = np.random.default_rng(3)
    papers = set()
    for _ in range(40):
        scene = composer.image(random)
        (label,) = scene.labels
        assert label.kind is Kind.NUMBER and label.text in set("0123456789")
        height, width = scene.picture.shape
        assert 14 <= height <= 200
        corners = label.corners.reshape(-1, 2)
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        assert 0 <= x0 < x1 <= width + 1 and 0 <= y0 < y1 <= height + 1
        paper = float(np.median(scene.picture))
        inside = scene.picture[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].astype(float)
        assert np.abs(inside - paper).max() > 0.15 * 255
        papers.add(paper > 127)
    assert papers == {True, False}


def test_a_whole_picture_is_a_strip_whose_text_is_its_only_number(composer: SceneComposer) -> None:
    random = np.random.default_rng(5)
    texts = set()
    for _ in range(80):
        scene = composer.small_picture(random)
        strip = strip_of_picture(scene)
        height, width = scene.picture.shape
        assert strip.image.shape[2] == pytest.approx(40 * width / height, abs=4)
        assert len(strip.boxes) == len(strip.text.replace(" ", ""))
        if strip.text not in ("", OTHER):
            assert [label.text for label in scene.labels] == [strip.text]
        texts.add(strip.text)
    assert {"", OTHER} < texts


def test_one_number_fills_a_picture_if_it_is_half_as_high() -> None:
    def scene(height: int, *labels: Label) -> Scene:
        return Scene(np.full((height, 100), 200, np.uint8), labels)

    corners = np.array([[[10, 5], [30, 5], [30, 35], [10, 35]]], np.float32)
    number, word = Label(Kind.NUMBER, "7", corners), Label(Kind.OTHER, "", corners)
    assert fills_picture(scene(60, number))
    assert not fills_picture(scene(61, number))
    assert not any(map(fills_picture, (scene(40), scene(40, word), scene(40, number, number))))


def test_a_strip_shows_neighbours_up_to_one_that_stands_elsewhere() -> None:
    def label(text: str, x: int, height: int = 30) -> Label:
        corner = [[x, 40 - height], [x + 20, 40 - height], [x + 20, 40], [x, 40]]
        return Label(Kind.NUMBER, text, np.array([corner], np.float32))

    def texts(*labels: Label) -> set[str]:
        scene = Scene(np.full((60, 300), 200, np.uint8), labels)
        return {strip.text for seed in range(40) for strip in strips_of(np.random.default_rng(seed), scene)}

    assert {"1", "1 2", "1 2 3", "2 3"} < texts(label("1", 20), label("2", 60), label("3", 100))
    with_small_digit = texts(label("1", 20), label("2", 60, 15), label("3", 100))
    assert {"1", "2", "3"} < with_small_digit
    assert not {"1 3", "1 2"} & with_small_digit


def test_a_digit_that_the_picture_cuts_off_is_another_character() -> None:
    def corners(*lefts: float) -> np.ndarray:
        return np.array([[[x, 5], [x + 20, 5], [x + 20, 35], [x, 35]] for x in lefts], np.float32)

    def texts(*lefts: float) -> list[str]:
        label = Label(Kind.NUMBER, "123"[: len(lefts)], corners(*lefts))
        scene = Scene(np.full((40, 100), 200, np.uint8), (label,))
        strips = strips_of(np.random.default_rng(0), scene)
        return [strip.text for strip in strips if strip.text and strip.text != OTHER]

    assert texts(10, 40, 70) == ["123"]
    assert texts(30, 60, 90) == [f"12{OTHER}"]
    assert texts(40, 70, 99) == ["12"]
    assert texts(-10, 30) == [f"{OTHER}2"]
    assert texts(30, 60, 85) == []


def test_a_place_that_a_page_finder_mistakes_for_a_number_shows_a_whole_word_or_nothing() -> None:
    word = Label(Kind.OTHER, "", np.array([[[20, 20], [140, 20], [140, 50], [20, 50]]], np.float32))
    cut = Label(Kind.OTHER, "", np.array([[[-60, 120], [60, 120], [60, 150], [-60, 150]]], np.float32))
    scene = Scene(np.full((200, 300), 255, np.uint8), (word, cut))

    def texts(*box: float) -> list[str]:
        boxes = [LineBox(*box, angle=0.0)]
        return [strip.text for strip in strips_of_mistakes(np.random.default_rng(0), scene, boxes)]

    assert texts(80, 35, 120, 30) == [OTHER]
    assert texts(40, 35, 20, 30) == []  # a part of the word
    assert texts(30, 135, 60, 30) == []  # the picture cuts the word off
    cut_by_paper = replace(word, seen=np.clip(word.corners, 0, [80, 200]).astype(np.float32))
    scene = Scene(scene.picture, (cut_by_paper,))
    assert texts(80, 35, 120, 30) == []
    strips = [strips_of(np.random.default_rng(seed), scene) for seed in range(20)]
    assert OTHER not in {strip.text for of_scene in strips for strip in of_scene}
    assert texts(230, 100, 40, 30) == [""]
    assert texts(230, 100, 8, 6) == []  # too small to be read
