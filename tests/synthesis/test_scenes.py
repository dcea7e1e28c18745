"""Pages and other scenes carry exact labels, and strips are cut out of them as a page finder shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.strip_format import ALPHABET, OTHER
from digitcli.synthesis import page_parts
from digitcli.synthesis.camera import CAMERAS, PAPERS, PENS, photograph_page
from digitcli.synthesis.glyphs import CLEAR_LETTERS
from digitcli.synthesis.one_line import AROUND
from digitcli.synthesis.page import Kind, Label, Layers, Page, joined, line_box, numbers_of
from digitcli.synthesis.page_layouts import LAYOUTS, Layout, fill_with_table
from digitcli.synthesis.page_marks import Desk, draw_discs
from digitcli.synthesis.page_parts import CHOICES, CombStyle, draw_comb, fill_with_combs, fill_with_letters
from digitcli.synthesis.paper import draw_surface, security_pattern
from digitcli.synthesis.scenes import LINE_SIDES_PX, MOST_ROWS, Scene, SceneComposer
from digitcli.synthesis.shares import choose, sample, shares
from digitcli.synthesis.stamps import PenScribe, Stamp, WritingRoom
from digitcli.synthesis.strips import fills_picture, strip_of_picture, strips_of, strips_of_mistakes
from digitcli.synthesis.strokes import LETTERS
from digitcli.synthesis.things import THINGS


def desk(room: WritingRoom, seed: int, height: int = 300, width: int = 400, digit_px: float = 30.0) -> Desk:
    random = np.random.default_rng(seed)
    return Desk(random, Page.blank(height, width), room, room.scribe(random), digit_px)


def corners(*lefts: float) -> np.ndarray:
    """Return the corners of characters of 20 x 30 pixels, 5 pixels below the upper edge."""
    return np.array([[[x, 5], [x + 20, 5], [x + 20, 35], [x, 35]] for x in lefts], np.float32)


def middles(label: Label) -> np.ndarray:
    """Return the middle of each character along the line."""
    return np.asarray(label.corners[:, :, 0].mean(axis=1))


def blank(height: int, width: int, *labels: Label) -> Scene:
    return Scene(np.full((height, width), 200, np.uint8), labels)


def test_every_layout_labels_each_character_where_its_ink_is(room: WritingRoom) -> None:
    for layout in LAYOUTS.values():
        for seed in range(4):
            at = desk(room, seed)
            layout(at)
            for label in at.page.labels:
                if label.kind is Kind.NUMBER and label.text:
                    assert len(label.corners) == len(label.text.replace(" ", "")), layout
                    assert set(label.text) <= set(ALPHABET)
                box = line_box(label)
                x, y, reach = round(box.x), round(box.y), round(box.height / 2) + 2
                window = at.page.layers.writing[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
                if label.text and 0 <= x < at.page.width and 0 <= y < at.page.height:
                    assert window.any(), layout


def test_combs_have_one_digit_in_each_box_and_equal_boxes_below_each_other(room: WritingRoom) -> None:
    for seed in range(5):
        writer = desk(room, seed, 500, 900)
        style = CombStyle.sample(writer, 1.5)
        assert style.width == pytest.approx(45)
        assert draw_comb(writer, 50, 100, 6, style) == pytest.approx(50 + 6 * style.pitch)
        for label in writer.page.labels:
            assert len(label.text) <= 6
            box = (middles(label) - 50) / style.pitch
            assert np.abs(box % 1 - 0.5 * style.width / style.pitch).max() < 0.25
            assert np.all(np.diff(box.astype(int)) == 1)
        full = desk(room, seed, 500, 900)
        draw_comb(full, 50, 100, 6, is_full=True)
        assert [len(label.text) for label in full.page.labels] == [6]
        row = desk(room, seed, 70, 300, 40.0)  # too low for a second row
        fill_with_table(row)
        texts = [label.text for label in row.page.labels if label.kind is Kind.NUMBER]
        assert len(texts) < 3 or max(map(len, texts)) > 1  # a single row of boxes is one number
    writer = desk(room, 3, 500, 900)
    fill_with_combs(writer)
    numbers = [label for label in writer.page.labels if label.kind is Kind.NUMBER and len(label.text) > 1]
    pitches = [float(np.diff(middles(label)).mean()) for label in numbers]
    assert len(numbers) >= 3 and np.std(pitches) < 0.1 * np.mean(pitches)


def test_chosen_letters_are_other_writing_and_their_questions_are_numbers(room: WritingRoom) -> None:
    assert not set(CLEAR_LETTERS) & set("bBDgGIlOoqQSsZz") and set(CHOICES) <= set(LETTERS)
    numbered = 0
    for seed in range(8):
        at = desk(room, seed)
        fill_with_letters(at)
        assert Kind.OTHER in [label.kind for label in at.page.labels]
        texts = [label.text for label in at.page.labels if label.kind is Kind.NUMBER]
        numbered += bool(texts)
        assert all(text.rstrip(".)").isdecimal() for text in texts)
    assert 0 < numbered < 8
    scribes = (room.scribe(np.random.default_rng(seed)) for seed in range(20))
    scribe = next(each for each in scribes if isinstance(each, PenScribe))
    masks = [scribe.word(np.random.default_rng(7), text, 60.0).mask for text in ("L", "L", "W")]
    assert np.array_equal(masks[0], masks[1]) and masks[2].shape[1] > 1.2 * masks[0].shape[1]


def test_boxes_to_tick_are_ink_without_a_label(room: WritingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[np.ndarray] = []  # where their outlines are drawn
    draw = page_parts.draw_strokes

    def remember(canvas: np.ndarray, strokes: list[np.ndarray], width_px: float, level: int) -> None:
        boxes.extend(strokes)
        draw(canvas, strokes, width_px, level)

    monkeypatch.setattr(page_parts, "draw_strokes", remember)
    fills: tuple[Layout, ...] = (page_parts.fill_with_choices, page_parts.fill_with_one_box)
    for fill in fills:
        for seed in range(6):
            boxes.clear()
            at = desk(room, seed)
            fill(at)
            ink = np.maximum(at.page.layers.writing, at.page.layers.rules)
            seen = [box for box in boxes if box.min() >= 0 and (box.max(axis=0) < (400, 300)).all()]
            assert seen
            for box in seen:
                x, y = np.round(box).astype(int).T
                assert (ink[y, x] > 0).mean() > 0.9
                centre = box.mean(axis=0)
                for label in at.page.labels:
                    low, high = label.corners.min((0, 1)), label.corners.max((0, 1))
                    assert not ((low < centre) & (centre < high)).all()


def test_discs_are_filled_and_cover_no_writing(room: WritingRoom) -> None:
    at = desk(room, 0, 200, 200)
    at.page.put(at.number("0"), 85, 85, Kind.NUMBER, "0")
    x0, y0 = np.floor(at.page.labels[0].corners.min(axis=(0, 1))).astype(int)
    x1, y1 = np.ceil(at.page.labels[0].corners.max(axis=(0, 1))).astype(int)
    for _ in range(40):
        draw_discs(at)
    rules = at.page.layers.rules
    assert (rules > 0).mean() > 0.2 and (rules[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] == 0).all()
    assert len(at.page.labels) == 1


def test_the_numbers_of_a_label_have_their_own_characters() -> None:
    text = f"12 3.5×{OTHER}-7="
    places = np.zeros((len(text) - 1, 4, 2), np.float32)
    places[:, :, 0] = np.arange(len(places))[:, None]
    numbers = numbers_of(Label(Kind.NUMBER, text, places))
    found = [(number.text, number.corners[:, 0, 0].tolist()) for number in numbers]
    assert found == [("12", [0, 1]), ("3.5", [2, 3, 4]), ("-7", [7, 8])]
    assert numbers_of(Label(Kind.OTHER, "", places[:0])) == []


def test_a_label_moves_with_what_the_paper_shows_of_it() -> None:
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


def test_a_sheet_keeps_thin_ink_and_labels_it_where_it_lies() -> None:
    page = Page.blank(200, 300)
    mask = np.zeros((40, 11), np.uint8)
    mask[:, 5] = 255  # one pixel wide
    for x in range(10, 280, 13):
        page.put(Stamp(mask, np.array([[5, 0, 6, 40]], np.float32)), x, 60, Kind.NUMBER, "1")
    sheet = page.shrunk(0.4, 100, 50)
    ink = sheet.layers.writing.astype(float)
    assert ink.sum() / page.layers.writing.astype(float).sum() > 0.9 * 0.4**2
    for label in sheet.labels:
        box = line_box(label)
        assert box.height == 16
        x, y = int(box.x), round(box.y)
        assert ink[y, x - 1 : x + 2].sum() > 0.9 * 0.4 * 255
    assert sheet.layers.sheet[50:130, 100:220].all()
    assert sheet.layers.sheet.sum() == 255 * 80 * 120


def test_what_paper_cuts_off_has_no_label_beside_it(
    composer: SceneComposer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the paper is a sheet on a table, or is seen from the side."""
    written: list[np.ndarray] = []

    def remember(random: np.random.Generator, layers: Layers, digit_px: float) -> np.ndarray:
        written.append(layers.writing)
        return layers.writing

    monkeypatch.setattr("digitcli.synthesis.scenes.photograph_page", remember)
    random = np.random.default_rng(0)
    for number in range(50):
        side = 256 * (1 + number % 2)
        for label in composer.page(random, side, side, digit_px=side / 12.8).labels:
            if label.kind is not Kind.NUMBER or not len(label.corners):
                continue
            outside = label.shares_outside(written[-1].shape[::-1])
            for character, share in zip(label.corners, outside, strict=True):
                (x0, y0), (x1, y1) = np.floor(character.min(axis=0)), np.ceil(character.max(axis=0))
                seen = written[-1][max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1]
                assert share > 0.5 or seen.any()


