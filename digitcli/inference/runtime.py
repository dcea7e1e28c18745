"""The interface between models and the libraries that run them, PyTorch and ONNX Runtime.

Everything above runs a network through `Runtime.run`. Loads no torch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from digitcli.strip_format import STRIP_PAPER

RuntimeName = Literal["auto", "torch", "onnxruntime"]

DIGIT_BATCH_SIZE = 512  # images that are computed together
LINE_BATCH_SIZE = 32  # line crops that are computed together; each is several times as large as a digit
WIDTH_STEP_PX = 32  # line crops are padded to a multiple of this width, so that a batch has one shape
# The same for networks that read one picture at a time. A digit is 40 pixels wide, and padded to 48, not 64:
# of 2,500 synthetic pictures picture_reader reads 81.9 % correctly with 64 and 83.1 % with 48, in less time.
OTHER_WIDTH_STEPS_PX = {"picture_reader": 16}


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
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None


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
            outputs.update(
                zip(batch, _run_batch(runtime, [line_crops[i] for i in batch], width), strict=True)
            )
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


def _run_batch(runtime: Runtime, line_crops: Sequence[npt.NDArray[np.uint8]], width: int) -> list[LineOutput]:
    """Run crops that are padded to one width, and cut the columns of the padding off."""
    logits, *distances = runtime.run(pad_lines(line_crops, width))
    outputs = []
    for row, crop in enumerate(line_crops):
        columns = count_columns(crop.shape[-1], width, logits.shape[1])
        outputs.append(LineOutput(logits[row, :columns], distances[0][row, :columns] if distances else None))
    return outputs


def average_probabilities(logs: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the logarithm of the mean of several models' probabilities (N, 10), given as logarithms.

    `architectures.averaging.Ensemble` computes the same with torch.
    """
    return np.asarray(np.logaddexp.reduce(logs) - np.float32(math.log(len(logs))))
