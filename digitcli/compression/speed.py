"""Measure how fast the runtimes of this machine compute compressed models."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.architectures.summary import input_shape
from digitcli.benchmarking.configuration import Candidate
from digitcli.benchmarking.measurement import time_calls
from digitcli.benchmarking.runtimes import PACKAGES, GraphRuntime, open_graph_runtime, reason_to_skip
from digitcli.compression.results import Speed, TriedModel
from digitcli.errors import EnvironmentFault
from digitcli.events import Notice, OnEvent
from digitcli.export.network import AllOutputs
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import open_network, place_network

BATCH_SIZES = {"digit": 256, "line": 16, "page": 2}  # the throughput of a CPU hardly grows with more
ROUNDS = 5  # in each of which every model is timed, so that a busy moment of the machine slows all of them
WARM_UP_SECONDS, MIN_CALLS, MIN_SECONDS = 0.02, 3, 0.1  # of a round; chosen by hand: a model takes 2 seconds
Compute = Callable[[Tensor], object]


@dataclass(frozen=True)
class OpenedModel:
    """A model in every runtime that can hold it.

    shape: the shape of one input.
    batch_size: the number of inputs with which the throughput is measured.
    computes: what computes the model, by runtime.
    reasons: why other runtimes, which are installed, cannot compute it.
    """

    shape: tuple[int, ...]
    batch_size: int
    computes: dict[str, Compute]
    reasons: dict[str, str]


def measure_speeds(
    tried: Sequence[TriedModel], on_event: OnEvent, check_signal: Callable[[], None]
) -> list[TriedModel]:
    """Return models with their speeds on the CPU, in PyTorch and in each other runtime that is installed.

    A runtime that cannot hold a model is left out; a notice tells why the first time.

    check_signal: is called often, and raises an exception to stop.
    """
    models: list[OpenedModel] = []
    for each in tried:
        check_signal()
        models.append(_open(each.steps, resolve_model(each.checkpoint)))
        for runtime, reason in models[-1].reasons.items():
            if not any(runtime in earlier.reasons for earlier in models[:-1]):
                on_event(Notice(f"{each.steps} is not measured with {runtime}: {reason}"))
    rounds: list[dict[str, list[tuple[float, float]]]] = [
        {runtime: [] for runtime in model.computes} for model in models
    ]
    for _ in range(ROUNDS):
        for model, seconds in zip(models, rounds, strict=True):
            for runtime, compute in model.computes.items():
                check_signal()
                sizes = (1, model.batch_size)
                one, batch = (_median_seconds(compute, (size, *model.shape)) for size in sizes)
                seconds[runtime].append((one, batch))
    return [
        replace(each, speeds=tuple(_speed(name, model.batch_size, of[name]) for name in of))
        for each, model, of in zip(tried, models, rounds, strict=True)
    ]


def missing_runtimes() -> tuple[str, ...]:
    """Return why runtimes are not measured."""
    return tuple(reason for runtime in PACKAGES if (reason := _missing_package(runtime)))


def _missing_package(runtime: str) -> str:
    """Return why a runtime cannot be used here; empty if it can."""
    try:
        PACKAGES[runtime]()
    except EnvironmentFault as error:
        return f"{error.cause} {error.remedy}"
    return ""


def _open(steps: str, model: ResolvedModel) -> OpenedModel:
    network, candidate, task = open_network(model), Candidate(steps, model), model.header.task
    placed = AllOutputs(place_network(open_network(model), torch.device("cpu"), task)).eval()
    opened = OpenedModel(input_shape(network, task)[1:], BATCH_SIZES[task], {"torch": placed}, {})
    for name in PACKAGES:
        if _missing_package(name):
            continue
        reason = reason_to_skip(candidate, network, torch.device("cpu"), name, "float32")
        try:
            if reason is None:
                runtime, _ = open_graph_runtime(candidate, network, name, torch.get_num_threads())
                opened.computes[name] = _taking_tensors(runtime)
        except Exception as error:  # exporters of other libraries raise anything
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            opened.reasons[name] = reason
    return opened


def _taking_tensors(runtime: GraphRuntime) -> Compute:
    return lambda images: runtime.run_batch(images.numpy())


def _speed(runtime: str, batch_size: int, rounds: Sequence[tuple[float, float]]) -> Speed:
    """Return a speed from the seconds of a call with one input and of one with a batch in each round."""
    of_one, of_batch = zip(*rounds, strict=True)
    middle, low, high = (1000 * choose(of_one) for choose in (statistics.median, min, max))
    return Speed(runtime, middle, low, high, batch_size / statistics.median(of_batch), batch_size)


def _median_seconds(compute: Compute, shape: tuple[int, ...]) -> float:
    """Return the median time of a call with random inputs of a shape (N, C, H, W)."""
    images = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    if isinstance(compute, nn.Module):  # as `infer` gives them
        images = images.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        time_calls(lambda: compute(images), time.perf_counter, 2, WARM_UP_SECONDS)
        seconds = time_calls(lambda: compute(images), time.perf_counter, MIN_CALLS, MIN_SECONDS)
    return statistics.median(seconds)
