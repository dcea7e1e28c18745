"""The interface between models and the libraries that run them, and ONNX Runtime and LiteRT behind it.

Everything above runs a network through `Runtime.run`. ONNX Runtime starts and answers sooner than PyTorch on
a CPU; LiteRT is the runtime of TensorFlow Lite. Loads no torch.

A graph, e.g. `cnn.onnx` beside `cnn.safetensors`, holds the operations of a network and the names of its
tensors; their values come from the checkpoint. `scripts/graphs.py export` writes the graphs. A quantized
graph, e.g. `reader.int8.onnx`, computes convolutions in integers of 8 bits, in a third of the time, and holds
their weights itself: Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018. `scripts/graphs.py quantize` writes it, and a list that says of
which weights it was made, so that it is used for no others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from digitcli.errors import EnvironmentFault, ModelError, import_packages
from digitcli.inference.checkpoint import REPLACE_REMEDY, read_arrays
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.strip_format import STRIP_PAPER
from digitcli.threads import default_threads

RuntimeName = Literal["auto", "torch", "onnxruntime"]

DIGIT_BATCH_SIZE = 512  # images that are computed together
LINE_BATCH_SIZE = 32  # line crops that are computed together; each is several times as large as a digit
WIDTH_STEP_PX = 32  # line crops are padded to a multiple of this width, so that a batch has one shape
# The same for networks that read one picture at a time. A digit is 40 pixels wide, and padded to 48, not 64:
# of 2,500 synthetic pictures the glance reads 81.9 % correctly with 64 and 83.1 % with 48, in less time.
OTHER_WIDTH_STEPS_PX = {"glance": 16}
QUANTIZED_ENDING = ".int8.onnx"
QUANTIZED_LIST = "quantized.json"  # by file: the SHA-256 of a quantized graph, and the digest of its weights
FATAL_ONLY = 4  # the log level at which ONNX Runtime prints no error that it raises as well
STDERR = 2  # the file descriptor
# Imports LiteRT, or raises an EnvironmentFault.
import_litert = partial(import_packages, "TensorFlow Lite", "tflite", "ai_edge_litert.interpreter")


class Runtime(Protocol):
    """A network that is ready to run on a device."""

    @property
    def name(self) -> str:
        """`torch` or `onnxruntime`."""

    @property
    def device(self) -> str:
        """The device that computes, e.g. `cpu` or `cuda:0`."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute the outputs for images (N, H, W), uint8 with ink 255, or (N, C, H, W) of several channels.

        A digit network gives logits (N, 10). A line network gives logits (N, T, A + 1), and distances
        (N, T, 4) if it predicts them, see `LineOutput`.

        Raises:
            RuntimeError, MemoryError: there is not enough memory.
        """


class LazyRuntime:
    """A `Runtime` that is opened when it computes for the first time, which many runs never need."""

    def __init__(self, open_runtime: Callable[[], Runtime], name: str, device: str) -> None:
        self.name, self.device = name, device
        self._open_runtime = open_runtime
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute the outputs, see `Runtime.run`.

        Raises:
            ModelError: the model is damaged.
        """
        with self._lock:
            if self._runtime is None:
                self._runtime = self._open_runtime()
        return self._runtime.run(images)


@dataclass(frozen=True)
class LineOutput:
    """The output of a line network for one line of T columns.

    logits: (T, A + 1); the last class is the CTC blank.
    distances: (T, 4), from a column to the edges of its character, see
        `architectures.text_networks.Reader.locate`; None if the network does not predict them.
    prints: (T, 1), the logits that it is printed; None likewise.
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None
    prints: npt.NDArray[np.float32] | None = None


def run_lines(
    runtime: Runtime,
    line_crops: Sequence[npt.NDArray[np.uint8]],
    batch_size: int = LINE_BATCH_SIZE,
    width_step: int = WIDTH_STEP_PX,
) -> list[LineOutput]:
    """Run a line network on line crops, each of a width of its own.

    A crop is uint8 (40, W) with ink 255, or a strip, uint8 (3, 40, W) with paper 128.

    Each crop is padded to a width that depends on its own width only, so that the other crops of a batch do
    not change its output.
    """
    outputs: dict[int, LineOutput] = {}
    indices_by_width: dict[int, list[int]] = {}
    for index, crop in enumerate(line_crops):
        indices_by_width.setdefault(padded_width(crop, width_step), []).append(index)
    for width, indices in indices_by_width.items():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            logits, *others = runtime.run(pad_lines([line_crops[index] for index in batch], width))
            for row, index in enumerate(batch):  # the columns of the padding are cut off
                columns = slice(count_columns(line_crops[index].shape[-1], width, logits.shape[1]))
                outputs[index] = LineOutput(logits[row, columns], *(each[row, columns] for each in others))
    return [outputs[index] for index in range(len(line_crops))]


def width_step(architecture: str) -> int:
    """Return the pixels to a multiple of which the lines of an architecture are padded."""
    return OTHER_WIDTH_STEPS_PX.get(architecture, WIDTH_STEP_PX)


def padded_width(line_crop: npt.NDArray[np.uint8], width_step: int = WIDTH_STEP_PX) -> int:
    """Return the width in pixels to which a line crop is padded, see `run_lines`."""
    return -(-int(line_crop.shape[-1]) // width_step) * width_step


def paper_level(line_crop: npt.NDArray[np.uint8]) -> int:
    """Return the grey level of the paper of a line crop: that of ink (40, W), or of a strip (3, 40, W)."""
    return 0 if line_crop.ndim == 2 else STRIP_PAPER


def pad_lines(line_crops: Sequence[npt.NDArray[np.uint8]], width: int) -> npt.NDArray[np.uint8]:
    """Return line crops with paper on their right, uint8 (N, 40, width) or (N, 3, 40, width)."""
    first = line_crops[0]
    images = np.full((len(line_crops), *first.shape[:-1], width), paper_level(first), np.uint8)
    for image, crop in zip(images, line_crops, strict=True):
        image[..., : crop.shape[-1]] = crop
    return images


def count_columns(width: int, padded: int, columns: int) -> int:
    """Return the number of columns of a line crop `width` pixels wide, of those of its padded copy."""
    return -(-width * columns // padded)


def average_probabilities(logs: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the logarithm of the mean of several models' probabilities (N, 10), given as logarithms.

    `architectures.averaging.Ensemble` computes the same with torch.
    """
    return np.asarray(np.logaddexp.reduce(logs) - np.float32(math.log(len(logs))))


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
    return np.divide(images, np.float32(255), dtype=np.float32)


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


class TfliteRuntime:
    """A `Runtime` that computes a graph of TensorFlow Lite on the CPU."""

    name = "tflite"
    device = "cpu"

    def __init__(self, content: bytes, threads: int = 0) -> None:
        """Prepare the content of a file; `threads` of the CPU compute, 0 means one for each core.

        Raises:
            EnvironmentFault: LiteRT cannot be imported.
        """
        import_litert()
        from ai_edge_litert.interpreter import Interpreter

        threads = threads or default_threads()
        with _quiet():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self._shape: tuple[int, ...] | None = None

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute all outputs of the graph for images (N, H, W), uint8 with ink 255."""
        return self.run_batch(as_batch(images))

    def run_batch(self, batch: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute all outputs of the graph for a batch (N, 1, H, W) of values from 0 to 1."""
        if batch.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, batch.shape, strict=True)
            self._interpreter.allocate_tensors()
            self._shape = batch.shape
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(output) for output in self._outputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the message away that LiteRT writes to file descriptor 2 as it starts; no setting does that."""
    try:
        kept = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nothing)
