from __future__ import annotations

import pytest
import torch

from digitcli.architectures import registry
from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.registry import create_model
from digitcli.errors import ModelError, UsageError

IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_an_ensemble_answers_with_the_mean_of_calibrated_probabilities() -> None:
    torch.manual_seed(0)
    one, two = create_model("softmax").eval(), create_model("lenet1").eval()
    logits = Ensemble([one, two], [2.0, 0.5])(IMAGES)
    expected = ((one(IMAGES) / 2.0).softmax(-1) + (two(IMAGES) / 0.5).softmax(-1)) / 2
    torch.testing.assert_close(logits.exp(), expected)


def test_it_is_built_from_the_headers_of_its_members() -> None:
    headers = [
        {"architecture": "mlp", "arguments": {"hidden": 8}, "temperature": 3.0, "seed": 1},
        {"architecture": "softmax"},
    ]
    network = create_model("ensemble", members=headers)
    assert isinstance(network, Ensemble) and network.temperatures == (3.0, 1.0)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert (8, 784) in shapes.values() and shapes["members.1.2.weight"] == (10, 784)


def test_members_that_cannot_be_averaged_are_refused() -> None:
    for members, words in (([], "at least one"), ([{"architecture": "reader"}], "single digits")):
        with pytest.raises(ValueError, match=words):
            create_model("ensemble", members=members)
    with pytest.raises((UsageError, ModelError), match="spikenet"):
        create_model("ensemble", members=[{"architecture": "spikenet"}])


def test_it_has_no_recipe_and_is_not_among_the_architectures_to_train() -> None:
    assert "ensemble" not in registry.architectures() and not registry.is_architecture("ensemble")
    with pytest.raises(UsageError, match="no recipe") as caught:
        registry.resolve_recipe("ensemble")
    assert "--members" in caught.value.remedy
