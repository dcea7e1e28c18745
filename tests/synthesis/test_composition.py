"""What a camera does to a line it does to the boxes of its characters too."""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.synthesis import composition
from digitcli.synthesis.composition import Composition


def test_boxes_stay_around_what_they_are_around() -> None:
    ink = np.zeros((80, 300), np.uint8)
    ink[25:60, 230:255] = 255
    scene = Composition(ink, np.zeros_like(ink), np.array([[230, 25, 255, 60]], np.float32))
    moved = 0.0
    for seed in range(40):
        seen = composition._seen_at_an_angle(np.random.default_rng(seed), scene)
        x, y, width, height = cv2.boundingRect((seen.ink > 127).astype(np.uint8))
        around = np.array([x, y, x + width, y + height])
        assert np.abs(seen.boxes[0] - around).max() < 5
        moved = max(moved, float(np.abs(around - scene.boxes[0]).max()))
    assert moved > 8
