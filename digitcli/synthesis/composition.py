"""A piece of paper cut out around a line of writing: margins, clutter, letters beside it, the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.distractors import SCALE, draw_cells, draw_distractors, draw_letters, draw_objects
from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.layout import Writing, write_text
from digitcli.synthesis.writer_style import CANVAS_PX, Writer

EMPTY_WIDTHS = (0.6, 6)  # heights of the line, where nothing is to be read
LETTERS_SHARE = 0.06  # of the lines have letters before or after the number, such as a currency
CELLS_SHARE = 0.06  # have each character in a cell of a form
TURNED_SHARE = 0.5
TURN_DEGREES = 1.8  # the standard deviation; more would be corrected before a line is read
PERSPECTIVE_SHARE = 0.4  # of those
PERSPECTIVE = 0.1  # the standard deviation of how much larger one end of a line looks
WIDE_MARGIN_SHARE = 0.12  # of the lines, at the left and again at the right


@dataclass(frozen=True)
class Composition:
    """Ink and clutter, uint8 (H, W), and the boxes (n, 4) of the characters in it, x0 y0 x1 y1."""

    ink: Mask
    distractors: Mask
    boxes: npt.NDArray[np.float32]


def compose_empty(random: np.random.Generator) -> Composition:
    """Paper with nothing to read: clutter of up to three lines of writing; on most letters or things."""
    height, width = shape = CANVAS_PX, int(random.uniform(*EMPTY_WIDTHS) * CANVAS_PX)
    size_px = random.uniform(0.4, 0.9) * height
    pen_px = random.uniform(0.04, 0.15) * size_px
    box = (0.2 * width, (height - size_px) / 2, 0.8 * width, (height + size_px) / 2)
    clutter = np.zeros(shape, np.uint8)
    for _ in range(random.integers(0, 4)):
        np.maximum(clutter, draw_distractors(random, shape, box, pen_px), out=clutter)
    ink = np.zeros(shape, np.uint8)
    if random.random() < 0.55:
        x = random.uniform(0, 0.3) * width
        ink = draw_letters(random, shape, x, size_px, pen_px, int(random.integers(1, 8)))
    elif random.random() < 0.4:
        ink = draw_objects(random, shape)
    return Composition(ink, clutter, np.zeros((0, 4), np.float32))


def compose_text(random: np.random.Generator, hand: Writer, text: str) -> Composition:
    """A text of at least one character, on a canvas `CANVAS_PX` high."""
    writing = write_text(random, hand, text)
    scene, shrink = _on_paper(random, hand, writing)
    if random.random() < LETTERS_SHARE:
        scene = _with_letters(random, hand, scene)
    if random.random() < TURNED_SHARE:
        scene = _seen_at_an_angle(random, scene)
    return _shrunk(scene, shrink) if shrink < 1 else scene


def _on_paper(random: np.random.Generator, hand: Writer, writing: Writing) -> tuple[Composition, float]:
    """The writing and the clutter around it, and what the canvas is to be shrunk by where it is too high."""
    height = writing.bottom - writing.top
    shrink = CANVAS_PX * random.uniform(0.8, 1) / height if height > CANVAS_PX * 1.02 else 1.0
    left, right, top = _margins(random, CANVAS_PX - height * shrink)
    left, right = int(left / shrink), int(right / shrink)
    width = writing.right - writing.left + left + right + 2
    ink = np.zeros((round(CANVAS_PX / shrink), width), np.uint8)
    boxes = writing.draw(ink, left - writing.left, top / shrink - writing.top)
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    clutter = draw_distractors(random, ink.shape, (x0, y0, x1, y1), hand.pen_px)
    if random.random() < CELLS_SHARE:
        draw_cells(random, clutter, boxes)
    return Composition(ink, clutter, boxes), shrink


def _margins(random: np.random.Generator, space_px: float) -> tuple[int, int, float]:
    """Left, right and top, in pixels; a negative one cuts a little of the writing off."""
    left = int(abs(random.normal(0, 0.35)) * CANVAS_PX * 0.6 + random.uniform(-2.5, 3) * SCALE)
    right = int(abs(random.normal(0, 0.35)) * CANVAS_PX * 0.6 + random.uniform(-2, 3) * SCALE)
    if random.random() < WIDE_MARGIN_SHARE:
        left += int(random.uniform(0.2, 1.5) * CANVAS_PX)
    if random.random() < WIDE_MARGIN_SHARE:
        right += int(random.uniform(0.2, 1.5) * CANVAS_PX)
    overlap = 0.03 * CANVAS_PX
    top = random.uniform(-overlap, space_px + overlap) if space_px > 0 else space_px / 2
    return left, right, top


def _with_letters(random: np.random.Generator, hand: Writer, scene: Composition) -> Composition:
    """Letters of the writing's size and pen on more paper at the left or the right."""
    before = random.random() < 0.5
    size_px = hand.style.height_px * random.uniform(0.5, 1)
    count = int(random.integers(1, 4))
    shape = scene.ink.shape[0], int(count * size_px * 0.9)
    letters = draw_letters(random, shape, 2, size_px, hand.pen_px * 0.9, count)
    blank = np.zeros_like(letters)
    if not before:
        return Composition(
            np.hstack([scene.ink, letters]), np.hstack([scene.distractors, blank]), scene.boxes
        )
    moved = scene.boxes + np.array([shape[1], 0, shape[1], 0], np.float32)
    return Composition(np.hstack([letters, scene.ink]), np.hstack([blank, scene.distractors]), moved)


def _seen_at_an_angle(random: np.random.Generator, scene: Composition) -> Composition:
    """Turned about its middle, and now and then with one end or edge nearer to the camera than the other."""
    height, width = scene.ink.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.normal(0, TURN_DEGREES), 1)
    moved = corners @ turn[:, :2].T + turn[:, 2]
    if random.random() < PERSPECTIVE_SHARE:
        left, right = random.normal(0, PERSPECTIVE, 2) * height / 2  # how much higher and lower each end gets
        top, bottom = random.normal(0, PERSPECTIVE, 2) * height / 2  # and how much wider each edge
        moved += np.array([[-top, -left], [top, -right], [bottom, right], [-bottom, left]])
    view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    ink = cv2.warpPerspective(scene.ink, view, (width, height))
    clutter = cv2.warpPerspective(scene.distractors, view, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return Composition(ink.astype(np.uint8), clutter.astype(np.uint8), _boxes_in(view, scene.boxes))


def _boxes_in(view: cv2.typing.MatLike, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Boxes (n, 4) from where a view (3, 3) takes the middles of their sides."""
    x0, y0, x1, y1 = boxes.T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    sides = np.stack([(x0, y), (x, y0), (x1, y), (x, y1)]).transpose(2, 0, 1)  # n, side, x or y
    seen = cv2.perspectiveTransform(sides.astype(np.float32), view)
    return np.stack([seen[:, 0, 0], seen[:, 1, 1], seen[:, 2, 0], seen[:, 3, 1]], axis=1)


def _shrunk(scene: Composition, share: float) -> Composition:
    size = max(8, round(scene.ink.shape[1] * share)), CANVAS_PX
    ink, clutter = (
        cv2.resize(layer, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        for layer in (scene.ink, scene.distractors)
    )
    return Composition(ink, clutter, scene.boxes * np.float32(share))
