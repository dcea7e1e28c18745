"""A measurement of a drawn number is usual, and a fault once the fault is planted in it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from digitcli.diagnosis.picture_quality import (
    USUAL,
    digit_at_edge,
    distances_from_edge,
    measure_picture,
    noise_of,
)
from digitcli.imaging.grayscale import Box

# The boxes of three digits, each 66 pixels high.
BOXES = [(40, 40, 50, 66), (110, 40, 50, 66), (180, 40, 50, 66)]
# Corners of the digits 4, 7 and 1, in pixels of their box.
CORNERS = (
    [(38, 60), (38, 6), (6, 40), (44, 40)],
    [(6, 6), (44, 6), (20, 60)],
    [(10, 18), (26, 6), (26, 60)],
)


def number(thickness: int = 10) -> np.ndarray:
    picture = np.full((146, 270), 255, np.uint8)
    for corners, box in zip(CORNERS, BOXES, strict=True):
        cv2.polylines(picture, [np.array(corners) + box[:2]], False, 0, thickness)
    return picture


def scaled(boxes: list[Box], factor: float) -> list[Box]:
    return [
        (round(x * factor), round(y * factor), round(w * factor), round(h * factor)) for x, y, w, h in boxes
    ]


def grade(rule: str, picture: np.ndarray, boxes: list[Box]) -> str:
    return USUAL[rule].grade(measure_picture(picture, boxes)[rule])


def noise(picture: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.clip(40 + 0.7 * picture + random.normal(0, 70, picture.shape), 0, 255).astype(np.uint8)


def squares(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (picture * (1 - 0.6 * ((columns // 12 + rows // 12) % 2))).astype(np.uint8)


def fewer_pixels(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=1 / 6, fy=1 / 6, interpolation=cv2.INTER_AREA)


def test_a_planted_fault_is_measured() -> None:
    faults: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "too_small": fewer_pixels,
        "too_thin": lambda picture: number(thickness=1),
        "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 8),
        "noisy": noise,
    }
    for rule, plant in faults.items():
        picture, planted = number(), plant(number())
        boxes = scaled(BOXES, planted.shape[0] / picture.shape[0])
        for before, after in ((picture, planted), (255 - picture, 255 - planted)):
            for given, scaled_boxes in ((BOXES, boxes), ([], [])):
                assert grade(rule, before, given) == "usual", rule
                assert grade(rule, after, scaled_boxes) == "fault", rule


def test_a_pattern_around_the_digits_is_measured_but_not_other_writing() -> None:
    assert grade("uneven_background", squares(number()), BOXES) == "fault"
    assert grade("uneven_background", number(), BOXES[:2]) == "usual"


def test_noise_and_few_pixels_hide_the_width_of_strokes_and_edges() -> None:
    assert {"too_thin", "blurred"} <= measure_picture(number(), BOXES).keys()
    assert not {"too_thin", "blurred"} & measure_picture(noise(number()), BOXES).keys()
    assert measure_picture(np.full((60, 90), 255, np.uint8), []) == {}, "nothing is written"
    small = measure_picture(fewer_pixels(number()), scaled(BOXES, 1 / 6))
    assert "blurred" not in small and "too_thin" in small


def test_ink_at_the_edge_is_a_digit_only_if_it_is_as_high_as_one() -> None:
    assert not digit_at_edge(number(), BOXES)
    assert digit_at_edge(number()[:, :208], BOXES[:2])  # a part of the last digit, which is not read
    dirt = number()
    dirt[60:70, -8:] = 0
    assert not digit_at_edge(dirt, BOXES)
    assert digit_at_edge(number()[:, :145], []) and not digit_at_edge(number(), [])


def test_the_distance_from_the_edge_is_in_heights() -> None:
    assert distances_from_edge([(10, 20, 30, 40)], np.zeros((100, 200), np.uint8)) == [0.25]


def test_the_evidence_tells_the_limit_of_a_fault_and_common_values_otherwise() -> None:
    height = USUAL["too_small"]
    assert height.evidence(9).endswith(
        "is 9 pixels high; of pictures that are read well, 95 % have 14 pixels or more."
    )
    assert height.evidence(20).endswith("three quarters have 25 pixels or more.")
    assert USUAL["noisy"].evidence(0.1).endswith("95 % have 3.20 % or less.")


def test_noise_is_measured_in_levels() -> None:
    for deviation in (5, 20, 60):
        random = np.random.default_rng(0)
        picture = np.full((90, 120), 128.0) + random.normal(0, deviation, (90, 120))
        assert noise_of(picture.astype(np.uint8)) == pytest.approx(deviation, rel=0.1)
