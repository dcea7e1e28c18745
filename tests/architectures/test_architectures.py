"""Every architecture of the table keeps the contract of its task; a new one is tested by being there."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch
from torch import nn

from digitcli.architectures.layers import DropPath
from digitcli.architectures.model_surgery import stages_of
from digitcli.architectures.registry import ARCHITECTURES, Architecture, create_model, resolve_recipe
from digitcli.architectures.summary import input_shape, summarize
from digitcli.inference.torch_runtime import infer_lines

DIGIT_NAMES = [row.name for row in ARCHITECTURES if row.task == "digit"]
LINE_NAMES = [row.name for row in ARCHITECTURES if row.task == "line"]


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_keeps_what_the_table_and_its_recipe_promise(row: Architecture) -> None:
    torch.manual_seed(0)
    network, recipe = create_model(row.name), resolve_recipe(row.name)
    parameters = dict(network.named_parameters())
    of_stages = [parameter for stage in stages_of(network) for parameter in stage.parameters]
    assert len(of_stages) == len(set(of_stages)) == len(parameters), "each belongs to one stage"
    layers = list(network.modules())
    normalized = any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in layers)
    assert (recipe.normalization is not None) == normalized
    assert (recipe.stochastic_depth is not None) == any(isinstance(layer, DropPath) for layer in layers)
    takes_dropout = "dropout" in inspect.signature(row.load()).parameters
    assert (recipe.dropout is not None) == takes_dropout
    assert resolve_recipe(row.name, **dataclasses.asdict(recipe)) == recipe

    summary = summarize(network, row.task)
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    assert summary.parameters == sum(parameter.numel() for parameter in parameters.values())
    assert sum(layer.macs for layer in summary.layers) == summary.macs > 0

    documentation = " ".join((row.load().__doc__ or "").split())
    for paper in row.paper.split("; "):
        author, year = re.split(r"[ ,]", paper)[0], paper[-4:]
        assert author in documentation and re.search(rf"\b{year}\b", documentation), paper

    images = torch.rand(8, *input_shape(network, row.task)[1:])
    outputs = network.locate(images) if hasattr(network, "locate") else (network(images),)
    sum(output.logsumexp(-1).sum() for output in outputs).backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"{name} learns nothing"


@pytest.mark.parametrize("name", DIGIT_NAMES)
def test_answers_each_digit_alone_and_learns_ten_by_heart(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, **({"dropout": 0.0} if resolve_recipe(name).dropout is not None else {}))
    images, labels = torch.rand(10, 1, 28, 28), torch.arange(10)
    logits = network.eval()(images)
    assert logits.shape == (10, 10) and logits.isfinite().all()
    torch.testing.assert_close(network(images[:1]), logits[:1], rtol=1e-4, atol=1e-5)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
        if step % 5 == 4 and (network.eval()(images).argmax(-1) == labels).float().mean() >= 0.9:
            return
    pytest.fail("It does not learn ten images by heart.")


@pytest.mark.parametrize("name", LINE_NAMES)
def test_lines_of_any_width_are_answered_as_alone(name: str) -> None:
    network = create_model(name).eval()
    classes = network.classes.out_channels
    for width in (8, 200, 404):
        logits, distances = network.locate(torch.rand(2, network.channels, 40, width))
        assert logits.shape == (2, width // 4, classes) and distances.shape == (2, width // 4, 4)
        assert logits.isfinite().all() and distances.isfinite().all()
        assert network(torch.zeros(1, network.channels, 40, width)).shape == (1, width // 4, classes)
    random = np.random.default_rng(0)
    shape = (40,) if network.channels == 1 else (network.channels, 40)
    lines = [random.integers(0, 255, (*shape, width), np.uint8) for width in (90, 93, 200, 40)]
    for line, together in zip(lines, infer_lines(network, lines), strict=True):
        (alone,) = infer_lines(network, [line])
        assert together.logits.shape == (-(-line.shape[-1] // 4), classes)
        np.testing.assert_allclose(together.logits, alone.logits, rtol=1e-4, atol=1e-4)


class Attending(nn.Module):
    """The attention of PyTorch, whose fused operation its counter does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(28, 4, batch_first=True), nn.Linear(28, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images[:, 0]
        attended, _ = self.attention(rows, rows, rows, need_weights=False)
        return self.head(attended.mean(dim=1))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_macs_are_those_of_textbook_formulas_and_the_network_stays_as_it_was() -> None:
    convolutions = 28 * 28 * 32 * 5 * 5 + 14 * 14 * 64 * 5 * 5 * 32
    assert summarize(create_model("cnn")).macs == convolutions + 7 * 7 * 64 * 1024 + 1024 * 10
    attention = summarize(Attending())
    assert attention.macs == sum(layer.macs for layer in attention.layers) == 6 * 28**3 + 28 * 10
    assert sum(layer.parameters for layer in attention.layers) == attention.parameters
    lstm, gates = create_model("lstm", hidden=8).train(), 4 * 8
    before = {name: tensor.clone() for name, tensor in lstm.state_dict().items()}
    summary = summarize(lstm)
    once = 2 * gates * (28 + 8) + 2 * gates * (2 * 8 + 8)  # two directions, two layers
    assert summary.macs == 28 * once + 16 * 10
    assert [layer.shape for layer in summary.layers if layer.kind == "LSTM"] == [(28, 16)]
    with torch.backends.mkldnn.flags(enabled=False):  # without an operation of its own
        assert summarize(lstm) == summary
    assert lstm.training and all(before[name].equal(each) for name, each in lstm.state_dict().items())
