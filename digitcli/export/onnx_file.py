"""ONNX: a graph with its weights in one file, which ONNX Runtime and many other programs run.

Quantized layers become pairs of QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime computes with
integers where the processor has instructions for them. ONNX Runtime's own quantizer would choose other scales
than those that the model was trained with, and the answers would not be those of PyTorch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from digitcli.architectures.compression import QuantizedInput, per_channel, quantized_layers
from digitcli.architectures.summary import AllOutputs, example_input
from digitcli.errors import import_packages
from digitcli.export.exporter import Exporter, Images, Outputs, Source, describe
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.runtime import OnnxRuntime
from digitcli.inference.torch_runtime import load_network

if TYPE_CHECKING:
    import onnx

# ONNX Runtime reads it since 1.18; it is what the exporter of PyTorch writes without a conversion.
OPSET = 20
DYNAMIC_AXES = {
    "digit": {0: "N"},
    "line": {0: "N", 3: "W"},
    "page": {0: "N", 2: "H", 3: "W"},
    "gaps": {0: "N", 2: "G"},
}
OUTPUT_NAMES = {
    "digit": ["logits"],
    "line": ["logits", "boxes", "prints"],
    "page": ["maps"],
    "gaps": ["logits"],
}
LARGEST_BIAS = 2**30  # half of the range of int32 is left to the sum; a larger bias stays a float
# Imports what PyTorch needs to write ONNX, or raises an EnvironmentFault.
import_exporter = partial(import_packages, "The format onnx", "export", "onnx", "onnxscript")


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to one `.onnx` file.

    Raises:
        EnvironmentFault: the packages `onnx` and `onnxscript` are not installed.
    """
    model = graph_of_model(source.model)
    for key, value in describe(source).items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=key, value=text)
    facts: dict[str, str | int] = {"opset": OPSET, "operations": len(model.graph.node)}
    return Exporter({"model.onnx": model.SerializeToString()}, facts, _run)


def graph_of_model(model: ResolvedModel) -> onnx.ModelProto:
    """Return the graph of a model with its weights; quantized layers compute with integers.

    Raises:
        ModelError: the checkpoint is damaged.
        EnvironmentFault: the packages `onnx` and `onnxscript` are not installed.
    """
    task = model.header.task
    return export_graph(with_integer_operations(load_network(model)), task, OUTPUT_NAMES[task])


def export_graph(
    network: nn.Module, task: str, output_names: Sequence[str] | None = None, *, optimize: bool = True
) -> onnx.ModelProto:
    """Return the graph of a network for batches of any size, lines of any width and pages of any size.

    optimize: whether operations are merged, which changes the names and the values of some tensors.
    """
    import_exporter()
    wrapped = AllOutputs(network).eval()
    image = example_input(network, task)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated functions
        names = None if output_names is None else output_names[: len(wrapped(image))]
        program = torch.onnx.export(
            wrapped,
            (image,),
            dynamo=True,
            optimize=optimize,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=names,
            dynamic_shapes=(DYNAMIC_AXES[task],),
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    remove_unused(model.graph)
    _remove_metadata(model)
    return model


def remove_unused(graph: onnx.GraphProto) -> None:
    """Remove operations and tensors that no output depends on."""
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        unused = [node for node in graph.node if not used & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _remove_metadata(model: onnx.ModelProto) -> None:
    """Remove the source locations of the operations, which are most of a file without weights."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:], model.functions[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _run(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    runtime = OnnxRuntime(path.read_bytes(), {})
    return [runtime.run(batch) for batch in batches]


@torch.no_grad()
def with_integer_operations(network: nn.Module) -> nn.Module:
    """Replace the quantized weights and inputs of a network in place by operations of ONNX.

    Layers of which only the weights are quantized keep floats: there is no faster operation for them.
    """
    for layer, quantizer in quantized_layers(network).values():
        scale = quantizer.scale
        rounded: Any = layer.weight
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        inputs = getattr(layer, "input_quantizer", None)
        if not isinstance(inputs, QuantizedInput):
            continue
        _store(layer, "weight", rounded.detach(), scale, torch.int8)
        steps = scale * inputs.scale  # integer operations add the bias to sums of products of integers
        if layer.bias is not None and (layer.bias / steps).abs().max() < LARGEST_BIAS:
            _store(layer, "bias", layer.bias.detach(), steps, torch.int32)
        layer.input_quantizer = _Quantize(inputs)
    return network


def _store(layer: Any, name: str, values: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    integers = (values / per_channel(scale, values.ndim)).round()
    parametrize.register_parametrization(layer, name, _Dequantize(integers.to(dtype), scale), unsafe=True)


class _Dequantize(nn.Module):
    """A parametrization that ignores the floats and takes integers times a scale for each channel."""

    def __init__(self, integers: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.integers, self.scale = nn.Buffer(integers), nn.Buffer(scale)
        self.zero_points = nn.Buffer(torch.zeros(len(scale), dtype=integers.dtype))

    def forward(self, floats: Tensor) -> Tensor:
        shape = self.integers.shape
        if not torch.onnx.is_in_onnx_export():
            return self.integers * per_channel(self.scale, len(shape))
        parts = (self.integers, self.scale, self.zero_points)
        return _operation("DequantizeLinear", parts, shape, torch.float32, axis=0)


class _Quantize(nn.Module):
    """The rounding of `QuantizedInput` as two operations of ONNX."""

    def __init__(self, quantizer: QuantizedInput) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Buffer(torch.tensor(quantizer.scale))
        self.zero_point = nn.Buffer(torch.tensor(quantizer.zero_point, dtype=torch.uint8))

    def forward(self, values: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():
            return self.quantizer(values)  # type: ignore[no-any-return]
        parts = (self.scale, self.zero_point)
        integers = _operation("QuantizeLinear", (values, *parts), values.shape, torch.uint8)
        return _operation("DequantizeLinear", (integers, *parts), values.shape, torch.float32)


def _operation(
    name: str,
    inputs: tuple[Tensor, ...],
    shape: torch.Size,
    dtype: torch.dtype,
    axis: int | None = None,
) -> Tensor:
    attributes = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(name, inputs, {**attributes}, dtype=dtype, shape=shape)
