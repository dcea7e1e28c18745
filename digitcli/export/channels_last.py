"""A network as a graph of TensorFlow Lite's operations, on arrays in the order row, column, channel.

Plain layers work on arrays in the order channel, row, column. TensorFlow Lite, and TensorFlow on a CPU,
compute convolutions in the other order only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any, Literal

import numpy as np

from digitcli.architectures.compression import UINT8_MAX
from digitcli.architectures.layers import LEAST_CONTRAST_VARIANCE
from digitcli.export.plain_layers import INPUT, Array, PlainLayer, Shape

OperationKind = Literal[
    "abs", "add", "average_pool_2d", "conv_2d", "depthwise_conv_2d", "div", "fully_connected", "leaky_relu",
    "logistic", "max_pool_2d", "maximum", "mean", "minimum", "mul", "pad", "relu", "reshape", "round", "sqrt",
    "sub", "sum", "tanh", "transpose",
]  # fmt: skip
ANY = -1  # the size of an axis that depends on the number of images
INPUT_NAME, OUTPUT_NAME = "images", "logits"
LOWEST = float(np.finfo(np.float32).min)  # of pixels outside of the map; never the largest in a window


@dataclass(frozen=True)
class Operation:
    """An operation of the graph.

    name: the name of its output, e.g. `5/conv_2d` for a convolution in the layer 5 of the network.
    inputs: the names of its inputs: of constants, of earlier outputs, or `images`.
    shape: the shape of its output.
    settings: what else it needs, e.g. `strides` or `axes`.
    """

    kind: OperationKind
    name: str
    inputs: tuple[str, ...]
    shape: Shape
    settings: Mapping[str, Any]


@dataclass
class Graph:
    """Operations in the order in which they are computed, from `images` (N, 1, 28, 28) to `logits` (N, 10).

    constants: the arrays of the graph by name. The filters of `conv_2d` are (maps, rows, columns, channels
        of a group), of `depthwise_conv_2d` (1, rows, columns, maps); the weights of `fully_connected` are
        (outputs, inputs).
    weights: the axis of the output channels of the constants that may be quantized.
    scales: the scales of those that are integers times a scale for each output channel already.
    shapes: the shapes of the constants and of the outputs; `ANY` stands for the number of images.
    scope: the layer that is being added; the names of its operations and constants begin with it.
    """

    operations: list[Operation] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    scales: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    scope: str = "input"

    def add(self, kind: OperationKind, *inputs: str, shape: Shape | None = None, **settings: Any) -> str:
        """Append an operation, and return the name of its output.

        shape: the shape of the output; by default that to which the inputs are broadcast.
        """
        if shape is None:
            shapes = [self.shapes[each] for each in inputs]
            count = ANY if any(shape[:1] == (ANY,) for shape in shapes) else 1
            shape = (count, *np.broadcast_shapes(*(shape[1:] for shape in shapes)))
        name = self._new_name(kind)
        self.operations.append(Operation(kind, name, inputs, shape, settings))
        self.shapes[name] = shape
        return name

    def reduce(self, kind: OperationKind, x: str, axes: tuple[int, ...]) -> str:
        """Sum or average over axes, which keep the size 1."""
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(self.shapes[x]))
        return self.add(kind, x, shape=shape, axes=axes)

    def transpose(self, x: str, order: tuple[int, ...]) -> str:
        """Bring the axes into an order."""
        return self.add("transpose", x, shape=tuple(self.shapes[x][axis] for axis in order), order=order)

    def constant(self, label: str, values: Any) -> str:
        """Add a constant of float32, and return its name."""
        name = self._new_name(label)
        self.constants[name] = np.ascontiguousarray(values, np.float32)
        self.shapes[name] = self.constants[name].shape
        return name

    def parameters(self, layer: PlainLayer, values: Any, axis: int) -> tuple[str, str]:
        """Add weights with their output channels along an axis, and the biases; return their names."""
        name = self.constant("weights", values)
        self.weights[name] = axis
        if layer.scales is not None:
            self.scales[name] = layer.scales
        return name, self.constant("biases", layer.biases)

    def _new_name(self, label: str) -> str:
        name = f"{self.scope}/{label}"
        count = sum(used == name or used.startswith(f"{name}_") for used in self.shapes)
        return f"{name}_{count}" if count else name


def channels_last(layers: Sequence[PlainLayer]) -> Graph:
    """Return the graph that computes plain layers."""
    graph = Graph(shapes={INPUT_NAME: (ANY, *INPUT)})
    channels, rows, columns = INPUT
    x = graph.add("reshape", INPUT_NAME, shape=(ANY, rows, columns, channels))
    for layer in layers:
        graph.scope = layer.name.partition(",")[0]
        if len(layer.shape_in) == 1:
            x = _flatten(graph, x)
        x = _compute(graph, layer, x)
    graph.scope = "output"
    graph.add("reshape", x, shape=(ANY, prod(layers[-1].shape)))
    graph.operations[-1] = replace(graph.operations[-1], name=OUTPUT_NAME)
    return graph


def _compute(graph: Graph, layer: PlainLayer, x: str) -> str:
    """Add the operations of a layer for the array x, and return the name of its output."""
    numbers = layer.numbers
    match layer.kind:
        case "convolution":
            return _convolution(graph, layer, x)
        case "max_pool":
            return _pool(graph, layer, x, "max_pool_2d", LOWEST)
        case "average_pool":
            return _pool(graph, layer, x, "average_pool_2d", 0.0)
        case "global_average":
            return graph.reduce("mean", x, (1, 2))
        case "linear":
            parameters = graph.parameters(layer, layer.weights, 0)
            return graph.add("fully_connected", x, *parameters, shape=(ANY, *layer.shape))
        case "pixel_unshuffle":
            factor, (channels, rows, columns) = numbers["factor"], layer.shape_in
            blocks = (ANY, rows // factor, factor, columns // factor, factor, channels)
            x = graph.transpose(graph.add("reshape", x, shape=blocks), (0, 1, 3, 5, 2, 4))
            return graph.add("reshape", x, shape=_shape(layer))
        case "leaky_relu":
            return graph.add("leaky_relu", x, slope=numbers["slope"])
        case "relu" | "tanh":
            return graph.add(layer.kind, x)
        case "sigmoid":
            return graph.add("logistic", x)
        case "deslant":
            return _deslant(graph, layer, x)
        case "local_contrast":
            return _local_contrast(graph, layer, x)
    return _with_constants(graph, layer, x)


def _with_constants(graph: Graph, layer: PlainLayer, x: str) -> str:
    """Add a layer that works on each value by itself, with one number for each channel or for all."""
    numbers, axes = layer.numbers, len(graph.shapes[x])

    def constant(label: str, values: Any) -> str:
        return graph.constant(label, np.asarray(values, np.float32).reshape(*(1,) * (axes - 1), -1))

    if layer.kind == "normalize":
        mean, deviation = (constant(label, numbers[label]) for label in ("mean", "deviation"))
        return graph.add("div", graph.add("sub", x, mean), deviation)
    if layer.kind == "scale":
        factors, shifts = constant("weights", layer.weights), constant("biases", layer.biases)
        return graph.add("add", graph.add("mul", x, factors), shifts)
    assert layer.kind == "quantize"
    scale, zero_point = (constant(label, numbers[label]) for label in ("scale", "zero_point"))
    steps = graph.add("add", graph.add("round", graph.add("div", x, scale)), zero_point)
    steps = graph.add("maximum", steps, constant("least", 0))
    steps = graph.add("minimum", steps, constant("largest", UINT8_MAX))
    return graph.add("mul", graph.add("sub", steps, zero_point), scale)


def _flatten(graph: Graph, x: str) -> str:
    """Return values as (N, C * H * W), in the order of PyTorch."""
    if len(graph.shapes[x]) == 2:
        return x
    _, rows, columns, channels = graph.shapes[x]
    if channels > 1 and rows * columns > 1:
        x = graph.transpose(x, (0, 3, 1, 2))
    return graph.add("reshape", x, shape=(ANY, rows * columns * channels))


def _convolution(graph: Graph, layer: PlainLayer, x: str) -> str:
    assert layer.weights is not None
    strides, groups = layer.numbers["stride"], layer.numbers["groups"]
    x, padding = _pad(graph, layer, x, 0.0)
    depthwise = groups == layer.shape_in[0] > 1
    weights = layer.weights.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    parameters = graph.parameters(layer, weights, 3 if depthwise else 0)
    kind: OperationKind = "depthwise_conv_2d" if depthwise else "conv_2d"
    settings = {"strides": strides, "padding": padding, "groups": groups}
    return graph.add(kind, x, *parameters, shape=_shape(layer), **settings)


def _shape(layer: PlainLayer) -> Shape:
    """Return the shape of the output of a layer of maps."""
    channels, rows, columns = layer.shape
    return ANY, rows, columns, channels


def _pad(graph: Graph, layer: PlainLayer, x: str, value: float) -> tuple[str, str]:
    """Return the input of a window with what has to be padded, and the name of the padding that remains.

    `same` of TensorFlow pads so many pixels that the output has the size of the input divided by the stride,
    rounded up, and the larger half of them on the right and below.
    """
    window = (layer.numbers[name] for name in ("kernel", "stride", "padding"))
    padded, same = [], []
    for side, size, kernel, stride, before in zip(layer.shape_in[1:], layer.shape[1:], *window, strict=True):
        needed = max((size - 1) * stride + kernel - side, 0)
        padded.append((before, max(needed - before, 0)))
        same.append(size == ceil(side / stride) and before == needed // 2)
    if not any(before or after for before, after in padded):
        return x, "valid"
    if all(same):
        return x, "same"
    sides = (side + sum(pair) for side, pair in zip(layer.shape_in[1:], padded, strict=True))
    shape = (ANY, *sides, layer.shape_in[0])
    return graph.add("pad", x, shape=shape, paddings=((0, 0), *padded, (0, 0)), value=value), "valid"


def _pool(graph: Graph, layer: PlainLayer, x: str, kind: OperationKind, outside: float) -> str:
    x, padding = _pad(graph, layer, x, outside)
    settings = {"kernel": layer.numbers["kernel"], "strides": layer.numbers["stride"], "padding": padding}
    return graph.add(kind, x, shape=_shape(layer), **settings)


def _deslant(graph: Graph, layer: PlainLayer, x: str) -> str:
    """Shear an image (N, H, W, 1), see `architectures.layers.Deslant`.

    The pixels of a row are interpolated linearly: a pixel counts by 1 less its distance, or not at all.
    """
    side, add = layer.shape_in[1], graph.add
    places, numbers = np.linspace(-1, 1, side, dtype=np.float32), np.arange(side, dtype=np.float32)
    rows = graph.constant("rows", places.reshape(1, -1, 1, 1))
    columns = graph.constant("columns", places.reshape(1, 1, -1, 1))
    squares = graph.constant("squares", places.reshape(1, -1, 1, 1) ** 2)

    def number(value: float) -> str:
        return graph.constant("number", np.full((1, 1, 1, 1), value))

    def total(values: str) -> str:
        return graph.reduce("sum", values, (1, 2, 3))

    by_rows = add("mul", x, rows)
    ink = add("maximum", total(x), number(layer.numbers["least_ink"]))
    row, column = add("div", total(by_rows), ink), add("div", total(add("mul", x, columns)), ink)
    product = add("div", total(add("mul", by_rows, columns)), ink)
    square = add("div", total(add("mul", x, squares)), ink)
    variance = add("sub", square, add("mul", row, row))
    variance = add("maximum", variance, number(layer.numbers["least_variance"]))
    slope = add("div", add("sub", product, add("mul", row, column)), variance)
    shift = add("mul", add("mul", slope, number((side - 1) / 2)), add("sub", rows, row))
    place = add("add", shift, graph.constant("places", numbers.reshape(1, 1, -1, 1)))
    pixels = graph.constant("pixels", numbers.reshape(1, 1, 1, -1))
    share = add("relu", add("sub", number(1), add("abs", add("sub", place, pixels))))  # N, H, W, W
    by_pixel = add("reshape", x, shape=(ANY, side, 1, side))
    return graph.reduce("sum", add("mul", share, by_pixel), (3,))


def _local_contrast(graph: Graph, layer: PlainLayer, x: str) -> str:
    """Normalize the contrast of an image (N, H, W, 1), see `architectures.layers.LocalContrast`."""
    side, add = layer.shape_in[1], graph.add
    window = graph.constant("window", layer.weights)
    no_biases = graph.constant("no_biases", np.zeros(side))
    least = graph.constant("least_variance", np.full((1, 1, 1, 1), LEAST_CONTRAST_VARIANCE))

    def local_mean(values: str) -> str:
        for _ in range(2):  # along the columns, and then along the rows
            values = add("reshape", values, shape=(ANY, side))
            values = add("fully_connected", values, window, no_biases, shape=(ANY, side))
            values = graph.transpose(add("reshape", values, shape=(ANY, side, side, 1)), (0, 2, 1, 3))
        return values

    contrast = add("sub", x, local_mean(x))
    variance = local_mean(add("mul", contrast, contrast))
    deviation = add("sqrt", add("maximum", variance, least))
    return add("div", contrast, add("maximum", deviation, graph.reduce("mean", deviation, (1, 2))))
