"""Compressed networks: changes of a network of any architecture, with which a checkpoint can rebuild it.

The constructor argument `compression` is a list of changes, which are made in their order after the network
is built. A change is a dictionary, so that the header of a checkpoint holds it as JSON:

    {"change": "fold", "layers": {"2": "1"}}               normalization 2 is folded into layer 1
    {"change": "resize", "attributes": {"1": {"out_channels": 16}}, "shapes": {"1.weight": [16, 1, 3, 3]}}
    {"change": "quantize_weights", "bits": {"1": 8}, "rounded_scales": true}   weights of layer 1 are integers
    {"change": "quantize_inputs", "ranges": {"1": [0.02, 0]}}   so is its input: scale and zero point
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from digitcli.errors import UsageError

Change = Mapping[str, Any]
Values = TypeVar("Values", Tensor, npt.NDArray[Any])
UINT8_MAX = 255
BITS = (8, 4)  # of weights that are integers
SCALE_STEPS = 8  # of a rounded scale from one power of two to the next: neighbours differ by 9 %
SCALE_RANGE = -24.0, 8 - 1 / SCALE_STEPS  # of the logarithms of rounded scales: their steps fill a byte
FLOAT16_ERROR = 1e-3  # twice the largest relative error of the rounding to 11 bits
SIZES = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels",
    "normalized_shape",
)  # fmt: skip  # the attributes of layers that a pruning changes
WEIGHT = "weight"
ORIGINAL = ".parametrizations.weight.original"  # the name of quantized weights in a state dict
LOG_SCALE = ".parametrizations.weight.0.log_scale"


def apply_changes(network: nn.Module, changes: Sequence[Change]) -> None:
    """Make changes to a network in place. New weights are not initialized: a checkpoint has their values.

    Raises:
        UsageError: a change is unknown.
        KeyError, AttributeError, TypeError, ValueError: a change does not fit the network.
    """
    for change in changes:
        match change["change"]:
            case "fold":
                for normalization, name in change["layers"].items():
                    _remove_normalization(network, normalization, network.get_submodule(name))
            case "resize":
                _resize(network, change["attributes"], change["shapes"])
            case "quantize_weights":
                for name, bits, rounded in _quantizations([change]):
                    layer: Any = network.get_submodule(name)
                    quantizer = QuantizedWeight(bits, layer.weight.shape[0], rounded)
                    parametrize.register_parametrization(layer, WEIGHT, quantizer)
            case "quantize_inputs":
                for name, (scale, zero_point) in change["ranges"].items():
                    layer = network.get_submodule(name)
                    layer.input_quantizer = QuantizedInput(scale, zero_point)
                    layer.register_forward_pre_hook(_quantize_input)
            case unknown:
                cause = f"This version of digitcli knows no compression '{unknown}'."
                raise UsageError(cause, "Compress the model again, or use the version that wrote it.")


def _remove_normalization(network: nn.Module, name: str, layer: Any) -> None:
    """Replace a normalization by nothing; the layer before it takes over its scale and shift."""
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(layer.weight.shape[0]))
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())


def _resize(
    network: nn.Module, attributes: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Set sizes of layers, and give their tensors smaller shapes.

    A checkpoint may come from anybody: nothing but sizes is set, and nothing becomes larger.
    """
    for name, values in attributes.items():
        layer = network.get_submodule(name)
        for attribute, value in values.items():
            if attribute not in SIZES or not _is_smaller(value, getattr(layer, attribute)):
                raise ValueError(f"{name}.{attribute} cannot become {value}")
            setattr(layer, attribute, tuple(value) if isinstance(value, list) else value)
    tensors = network.state_dict()
    for name, shape in shapes.items():
        if not _is_smaller(shape, tensors[name].shape):
            raise ValueError(f"{name} cannot have the shape {shape}")
        owner, _, own = name.rpartition(".")
        layer = network.get_submodule(owner)
        old = getattr(layer, own)
        tensor = old.new_ones(_sizes(shape))
        setattr(layer, own, nn.Parameter(tensor) if isinstance(old, nn.Parameter) else tensor)


