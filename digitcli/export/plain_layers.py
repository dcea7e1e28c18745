"""A network as a chain of plain layers, which C and JavaScript can compute with a few small functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from digitcli.architectures.compression import WEIGHT, QuantizedInput, per_channel
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
CONVERTED = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, QuantizedInput, Normalize, Deslant, LocalContrast, nn.Conv2d,
    nn.Linear, _BatchNorm, ScaleAndShift, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.PixelUnshuffle,
)  # fmt: skip
WEIGHTED: tuple[Kind, ...] = ("convolution", "linear")
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
    scales, bits: where the weights are integers of so many bits times a scale for each map or output, these
        scales; None and 0 where they are any floats.
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
    def integers(self) -> npt.NDArray[np.int8]:
        """The integers that quantized weights are."""
        assert self.weights is not None and self.scales is not None
        rows = np.round(self.weights / per_channel(self.scales, self.weights.ndim))
        return np.asarray(rows, np.int8)

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
        shape_in, layer = tuple(values.shape[1:]), None
        has_effect = not _is_one_of(module, WITHOUT_EFFECT)
        is_known = not has_effect or _is_one_of(module, CONVERTED)
        with torch.inference_mode():
            try:
                values = module(values) if is_known else values
            except RuntimeError:  # its settings do not fit the image, as in a network of lines
                is_known = False
        if is_known and has_effect:
            layer = _plain(name, module, shape_in, tuple(values.shape[1:]))
            is_known = layer is not None
        if not is_known:
            raise _not_supported(module, architecture, format)
        layers += [layer] if layer else []
    if not layers or prod(layers[-1].shape) != 10 or prod(layers[0].shape_in) != prod(INPUT):
        raise _not_supported(network, architecture, format)
    return tuple(_fold(layers))


def _not_supported(module: nn.Module, architecture: str, format: str) -> UsageError:
    """Return the error about a layer, or a setting of it, that plain layers do not have."""
    kinds = ", ".join(kind.replace("_", " ") for kind in get_args(Kind))
    layer = f"the layer {module}" if len(str(module)) <= 200 else f"a layer {type(module).__name__}"
    cause = f"The format {format} cannot hold {architecture}: it has {layer}."
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


def _plain(name: str, module: Any, shape_in: Shape, shape: Shape) -> PlainLayer | None:
    """Return a layer of PyTorch as a plain layer; None if it cannot be one."""

    def layer(kind: Kind, weights: Any = None, biases: Any = None, **numbers: Any) -> PlainLayer:
        return PlainLayer(name, kind, shape_in, shape, numbers, weights, biases)

    is_image = shape_in[0] == 1 and shape_in[1:2] == shape_in[2:]
    match module:
        case nn.ReLU():
            return layer("relu")
        case nn.Tanh():
            return layer("tanh")
        case nn.Sigmoid():
            return layer("sigmoid")
        case nn.LeakyReLU():
            return layer("leaky_relu", slope=module.negative_slope)
        case QuantizedInput():
            return layer("quantize", scale=module.scale, zero_point=module.zero_point)
        case Normalize():
            return layer("normalize", mean=MNIST_MEAN, deviation=MNIST_DEVIATION)
        case Deslant() if is_image:
            return layer("deslant", least_ink=LEAST_INK, least_variance=LEAST_VARIANCE)
        case LocalContrast() if is_image:
            return layer("local_contrast", _array(window_weights(shape_in[-1], torch.zeros(1))))
        case nn.MaxPool2d() if _pair(module.dilation) == (1, 1) and not module.return_indices:
            return layer("max_pool", **_window(module))
        case nn.AvgPool2d() if not (
            any(_pair(module.padding)) or module.ceil_mode or module.divisor_override
        ):
            return layer("average_pool", **_window(module))
        case nn.AdaptiveAvgPool2d() if shape[1:] == (1, 1):
            return layer("global_average")
        case nn.PixelUnshuffle():
            return layer("pixel_unshuffle", factor=module.downscale_factor)
        case nn.Conv2d() if not isinstance(module.padding, str):
            is_plain = module.dilation == (1, 1) and module.padding_mode == "zeros"
            convolution = layer("convolution", **_window(module), groups=module.groups)
            return _with_weights(convolution, module) if is_plain else None
        case nn.Linear() if len(shape_in) == 1:
            return _with_weights(layer("linear"), module)
        case ScaleAndShift():
            return _with_weights(layer("scale"), module)
        case _BatchNorm() if module.running_mean is not None:
            return layer("scale", *_batch_norm(module))
    return None


def _with_weights(layer: PlainLayer, module: Any) -> PlainLayer:
    biases = torch.zeros(len(module.weight)) if module.bias is None else module.bias
    layer = replace(layer, weights=_array(module.weight), biases=_array(biases))
    if not parametrize.is_parametrized(module, WEIGHT):
        return layer
    quantizer = module.parametrizations[WEIGHT][0]
    return replace(layer, scales=_array(quantizer.scale), bits=quantizer.bits)


def _batch_norm(module: Any) -> tuple[Array, Array]:
    """Return the factor and the shift of each channel."""
    mean, variance = _array(module.running_mean, np.float64), _array(module.running_var, np.float64)
    factors, shifts = 1 / np.sqrt(variance + module.eps), np.zeros_like(mean)
    if module.affine:
        factors, shifts = factors * _array(module.weight), _array(module.bias, np.float64)
    return factors.astype(np.float32), (shifts - mean * factors).astype(np.float32)


def _window(module: Any) -> dict[str, Any]:
    """Return the settings of a window that moves over maps."""
    names = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
    return {name: _pair(number) for name, number in names.items()}


def _pair(number: int | tuple[int, int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else number


def _array(tensor: Tensor, dtype: Any = np.float32) -> npt.NDArray[Any]:
    return np.asarray(tensor.detach().cpu().float().numpy(), dtype)


def _fold(layers: list[PlainLayer]) -> list[PlainLayer]:
    """Multiply the factors of a batch normalization into the convolution or linear layer before it.

    Behind a layer that flattens maps of several pixels, it has a factor for each pixel, and stays a layer.
    """
    folded: list[PlainLayer] = []
    for layer in layers:
        before = folded[-1] if folded else None
        if before and layer.kind == "scale" and before.kind in WEIGHTED and before.shape[0] == layer.shape[0]:
            assert before.weights is not None and before.biases is not None
            assert layer.weights is not None and layer.biases is not None
            factors = layer.weights.astype(np.float64)
            scales = before.scales
            if scales is not None:  # a factor of 0 leaves no weights, of any scale
                scales = (scales * np.where(factors == 0, 1, np.abs(factors))).astype(np.float32)
            folded[-1] = replace(
                before,
                name=f"{before.name}, {layer.name}",
                weights=(before.weights * per_channel(factors, before.weights.ndim)).astype(np.float32),
                biases=(before.biases * factors + layer.biases).astype(np.float32),
                scales=scales,
            )
        else:
            folded.append(layer)
    return folded


def count_weights(layers: tuple[PlainLayer, ...]) -> int:
    """Return the number of weights and biases that were learned."""
    learned = [layer for layer in layers if layer.biases is not None]
    return sum(
        array.size for layer in learned for array in (layer.weights, layer.biases) if array is not None
    )
