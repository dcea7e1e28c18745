"""The interface between models and the libraries that run them, PyTorch and ONNX Runtime.

Everything above runs a network through `Runtime.run`. Loads no torch.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from digitcli.strip_format import STRIP_PAPER

RuntimeName = Literal["auto", "torch", "onnxruntime"]

DIGIT_BATCH_SIZE = 512  # images that are computed together
LINE_BATCH_SIZE = 32  # line crops that are computed together; each is several times as large as a digit
WIDTH_STEP_PX = 32  # line crops are padded to a multiple of this width, so that a batch has one shape


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
        `architectures.reader.Reader.locate`; None if the network does not predict them.
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None


def run_lines(
    runtime: Runtime, line_crops: Sequence[npt.NDArray[np.uint8]], batch_size: int = LINE_BATCH_SIZE
) -> list[LineOutput]:
    """Run a line network on line crops, each of a width of its own.

    A crop is uint8 (40, W) with ink 255, or a strip, uint8 (3, 40, W) with paper 128.

    Each crop is padded to a width that depends on its own width only, so that the other crops of a batch do
    not change its output.
    """
    outputs: dict[int, LineOutput] = {}
    indices_by_width: dict[int, list[int]] = {}
    for index, crop in enumerate(line_crops):
        padded_width = -(-crop.shape[-1] // WIDTH_STEP_PX) * WIDTH_STEP_PX
        indices_by_width.setdefault(padded_width, []).append(index)
    for width, indices in indices_by_width.items():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            outputs.update(
                zip(batch, _run_batch(runtime, [line_crops[i] for i in batch], width), strict=True)
            )
    return [outputs[index] for index in range(len(line_crops))]


def _run_batch(runtime: Runtime, line_crops: Sequence[npt.NDArray[np.uint8]], width: int) -> list[LineOutput]:
    """Run crops that are padded to one width, and cut the columns of the padding off."""
    *height, _ = line_crops[0].shape
    images = np.full((len(line_crops), *height, width), 0 if len(height) == 1 else STRIP_PAPER, np.uint8)
    for image, crop in zip(images, line_crops, strict=True):
        image[..., : crop.shape[-1]] = crop
    logits, *distances = runtime.run(images)
    outputs = []
    for row, crop in enumerate(line_crops):
        columns = -(-crop.shape[-1] * logits.shape[1] // width)
        outputs.append(LineOutput(logits[row, :columns], distances[0][row, :columns] if distances else None))
    return outputs


def average_probabilities(logs: Sequence[Any], logaddexp: Callable[[Any, Any], Any]) -> Any:
    """Return the logarithm of the mean of several models' probabilities (N, 10), given as logarithms.

    The arrays and the function `logaddexp` are those of NumPy or of torch.
    """
    return functools.reduce(logaddexp, logs) - math.log(len(logs))
