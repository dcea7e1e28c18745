"""What layers answer, what filters look for, and what the last layer sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import Permute

from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.registry import create_model
from digitcli.errors import UsageError
from digitcli.interpretation.activations import activations, feature_maps, features, filters, layers_of
from tests.interpretation.test_attribution import DIGIT_ARCHITECTURES, network_of

WITHOUT_MAPS = {"softmax", "sigmoid_mlp", "mlp", "lstm"}


def test_only_networks_that_keep_the_places_have_feature_maps(images: Tensor) -> None:
    assert {
        name for name in DIGIT_ARCHITECTURES if not feature_maps(network_of(name), images)
    } == WITHOUT_MAPS


def test_a_layer_that_works_in_place_does_not_change_what_the_layer_before_it_answered() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(1352, 10))
    images = torch.rand(2, 1, 28, 28)
    seen = activations(network, images)
    assert torch.equal(seen["0"], network[0](images)) and (seen["0"] < 0).any()


def test_layers_with_the_channels_last_have_no_maps() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), Permute([0, 2, 3, 1]), nn.Linear(6, 8), nn.GELU(), nn.Dropout(),
        Permute([0, 3, 1, 2]), LayerNorm2d(8), nn.LayerNorm(26), nn.Conv2d(8, 4, 3), nn.Identity(),
    )  # fmt: skip
    maps = feature_maps(network.eval(), torch.rand(2, 1, 28, 28))
    assert list(maps) == ["0", "1", "6", "7", "9", "10"]
    assert [output.shape[1] for output in maps.values()] == [6, 6, 8, 8, 4, 4]


def test_features_are_what_the_last_layer_sees(images: Tensor) -> None:
    for name in DIGIT_ARCHITECTURES:
        network = network_of(name)
        seen = features(network, images)
        assert seen.dim() == 2 and len(seen) == 3 and seen.isfinite().all(), name
        assert torch.allclose(seen[:1], features(network, images[:1]), atol=1e-4), name
    network = create_model("cnn").eval()
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    assert torch.allclose(last(features(network, images)), network(images), atol=1e-5)


def test_filters_behind_a_pixel_unshuffle_are_put_together_again() -> None:
    whole = nn.Conv2d(1, 3, 6, stride=2, bias=False)
    network = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 3, 3, bias=False))
    network[1].weight.data = F.pixel_unshuffle(whole.weight.data, 2)
    images = torch.rand(2, 1, 28, 28)
    assert torch.allclose(network(images), whole(images), atol=1e-5)
    assert torch.equal(filters(network)["1"], whole.weight[:, 0])


def test_every_member_of_an_ensemble_is_looked_into(images: Tensor) -> None:
    members = [network_of("lenet1"), network_of("fast")]
    both = Ensemble(members, [1.0, 1.0])
    assert list(filters(both)) == ["members.0.1", "members.1.2"]
    seen, (first, second) = features(both, images), (features(member, images) for member in members)
    assert torch.allclose(seen.norm(dim=1), torch.full((3,), 2**0.5))
    assert seen.shape[1] == first.shape[1] + second.shape[1]
    distance = F.cosine_similarity(first[:1], first[1:2]) + F.cosine_similarity(second[:1], second[1:2])
    assert torch.allclose((seen[0] - seen[1]).square().sum(), 4 - 2 * distance, atol=1e-4)


def test_layers_are_filters_and_then_maps_in_their_order() -> None:
    network, image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), torch.rand(1, 1, 8, 8)
    layers = layers_of(network, image, ["filters", "feature-maps"])
    assert [layer.array_name for layer in layers] == ["filters/0", "feature-maps/0", "feature-maps/1"]
    assert layers_of(network, image, ["saliency"]) == ()
    with pytest.raises(UsageError, match="no pictures"):
        filters(nn.Sequential(nn.Flatten(), nn.Linear(7, 7)))
