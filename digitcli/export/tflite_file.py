"""TensorFlow Lite: a network in one file for LiteRT, the runtime of phones and of small computers.

The file is a FlatBuffer by the schema that the package `ai-edge-litert` brings along, version 3.
Weights are floats, or 8-bit integers, which the runtime turns into floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from digitcli.export.channels_last import INPUT_NAME, OUTPUT_NAME, Graph, Operation, channels_last
from digitcli.export.exporter import Exporter, Images, Outputs, Source, describe
from digitcli.export.formats import Dtype
from digitcli.export.plain_layers import Array, Shape, plain_layers
from digitcli.inference.tflite_runtime import TfliteRuntime, import_litert

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
    indices = {INPUT_NAME: file.tensor(INPUT_NAME, graph.shapes[INPUT_NAME])}
    for name, values in graph.constants.items():
        if dtype == "int8" and name in graph.weights:
            indices[name] = file.integers(name, values, graph.weights[name], graph.scales[name])
        else:
            indices[name] = file.constant(name, values)
    for operation in graph.operations:
        indices[operation.name] = file.operation(operation, [indices[name] for name in operation.inputs])
    model = file.model([indices[INPUT_NAME]], [indices[OUTPUT_NAME]], metadata, title)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True)
class _Buffer:
    """Bytes of a constant, in place of `BufferT` of the schema, which does not align them."""

    content: bytes
    add_to: Callable[[Any, int], Any]

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        """Write the bytes, and return the place of the table that refers to them."""
        builder.StartVector(1, len(self.content), ALIGNMENT_BYTES)
        builder.head -= len(self.content)
        builder.Bytes[builder.head : builder.head + len(self.content)] = self.content
        return self.add_to(builder, builder.EndVector())


@dataclass
class _File:
    """The parts of a file: tensors, their constants, and operations with their kinds."""

    schema: Any
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.buffers.append(self.schema.BufferT())  # number 0 means that a tensor is no constant

    def tensor(self, name: str, shape: Shape, type: str = "FLOAT32", content: bytes | None = None) -> int:
        """Add a tensor, and return its number."""
        number = 0 if content is None else self.buffer(content)
        tensor = self.schema.TensorT(
            name=name, type=getattr(self.schema.TensorType, type), buffer=number, hasRank=True
        )
        tensor.shape = [max(size, 1) for size in shape]
        tensor.shapeSignature = list(shape) if min(shape, default=0) < 0 else None
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def buffer(self, content: bytes) -> int:
        """Add the bytes of a constant, and return their number."""
        self.buffers.append(_Buffer(content, self._add_buffer))
        return len(self.buffers) - 1

    def _add_buffer(self, builder: Any, place: int) -> Any:
        self.schema.BufferStart(builder)
        self.schema.BufferAddData(builder, place)
        return self.schema.BufferEnd(builder)

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
        self.operator("dequantize", [stored], floats, version=DEQUANTIZE_VERSION)
        return floats

    def operation(self, operation: Operation, inputs: list[int]) -> int:
        """Add an operation of the graph, and return the number of its output."""
        kind, settings = operation.kind, operation.settings
        for values in _further_inputs(operation):
            inputs = [*inputs, self.constant(f"{operation.name}/input_{len(inputs)}", values)]
        output = self.tensor(operation.name, operation.shape)
        options = getattr(self.schema, f"{OPTIONS[kind]}T")() if kind in OPTIONS else None
        if options is not None:
            _set_options(options, settings)
        version = SIX_AXES_VERSION if kind == "transpose" and len(operation.shape) == 6 else 1
        self.operator("padv2" if kind == "pad" else kind, inputs, output, version, OPTIONS.get(kind), options)
        return output

    def operator(
        self,
        kind: str,
        inputs: list[int],
        output: int,
        version: int = 1,
        options_type: str | None = None,
        options: Any = None,
    ) -> None:
        """Add an operation with the numbers of its tensors."""
        code = getattr(self.schema.BuiltinOperator, kind.upper())
        known = [(each.builtinCode, each.version) for each in self.codes]
        if (code, version) not in known:
            known.append((code, version))
            self.codes.append(
                self.schema.OperatorCodeT(
                    builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version
                )
            )
        type_number = getattr(self.schema.BuiltinOptions, options_type) if options_type else 0
        self.operators.append(
            self.schema.OperatorT(
                opcodeIndex=known.index((code, version)),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=type_number,
                builtinOptions=options,
            )
        )

    def model(self, inputs: list[int], outputs: list[int], metadata: Mapping[str, str], title: str) -> Any:
        """Return the model of the schema with all parts."""
        schema = self.schema
        graph = schema.SubGraphT(
            tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.operators, name="main"
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(INPUT_NAME, inputs[0])],
            outputs=[schema.TensorMapT(OUTPUT_NAME, outputs[0])],
            signatureKey="serving_default",
        )
        texts = [schema.MetadataT(name, self.buffer(text.encode())) for name, text in metadata.items()]
        return schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=self.codes,
            subgraphs=[graph],
            description=title,
            buffers=self.buffers,
            metadata=texts,
            signatureDefs=[signature],
        )


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
        case _:
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
