"""C99: a network as source code for microcontrollers, without dependencies and without heap memory.

The code is generated layer by layer from `layers.plain_layers`; it holds one small function for each kind of
layer that the network has. Weights are floats, or 8-bit integers by `quantization.quantize`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.export.c_program import find_compiler, flash_bytes, run
from digitcli.export.layers import ELEMENTWISE, INPUT, PlainLayer, Shape, count_weights, plain_layers
from digitcli.export.quantization import QUANTIZED_KINDS, quantize, round_weights, run_layers
from digitcli.export.source import Exporter, Source, describe
from digitcli.export.templating import render

WIDTH = 100  # characters of a line of numbers
FLOAT_BYTES = 4
MATHEMATICAL = (
    "tanh",
    "sigmoid",
    "deslant",
    "local_contrast",
    "quantize",
)  # kinds of layers that call functions of <math.h>
STORAGE = {
    "float32": "stored as 32-bit floats",
    "int8": "stored as 8-bit integers with a scale for each output channel; biases as floats",
}


@dataclass(frozen=True)
class CArray:
    """A constant array of the program, with its numbers as lines of text."""

    type: str
    name: str
    size: int
    meaning: str
    lines: str


@dataclass(frozen=True)
class Step:
    """A layer of the program: its arrays, its settings and the call of its function."""

    id: str
    name: str
    title: str
    shape_in: Shape
    shape: Shape
    arrays: tuple[CArray, ...]
    window: tuple[str, ...]
    parameters: str
    call: str


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to a folder with `digit_model.h` and `digit_model.c`.

    Raises:
        UsageError: the network has a layer that the program cannot compute.
        EnvironmentFault: the export is to be verified, and there is no C compiler.
    """
    layers = plain_layers(source.network, source.model.header.architecture, "c")
    compiler = find_compiler(required=source.verified)
    quantized = source.dtype == "int8"
    buffers = _assign_buffers(layers)
    sizes = [max((size for name, size in buffers if name == label), default=0) for label in "ab"]
    scratch = 2 * prod(INPUT) if any(layer.kind == "local_contrast" for layer in layers) else 0
    ram_bytes = FLOAT_BYTES * (sum(sizes) + scratch)
    values = {
        "facts": describe(source),
        "layers": layers,
        "steps": _steps(layers, [name for name, _ in buffers], quantized),
        "kinds": {layer.kind for layer in layers},
        "needs_math": any(layer.kind in MATHEMATICAL for layer in layers),
        "quantized": quantized,
        "weights": count_weights(layers),
        "storage": STORAGE[source.dtype],
        "ram_bytes": ram_bytes,
        "buffer_a": sizes[0],
        "buffer_b": sizes[1],
    }
    files = {
        name: render(f"{name}.jinja", values, FILTERS, escape=False).encode()
        for name in ("digit_model.h", "digit_model.c")
    }
    facts: dict[str, str | int] = {"ram_bytes": ram_bytes}
    if compiler is None:
        facts["weights_bytes"] = _weights_bytes(layers, quantized)
    else:
        facts |= flash_bytes(files, compiler)
    rounded = round_weights(layers)
    return Exporter(
        files,
        facts,
        run,
        expected=(lambda batches: run_layers(rounded, batches)) if quantized else None,
    )


def _assign_buffers(layers: tuple[PlainLayer, ...]) -> list[tuple[str, int]]:
    """Return the buffer in which each layer writes, `a`, `b` or `logits`, and the number of its values.

    A layer that works on each value by itself overwrites its input, unless that is the image.
    """
    buffers: list[tuple[str, int]] = []
    current = "pixels"
    for number, layer in enumerate(layers):
        if number == len(layers) - 1:
            current = "logits"
        elif layer.kind not in ELEMENTWISE or current == "pixels":
            current = "b" if current == "a" else "a"
        buffers.append((current, prod(layer.shape)))
    return buffers


def _steps(layers: tuple[PlainLayer, ...], buffers: list[str], quantized: bool) -> list[Step]:
    names = [buffer if buffer == "logits" else f"buffer_{buffer}" for buffer in buffers]
    steps = []
    for layer, source, target in zip(layers, ["pixels", *names], names, strict=False):
        id = "layer_" + re.sub(r"\W", "_", layer.name.partition(",")[0])
        arrays = _arrays(id, layer, quantized)
        parameters = ", ".join(array.name for array in arrays) if layer.kind in QUANTIZED_KINDS else ""
        window = _window(layer) if "kernel" in layer.numbers else ()
        call = _call(id, layer, source, target)
        steps.append(
            Step(id, layer.name, layer.title, layer.shape_in, layer.shape, arrays, window, parameters, call)
        )
    return steps


