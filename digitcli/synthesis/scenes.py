"""Compose scenes: pictures of pages and of single numbers, with labels that say what is written where."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits
from digitcli.synthesis.camera import photograph_page
from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.one_line import page_of_one_line, sample_line_text
from digitcli.synthesis.page import Kind, Label, Layers, Page, corners_of
from digitcli.synthesis.page_layouts import (
    LAYOUTS,
    Layout,
    fill_with_no_number,
    fill_with_nothing,
    fill_with_one_character,
)
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.page_parts import fill_with_column, fill_with_row
from digitcli.synthesis.shares import choose
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strokes import Group, load_writers, split_writers
from digitcli.synthesis.things import draw_things

# All values were chosen by hand.
HEIGHTS_PX = (10.0, 80.0)  # range of the height of a digit in a scene
TINY_SHARE = 0.12  # of the scenes have digits of a height that is searched at a finer scale
TINY_PX = (3.5, 10.0)  # range of this height
FINENESS = {1: 0.45, 2: 0.3, 3: 0.15, 4: 0.1}  # times finer than the finder sees it: share of scenes
THINGS_SHARE = 0.12  # of the pages show things beside the writing
LEVEL_SHARE = 0.5  # of the pages are neither turned nor in perspective
STEEP_SHARE = 0.5  # of the others are turned by any angle up to the steepest
STEEPEST_DEGREES = 30.0
TURN_DEGREES = 9.0  # standard deviation of the other turns
PERSPECTIVE_SHARE = 0.5  # of the turned pages are in perspective
PERSPECTIVE = 0.06  # standard deviation by which a corner of such a page moves, in sides of the page
SURFACE_SHARE = 0.5  # of the turned pages end where something else begins
SHEET_SHARE = 0.12  # of the pages are sheets that fill a part of the picture
SHEET_SIDE = (0.4, 0.95)  # range of their share of the sides of the picture
SHEET_DIGIT_PX = 8.0  # height that digits keep on them
PLAIN_SHARE = 0.02  # of the squares have one shade, as paper that no camera has seen
MOSAIC_SHARE = 0.4  # of the other squares are mosaics of small pictures
LINE_TILES = 0.15  # of these pictures show one line
CHARACTER_TILES = 0.1  # of these pictures show one character
SMALL_PICTURES_SHARE = 0.5  # of the single pictures are small
SMALL_SIDES_PX = (24, 140)  # range of the height of small pictures
SMALL_FINENESS = (1, 1, 2, 3)  # times finer a small picture is drawn, each with the same probability
SMALL_DIGIT_PX = 14.0  # height of a digit in small pictures that are drawn finer
LINE_SIDES_PX = (18, 160)  # log-uniform range of the height of a picture of one line
SMALL_WRITING_SHARE = 0.35  # of these pictures have digits of the first of these shares of the height
LINE_DIGITS = ((0.42, 0.62), (0.55, 0.95))
EMPTY_SHARE = 0.08  # of these pictures show no number
EMPTY_WIDTH = (0.6, 6)  # range of the width of these, in heights
LINE_DEGREES = (
    1.8  # standard deviation of the turns of lines; larger ones are corrected before a line is read
)
CHARACTER_SIDES_PX = (16, 480)  # range of the height of a picture of one character
CHARACTER_SQUARENESS = 0.15  # standard deviation of the logarithm of its width over its height
CHARACTER_SCREEN_SHARE = 0.35  # of these pictures are drawn on a screen
FAINT_SHARE = 0.25  # of the others have ink that is hardly darker than the paper
FAINT_INK = (0.06, 0.25)  # range of its darkness
COLUMN_ASPECT = (0.7, 4.0)  # range of the height of a picture with a column over its width
ALONE_SHARE = 0.4  # of these pictures show one number
MOST_ROWS = 12  # of the others
LEAST_ROW_PX = 8.0  # height of a row; lower ones cannot be read
ROW_PITCH = (1.05, 2.2)  # range of the distance of two rows, in heights of a digit
COLUMN_MARGINS = (0.0, 1.0)  # range of the paper above and below a column together, in heights of a digit
ROW_ASPECT = (1.2, 9.0)  # range of the width of a picture with a row of numbers over its height
ROW_DIGIT = (0.25, 0.95)  # range of the height of a digit in one, in heights of the picture
IMAGE_MARGIN = (-0.12, 0.3)  # range of the paper around a digit of a dataset, in its heights; below 0 is none
IMAGE_SHIFT = 0.04  # standard deviation by which the margins of its four sides differ, in heights
IMAGE_SQUARE_SHARE = 0.75  # of these pictures are square, as those of a dataset
IMAGE_SIDES_PX = (14, 200)  # range of the height of these pictures
IMAGE_FULL_CONTRAST = 0.7  # of these pictures are black and white, without grain
IMAGE_CONTRAST = (0.25, 1.0)  # range of the contrast of the others
IMAGE_GRAIN = 0.04  # largest standard deviation of their grain


@dataclass(frozen=True)
class Scene:
    """A grey picture, uint8 (H, W), and the labels of what is written on it, in its pixels."""

    picture: Mask
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class PlacedScene:
    """A scene and its place in a square, in pixels; the scene may be several times finer than the square."""

    scene: Scene
    x: int
    y: int
    width: int
    height: int


class SceneComposer:
    """Composes random scenes; a generator in the same state gives the same scene."""

    def __init__(self, room: WritingRoom) -> None:
        self._room = room

    def page(
        self,
        random: np.random.Generator,
        height: int,
        width: int,
        *,
        small: bool = False,
        digit_px: float | None = None,
        layout: Layout | None = None,
    ) -> Scene:
        """Compose a page of a size in pixels, by default with a random layout.

        Digits are `digit_px` high, by default of a random height.
        """
        page = Page.blank(height, width)
        tallest = max(HEIGHTS_PX[0], min(HEIGHTS_PX[1], 0.8 * min(height, width)))
        digit_px = digit_px or _log_uniform(random, (HEIGHTS_PX[0], tallest))
        desk = Desk(random, page, self._room, self._room.scribe(random), digit_px)
        (layout or LAYOUTS[choose(random, "layouts.small" if small else "layouts.page")])(desk)
        if desk.chance(THINGS_SHARE):
            draw_things(desk)
        page, digit_px = _lay_down(random, page, digit_px)
        layers, labels = _change_view(random, page)
        return Scene(photograph_page(random, layers, digit_px), labels)

    def picture(self, random: np.random.Generator, side: int) -> Scene:
        """Compose a page as large as a square, up to four times finer, or a small picture."""
        is_large = random.random() >= SMALL_PICTURES_SHARE
        return self._large_picture(random, side) if is_large else self.small_picture(random)

    def small_picture(self, random: np.random.Generator) -> Scene:
        """Compose a small picture, up to three times finer."""
        height = int(random.integers(*SMALL_SIDES_PX))
        return self._small_picture(random, height, _sample_width(random, height))

    def character(self, random: np.random.Generator) -> Scene:
        """Compose a nearly square picture of one digit, or sometimes of one letter."""
        return self._square_picture(random, fill_with_one_character)

    def empty(self, random: np.random.Generator) -> Scene:
        """Compose such a picture without a number: an empty cell, scribbles, shapes, words and the like."""
        return self._square_picture(random, fill_with_no_number)

    def column(self, random: np.random.Generator) -> Scene:
        """Compose an upright picture of numbers one below the other, or of one number alone."""
        height = round(_log_uniform(random, CHARACTER_SIDES_PX))
        aspect = _log_uniform(random, COLUMN_ASPECT)
        most = max(2, min(MOST_ROWS, int(height / LEAST_ROW_PX)))
        rows = 1 if random.random() < ALONE_SHARE else int(random.integers(2, most + 1))
        pitch, margins = random.uniform(*ROW_PITCH), random.uniform(*COLUMN_MARGINS)
        digit_px = height / (rows * pitch + margins)
        fill = functools.partial(fill_with_column, rows=rows, pitch_px=pitch * digit_px)
        return self._small_page(random, height, max(4, round(height / aspect)), digit_px, fill)

    def row(self, random: np.random.Generator) -> Scene:
        """Compose a wide picture of a few numbers in one row."""
        height = round(_log_uniform(random, LINE_SIDES_PX))
        width = round(height * _log_uniform(random, ROW_ASPECT))
        return self._small_page(random, height, width, height * random.uniform(*ROW_DIGIT), fill_with_row)

    def _square_picture(self, random: np.random.Generator, fill: Layout) -> Scene:
        height = round(_log_uniform(random, CHARACTER_SIDES_PX))
        width = round(height * float(np.exp(random.normal(0, CHARACTER_SQUARENESS))))
        return self._small_page(random, height, width, 0.7 * height, fill)

    def _small_page(
        self, random: np.random.Generator, height: int, width: int, digit_px: float, fill: Layout
    ) -> Scene:
        """Compose a page, at times drawn on a screen or with faint ink."""
        page = Page.blank(height, width)
        fill(Desk(random, page, self._room, self._room.scribe(random), digit_px))
        dark = random.uniform(*FAINT_INK) if random.random() < FAINT_SHARE else None
        page, digit_px = _lay_down(random, page, digit_px)
        picture = photograph_page(random, page.layers, digit_px, CHARACTER_SCREEN_SHARE, dark)
        return Scene(picture, tuple(page.labels))

    def image(self, random: np.random.Generator) -> Scene:
        """Show an image of the dataset as a picture: of any size, dark on light or light on dark."""
        image, digit = self._room.image(random)
        ink, box = _frame(random, image)
        height = round(_log_uniform(random, IMAGE_SIDES_PX))
        scale = height / len(ink)
        flags = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST) if scale > 1 else (cv2.INTER_AREA,)
        size = max(1, round(scale * ink.shape[1])), height
        ink = np.asarray(cv2.resize(ink, size, interpolation=int(random.choice(flags))), np.uint8)
        contrast, paper, grain = 1.0, 1.0, 0.0
        if random.random() >= IMAGE_FULL_CONTRAST:
            contrast = random.uniform(*IMAGE_CONTRAST)
            paper, grain = random.uniform(contrast, 1), random.uniform(0, IMAGE_GRAIN) * contrast
        light = paper - contrast * (ink / np.float32(255)) + random.normal(0, grain, ink.shape)
        light = light if random.random() < 0.5 else 1 - light
        label = Label(Kind.NUMBER, str(digit), corners_of(box * np.float32(scale)), printed=0.0)
        return Scene(np.asarray((255 * light + 0.5).clip(0, 255), np.uint8), (label,))

    def line(self, random: np.random.Generator, text: str | None = None) -> Scene:
        """Compose a picture that was cut out closely around a text, by default a random one or none."""
        height = round(_log_uniform(random, LINE_SIDES_PX))
        digit_px = height * random.uniform(*LINE_DIGITS[random.random() >= SMALL_WRITING_SHARE])
        scribe = self._room.scribe(random)
        if text is None and random.random() < EMPTY_SHARE:
            page = Page.blank(height, max(8, round(height * random.uniform(*EMPTY_WIDTH))))
            fill_with_nothing(Desk(random, page, self._room, scribe, digit_px))
        else:
            text = text or sample_line_text(random)
            stamp = scribe.number(random, text, digit_px)
            if stamp.height > height:
                digit_px *= random.uniform(0.8, 1) * height / stamp.height
                stamp = scribe.number(random, text, digit_px)
            page = page_of_one_line(
                lambda page: Desk(random, page, self._room, scribe, digit_px), stamp, height, text
            )
        layers, labels = _change_view(random, page, LINE_DEGREES)
        return Scene(photograph_page(random, layers, digit_px), labels)

    def square(self, random: np.random.Generator, side: int) -> list[PlacedScene]:
        """Compose scenes that share a square: one page, a mosaic of small pictures, or nothing at all."""
        if random.random() < PLAIN_SHARE:
            plain = np.full((side, side), random.integers(256), np.uint8)
            return [PlacedScene(Scene(plain, ()), 0, 0, side, side)]
        if random.random() >= MOSAIC_SHARE:
            return [PlacedScene(self._large_picture(random, side), 0, 0, side, side)]
        placed = []
        for x, y, width, height in _tile(random, side):
            kind = random.random()
            if kind >= LINE_TILES + CHARACTER_TILES:
                scene = self._small_picture(random, height, width)
            else:  # it may leave a part of its tile empty
                scene = self.line(random) if kind < LINE_TILES else self.character(random)
                rows, columns = scene.picture.shape
                scale = min(width / columns, height / rows)
                width, height = round(scale * columns), round(scale * rows)
            placed.append(PlacedScene(scene, x, y, width, height))
        return placed

    def _large_picture(self, random: np.random.Generator, side: int) -> Scene:
        fineness = int(random.choice(list(FINENESS), p=list(FINENESS.values())))
        heights_px = TINY_PX if random.random() < TINY_SHARE else HEIGHTS_PX
        digit_px = fineness * _log_uniform(random, heights_px)
        return self.page(random, side * fineness, side * fineness, digit_px=digit_px)

    def _small_picture(self, random: np.random.Generator, height: int, width: int) -> Scene:
        fineness = int(random.choice(SMALL_FINENESS))
        digit_px = None if fineness == 1 else fineness * SMALL_DIGIT_PX
        return self.page(random, height * fineness, width * fineness, small=True, digit_px=digit_px)


def scene_composer(digits: Digits, group: Group) -> SceneComposer:
    """Return a composer with digits, and with the writers and fonts of a group."""
    writers, fonts = split_writers(load_writers(), group), load_fonts().split(group)
    return SceneComposer(WritingRoom(digits, writers, fonts))


def _frame(random: np.random.Generator, image: Mask) -> tuple[Mask, npt.NDArray[np.float32]]:
    """Return the ink of an image with other margins, often square, and the box (1, 4) around it."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margins = random.uniform(*IMAGE_MARGIN) + random.normal(0, IMAGE_SHIFT, 4)
    top, bottom, left, right = np.round(margins.clip(0) * len(ink)).astype(int).tolist()
    if random.random() < IMAGE_SQUARE_SHARE:
        spare = top + len(ink) + bottom - left - ink.shape[1] - right
        top, bottom = top + max(0, -spare) // 2, bottom + max(0, -spare) // 2
        left, right = left + max(0, spare) // 2, right + max(0, spare) // 2
    box = np.array([[left, top, left + ink.shape[1], top + len(ink)]], np.float32)
    return np.pad(ink, ((top, bottom), (left, right))), box


