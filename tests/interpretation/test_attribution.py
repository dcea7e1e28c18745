"""Attributions agree with captum's, and keep what their authors proved."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import ARCHITECTURES, create_model
from digitcli.errors import UsageError
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import attribution
from digitcli.interpretation.attribution import (
    NOISE,
    NOISY_COPIES,
    digit_score,
    integrated_gradients,
    occlusion,
    saliency,
    smoothgrad,
)

COMPARED = ["cnn", "resnet", "vit"]
TOLERANCE = 1e-4
# Fewer points than the thorough quadratures have, which do not help these networks.
QUICK = ((50, 1), (50, 4))
# One network that sees the same in pale and in dark ink, and one that holds back gradients.
INCOMPLETE = {"hog", "capsnet"}
DIGIT_ARCHITECTURES = [row.name for row in ARCHITECTURES if row.task == "digit"]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name).eval()


@pytest.mark.parametrize("name", COMPARED)
def test_saliency_is_that_of_captum(name: str, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    expected = captum.attr.Saliency(network).attribute(images.clone().requires_grad_(), target=labels)
    assert torch.allclose(saliency(digit_score(network, labels), images), expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", COMPARED)
def test_integrated_gradients_are_those_of_captum(name: str, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    expected = captum.attr.IntegratedGradients(network).attribute(images, target=labels, n_steps=50)
    actual = integrated_gradients(digit_score(network, labels), images)
    assert torch.allclose(actual, expected, atol=TOLERANCE) and actual.abs().max() > TOLERANCE


@pytest.mark.parametrize(("name", "side", "step"), [("cnn", 4, 1), *((name, 5, 3) for name in COMPARED)])
def test_occlusion_is_that_of_captum(name: str, side: int, step: int, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    expected = captum.attr.Occlusion(network).attribute(
        images, target=labels, sliding_window_shapes=(1, side, side), strides=(1, step, step),
        perturbations_per_eval=64,
    )  # fmt: skip
    actual = occlusion(digit_score(network, labels), images, side, step)
    assert torch.allclose(actual, expected, atol=TOLERANCE) and actual.abs().max() > TOLERANCE


@pytest.mark.parametrize("name", ["cnn", "fast", "robust"])
def test_integrated_gradients_add_up_to_the_score(name: str, images: Tensor, labels: Tensor) -> None:
    images, labels = images[:1], labels[:1]
    score = digit_score(load_model(name), labels)
    with torch.no_grad():
        difference = score(images) - score(torch.zeros_like(images))
    assert difference.abs().min() > 2
    shares = integrated_gradients(score, images)
    assert torch.allclose(shares.sum(dim=(1, 2, 3)), difference, rtol=0.015, atol=0.05)


@pytest.mark.parametrize("name", sorted(INCOMPLETE))
def test_integrated_gradients_that_do_not_add_up_are_refused(
    name: str, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "QUADRATURES", QUICK)
    network = network_of(name)
    for parameter in network.parameters():
        parameter.data *= 10  # logits as large as those of a trained network
    with pytest.raises(UsageError, match="do not add up"):
        integrated_gradients(digit_score(network, labels), images)


@pytest.mark.parametrize("name", DIGIT_ARCHITECTURES)
def test_an_explanation_leaves_the_network_alone(name: str, images: Tensor, labels: Tensor) -> None:
    network = network_of(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    score = digit_score(network, labels)
    for values in (saliency(score, images), occlusion(score, images, 7, 7)):
        assert values.shape == images.shape and values.isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not network.training and all(each.grad is None for each in network.parameters())


def test_smoothgrad_is_the_size_of_the_mean_gradient_under_noise(images: Tensor) -> None:
    def score(batch: Tensor) -> Tensor:
        return batch.square().sum(dim=(1, 2, 3)) / 2  # its gradient is the image, and noise cancels out

    first, second = smoothgrad(score, images), smoothgrad(score, images)
    assert torch.equal(first, second)
    assert (first - images).abs().max() < 4.5 * NOISE / NOISY_COPIES**0.5


def test_occlusion_tells_which_pixel_a_network_looks_at(images: Tensor) -> None:
    def first_ink(batch: Tensor) -> Tensor:
        return batch[:, 0, 14, 14]

    ink = torch.ones_like(images)
    fall = occlusion(first_ink, ink, side_px=3, step_px=1)
    assert fall[0, 0, 14, 14] == 1.0 and fall[0, 0].nonzero().shape == (25, 2)
