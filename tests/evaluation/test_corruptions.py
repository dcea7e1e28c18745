from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.evaluation.corruptions import CORRUPTIONS, Corruption, corrupt

NAMED = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture(scope="session")
def some(digits: Digits) -> Digits:
    return digits.take(np.arange(200))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_corruption_changes_nearly_every_digit_and_is_repeatable(
    corruption: Corruption, some: Digits
) -> None:
    before = some.images.copy()
    changed = corrupt(some.images, corruption)
    assert np.array_equal(some.images, before)
    assert changed.shape == before.shape and changed.dtype == np.uint8
    assert (changed != before).any(axis=(1, 2)).mean() > 0.98
    assert np.array_equal(changed[:10], corrupt(some.images[:10], corruption))


def mean_ink(images: np.ndarray) -> float:
    return float(images.mean() / 255)


def centre(images: np.ndarray) -> np.ndarray:
    """Rows and columns of the centres of mass, (N, 2)."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack([(weights * rows).sum(axis=(1, 2)), (weights * columns).sum(axis=(1, 2))], axis=1)


def spread(images: np.ndarray) -> float:
    """Mean over the images of the deviation of ink from its centre, in pixels."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    middle = centre(images)[:, :, None, None]
    squares = (rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2
    return float(np.sqrt((weights * squares).sum(axis=(1, 2))).mean())


def test_thick_and_thin_change_the_amount_of_ink(some: Digits) -> None:
    assert mean_ink(corrupt(some.images, NAMED["thick"])) > 1.4 * mean_ink(some.images)
    assert mean_ink(corrupt(some.images, NAMED["thin"])) < 0.9 * mean_ink(some.images)


def test_shift_is_four_pixels_and_scale_two_thirds(some: Digits) -> None:
    small = some.images * (np.indices((28, 28)) % 27 != 0).all(axis=0)
    moved = np.linalg.norm(centre(corrupt(small, NAMED["shift"])) - centre(some.images), axis=1)
    assert np.median(moved) == pytest.approx(4, abs=0.3)
    ratio = spread(corrupt(some.images, NAMED["scale"])) / spread(some.images)
    assert ratio == pytest.approx(0.65, abs=0.03)


@pytest.mark.parametrize("name", ["slant", "rotation"])
def test_both_directions_occur(name: str, some: Digits) -> None:
    """A bar that leans right in half of the pictures, and left in the others."""
    bar = np.zeros((200, 28, 28), np.uint8)
    bar[:, 4:24, 13:15] = 255
    top = corrupt(bar, NAMED[name])[:, 4:9].argmax(axis=2).mean(axis=1)
    assert 60 < (top < 13).sum() < 140


def test_noise_blur_and_stripes_have_their_strength(some: Digits) -> None:
    paper = np.full((50, 28, 28), 128, np.uint8)
    assert corrupt(paper, NAMED["noise"]).std() == pytest.approx(0.25 * 255, rel=0.08)
    hit = corrupt(paper, NAMED["impulses"]) != 128
    assert hit.mean() == pytest.approx(0.12, abs=0.01)
    assert np.abs(np.diff(corrupt(some.images, NAMED["blur"]).astype(int))).max() < 128
    striped = corrupt(some.images, NAMED["stripes"])
    assert np.array_equal(striped[:, :, 5:-5], some.images[:, :, 5:-5])
    assert np.array_equal(striped[:, :, :5], 255 - some.images[:, :, :5])


def test_two_inversions_give_the_image(some: Digits) -> None:
    twice = corrupt(corrupt(some.images, NAMED["inversion"]), NAMED["inversion"])
    assert np.array_equal(twice, some.images)


def test_a_shadow_darkens_half_and_lines_add_ink(some: Digits) -> None:
    paper = np.zeros((50, 28, 28), np.uint8)
    assert (corrupt(paper, NAMED["shadow"]) > 0).mean() == pytest.approx(0.5, abs=0.05)
    lined = corrupt(some.images, NAMED["lines"])
    assert (lined >= some.images).all()
    assert 1.2 < mean_ink(lined) / mean_ink(some.images) < 2.5
