from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from digitcli.data import augmentation
from digitcli.data.augmentation import augment, change_stroke_width, erase, filter_randomly, mix, rule, warp
from digitcli.data.mnist import load_mnist_test


@pytest.fixture
def images() -> torch.Tensor:
    """A hundred digits, (100, 1, 28, 28) in [0, 1]."""
    torch.manual_seed(0)
    return torch.from_numpy(load_mnist_test().images[:100]).unsqueeze(1).float() / 255


def test_stays_ink_on_paper_of_the_same_shape(images: torch.Tensor) -> None:
    changed = augment(images)
    assert changed.shape == images.shape
    assert changed.min() >= 0 and changed.max() <= 1 + 1e-6
    assert not torch.equal(changed, images)


def test_leaves_its_input_alone(images: torch.Tensor) -> None:
    before = images.clone()
    augment(images)
    assert torch.equal(images, before)


def test_follows_from_the_seed(images: torch.Tensor) -> None:
    torch.manual_seed(7)
    first = augment(images)
    torch.manual_seed(7)
    assert torch.equal(augment(images), first)


def test_without_any_change_nothing_moves(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROTATION", "SHEAR", "SCALE", "SHIFT"):
        monkeypatch.setattr(augmentation, name, 0.0)
    torch.testing.assert_close(warp(images), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", [2, 3])
def test_never_flips(images: torch.Tensor, axis: int) -> None:
    """The mean of many changes of a digit is nearer to it than to its mirror image, unless it is its own."""
    changed = torch.stack([augment(images) for _ in range(16)]).mean(dim=0)

    def nearness(original: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(changed.flatten(1), original.flatten(1))

    asymmetric = F.cosine_similarity(images.flatten(1), images.flip(axis).flatten(1)) < 0.6
    nearer = nearness(images) > nearness(images.flip(axis))
    assert asymmetric.sum() > 30
    assert nearer[asymmetric].all()


def test_ink_stays_in_the_frame(images: torch.Tensor) -> None:
    kept = warp(images).sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert kept.median() == pytest.approx(1.0, abs=0.1)
    assert kept.min() > 0.6


def test_a_quarter_gets_thicker_a_quarter_thinner_and_half_stays(images: torch.Tensor) -> None:
    change = change_stroke_width(images).sum(dim=(1, 2, 3)) - images.sum(dim=(1, 2, 3))
    assert (change[:25] > 0).all()
    assert (change[25:50] < 0).all()
    assert (change[50:] == 0).all()


def test_grid_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    matrices = torch.eye(2, 3) + 0.2 * torch.randn(5, 2, 3)
    theirs = F.affine_grid(matrices, [5, 1, 28, 20], align_corners=False)
    torch.testing.assert_close(augmentation._grid(matrices, 28, 20), theirs)


def test_extremes_are_those_of_pooling(images: torch.Tensor) -> None:
    largest = augmentation._extremes(images, torch.maximum, 0.0)
    assert torch.equal(largest, F.max_pool2d(images, 3, 1, 1))
    smallest = augmentation._extremes(images, torch.minimum, 1.0)
    assert torch.equal(smallest, -F.max_pool2d(-images, 3, 1, 1))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_batches_work(images: torch.Tensor, count: int) -> None:
    assert augment(images[:count]).shape == (count, 1, 28, 28)


def test_elastic_displacements_are_smooth_and_of_one_pixel() -> None:
    torch.manual_seed(0)
    pixels = augmentation._displacements(200, 28, 28, torch.device("cpu")) * 14
    torch.testing.assert_close(pixels.std(dim=0), torch.ones(28, 28, 2), rtol=0, atol=0.25)
    assert (pixels[:, 1:] - pixels[:, :-1]).std() < 0.3


def test_elastic_bends_without_moving_the_whole(images: torch.Tensor) -> None:
    bent = warp(images, affine=False, elastic=1.0)
    assert not torch.allclose(bent, images, atol=0.1)
    kept = bent.sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert kept.mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_of_that_share_a_rectangle_is_erased(share: float) -> None:
    torch.manual_seed(0)
    changed = erase(torch.full((400, 1, 28, 28), 2.0), share)[:, 0]
    erased = (changed != 2).float()
    assert ((changed == 2) | ((changed >= 0) & (changed <= 1))).all()
    assert erased.amax(dim=(1, 2)).mean() == pytest.approx(share, abs=0.08)
    rows, columns = erased.amax(dim=2), erased.amax(dim=1)
    assert torch.equal(erased, rows[:, :, None] * columns[:, None, :])
    assert erased.mean(dim=(1, 2)).max() <= 0.81**2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_that_share_is_crossed_by_lines(share: float) -> None:
    torch.manual_seed(0)
    changed = rule(torch.full((400, 1, 28, 28), 2.0), share)[:, 0]
    assert changed.min() >= 0 and changed.max() == 2
    assert (changed < 2).flatten(1).any(dim=1).float().mean() == pytest.approx(share, abs=0.08)


def test_lines_are_straight_and_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "MOST_LINES", 1)
    torch.manual_seed(0)
    for changed in rule(torch.full((50, 1, 28, 28), 2.0), 1.0)[:, 0]:
        places = (changed < 2).nonzero().float()
        across = torch.linalg.eigvalsh(torch.cov(places.T, correction=0))[0]
        assert across < (augmentation.WIDEST_LINE_PX + 2) ** 2 / 12


def test_random_filters_keep_shapes_and_may_exchange_ink_and_paper(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    filtered = filter_randomly(images, 1.0)
    assert filtered.min() >= 0 and filtered.max() <= 1
    flat, before = filtered.flatten(1), images.flatten(1)
    alike = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(flat, before, strict=True)])
    assert alike.abs().median() > 0.7
    assert (alike > 0.5).sum() > 20 and (alike < -0.5).sum() > 5
    unchanged = (filter_randomly(images, 0.3) == images).all(dim=3).all(dim=2).float().mean()
    assert unchanged == pytest.approx(0.7, abs=0.15)


def test_pairs_are_blended_by_one_weight(images: torch.Tensor) -> None:
    mixed, weight = mix(images, 1.0)
    assert 0 < weight < 1
    torch.testing.assert_close(mixed[3], weight * images[3] + (1 - weight) * images[53])
    torch.testing.assert_close(mixed[53], weight * images[53] + (1 - weight) * images[3])


def test_each_way_can_be_left_out(images: torch.Tensor) -> None:
    assert torch.equal(augment(images, affine=False, stroke_width=False), images)
    torch.manual_seed(1)
    alone = augment(images, affine=False)
    torch.manual_seed(1)
    assert torch.equal(alone, change_stroke_width(images))
