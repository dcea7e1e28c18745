"""Draw tables with digits in known boxes, as if a reader had read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from digitcli.recognition.readings import Detection, Digit, Number

Grid = Sequence[Sequence[str]]


def digits_at(text: str, x: float, y: float, step: float, height: int = 24) -> Number:
    """Return a number whose digits have their upper left corners from x, y on, `step` pixels apart."""
    places = [(round(x + index * step), round(y)) for index in range(len(text))]
    digits = tuple(
        Digit(digit, 0.99, (left, top, round(0.6 * height), height))
        for digit, (left, top) in zip(text, places, strict=True)
    )
    return Number(digits, 0.97, text, row=0)


def ruled_page(
    xs: Sequence[int], ys: Sequence[int], size: tuple[int, int] = (400, 600), tone: int = 60
) -> np.ndarray:
    """Return a page, uint8 (H, W), with rules at these places."""
    page = np.full(size, 235, np.uint8)
    for x in xs:
        cv2.line(page, (x, ys[0]), (x, ys[-1]), tone, 2)
    for y in ys:
        cv2.line(page, (xs[0], y), (xs[-1], y), tone, 2)
    return page


def filled(texts: Grid, xs: Sequence[int], ys: Sequence[int]) -> list[Number]:
    """Return the numbers that stand in the cells between rules; empty texts stand nowhere."""
    numbers = []
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            if text:
                middle = (xs[column] + xs[column + 1]) / 2 - 8 * len(text)
                numbers.append(digits_at(text, middle, (ys[row] + ys[row + 1]) / 2 - 12, 16))
    return numbers


def drawn(page: np.ndarray, numbers: Sequence[Number]) -> np.ndarray:
    """Return a page with a stroke where each digit stands."""
    page = page.copy()
    for number in numbers:
        for x, y, width, height in (digit.box for digit in number.digits):
            cv2.ellipse(
                page, (x + width // 2, y + height // 2), (width // 2 - 1, height // 2 - 1), 0, 0, 300, 40, 2
            )
    return page


def warped(
    page: np.ndarray, numbers: Sequence[Number], matrix: np.ndarray
) -> tuple[np.ndarray, list[Number]]:
    """Return a page and its numbers after a perspective (3, 3)."""
    seen = cv2.warpPerspective(page, matrix, page.shape[::-1], borderValue=90)
    moved = []
    for number in numbers:
        digits = []
        for digit in number.digits:
            x, y, width, height = digit.box
            middle = np.array([[[x + width / 2, y + height / 2]]], np.float32)
            (u, v) = cv2.perspectiveTransform(middle, matrix)[0, 0]
            digits.append(replace(digit, box=(round(u - width / 2), round(v - height / 2), width, height)))
        moved.append(replace(number, digits=tuple(digits)))
    return np.asarray(seen, np.uint8), moved


def detections_of(numbers: Sequence[Number]) -> list[Detection]:
    """Return a detection around each number."""
    found = []
    for number in numbers:
        x, y, width, height = number.box
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        found.append(Detection(tuple((float(a), float(b)) for a, b in corners), 0.99, True))
    return found
