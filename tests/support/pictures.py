"""Drawn digits for the tests: dark ink on white paper, uint8 (H, W)."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

# One pen stroke for each digit, in a box 60 wide and 100 high.
_STROKES = {
    "0": [(30, 0), (8, 18), (0, 50), (8, 82), (30, 100), (52, 82), (60, 50), (52, 18), (30, 0)],
    "1": [(10, 22), (34, 0), (34, 100)],
    "2": [(2, 22), (14, 4), (38, 0), (56, 14), (54, 36), (0, 100), (60, 100)],
    "3": [(4, 6), (36, 0), (56, 18), (44, 42), (22, 48), (50, 56), (60, 78), (38, 100), (0, 94)],
    "4": [(40, 100), (40, 0), (0, 66), (60, 66)],
    "5": [(56, 0), (8, 0), (4, 44), (34, 40), (60, 66), (44, 96), (0, 98)],
    "6": [(44, 0), (12, 36), (2, 74), (26, 100), (56, 84), (52, 56), (26, 50), (4, 68)],
    "7": [(0, 0), (60, 0), (22, 100)],
    "8": [(30, 46), (6, 24), (30, 0), (54, 24), (30, 46), (2, 74), (30, 100), (58, 74), (30, 46)],
    "9": [(56, 30), (34, 48), (6, 36), (8, 8), (34, 0), (56, 14), (54, 56), (34, 100)],
}


def drawn(digit: str = "5", side_px: int = 120, *, stroke_px: int = 8) -> np.ndarray:
    """Draw a digit in the middle of white paper, two thirds as high as the paper, anti-aliased."""
    paper = np.full((side_px, side_px), 255, np.uint8)
    points = (np.array(_STROKES[digit]) - (30, 50)) * (side_px / 150) + side_px / 2
    fraction_bits = 4
    fixed = np.round(points * 2**fraction_bits).astype(np.int32)
    cv2.polylines(paper, [fixed], False, 0, stroke_px, cv2.LINE_AA, fraction_bits)
    return paper


def cut_tight(digit: str = "5", height_px: int = 100, *, stroke_px: int = 8) -> np.ndarray:
    """Draw a digit without paper around it."""
    paper = drawn(digit, round(height_px * 1.5), stroke_px=stroke_px)
    x, y, width, height = cv2.boundingRect(255 - paper)
    return paper[y : y + height, x : x + width]


def written(
    text: str,
    height_px: int = 100,
    *,
    gap: float = 0.4,
    stroke_px: int = 8,
    margin_px: int = 60,
    slope: float = 0.0,
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Draw a row of digits, `gap` of their height apart; return also the box of each: x, y, width, height."""
    crops = [cut_tight(digit, height_px, stroke_px=stroke_px) for digit in text]
    step = round(gap * height_px)
    width = sum(crop.shape[1] for crop in crops) + step * (len(crops) - 1) + 2 * margin_px
    rise = round(abs(slope) * width)
    paper = np.full((max(crop.shape[0] for crop in crops) + 2 * margin_px + rise, width), 255, np.uint8)
    boxes, x = [], margin_px
    for crop in crops:
        y = margin_px + round(slope * x) + (rise if slope < 0 else 0)
        paper[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        boxes.append((x, y, crop.shape[1], crop.shape[0]))
        x += crop.shape[1] + step
    return paper, boxes


def grey_of(paper: np.ndarray) -> np.ndarray:
    """Return a drawn picture like an opened one: float32 in [0, 1]."""
    return paper.astype(np.float32) / 255


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture file."""
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, form, **options)
    return stream.getvalue()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean absolute difference of two uint8 pictures, in grey levels."""
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """Return a PNG whose header states a size, with any content."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def flipped(data: bytes, at: int) -> bytes:
    """Return the bytes with some bits of one byte inverted."""
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
