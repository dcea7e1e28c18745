"""C99: a network as source code for microcontrollers, without dependencies and without heap memory.

The code is generated layer by layer from `layers.plain_layers`; it holds one small function for each kind of
layer that the network has. Weights are floats or integers, see `quantization`. Layers whose inputs are
quantized, too, compute with integers, see `integer_layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from digitcli.export.c_program import find_compiler, flash_bytes, run
from digitcli.export.c_steps import (
    FLOAT_BYTES,
    Step,
    Unit,
    assign_places,
    declare_buffers,
    format_number,
    format_shape,
    make_steps,
)
from digitcli.export.integer_layers import IntegerLayer, integer_layers
from digitcli.export.layers import INPUT, PlainLayer, count_weights, plain_layers
from digitcli.export.quantization import BITS, QUANTIZED_KINDS, rounded_reference
from digitcli.export.source import Exporter, Source, describe
from digitcli.export.templating import render
from digitcli.inference.torch_runtime import load_network

SHORT_MAX = 32_767
MATHEMATICAL = {  # functions of the program that call functions of <math.h>
    "deslant", "hyperbolic_tangent", "local_contrast", "quantize", "quantize_to_integers", "sigmoid",
}  # fmt: skip


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to a folder with `digit_model.h` and `digit_model.c`.

    Raises:
        UsageError: the network has a layer that the program cannot compute.
        EnvironmentFault: the export is to be verified, and there is no C compiler.
    """
    quantized = source.dtype == "int8"
    network = load_network(source.model) if quantized else source.network
    layers = plain_layers(network, source.model.header.architecture, "c")
    compiler = find_compiler(required=source.verified)
    units: Sequence[Unit] = integer_layers(layers) if quantized else layers
    places = assign_places(units)
    packed = quantized and any(0 < layer.bits < BITS for layer in layers)
    steps = make_steps(units, places, quantized, packed)
    buffers, ram_bytes = declare_buffers(units, places)
    unpacked = max(map(_weights_of_a_map, layers)) if packed else 0
    functions = {step.function for step in steps}
    ram_bytes += unpacked + 2 * FLOAT_BYTES * prod(INPUT) * ("local_contrast" in functions)
    curves = {unit.curve for unit in units if isinstance(unit, IntegerLayer) and unit.curve}
    values = {
        "facts": describe(source),
        "layers": layers,
        "steps": steps,
        "uses": lambda *names: bool(functions & {*names}),
        "needs_math": bool(curves or functions & MATHEMATICAL),
        "quantized": quantized,
        "packed": packed,
        "stored_weight": "uint8_t" if packed else "weight",
        "unpacked": unpacked,
        "has_curve": bool(curves),
        "has_sigmoid_curve": "sigmoid" in curves,
        "side": "short" if _largest_side(layers) <= SHORT_MAX else "int",
        "weights": count_weights(layers),
        "storage": _storage(layers, quantized),
        "arithmetic": _arithmetic(units),
        "ram_bytes": ram_bytes,
        "buffers": buffers,
    }
    files = {
        name: render(f"{name}.jinja", values, FILTERS, escape=False).encode()
        for name in ("digit_model.h", "digit_model.c")
    }
    facts: dict[str, str | int] = {"ram_bytes": ram_bytes}
    if compiler is None:
        facts["weights_bytes"] = _constants_bytes(steps)
    else:
        facts |= flash_bytes(files, compiler)
    return Exporter(files, facts, run, rounded_reference(layers) if quantized else None)


def _weights_of_a_map(layer: PlainLayer) -> int:
    """Return the number of weights of one map or output."""
    return prod(layer.weights.shape[1:]) if layer.kind in QUANTIZED_KINDS and layer.weights is not None else 0


def _largest_side(layers: Sequence[PlainLayer]) -> int:
    return max(prod(layer.shape_in) for layer in layers)


def _storage(layers: Sequence[PlainLayer], quantized: bool) -> str:
    """Return in words how the weights are stored."""
    if not quantized:
        return "stored as 32-bit floats"
    widths = sorted({layer.bits or BITS for layer in layers if layer.kind in QUANTIZED_KINDS})
    words = " and ".join(f"{bits}-bit" for bits in widths)
    return f"stored as {words} integers with a scale for each output channel"


def _arithmetic(units: Sequence[Unit]) -> str:
    """Return in words what the program computes with."""
    if any(isinstance(unit, IntegerLayer) for unit in units):
        return (
            "integers in convolutions and linear layers, floats before the first and after the last of them"
        )
    return "floats"


def _constants_bytes(steps: Sequence[Step]) -> int:
    """Return the bytes of all arrays of the program, which are most of it."""
    return sum(array.size_bytes for step in steps for array in step.arrays)


FILTERS = {"shape": format_shape, "number": lambda number: format_number(np.float32(number))}
