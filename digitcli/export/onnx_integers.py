"""Integers in ONNX: quantized layers as pairs of QuantizeLinear and DequantizeLinear (QDQ).

ONNX Runtime computes such layers with integers where the processor has instructions for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from digitcli.architectures.compression import QuantizedInput, quantized_layers

LARGEST_BIAS = 2**30  # half of the range of int32 is left to the sum; a larger bias stays a float


@torch.no_grad()
def with_integer_operations(network: nn.Module) -> nn.Module:
    """Replace the quantized weights and inputs of a network in place by operations of ONNX.

    Layers of which only the weights are quantized keep floats: there is no faster operation for them.
    """
    for layer, quantizer in quantized_layers(network).values():
        scale = quantizer.scale
        rounded: Any = layer.weight
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        inputs = getattr(layer, "input_quantizer", None)
        if not isinstance(inputs, QuantizedInput):
            continue
        _store(layer, "weight", rounded.detach(), scale, torch.int8)
        steps = scale * inputs.scale  # integer operations add the bias to sums of products of integers
        if layer.bias is not None and (layer.bias / steps).abs().max() < LARGEST_BIAS:
            _store(layer, "bias", layer.bias.detach(), steps, torch.int32)
        layer.input_quantizer = _Quantize(inputs)
    return network


def _store(layer: Any, name: str, values: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    integers = (values / scale.view(-1, *(1,) * (values.ndim - 1))).round()
    parametrize.register_parametrization(layer, name, _Dequantize(integers.to(dtype), scale), unsafe=True)


class _Dequantize(nn.Module):
    """A parametrization that ignores the floats and takes integers times a scale for each channel."""

    def __init__(self, integers: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.integers, self.scale = nn.Buffer(integers), nn.Buffer(scale)
        self.zero_points = nn.Buffer(torch.zeros(len(scale), dtype=integers.dtype))

    def forward(self, floats: Tensor) -> Tensor:
        shape = self.integers.shape
        if not torch.onnx.is_in_onnx_export():
            return self.integers * self.scale.view(-1, *(1,) * (len(shape) - 1))
        parts = (self.integers, self.scale, self.zero_points)
        return _operation("DequantizeLinear", parts, shape, torch.float32, axis=0)


class _Quantize(nn.Module):
    """The rounding of `QuantizedInput` as two operations of ONNX."""

    def __init__(self, quantizer: QuantizedInput) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Buffer(torch.tensor(quantizer.scale))
        self.zero_point = nn.Buffer(torch.tensor(quantizer.zero_point, dtype=torch.uint8))

    def forward(self, values: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():
            return self.quantizer(values)  # type: ignore[no-any-return]
        parts = (self.scale, self.zero_point)
        integers = _operation("QuantizeLinear", (values, *parts), values.shape, torch.uint8)
        return _operation("DequantizeLinear", (integers, *parts), values.shape, torch.float32)


def _operation(
    name: str,
    inputs: tuple[Tensor, ...],
    shape: torch.Size,
    dtype: torch.dtype,
    axis: int | None = None,
) -> Tensor:
    attributes = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(name, inputs, {**attributes}, dtype=dtype, shape=shape)
