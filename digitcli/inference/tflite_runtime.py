"""Run models with LiteRT, the runtime of TensorFlow Lite. Loads no torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.errors import import_packages
from digitcli.inference.onnx_runtime import as_batch
from digitcli.threads import default_threads

STDERR = 2  # the file descriptor
# Imports LiteRT, or raises an EnvironmentFault.
import_litert = partial(import_packages, "TensorFlow Lite", "tflite", "ai_edge_litert.interpreter")


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

        with _quiet():
            self._interpreter: Any = Interpreter(
                model_content=content, num_threads=threads or default_threads()
            )
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
