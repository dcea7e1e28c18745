"""Augmentations keep the labels of digits: their strength, and that they depend on the seed alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from digitcli.architectures.recipe import Recipe, augmentations
from digitcli.data import augmentation
from digitcli.data.augmentation import (
    AUGMENTATIONS,
    augment,
    mixup,
    random_convolution,
    random_erasing,
    random_lines,
    stroke_width,
)
from digitcli.data.mnist import load_mnist_test
from tests.support.augmentation import recipe_with

AFFINE = Recipe(augment=True, stroke_width=False)
DEFAULT = Recipe(augment=True)


@pytest.fixture
def images() -> torch.Tensor:
    """A hundred digits, (100, 1, 28, 28) in [0, 1]."""
    torch.manual_seed(0)
    return torch.from_numpy(load_mnist_test().images[:100]).unsqueeze(1).float() / 255


def augment_with_seed(images: torch.Tensor, name: str, share: tuple[int, int] = (0, 1)) -> torch.Tensor:
    torch.manual_seed(7)
    return augment(images, recipe_with(name), share)


def test_every_augmentation_changes_images_alike_for_a_seed_and_for_a_share_of_a_batch(
    images: torch.Tensor,
) -> None:
    before = images.clone()
    for name in AUGMENTATIONS:
        changed = augment_with_seed(images, name)
        assert torch.equal(images, before), name
        assert changed.shape == images.shape and changed.dtype == images.dtype
        assert changed.min() >= 0 and changed.max() <= 1 + 1e-6 and not torch.equal(changed, images), name
        assert torch.equal(changed, augment_with_seed(images, name)), name
        for size in (2, 5):
            for first in range(size):
                share = augment_with_seed(images[first::size], name, (first, size))
                torch.testing.assert_close(share, changed[first::size])
    assert {*AUGMENTATIONS, "mixup"} == set(augmentations())  # mixup changes the labels, too


def test_small_batches_work_and_each_augmentation_can_be_turned_off(images: torch.Tensor) -> None:
    for count in (1, 2, 3):
        assert augment(images[:count], DEFAULT).shape == (count, 1, 28, 28)
    none = Recipe(augment=True, affine=False, stroke_width=False)
    assert torch.equal(augment(images, none), images)
    assert torch.equal(augment(images, Recipe(augment=False)), images)
    torch.manual_seed(1)
    changed = augment(images, Recipe(augment=True, affine=False))
    torch.manual_seed(1)
    assert torch.equal(changed, stroke_width(images, True))


def test_an_affine_map_without_change_moves_nothing(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROTATION", "SHEAR", "SCALE", "SHIFT"):
        monkeypatch.setattr(augmentation, name, 0.0)
    torch.testing.assert_close(augment(images, AFFINE), images, rtol=0, atol=1e-5)


def test_no_digit_is_flipped_and_ink_stays_in_the_frame(images: torch.Tensor) -> None:
    """The mean of many changes of a digit is nearer to it than to its mirror image, unless it is its own."""
    changed = torch.stack([augment(images, DEFAULT) for _ in range(16)]).mean(dim=0)

    def nearness(original: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(changed.flatten(1), original.flatten(1))

    for axis in (2, 3):
        asymmetric = F.cosine_similarity(images.flatten(1), images.flip(axis).flatten(1)) < 0.6
        nearer = nearness(images) > nearness(images.flip(axis))
        assert asymmetric.sum() > 30 and nearer[asymmetric].all()
    kept = augment(images, AFFINE).sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert kept.median() == pytest.approx(1.0, abs=0.1) and kept.min() > 0.6


def test_a_quarter_gets_thicker_a_quarter_thinner_and_half_stays(images: torch.Tensor) -> None:
    change = stroke_width(images, True).sum(dim=(1, 2, 3)) - images.sum(dim=(1, 2, 3))
    assert (change[:25] > 0).all()
    assert (change[25:50] < 0).all()
    assert (change[50:] == 0).all()


def test_the_affine_grid_is_the_one_of_pytorch() -> None:
    torch.manual_seed(0)
    matrices = torch.eye(2, 3) + 0.2 * torch.randn(5, 2, 3)
    expected = F.affine_grid(matrices, [5, 1, 28, 20], align_corners=False)  # N, H, W, 2
    grid = augmentation._map_grid(augmentation._identity_grid(torch.empty(5, 1, 28, 20)), matrices)
    torch.testing.assert_close(grid, expected.flatten(1, 2).transpose(1, 2))


def test_extremes_equal_those_of_pooling(images: torch.Tensor) -> None:
    largest = augmentation._extremes(images, torch.maximum, 0.0)
    assert torch.equal(largest, F.max_pool2d(images, 3, 1, 1))
    smallest = augmentation._extremes(images, torch.minimum, 1.0)
    assert torch.equal(smallest, -F.max_pool2d(-images, 3, 1, 1))


def test_elastic_displacements_are_smooth_and_of_one_pixel() -> None:
    torch.manual_seed(0)
    pixels = augmentation._displacements(200, torch.empty(1, 1, 28, 28)) * 14  # N, 2, H * W
    torch.testing.assert_close(pixels.std(dim=0), torch.ones(2, 28 * 28), rtol=0, atol=0.25)
    assert (pixels[:, :, 28:] - pixels[:, :, :-28]).std() < 0.3  # between neighbouring rows


def test_elastic_bends_without_moving_the_whole(images: torch.Tensor) -> None:
    bent = augment(images, Recipe(augment=True, stroke_width=False, affine=False, elastic=1.0))
    assert not torch.allclose(bent, images, atol=0.1)
    kept = bent.sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert kept.mean() == pytest.approx(1.0, abs=0.05)


def test_a_rectangle_is_erased_from_that_fraction() -> None:
    for share in (0.0, 0.3, 1.0):
        torch.manual_seed(0)
        changed = random_erasing(torch.full((400, 1, 28, 28), 2.0), share)[:, 0]
        erased = (changed != 2).float()
        assert ((changed == 2) | ((changed >= 0) & (changed <= 1))).all()
        assert erased.amax(dim=(1, 2)).mean() == pytest.approx(share, abs=0.08)
        rows, columns = erased.amax(dim=2), erased.amax(dim=1)
        assert torch.equal(erased, rows[:, :, None] * columns[:, None, :])
        assert erased.mean(dim=(1, 2)).max() <= 0.81**2


def test_lines_cross_that_fraction() -> None:
    for share in (0.0, 0.3, 1.0):
        torch.manual_seed(0)
        changed = random_lines(torch.full((400, 1, 28, 28), 2.0), share)[:, 0]
        assert changed.min() >= 0 and changed.max() == 2
        assert (changed < 2).flatten(1).any(dim=1).float().mean() == pytest.approx(share, abs=0.08)


def test_lines_are_straight_and_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "MAX_LINES", 1)
    torch.manual_seed(0)
    for changed in random_lines(torch.full((50, 1, 28, 28), 2.0), 1.0)[:, 0]:
        places = (changed < 2).nonzero().float()
        across = torch.linalg.eigvalsh(torch.cov(places.T, correction=0))[0]
        assert across < (augmentation.MAX_LINE_PX + 2) ** 2 / 12


def test_random_filters_keep_shapes_and_may_exchange_ink_and_paper(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    filtered = random_convolution(images, 1.0)
    assert filtered.min() >= 0 and filtered.max() <= 1
    flat, before = filtered.flatten(1), images.flatten(1)
    alike = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(flat, before, strict=True)])
    assert alike.abs().median() > 0.7
    assert (alike > 0.5).sum() > 20 and (alike < -0.5).sum() > 5
    unchanged = (random_convolution(images, 0.3) == images).all(dim=3).all(dim=2).float().mean()
    assert unchanged == pytest.approx(0.7, abs=0.15)


def test_pairs_are_blended_by_one_weight(images: torch.Tensor) -> None:
    mixed, weight = mixup(images, 1.0)
    assert 0 < weight < 1
    torch.testing.assert_close(mixed[3], weight * images[3] + (1 - weight) * images[53])
    torch.testing.assert_close(mixed[53], weight * images[53] + (1 - weight) * images[3])
