"""Export the graphs with which ONNX Runtime runs the shipped models: `python scripts/export_graphs.py`.

    pip install -e '.[export]'

The script writes models/NAME.onnx beside every models/NAME.safetensors. A graph holds the operations of a
network and the names and shapes of its tensors. `digitcli/inference/onnx_runtime.py` takes their values
from the checkpoint, so the script has to be run again only when an architecture changes. Batch
normalization stays separate; ONNX Runtime folds it into the convolutions when it loads a graph.
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
# The sizes of the example inputs, and the names of those that the graph accepts in any length.
SIZES = {
    "digit": ((3, 1, 28, 28), {0: "N"}),
    "line": ((3, 1, 40, 200), {0: "N", 3: "W"}),  # W is a multiple of 4
    "page": ((3, 4, 64, 96), {0: "N", 2: "H", 3: "W"}),  # H and W are multiples of 32
}


class AllOutputs(nn.Module):
    """A network that returns all outputs which the recognition of pictures uses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if hasattr(self.network, "locate"):
            located: tuple[Tensor, ...] = self.network.locate(images)
            return located
        return (self.network(images),)


def main() -> None:
    """Write the graph of every shipped model."""
    warnings.simplefilter("ignore")  # the exporter warns of its own deprecated functions
    for model in resolve_models(shipped_models()):
        graph = export_graph(open_network(model), model.header.task)
        target = model.path.with_suffix(".onnx")
        write_whole(target, graph.SerializeToString())
        print(f"{target.name}: {len(graph.graph.node)} operations, {graph.ByteSize():,} bytes")


def export_graph(network: nn.Module, task: str) -> onnx.ModelProto:
    """Return the graph of a network for batches of any size, lines of any width and pages of any size."""
    size, dynamic = SIZES[task]
    channels = getattr(network, "channels", size[1])
    program = torch.onnx.export(
        AllOutputs(network).eval(),
        (torch.rand(size[0], channels, *size[2:]),),
        dynamo=True,
        optimize=False,  # optimization would merge tensors and lose their names
        verbose=False,
        input_names=["images"],
        dynamic_shapes=(dynamic,),
    )
    assert program is not None
    model = program.model_proto
    _remove_added_biases(model.graph)
    _remove_unused(model.graph)
    _remove_values(model.graph, set(network.state_dict()))
    _remove_metadata(model)
    return model


def _remove_added_biases(graph: onnx.GraphProto) -> None:
    """Remove the zeros that the exporter adds as a bias, which keep ONNX Runtime from folding operations."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] not in known:
            del node.input[2:]


def _remove_unused(graph: onnx.GraphProto) -> None:
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


def _remove_values(graph: onnx.GraphProto, names: set[str]) -> None:
    """Keep only the names, types and shapes of the network's tensors, not their values."""
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


def _remove_metadata(model: onnx.ModelProto) -> None:
    """Remove the source locations of the operations, which are most of the file."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:], model.functions[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


if __name__ == "__main__":
    main()
