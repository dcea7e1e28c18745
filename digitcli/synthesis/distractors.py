"""Draw distractors: ruled lines, frames, parts of neighbouring writing, letters, specks and other marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import LIKE_NO_DIGIT, OPENCV_FONTS, PRINTED_LETTERS, Mask, draw_strokes
from digitcli.synthesis.strokes import LETTERS, write_shape
from digitcli.synthesis.writers import CANVAS_PX

SCALE = CANVAS_PX / 40  # pixels of the canvas for each pixel of a line 40 high, the unit of the widths below


@dataclass(frozen=True)
class Sheet:
    """A layer to draw on, and where the writing lies.

    layer: uint8 (H, W).
    x0, y0, x1, y1: the box around the writing, in pixels.
    pen_px: the width of the pen.
    tilt_px: by how much a ruled line is lower at its right end.
    """

    layer: Mask
    x0: float
    y0: float
    x1: float
    y1: float
    pen_px: float
    tilt_px: float

    @property
    def height(self) -> int:
        """The height of the layer in pixels."""
        return int(self.layer.shape[0])

    @property
    def width(self) -> int:
        """The width of the layer in pixels."""
        return int(self.layer.shape[1])

    @property
    def writing_px(self) -> float:
        """The height of the writing in pixels."""
        return self.y1 - self.y0

    def draw(
        self, points: Sequence[Sequence[float]] | npt.NDArray[np.float64], width_px: float, level: float
    ) -> None:
        """Draw a line through points (P, 2)."""
        draw_strokes(self.layer, [np.asarray(points, np.float32)], width_px, int(level))


def draw_distractors(
    random: np.random.Generator, shape: tuple[int, int], box: tuple[float, float, float, float], pen_px: float
) -> Mask:
    """Return a layer (H, W) with random distractors, often none, for writing in a box x0, y0, x1, y1."""
    layer = np.zeros(shape, np.uint8)
    sheet = Sheet(layer, *box, pen_px=pen_px, tilt_px=random.normal(0, 0.01) * shape[1])
    for share, draw in DISTRACTORS:
        if random.random() < share:
            draw(random, sheet)
    return layer


def draw_cells(random: np.random.Generator, layer: Mask, boxes: npt.NDArray[np.float32]) -> None:
    """Draw the cells of a form around characters with boxes (n, 4), x0 y0 x1 y1."""
    height_px = float(np.median(boxes[:, 3] - boxes[:, 1]))
    overhang = random.uniform(0.05, 0.4) * height_px
    top, bottom = float(boxes[:, 1].min()) - overhang, float(boxes[:, 3].max()) + overhang
    walls = (boxes[:-1, 2] + boxes[1:, 0]) / 2
    ends = boxes[0, 0] - overhang, boxes[-1, 2] + overhang
    lines = [np.array([[x, top], [x, bottom]]) for x in (*ends, *walls)]
    if random.random() < 0.8:  # the others are open at the top
        lines.append(np.array([[ends[0], top], [ends[1], top]]))
    lines.append(np.array([[ends[0], bottom], [ends[1], bottom]]))
    draw_strokes(layer, lines, random.uniform(0.5, 2) * SCALE, int(random.uniform(60, 230)))


def draw_letters(
    random: np.random.Generator, shape: tuple[int, int], x: float, size_px: float, pen_px: float, count: int
) -> Mask:
    """Return a canvas (H, W) with letters from x on, handwritten or in one of OpenCV's fonts."""
    canvas = np.zeros(shape, np.uint8)
    if random.random() < 0.6:
        names = LIKE_NO_DIGIT if count < 3 else list(LETTERS)
        top = (shape[0] - size_px) / 2
        slant, width, gap = random.normal(0.1, 0.2), random.uniform(0.8, 1.3), random.uniform(0.05, 0.3)
        for name in random.choice(names, count):
            strokes = [
                (stroke * [width, 1] - [[slant, 0]] * stroke[:, 1:]) * size_px + [x, top]
                for stroke in write_shape(random, LETTERS[str(name)])
            ]
            draw_strokes(canvas, strokes, pen_px)
            x = max(float(stroke[:, 0].max()) for stroke in strokes) + gap * size_px
        return canvas
    text = "".join(random.choice(list(PRINTED_LETTERS), count))
    font = int(random.choice(OPENCV_FONTS))
    scale = cv2.getFontScaleFromHeight(font, max(4, int(size_px * 0.8)), 1)
    start = (int(x), int(shape[0] / 2 + size_px / 2))
    cv2.putText(canvas, text, start, font, scale, 255, max(1, round(pen_px)), cv2.LINE_AA)
    return canvas


