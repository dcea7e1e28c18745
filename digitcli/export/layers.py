"""A network as a chain of plain layers, which C and JavaScript can compute with a few small functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from digitcli.architectures.compression import WEIGHT, QuantizedInput
from digitcli.architectures.layers import (
    LEAST_INK,
    LEAST_VARIANCE,
    MNIST_DEVIATION,
    MNIST_MEAN,
    Deslant,
    DropPath,
    LocalContrast,
    Normalize,
    window_weights,
)
from digitcli.architectures.model_surgery import ScaleAndShift
from digitcli.errors import UsageError

Kind = Literal[
    "deslant", "normalize", "local_contrast", "convolution", "linear", "scale", "max_pool", "average_pool",
    "global_average", "pixel_unshuffle", "relu", "leaky_relu", "tanh", "sigmoid", "quantize",
]  # fmt: skip
Shape = tuple[int, ...]  # C, H, W, or one number of values
Array = npt.NDArray[np.float32]
INPUT: Shape = (1, 28, 28)
WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.Dropout2d, DropPath, nn.Flatten)
ACTIVATIONS: Mapping[type[nn.Module], Kind] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
ELEMENTWISE: tuple[Kind, ...] = ("normalize", "scale", "relu", "leaky_relu", "tanh", "sigmoid", "quantize")


@dataclass(frozen=True)
class PlainLayer:
    """A layer whose input and output are arrays of float32 in the order channel, row, column.

    name: the layers of the network that it computes, e.g. `2` or `5, 6` for a folded batch normalization.
    shape_in, shape: the shapes of the input and the output for one image.
    numbers: the settings of its kind, e.g. `kernel_height` or `slope`.
    weights: (maps, channels of a group, height, width) of a convolution, (outputs, inputs) of a linear layer,
        (pixels, neighbours) of the window of local contrast, or one factor for each channel.
    biases: one number for each map, output or channel.
    scales, bits: where the weights are integers of so many bits times a scale for each map or output, as in a
        model that `digitcli compress` has quantized, these scales; None and 0 where they are any floats.
    """

    name: str
    kind: Kind
    shape_in: Shape
    shape: Shape
    numbers: Mapping[str, Any]
    weights: Array | None = None
    biases: Array | None = None
    scales: Array | None = None
    bits: int = 0

    @property
    def title(self) -> str:
        """What the layer is, in words."""
        numbers, words = self.numbers, self.kind.replace("_", " ")
        if "kernel" in numbers:
            words += " {}x{}".format(*numbers["kernel"])
        if self.kind == "convolution":
            words = f"depthwise {words}" if numbers["groups"] == self.shape_in[0] > 1 else words
            words += ", stride {}x{}".format(*numbers["stride"]) * (numbers["stride"] != (1, 1))
            words += ", padding {}x{}".format(*numbers["padding"]) * (numbers["padding"] != (0, 0))
        return words + (", batch normalization folded in" if ", " in self.name else "")


@torch.no_grad()
def plain_layers(network: nn.Module, architecture: str, format: str) -> tuple[PlainLayer, ...]:
    """Return the layers of a network, with each batch normalization folded into the layer before it.

    network: as `load_network` gives it, if the layers shall know the scales of quantized weights.

    Raises:
        UsageError: the network has a layer that is not in the list of kinds.
    """
    layers: list[PlainLayer] = []
    values = torch.zeros(1, *INPUT)
    for name, module in _chain(network):
        if not _is_one_of(module, WITHOUT_EFFECT + CONVERTED):
            raise _not_supported(module, architecture, format)
        with torch.inference_mode():
            try:
                output = module(values)
            except RuntimeError as error:  # its settings do not fit the image, as in a network of lines
                raise _not_supported(module, architecture, format) from error
        layer = _plain(name, module, tuple(values.shape[1:]), tuple(output.shape[1:]))
        if layer is None and not isinstance(module, WITHOUT_EFFECT):
            raise _not_supported(module, architecture, format)
        layers += [layer] if layer else []
        values = output
    if not layers or prod(layers[-1].shape) != 10 or prod(layers[0].shape_in) != prod(INPUT):
        raise _not_supported(network, architecture, format)
    return tuple(_fold(layers))


def _not_supported(module: nn.Module, architecture: str, format: str) -> UsageError:
    """Return the error about a layer, or a setting of it, that plain layers do not have."""
    kinds = ", ".join(kind.replace("_", " ") for kind in get_args(Kind))
    cause = f"The format {format} cannot hold {architecture}: it has the layer {module}."
    if len(str(module)) > 200:
        cause = f"The format {format} cannot hold {architecture}: it has a layer {type(module).__name__}."
    remedy = f"It holds chains of {kinds}, e.g. fast, tiny or lenet5. Give --to onnx for other networks."
    return UsageError(cause, remedy)


def _chain(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a chain with their names in the network; chains inside it are opened.

    What quantizes the input of a layer is a layer before it.
    """
    if not _is_one_of(network, (nn.Sequential,)):
        if isinstance(quantizer := getattr(network, "input_quantizer", None), QuantizedInput):
            yield f"{prefix}.input_quantizer", quantizer
        yield prefix or "network", network
        return
    for name, child in network._modules.items():  # a layer that stands in it twice is computed twice
        if child is not None:
            yield from _chain(child, f"{prefix}.{name}".lstrip("."))