def _arrays(id: str, layer: PlainLayer, quantized: bool) -> tuple[CArray, ...]:
    """Return the arrays of a layer in the order of the struct `parameters`."""
    if layer.weights is None:
        return ()
    meaning = {4: "map, channel, row, column", 2: "output, input", 1: "channel"}[layer.weights.ndim]
    meaning = f"{_shape(layer.weights.shape)}: {meaning}"
    if layer.biases is None:
        return (_array(f"{id}_weights", "float", layer.weights, meaning),)
    biases = _array(f"{id}_biases", "float", layer.biases, f"{len(layer.biases)}")
    if not (quantized and layer.kind in QUANTIZED_KINDS):
        kind = "weight" if layer.kind in QUANTIZED_KINDS else "float"
        return _array(f"{id}_weights", kind, layer.weights, meaning), biases
    integers, scales = quantize(layer.weights)
    return (
        _array(f"{id}_weights", "weight", integers, meaning),
        _array(f"{id}_scales", "float", scales, f"{len(scales)}"),
        biases,
    )


def _array(name: str, type: str, values: npt.NDArray[Any], meaning: str) -> CArray:
    return CArray(type, name, values.size, meaning, "\n".join(_lines(map(_number, values.ravel()))))


def _lines(words: Iterable[str]) -> Iterable[str]:
    """Yield words, separated by commas, in lines of limited width."""
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {word},"
    yield line


def _number(value: Any) -> str:
    """Return a number as a constant of C; nine digits tell every float from the others."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _window(layer: PlainLayer) -> tuple[str, ...]:
    numbers = layer.numbers
    kernel, stride = numbers["kernel"], numbers["stride"]
    channels, rows, columns = layer.shape_in
    maps, rows_out, columns_out = layer.shape
    groups = (f".groups = {numbers['groups']},",) if layer.kind == "convolution" else ()
    return (
        f".channels = {channels}, .rows = {rows}, .columns = {columns},",
        f".maps = {maps}, .rows_out = {rows_out}, .columns_out = {columns_out},",
        f".kernel_rows = {kernel[0]}, .kernel_columns = {kernel[1]},",
        f".stride_rows = {stride[0]}, .stride_columns = {stride[1]},",
        ".padding_rows = {}, .padding_columns = {},".format(*numbers["padding"]),
        *groups,
    )


def _call(id: str, layer: PlainLayer, source: str, target: str) -> str:
    """Return the call of the function that computes a layer."""
    count, pixels = prod(layer.shape), prod(layer.shape_in[1:])
    channels, numbers = layer.shape_in[0], layer.numbers
    match layer.kind:
        case "normalize":
            mean, deviation = _number(np.float32(numbers["mean"])), _number(np.float32(numbers["deviation"]))
            return f"normalize({source}, {count}, {mean}, {deviation}, {target});"
        case "deslant":
            ink, variance = (_number(np.float32(numbers[name])) for name in ("least_ink", "least_variance"))
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
            return f"leaky_relu({source}, {count}, {_number(np.float32(numbers['slope']))}, {target});"
        case "quantize":
            scale, zero_point = _number(np.float32(numbers["scale"])), f"{numbers['zero_point']}.0f"
            return f"quantize({source}, {count}, {scale}, {zero_point}, {target});"
        case "tanh":
            return f"hyperbolic_tangent({source}, {count}, {target});"
        case "relu" | "sigmoid":
            return f"{layer.kind}({source}, {count}, {target});"


def _weights_bytes(layers: tuple[PlainLayer, ...], quantized: bool) -> int:
    """Return the bytes of all arrays of the program, which are most of it."""
    total = 0
    for layer in layers:
        is_integer = quantized and layer.kind in QUANTIZED_KINDS
        if layer.weights is not None:
            total += layer.weights.size * (1 if is_integer else FLOAT_BYTES)
        if layer.biases is not None:
            total += FLOAT_BYTES * layer.biases.size * (2 if is_integer else 1)
    return total


def _shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))


FILTERS = {"shape": _shape, "number": lambda number: _number(np.float32(number))}
