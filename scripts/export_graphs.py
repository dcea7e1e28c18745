"""Export the graphs with which ONNX Runtime runs the shipped models: `python scripts/export_graphs.py`.

    pip install -e '.[export]'

The script writes models/NAME.onnx beside every models/NAME.safetensors. A graph holds the operations of a
network and the names and shapes of its tensors. `digitcli/inference/onnx_runtime.py` takes their values
from the checkpoint, so the script has to be run again only when an architecture changes. Batch
normalization stays separate; ONNX Runtime folds it into the convolutions when it loads a graph.
"""

from __future__ import annotations

import onnx

from digitcli.atomic_write import write_whole
from digitcli.export.onnx_file import export_graph, remove_unused
from digitcli.inference.model_resolution import resolve_models, shipped_models
from digitcli.inference.torch_runtime import open_network

PREFIX = "network."


def main() -> None:
    """Write the graph of every shipped model."""
    for model in resolve_models(shipped_models()):
        network = open_network(model)
        # Optimization would merge tensors and lose their names.
        graph = export_graph(network, model.header.task, optimize=False)
        _remove_added_biases(graph.graph)
        remove_unused(graph.graph)
        _remove_values(graph.graph, set(network.state_dict()))
        target = model.path.with_suffix(".onnx")
        write_whole(target, graph.SerializeToString())
        print(f"{target.name}: {len(graph.graph.node)} operations, {graph.ByteSize():,} bytes")


def _remove_added_biases(graph: onnx.GraphProto) -> None:
    """Remove the zeros that the exporter adds as a bias, which keep ONNX Runtime from folding operations."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] not in known:
            del node.input[2:]


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


if __name__ == "__main__":
    main()
