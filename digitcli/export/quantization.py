"""Weights as integers with one scale for each output channel: rounded to 8 bits, or of a compressed model.

Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: a whitepaper", 2018,
section 3.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from digitcli.architectures.compression import QuantizedInput
from digitcli.architectures.layers import Deslant, LocalContrast
from digitcli.export.layers import Array, PlainLayer
from digitcli.export.source import Images, Outputs
from digitcli.inference.torch_runtime import as_input

MAX_INTEGER = 127  # symmetric: -128 is not used
BITS = 8  # of the integers to which floats are rounded
QUANTIZED_KINDS = ("convolution", "linear")
WITHOUT_WEIGHTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "deslant": Deslant(),
    "local_contrast": LocalContrast(),
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class IntegerWeights:
    """The weights of a layer as integers of some bits, int8, and the scale of each output channel."""

    integers: npt.NDArray[np.int8]
    scales: Array
    bits: int


def integer_weights(layer: PlainLayer) -> IntegerWeights:
    """Return the weights of a layer as the integers that they are, or else rounded to 8 bits."""
    assert layer.weights is not None
    return IntegerWeights(*quantize(layer.weights, layer.scales), layer.bits or BITS)


def per_output(values: npt.NDArray[Any], dimensions: int) -> npt.NDArray[Any]:
    """Return values (C,) in a shape that multiplies weights (C, ...) channel by channel."""
    return values.reshape(-1, *(1,) * (dimensions - 1))


def quantize(weights: Array, scales: Array | None = None) -> tuple[npt.NDArray[np.int8], Array]:
    """Return weights rounded to 8-bit integers of the same shape, and the scale of each output channel.

    scales: those of weights that are integers already.
    """
    rows = weights.reshape(len(weights), -1)
    if scales is None:
        scales = np.abs(rows).max(axis=1) / np.float32(MAX_INTEGER)
    scales = np.where(scales == 0, np.float32(1), scales).astype(np.float32)
    integers = np.round(rows / scales[:, None]).astype(np.int8)
    return integers.reshape(weights.shape), scales


def pack(integers: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.uint8]:
    """Return integers of some bits one after the other, from the lowest bit of each byte on.

    Half of the range is added to each, so that none is negative. One byte of zeros follows, because programs
    read two bytes at a time.
    """
    levels = integers.ravel().astype(np.int16) + 2 ** (bits - 1)
    digits = (levels[:, None] >> np.arange(bits)) & 1
    return np.append(np.packbits(digits.astype(bool).ravel(), bitorder="little"), np.uint8(0))


def round_weights(layers: Sequence[PlainLayer]) -> tuple[PlainLayer, ...]:
    """Return layers whose weights are those that the integers stand for."""
    rounded = []
    for layer in layers:
        if layer.kind in QUANTIZED_KINDS and layer.weights is not None:
            rounding = integer_weights(layer)
            scales = per_output(rounding.scales, rounding.integers.ndim)
            layer = replace(layer, weights=rounding.integers.astype(np.float32) * scales)
        rounded.append(layer)
    return tuple(rounded)


def rounded_reference(
    layers: Sequence[PlainLayer],
) -> Callable[[Sequence[Images]], list[Outputs]] | None:
    """Return what computes logits with rounded weights; None if all weights are integers already."""
    if all(layer.scales is not None for layer in layers if layer.kind in QUANTIZED_KINDS):
        return None
    rounded = round_weights(layers)
    return lambda batches: run_layers(rounded, batches)


@torch.inference_mode()
def run_layers(layers: Sequence[PlainLayer], batches: Sequence[Images]) -> list[Outputs]:
    """Compute the logits of layers with PyTorch."""
    outputs: list[Outputs] = []
    for batch in batches:
        values = as_input(torch.from_numpy(batch))
        for layer in layers:
            if len(layer.shape_in) == 1:
                values = values.flatten(1)
            values = _compute(layer, values)
        outputs.append((values.flatten(1).numpy(),))
    return outputs


def _compute(layer: PlainLayer, values: Tensor) -> Tensor:
    numbers = layer.numbers
    weights = None if layer.weights is None else torch.from_numpy(layer.weights)
    biases = None if layer.biases is None else torch.from_numpy(layer.biases)
    match layer.kind:
        case "normalize":
            return values.sub(numbers["mean"]).div(numbers["deviation"])
        case "convolution":
            assert weights is not None
            settings = numbers["stride"], numbers["padding"], 1, numbers["groups"]
            return functional.conv2d(values, weights, biases, *settings)
        case "linear":
            assert weights is not None
            return functional.linear(values, weights, biases)
        case "scale":
            assert weights is not None and biases is not None
            shape = (-1, *(1,) * (values.ndim - 2))
            return values * weights.view(shape) + biases.view(shape)
        case "max_pool":
            ceil_mode = _size_of_pool(layer) != layer.shape[1:]
            kernel, stride, padding = numbers["kernel"], numbers["stride"], numbers["padding"]
            return functional.max_pool2d(values, kernel, stride, padding, ceil_mode=ceil_mode)
        case "average_pool":
            return functional.avg_pool2d(values, numbers["kernel"], numbers["stride"])
        case "global_average":
            return values.mean(dim=(2, 3), keepdim=True)
        case "pixel_unshuffle":
            return functional.pixel_unshuffle(values, numbers["factor"])
        case "quantize":
            return QuantizedInput(numbers["scale"], numbers["zero_point"])(values)  # type: ignore[no-any-return]
        case "leaky_relu":
            return functional.leaky_relu(values, numbers["slope"])
        case "deslant" | "local_contrast" | "relu" | "tanh" | "sigmoid":
            return WITHOUT_WEIGHTS[layer.kind](values)


def _size_of_pool(layer: PlainLayer) -> tuple[int, ...]:
    """Return the height and the width after a pooling that leaves incomplete windows out."""
    kernels, strides, paddings = (layer.numbers[name] for name in ("kernel", "stride", "padding"))
    sides = zip(layer.shape_in[1:], kernels, strides, paddings, strict=True)
    return tuple((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sides)
