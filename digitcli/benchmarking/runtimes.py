"""The runtimes that a benchmark compares with PyTorch, each with a graph of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from digitcli.benchmarking.configuration import Candidate
from digitcli.errors import EnvironmentFault, UsageError
from digitcli.export.channels_last import channels_last
from digitcli.export.layers import PlainLayer, plain_layers
from digitcli.export.onnx_file import export_graph, graph_of_model, import_exporter
from digitcli.export.tflite_file import tflite_bytes
from digitcli.inference.onnx_runtime import OnnxRuntime, import_onnxruntime, open_onnx_runtime
from digitcli.inference.tflite_runtime import TfliteRuntime, import_litert
from digitcli.optional_packages import install_command


class GraphRuntime(Protocol):
    """A `Runtime` that also takes a batch which is converted already."""

    @property
    def name(self) -> str:
        """The name of the runtime."""

    @property
    def device(self) -> str:
        """The device that computes."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute the outputs for images (N, H, W), uint8 with ink 255."""

    def run_batch(self, batch: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute the outputs for a batch (N, 1, H, W) of values from 0 to 1."""


# By runtime: the function that imports its package, or raises an EnvironmentFault.
PACKAGES: Mapping[str, Callable[[], None]] = {"onnxruntime": import_onnxruntime, "tflite": import_litert}


def check_packages(runtimes: Sequence[str]) -> None:
    """Check that the packages of runtimes are installed.

    Raises:
        EnvironmentFault: one of them is missing.
    """
    for runtime in runtimes:
        if runtime in PACKAGES:
            PACKAGES[runtime]()


def reason_to_skip(
    candidate: Candidate, network: nn.Module, device: torch.device, runtime: str, dtype: str
) -> str | None:
    """Return the reason why a model cannot be measured in this way, or None if it can."""
    if runtime not in PACKAGES:
        return None
    if dtype != "float32":
        return "graphs compute in float32."
    if device.type != "cpu":
        return f"{runtime} computes on the CPU."
    try:
        if runtime == "tflite":
            _layers(candidate, network)
        elif not _has_graph(candidate):
            import_exporter()
    except UsageError as error:  # a layer that the format cannot hold
        return error.cause
    except EnvironmentFault:
        return f"it has no graph for onnxruntime; {install_command('export')} makes one possible."
    return None


def open_graph_runtime(
    candidate: Candidate, network: nn.Module, runtime: str, threads: int
) -> tuple[GraphRuntime, int]:
    """Return a runtime with the graph of a network on the CPU, and the bytes of the files that it needs.

    ONNX Runtime takes the shipped graph of a model, or else one that is exported now.

    Raises:
        ModelError: a shipped graph is damaged.
    """
    if runtime == "tflite":
        layers = _layers(candidate, network)
        content = tflite_bytes(channels_last(layers), "float32", {}, candidate.name)
        return TfliteRuntime(content, threads), len(content)
    model = candidate.model
    if model is not None and model.graph_path is not None:
        size_bytes = sum(path.stat().st_size for path in (model.path, model.graph_path))
        return open_onnx_runtime(model, threads), size_bytes
    graph = export_graph(network, "digit") if model is None else graph_of_model(model)
    content = graph.SerializeToString()
    return OnnxRuntime(content, {}, threads), len(content)


def _has_graph(candidate: Candidate) -> bool:
    return candidate.model is not None and candidate.model.graph_path is not None


def _layers(candidate: Candidate, network: nn.Module) -> tuple[PlainLayer, ...]:
    return plain_layers(network.eval(), candidate.name, "tflite")
