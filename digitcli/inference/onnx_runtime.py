"""Run shipped models with ONNX Runtime, which starts and answers sooner on a CPU. Loads no torch.

A graph, e.g. `cnn.onnx` beside `cnn.safetensors`, holds the operations of a network and the names of its
tensors; their values come from the checkpoint. `scripts/graphs.py export` writes the graphs.

A quantized graph, e.g. `reader.int8.onnx`, computes convolutions in integers of 8 bits, in a third of the
time, and holds their weights itself: Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", 2018. `scripts/graphs.py quantize` writes it, and a list that
says of which weights it was made, so that it is used for no others.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.errors import EnvironmentFault, ModelError
from digitcli.inference.checkpoint import REPLACE_REMEDY, read_arrays
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.threads import default_threads

QUANTIZED_ENDING = ".int8.onnx"
QUANTIZED_LIST = "quantized.json"  # by file: the SHA-256 of a quantized graph, and the digest of its weights
FATAL_ONLY = 4  # the log level at which ONNX Runtime prints no error that it raises as well


class OnnxRuntime:
    """A `Runtime` that computes a graph with its weights on the CPU."""

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, graph: bytes, tensors: dict[str, npt.NDArray[np.float32]], threads: int = 0) -> None:
        """Prepare a graph; `threads` of the CPU compute, 0 means one for each core of this process."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.log_severity_level = FATAL_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
        options.add_external_initializers(list(tensors), values)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute all outputs of the graph for images (N, H, W), uint8 with ink 255."""
        return self.run_batch(as_batch(images))

    def run_batch(self, batch: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute all outputs of the graph for a batch (N, 1, H, W) of values from 0 to 1."""
        try:
            return tuple(self._session.run(None, {self._input: batch}))
        except Exception as error:  # the exceptions of ONNX Runtime have no base class but Exception
            raise RuntimeError(str(error)) from error


def as_batch(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Convert images (N, H, W) or (N, C, H, W), uint8, into the input of a graph, from 0 to 1."""
    images = images[:, None] if images.ndim == 3 else images
    return images.astype(np.float32) / np.float32(255)


def import_onnxruntime() -> None:
    """Import ONNX Runtime.

    Raises:
        EnvironmentFault: ONNX Runtime cannot be imported.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        remedy = "Install it again (pip install onnxruntime), or give --runtime torch."
        raise EnvironmentFault(f"ONNX Runtime cannot be loaded: {error}.", remedy) from error


def open_onnx_runtime(model: ResolvedModel, threads: int = 0, *, quantized: bool = False) -> OnnxRuntime:
    """Load the graph and the weights of a model; with `quantized`, its quantized graph if it has one.

    Raises:
        ModelError: the model has no graph, or one of its files is damaged.
        EnvironmentFault: ONNX Runtime cannot be imported.
    """
    import_onnxruntime()
    if model.graph_path is None:
        raise ModelError(f"{model.name} has no graph for ONNX Runtime.", "Give --runtime torch or auto.")
    _, tensors = read_arrays(model.path, model.sha256)
    try:
        if quantized and (graph := read_quantized_graph(model.graph_path, tensors)):
            return OnnxRuntime(graph, {}, threads)
        weights = {
            name: tensor.astype(np.float32) for name, tensor in tensors.items() if tensor.dtype.kind == "f"
        }
        return OnnxRuntime(model.graph_path.read_bytes(), weights, threads)
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # the exceptions of ONNX Runtime have no base class but Exception
        cause = f"{model.graph_path} does not fit its checkpoint: {error}"
        raise ModelError(cause, REPLACE_REMEDY) from error


def weights_digest(tensors: dict[str, npt.NDArray[np.generic]]) -> str:
    """Return a hash of the tensors of a checkpoint, whatever its header says."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.tobytes())
    return digest.hexdigest()


def read_quantized_graph(graph_path: Path, tensors: dict[str, npt.NDArray[np.generic]]) -> bytes | None:
    """Return the quantized graph beside a graph; None if there is none, or it was made of other weights.

    Raises:
        ModelError: the quantized graph is damaged.
    """
    path = graph_path.with_suffix(QUANTIZED_ENDING)
    try:
        stated = json.loads(path.with_name(QUANTIZED_LIST).read_text(encoding="utf-8"))[path.name]
    except (OSError, ValueError, KeyError):
        return None
    if stated["weights"] != weights_digest(tensors):  # as after an adaptation
        return None
    graph = path.read_bytes()
    if hashlib.sha256(graph).hexdigest() != stated["sha256"]:
        raise ModelError(f"{path} is damaged: its SHA-256 is another.", "Install digitcli again.")
    return graph
