"""Compose a piece of paper around a line of writing: margins, distractors, letters and the view angle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.distractors import SCALE, draw_cells, draw_distractors, draw_letters, draw_objects
from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.layout import Writing, write_text
from digitcli.synthesis.writer_style import CANVAS_PX, Writer

# All values were chosen by hand.
EMPTY_WIDTH = (0.6, 6)  # range of the width of paper without text, in heights of the canvas
EMPTY_LETTERS_SHARE = 0.55  # of the papers without text have letters
EMPTY_OBJECTS_SHARE = 0.4  # of the others have objects
LETTERS_SHARE = 0.06  # of the lines have letters before or after the number, for example a currency
CELLS_SHARE = 0.06  # of the lines have each character in a cell of a form
ROTATION_SHARE = 0.5  # of the lines are rotated
ROTATION_DEGREES = 1.8  # standard deviation; larger angles are corrected before a line is read
PERSPECTIVE_SHARE = 0.4  # of the rotated lines are seen in perspective
PERSPECTIVE = 0.1  # standard deviation of how much larger one end of such a line looks
WIDE_MARGIN_SHARE = 0.12  # of the lines have a wide margin at the left, and as many at the right


@dataclass(frozen=True)
class Composition:
    """A line of writing on paper.

    ink: uint8 (H, W), the writing.
    distractors: uint8 (H, W), all other marks.
    boxes: float32 (n, 4), x0 y0 x1 y1 of the characters.
    """

    ink: Mask
    distractors: Mask
    boxes: npt.NDArray[np.float32]


def compose_empty(random: np.random.Generator) -> Composition:
    """Compose paper with nothing to read: distractors, and on most papers letters or objects."""
    height, width = shape = CANVAS_PX, int(random.uniform(*EMPTY_WIDTH) * CANVAS_PX)
    size_px = random.uniform(0.4, 0.9) * height
    pen_px = random.uniform(0.04, 0.15) * size_px
    box = (0.2 * width, (height - size_px) / 2, 0.8 * width, (height + size_px) / 2)
    distractors = np.zeros(shape, np.uint8)
    for _ in range(random.integers(0, 4)):
        np.maximum(distractors, draw_distractors(random, shape, box, pen_px), out=distractors)
    ink = np.zeros(shape, np.uint8)
    if random.random() < EMPTY_LETTERS_SHARE:
        x = random.uniform(0, 0.3) * width
        ink = draw_letters(random, shape, x, size_px, pen_px, int(random.integers(1, 8)))
    elif random.random() < EMPTY_OBJECTS_SHARE:
        ink = draw_objects(random, shape)
    return Composition(ink, distractors, np.zeros((0, 4), np.float32))


def compose_text(random: np.random.Generator, writer: Writer, text: str) -> Composition:
    """Compose a text of at least one character on a canvas `CANVAS_PX` high."""
    writing = write_text(random, writer, text)
    composition, shrink_factor = _put_on_paper(random, writer, writing)
    if random.random() < LETTERS_SHARE:
        composition = _add_letters(random, writer, composition)
    if random.random() < ROTATION_SHARE:
        composition = _change_view(random, composition)
    return _shrink(composition, shrink_factor) if shrink_factor < 1 else composition


def _put_on_paper(random: np.random.Generator, writer: Writer, writing: Writing) -> tuple[Composition, float]:
    """Put writing on paper among distractors; return also the factor that fits it into the canvas."""
    height = writing.bottom - writing.top
    shrink_factor = CANVAS_PX * random.uniform(0.8, 1) / height if height > CANVAS_PX * 1.02 else 1.0
    left, right, top = _sample_margins(random, CANVAS_PX - height * shrink_factor)
    left, right = int(left / shrink_factor), int(right / shrink_factor)
    width = writing.right - writing.left + left + right + 2
    ink = np.zeros((round(CANVAS_PX / shrink_factor), width), np.uint8)
    boxes = writing.draw(ink, left - writing.left, top / shrink_factor - writing.top)
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    distractors = draw_distractors(random, ink.shape, (x0, y0, x1, y1), writer.pen_px)
    if random.random() < CELLS_SHARE:
        draw_cells(random, distractors, boxes)
    return Composition(ink, distractors, boxes), shrink_factor


def _sample_margins(random: np.random.Generator, space_px: float) -> tuple[int, int, float]:
    """Return the left, right and top margin in pixels; a negative one cuts off a little of the writing."""
    left = int(abs(random.normal(0, 0.35)) * CANVAS_PX * 0.6 + random.uniform(-2.5, 3) * SCALE)
    right = int(abs(random.normal(0, 0.35)) * CANVAS_PX * 0.6 + random.uniform(-2, 3) * SCALE)
    if random.random() < WIDE_MARGIN_SHARE:
        left += int(random.uniform(0.2, 1.5) * CANVAS_PX)
    if random.random() < WIDE_MARGIN_SHARE:
        right += int(random.uniform(0.2, 1.5) * CANVAS_PX)
    overlap = 0.03 * CANVAS_PX
    top = random.uniform(-overlap, space_px + overlap) if space_px > 0 else space_px / 2
    return left, right, top


def _add_letters(random: np.random.Generator, writer: Writer, composition: Composition) -> Composition:
    """Add paper at the left or the right, with letters in the size and the pen of the writing."""
    at_left = random.random() < 0.5
    size_px = writer.style.height_px * random.uniform(0.5, 1)
    count = int(random.integers(1, 4))
    shape = composition.ink.shape[0], int(count * size_px * 0.9)
    letters = draw_letters(random, shape, 2, size_px, writer.pen_px * 0.9, count)
    blank = np.zeros_like(letters)
    ink, distractors, boxes = composition.ink, composition.distractors, composition.boxes
    if not at_left:
        return Composition(np.hstack([ink, letters]), np.hstack([distractors, blank]), boxes)
    moved_boxes = boxes + np.array([shape[1], 0, shape[1], 0], np.float32)
    return Composition(np.hstack([letters, ink]), np.hstack([blank, distractors]), moved_boxes)


def _change_view(random: np.random.Generator, composition: Composition) -> Composition:
    """Rotate a composition about its middle, and show some in perspective: one end or edge is nearer."""
    height, width = composition.ink.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    rotation = cv2.getRotationMatrix2D((width / 2, height / 2), random.normal(0, ROTATION_DEGREES), 1)
    moved = corners @ rotation[:, :2].T + rotation[:, 2]
    if random.random() < PERSPECTIVE_SHARE:
        left, right = random.normal(0, PERSPECTIVE, 2) * height / 2  # how much each end grows up and down
        top, bottom = random.normal(0, PERSPECTIVE, 2) * height / 2  # how much each edge grows sideways
        moved += np.array([[-top, -left], [top, -right], [bottom, right], [-bottom, left]])
    view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    ink = cv2.warpPerspective(composition.ink, view, (width, height))
    distractors = cv2.warpPerspective(
        composition.distractors, view, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    boxes = _transform_boxes(view, composition.boxes)
    return Composition(ink.astype(np.uint8), distractors.astype(np.uint8), boxes)


def _transform_boxes(view: cv2.typing.MatLike, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the boxes (n, 4) through the places to which a view (3, 3) moves the middles of their sides."""
    x0, y0, x1, y1 = boxes.T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    sides = np.stack([(x0, y), (x, y0), (x1, y), (x, y1)]).transpose(2, 0, 1)  # n, side, x or y
    moved = cv2.perspectiveTransform(sides.astype(np.float32), view)
    return np.stack([moved[:, 0, 0], moved[:, 1, 1], moved[:, 2, 0], moved[:, 3, 1]], axis=1)


def _shrink(composition: Composition, factor: float) -> Composition:
    size = max(8, round(composition.ink.shape[1] * factor)), CANVAS_PX
    ink, distractors = (
        cv2.resize(layer, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        for layer in (composition.ink, composition.distractors)
    )
    return Composition(ink, distractors, composition.boxes * np.float32(factor))