def _tile(random: np.random.Generator, side: int) -> list[tuple[int, int, int, int]]:
    """Return rows of tiles x, y, width, height that fill a square."""
    tiles, y = [], 0
    while y < side:
        height = min(int(random.integers(*SMALL_SIDES_PX)), side - y)
        height = side - y if side - y - height < SMALL_SIDES_PX[0] else height
        x = 0
        while x < side:
            width = min(_sample_width(random, height), side - x)
            width = side - x if side - x - width < SMALL_SIDES_PX[0] else width
            tiles.append((x, y, width, height))
            x += width
        y += height
    return tiles


def _log_uniform(random: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(random.uniform(*np.log(bounds))))


def _sample_width(random: np.random.Generator, height: int) -> int:
    """Return the width of a small picture: it is upright, square, or as wide as a line."""
    return int(height * np.exp(random.uniform(-0.5, 1.5))) + 8


def _lay_down(random: np.random.Generator, page: Page, digit_px: float) -> tuple[Page, float]:
    """Return a page, which a few times becomes a sheet on something larger, and the height of a digit."""
    if random.random() >= SHEET_SHARE:
        return page, digit_px
    share = min(1.0, max(random.uniform(*SHEET_SIDE), SHEET_DIGIT_PX / digit_px))
    x, y = random.uniform(0, 1 - share, 2) * (page.width, page.height)
    return page.shrunk(share, x, y), share * digit_px


def _change_view(
    random: np.random.Generator, page: Page, degrees: float | None = None
) -> tuple[Layers, tuple[Label, ...]]:
    """Turn half of the pages, and show some in perspective; of these, some end inside the picture.

    degrees: the standard deviation of the turns of a line; its paper has no end.
    """
    if random.random() < LEVEL_SHARE:
        return page.layers, tuple(page.labels)
    is_steep = degrees is None and random.random() < STEEP_SHARE
    turned = (
        random.uniform(-1, 1) * STEEPEST_DEGREES if is_steep else random.normal(0, degrees or TURN_DEGREES)
    )
    width, height = page.width, page.height
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), turned, 1.0)
    moved = corners @ turn[:, :2].T + turn[:, 2]
    if random.random() < PERSPECTIVE_SHARE:
        moved = moved + random.normal(0, PERSPECTIVE, (4, 2)) * min(width, height)
    view = np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)
    layers = page.layers.map(lambda layer: cv2.warpPerspective(layer, view, (width, height)))
    if degrees or (page.layers.sheet.all() and random.random() >= SURFACE_SHARE):
        layers = replace(layers, sheet=page.layers.sheet)
    return layers, tuple(page.moved_labels(view))
