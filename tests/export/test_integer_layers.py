"""Integer layers: sums fit 32 bits, factors become fixed-point numbers, and what can be joined is joined."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import nn

from digitcli.architectures.compression import apply_changes
from digitcli.compression.changes import quantize_weights
from digitcli.export.integer_layers import INT32_MAX, MAX_SHIFT, IntegerLayer, fixed_point, integer_layers
from digitcli.export.plain_layers import plain_layers


def joined(*layers: nn.Module, ranges: dict[str, list[float]]) -> list[str]:
    """Return what each unit computes, with `>` before an output of integers."""
    network = nn.Sequential(*layers)
    network(torch.zeros(1, 1, 28, 28))
    apply_changes(network.eval(), [{"change": "quantize_inputs", "ranges": ranges}])
    quantize_weights(network, 8)
    units = integer_layers(plain_layers(network, "own", "c"))
    return [
        f"{'>' * (unit.output is not None)}{' '.join(each.kind for each in unit.layers)}"
        if isinstance(unit, IntegerLayer)
        else unit.kind
        for unit in units
    ]


def test_what_follows_a_layer_is_computed_with_it_where_that_is_exact() -> None:
    cases: list[tuple[list[nn.Module], list[str]]] = [
        ([nn.ReLU(), nn.MaxPool2d(2)], [">convolution relu max_pool"]),
        ([nn.MaxPool2d(2, ceil_mode=True), nn.LeakyReLU(0.3)], [">convolution max_pool leaky_relu"]),
        ([nn.LeakyReLU(-0.3)], ["convolution", "leaky_relu", "quantize"]),
        ([nn.LeakyReLU(2)], ["convolution", "leaky_relu", "quantize"]),
        ([nn.MaxPool2d(3, stride=2)], ["convolution", "max_pool", "quantize"]),
        ([nn.Tanh(), nn.AvgPool2d(2)], ["convolution", "tanh", "average_pool", "quantize"]),
        ([nn.AvgPool2d(2), nn.Tanh()], ["convolution average_pool", "tanh", "quantize"]),
        ([nn.LeakyReLU(0.3), nn.AvgPool2d(2)], ["convolution leaky_relu average_pool", "quantize"]),
        ([nn.AvgPool2d(2, stride=1)], ["convolution", "average_pool", "quantize"]),
        ([nn.Sigmoid()], ["convolution", "sigmoid", "quantize"]),
        (
            [nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)],
            ["convolution", "relu", "max_pool", "global_average", "quantize"],
        ),
        ([nn.ReLU(), nn.Sigmoid()], ["convolution", "relu", "sigmoid", "quantize"]),
        ([nn.BatchNorm2d(2), nn.PixelUnshuffle(2)], ["convolution", "pixel_unshuffle", "quantize"]),
    ]  # fmt: skip
    for between, expected in cases:
        layers = [nn.Conv2d(1, 2, 3), *between, nn.Flatten(), nn.LazyLinear(10)]
        ranges = {"0": [0.01, 0], str(len(layers) - 1): [0.02, 10]}
        assert joined(*layers, ranges=ranges) == ["quantize", *expected, "linear"], between
    # A rounded input of another layer stays floats.
    others = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    assert joined(*others, ranges={"1": [0.01, 0]}) == ["convolution", "quantize", "relu", "linear"]


def test_a_fixed_point_number_is_as_near_as_a_sum_can_tell() -> None:
    for factor in [1e-30, 1e-13, 3e-9, 0.0007, 0.3, 0.5, 1 - 2**-33, 1.0, 200.0, 2.0**31, 1e30]:
        integer, shift = (int(numbers[0]) for numbers in fixed_point(np.array([factor])))
        assert 0 <= integer <= INT32_MAX and shift <= MAX_SHIFT
        value = Fraction(integer, 2**shift)
        if factor < 2**30:
            error = abs(value - Fraction(factor))
            assert error <= Fraction(factor) / 2**30 or error * INT32_MAX <= Fraction(1, 10_000), factor
        else:
            assert value >= 2**30, "it still brings a sum of 1 to the end of the range"


def test_a_bias_that_is_too_large_for_its_scale_costs_precision_of_the_weights_only() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight[0] *= 1e-7
        network[1].weight[1] = 0
        network[1].bias.fill_(5)
    apply_changes(network, [{"change": "quantize_inputs", "ranges": {"1": [1 / 255, 20]}}])
    expected = network[1].weight.detach().numpy().copy()
    quantize_weights(network, 8)
    _, layer = integer_layers(plain_layers(network.eval(), "own", "c"))
    assert isinstance(layer, IntegerLayer)
    sums = layer.biases.astype(np.int64) + 235 * np.abs(layer.integers.astype(np.int64)).sum(axis=1)
    assert sums.max() <= INT32_MAX
    np.testing.assert_allclose(layer.biases * layer.scales, 5, rtol=1e-4)
    weights = layer.integers * (255.0 * layer.scales[:, None])
    np.testing.assert_allclose(weights[2:], expected[2:], atol=1e-3)
    assert np.abs(weights[0] - expected[0]).sum() * 20 < 1e-3 * 5


def test_integers_of_a_quantized_layer_are_its_own() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 26 * 26, 10)
    ).eval()
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([-2.0, 0.0, 0.5]))  # a factor may be negative or zero
    apply_changes(network, [{"change": "quantize_weights", "bits": {"0": 4}}])
    network[0].parametrizations.weight[0].log_scale.data.fill_(-4)
    convolution, linear = plain_layers(network, "own", "c")
    integers = convolution.integers
    assert convolution.bits == 4 and np.abs(integers).max() <= 7 and not integers[1].any()
    steps = (network[0].weight * 16).round().detach().numpy()
    np.testing.assert_array_equal(integers[0], -steps[0])
    assert convolution.scales is not None and linear.scales is None
    restored = integers * convolution.scales[:, None, None, None]
    np.testing.assert_allclose(restored, convolution.weights, rtol=1e-5)