def test_scenes_fill_most_of_a_square_and_do_not_overlap(
    composer: SceneComposer, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    first, again = (composer.square(np.random.default_rng(3), 256)[0].scene for _ in range(2))
    assert np.array_equal(first.picture, again.picture)
    assert [label.text for label in first.labels] == [label.text for label in again.labels]
    monkeypatch.setattr("digitcli.synthesis.scenes.PLAIN_SHARE", 1.0)
    (tile,) = composer.square(np.random.default_rng(0), 64)
    assert np.ptp(tile.scene.picture) == 0 and not tile.scene.labels


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


def test_pictures_of_a_line_a_character_or_nothing_have_one_label_at_most(composer: SceneComposer) -> None:
    random = np.random.default_rng(4)
    lines = [composer.line(random) for _ in range(40)]
    numbers = [[label for label in scene.labels if label.text] for scene in lines]
    assert {len(labels) for labels in numbers} == {0, 1}
    assert all(len(label.corners) == len(label.text) for labels in numbers for label in labels)
    heights = [scene.picture.shape[0] for scene in lines]
    assert min(heights) >= LINE_SIDES_PX[0] and max(heights) <= LINE_SIDES_PX[1] and len(set(heights)) > 20
    characters = [composer.character(random) for _ in range(60)]
    assert {scene.labels[0].kind for scene in characters} == {Kind.NUMBER, Kind.OTHER}
    for scene in characters:
        (label,), (height, width) = scene.labels, scene.picture.shape
        assert 0.5 < width / height < 2 and len(label.text) <= 1
        assert label.text.isdecimal() == (label.kind is Kind.NUMBER)
        assert line_box(label).share_outside((width, height)) < 0.3
    scenes = [composer.empty(np.random.default_rng(seed)) for seed in range(40)]
    assert not any(label.text for scene in scenes for label in scene.labels)
    assert {strip_of_picture(scene).text for scene in scenes} == {"", OTHER}
    assert sum(float(scene.picture.std()) > 2 for scene in scenes) >= 20  # most show something


def test_every_share_is_of_something_that_can_be_drawn_and_every_kind_has_one() -> None:
    assert set(shares("things")) == set(THINGS) and set(shares("around")) == set(AROUND)
    assert set(shares("pens")) == set(PENS) and set(shares("papers")) == set(PAPERS)
    assert set(shares("cameras")) == set(CAMERAS)
    layouts = [set(shares(f"layouts.{name}")) for name in ("page", "small", "gaps")]
    assert set().union(*layouts) == set(LAYOUTS)
    random = np.random.default_rng(0)
    counts = Counter(choose(random, "scenes.strips") for _ in range(400))
    assert abs(counts["line"] / 400 - shares("scenes.strips")["line"]) < 0.1
    drawn = Counter(name for _ in range(400) for name in sample(random, "papers"))
    assert all(abs(drawn[name] / 400 - share) < 0.1 for name, share in shares("papers").items())


def test_every_pen_paper_and_camera_keeps_a_picture_that_can_be_seen() -> None:
    random, ink = np.random.default_rng(0), np.zeros((60, 90), np.float32)
    ink[20:40, 30:40] = 1
    for name, pen in PENS.items():
        changed = pen(random, ink.copy(), 20.0)
        assert changed.shape == ink.shape and changed.dtype == np.float32, name
        assert 0.05 < changed[20:40, 30:40].mean() <= 1 and changed[:10].max() < 0.3, name
    for name, paper_kind in PAPERS.items():
        light = paper_kind(random, np.full(ink.shape, 0.8, np.float32), ink, 0.8, 20.0)
        assert light.shape == ink.shape and np.isfinite(light).all() and light.mean() > 0.3, name
    for name, camera in CAMERAS.items():
        light = np.asarray(camera(random, 0.8 - 0.6 * ink, 20.0), np.float32)
        assert light.shape == ink.shape, name
        assert light[25:35, 33:37].mean() < light[5:15].mean() - 0.2, name


def test_things_leave_the_writing_as_it_is_and_are_no_numbers(room: WritingRoom) -> None:
    drawn = set()
    for seed, (name, thing) in enumerate(THINGS.items()):
        for further in range(3):
            at = desk(room, seed + 100 * further)
            at.page.put(at.number("38"), 100, 100, Kind.NUMBER, "38")
            (label,), before = at.page.labels, at.page.layers.writing.copy()
            at.page.draw_beside(lambda at=at, thing=thing: thing(at))  # type: ignore[misc]
            points = label.corners.reshape(-1, 2).astype(int)
            (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
            assert np.array_equal(before[y0:y1, x0:x1], at.page.layers.writing[y0:y1, x0:x1]), name
            assert not at.page.layers.rules[y0:y1, x0:x1].any(), name
            assert [each.text for each in at.page.labels if each.kind is Kind.NUMBER] == ["38"], name
            if at.page.layers.rules.any() or not np.array_equal(before, at.page.layers.writing):
                drawn.add(name)
    assert drawn == set(THINGS)


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


def test_a_pattern_is_as_large_as_its_paper() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        pattern = security_pattern(random, (40, 100))
        assert pattern.shape == (40, 100) and pattern.dtype == np.float32
        assert pattern.min() >= 0 and pattern.max() <= 1.001


def test_some_pictures_are_drawn_on_a_screen() -> None:
    writing = np.zeros((40, 60), np.uint8)
    writing[10:30, 20:40] = 255
    blank = np.zeros_like(writing)
    layers = Layers(writing, blank, blank, blank + 255)
    grounds = set()
    for seed in range(20):
        picture = photograph_page(np.random.default_rng(seed), layers, 20.0, screen_share=1.0)
        assert len(np.unique(picture)) == 2
        assert abs(int(picture[20, 30]) - int(picture[0, 0])) > 150
        grounds.add(int(picture[0, 0]))
    assert grounds == {0, 255}


def test_surfaces_depend_on_the_generator_alone_and_most_show_things() -> None:
    first, again, other = (draw_surface(np.random.default_rng(seed), (60, 90)) for seed in (4, 4, 5))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (60, 90) and first.dtype == np.float32
    surfaces = [draw_surface(np.random.default_rng(seed), (120, 160)) for seed in range(40)]
    assert all(surface.min() >= 0 and surface.max() <= 1 for surface in surfaces)
    assert sum(float(np.ptp(surface)) > 0.3 for surface in surfaces) > 20
    assert len({round(float(surface.mean()), 1) for surface in surfaces}) > 4


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
    number, word = Label(Kind.NUMBER, "7", corners(10)), Label(Kind.OTHER, "", corners(10))
    assert fills_picture(blank(60, 100, number)) and not fills_picture(blank(61, 100, number))
    for labels in ((), (word,), (number, number)):
        assert not fills_picture(blank(40, 100, *labels))


def test_a_strip_shows_neighbours_up_to_one_that_stands_elsewhere() -> None:
    def label(text: str, x: int, height: int = 30) -> Label:
        corner = [[x, 40 - height], [x + 20, 40 - height], [x + 20, 40], [x, 40]]
        return Label(Kind.NUMBER, text, np.array([corner], np.float32))

    def texts(*labels: Label) -> set[str]:
        scene = blank(60, 300, *labels)
        return {strip.text for seed in range(40) for strip in strips_of(np.random.default_rng(seed), scene)}

    assert {"1", "1 2", "1 2 3", "2 3"} < texts(label("1", 20), label("2", 60), label("3", 100))
    with_small_digit = texts(label("1", 20), label("2", 60, 15), label("3", 100))
    assert {"1", "2", "3"} < with_small_digit and not {"1 3", "1 2"} & with_small_digit


def test_a_digit_that_the_picture_cuts_off_is_another_character() -> None:
    for lefts, expected in (
        ((10, 40, 70), ["123"]),
        ((30, 60, 90), [f"12{OTHER}"]),
        ((40, 70, 99), ["12"]),
        ((-10, 30), [f"{OTHER}2"]),
        ((30, 60, 85), []),
    ):
        scene = blank(40, 100, Label(Kind.NUMBER, "123"[: len(lefts)], corners(*lefts)))
        texts = [strip.text for strip in strips_of(np.random.default_rng(0), scene)]
        assert [text for text in texts if text and text != OTHER] == expected, lefts


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
