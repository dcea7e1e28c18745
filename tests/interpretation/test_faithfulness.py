"""Tests of attributions: what follows the network is told from what does not."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from digitcli.data.dataset import Digits
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.attribution import digit_score, integrated_gradients, occlusion
from digitcli.interpretation.faithfulness import (
    STEPS,
    deletion,
    insertion,
    randomized,
    rank_correlation,
)
from tests.interpretation.test_attribution import network_of


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, 9, (4, 1, 6, 6), generator=generator).float() for _ in range(2))
    for actual, one, other in zip(rank_correlation(first, second), first, second, strict=True):
        assert actual == pytest.approx(spearmanr(one.flatten(), other.flatten()).statistic)
    assert rank_correlation(first, torch.ones_like(first)).tolist() == [0.0] * 4


def test_layers_are_randomized_from_the_last_to_the_first() -> None:
    network = network_of("lenet5")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    changed: list[set[str]] = []
    for name, copied in randomized(network):
        changed.append(
            {key for key, value in copied.state_dict().items() if not torch.equal(value, before[key])}
        )
        assert f"{name}.weight" in changed[-1]
    assert all(fewer < more for fewer, more in zip(changed, changed[1:], strict=False))
    assert changed[-1] == set(before)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_important_pixels_change_the_answer_first(digits: Digits) -> None:
    images = torch.from_numpy(digits.images[:16].copy())[:, None].float() / 255
    labels = torch.from_numpy(digits.labels[:16].copy())
    network = load_model("fast")

    def probability(batch: Tensor) -> Tensor:
        chosen: Tensor = network(batch).softmax(dim=1).gather(1, labels[:, None])[:, 0]
        return chosen

    score = digit_score(network, labels)
    chance = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    for method in (integrated_gradients, occlusion):
        attribution = method(score, images)
        curve = deletion(probability, images, attribution)
        assert curve.shape == (16, STEPS + 1) and curve[:, 0].min() > 0.5
        assert curve.mean() < deletion(probability, images, chance).mean() - 0.2
        assert (
            insertion(probability, images, attribution).mean() > insertion(probability, images, chance).mean()
        )
