"""Make the graphs with which ONNX Runtime runs the shipped models: `python scripts/graphs.py export`.

    pip install -e '.[export]'

`export` writes models/NAME.onnx beside every models/NAME.safetensors, and has to be run again only when an
architecture changes. `quantize` writes models/NAME.int8.onnx for each network for lines or pages, and has to
be run again when its weights change. Names behind the command choose some of the models.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from digitcli.atomic_write import write_whole
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.export.onnx_file import export_graph, remove_unused
from digitcli.inference.checkpoint import read_arrays
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import ResolvedModel, resolve_models, shipped_models
from digitcli.inference.predictor import load_page_finder
from digitcli.inference.runtime import QUANTIZED_ENDING, QUANTIZED_LIST, as_batch, weights_digest
from digitcli.inference.torch_runtime import open_network
from digitcli.synthesis.scenes import Scene, SceneComposer, scene_composer
from digitcli.training.line_task import as_batches, kind_of

PREFIX = "network."
Inputs = Iterator[npt.NDArray[np.uint8]]  # batches of lines, or levels of pages

BATCHES, BATCH_SIZE = 100, 16
LEVELS, SIDES_PX = 200, (150, 500)  # of image pyramids; range of the sides of the pages
# The first convolutions of a page finder that stay floats (chosen by hand). On 120 levels of new composed
# pages, integers in all change 3.7 % as many cells as there are in the cores of numbers, without the first
# 2.4 %, without these two 0.04 %, for 8 % more time. Readers of lines gain far less.
FIRST_OF_FINDER = 2


def export_graphs(names: Collection[str]) -> None:
    """Write the graphs of shipped models.

    A graph holds the operations of a network and the names and shapes of its tensors.
    `digitcli/inference/runtime.py` takes their values from the checkpoint. Batch normalization stays
    separate; ONNX Runtime folds it into the convolutions when it loads a graph.
    """
    for model in resolve_models(names):
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


def quantize_graphs(names: Collection[str]) -> None:
    """Write the quantized graphs of shipped networks for lines or pages, and the list of all of them.

    Its convolutions take and give integers of 8 bits, but for the last ones, whose outputs would be too
    coarse for a confidence, and the first two of a page finder, which see fine detail. ONNX Runtime observes
    their ranges on what the network was trained on. Weights have 7 bits, because processors without VNNI
    would overflow with 8.
    """
    models = [model for model in resolve_models(names) if model.header.task in ("line", "page")]
    if not models:
        return
    graphs, listed = {}, models[0].path.with_name(QUANTIZED_LIST)
    digests = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    for model in models:
        inputs = levels_of_pages(model) if model.header.task == "page" else batches_of_lines(model)
        _, tensors = read_arrays(model.path, model.sha256)
        content = quantize(model, tensors, inputs)
        target = model.path.with_suffix(QUANTIZED_ENDING)
        graphs[target] = content
        digests[target.name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "weights": weights_digest(tensors),
        }
        print(f"{target.name}: {len(content):,} bytes")
    for target, content in graphs.items():
        write_whole(target, content)
    write_whole(listed, (json.dumps(dict(sorted(digests.items())), indent=2) + "\n").encode())


def quantize(model: ResolvedModel, tensors: dict[str, npt.NDArray[np.generic]], inputs: Inputs) -> bytes:
    """Return the quantized graph of a model; the inputs show the ranges of its values."""
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "target"))
        onnx.save(graph_with_weights(model, tensors), whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        quantize_static(
            prepared,
            target,
            Ranges(graph.input[0].name, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=last_convolutions(graph) + first_convolutions(model, graph),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return target.read_bytes()


def graph_with_weights(model: ResolvedModel, tensors: dict[str, npt.NDArray[np.generic]]) -> onnx.ModelProto:
    """Return the graph of a model with the values of its tensors."""
    graph = onnx.load(model.graph_path, load_external_data=False)
    values = [
        numpy_helper.from_array(tensors[each.name].astype(np.float32), each.name)
        if each.name in tensors
        else each
        for each in graph.graph.initializer
    ]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(values)
    return graph


def last_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions that give the outputs."""
    producers = {output: node for node in graph.node for output in node.output}
    names = []
    for output in graph.output:
        node = producers[output.name]
        while node.op_type != "Conv":
            node = producers[node.input[0]]
        names.append(node.name)
    return names


def first_convolutions(model: ResolvedModel, graph: onnx.GraphProto) -> list[str]:
    """Return the names of the first convolutions that stay floats."""
    count = FIRST_OF_FINDER if model.header.task == "page" else 0
    return [node.name for node in graph.node if node.op_type == "Conv"][:count]


class Ranges(CalibrationDataReader):  # type: ignore[misc]
    """Inputs from which ONNX Runtime learns the ranges of values."""

    def __init__(self, name: str, inputs: Inputs) -> None:
        self._name, self._inputs = name, inputs

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next input, or None behind the last one."""
        images = next(self._inputs, None)
        return None if images is None else {self._name: as_batch(images)}


def batches_of_lines(model: ResolvedModel) -> Inputs:
    """Yield batches on which a line network was trained."""
    composer, random = scene_composer(split(load_mnist()).train, "train"), np.random.default_rng(0)
    strips = kind_of(model.header.architecture).compose(composer, random, BATCHES * BATCH_SIZE)
    for batch in as_batches(strips, BATCH_SIZE, random):
        yield batch.images


def levels_of_pages(model: ResolvedModel) -> Inputs:
    """Yield the levels of the image pyramids of synthetic pages that a page finder looks at."""
    composer = scene_composer(split(load_mnist()).train, "train")
    finder = load_page_finder(model, device="cpu", runtime="onnxruntime")
    levels: list[npt.NDArray[np.uint8]] = []

    def look(page: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        levels.append(page[None])
        return finder.maps(page)

    random = np.random.default_rng(model.header.seed)
    for number in itertools.count():
        find_lines(compose(composer, random, number).picture, look)
        if len(levels) >= LEVELS:
            break
    yield from levels


def compose(composer: SceneComposer, random: np.random.Generator, number: int) -> Scene:
    """Compose a line, a character, a small picture or a page in turn."""
    height, width = random.integers(*SIDES_PX, 2).tolist()
    kinds = composer.line, composer.character, composer.small_picture
    if number % 4 < len(kinds):
        return kinds[number % 4](random)
    return composer.page(random, height, width)


if __name__ == "__main__":
    commands = {"export": export_graphs, "quantize": quantize_graphs}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](sys.argv[2:] or shipped_models())
