"""The steps of a C program: the constants of a layer, the buffer it writes, and the call of its function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.export.integer_layers import IntegerLayer, Multipliers
from digitcli.export.layers import ELEMENTWISE, PlainLayer, Shape
from digitcli.export.quantization import BITS, QUANTIZED_KINDS, IntegerWeights, integer_weights, pack

WIDTH = 100  # characters of a line of numbers
FLOAT_BYTES = 4
SLOPE_ONE = 2**31  # the factor 1 of negative sums as a fixed-point number
CURVES = {"tanh": "tanhf", "sigmoid": "sigmoid_curve"}  # functions of C for one value
Unit = PlainLayer | IntegerLayer


@dataclass(frozen=True)
class CArray:
    """A constant array of the program, with its numbers as lines of text."""

    type: str
    name: str
    size: int
    size_bytes: int
    meaning: str
    lines: str


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
    function: str
    call: str


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
    for number, unit in enumerate(units):
        following = units[number + 1] if number + 1 < len(units) else None
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
    packed: whether these lie packed, with as many bits as each needs.
    """
    has_integers = any(isinstance(unit, IntegerLayer) for unit in units)
    targets = [_expression(place, has_integers) for place in places]
    steps = []
    for unit, place, source, target in zip(units, places, ["pixels", *targets], targets, strict=False):
        if isinstance(unit, IntegerLayer):
            steps.append(_integer_step(unit, source, target, packed))
        else:
            steps.append(_plain_step(unit, place, source, target, quantized, packed))
    return steps


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
        floats, integers = (_largest(places, name, kind) for kind in (False, True))
        members = [f"float floats[{floats}];"] if floats else []
        members += [f"uint8_t integers[{integers}];"] if integers else []
        if members:
            kind = f"union {{ {' '.join(members)} }}" if has_integers else "float"
            size = "" if has_integers else f"[{floats}]"
            declarations.append(f"static {kind} buffer_{name}{size};")
        total += max(FLOAT_BYTES * floats, integers)
    return declarations, total


def _largest(places: Sequence[Place], buffer: str, holds_integers: bool) -> int:
    """Return the largest number of values of a type that a buffer holds."""
    counts = [
        place.count for place in places if place.buffer == buffer and place.holds_integers is holds_integers
    ]
    return max(counts, default=0)


def _id(layer: PlainLayer) -> str:
    return "layer_" + re.sub(r"\W", "_", layer.name.partition(",")[0])


def _title(*layers: PlainLayer) -> str:
    return "; ".join(f"{layer.name}: {layer.title}" for layer in layers)


def _plain_step(
    layer: PlainLayer, place: Place, source: str, target: str, quantized: bool, packed: bool
) -> Step:
    id = _id(layer)
    arrays = _arrays(id, layer, quantized, packed)
    records = []
    if "kernel" in layer.numbers:
        records.append(Record("window", f"{id}_window", _window(layer)))
    if layer.kind in QUANTIZED_KINDS:
        names = [array.name for array in arrays]
        if packed:
            names.insert(1, str(_bits(layer)))
        records.append(Record("parameters", f"{id}_parameters", (", ".join(names),)))
    call = _call(id, layer, source, target)
    if place.holds_integers:
        call = call.replace("quantize(", "quantize_to_integers(")
    function = call.partition("(")[0]
    return Step(_title(layer), layer.shape_in, layer.shape, arrays, tuple(records), function, call)


def _bits(layer: PlainLayer) -> int:
    return layer.bits or BITS


def _arrays(id: str, layer: PlainLayer, quantized: bool, packed: bool) -> tuple[CArray, ...]:
    """Return the arrays of a layer in the order of the struct `parameters`."""
    if layer.weights is None:
        return ()
    if quantized and layer.kind in QUANTIZED_KINDS:
        assert layer.biases is not None
        weights = integer_weights(layer)
        return (
            _weights_array(id, weights, packed),
            _array(f"{id}_scales", "float", weights.scales, f"{len(weights.scales)}"),
            _array(f"{id}_biases", "float", layer.biases, f"{len(layer.biases)}"),
        )
    kind = "weight" if layer.kind in QUANTIZED_KINDS else "float"
    arrays = _array(f"{id}_weights", kind, layer.weights, _axes(layer.weights.shape))
    if layer.biases is None:
        return (arrays,)
    return arrays, _array(f"{id}_biases", "float", layer.biases, f"{len(layer.biases)}")


def _axes(shape: Shape) -> str:
    meaning = {4: "map, channel, row, column", 2: "output, input", 1: "channel"}[len(shape)]
    return f"{format_shape(shape)}: {meaning}"


def _weights_array(id: str, weights: IntegerWeights, packed: bool) -> CArray:
    meaning = _axes(weights.integers.shape)
    if not packed:
        return _array(f"{id}_weights", "weight", weights.integers, meaning)
    meaning = f"{meaning}; {weights.bits} bits each"
    return _array(f"{id}_weights", "uint8_t", pack(weights.integers, weights.bits), meaning)


def _array(name: str, type: str, values: npt.NDArray[Any], meaning: str) -> CArray:
    lines = "\n".join(_lines(map(format_number, values.ravel())))
    return CArray(type, name, values.size, values.nbytes, meaning, lines)


def _lines(words: Iterable[str]) -> Iterable[str]:
    """Yield words, separated by commas, in lines of limited width."""
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {word},"
    yield line