def _is_one_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Return whether a layer is of one of these kinds, and computes what they compute."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _plain(name: str, module: nn.Module, shape_in: Shape, shape: Shape) -> PlainLayer | None:
    """Return a layer of PyTorch as a plain layer; None if it has no effect or cannot be one."""
    layer = PlainLayer(name, "relu", shape_in, shape, {})
    for kinds, convert in CONVERSIONS:
        if isinstance(module, kinds):
            return convert(module, layer)
    return None


def _activation(module: nn.Module, layer: PlainLayer) -> PlainLayer:
    return replace(layer, kind=next(name for kind, name in ACTIVATIONS.items() if isinstance(module, kind)))


def _leaky_relu(module: Any, layer: PlainLayer) -> PlainLayer:
    return replace(layer, kind="leaky_relu", numbers={"slope": module.negative_slope})


def _quantize(module: Any, layer: PlainLayer) -> PlainLayer:
    return replace(layer, kind="quantize", numbers={"scale": module.scale, "zero_point": module.zero_point})


def _normalize(module: nn.Module, layer: PlainLayer) -> PlainLayer:
    return replace(layer, kind="normalize", numbers={"mean": MNIST_MEAN, "deviation": MNIST_DEVIATION})


def _deslant(module: nn.Module, layer: PlainLayer) -> PlainLayer | None:
    channels, height, width = layer.shape_in
    if channels != 1 or height != width:
        return None
    numbers = {"least_ink": LEAST_INK, "least_variance": LEAST_VARIANCE}
    return replace(layer, kind="deslant", numbers=numbers)


def _local_contrast(module: nn.Module, layer: PlainLayer) -> PlainLayer | None:
    channels, height, width = layer.shape_in
    if channels != 1 or height != width:
        return None
    return replace(layer, kind="local_contrast", weights=_array(window_weights(width, torch.zeros(1))))


def _convolution(module: Any, layer: PlainLayer) -> PlainLayer | None:
    if module.dilation != (1, 1) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    numbers = {
        "kernel": module.kernel_size,
        "stride": module.stride,
        "padding": module.padding,
        "groups": module.groups,
    }
    return _with_parameters(module, replace(layer, kind="convolution", numbers=numbers))


def _linear(module: Any, layer: PlainLayer) -> PlainLayer | None:
    return _with_parameters(module, replace(layer, kind="linear")) if len(layer.shape_in) == 1 else None


def _with_parameters(module: Any, layer: PlainLayer) -> PlainLayer:
    weights = module.weight
    biases = torch.zeros(len(weights)) if module.bias is None else module.bias
    layer = replace(layer, weights=_array(weights), biases=_array(biases))
    if not parametrize.is_parametrized(module, WEIGHT):
        return layer
    quantizer = module.parametrizations[WEIGHT][0]
    return replace(layer, scales=_array(quantizer.log_scale.exp2()), bits=quantizer.bits)


