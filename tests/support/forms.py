"""Draw a form with a comb, a box and print around them, fill it in, and photograph it."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from digitcli.imaging.grayscale import Box, Grey
from tests.support.pictures import cut_tight

# The insides of the fields in reading order, and the boxes for single digits of each.
FIELDS: dict[str, tuple[Box, int]] = {
    "field_1": ((260, 200, 238, 46), 6),
    "field_2": ((540, 202, 180, 44), 0),
    "field_3": ((260, 420, 158, 46), 4),
    "field_4": ((260, 640, 300, 46), 0),
}
WORDS = ("Invoice and receipt", "Customer number", "Paid in full", "please use block letters", "Total amount")


def blank_form(seed: int = 0, fields: Mapping[str, tuple[Box, int]] = FIELDS) -> Grey:
    """Return a blank, uint8 (1000, 800); other seeds have other print."""
    random, page = np.random.default_rng(seed), np.full((1000, 800), 245, np.uint8)
    face = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)[seed % 3]
    for y in (60, 110, 150, 300, 340, 380, 520, 560, 600, 740, 790, 840, 890, 940):
        words = " ".join(WORDS[index] for index in random.permutation(len(WORDS)))
        cv2.putText(page, words, (int(random.integers(20, 60)), y), face, 0.5, 60, 1, cv2.LINE_AA)
    for _ in range(6):
        centre = random.integers([30, 180], [220, 700]).tolist()
        cv2.ellipse(page, centre, random.integers(6, 20, 2).tolist(), 30, 0, 360, 90, 2, cv2.LINE_AA)
    for (x, y, width, height), digits in fields.values():
        cv2.rectangle(page, (x - 2, y - 2), (x + width + 1, y + height + 1), 40, 2)
        for side in np.linspace(x - 1, x + width, max(digits, 1) + 1)[1:-1].round().astype(int).tolist():
            cv2.line(page, (side, y), (side, y + height), 40, 2)
    return page


def filled_form(blank: Grey, texts: Mapping[str, str]) -> Grey:
    """Return a form with these numbers; those of combs begin in the first box."""
    page = blank.copy()
    for name, text in texts.items():
        (x, y, width, height), digits = FIELDS[name]
        pitch = width / digits if digits else 26
        for index, digit in enumerate(text):
            stamp = cut_tight(digit, 32, stroke_px=4)
            left, top = round(x + (index + 0.5) * pitch - stamp.shape[1] / 2), y + (height - 32) // 2
            part = page[top : top + stamp.shape[0], left : left + stamp.shape[1]]
            np.minimum(part, stamp, out=part)
    return page


def photograph(page: Grey, bend_px: float = 8.0) -> tuple[Grey, np.ndarray, np.ndarray]:
    """Return a bent page from the side, its homography (3, 3), and by how much (H, W, 2) it was bent."""
    height, width = page.shape
    y, x = np.indices(page.shape, np.float32)
    bend = np.stack([bend_px * np.sin(y / 260 + 1), bend_px * np.sin(x / 240)], axis=-1).astype(np.float32)
    bent = cv2.remap(
        page, x + bend[..., 0], y + bend[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = np.array([[150, 70], [1120, 160], [1060, 1400], [60, 1330]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, seen)
    light = np.linspace(1, 0.7, 1200)[None] * np.ones((1460, 1))
    desk = np.asarray(cv2.warpPerspective(bent, matrix, (1200, 1460), borderValue=70) * light, np.float32)
    noise = np.random.default_rng(0).normal(0, 3, desk.shape)
    return np.clip(desk + noise, 0, 255).astype(np.uint8), matrix, bend


def on_photograph(points: np.ndarray, matrix: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Return where points (N, 2) of a page lie on its photograph."""
    moved = points.astype(np.float64)
    for _ in range(10):  # bent(p) shows what was at p + bend(p)
        columns, rows = moved.round().astype(int).T
        moved = points - bend[rows, columns]
    return np.asarray(cv2.perspectiveTransform(moved[None], matrix)[0])
