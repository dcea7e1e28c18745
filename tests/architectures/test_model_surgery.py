from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from digitcli.architectures.layers import DropPath
from digitcli.architectures.model_surgery import initialize, replace_normalization, set_stochastic_depth
from digitcli.architectures.patches import QueryKeyValue
from digitcli.architectures.recipe import Initialization, Normalization
from digitcli.architectures.registry import architectures, create_model, resolve_recipe
from digitcli.errors import UsageError

IMAGES = torch.rand(4, 1, 28, 28)


@pytest.mark.parametrize("name", architectures())
def test_recipes_declare_the_layers_that_the_network_has(name: str) -> None:
    layers = list(create_model(name).modules())
    normalized = any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in layers)
    branched = any(isinstance(layer, DropPath) for layer in layers)
    assert (resolve_recipe(name).normalization is not None) == normalized
    assert (resolve_recipe(name).stochastic_depth is not None) == branched


@pytest.mark.parametrize("kind", ["group", "layer", "instance", "none"])
def test_normalization_is_replaced(kind: Normalization) -> None:
    network = create_model("resnet", normalization=kind)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert network(IMAGES).shape == (4, 10)
    assert len(network.state_dict()) < len(create_model("resnet").state_dict())  # without running statistics


def test_a_group_has_eight_maps_and_a_layer_has_all() -> None:
    def groups(kind: Normalization) -> list[int]:
        layers = create_model("resnet", normalization=kind).modules()
        return [layer.num_groups for layer in layers if isinstance(layer, nn.GroupNorm)]

    assert groups("group")[:1] == [4]
    assert set(groups("layer")) == {1}
    assert groups("instance")[:1] == [32]


@pytest.mark.parametrize(("channels", "size"), [(7, 7), (8, 8), (10, 5), (12, 6), (20, 5), (48, 8), (13, 1)])
def test_a_group_has_at_most_eight_maps(channels: int, size: int) -> None:
    network = nn.Sequential(nn.BatchNorm2d(channels))
    replace_normalization(network, "group")
    (layer,) = network
    assert isinstance(layer, nn.GroupNorm) and channels // layer.num_groups == size


def test_instance_normalization_of_vectors_is_refused() -> None:
    with pytest.raises(UsageError, match="vectors"):
        create_model("mlp", normalization="instance")


@pytest.mark.parametrize("name", ["convmixer", "squeeze_excite"])
def test_instance_normalization_before_a_mean_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="mean"):
        create_model(name, normalization="instance")
    assert create_model(name, normalization="group")(IMAGES).std(dim=0).max() > 1e-4


@pytest.mark.parametrize("kind", ["glorot", "he", "lecun", "orthogonal"])
def test_initialization_has_the_scale_of_its_paper(kind: Initialization) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(400, 100)
    initialize(layer, kind)
    variance = {"glorot": 2 / 500, "he": 2 / 400, "lecun": 1 / 400, "orthogonal": 1 / 400}[kind]
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.05)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("name", "kept_share"), [("lstm", 0.01), ("capsnet", 0.01), ("resnet", 0.02), ("vit", 0.05)]
)
def test_initialization_reaches_all_but_a_few_weights(name: str, kept_share: float) -> None:
    """Biases, normalization layers and position embeddings keep their own initialization."""
    torch.manual_seed(0)
    network = create_model(name)
    before = {key: parameter.clone() for key, parameter in network.named_parameters()}
    initialize(network, "orthogonal")
    kept = sum((before[key] == parameter).sum().item() for key, parameter in network.named_parameters())
    assert kept < kept_share * sum(parameter.numel() for parameter in network.parameters())


def test_each_gate_and_each_capsule_is_initialized_separately() -> None:
    lstm, capsnet = create_model("lstm"), create_model("capsnet")
    initialize(lstm, "orthogonal")
    initialize(capsnet, "orthogonal")
    (cells,) = (layer for layer in lstm.modules() if isinstance(layer, nn.LSTM))
    gates = list(cells.weight_hh_l0.chunk(4))
    votes = next(parameter for parameter in capsnet.parameters() if parameter.ndim == 3)
    for matrix in (*gates, votes[0], votes[-1]):
        square = matrix @ matrix.T
        torch.testing.assert_close(square, torch.eye(len(square)), atol=1e-4, rtol=0)


def test_a_depthwise_kernel_is_initialized_as_the_matrix_of_one_map() -> None:
    layer = nn.Conv2d(256, 256, 5, groups=256)
    initialize(layer, "orthogonal")
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(256))
    initialize(layer, "glorot")
    assert layer.weight.var().item() == pytest.approx(2 / (25 + 25), rel=0.05)


def test_query_key_and_value_are_initialized_separately() -> None:
    layer = nn.MultiheadAttention(64, 4)
    initialize(layer, "orthogonal")
    vit = create_model("vit")
    initialize(vit, "orthogonal")
    stacked = next(layer.weight for layer in vit.modules() if isinstance(layer, QueryKeyValue))
    for matrix in (*layer.in_proj_weight.chunk(3), *stacked.chunk(3)):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), atol=1e-4, rtol=0)
    assert not layer.in_proj_bias.any() and not layer.out_proj.bias.any()


def test_the_default_initialization_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 10)
    before = layer.weight.clone()
    initialize(layer, "default")
    assert torch.equal(layer.weight, before)


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