def _batch_norm(module: Any, layer: PlainLayer) -> PlainLayer | None:
    if module.running_mean is None:
        return None
    mean, variance = _array(module.running_mean, np.float64), _array(module.running_var, np.float64)
    factors = 1 / np.sqrt(variance + module.eps)
    shifts = np.zeros_like(mean)
    if module.affine:
        factors, shifts = factors * _array(module.weight), _array(module.bias, np.float64)
    shifts = shifts - mean * factors
    return replace(layer, kind="scale", weights=factors.astype(np.float32), biases=shifts.astype(np.float32))


def _scale(module: Any, layer: PlainLayer) -> PlainLayer:
    return _with_parameters(module, replace(layer, kind="scale"))


def _max_pool(module: Any, layer: PlainLayer) -> PlainLayer | None:
    if _pair(module.dilation) != (1, 1) or module.return_indices:
        return None
    return replace(layer, kind="max_pool", numbers=_window(module))


def _average_pool(module: Any, layer: PlainLayer) -> PlainLayer | None:
    if _pair(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override:
        return None
    return replace(layer, kind="average_pool", numbers=_window(module))


def _window(module: Any) -> dict[str, tuple[int, int]]:
    """Return the settings of a pooling."""
    names = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
    return {name: _pair(number) for name, number in names.items()}


def _pair(number: int | tuple[int, int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else number


def _global_average(module: Any, layer: PlainLayer) -> PlainLayer | None:
    return replace(layer, kind="global_average") if layer.shape[1:] == (1, 1) else None


def _pixel_unshuffle(module: Any, layer: PlainLayer) -> PlainLayer:
    return replace(layer, kind="pixel_unshuffle", numbers={"factor": module.downscale_factor})


CONVERSIONS: tuple[tuple[Any, Callable[[Any, PlainLayer], PlainLayer | None]], ...] = (
    (tuple(ACTIVATIONS), _activation),
    (nn.LeakyReLU, _leaky_relu),
    (QuantizedInput, _quantize),
    (Normalize, _normalize),
    (Deslant, _deslant),
    (LocalContrast, _local_contrast),
    (nn.Conv2d, _convolution),
    (nn.Linear, _linear),
    (_BatchNorm, _batch_norm),
    (ScaleAndShift, _scale),
    (nn.MaxPool2d, _max_pool),
    (nn.AvgPool2d, _average_pool),
    (nn.AdaptiveAvgPool2d, _global_average),
    (nn.PixelUnshuffle, _pixel_unshuffle),
)

CONVERTED = tuple(
    kind for kinds, _ in CONVERSIONS for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
)


def _array(tensor: Tensor, dtype: Any = np.float32) -> npt.NDArray[Any]:
    return np.asarray(tensor.detach().cpu().float().numpy(), dtype)


def _fold(layers: list[PlainLayer]) -> list[PlainLayer]:
    """Multiply the factors of a batch normalization into the convolution or linear layer before it.

    Behind a layer that flattens maps of several pixels, it has a factor for each pixel, and stays a layer.
    """
    folded: list[PlainLayer] = []
    for layer in layers:
        before = folded[-1] if folded else None
        if layer.kind == "scale" and before is not None and _has_as_many_outputs(before, layer):
            assert before.weights is not None and before.biases is not None
            assert layer.weights is not None and layer.biases is not None
            factors = layer.weights.astype(np.float64)
            scales = None if before.scales is None else (before.scales * np.abs(factors)).astype(np.float32)
            weights = before.weights * factors.reshape(-1, *(1,) * (before.weights.ndim - 1))
            biases = before.biases * factors + layer.biases
            folded[-1] = replace(
                before,
                name=f"{before.name}, {layer.name}",
                weights=weights.astype(np.float32),
                biases=biases.astype(np.float32),
                scales=scales,
            )
        else:
            folded.append(layer)
    return folded


def _has_as_many_outputs(before: PlainLayer, scale: PlainLayer) -> bool:
    """Return whether a layer has weights for each channel of the layer that scales its output."""
    return before.kind in ("convolution", "linear") and before.shape[0] == scale.shape[0]


def count_weights(layers: tuple[PlainLayer, ...]) -> int:
    """Return the number of weights and biases that were learned."""
    learned = [layer for layer in layers if layer.biases is not None]
    arrays = [array for layer in learned for array in (layer.weights, layer.biases) if array is not None]
    return sum(array.size for array in arrays)
