"""Measure how fast the runtimes of this machine compute a compressed model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from digitcli.architectures.summary import input_shape
from digitcli.benchmarking.measurement import time_calls
from digitcli.compression.results import Speed
from digitcli.errors import DigitcliError, EnvironmentFault
from digitcli.export.onnx_file import graph_of_model, import_exporter
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.onnx_runtime import OnnxRuntime
from digitcli.inference.torch_runtime import open_network

BATCH_SIZE = 256  # images; the throughput of a CPU hardly grows with more
WARM_UP_SECONDS, MIN_CALLS, MIN_SECONDS = 0.1, 20, 0.4  # chosen by hand: a model takes 2 seconds


def measure_speeds(model: ResolvedModel) -> tuple[Speed, ...]:
    """Return the speeds of a model in PyTorch and, if it can be exported, in ONNX Runtime, on the CPU."""
    network = open_network(model)
    shape = input_shape(network, model.header.task)
    computations: dict[str, Callable[[torch.Tensor], object]] = {"torch": network}
    graph = _onnx_graph(model)
    if graph is not None:
        runtime = OnnxRuntime(graph, {}, torch.get_num_threads())
        computations["onnxruntime"] = lambda images: runtime.run_batch(images.numpy())
    return tuple(_speed(name, compute, shape) for name, compute in computations.items())


def missing_runtime() -> str:
    """Return why ONNX Runtime cannot be measured; empty if it can."""
    try:
        import_exporter()
    except EnvironmentFault as error:
        return f"{error.cause} {error.remedy}"
    return ""


def _onnx_graph(model: ResolvedModel) -> bytes | None:
    try:
        graph: bytes = graph_of_model(model).SerializeToString()
    except DigitcliError:
        return None
    return graph


def _speed(name: str, compute: Callable[[torch.Tensor], object], shape: tuple[int, ...]) -> Speed:
    medians = []
    for size in (1, BATCH_SIZE):
        random = np.random.default_rng(0)
        images = torch.from_numpy(random.random((size, *shape[1:]), np.float32))
        with torch.inference_mode():
            time_calls(lambda batch=images: compute(batch), time.perf_counter, 2, WARM_UP_SECONDS)  # type: ignore[misc]
            seconds = time_calls(
                lambda batch=images: compute(batch),  # type: ignore[misc]
                time.perf_counter,
                MIN_CALLS,
                MIN_SECONDS,
            )
        medians.append(statistics.median(seconds))
    return Speed(name, 1000 * medians[0], BATCH_SIZE / medians[1], BATCH_SIZE)
