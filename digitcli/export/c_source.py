"""C99: a network as source code for microcontrollers, without dependencies and without heap memory.

The code is generated from plain layers; it holds one small function for each kind of layer that the network
has. Weights are floats or integers. Layers whose inputs are quantized, too, compute with integers, see
`integer_layers`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.architectures.compression import BITS, pack_integers
from digitcli.errors import EnvironmentFault, QualityError
from digitcli.export.exporter import TEMPLATES, Exporter, Images, Outputs, Source, describe, render
from digitcli.export.integer_layers import IntegerLayer, integer_layers
from digitcli.export.plain_layers import (
    ELEMENTWISE,
    INPUT,
    WEIGHTED,
    PlainLayer,
    Shape,
    count_weights,
    plain_layers,
)
from digitcli.strip_format import DIGITS
from digitcli.threads import usable_cores

OPTIONS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
CHECK = TEMPLATES / "check.c"
MATHEMATICAL = {  # functions of the program that call functions of <math.h>
    "deslant", "hyperbolic_tangent", "local_contrast", "quantize", "quantize_to_integers", "sigmoid",
}  # fmt: skip
AXES = {4: "map, channel, row, column", 2: "output, input", 1: "channel"}  # by the number of axes of weights
LINE_WIDTH = 100  # characters of a line of numbers
SHORT_MAX = 32_767
FLOAT_BYTES = 4
SLOPE_ONE = 2**31  # the factor 1 of negative sums as a fixed-point number
Unit = PlainLayer | IntegerLayer


@dataclass(frozen=True)
class CArray:
    """A constant array of the program."""

    type: str
    name: str
    values: npt.NDArray[Any]
    meaning: str


@dataclass(frozen=True)
class Step:
    """A call of a function of the program, with the constants that it needs.

    records: constant structs by name: their type, and their fields as lines of text.
    """

    title: str
    shape_in: Shape
    shape: Shape
    arrays: Sequence[CArray]
    records: Mapping[str, tuple[str, Sequence[str]]]
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


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to a folder with `digit_model.h` and `digit_model.c`.

    Raises:
        UsageError: the network has a layer that the program cannot compute.
        EnvironmentFault: the export is to be verified, and there is no C compiler.
    """
    quantized = source.dtype == "int8"
    layers = plain_layers(source.network_with_scales, source.model.header.architecture, "c")
    if source.verified:
        find_compiler()
    units: Sequence[Unit] = integer_layers(layers) if quantized else layers
    has_integers = any(isinstance(unit, IntegerLayer) for unit in units)
    weighted = [layer for layer in layers if layer.kind in WEIGHTED]
    packed = quantized and all(layer.bits < BITS[0] for layer in weighted)
    steps = make_steps(units, quantized, packed)
    buffers, ram_bytes = declare_buffers(assign_places(units), has_integers)
    unpacked = max(prod(layer.integers.shape[1:]) for layer in weighted) if packed else 0  # weights of a map
    functions = {step.function for step in steps}
    ram_bytes += unpacked + 2 * FLOAT_BYTES * prod(INPUT) * ("local_contrast" in functions)
    widths = " and ".join(f"{bits}-bit" for bits in sorted({layer.bits for layer in weighted}))
    storage, arithmetic = "stored as 32-bit floats", "floats"
    if quantized:
        storage = f"stored as {widths} integers with a scale for each output channel"
    if has_integers:
        arithmetic = "integers in convolutions and linear layers, floats before the first and after the last"
        arithmetic += " of them"
    values = {
        "facts": describe(source),
        "layers": layers,
        "steps": steps,
        "uses": lambda *names: bool(functions & {*names}),
        "needs_math": bool(functions & MATHEMATICAL),
        "quantized": quantized,
        "packed": packed,
        "stored_weight": "uint8_t" if packed else "weight",
        "unpacked": unpacked,
        "side": "short" if max(prod(layer.shape_in) for layer in layers) <= SHORT_MAX else "int",
        "weights": count_weights(layers),
        "storage": storage,
        "arithmetic": arithmetic,
        "ram_bytes": ram_bytes,
        "buffers": buffers,
    }
    filters: Mapping[str, Callable[..., str]] = {"shape": _shape, "number": _number, "numbers": _numbers}
    files = {
        name: render(f"{name}.jinja", values, filters, escape=False).encode()
        for name in ("digit_model.h", "digit_model.c")
    }
    constant_bytes = sum(array.values.nbytes for step in steps for array in step.arrays)
    return Exporter(files, {"ram_bytes": ram_bytes, "constant_bytes": constant_bytes}, _run)


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


