"""Every architecture of the table keeps the contract of its task; a new one is tested by being there."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import ARCHITECTURES, create_model, find_architecture, resolve_recipe
from digitcli.architectures.summary import input_shape, summarize
from digitcli.inference.torch_runtime import infer_lines

NAMES = [row.name for row in ARCHITECTURES]
DIGIT_NAMES = [row.name for row in ARCHITECTURES if row.task == "digit"]
LINE_NAMES = [row.name for row in ARCHITECTURES if row.task == "line"]


@pytest.mark.parametrize("name", DIGIT_NAMES)
def test_gives_ten_finite_logits_an_image(name: str) -> None:
    logits = create_model(name).eval()(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name)
    images = torch.rand(8, *input_shape(network, find_architecture(name).task)[1:])
    outputs = network.locate(images) if hasattr(network, "locate") else (network(images),)
    sum(output.logsumexp(-1).sum() for output in outputs).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", DIGIT_NAMES)
def test_one_image_is_answered_as_in_a_batch(name: str) -> None:
    network = create_model(name).eval()
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DIGIT_NAMES)
def test_overfits_a_few_digits(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, **({"dropout": 0.0} if resolve_recipe(name).dropout is not None else {}))
    images, labels = torch.rand(10, 1, 28, 28), torch.arange(10)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
        if step % 10 == 9 and (network.eval()(images).argmax(-1) == labels).float().mean() >= 0.9:
            return
    pytest.fail("It does not learn ten images by heart.")


@pytest.mark.parametrize("name", LINE_NAMES)
def test_lines_of_any_width_give_columns_of_finite_logits(name: str) -> None:
    network = create_model(name).eval()
    classes = network.classes.out_channels
    for width in (8, 200, 404):
        logits, distances = network.locate(torch.rand(2, network.channels, 40, width))
        assert logits.shape == (2, width // 4, classes) and distances.shape == (2, width // 4, 4)
        assert logits.isfinite().all() and distances.isfinite().all()
        assert network(torch.zeros(1, network.channels, 40, width)).shape == (1, width // 4, classes)


@pytest.mark.parametrize("name", LINE_NAMES)
def test_one_line_is_answered_as_in_company(name: str) -> None:
    network = create_model(name).eval()
    random = np.random.default_rng(0)
    shape = (40,) if network.channels == 1 else (network.channels, 40)
    lines = [random.integers(0, 255, (*shape, width), np.uint8) for width in (90, 93, 200, 40)]
    for line, together in zip(lines, infer_lines(network, lines), strict=True):
        (alone,) = infer_lines(network, [line])
        assert together.logits.shape == (-(-line.shape[-1] // 4), network.classes.out_channels)
        np.testing.assert_allclose(together.logits, alone.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_names_its_paper_with_the_year(name: str) -> None:
    row = find_architecture(name)
    documentation = " ".join((row.load().__doc__ or "").split())
    for paper in row.paper.split("; "):
        author, year = re.split(r"[ ,]", paper)[0], paper[-4:]
        assert author in documentation and re.search(rf"\b{year}\b", documentation), paper


@pytest.mark.parametrize("name", NAMES)
def test_summary_counts_every_parameter_once(name: str) -> None:
    network = create_model(name)
    summary = summarize(network, find_architecture(name).task)
    assert summary.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    assert sum(layer.macs for layer in summary.layers) == summary.macs > 0


def test_macs_of_the_cnn_are_those_of_its_textbook_formula() -> None:
    convolutions = 28 * 28 * 32 * 5 * 5 + 14 * 14 * 64 * 5 * 5 * 32
    assert summarize(create_model("cnn")).macs == convolutions + 7 * 7 * 64 * 1024 + 1024 * 10


def test_summary_leaves_the_network_as_it_was() -> None:
    network = create_model("resnet").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    summarize(network)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_last_wide_block_is_activated_before_the_mean() -> None:
    """A tail without that is affine: convolutions in it add nothing to the last layer."""
    network = create_model("wide_resnet").eval()
    layers = list(network.children())
    last = max(place for place, layer in enumerate(layers) if type(layer).__name__ == "WideBlock")
    maps = torch.randn(3, 192, 4, 4)
    tail = torch.nn.Sequential(*layers[last + 1 :])
    with torch.no_grad():
        tail[0].running_mean.fill_(0.5)
        bent = tail(maps[:1] + maps[1:2]) + tail(maps[2:]) - tail(maps[:1] + maps[2:]) - tail(maps[1:2])
    assert bent.abs().max() > 0.01


def test_patches_attend_to_one_another_at_the_price_of_their_square() -> None:
    summary = summarize(create_model("vit", dropout=0.0))
    attending = [layer.macs for layer in summary.layers if layer.kind == "Attention"]
    assert attending == [2 * 49 * 49 * 64] * 4


def test_attention_of_torchvision_is_counted_with_all_it_has() -> None:
    summary = summarize(create_model("torchvision/vit_b_16"))
    patches, width, blocks = 14**2 + 1, 768, 12
    embedding = 14**2 * 16**2 * width
    attending = 4 * patches * width**2 + 2 * patches**2 * width
    assert summary.macs == embedding + blocks * (attending + 8 * patches * width**2) + width * 10
    assert sum(layer.macs for layer in summary.layers) == summary.macs
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_an_lstm_is_counted_once_without_an_operation_of_its_own() -> None:
    network = create_model("lstm", hidden=8)
    with torch.backends.mkldnn.flags(enabled=False):
        without = summarize(network)
    assert without == summarize(network)


def test_an_lstm_multiplies_each_weight_once_a_row() -> None:
    summary = summarize(create_model("lstm", hidden=8))
    gates = 4 * 8
    once = 2 * gates * (28 + 8) + 2 * gates * (2 * 8 + 8)  # two directions, two layers
    assert summary.macs == 28 * once + 16 * 10
    assert [layer.shape for layer in summary.layers if layer.kind == "LSTM"] == [(28, 16)]
