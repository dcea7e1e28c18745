"""The steps of a C program: the constants of a layer, the buffer it writes, and the call of its function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.architectures.compression import pack_integers
from digitcli.export.integer_layers import IntegerLayer
from digitcli.export.plain_layers import ELEMENTWISE, WEIGHTED, PlainLayer, Shape

WIDTH = 100  # characters of a line of numbers
FLOAT_BYTES = 4
SLOPE_ONE = 2**31  # the factor 1 of negative sums as a fixed-point number
CURVES = {"tanh": "tanhf", "sigmoid": "sigmoid_curve"}  # functions of C for one value
AXES = {4: "map, channel, row, column", 2: "output, input", 1: "channel"}  # by the number of axes of weights
Unit = PlainLayer | IntegerLayer


@dataclass(frozen=True)
class CArray:
    """A constant array of the program."""

    type: str
    name: str
    values: npt.NDArray[Any]
    meaning: str


@dataclass(frozen=True)
class Record:
    """A constant struct of the program, with its fields as lines of text."""

    type: str
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A call of a function of the program, with the constants that it needs."""

    title: str
    shape_in: Shape
    shape: Shape
    arrays: tuple[CArray, ...]
    records: tuple[Record, ...]
    call: str

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.call.partition("(")[0]


@dataclass(frozen=True)
class Place:
    """Where a step writes: the buffer `a` or `b`, or `logits`; integers from 0 to 255, or floats."""

    buffer: str
    holds_integers: bool
    count: int


def assign_places(units: Sequence[Unit]) -> list[Place]:
    """Return where each unit writes.

    A layer that works on each value by itself overwrites its input, unless that is the image or has values of
    another type.
    """
    places: list[Place] = []
    current = "pixels"
    for unit, following in zip(units, [*units[1:], None], strict=True):
        if isinstance(unit, IntegerLayer):
            holds_integers, overwrites = unit.output is not None, False
        else:
            holds_integers = unit.kind == "quantize" and isinstance(following, IntegerLayer)
            overwrites = unit.kind in ELEMENTWISE and current != "pixels" and not holds_integers
        if following is None:
            current = "logits"
        elif not overwrites:
            current = "b" if current == "a" else "a"
        places.append(Place(current, holds_integers, prod(unit.shape)))
    return places


def make_steps(units: Sequence[Unit], places: Sequence[Place], quantized: bool, packed: bool) -> list[Step]:
    """Return the step of each unit.

    quantized: whether weights are integers of 8 bits or less.
    packed: whether two integers of 4 bits share a byte.
    """
    has_integers = any(isinstance(unit, IntegerLayer) for unit in units)
    targets = [_expression(place, has_integers) for place in places]
    return [
        _integer_step(unit, source, target, packed)
        if isinstance(unit, IntegerLayer)
        else _plain_step(unit, place, source, target, quantized, packed)
        for unit, place, source, target in zip(units, places, ["pixels", *targets], targets, strict=False)
    ]


def _expression(place: Place, has_integers: bool) -> str:
    if place.buffer == "logits":
        return place.buffer
    member = f".{'integers' if place.holds_integers else 'floats'}" if has_integers else ""
    return f"buffer_{place.buffer}{member}"


def declare_buffers(units: Sequence[Unit], places: Sequence[Place]) -> tuple[list[str], int]:
    """Return the declarations of the buffers, and the bytes that they take."""
    has_integers = any(isinstance(unit, IntegerLayer) for unit in units)
    declarations, total = [], 0
    for name in "ab":
        own = [place for place in places if place.buffer == name]
        floats, integers = (
            max((place.count for place in own if place.holds_integers is kind), default=0)
            for kind in (False, True)
        )
        members = [f"float floats[{floats}];"] if floats else []
        members += [f"uint8_t integers[{integers}];"] if integers else []
        if members:
            kind = f"union {{ {' '.join(members)} }}" if has_integers else "float"
            size = "" if has_integers else f"[{floats}]"
            declarations.append(f"static {kind} buffer_{name}{size};")
        total += max(FLOAT_BYTES * floats, integers)
    return declarations, total


def _id(layer: PlainLayer) -> str:
    return "layer_" + re.sub(r"\W", "_", layer.name.partition(",")[0])


def _plain_step(
    layer: PlainLayer, place: Place, source: str, target: str, quantized: bool, packed: bool
) -> Step:
    id, is_weighted = _id(layer), layer.kind in WEIGHTED
    arrays = []
    if layer.weights is not None:
        if quantized and is_weighted:
            assert layer.scales is not None
            arrays.append(_weights_array(id, layer.integers, packed))
            arrays.append(_array(f"{id}_scales", "float", layer.scales))
        else:
            meaning = f"{format_shape(layer.weights.shape)}: {AXES[layer.weights.ndim]}"
            kind = "weight" if is_weighted else "float"
            arrays.append(CArray(kind, f"{id}_weights", layer.weights, meaning))
    if layer.biases is not None:
        arrays.append(_array(f"{id}_biases", "float", layer.biases))
    records = [Record("window", f"{id}_window", _window(layer))] if "kernel" in layer.numbers else []
    if is_weighted:
        records.append(Record("parameters", f"{id}_parameters", (", ".join(a.name for a in arrays),)))
    call = _call(id, layer, source, target)
    if place.holds_integers:
        call = call.replace("quantize(", "quantize_to_integers(")
    title = f"{layer.name}: {layer.title}"
    return Step(title, layer.shape_in, layer.shape, tuple(arrays), tuple(records), call)


def _array(name: str, type: str, values: npt.NDArray[Any]) -> CArray:
    return CArray(type, name, values, f"{values.size}")