def declare_buffers(places: Sequence[Place], has_integers: bool) -> tuple[list[str], int]:
    """Return the declarations of the buffers, and the bytes that they take."""
    declarations, total = [], 0
    for name in "ab":
        floats, integers = (
            max(
                (each.count for each in places if (each.buffer, each.holds_integers) == (name, kind)),
                default=0,
            )
            for kind in (False, True)
        )
        members = [f"float floats[{floats}];"] if floats else []
        members += [f"uint8_t integers[{integers}];"] if integers else []
        if members and has_integers:
            declarations.append(f"static union {{ {' '.join(members)} }} buffer_{name};")
        elif members:
            declarations.append(f"static float buffer_{name}[{floats}];")
        total += max(FLOAT_BYTES * floats, integers)
    return declarations, total


def make_steps(units: Sequence[Unit], quantized: bool, packed: bool) -> list[Step]:
    """Return the step of each unit.

    quantized: whether weights are integers of 8 bits or less.
    packed: whether two integers of 4 bits share a byte.
    """
    has_integers = any(isinstance(unit, IntegerLayer) for unit in units)
    steps, source = [], "pixels"
    for unit, place in zip(units, assign_places(units), strict=True):
        target = place.buffer if place.buffer == "logits" else f"buffer_{place.buffer}"
        if has_integers and place.buffer != "logits":
            target += ".integers" if place.holds_integers else ".floats"
        if isinstance(unit, IntegerLayer):
            steps.append(_integer_step(unit, source, target, packed))
        else:
            steps.append(_plain_step(unit, place, source, target, quantized, packed))
        source = target
    return steps


def _id(layer: PlainLayer) -> str:
    return "layer_" + re.sub(r"\W", "_", layer.name.partition(",")[0])


def _plain_step(
    layer: PlainLayer, place: Place, source: str, target: str, quantized: bool, packed: bool
) -> Step:
    id, is_weighted, arrays = _id(layer), layer.kind in WEIGHTED, []
    if layer.scales is not None and quantized and is_weighted:
        arrays += [_weights(id, layer.integers, packed), _array(f"{id}_scales", "float", layer.scales)]
    elif layer.weights is not None:
        meaning = f"{_shape(layer.weights.shape)}: {AXES[layer.weights.ndim]}"
        arrays.append(CArray("weight" if is_weighted else "float", f"{id}_weights", layer.weights, meaning))
    if layer.biases is not None:
        arrays.append(_array(f"{id}_biases", "float", layer.biases))
    records = {f"{id}_window": ("window", _window(layer))} if "kernel" in layer.numbers else {}
    if is_weighted:
        records[f"{id}_parameters"] = ("parameters", (", ".join(array.name for array in arrays),))
    call = _call(id, layer, source, target)
    if place.holds_integers:
        call = call.replace("quantize(", "quantize_to_integers(")
    return Step(f"{layer.name}: {layer.title}", layer.shape_in, layer.shape, arrays, records, call)


def _array(name: str, type: str, values: npt.NDArray[Any]) -> CArray:
    return CArray(type, name, values, f"{values.size}")


def _weights(id: str, integers: npt.NDArray[np.int8], packed: bool) -> CArray:
    meaning = f"{_shape(integers.shape)}: {AXES[integers.ndim]}"
    if not packed:
        return CArray("weight", f"{id}_weights", integers, meaning)
    return CArray("uint8_t", f"{id}_weights", pack_integers(integers, 4), f"{meaning}; 4 bits each")


def _window(layer: PlainLayer) -> Sequence[str]:
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
    layer, id = unit.layers[0], _id(unit.layers[0])
    arrays = [_weights(id, unit.integers, packed), _array(f"{id}_biases", "int32_t", unit.biases)]
    names = f".weights = {arrays[0].name}, .biases = {arrays[1].name},"
    records: dict[str, tuple[str, Sequence[str]]] = {
        f"{id}_window": ("window", _window(layer)),
        f"{id}_parameters": ("integer_parameters", (names, f".zero_point = {unit.zero_point},")),
    }
    pool = "0"
    if unit.pool is not None:
        records[f"{id}_pool"], pool = ("window", _window(unit.pool)), f"&{id}_pool"
    if unit.output is None:
        kind = "float"
        arrays.append(_array(f"{id}_scales", "float", unit.scales))
        lines = [f".scales = {id}_scales, .slope = {_number(unit.slope)},"]
    else:
        kind = "integer"
        arrays.append(_array(f"{id}_multipliers", "int32_t", unit.multipliers))
        arrays.append(_array(f"{id}_shifts", "uint8_t", unit.shifts))
        slope = f".slope = {round(unit.slope * SLOPE_ONE)}u"
        lines = [f".multipliers = {id}_multipliers, .shifts = {id}_shifts,"]
        lines.append(f"{slope}, .zero_point = {unit.output.numbers['zero_point']},")
    records[f"{id}_outputs"] = (f"{kind}_outputs", lines)
    arguments = f"{source}, &{id}_window, &{id}_parameters, {pool}, &{id}_outputs, {target}"
    title = "; ".join(f"{each.name}: {each.title}" for each in unit.layers)
    return Step(title, layer.shape_in, unit.shape, arrays, records, f"convolve_to_{kind}s({arguments});")