def _sizes(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _is_smaller(value: int | Sequence[int], old: int | Sequence[int]) -> bool:
    sizes, limits = _sizes(value), _sizes(old)
    return len(sizes) == len(limits) and all(
        type(size) is int and 0 < size <= limit for size, limit in zip(sizes, limits, strict=True)
    )


def largest_integer(bits: int) -> int:
    """Return the largest integer of a weight; the least one is its negative, so that zero is exact."""
    return (1 << bits - 1) - 1


class QuantizedWeight(nn.Module):
    """Weights as integers with one learned scale for each output channel; training sees the rounded weights.

    Esser et al., "Learned step size quantization", 2020: the gradient passes through the rounding as if it
    were not there (Bengio, Léonard & Courville, 2013), and trains the scale as well. Jain et al., "Trained
    quantization thresholds for accurate and efficient fixed-point inference of deep neural networks", 2020,
    learn its logarithm, because the steps of Adam do not depend on the size of a parameter.

    rounded: whether the logarithm is rounded, too, so that a byte holds it; otherwise it becomes a float16.
    """

    def __init__(self, bits: int, channels: int, rounded: bool = True) -> None:
        super().__init__()
        if type(bits) is not int or bits not in BITS:
            raise ValueError(f"weights cannot have {bits} bits")
        self.bits, self.rounded = bits, rounded
        self.log_scale = nn.Parameter(torch.zeros(channels))  # to base 2

    @property
    def scale(self) -> Tensor:
        """The scale of each output channel (C,)."""
        if not self.rounded:
            return self.log_scale.exp2()
        return (_round_in_forward(SCALE_STEPS * self.log_scale.clamp(*SCALE_RANGE)) / SCALE_STEPS).exp2()

    def forward(self, weight: Tensor) -> Tensor:  # noqa: D102
        limit, scale = largest_integer(self.bits), per_channel(self.scale, weight.ndim)
        return _round_in_forward((weight / scale).clamp(-limit, limit)) * scale


def per_channel(values: Values, dimensions: int) -> Values:
    """Return values (C,) in a shape that multiplies weights (C, ...) channel by channel."""
    return values.reshape(-1, *(1,) * (dimensions - 1))


class QuantizedInput(nn.Module):
    """The input of a layer as integers from 0 to 255, times a scale that calibration has chosen.

    Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018.
    """

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        if not 0 < scale < math.inf or type(zero_point) is not int or not 0 <= zero_point <= UINT8_MAX:
            raise ValueError(f"an input cannot have the scale {scale} and the zero point {zero_point}")
        self.scale, self.zero_point = scale, zero_point

    def forward(self, values: Tensor) -> Tensor:  # noqa: D102
        integers = _round_in_forward(values.float() / self.scale) + self.zero_point
        rounded = (integers.clamp(0, UINT8_MAX) - self.zero_point) * self.scale
        return rounded.to(values.dtype)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale:.4g}, zero_point={self.zero_point}"


def _round_in_forward(values: Tensor) -> Tensor:
    """Return the nearest integers, whose gradient is that of the values."""
    return values + (values.round() - values).detach() if values.requires_grad else values.round()


