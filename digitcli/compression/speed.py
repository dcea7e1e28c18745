"""Measure how fast the runtimes of this machine compute a compressed model."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from digitcli.architectures.summary import input_shape
from digitcli.benchmarking.configuration import Candidate
from digitcli.benchmarking.measurement import time_calls
from digitcli.benchmarking.runtimes import PACKAGES, open_graph_runtime, reason_to_skip
from digitcli.compression.results import Speed
from digitcli.errors import EnvironmentFault
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import open_network

BATCH_SIZE = 256  # images; the throughput of a CPU hardly grows with more
WARM_UP_SECONDS, MIN_CALLS, MIN_SECONDS = 0.1, 20, 0.4  # chosen by hand: a model takes 2 seconds


def measure_speeds(model: ResolvedModel) -> tuple[Speed, ...]:
    """Return the speeds of a model on the CPU, in PyTorch and in each other runtime that is installed.

    A runtime that cannot hold the model is left out.
    """
    network, candidate = open_network(model), Candidate(model.name, model)
    shape, threads = input_shape(network, model.header.task), torch.get_num_threads()
    speeds = [_speed("torch", network, shape)]
    for name in PACKAGES:
        if not missing_package(name) and not reason_to_skip(
            candidate, network, torch.device("cpu"), name, "float32"
        ):
            with contextlib.suppress(Exception):  # exporters of other libraries raise anything
                runtime, _ = open_graph_runtime(candidate, network, name, threads)
                speeds.append(_speed(name, lambda images: runtime.run_batch(images.numpy()), shape))  # noqa: B023
    return tuple(speeds)


def missing_package(runtime: str) -> str:
    """Return why a runtime cannot be used here; empty if it can."""
    try:
        PACKAGES[runtime]()
    except EnvironmentFault as error:
        return f"{error.cause} {error.remedy}"
    return ""


def missing_runtimes() -> tuple[str, ...]:
    """Return why runtimes are not measured."""
    return tuple(reason for runtime in PACKAGES if (reason := missing_package(runtime)))


def _speed(name: str, compute: Callable[[Tensor], object], shape: tuple[int, ...]) -> Speed:
    seconds_of_one, seconds_of_batch = (
        _median_seconds(compute, (size, *shape[1:])) for size in (1, BATCH_SIZE)
    )
    return Speed(name, 1000 * seconds_of_one, BATCH_SIZE / seconds_of_batch, BATCH_SIZE)


def _median_seconds(compute: Callable[[Tensor], object], shape: tuple[int, ...]) -> float:
    images = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    with torch.inference_mode():
        time_calls(lambda: compute(images), time.perf_counter, 2, WARM_UP_SECONDS)
        seconds = time_calls(lambda: compute(images), time.perf_counter, MIN_CALLS, MIN_SECONDS)
    return statistics.median(seconds)
