from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from digitcli.architectures.layers import DropPath
from digitcli.architectures.model_surgery import (
    freeze,
    initialize,
    replace_normalization,
    set_stochastic_depth,
    set_training_mode,
    stages_of,
)
from digitcli.architectures.patches import QueryKeyValue
from digitcli.architectures.recipe import Initialization, Normalization
from digitcli.architectures.registry import create_model
from digitcli.architectures.summary import summarize
from digitcli.errors import UsageError

IMAGES = torch.rand(4, 1, 28, 28)


def test_normalization_is_replaced() -> None:
    kinds: dict[Normalization, int | None] = {"group": 4, "layer": 1, "instance": 32, "none": None}
    for kind, groups in kinds.items():
        network = create_model("resnet", normalization=kind)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
        assert network(IMAGES).shape == (4, 10)
        assert len(network.state_dict()) < len(create_model("resnet").state_dict())  # no running statistics
        first = next((each.num_groups for each in network.modules() if isinstance(each, nn.GroupNorm)), None)
        assert first == groups, kind


def test_a_group_has_at_most_eight_maps() -> None:
    for channels, size in [(7, 7), (8, 8), (10, 5), (12, 6), (20, 5), (48, 8), (13, 1)]:
        network = nn.Sequential(nn.BatchNorm2d(channels))
        replace_normalization(network, "group")
        (layer,) = network
        assert isinstance(layer, nn.GroupNorm) and channels // layer.num_groups == size, channels


def test_instance_normalization_that_leaves_nothing_is_refused() -> None:
    for name, words in (("mlp", "vectors"), ("convmixer", "mean"), ("squeeze_excite", "mean")):
        with pytest.raises(UsageError, match=words):
            create_model(name, normalization="instance")
        if words == "mean":
            assert create_model(name, normalization="group")(IMAGES).std(dim=0).max() > 1e-4


def test_initialization_has_the_scale_of_its_paper() -> None:
    torch.manual_seed(0)
    kinds: dict[Initialization, float] = {
        "glorot": 2 / 500, "he": 2 / 400, "lecun": 1 / 400, "orthogonal": 1 / 400,
    }  # fmt: skip
    for kind, variance in kinds.items():
        layer = nn.Linear(400, 100)
        initialize(layer, kind)
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.05), kind
        assert (layer.bias == 0).all()
    before = layer.weight.clone()
    initialize(layer, "default")
    assert torch.equal(layer.weight, before), "the default changes nothing"


def test_initialization_reaches_all_but_a_few_weights() -> None:
    """Biases, normalization layers and position embeddings keep their own initialization."""
    torch.manual_seed(0)
    for name, kept_share in [("lstm", 0.01), ("capsnet", 0.01), ("resnet", 0.02), ("vit", 0.05)]:
        network = create_model(name)
        before = {key: parameter.clone() for key, parameter in network.named_parameters()}
        initialize(network, "orthogonal")
        kept = sum((before[key] == parameter).sum().item() for key, parameter in network.named_parameters())
        assert kept < kept_share * sum(parameter.numel() for parameter in network.parameters()), name


def test_matrices_that_are_stored_together_are_initialized_one_by_one() -> None:
    lstm, capsnet, vit = (create_model(name) for name in ("lstm", "capsnet", "vit"))
    attention, depthwise = nn.MultiheadAttention(64, 4), nn.Conv2d(256, 256, 5, groups=256)
    for network in (lstm, capsnet, vit, attention, depthwise):
        initialize(network, "orthogonal")
    cells = next(layer for layer in lstm.modules() if isinstance(layer, nn.LSTM))
    votes = next(parameter for parameter in capsnet.parameters() if parameter.ndim == 3)
    stacked = next(layer.weight for layer in vit.modules() if isinstance(layer, QueryKeyValue))
    matrices = (votes[0], votes[-1], *cells.weight_hh_l0.chunk(4), *attention.in_proj_weight.chunk(3))
    for matrix in (*matrices, *stacked.chunk(3)):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-4, rtol=0)
    assert not attention.in_proj_bias.any() and not attention.out_proj.bias.any()
    torch.testing.assert_close(depthwise.weight.flatten(1).norm(dim=1), torch.ones(256))
    initialize(depthwise, "glorot")
    assert depthwise.weight.var().item() == pytest.approx(2 / (25 + 25), rel=0.05)


def test_later_branches_are_dropped_more_often() -> None:
    network = create_model("resnet14")
    set_stochastic_depth(network, 0.3)
    probabilities = [layer.probability for layer in network.modules() if isinstance(layer, DropPath)]
    assert probabilities[-1] == 0.3
    assert all(earlier < later for earlier, later in pairwise(probabilities))


def test_dropped_branches_keep_the_mean_and_evaluation_drops_none() -> None:
    torch.manual_seed(0)
    drop = DropPath()
    drop.probability = 0.25
    computed = torch.ones(4000, 3)
    dropped = drop(computed)
    assert sorted(set(dropped[:, 0].tolist())) == [0.0, pytest.approx(4 / 3)]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(computed) is computed


def test_a_stage_is_a_layer_or_block_with_the_normalization_that_follows() -> None:
    for name, expected in {
        "softmax": ["2"],
        "cnn": ["1", "4", "8", "11"],
        "fast": ["2", "5 6", "9 10", "12"],
        "resnet": ["1 2", "4", "5", "6", "9"],
        "vit": ["1", "2", "3", "4", "5", "6 7", "9"],
    }.items():
        assert [" ".join(stage.layers) for stage in stages_of(create_model(name))] == expected, name
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