def format_number(value: Any) -> str:
    """Return a number as a constant of C; nine digits tell every float from the others."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _constant(value: float) -> str:
    return format_number(np.float32(value))


def format_shape(shape: Shape) -> str:
    """Return a shape as in `16 x 7 x 7`."""
    return " x ".join(map(str, shape))


def _window(layer: PlainLayer) -> tuple[str, ...]:
    numbers = layer.numbers
    groups = numbers["groups"] if layer.kind == "convolution" else None
    window = numbers["kernel"], numbers["stride"], numbers["padding"]
    return _window_lines(layer.shape_in, layer.shape, *window, groups)


def _window_lines(
    shape_in: Shape, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, groups: int | None
) -> tuple[str, ...]:
    channels, rows, columns = shape_in
    maps, rows_out, columns_out = shape
    return (
        f".channels = {channels}, .rows = {rows}, .columns = {columns},",
        f".maps = {maps}, .rows_out = {rows_out}, .columns_out = {columns_out},",
        f".kernel_rows = {kernel[0]}, .kernel_columns = {kernel[1]},",
        f".stride_rows = {stride[0]}, .stride_columns = {stride[1]},",
        f".padding_rows = {padding[0]}, .padding_columns = {padding[1]},",
        *(() if groups is None else (f".groups = {groups},",)),
    )


def _integer_step(unit: IntegerLayer, source: str, target: str, packed: bool) -> Step:
    layer, weights = unit.layers[0], unit.weights
    id = _id(layer)
    arrays = [
        _weights_array(id, weights, packed),
        _array(f"{id}_biases", "int32_t", unit.biases, f"{len(unit.biases)}"),
    ]
    width = (f".bits = {weights.bits},",) if packed else ()
    names = f".weights = {arrays[0].name}, .biases = {arrays[1].name},"
    parameters = (names, *width, f".zero_point = {unit.zero_point},")
    records = [
        Record("window", f"{id}_window", _integer_window(layer)),
        Record("integer_parameters", f"{id}_parameters", parameters),
    ]
    pool = "0"
    if unit.pool is not None:
        records.append(Record("window", f"{id}_pool", _pool_window(unit.pool)))
        pool = f"&{id}_pool"
    more, outputs = _outputs(id, unit)
    records.append(outputs)
    function = "convolve_to_floats" if unit.output is None else "convolve_to_integers"
    names = ", ".join(f"&{each.name}" for each in records[:2])
    call = f"{function}({source}, {names}, {pool}, &{outputs.name}, {target});"
    return Step(
        _title(*unit.layers),
        layer.shape_in,
        unit.shape,
        (*arrays, *more),
        tuple(records),
        function,
        call,
    )


def _outputs(id: str, unit: IntegerLayer) -> tuple[tuple[CArray, ...], Record]:
    """Return the constants that turn sums into outputs, and the struct that holds them."""
    if unit.output is None or unit.multipliers is None:
        scales = _array(f"{id}_scales", "float", unit.scales, f"{len(unit.scales)}")
        curve = (f".curve = {CURVES[unit.curve]},",) if unit.curve else ()
        fields = (f".scales = {scales.name}, .slope = {_constant(unit.slope)},", *curve)
        return (scales,), Record("float_outputs", f"{id}_outputs", fields)
    arrays = _multiplier_arrays(id, unit.multipliers)
    fields = (
        f".multipliers = {arrays[0].name}, .shifts = {arrays[1].name},",
        f".slope = {round(unit.slope * SLOPE_ONE)}u, .zero_point = {unit.output.numbers['zero_point']},",
    )
    return arrays, Record("integer_outputs", f"{id}_outputs", fields)


def _multiplier_arrays(id: str, multipliers: Multipliers) -> tuple[CArray, CArray]:
    count = f"{len(multipliers.shifts)}"
    return (
        _array(f"{id}_multipliers", "int32_t", multipliers.integers, count),
        _array(f"{id}_shifts", "uint8_t", multipliers.shifts, count),
    )


def _integer_window(layer: PlainLayer) -> tuple[str, ...]:
    """Return the window of a convolution, or that of a linear layer: one row that is as long as its input."""
    if layer.kind == "convolution":
        return _window(layer)
    (inputs,), (outputs,) = layer.shape_in, layer.shape
    return _window_lines((1, 1, inputs), (outputs, 1, 1), (1, inputs), (1, 1), (0, 0), 1)


def _pool_window(pool: PlainLayer) -> tuple[str, ...]:
    if pool.kind != "global_average":
        return _window(pool)
    return _window_lines(pool.shape_in, pool.shape, pool.shape_in[1:], (1, 1), (0, 0), None)


def _call(id: str, layer: PlainLayer, source: str, target: str) -> str:
    """Return the call of the function that computes a layer with floats."""
    count, pixels = prod(layer.shape), prod(layer.shape_in[1:])
    channels, numbers = layer.shape_in[0], layer.numbers
    match layer.kind:
        case "normalize":
            mean, deviation = _constant(numbers["mean"]), _constant(numbers["deviation"])
            return f"normalize({source}, {count}, {mean}, {deviation}, {target});"
        case "deslant":
            ink, variance = _constant(numbers["least_ink"]), _constant(numbers["least_variance"])
            return f"deslant({source}, {layer.shape[1]}, {ink}, {variance}, {target});"
        case "local_contrast":
            return f"local_contrast({source}, {layer.shape[1]}, {id}_weights, {target});"
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
        case "leaky_relu":
            return f"leaky_relu({source}, {count}, {_constant(numbers['slope'])}, {target});"
        case "quantize":
            scale = _constant(numbers["scale"])
            return f"quantize({source}, {count}, {scale}, {numbers['zero_point']}, {target});"
        case "tanh":
            return f"hyperbolic_tangent({source}, {count}, {target});"
        case "relu" | "sigmoid":
            return f"{layer.kind}({source}, {count}, {target});"
