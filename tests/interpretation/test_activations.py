"""Activations, and the attributions that are made of them."""

from __future__ import annotations

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import Permute

from digitcli.architectures.ensemble import Ensemble
from digitcli.architectures.patches import Attention
from digitcli.architectures.registry import ARCHITECTURES, create_model
from digitcli.errors import UsageError
from digitcli.interpretation.activations import (
    activations,
    attention_rollout,
    feature_maps,
    features,
    filters,
    grad_cam,
)
from digitcli.interpretation.attribution import digit_score
from tests.interpretation.test_attribution import DIGIT_ARCHITECTURES, TOLERANCE, network_of

WITHOUT_MAPS = {"softmax", "sigmoid_mlp", "mlp", "lstm"}


@pytest.mark.parametrize("name", sorted({*DIGIT_ARCHITECTURES} - WITHOUT_MAPS))
def test_grad_cam_is_that_of_captum(name: str, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    layer = next(reversed(feature_maps(network, images)))
    captums = captum.attr.LayerGradCam(network, network.get_submodule(layer))
    expected = captums.attribute(images, target=labels, relu_attributions=True)
    assert isinstance(expected, Tensor)
    expected = F.interpolate(expected, (28, 28), mode="bilinear", align_corners=False)
    actual = grad_cam(network, digit_score(network, labels), images)
    assert torch.allclose(actual, expected, atol=TOLERANCE * float(expected.detach().max()))
    assert actual.min() >= 0


@pytest.mark.parametrize("name", sorted(WITHOUT_MAPS))
def test_a_network_without_feature_maps_has_no_grad_cam(name: str, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    with pytest.raises(UsageError, match="no feature maps"):
        grad_cam(network, digit_score(network, labels), images)


def test_a_layer_that_works_in_place_does_not_change_what_the_layer_before_it_answered() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(1352, 10))
    images = torch.rand(2, 1, 28, 28)
    seen = activations(network, images)
    assert torch.equal(seen["0"], network[0](images)) and (seen["0"] < 0).any()
    attribution = grad_cam(network, digit_score(network, torch.tensor([0, 1])), images, layer="0")
    assert attribution.shape == images.shape


def test_layers_with_the_channels_last_have_no_maps() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), Permute([0, 2, 3, 1]), nn.Linear(6, 8), nn.GELU(), nn.Dropout(),
        Permute([0, 3, 1, 2]), LayerNorm2d(8), nn.LayerNorm(26), nn.Conv2d(8, 4, 3), nn.Identity(),
    )  # fmt: skip
    maps = feature_maps(network.eval(), torch.rand(2, 1, 28, 28))
    assert list(maps) == ["0", "1", "6", "7", "9", "10"]
    assert [output.shape[1] for output in maps.values()] == [6, 6, 8, 8, 4, 4]


def test_an_unknown_layer_is_named_with_those_that_there_are(images: Tensor, labels: Tensor) -> None:
    network = network_of("lenet5")
    with pytest.raises(UsageError) as caught:
        grad_cam(network, digit_score(network, labels), images, layer="stem")
    assert "stem" in caught.value.cause and "1" in caught.value.remedy


def test_attention_rollout_is_a_share_for_each_patch(images: Tensor) -> None:
    attribution = attention_rollout(network_of("vit"), images)
    assert attribution.shape == images.shape
    assert torch.allclose(attribution.sum(dim=(1, 2, 3)), torch.full((3,), 16.0), atol=1e-4)  # 16 pixels each


def test_attention_rollout_multiplies_the_layers_in_their_order() -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(8, 24), Attention(2)) for _ in range(2)]
    network = nn.Sequential(nn.Unflatten(1, (4, 196)), nn.Linear(196, 8), *layers)  # four patches
    images = torch.rand(1, 1, 28, 28)
    patches = network[1](network[0](images.flatten(1)))
    first = layers[0][1].weights(layers[0][0](patches)).mean(dim=1)
    second = layers[1][1].weights(layers[1][0](layers[0](patches))).mean(dim=1)
    expected = ((second + torch.eye(4)) / 2 @ ((first + torch.eye(4)) / 2)).mean(dim=1)
    actual = attention_rollout(nn.Sequential(nn.Flatten(), network), images)
    corners = actual[0, 0][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, expected[0], atol=1e-5)


def test_a_network_without_attention_is_told_so(images: Tensor) -> None:
    with pytest.raises(UsageError, match="no attention"):
        attention_rollout(network_of("cnn"), images)


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES if row.task == "digit"])
def test_features_are_what_the_last_layer_sees(name: str, images: Tensor) -> None:
    network = network_of(name)
    seen = features(network, images)
    assert seen.dim() == 2 and len(seen) == 3 and seen.isfinite().all()
    assert torch.allclose(seen[:1], features(network, images[:1]), atol=1e-4)


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


def test_the_features_of_cnn_give_its_logits(images: Tensor) -> None:
    network = create_model("cnn").eval()
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    assert torch.allclose(last(features(network, images)), network(images), atol=1e-5)