def _quantize_input(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (layer.input_quantizer(inputs[0]), *inputs[1:])


def rounds_inputs(network: nn.Module) -> bool:
    """Return whether layers of a network round their inputs to integers."""
    return any(isinstance(layer, QuantizedInput) for layer in network.modules())


def quantized_layers(network: nn.Module) -> dict[str, tuple[Any, QuantizedWeight]]:
    """Return the layers whose weights are quantized, with what quantizes them, by their names."""
    parametrized = (each for each in network.named_modules() if parametrize.is_parametrized(each[1], WEIGHT))
    return {name: (layer, layer.parametrizations[WEIGHT][0]) for name, layer in parametrized}


@torch.no_grad()
def with_plain_weights(network: nn.Module) -> nn.Module:
    """Replace quantized weights by the floats that they stand for, which computes the same sooner.

    PyTorch's `remove_parametrizations` would also change the class of the layer, which copies share.
    """
    for layer, _ in quantized_layers(network).values():
        weight = layer.weight
        layer.__class__ = type(layer).__bases__[0]
        del layer.parametrizations
        layer.weight = nn.Parameter(weight)
    return network


def pack(changes: Sequence[Change], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a network as a checkpoint stores them: quantized weights as integers.

    Two integers of 4 bits share a byte, and each rounded scale has one. Other tensors become float16, if that
    changes no number much.
    """
    if not changes:
        return dict(tensors)
    packed = {name: _halved(tensor.detach()) for name, tensor in tensors.items()}
    for layer, bits, rounded in _quantizations(changes):
        weight, log_scale = tensors[layer + ORIGINAL].detach(), tensors[layer + LOG_SCALE].detach()
        if weight.is_floating_point():
            limit = largest_integer(bits)
            if rounded:
                steps = SCALE_STEPS * (log_scale.float().clamp(*SCALE_RANGE) - SCALE_RANGE[0])
                packed[layer + LOG_SCALE] = (steps.round() - 128).to(torch.int8)
            scale = per_channel(_unpack_scales(packed[layer + LOG_SCALE]).exp2(), weight.ndim)
            integers = (weight.float() / scale).round().clamp(-limit, limit).to(torch.int8)
            if bits < BITS[0]:
                integers = torch.from_numpy(pack_integers(integers.cpu().numpy(), bits))
            packed[layer + ORIGINAL] = integers
    return packed


def _halved(tensor: Tensor) -> Tensor:
    """Return floats in 16 bits, or as they are if one is too large for that or loses many of its digits."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    half, least = tensor.half(), FLOAT16_ERROR * float(tensor.abs().max())
    return half if torch.allclose(half.float(), tensor.float(), rtol=FLOAT16_ERROR, atol=least) else tensor


def unpack(
    changes: Sequence[Change], tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint with the floats that its integers stand for.

    shapes: the shapes of the tensors of the network.

    Raises:
        ValueError: the integers do not fit a shape.
    """
    unpacked = dict(tensors)
    for layer, bits, _ in _quantizations(changes):
        name = layer + ORIGINAL
        integers, shape = unpacked.get(name), shapes.get(name)
        if integers is None or shape is None or integers.is_floating_point():
            continue
        if bits < BITS[0]:
            integers = torch.from_numpy(_unpack_integers(integers.numpy(), shape.numel()))
        unpacked[layer + LOG_SCALE] = log_scale = _unpack_scales(unpacked[layer + LOG_SCALE])
        unpacked[name] = integers.view(shape).float() * per_channel(log_scale.exp2(), len(shape))
    return unpacked


def _quantizations(changes: Sequence[Change]) -> Iterator[tuple[str, int, bool]]:
    """Yield each layer with quantized weights, their bits, and whether its scales are rounded."""
    for change in changes:
        if change["change"] == "quantize_weights":
            for name, bits in change["bits"].items():
                yield name, bits, change.get("rounded_scales", False)


def _unpack_scales(packed: Tensor) -> Tensor:
    """Return logarithms of scales, whose bytes are the number of steps above the least one, minus 128."""
    if packed.is_floating_point():
        return packed.float()
    return (packed.float() + 128) / SCALE_STEPS + SCALE_RANGE[0]


def pack_integers(integers: npt.NDArray[np.int8], bits: int) -> npt.NDArray[Any]:
    """Return integers of 8 bits in a row, and those of 4 bits two in a byte, the first in its lower half.

    8 is added to each of the latter, so that none is negative.
    """
    row = integers.ravel()
    if bits == BITS[0]:
        return row
    halves = np.append((row + 8).astype(np.uint8), np.zeros(row.size % 2, np.uint8))
    return halves[::2] | halves[1::2] << 4


def _unpack_integers(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int8]:
    if packed.size != -(-count // 2):
        raise ValueError(f"{packed.size} bytes do not hold {count} integers of 4 bits")
    return np.stack((packed & 15, packed >> 4), axis=1).ravel()[:count].astype(np.int8) - np.int8(8)
