"""C99: a network as source code for microcontrollers, without dependencies and without heap memory.

The code is generated from plain layers; it holds one small function for each kind of layer that the network
has. Weights are floats or integers. Layers whose inputs are quantized, too, compute with integers, see
`integer_layers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

import numpy as np

from digitcli.architectures.compression import BITS
from digitcli.errors import EnvironmentFault, QualityError
from digitcli.export.c_steps import (
    FLOAT_BYTES,
    Unit,
    assign_places,
    declare_buffers,
    format_number,
    format_numbers,
    format_shape,
    make_steps,
)
from digitcli.export.exporter import DIGITS, TEMPLATES, Exporter, Images, Outputs, Source, describe, render
from digitcli.export.integer_layers import IntegerLayer, integer_layers
from digitcli.export.plain_layers import INPUT, WEIGHTED, PlainLayer, count_weights, plain_layers
from digitcli.threads import usable_cores

OPTIONS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
CHECK = TEMPLATES / "check.c"
SHORT_MAX = 32_767
FILTERS: Mapping[str, Callable[..., str]] = {
    "shape": format_shape, "number": format_number, "numbers": format_numbers,
}  # fmt: skip
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
    layers = plain_layers(source.network_with_scales, source.model.header.architecture, "c")
    if source.verified:
        find_compiler()
    units: Sequence[Unit] = integer_layers(layers) if quantized else layers
    places = assign_places(units)
    packed = quantized and all(layer.bits < BITS[0] for layer in layers if layer.kind in WEIGHTED)
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
    constant_bytes = sum(array.values.nbytes for step in steps for array in step.arrays)
    return Exporter(files, {"ram_bytes": ram_bytes, "constant_bytes": constant_bytes}, _run)


def as_one_file(files: Mapping[str, bytes]) -> bytes:
    """Return the source with the header in it."""
    header, source = (files[name] for name in ("digit_model.h", "digit_model.c"))
    return source.replace(b'#include "digit_model.h"', header.rstrip())


def _weights_of_a_map(layer: PlainLayer) -> int:
    """Return the number of weights of one map or output."""
    return prod(layer.weights.shape[1:]) if layer.kind in WEIGHTED and layer.weights is not None else 0


def _largest_side(layers: Sequence[PlainLayer]) -> int:
    return max(prod(layer.shape_in) for layer in layers)


def _storage(layers: Sequence[PlainLayer], quantized: bool) -> str:
    """Return in words how the weights are stored."""
    if not quantized:
        return "stored as 32-bit floats"
    widths = sorted({layer.bits for layer in layers if layer.kind in WEIGHTED})
    words = " and ".join(f"{bits}-bit" for bits in widths)
    return f"stored as {words} integers with a scale for each output channel"


def _arithmetic(units: Sequence[Unit]) -> str:
    """Return in words what the program computes with."""
    if any(isinstance(unit, IntegerLayer) for unit in units):
        return (
            "integers in convolutions and linear layers, floats before the first and after the last of them"
        )
    return "floats"


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
    compiler = find_compiler()
    program = folder / "check"
    _compile(compiler, "-I", folder, folder / "digit_model.c", CHECK, "-o", program, "-lm")
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


def _compile(compiler: str, *arguments: str | Path) -> None:
    done = subprocess.run([compiler, *OPTIONS, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise QualityError(f"The exported program cannot be compiled: {done.stderr.strip()}")
