"""Attributions are those of captum, and keep what their authors proved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import ARCHITECTURES, create_model
from digitcli.errors import UsageError
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import attribution
from digitcli.interpretation.attribution import (
    METHODS,
    NOISE,
    NOISE_SEED,
    NOISY_COPIES,
    attributions_of,
    integrated_gradients,
    occlusion,
    one_map,
    score_of,
    smoothgrad,
)

# Fewer points than the thorough quadratures have, which do not help these networks.
QUICK = ((50, 1), (50, 4))
DIGIT_ARCHITECTURES = [row.name for row in ARCHITECTURES if row.task == "digit"]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name).eval()


class Halves(nn.Module):
    """A network whose logits are sums over the left and the right half of an image with three channels."""

    def forward(self, images: Tensor) -> Tensor:
        halves = images.unflatten(3, (2, -1)).sum(dim=(2, 4))  # N, 3, 2
        return halves.sum(dim=1)


def test_integrated_gradients_add_up_to_the_score(images: Tensor, labels: Tensor) -> None:
    for name in ("cnn", "fast", "robust"):
        score = score_of(load_model(name), int(labels[0]))
        with torch.no_grad():
            difference = score(images[:1]) - score(torch.zeros_like(images[:1]))
        assert difference.abs().min() > 2, name
        shares = integrated_gradients(score, images[:1])
        assert torch.allclose(shares.sum(), difference, rtol=0.015, atol=0.05), name


def test_integrated_gradients_that_do_not_add_up_are_refused(
    images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take a network that sees the same in pale and in dark ink, and one that holds back gradients."""
    monkeypatch.setattr(attribution, "QUADRATURES", QUICK)
    for name in ("hog", "capsnet"):
        network = network_of(name)
        for parameter in network.parameters():
            parameter.data *= 10  # logits as large as those of a trained network
        with pytest.raises(UsageError, match="do not add up"):
            integrated_gradients(score_of(network, int(labels[0])), images[:1])


@pytest.mark.parametrize("power", [1, 4])
def test_shares_are_those_of_the_integral_whatever_the_density_of_points(
    power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the product of two pixels on paper of 0.2, whose integral is known."""
    image = torch.tensor([0.9, 0.5]).view(1, 1, 1, 2)
    monkeypatch.setattr(attribution, "QUADRATURES", ((20, power),))
    shares = integrated_gradients(lambda x: x[:, 0, 0, 0] * x[:, 0, 0, 1], image, 0.2)
    rises = 0.7, 0.3
    both = rises[0] * rises[1] / 2
    assert shares.flatten().tolist() == pytest.approx([both + 0.2 * rises[0], both + 0.2 * rises[1]])


def test_an_explanation_leaves_every_network_alone(images: Tensor, labels: Tensor) -> None:
    for name in DIGIT_ARCHITECTURES:
        network = network_of(name)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        score = score_of(network, int(labels[0]))
        for values in (
            attribution.saliency(score, images[:1]),
            occlusion(score, images[:1], squares_px=(14, 14)),
        ):
            assert values.shape == images[:1].shape and values.isfinite().all(), name
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), name
        assert not network.training and all(each.grad is None for each in network.parameters()), name


def test_the_methods_answer_as_those_of_captum(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency

    monkeypatch.setattr(attribution, "COMPLETENESS", 10.0)  # of 20 points
    monkeypatch.setattr(attribution, "QUADRATURES", ((20, 1),))
    monkeypatch.setattr(attribution, "BATCH_PIXELS", 15 * 28**2)  # which divides no number of copies
    score, image = score_of(load_model("fast"), 7, 1), images[:1]
    state = torch.get_rng_state()
    actual = [
        attribution.saliency(score, image),
        smoothgrad(score, image),
        integrated_gradients(score, image, 0.2),
        occlusion(score, image, 0.2, (5, 4)),
    ]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(NOISE_SEED)
    leaf = image.clone().requires_grad_()
    noise = {"nt_samples": NOISY_COPIES, "nt_samples_batch_size": 15, "stdevs": NOISE, "abs": False}
    expected = [
        Saliency(score).attribute(leaf),
        NoiseTunnel(Saliency(score)).attribute(leaf, **noise).abs(),
        IntegratedGradients(score).attribute(image, baselines=0.2, n_steps=20),
        Occlusion(score).attribute(image, (1, 5, 5), strides=(1, 4, 4), baselines=0.2),
    ]
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.abs().max() > 0.01 and torch.allclose(ours, theirs.float(), rtol=1e-3, atol=1e-4)


def test_occlusion_tells_which_pixel_a_network_looks_at() -> None:
    def one_pixel(batch: Tensor) -> Tensor:
        return batch[:, 0, 14, 14]

    fall = occlusion(one_pixel, torch.ones(1, 1, 28, 28), squares_px=(3, 1))
    assert fall[0, 0, 14, 14] == 1.0 and fall[0, 0].nonzero().shape == (25, 2)
    on_paper = occlusion(one_pixel, torch.full((1, 3, 28, 28), 0.75), 0.25, (3, 1))
    assert on_paper[0, :, 14, 14].tolist() == [0.5] * 3  # a square covers all channels


def test_attributions_say_what_speaks_for_one_digit_and_against_the_other() -> None:
    batch = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    attributions, notes = attributions_of(
        Halves(), batch, ["integrated-gradients", "saliency", "filters"], 0, 1
    )
    assert [each.name for each in attributions] == [
        "integrated-gradients/0", "integrated-gradients/0-1", "saliency/0", "saliency/0-1",
    ]  # fmt: skip
    alone, against = attributions[:2]
    assert notes == [] and alone.values[:, 4:].any() == np.False_
    assert (against.values[:, 4:] < 0).all() and np.allclose(against.values[:, :4], alone.values[:, :4])
    assert alone.values.sum() == pytest.approx(alone.score - alone.baseline, rel=1e-3)
    assert [each.meaning for each in attributions[1:3]] == ["speaks for 0, not 1", "matters for 0"]
    itself, _ = attributions_of(Halves(), batch, ["saliency"], 1, 1)
    assert [each.against for each in itself] == [None], "a digit is not compared with itself"


def test_shares_of_channels_add_up_and_of_others_the_largest_counts() -> None:
    values = torch.tensor([1.0, -2.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert (one_map("integrated-gradients", values) == 3).all()
    assert all((one_map(method, values) == 4).all() for method in METHODS if method[0] in "so")
    assert (one_map("saliency", values[:, 1:2]) == -2).all()
