"""The stages of networks: what they hold, which of them are frozen, and their batch statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.architectures.stages import freeze, set_training_mode, stages_of
from digitcli.architectures.summary import summarize
from digitcli.errors import UsageError


def test_a_stage_is_a_layer_or_block_with_the_normalization_that_follows() -> None:
    for name, expected in {
        "softmax": ["2"],
        "cnn": ["1", "4", "8", "11"],
        "fast": ["2", "5 6", "9 10", "12"],
        "resnet": ["1 2", "4", "5", "6", "9"],
        "vit": ["1", "2", "3", "4", "5", "6 7", "9"],
    }.items():
        assert [" ".join(stage.layers) for stage in stages_of(create_model(name))] == expected, name


def test_both_heads_of_a_reader_are_its_last_stage() -> None:
    first, *_, last = stages_of(create_model("reader"))
    assert list(first.layers) == ["trunk.1"] and list(last.layers) == ["classes", "distances"]


def test_a_network_in_a_wrapper_is_opened() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.zeros(3))
            self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.LayerNorm(3))
            self.head = nn.Linear(3, 10)

    network = nn.Sequential(nn.Flatten(), Embedded())
    first, second, head = stages_of(network)
    assert list(first.layers) == ["1.body.0"] and list(head.layers) == ["1.head"]
    assert list(second.layers) == ["1.body.2", "1.body.3"]
    assert any(parameter is network[1].positions for parameter in first.parameters)


def test_the_first_stages_are_frozen() -> None:
    for count, frozen in [(0, 0), (1, 1), (3, 3), (-1, 3), (-3, 1)]:
        network = create_model("fast")
        freeze(network, count)
        trained = [[each.requires_grad for each in stage.parameters] for stage in stages_of(network)]
        assert [any(stage) for stage in trained] == [all(stage) for stage in trained]
        assert [all(stage) for stage in trained] == [False] * frozen + [True] * (4 - frozen), count
    for name, count, words in [("fast", 4, "4 stages"), ("fast", -4, "up to 3"), ("hog", -1, "1 stage,")]:
        with pytest.raises(UsageError, match="--freeze") as caught:
            freeze(create_model(name), count)
        assert words in f"{caught.value.cause} {caught.value.remedy}"


def test_frozen_batch_normalization_keeps_its_statistics_in_training() -> None:
    network = create_model("fast")
    freeze(network, 2)
    set_training_mode(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.rand(8, 1, 28, 28))
    changed = {name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {"10.running_mean", "10.running_var", "10.num_batches_tracked"}


def test_the_summary_numbers_the_stages_of_layers_with_weights() -> None:
    layers = {layer.name: layer.stage for layer in summarize(create_model("resnet")).layers}
    assert layers["1"] == layers["2"] == 1 and layers["9"] == 5
    assert layers["5.body.0"] == layers["5.shortcut.1"] == 3 and layers["3"] is None
