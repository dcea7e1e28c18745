"""Measure how many stacked fractions are refused: `python benchmarks/stacked_fractions.py`.

Three kinds of pictures: fractions of MNIST's validation digits with one to three digits above and below a
bar; composed ones by held-out writers and fonts; and, for comparison, composed pages with two or three
numbers in a column, some of them in tables. For each kind: how many pictures have a number that is
answered, which should be no fraction, and how many are refused because they show no digit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_layouts import fill_with_free_numbers, fill_with_one_fraction, fill_with_table
from digitcli.synthesis.scenes import SceneComposer
from digitcli.training.synthetic_lines import scene_composer

DIGIT_PX, GAP_PX, BAR_GAP_PX, MARGIN_PX = 28, 2, 4, 10  # of an image, between images, to the bar, around

Grey = npt.NDArray[np.uint8]


def mnist_fraction(random: np.random.Generator, digits: Digits) -> Grey:
    """Draw a fraction of images of digits, one to four times enlarged, on grainy paper."""
    upper, lower = _number(random, digits), _number(random, digits)
    bar_px = max(upper.shape[1], lower.shape[1]) + 8
    ink = np.zeros((2 * (DIGIT_PX + BAR_GAP_PX + MARGIN_PX), bar_px + 2 * MARGIN_PX), np.float32)
    for image, y in ((upper, MARGIN_PX), (lower, len(ink) - MARGIN_PX - DIGIT_PX)):
        x = (ink.shape[1] - image.shape[1]) // 2
        ink[y : y + DIGIT_PX, x : x + image.shape[1]] = image / 255
    left, right = (len(ink) // 2 + int(random.integers(-1, 2)) for _ in range(2))
    cv2.line(ink, (MARGIN_PX, left), (MARGIN_PX + bar_px, right), 1.0, int(random.integers(1, 4)))
    scale = random.uniform(1, 4)
    ink = np.asarray(cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    light = 235 - 190 * ink.clip(0, 1) + 3 * random.standard_normal(ink.shape)
    return np.asarray(light.clip(0, 255), np.uint8)


def _number(random: np.random.Generator, digits: Digits) -> Grey:
    images = digits.images[random.integers(len(digits.images), size=random.integers(1, 4))]
    crops = [image[:, image.any(axis=0)] for image in images]
    return np.concatenate([np.pad(crop, ((0, 0), (0, GAP_PX))) for crop in crops], axis=1)[:, :-GAP_PX]


def composed_fraction(random: np.random.Generator, composer: SceneComposer) -> Grey:
    """Compose a page with one fraction."""
    height = int(random.integers(90, 400))
    width = int(height * random.uniform(0.5, 1.4))
    return composer.page(random, height, width, layout=fill_with_one_fraction).picture


def column(random: np.random.Generator, composer: SceneComposer) -> Grey:
    """Compose a page with nothing but two or three numbers, the first two one above the other."""
    while True:
        height = int(random.integers(90, 300))
        width = int(height * random.uniform(0.5, 1.6))
        layout = fill_with_table if random.random() < 0.6 else fill_with_free_numbers
        digit_px = float(random.uniform(0.15, 0.4) * height)
        scene = composer.page(random, height, width, layout=layout, digit_px=digit_px)
        are_numbers = all(label.kind is Kind.NUMBER and label.text for label in scene.labels)
        if not are_numbers or not 2 <= len(scene.labels) <= 3:
            continue
        points = [label.corners.reshape(-1, 2) for label in scene.labels]
        first, second = sorted(((each.min(axis=0), each.max(axis=0)) for each in points), key=_middle)[:2]
        shares_columns = min(first[1][0], second[1][0]) > max(first[0][0], second[0][0])
        if _middle(second) - _middle(first) > 0.7 * (first[1][1] - first[0][1]) and shares_columns:
            return scene.picture


def _middle(box: tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]) -> float:
    return float(box[0][1] + box[1][1]) / 2


def main() -> None:
    """Read the pictures of each kind, and print a row for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200, help="pictures of each kind (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="the random seed (default: 1)")
    arguments = parser.parse_args()
    digits = split(load_mnist()).validation
    composer, reader = scene_composer(digits, held_out=True), Reader()
    kinds: dict[str, Callable[[np.random.Generator], Grey]] = {
        "fractions of MNIST": lambda random: mnist_fraction(random, digits),
        "composed fractions": lambda random: composed_fraction(random, composer),
        "numbers in a column": lambda random: column(random, composer),
    }
    print(f"{'kind':20} {'pictures':>8} {'answered':>9} {'no digit':>9}")
    for index, (kind, draw) in enumerate(kinds.items()):
        answered = refused = 0
        for number in range(arguments.pictures):
            reading = reader.read(draw(np.random.default_rng([arguments.seed, index, number])))
            answered += reading.status in ("read", "partial")
            refused += reading.reason == "not_a_digit"
        print(f"{kind:20} {arguments.pictures:8} {answered:9} {refused:9}", flush=True)


if __name__ == "__main__":
    main()
