"""A flat page while it is composed: its layers of ink, and the labels of what is written where."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.network_inputs import LineBox
from digitcli.strip_format import SEPARATORS
from digitcli.synthesis.glyphs import Mask, draw_strokes
from digitcli.synthesis.stamps import Stamp
from digitcli.synthesis.writers import PlacedGlyph, draw_glyph

Corners = npt.NDArray[np.float32]

# Share of the smaller of two upright boxes that may overlap, as tails and loops do. Chosen by hand.
LARGEST_OVERLAP = 0.1

# Share of a character outside of the page, above which nothing is seen of it. Chosen by hand.
INVISIBLE_CUT = 0.9
JOINED_ARRAYS = ("corners", "shown", "prints")  # of labels, which have a row for each character


class Kind(enum.Enum):
    """What a piece of writing is."""

    NUMBER = "number"
    OTHER = "other"


@dataclass(frozen=True)
class Label:
    """A piece of writing on a page.

    kind: a number, or other writing.
    text: its characters of `strip_format.ALPHABET`; empty for other writing and numbers too large to be read.
    corners: float32 (n, 4, 2), for each character but spaces its corners clockwise from the upper left one.
    seen: float32 (n, 4, 2), the corners of the part of each of these that its paper shows; all without paper.
    printed: of all these characters or of each (n,), see `Stamp`.
    """

    kind: Kind
    text: str
    corners: Corners
    seen: Corners | None = None
    printed: float | npt.NDArray[np.floating] = np.nan

    @property
    def prints(self) -> npt.NDArray[np.float32]:
        """Whether each character (n,) is printed."""
        return np.broadcast_to(np.float32(self.printed), len(self.corners))

    @property
    def shown(self) -> Corners:
        """The corners of what is seen, also without paper."""
        return self.corners if self.seen is None else self.seen

    def shares_outside(self, size: tuple[int, ...]) -> npt.NDArray[np.floating]:
        """Return the share (n,) of each character that is not seen in a picture of a width and a height."""
        seen = np.clip(self.shown, 0, np.array(size, np.float32))
        areas, seen_areas = (np.ptp(corners, axis=1).prod(axis=1) for corners in (self.corners, seen))
        return np.asarray(1 - seen_areas / np.maximum(areas, 1e-3))

    def cut_to(self, size: tuple[int, ...]) -> Label | None:
        """Return what paper of a width and a height shows of it; None if that is nothing."""
        if not len(self.corners):
            return self
        is_seen = self.shares_outside(size) < INVISIBLE_CUT
        if not is_seen.any():
            return None
        flags = iter(is_seen.tolist())
        text = "".join(character for character in self.text if character == " " or next(flags)).strip()
        seen = np.clip(self.shown[is_seen], 0, np.array(size, np.float32))
        return Label(self.kind, text, self.corners[is_seen], seen, self.prints[is_seen])

    def moved(self, matrix: npt.NDArray[np.floating]) -> Label:
        """Return the label after a transformation, see `transform`."""
        seen = None if self.seen is None else transform(self.seen, matrix)
        return replace(self, corners=transform(self.corners, matrix), seen=seen)


def numbers_of(label: Label) -> list[Label]:
    """Return each number of a label, which may hold several, as a label with its own characters."""
    numbers: list[tuple[str, list[int]]] = [("", [])]
    place = 0
    for character in label.text:
        if character in SEPARATORS:
            numbers.append(("", []))
        else:
            text, places = numbers[-1]
            numbers[-1] = (text + character, [*places, place])
        place += character != " "
    return [
        Label(label.kind, text, label.corners[places], label.shown[places], label.prints[places])
        for text, places in numbers
        if any(character.isdecimal() for character in text)
    ]


def joined(labels: Sequence[Label]) -> Label:
    """Return numbers of one line as one label, with spaces between their texts."""
    text = " ".join(each.text for each in labels)
    arrays = (np.concatenate([getattr(each, name) for each in labels]) for name in JOINED_ARRAYS)
    return Label(labels[0].kind, text, *arrays)


@dataclass(frozen=True)
class Layers:
    """The layers of a page, uint8 (H, W).

    writing: the ink of characters; 255 is full ink.
    rules: the ink of everything else, for example lines, frames and ticks.
    reversed: 255 where light and dark are exchanged.
    sheet: 255 on the paper, and 0 on the surface on which it lies.
    """

    writing: Mask
    rules: Mask
    reversed: Mask
    sheet: Mask

    def map(self, change: Callable[[Mask], cv2.typing.MatLike]) -> Layers:
        """Return the layers after a change of each."""
        layers = (self.writing, self.rules, self.reversed, self.sheet)
        return Layers(*(np.asarray(change(layer), np.uint8) for layer in layers))


@dataclass(frozen=True)
class Page:
    """A flat page, on which stamps and lines are put, and the labels of what is written on it."""

    layers: Layers
    labels: list[Label] = field(default_factory=list)
    _taken: list[npt.NDArray[np.float32]] = field(default_factory=list)  # x0, y0, x1, y1 of each label

    @classmethod
    def blank(cls, height: int, width: int) -> Page:
        """Return an empty page of a height and a width in pixels."""
        writing, rules, reversed_ = (np.zeros((height, width), np.uint8) for _ in range(3))
        return cls(Layers(writing, rules, reversed_, np.full((height, width), 255, np.uint8)))

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.layers.writing.shape[0])

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.layers.writing.shape[1])

    def put(self, stamp: Stamp, x: float, y: float, kind: Kind, text: str = "", degrees: float = 0.0) -> bool:
        """Put a stamp with its upper left corner at x, y, turned counter-clockwise about its centre.

        Returns:
            False if other writing stands there already; the page stays as it was.
        """
        mask, matrix = stamp.mask, np.array([[1, 0, x], [0, 1, y]], np.float32)
        if degrees:
            mask, matrix = _turn(stamp.mask, degrees)
            matrix[:, 2] += x, y
            x, y = x + (stamp.width - mask.shape[1]) / 2, y + (stamp.height - mask.shape[0]) / 2
        corners = transform(corners_of(stamp.boxes), matrix)
        if len(corners):
            points = corners.reshape(-1, 2)
            box = np.concatenate([points.min(axis=0), points.max(axis=0)])
            if not self.is_free(box, LARGEST_OVERLAP):
                return False
            self._taken.append(box)
        draw_glyph(self.layers.writing, PlacedGlyph(mask, round(x), round(y)))
        self.labels.append(Label(kind, text, corners, printed=stamp.printed))
        return True

    def draw_beside(self, draw: Callable[[], None]) -> None:
        """Draw something that leaves what is written already, and a margin around it, as it is."""
        layers = (self.layers.writing, self.layers.rules)
        before, taken = [layer.copy() for layer in layers], list(self._taken)
        draw()
        for x0, y0, x1, y1 in taken:
            margin = 0.3 * (y1 - y0)
            rows = slice(max(0, int(y0 - margin)), max(0, int(y1 + margin)))
            columns = slice(max(0, int(x0 - margin)), max(0, int(x1 + margin)))
            for layer, old in zip(layers, before, strict=True):
                layer[rows, columns] = old[rows, columns]

    def is_free(self, box: npt.ArrayLike, overlap: float = 0.0) -> bool:
        """Tell whether a box x0, y0, x1, y1 and each label share at most `overlap` of the smaller of both."""
        if not self._taken:
            return True
        taken, wanted = np.array(self._taken), np.asarray(box, np.float32)
        sides = np.minimum(taken[:, 2:], wanted[2:]) - np.maximum(taken[:, :2], wanted[:2])
        smaller = np.minimum((taken[:, 2:] - taken[:, :2]).prod(axis=1), (wanted[2:] - wanted[:2]).prod())
        return bool((sides.clip(0).prod(axis=1) <= overlap * smaller).all())

    def line(self, points: npt.ArrayLike, width_px: float, level: float) -> None:
        """Draw a line through points (P, 2) in the layer of rules."""
        draw_strokes(self.layers.rules, [np.asarray(points, np.float32)], width_px, int(level))

    def reverse(self, box: tuple[float, float, float, float]) -> None:
        """Show what lies in a box x0, y0, x1, y1 light on dark."""
        x0, y0, x1, y1 = (int(side) for side in box)
        cv2.rectangle(self.layers.reversed, (x0, y0), (x1, y1), 255, -1)

    def shrunk(self, share: float, x: float, y: float) -> Page:
        """Return the page as a sheet that fills a share of the sides of a picture of the same size.

        x, y: its upper left corner in the picture, in pixels.
        """
        left, top = round(x), round(y)
        width = min(self.width - left, max(1, round(share * self.width)))
        height = min(self.height - top, max(1, round(share * self.height)))

        def place(layer: Mask) -> Mask:
            placed = np.zeros_like(layer)
            small = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
            placed[top : top + height, left : left + width] = small
            return placed

        return Page(self.layers.map(place), self.moved_labels(np.array([[share, 0, left], [0, share, top]])))

    def moved_labels(self, matrix: npt.NDArray[np.floating]) -> list[Label]:
        """Return the labels of what is seen on the page, after a transformation, see `transform`."""
        seen = (label.cut_to((self.width, self.height)) for label in self.labels)
        return [label.moved(matrix) for label in seen if label]

    def frame(self, box: tuple[float, float, float, float], width_px: float, level: float) -> None:
        """Draw a frame with the corners x0, y0 and x1, y1."""
        x0, y0, x1, y1 = box
        self.line([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], width_px, level)


def transform(corners: Corners, matrix: npt.NDArray[np.floating]) -> Corners:
    """Return corners (n, 4, 2) after an affine (2, 3) or a perspective (3, 3) transformation."""
    if not len(corners):
        return corners
    if len(matrix) == 2:
        return np.asarray(corners @ matrix[:, :2].T + matrix[:, 2], np.float32)
    moved = cv2.perspectiveTransform(corners.reshape(-1, 1, 2).astype(np.float32), matrix)
    return np.asarray(moved.reshape(-1, 4, 2), np.float32)


def line_box(label: Label) -> LineBox:
    """Return the box of a label; the height of a number is that of its digits."""
    corners = label.corners
    top_left, top_right = corners[0, 0], corners[-1, 1]
    bottom_left, bottom_right = corners[0, 3], corners[-1, 2]
    direction = top_right + bottom_right - top_left - bottom_left
    if len(corners) > 1:
        direction = corners[-1].mean(axis=0) - corners[0].mean(axis=0)
        edges = (corners[:, 1] - corners[:, 0]).sum(axis=0)
        if len(corners) < 4:  # the centres of few characters depend on their heights
            direction = edges
    angle = float(np.arctan2(direction[1], direction[0]))
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    characters = [character for character in label.text if character != " "]
    is_digit = np.array([character.isdecimal() for character in characters] or [True] * len(corners))
    tall = corners[is_digit] if is_digit.any() else corners
    u, v = corners @ along, tall @ across
    middle_u, middle_v = (u.min() + u.max()) / 2, (v.min() + v.max()) / 2
    centre = along * middle_u + across * middle_v
    return LineBox(float(centre[0]), float(centre[1]), float(np.ptp(u)), float(np.ptp(v)), angle)


def corners_of(boxes: npt.NDArray[np.float32]) -> Corners:
    """Return the corners (n, 4, 2) of boxes (n, 4), x0 y0 x1 y1, clockwise from the upper left one."""
    x0, y0, x1, y1 = boxes.reshape(-1, 4).T
    return np.stack([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]).transpose(2, 0, 1).astype(np.float32)


def _turn(mask: Mask, degrees: float) -> tuple[Mask, npt.NDArray[np.float32]]:
    """Turn a mask about its centre; return also the matrix (2, 3) from pixels before to pixels after."""
    height, width = mask.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    on_paper = matrix.astype(np.float32).copy()
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(height * sine + width * cosine) + 1, int(height * cosine + width * sine) + 1
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return np.asarray(cv2.warpAffine(mask, matrix, size), np.uint8), on_paper
