"""TensorFlow Lite: a network in one file for LiteRT, the runtime of phones and of small computers.

The file is a FlatBuffer by the schema that the package `ai-edge-litert` brings along, version 3.
Weights are floats, or 8-bit integers, which the runtime turns into floats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from digitcli.export.channels_last import INPUT_NAME, OUTPUT_NAME, Graph, Operation, channels_last
from digitcli.export.exporter import Exporter, Images, Outputs, Source, describe
from digitcli.export.formats import Dtype
from digitcli.export.plain_layers import Array, Shape, plain_layers
from digitcli.inference.runtime import TfliteRuntime, import_litert

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"  # of the file, at its bytes 4 to 8
ALIGNMENT_BYTES = 16  # of constants, as the schema demands
METADATA_NAME = "digitcli"  # of the entry that says what the input and the outputs are
DEQUANTIZE_VERSION = 5  # the first that takes one scale for each channel
SIX_AXES_VERSION = 6  # of TRANSPOSE, the first that takes six axes
# By kind of operation: the class of its options in the schema; the others have none.
OPTIONS = {
    "average_pool_2d": "Pool2DOptions",
    "conv_2d": "Conv2DOptions",
    "depthwise_conv_2d": "DepthwiseConv2DOptions",
    "leaky_relu": "LeakyReluOptions",
    "max_pool_2d": "Pool2DOptions",
    "mean": "ReducerOptions",
    "sum": "ReducerOptions",
}
PADDINGS = {"same": 0, "valid": 1}  # the enumeration `Padding` of the schema


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to one `.tflite` file.

    Raises:
        UsageError: the network has a layer that the graph cannot hold.
        EnvironmentFault: the package `ai-edge-litert` is not installed.
    """
    layers = plain_layers(source.network_with_scales, source.model.header.architecture, "tflite")
    import_litert()
    graph, facts = channels_last(layers), json.dumps(describe(source), indent=2)
    content = tflite_bytes(graph, source.dtype, {METADATA_NAME: facts}, source.model.id)
    return Exporter({"model.tflite": content}, {"operations": len(graph.operations)}, _run)


