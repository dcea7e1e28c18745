"""The graphs by which ONNX Runtime runs the shipped models: `python scripts/export_graphs.py`.

    pip install -e '.[export]'

Writes models/NAME.onnx beside every models/NAME.safetensors: its operations, and the names and shapes of its
tensors without what is in them, which `digitcli/graphs.py` takes from the checkpoint. So it has to be run
again only when an architecture changes. Batch norms stay apart here; ONNX Runtime folds them into the
convolutions before them when it loads a graph.
"""

from __future__ import annotations

import warnings

import onnx
import torch
from torch import Tensor, nn

from digitcli.atomic_write import write_whole
from digitcli.inference.model_resolution import resolve_models, shipped_models
from digitcli.inference.torch_runtime import open_network

PREFIX = "network."
BATCH, WIDTH = 3, 200  # of the example; any others will do


class Everything(nn.Module):
    """A network with all that it answers when pictures are read."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if hasattr(self.network, "locate"):
            located: tuple[Tensor, ...] = self.network.locate(images)
            return located
        return (self.network(images),)


def main() -> None:
    """Write every graph."""
    warnings.simplefilter("ignore")  # of PyTorch's own making
    for model in resolve_models(shipped_models()):
        graph = exported(open_network(model), model.header.task)
        target = model.path.with_suffix(".onnx")
        write_whole(target, graph.SerializeToString())
        print(f"{target.name}: {len(graph.graph.node)} operations, {graph.ByteSize():,} bytes")


def exported(network: nn.Module, task: str) -> onnx.ModelProto:
    """The graph of a network for batches of any size, and lines of any width that is a multiple of 4."""
    line = task == "line"
    images = torch.rand(BATCH, 1, 40, WIDTH) if line else torch.rand(BATCH, 1, 28, 28)
    program = torch.onnx.export(
        Everything(network).eval(),
        (images,),
        dynamo=True,
        optimize=False,  # it would fold the tensors into others
        verbose=False,
        input_names=["images"],
        dynamic_shapes=({0: "N", 3: "W"} if line else {0: "N"},),
    )
    assert program is not None
    model = program.model_proto
    _without_added_biases(model.graph)
    _without_unused(model.graph)
    _without_tensors(model.graph, set(network.state_dict()))
    _without_remarks(model)
    return model


def _without_added_biases(graph: onnx.GraphProto) -> None:
    """Drop the zeros that are computed as the bias of a convolution without one, and keep it from folding."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] not in known:
            del node.input[2:]


def _without_unused(graph: onnx.GraphProto) -> None:
    """Drop operations and tensors that lead to no output."""
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        unused = [node for node in graph.node if not used & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _without_tensors(graph: onnx.GraphProto, names: set[str]) -> None:
    """Leave of the network's tensors their names, types and shapes."""
    for node in graph.node:
        renamed = [name.removeprefix(PREFIX) for name in node.input]
        node.input[:] = renamed
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix(PREFIX)
        if tensor.name not in names:
            continue
        for kept in ("raw_data", "float_data", "int64_data"):
            tensor.ClearField(kept)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="checkpoint")


def _without_remarks(model: onnx.ModelProto) -> None:
    """Drop where in the source an operation comes from, which is most of the file."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:], model.functions[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


if __name__ == "__main__":
    main()
