"""Layers that compute with integers alone, from integers from 0 to 255 to integers from 0 to 255.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
2018: products of 8-bit integers are summed up in 32 bits, with a bias that is an integer too, and the sum is
multiplied by a fixed-point number, which gives the integer of the next layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp

import numpy as np
import numpy.typing as npt

from digitcli.architectures.compression import UINT8_MAX
from digitcli.export.plain_layers import WEIGHTED, Kind, PlainLayer, Shape

INT32_MAX = 2**31 - 1
MULTIPLIER_BITS = 31
# Of a multiplier, so that 64 bits hold its product with a sum. One that would need a larger shift loses
# digits; even the largest sum then changes by less than 1/10,000 of a step.
MAX_SHIFT = 46
NO_ACTIVATION = 1.0  # the factor of negative values; that of ReLU is 0
MEANS: tuple[Kind, ...] = ("average_pool", "global_average")


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution or linear layer with quantized inputs, and the layers after it that belong to it.

    layers: the layer with weights, and those after it that are computed with it.
    integers: its weights, with scales that are large enough for sums of 32 bits.
    zero_point: the integer of the input that means zero.
    biases: in steps of the scale of the input times the scale of a weight.
    scales: this step for each output channel.
    output: what quantizes the input of the next layer; None if the output is floats.
    multipliers, shifts: the factors from sums to steps of the output, where that is integers: `multipliers`
        times 2 to the power of `-shifts`, both for each output channel.
    slope: the factor of negative values: 0 for ReLU.
    pool: the pooling after the activation. The largest value is that of the largest sum.
    """

    layers: tuple[PlainLayer, ...]
    integers: npt.NDArray[np.int8]
    zero_point: int
    biases: npt.NDArray[np.int32]
    scales: npt.NDArray[np.float32]
    output: PlainLayer | None
    multipliers: npt.NDArray[np.int32]
    shifts: npt.NDArray[np.uint8]
    slope: float
    pool: PlainLayer | None

    @property
    def shape(self) -> Shape:
        """The shape of the output for one image."""
        return self.layers[-1].shape


def integer_layers(layers: Sequence[PlainLayer]) -> list[PlainLayer | IntegerLayer]:
    """Return layers, of which those with quantized inputs are integer layers.

    A layer of the kind `quantize` that stays in the list gives its integers to the integer layer after it, or
    floats to any other layer.
    """
    joined: list[PlainLayer | IntegerLayer] = []
    at = 0
    while at < len(layers):
        if not quantizes_next(layers, at):
            joined.append(layers[at])
            at += 1
            continue
        before = joined[-1] if joined else None
        if not (isinstance(before, IntegerLayer) and before.output is not None):
            joined.append(layers[at])
        layer = _integer_layer(layers, at)
        joined.append(layer)
        at += 1 + len(layer.layers)
    return joined


def quantizes_next(layers: Sequence[PlainLayer], at: int) -> bool:
    """Return whether a layer quantizes the input of a layer with weights."""
    pair = [layer.kind for layer in layers[at : at + 2]]
    return len(pair) == 2 and pair[0] == "quantize" and pair[1] in WEIGHTED


def _integer_layer(layers: Sequence[PlainLayer], at: int) -> IntegerLayer:
    """Return the integer layer whose input the layer at a place quantizes."""
    quantizer, layer = layers[at], layers[at + 1]
    slope, pool, end = _following(layers, at + 2)
    is_mean = pool is not None and pool.kind in MEANS
    output = layers[end] if not is_mean and quantizes_next(layers, end) else None
    if output is None and not is_mean:  # floats: what follows is computed by its own function
        slope, pool, end = NO_ACTIVATION, None, at + 2
    integers, scales, biases = _fit_sums(quantizer, layer)
    multipliers, shifts = fixed_point(scales / np.float32(1 if output is None else output.numbers["scale"]))
    return IntegerLayer(
        layers=tuple(layers[at + 1 : end]),
        integers=integers,
        zero_point=quantizer.numbers["zero_point"],
        biases=biases,
        scales=scales.astype(np.float32),
        output=output,
        multipliers=multipliers,
        shifts=shifts,
        slope=slope,
        pool=pool,
    )


def _following(layers: Sequence[PlainLayer], at: int) -> tuple[float, PlainLayer | None, int]:
    """Return the slope and the pooling of the layers from a place on, and the place after them.

    ReLUs never decrease, so that the largest value before one is the largest after it.
    """
    slope, pool = None, None
    for layer in layers[at:]:
        factor = layer.numbers.get("slope", 0.0)
        if pool is None and layer.kind in ("max_pool", *MEANS) and _is_apart(layer):
            pool = layer
        elif slope is not None or (pool is not None and pool.kind in MEANS):
            break
        elif layer.kind in ("relu", "leaky_relu") and 0 <= factor <= 1:
            slope = factor
        else:
            break
        at += 1
    return NO_ACTIVATION if slope is None else slope, pool, at


def _is_apart(pool: PlainLayer) -> bool:
    """Return whether the windows of a pooling do not overlap, so that no sum is computed twice."""
    if pool.kind == "global_average":
        return True
    sides = zip(pool.numbers["kernel"], pool.numbers["stride"], strict=True)
    return all(kernel <= stride for kernel, stride in sides)


def _fit_sums(
    quantizer: PlainLayer, layer: PlainLayer
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return the weights, the step of the sums and the biases of each output channel.

    A sum must not exceed 32 bits. The scale of a channel whose bias is too large for that is doubled until it
    fits; its weights count for so little that their rounding does not matter.
    """
    assert layer.biases is not None and layer.scales is not None
    input_scale, zero_point = np.float32(quantizer.numbers["scale"]), quantizer.numbers["zero_point"]
    largest = max(zero_point, UINT8_MAX - zero_point)
    exact = layer.integers.reshape(len(layer.biases), -1).astype(np.float64)
    scales = layer.scales.astype(np.float64)
    while True:
        biases = np.round(layer.biases / (scales * input_scale))
        is_large = np.abs(biases) + largest * np.abs(np.round(exact)).sum(axis=1) > INT32_MAX
        if not is_large.any():
            break
        exact[is_large] /= 2
        scales[is_large] *= 2
    integers = np.round(exact).astype(np.int8).reshape(layer.integers.shape)
    return integers, scales * input_scale, biases.astype(np.int32)


def fixed_point(factors: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Return positive factors as integers of 31 bits and shifts of at most `MAX_SHIFT` bits.

    Factors of 2 to the power of 31 or more become the largest one: they bring every sum but 0 to an end of
    the range.
    """
    integers, shifts = [], []
    for factor in factors:
        shift = min(max(MULTIPLIER_BITS - frexp(factor)[1], 0), MAX_SHIFT)
        integer = round(factor * 2**shift)
        if integer > INT32_MAX and shift:  # it was rounded up to a power of 2
            shift -= 1
            integer = round(factor * 2**shift)
        integers.append(min(integer, INT32_MAX))
        shifts.append(shift)
    return np.array(integers, np.int32), np.array(shifts, np.uint8)
