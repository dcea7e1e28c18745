"""Sheets for `judged_scenes.py`: who writes on them, and what is written where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from scenes import Box

from digitcli.synthesis.page import Corners, Kind, Label
from judging.ink import JudgingRoom, Scribe

Light = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pen:
    """What somebody writes with: the style, and the light that its ink reflects, 0 for black."""

    scribe: Scribe
    tone: float


@dataclass
class Sheet:
    """A surface while it is written on.

    light: float32 (H, W), 1 on white paper.
    digit_px: the usual height of a digit.
    labels: what is written, with `corners` of its characters.
    ignored: corners (n, 4, 2) of what may be read in two ways.
    """

    random: np.random.Generator
    room: JudgingRoom
    light: Light
    digit_px: float
    labels: list[Label] = field(default_factory=list)
    ignored: list[Corners] = field(default_factory=list)

    def chance(self, share: float) -> bool:
        """Return True in this share of the calls."""
        return bool(self.random.random() < share)

    def uniform(self, low: float, high: float) -> float:
        """Return a random number between two numbers."""
        return float(self.random.uniform(low, high))

    def choose(self, texts: Sequence[str]) -> str:
        """Return one of several texts."""
        return str(texts[int(self.random.integers(len(texts)))])

    def write(
        self,
        pen: Pen,
        text: str,
        x: float,
        y: float,
        size: float = 1.0,
        align: float = 0.0,
        ignore: bool = False,
    ) -> float:
        """Write a word or a number; digits and words stand on the line at y.

        `align` is 0 to begin at x, and 1 to end there. Return the right end.
        """
        height_px, is_word = size * self.digit_px, any(c.isalpha() for c in text)
        has_digits = any(c.isdecimal() for c in text)
        by_letters = is_word and not has_digits
        stamp = (pen.scribe.word if by_letters else pen.scribe.number)(self.random, text, height_px)
        feet = (
            stamp.boxes[[c.isdecimal() or not has_digits for c in text], 3]
            if not by_letters
            else stamp.boxes[:, 3]
        )
        drop = 0.22 * height_px if by_letters and set(text) & set("gjpqy") else 0.0
        left, top = round(x - align * stamp.width), round(y + drop - float(np.median(feet)))
        blend(self.light, stamp.mask, left, top, pen.tone)
        corners = corners_of(stamp.boxes + np.array([left, top, left, top], np.float32))
        if has_digits and (is_word or ignore):
            self.ignored.append(corners)
        else:
            self.labels.append(
                Label(Kind.NUMBER if has_digits else Kind.OTHER, text if has_digits else "", corners)
            )
        return left + stamp.width

    def write_line(
        self,
        number_pen: Pen,
        word_pen: Pen,
        texts: Sequence[str],
        x: float,
        y: float,
        size: float = 1.0,
        slope: float = 0.0,
    ) -> float:
        """Write words and numbers one after the other, and return the right end."""
        start = x
        for text in texts:
            pen = word_pen if any(c.isalpha() for c in text) else number_pen
            x = self.write(pen, text, x, y + slope * (x - start), size) + size * self.digit_px * self.uniform(
                0.7, 1.0
            )
        return x

    def write_in_boxes(self, pen: Pen, text: str, x: float, y: float, tone: float) -> None:
        """Draw a row of equal boxes above the line at y and write one digit into each."""
        pitch, height, boxes = (
            self.digit_px * self.uniform(1.05, 1.5),
            self.digit_px * self.uniform(1.35, 1.6),
            [],
        )
        lift = (height - self.digit_px) / 2
        for index, digit in enumerate(text):
            left = x + index * pitch
            self.frame((left, y + lift - height, left + pitch, y + lift), tone, 0.05)
            stamp = pen.scribe.number(self.random, digit, self.digit_px * self.uniform(0.8, 0.95))
            at = round(left + (pitch - stamp.width) / 2), round(y - self.digit_px / 2 - stamp.height / 2)
            blend(self.light, stamp.mask, *at, pen.tone)
            boxes.append(stamp.boxes + np.array([*at, *at], np.float32))
        self.labels.append(Label(Kind.NUMBER, text, corners_of(np.concatenate(boxes))))

    def line(self, points: npt.ArrayLike, tone: float, width: float = 0.06, strength: float = 1.0) -> None:
        """Draw a line through points (P, 2); `width` is in heights of a digit."""
        path, width_px = np.asarray(points, np.float64), max(1, round(width * self.digit_px))
        corner = np.floor(path.min(axis=0)) - width_px - 1
        size = np.ceil(path.max(axis=0) - corner).astype(int) + width_px + 2
        mask = np.zeros((size[1], size[0]), np.uint8)
        lines = [np.round((path - corner) * 16).astype(np.int32).reshape(-1, 1, 2)]
        cv2.polylines(mask, lines, False, round(255 * strength), width_px, cv2.LINE_AA, 4)
        blend(self.light, mask, *corner, tone)

    def frame(self, box: Box, tone: float, width: float = 0.06) -> None:
        """Draw a frame."""
        x0, y0, x1, y1 = box
        self.line([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], tone, width)

    def fill(self, box: Box, tone: float) -> None:
        """Fill a box with one tone."""
        x0, y0, x1, y1 = (max(0, round(side)) for side in box)
        self.light[y0:y1, x0:x1] = tone


def new_sheet(
    random: np.random.Generator,
    room: JudgingRoom,
    digits_px: tuple[float, float],
    text: str,
    rows: float,
    pitch: float = 0.9,
) -> Sheet:
    """Return a white sheet with room for a text, or for one number if it is no dummy of `x`."""
    is_page = "x" in text
    h = float(np.exp(random.uniform(*np.log(digits_px if is_page else (14, 90)))))
    width, height = (
        (len(text) + 1.5, rows)
        if is_page
        else (pitch * len(text) + random.uniform(1.2, 2.5), random.uniform(1.8, 2.6))
    )
    return Sheet(random, room, np.ones((round(height * h), round(width * h)), np.float32), h)


def blend(light: Light, mask: npt.NDArray[np.uint8], x: float, y: float, tone: float) -> None:
    """Draw a mask with its upper left corner at x, y in a tone; what lies outside is cut off."""
    left, top = round(x), round(y)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], light.shape[1]), min(top + mask.shape[0], light.shape[0])
    if x0 < x1 and y0 < y1:
        share = mask[y0 - top : y1 - top, x0 - left : x1 - left] / np.float32(255)
        light[y0:y1, x0:x1] += share * (np.float32(tone) - light[y0:y1, x0:x1])


def corners_of(boxes: npt.NDArray[np.float32]) -> Corners:
    """Return the corners (n, 4, 2) of boxes (n, 4)."""
    return boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float32)


def bounds(corners: Corners) -> Box:
    """Return the upright box around corners (n, 4, 2)."""
    points = corners.reshape(-1, 2)
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def digits_box(label: Label) -> Box:
    """Return the upright box around the digits of a number."""
    return bounds(label.corners[[c.isdecimal() for c in label.text]])


def overlap(first: Box, second: Box) -> tuple[float, float]:
    """Return the intersection over union of two boxes, and the intersection as a share of the first."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / max(sum(areas) - shared, 1e-9), shared / max(areas[0], 1e-9)