def _weights_array(id: str, integers: npt.NDArray[np.int8], packed: bool) -> CArray:
    meaning = f"{format_shape(integers.shape)}: {AXES[integers.ndim]}"
    if not packed:
        return CArray("weight", f"{id}_weights", integers, meaning)
    return CArray("uint8_t", f"{id}_weights", pack_integers(integers, 4), f"{meaning}; 4 bits each")


def format_numbers(values: npt.NDArray[Any]) -> str:
    """Return the numbers of an array, separated by commas, in lines of limited width."""
    return "\n".join(_lines(map(format_number, values.ravel())))


def _lines(words: Iterable[str]) -> Iterable[str]:
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {word},"
    yield line


def format_number(value: Any) -> str:
    """Return a number as a constant of C; nine digits tell every float32 from the others."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def format_shape(shape: Shape) -> str:
    """Return a shape as in `16 x 7 x 7`."""
    return " x ".join(map(str, shape))


def _window(layer: PlainLayer) -> tuple[str, ...]:
    """Return the window that moves over the maps of a layer.

    That of a linear layer is one row which is as long as its input, and that of a global average is the map.
    """
    shape_in, shape, numbers = layer.shape_in, layer.shape, layer.numbers
    groups = numbers.get("groups")
    if layer.kind == "linear":
        shape_in, shape, groups = (1, 1, *shape_in), (*shape, 1, 1), 1
    kernel = numbers.get("kernel", shape_in[1:])
    stride, padding = numbers.get("stride", (1, 1)), numbers.get("padding", (0, 0))
    return (
        f".channels = {shape_in[0]}, .rows = {shape_in[1]}, .columns = {shape_in[2]},",
        f".maps = {shape[0]}, .rows_out = {shape[1]}, .columns_out = {shape[2]},",
        f".kernel_rows = {kernel[0]}, .kernel_columns = {kernel[1]},",
        f".stride_rows = {stride[0]}, .stride_columns = {stride[1]},",
        f".padding_rows = {padding[0]}, .padding_columns = {padding[1]},",
        *(() if groups is None else (f".groups = {groups},",)),
    )


def _integer_step(unit: IntegerLayer, source: str, target: str, packed: bool) -> Step:
    layer = unit.layers[0]
    id = _id(layer)
    arrays = [
        _weights_array(id, unit.integers, packed),
        _array(f"{id}_biases", "int32_t", unit.biases),
    ]
    names = f".weights = {arrays[0].name}, .biases = {arrays[1].name},"
    records = [
        Record("window", f"{id}_window", _window(layer)),
        Record("integer_parameters", f"{id}_parameters", (names, f".zero_point = {unit.zero_point},")),
    ]
    pool = "0"
    if unit.pool is not None:
        records.append(Record("window", f"{id}_pool", _window(unit.pool)))
        pool = f"&{id}_pool"
    if unit.output is None:
        function, kind = "convolve_to_floats", "float_outputs"
        arrays.append(_array(f"{id}_scales", "float", unit.scales))
        curve = (f".curve = {CURVES[unit.curve]},",) if unit.curve else ()
        lines = (f".scales = {id}_scales, .slope = {format_number(unit.slope)},", *curve)
    else:
        function, kind = "convolve_to_integers", "integer_outputs"
        arrays.append(_array(f"{id}_multipliers", "int32_t", unit.multipliers))
        arrays.append(_array(f"{id}_shifts", "uint8_t", unit.shifts))
        slope = f".slope = {round(unit.slope * SLOPE_ONE)}u"
        lines = (
            f".multipliers = {id}_multipliers, .shifts = {id}_shifts,",
            f"{slope}, .zero_point = {unit.output.numbers['zero_point']},",
        )
    records.append(Record(kind, f"{id}_outputs", lines))
    call = f"{function}({source}, &{id}_window, &{id}_parameters, {pool}, &{id}_outputs, {target});"
    title = "; ".join(f"{each.name}: {each.title}" for each in unit.layers)
    return Step(title, layer.shape_in, unit.shape, tuple(arrays), tuple(records), call)


def _call(id: str, layer: PlainLayer, source: str, target: str) -> str:
    """Return the call of the function that computes a layer with floats."""
    count, pixels = prod(layer.shape), prod(layer.shape_in[1:])
    channels, numbers = layer.shape_in[0], layer.numbers
    match layer.kind:
        case "convolution":
            return f"convolve({source}, &{id}_window, &{id}_parameters, {target});"
        case "linear":
            return f"multiply({source}, {channels}, {count}, &{id}_parameters, {target});"
        case "scale":
            return f"scale({source}, {channels}, {pixels}, {id}_weights, {id}_biases, {target});"
        case "max_pool" | "average_pool":
            return f"{layer.kind}({source}, &{id}_window, {target});"
        case "global_average":
            return f"global_average({source}, {channels}, {pixels}, {target});"
        case "pixel_unshuffle":
            sides = ", ".join(map(str, layer.shape_in))
            return f"pixel_unshuffle({source}, {sides}, {numbers['factor']}, {target});"
        case "local_contrast":
            return f"local_contrast({source}, {layer.shape[1]}, {id}_weights, {target});"
        case "tanh":
            return f"hyperbolic_tangent({source}, {count}, {target});"
        case kind:  # with its numbers, in their order
            size = layer.shape[1] if kind == "deslant" else count
            constants = (
                value if name == "zero_point" else format_number(value) for name, value in numbers.items()
            )
            return f"{kind}({', '.join(map(str, (source, size, *constants, target)))});"