def _call(id: str, layer: PlainLayer, source: str, target: str) -> str:
    """Return the call of the function that computes a layer with floats."""
    count, channels, pixels = prod(layer.shape), layer.shape_in[0], prod(layer.shape_in[1:])
    function: str = layer.kind
    arguments: list[Any] = [count]
    match layer.kind:
        case "convolution":
            function, arguments = "convolve", [f"&{id}_window", f"&{id}_parameters"]
        case "linear":
            function, arguments = "multiply", [channels, count, f"&{id}_parameters"]
        case "scale":
            arguments = [channels, pixels, f"{id}_weights", f"{id}_biases"]
        case "max_pool" | "average_pool":
            arguments = [f"&{id}_window"]
        case "global_average":
            arguments = [channels, pixels]
        case "pixel_unshuffle":
            arguments = [*layer.shape_in, layer.numbers["factor"]]
        case "local_contrast":
            arguments = [layer.shape[1], f"{id}_weights"]
        case "tanh":
            function = "hyperbolic_tangent"
        case kind:  # with its numbers, in their order
            arguments = [layer.shape[1] if kind == "deslant" else count]
            arguments += [
                value if name == "zero_point" else _number(value) for name, value in layer.numbers.items()
            ]
    return f"{function}({', '.join(map(str, (source, *arguments, target)))});"


def _number(value: Any) -> str:
    """Return a number as a constant of C; nine digits tell every float32 from the others."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _numbers(values: npt.NDArray[Any]) -> str:
    """Return the numbers of an array, separated by commas, in lines of limited width."""
    return "\n".join(_lines(map(_number, values.ravel())))


def _lines(words: Iterable[str]) -> Iterable[str]:
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > LINE_WIDTH:
            yield line
            line = "   "
        line += f" {word},"
    yield line


def _shape(shape: Shape) -> str:
    """Return a shape as in `16 x 7 x 7`."""
    return " x ".join(map(str, shape))


def find_compiler() -> str:
    """Return the C compiler of this machine: that of the variable CC, or else cc, gcc or clang.

    Raises:
        EnvironmentFault: there is none.
    """
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    remedy = "Install gcc or clang, or write the files without a check with --no-verify."
    raise EnvironmentFault("There is no C compiler to check the exported program.", remedy)


def _run(folder: Path, batches: Sequence[Images]) -> list[Outputs]:
    """Compile the program in a folder and compute the logits of images (N, 28, 28).

    Raises:
        QualityError: the program cannot be compiled without a warning, stops before its end, or its answer is
            not its best logit.
        EnvironmentFault: this machine cannot run what the compiler makes.
    """
    program = folder / "check"
    command: list[str | Path] = [
        find_compiler(),
        *OPTIONS,
        "-I",
        folder,
        folder / "digit_model.c",
        CHECK,
        "-o",
        program,
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise QualityError(f"The exported program cannot be compiled: {done.stderr.strip()}")
    with ThreadPoolExecutor(usable_cores()) as pool:  # each thread waits for a process
        return list(pool.map(lambda batch: _run_batch(program, batch), batches))


def _run_batch(program: Path, batch: Images) -> Outputs:
    try:
        done = subprocess.run([program], input=batch.tobytes(), capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()[-300:] or f"exit code {error.returncode}"
        raise QualityError(f"The exported program stops before its end: {reason}") from error
    except OSError as error:
        remedy = "Name a compiler for this machine in the variable CC, or give --no-verify."
        raise EnvironmentFault(f"This machine cannot run the compiled program: {error}.", remedy) from error
    rows = np.frombuffer(done.stdout, np.float32).reshape(-1, len(DIGITS) + 1)
    logits, answers = rows[:, : len(DIGITS)], rows[:, len(DIGITS)]
    if not np.array_equal(logits.argmax(axis=-1), answers):
        raise QualityError("The function digit_predict returns another digit than its logits tell.")
    return (logits,)
