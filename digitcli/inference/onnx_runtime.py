"""Shipped models as ONNX Runtime runs them: a graph beside the checkpoint, fed with its tensors. No torch.

A graph, `cnn.onnx` beside `cnn.safetensors`, holds operations and the names of tensors but none of these;
`scripts/export_graphs.py` makes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.errors import EnvironmentFault, ModelError
from digitcli.inference.checkpoint import FETCH_ANEW, Header, find_checkpoint, read_arrays, shipped_models
from digitcli.inference.devices import usable_cores

QUIET = 4  # fatal errors alone: the others are raised, and need not be printed too


class GraphRuntime:
    """A graph with its weights on the CPU, see `inference.Runtime`."""

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, graph: bytes, tensors: dict[str, npt.NDArray[np.float32]], threads: int = 0) -> None:
        """`threads` of the CPU compute; with 0 as many as there are cores for this process."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = QUIET
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
        options.add_external_initializers(list(tensors), values)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Everything that the graph answers."""
        return self.compute(as_batch(images))

    def compute(self, batch: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """The same of images (N, 1, H, W) from 0 to 1."""
        try:
            return tuple(self._session.run(None, {self._input: batch}))
        except Exception as error:  # its own classes derive from no other
            raise RuntimeError(str(error)) from error


def as_batch(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images (N, H, W), uint8, as a graph takes them: (N, 1, H, W) from 0 to 1."""
    return images[:, None].astype(np.float32) / np.float32(255)


def graph_of(name: str) -> Path | None:
    """The graph of the shipped model of that name; None for another model, whatever lies beside it.

    Raises:
        ModelError: there is no such model.
    """
    path = find_checkpoint(name)
    graph = path.with_suffix(".onnx")
    return graph if path in shipped_models().values() and graph.is_file() else None


def import_onnxruntime() -> None:
    """Load ONNX Runtime.

    Raises:
        EnvironmentFault: it cannot be loaded.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        remedy = "Install it anew (pip install onnxruntime), or take --runtime torch."
        raise EnvironmentFault(f"ONNX Runtime cannot be loaded: {error}.", remedy) from error


def open_graph(name: str, threads: int = 0) -> tuple[GraphRuntime, Header]:
    """The model of that name as a graph, see `GraphRuntime`, and what its checkpoint says of it.

    Raises:
        ModelError: no such model or graph, or a damaged file.
        EnvironmentFault: ONNX Runtime cannot be loaded.
    """
    import_onnxruntime()
    path = graph_of(name)
    if path is None:
        raise ModelError(f"{name} has no graph for ONNX Runtime.", "Leave --runtime out, or take torch.")
    header, tensors = read_arrays(find_checkpoint(name))
    whole = {key: tensor.astype(np.float32) for key, tensor in tensors.items() if tensor.dtype.kind == "f"}
    try:
        return GraphRuntime(path.read_bytes(), whole, threads), header
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's own classes derive from no other
        raise ModelError(f"{path} does not fit its checkpoint: {error}", FETCH_ANEW) from error
