"""ONNX: a graph with its weights in one file, which ONNX Runtime and many other programs run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from digitcli.export.network import AllOutputs, example_input
from digitcli.export.onnx_integers import with_integer_operations
from digitcli.export.source import Exporter, Images, Outputs, Source, describe
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.onnx_runtime import OnnxRuntime
from digitcli.inference.torch_runtime import load_network
from digitcli.optional_packages import import_packages

if TYPE_CHECKING:
    import onnx

# ONNX Runtime reads it since 1.18; it is what the exporter of PyTorch writes without a conversion.
OPSET = 20
DYNAMIC_AXES = {"digit": {0: "N"}, "line": {0: "N", 3: "W"}, "page": {0: "N", 2: "H", 3: "W"}}
OUTPUT_NAMES = {"digit": ["logits"], "line": ["logits", "boxes"], "page": ["maps"]}
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
    import_exporter()
    task = model.header.task
    return export_graph(with_integer_operations(load_network(model)), task, OUTPUT_NAMES[task])


def export_graph(
    network: nn.Module, task: str, output_names: Sequence[str] | None = None, *, optimize: bool = True
) -> onnx.ModelProto:
    """Return the graph of a network for batches of any size, lines of any width and pages of any size.

    optimize: whether operations are merged, which changes the names and the values of some tensors.
    """
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