def draw_objects(random: np.random.Generator, shape: tuple[int, int]) -> Mask:
    """Return a canvas (H, W) with a few solid shapes of any tone, sharp or blurred, as photographs show."""
    height, width = shape
    canvas = np.zeros(shape, np.uint8)
    for _ in range(random.integers(1, 5)):
        centre = random.uniform([0, 0], [width, height])
        sides = random.uniform(0.15, 0.7, 2) * height
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 14)))
        outline = centre + sides * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(canvas, [np.round(outline).astype(np.int32)], int(random.uniform(60, 256)), cv2.LINE_AA)
        if random.random() < 0.4:
            canvas = cv2.GaussianBlur(canvas, (0, 0), random.uniform(1, 8)).astype(np.uint8)
    return canvas


def _draw_rule_below(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw a line near the feet of the digits or lower."""
    y = sheet.y1 + random.uniform(-0.12, 0.4) * sheet.writing_px
    _draw_rule(sheet, y, random.uniform(0.5, 2.2) * SCALE, random.uniform(80, 255))


def _draw_rule_above(random: np.random.Generator, sheet: Sheet) -> None:
    y = sheet.y0 - random.uniform(0, 0.4) * sheet.writing_px
    _draw_rule(sheet, y, random.uniform(0.5, 2) * SCALE, random.uniform(80, 255))


def _draw_rule(sheet: Sheet, y: float, width_px: float, level: float) -> None:
    sheet.draw([(0, y), (sheet.width, y + sheet.tilt_px)], width_px, level)


def _draw_frame(random: np.random.Generator, sheet: Sheet) -> None:
    left = sheet.x0 - random.uniform(0.1, 0.6) * sheet.writing_px
    right = sheet.x1 + random.uniform(0.1, 0.6) * sheet.writing_px
    top = sheet.y0 - random.uniform(0.05, 0.3) * sheet.writing_px
    bottom = sheet.y1 + random.uniform(0.05, 0.3) * sheet.writing_px
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    sheet.draw(corners, random.uniform(0.5, 2.5) * SCALE, random.uniform(100, 255))


def _draw_ruled_paper(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw ruled or squared paper."""
    step = random.uniform(0.3, 1.2) * sheet.writing_px
    level, width_px = random.uniform(60, 200), random.uniform(0.4, 1.2) * SCALE
    for y in np.arange(random.uniform(0, step), sheet.height, step):
        _draw_rule(sheet, y, width_px, level)
    if random.random() < 0.6:
        lean = sheet.tilt_px * sheet.height / sheet.width
        for x in np.arange(random.uniform(0, step), sheet.width, step):
            sheet.draw([(x, 0), (x - lean, sheet.height)], width_px, level)


def _draw_picture_edge(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw a dark stripe at the left or the right, as in scans and cells of forms."""
    is_at_left, inset = random.random() < 0.5, random.uniform(0, 3) * SCALE
    x = inset if is_at_left else sheet.width - 1 - inset
    line = [(x, 0), (x + random.normal(0, 2), sheet.height)]
    sheet.draw(line, random.uniform(0.5, 3) * SCALE, random.uniform(120, 255))


def _draw_neighbouring_lines(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw the tips of writing in the lines above and below, cut off at the top or the bottom."""
    height = sheet.height
    for _ in range(random.integers(1, 4)):
        x, is_at_top = random.uniform(0, sheet.width), random.random() < 0.5
        depth = random.uniform(0.03, 0.22) * height
        ys = (-2, depth, -2) if is_at_top else (height + 1, height - depth, height + 1)
        width = random.uniform(0.05, 0.5) * height
        xs = (x, x + width / 2 + random.normal(0, 4), x + width)
        points = list(zip(xs, ys, strict=True))
        points = points[:2] if random.random() < 0.5 else points
        sheet.draw(points, sheet.pen_px, random.uniform(150, 255))


def _draw_neighbouring_words(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw the tips of writing before and after the number, cut off at the left or the right."""
    height, width = sheet.height, sheet.width
    for _ in range(random.integers(1, 3)):
        y, is_at_left = random.uniform(0, height), random.random() < 0.5
        depth = random.uniform(0.02, 0.15) * height
        xs = (-2, depth, -2) if is_at_left else (width + 1, width - depth, width + 1)
        ys = (y, y + random.uniform(0.05, 0.3) * height, y + random.uniform(0.3, 0.6) * height)
        sheet.draw(list(zip(xs, ys, strict=True)), sheet.pen_px, random.uniform(150, 255))


def _draw_specks(random: np.random.Generator, sheet: Sheet) -> None:
    for _ in range(random.integers(1, 12)):
        point = random.uniform([0, 0], [sheet.width, sheet.height])
        ends = np.stack([point, point + random.normal(0, 2, 2)])
        sheet.draw(ends, random.uniform(0.3, 1.2) * SCALE, random.uniform(100, 255))


def _draw_scribble(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw a random scribble before or after the writing."""
    height = sheet.height
    path = np.cumsum(random.normal(0, 0.1 * height, (random.integers(4, 12), 2)), axis=0)
    x = random.choice([sheet.x0 - 0.3 * height, sheet.x1 + 0.5 * height])
    sheet.draw(path + [x, height / 2], sheet.pen_px, 255)


def _draw_hash(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw crossed bars behind the number, with which people keep others from adding digits."""
    size = random.uniform(0.4, 1) * sheet.writing_px
    x, y = sheet.x1 + random.uniform(0.1, 0.5) * sheet.writing_px, (sheet.y0 + sheet.y1) / 2
    for _ in range(2):
        shift = random.uniform(-0.25, 0.25) * size
        sheet.draw([(x, y + shift), (x + size, y + shift + random.normal(0, 0.1) * size)], sheet.pen_px, 255)
        foot = x + random.uniform(0.2, 0.6) * size
        top = foot + random.uniform(0, 0.4) * size
        sheet.draw([(top, y - size / 2), (foot, y + size / 2)], sheet.pen_px, 255)


def _draw_strikethrough(random: np.random.Generator, sheet: Sheet) -> None:
    """Draw a paler or thinner stroke across the writing or a part of it."""
    ends = random.uniform([sheet.x0, sheet.y0], [sheet.x1, sheet.y1], (2, 2))
    ends += random.normal(0, 0.3, (2, 2)) * sheet.writing_px
    sheet.draw(ends, random.uniform(0.3, 0.9) * sheet.pen_px, random.uniform(60, 200))


# The share of lines that have each distractor, chosen by hand.
DISTRACTORS: tuple[tuple[float, Callable[[np.random.Generator, Sheet], None]], ...] = (
    (0.35, _draw_rule_below),
    (0.08, _draw_rule_above),
    (0.07, _draw_frame),
    (0.05, _draw_ruled_paper),
    (0.10, _draw_picture_edge),
    (0.12, _draw_neighbouring_lines),
    (0.10, _draw_neighbouring_words),
    (0.05, _draw_specks),
    (0.04, _draw_scribble),
    (0.02, _draw_hash),
    (0.06, _draw_strikethrough),
)