def _run(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    runtime = TfliteRuntime(path.read_bytes(), torch.get_num_threads())
    return [runtime.run(batch) for batch in batches]


def tflite_bytes(graph: Graph, dtype: Dtype, metadata: Mapping[str, str], title: str) -> bytes:
    """Return the content of a file that computes a graph, for batches of any size.

    dtype: the number format of the weights; with int8, the file turns them into floats before they are used.
    metadata: texts that the file holds by name.
    title: what the file says that it is.

    Raises:
        ImportError: the package `ai-edge-litert` is not installed.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    file = _File(schema)
    numbers = {INPUT_NAME: file.tensor(INPUT_NAME, graph.shapes[INPUT_NAME])}
    for name, values in graph.constants.items():
        if dtype == "int8" and name in graph.weights:
            numbers[name] = file.integers(name, values, graph.weights[name], graph.scales[name])
        else:
            numbers[name] = file.constant(name, values)
    for operation in graph.operations:
        numbers[operation.name] = file.operation(operation, [numbers[name] for name in operation.inputs])
    inputs, outputs = numbers[INPUT_NAME], numbers[OUTPUT_NAME]
    signature = schema.SignatureDefT(
        inputs=[schema.TensorMapT(INPUT_NAME, inputs)],
        outputs=[schema.TensorMapT(OUTPUT_NAME, outputs)],
        signatureKey="serving_default",
    )
    texts = [schema.MetadataT(name, file.buffer(text.encode())) for name, text in metadata.items()]
    subgraph = schema.SubGraphT(
        tensors=file.tensors, inputs=[inputs], outputs=[outputs], operators=file.operators, name="main"
    )
    model = schema.ModelT(
        version=SCHEMA_VERSION,
        operatorCodes=[
            schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version)
            for code, version in file.codes
        ],
        subgraphs=[subgraph],
        description=title,
        buffers=file.buffers,
        metadata=texts,
        signatureDefs=[signature],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True)
class _Buffer:
    """Bytes of a constant, in place of `BufferT` of the schema, which does not align them."""

    schema: Any
    content: bytes

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        """Write the bytes, and return the place of the table that refers to them."""
        builder.StartVector(1, len(self.content), ALIGNMENT_BYTES)
        builder.head -= len(self.content)
        builder.Bytes[builder.head : builder.head + len(self.content)] = self.content
        place = builder.EndVector()
        self.schema.BufferStart(builder)
        self.schema.BufferAddData(builder, place)
        return self.schema.BufferEnd(builder)


class _File:
    """The parts of a file: tensors, their constants, and operations with their kinds and versions."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]  # number 0 means that a tensor is no constant
        self.operators: list[Any] = []
        self.codes: list[tuple[int, int]] = []

    def tensor(self, name: str, shape: Shape, type: str = "FLOAT32", content: bytes | None = None) -> int:
        """Add a tensor, and return its number."""
        number, tensor_type = 0 if content is None else self.buffer(content), self.schema.TensorType
        tensor = self.schema.TensorT(name=name, type=getattr(tensor_type, type), buffer=number, hasRank=True)
        tensor.shape = [max(size, 1) for size in shape]
        tensor.shapeSignature = list(shape) if min(shape, default=0) < 0 else None
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def buffer(self, content: bytes) -> int:
        """Add the bytes of a constant, and return their number."""
        self.buffers.append(_Buffer(self.schema, content))
        return len(self.buffers) - 1

    def constant(self, name: str, values: npt.NDArray[Any]) -> int:
        """Add a constant of floats or of 32-bit integers, and return its number."""
        little = values.astype(values.dtype.newbyteorder("<"))
        return self.tensor(name, values.shape, values.dtype.name.upper(), little.tobytes())

    def integers(self, name: str, values: Array, axis: int, scales: Array) -> int:
        """Add a constant as 8-bit integers with a scale for each channel; return the number of its floats."""
        shape = [-1 if each == axis else 1 for each in range(values.ndim)]
        content = np.round(values / scales.reshape(shape)).astype(np.int8).tobytes()
        stored = self.tensor(f"{name}/int8", values.shape, "INT8", content)
        self.tensors[stored].quantization = self.schema.QuantizationParametersT(
            scale=scales, zeroPoint=np.zeros(len(scales), np.int64), quantizedDimension=axis
        )
        floats = self.tensor(name, values.shape)
        self.operator("dequantize", [stored], floats, DEQUANTIZE_VERSION)
        return floats

    def operation(self, operation: Operation, inputs: list[int]) -> int:
        """Add an operation of the graph, and return the number of its output."""
        kind, settings, options = operation.kind, operation.settings, None
        for values in _further_inputs(operation):
            inputs = [*inputs, self.constant(f"{operation.name}/input_{len(inputs)}", values)]
        output = self.tensor(operation.name, operation.shape)
        if kind in OPTIONS:
            options = getattr(self.schema, f"{OPTIONS[kind]}T")()
            _set_options(options, settings)
        version = SIX_AXES_VERSION if kind == "transpose" and len(operation.shape) == 6 else 1
        self.operator("padv2" if kind == "pad" else kind, inputs, output, version)
        if options is not None:
            self.operators[-1].builtinOptionsType = getattr(self.schema.BuiltinOptions, OPTIONS[kind])
            self.operators[-1].builtinOptions = options
        return output

    def operator(self, kind: str, inputs: list[int], output: int, version: int) -> None:
        """Add an operation with the numbers of its tensors."""
        code = getattr(self.schema.BuiltinOperator, kind.upper()), version
        if code not in self.codes:
            self.codes.append(code)
        index = self.codes.index(code)
        self.operators.append(self.schema.OperatorT(opcodeIndex=index, inputs=inputs, outputs=[output]))


def _further_inputs(operation: Operation) -> list[npt.NDArray[Any]]:
    """Return settings that TensorFlow Lite takes as inputs: shapes, orders, axes and paddings."""
    settings = operation.settings
    match operation.kind:
        case "reshape":
            return [np.array(operation.shape, np.int32)]
        case "transpose":
            return [np.array(settings["order"], np.int32)]
        case "mean" | "sum":
            return [np.array(settings["axes"], np.int32)]
        case "pad":
            return [np.array(settings["paddings"], np.int32), np.array([settings["value"]], np.float32)]
    return []


def _set_options(options: Any, settings: Mapping[str, Any]) -> None:
    if "strides" in settings:
        options.strideH, options.strideW = settings["strides"]
        options.padding = PADDINGS[settings["padding"]]
    if "kernel" in settings:
        options.filterHeight, options.filterWidth = settings["kernel"]
    if "axes" in settings:
        options.keepDims = True
    if "slope" in settings:
        options.alpha = settings["slope"]
