"""Methods by their names: what they share for digits and for lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.errors import UsageError
from digitcli.interpretation.explanation import Layer
from digitcli.interpretation.methods import attributions_of, layers_of, one_map, only_layer


class Linear(nn.Module):
    """A network whose logits are sums over the left and the right half of an image with three channels."""

    def forward(self, images: Tensor) -> Tensor:
        halves = images.unflatten(3, (2, -1)).sum(dim=(2, 4))  # N, 3, 2
        return halves.sum(dim=1)


def test_attributions_say_what_speaks_for_one_digit_and_against_the_other() -> None:
    batch = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    attributions, notes = attributions_of(
        Linear(), batch, ["integrated-gradients", "saliency", "filters"], 0, 1
    )
    assert [each.name for each in attributions] == [
        "integrated-gradients/0", "integrated-gradients/0-1", "saliency/0", "saliency/0-1",
    ]  # fmt: skip
    alone, against = attributions[:2]
    assert notes == [] and alone.values[:, 4:].any() == np.False_
    assert (against.values[:, 4:] < 0).all() and np.allclose(against.values[:, :4], alone.values[:, :4])
    assert alone.values.sum() == pytest.approx(alone.score - alone.baseline, rel=1e-3)


def test_a_digit_is_not_compared_with_itself() -> None:
    attributions, _ = attributions_of(Linear(), torch.rand(1, 3, 6, 8), ["saliency"], 1, 1)
    assert [each.against for each in attributions] == [None]


def test_shares_of_channels_add_up_and_of_others_the_largest_counts() -> None:
    values = torch.tensor([1.0, -2.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert (one_map("integrated-gradients", values) == 3).all()
    assert (one_map("saliency", values) == 4).all()
    assert (one_map("saliency", values[:, 1:2]) == -2).all()


def test_layers_are_chosen_by_their_names() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    layers = tuple(layers_of(network, torch.rand(1, 1, 8, 8), ["filters", "feature-maps"]))
    assert [layer.array_name for layer in layers] == ["filters/0", "feature-maps/0", "feature-maps/1"]
    assert only_layer(layers, None) == layers
    assert only_layer(layers, "1") == (layers[0], layers[2])  # filters stay
    with pytest.raises(UsageError, match="a layer '2'"):
        only_layer([Layer("2", "filters", np.zeros((1, 2, 2), np.float32))], "2")
