"""The boxes of characters follow every change of the view."""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.synthesis import composition
from digitcli.synthesis.composition import Composition


def test_a_box_stays_around_its_ink() -> None:
    ink = np.zeros((80, 300), np.uint8)
    ink[25:60, 230:255] = 255
    original = Composition(ink, np.zeros_like(ink), np.array([[230, 25, 255, 60]], np.float32))
    moved = 0.0
    for seed in range(40):
        changed = composition._change_view(np.random.default_rng(seed), original)
        x, y, width, height = cv2.boundingRect((changed.ink > 127).astype(np.uint8))
        around = np.array([x, y, x + width, y + height])
        assert np.abs(changed.boxes[0] - around).max() < 5
        moved = max(moved, float(np.abs(around - original.boxes[0]).max()))
    assert moved > 8
