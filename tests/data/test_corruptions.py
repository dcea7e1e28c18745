"""Tests of the corruptions of MNIST-C; scikit-image, which the generator uses, is the test oracle."""

import math
from typing import Any

import numpy as np
import pytest
from skimage.filters import gaussian
from skimage.transform import AffineTransform, warp

from digitcli.data import corruptions
from digitcli.data.corruptions import CORRUPTIONS, Images, corrupt
from digitcli.data.mnist import load_mnist_test
from digitcli.data.mnist_c import CORRUPTION_NAMES

DIGITS = load_mnist_test().images[:40]
IMAGES: Images = DIGITS / 255


class Always:
    """A random generator that always chooses the same."""

    def __init__(self, choice: int) -> None:
        self._choice = choice

    def choice(self, options: Any, size: Any) -> Any:
        return np.full(size, self._choice)


def moved(matrix: list[list[float]]) -> np.ndarray:
    """Return what scikit-image makes of the images with a matrix about their centre."""
    whole = np.eye(3)
    whole[:2, :2] = matrix
    whole[:2, 2] = 13.5 * (1 - np.sum(matrix, axis=1))
    return np.stack([warp(image, AffineTransform(whole)) for image in IMAGES])


@pytest.mark.parametrize("sign", [1, -1])
def test_moves_are_those_of_the_generator(sign: int) -> None:
    random: Any = Always(sign)
    sine, cosine = sign * math.sin(0.4), math.cos(0.4)
    expected = {
        "rotate": moved([[cosine, -sine], [sine, cosine]]),
        "shear": moved([[1, -sine], [0, cosine]]),
        "scale": moved([[1 / 0.7, 0], [0, 1 / 0.7]]),
        "translate": np.stack(
            [warp(each, AffineTransform(translation=(3 * sign, 3 * sign))) for each in IMAGES]
        ),
    }
    for name, images in expected.items():
        assert CORRUPTIONS[name](IMAGES, random) == pytest.approx(images, abs=1e-9), name


def test_blur_is_that_of_the_generator() -> None:
    both = [gaussian(image, 1.5, mode="nearest") for image in IMAGES]
    down = [gaussian(image, (0.7, 0), mode="nearest") for image in IMAGES]
    assert corruptions._blur(IMAGES, 1.5) == pytest.approx(np.stack(both), abs=1e-9)
    assert corruptions._blur(IMAGES, 0.7, across=False) == pytest.approx(np.stack(down), abs=1e-9)


def test_every_corruption_changes_digits_and_is_the_same_in_every_call() -> None:
    assert tuple(CORRUPTIONS) == CORRUPTION_NAMES
    for name in CORRUPTIONS:
        corrupted = corrupt(name, DIGITS)
        assert corrupted.shape == DIGITS.shape
        assert corrupted.dtype == np.uint8
        assert (corrupted != DIGITS).any(axis=(1, 2)).all(), name
        assert np.array_equal(corrupt(name, DIGITS), corrupted)


def test_the_input_is_not_changed() -> None:
    images = DIGITS.copy()
    for name in CORRUPTIONS:
        corrupt(name, images)
        assert np.array_equal(images, DIGITS), name


def test_shot_noise_has_the_spread_of_three_photons() -> None:
    grey = np.full((200, 28, 28), 0.5)
    noisy = corruptions.shot_noise(grey, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(0.5, abs=0.01)
    assert noisy.var() == pytest.approx(0.5 / 3, abs=0.01)


def test_impulses_hit_17_percent_of_the_pixels() -> None:
    grey = np.full((200, 28, 28), 0.5)
    hit = corruptions.impulse_noise(grey, np.random.default_rng(0)) != grey
    assert hit.mean() == pytest.approx(0.17, abs=0.01)


def test_motion_blur_smears_a_point_over_eleven_pixels_with_the_weight_it_had() -> None:
    point = np.zeros((1, 28, 28))
    point[0, 14, 20] = 1
    smeared = corruptions.motion_blur(point, np.random.default_rng(0))
    assert smeared.sum() == pytest.approx(1, abs=0.05)
    assert np.flatnonzero(smeared.sum(axis=(0, 1))).max() <= 20  # to one side only
    assert 5 <= (smeared > 0).sum() <= 21


def test_glass_blur_shuffles_ink_sideways_and_keeps_its_sum() -> None:
    point = np.zeros((50, 28, 28))
    point[:, 14, 14] = 1
    blurred = corruptions.glass_blur(point, np.random.default_rng(0))
    assert len(np.unique(np.argwhere(blurred > 0)[:, 2])) > 1
    assert blurred.sum(axis=(1, 2)) == pytest.approx(np.ones(50), abs=0.05)


def test_fog_covers_the_paper_and_keeps_the_brightest_ink() -> None:
    foggy = corruptions.fog(IMAGES, np.random.default_rng(0))
    assert (foggy > 0.02).mean() > 0.99
    assert foggy.max() <= IMAGES.max() + 1e-9


def test_a_dashed_line_begins_with_a_gap_of_two_pixels() -> None:
    lines = corruptions.dotted_line(np.zeros((30, 28, 28)), np.random.default_rng(0))
    inked = lines.max(axis=(0, 1)) > 0
    assert inked.tolist() == [column // 2 % 2 == 1 and column < 27 for column in range(28)]


def test_a_zigzag_reaches_from_column_2_to_25_and_turns_every_four_pixels() -> None:
    line = corruptions._zigzag_line(14, 0)
    inked = np.flatnonzero(line.max(axis=0) > 0)
    assert (inked.min(), inked.max()) == (2, 24)
    assert line[:, [4, 12, 20]].argmax(axis=0).tolist() == [16, 16, 16]
    assert line[:, [8, 16]].argmax(axis=0).tolist() == [12, 12]
