"""Benchmark models on this machine: latency, throughput, memory, accuracy and the speed of training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch

from digitcli.architectures.registry import ENSEMBLE
from digitcli.benchmarking import measurement
from digitcli.benchmarking.measurement import (
    PACKAGES,
    Calls,
    ExportGraph,
    PreparedModel,
    interval_of_median,
    median_and_p95,
)
from digitcli.benchmarking.report import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    Candidate,
    Measuring,
    OnEvent,
    describe_environment,
    find_candidates,
)
from digitcli.errors import DigitcliError, EnvironmentFault, UsageError
from digitcli.events import Event as TrainingEvent
from digitcli.events import Notice
from digitcli.inference.devices import choose_device, is_out_of_memory
from digitcli.threads import use_threads
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig

TRAINING_SECONDS = 3.0  # of training steps after the warm-up; chosen by hand


def benchmark(
    config: BenchmarkConfig,
    candidates: Sequence[Candidate] | None = None,
    *,
    export_graph: ExportGraph | None = None,
    on_event: OnEvent = lambda event: None,
) -> BenchmarkReport:
    """Measure every model at every batch size, one after the other, and then the training of all of them.

    float32 is computed without TF32, except in training, which is measured as digitcli trains.

    candidates: the models that `find_candidates` returned for the configuration, if they are known.
    export_graph: makes the graphs for onnxruntime and tflite, e.g. `digitcli.export.export.export_graph`.
        Without it, onnxruntime measures shipped models alone.
    on_event: receives the report whenever it has grown, so that an error or Ctrl-C loses no result.

    Raises:
        UsageError: there is no model of a name, or no model can be measured with this runtime and dtype.
        ModelError: a file is damaged or no checkpoint, or its model reads lines.
        EnvironmentFault: the device is missing or computes wrongly, cannot run this dtype or torch.compile,
            or lacks memory for one image, or the package of a runtime is not installed.
    """
    candidates = find_candidates(config.archs) if candidates is None else candidates
    device = choose_device(config.device)
    for runtime in PACKAGES.keys() & config.runtimes:
        PACKAGES[runtime]()
    for candidate in candidates:  # a damaged file is an error before anything is measured
        measurement.open_candidate(candidate)
    with use_threads(config.threads):
        report = BenchmarkReport(1, describe_environment(device), ())
        with measurement.without_tf32():
            for result in _measure_all(candidates, device, config, export_graph, on_event):
                report = replace(report, results=(*report.results, result))
                on_event(report)
        if not report.results:
            names = ", ".join(candidate.name for candidate in candidates)
            cause = f"{names} cannot be measured with {' or '.join(config.runtimes)} on {device}."
            raise UsageError(cause, "Give --runtime torch.")
        if config.train:
            report = _add_training_speeds(report, device, on_event)
    return report


def _measure_all(
    candidates: Sequence[Candidate],
    device: torch.device,
    config: BenchmarkConfig,
    export_graph: ExportGraph | None,
    on_event: OnEvent,
) -> Iterator[BenchmarkResult]:
    for done, candidate in enumerate(candidates):
        for runtime, dtype in config.combinations:
            loading = Measuring(candidate.name, f"{runtime} {dtype}, loading", done, len(candidates))
            on_event(loading)
            prepared = _prepare(candidate, device, dtype, runtime, export_graph)
            if isinstance(prepared, str):
                on_event(Notice(f"{candidate.name} with {runtime} in {dtype} is left out: {prepared}"))
                continue
            with _explain_failures(prepared):
                yield from _measure_model(prepared, config, loading, on_event)


def _prepare(
    candidate: Candidate, device: torch.device, dtype: str, runtime: str, export_graph: ExportGraph | None
) -> PreparedModel | str:
    """Return a model that is ready to be measured, or the reason why a graph of it cannot be."""
    if runtime not in PACKAGES:
        return measurement.prepare_model(candidate, device, dtype, runtime, None)
    if dtype != "float32":
        return "graphs compute in float32."
    if device.type != "cpu":
        return f"{runtime} computes on the CPU."
    try:
        return measurement.prepare_model(candidate, device, dtype, runtime, export_graph)
    except UsageError as error:  # a layer that the format cannot hold
        return error.cause
    except EnvironmentFault as error:  # a package is missing that writes the graph
        return f"{error.cause} {error.remedy}"
    except DigitcliError:
        raise
    except Exception as error:  # exporters of other libraries raise anything
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _measure_model(
    model: PreparedModel, config: BenchmarkConfig, last_step: Measuring, on_event: OnEvent
) -> Iterator[BenchmarkResult]:
    """Measure one model in one dtype with one runtime; its accuracy is the same at all batch sizes."""

    def announce(step: str) -> None:
        on_event(replace(last_step, step=f"{model.runtime} {model.dtype}, {step}"))

    accuracy = None
    if (trained := model.candidate.model) is not None:
        announce("accuracy")
        accuracy = measurement.measure_accuracy(model, trained)
    for wanted in dict.fromkeys(config.batch_sizes):
        announce(f"batch {wanted:,}")
        batch_size, calls = _largest_fitting_batch(model, wanted, on_event)
        yield _result(model, batch_size, calls, accuracy, "calls")
    if config.cold_start:
        announce("cold start")
        if trained is None or not _predict_can_run(model):
            reason = "digitcli predict takes float32, and torch, or onnxruntime for shipped models."
            name = f"{model.candidate.name} {_described(model)}"
            on_event(Notice(f"The cold start of {name} is left out: {reason}"))
        else:
            yield _result(model, 1, measurement.measure_cold_start(model), accuracy, "cold_start")


def _predict_can_run(model: PreparedModel) -> bool:
    """Return whether `digitcli predict` runs a trained model in this dtype with this runtime."""
    has_graph = model.candidate.model is not None and model.candidate.model.graph_path is not None
    return model.dtype == "float32" and (
        model.runtime == "torch" or (model.runtime == "onnxruntime" and has_graph)
    )


def _result(
    model: PreparedModel,
    batch_size: int,
    calls: Calls,
    accuracy: float | None,
    measured: Literal["calls", "cold_start"],
) -> BenchmarkResult:
    median, p95 = median_and_p95(calls.seconds)
    low, high = interval_of_median(calls.seconds)
    return BenchmarkResult(
        architecture=model.architecture,
        device=str(model.device),
        dtype=model.dtype,
        runtime=model.runtime,
        batch_size=batch_size,
        latency_ms_median=1000 * median,
        latency_ms_p95=1000 * p95,
        images_per_second=batch_size / median,
        parameters=model.parameters,
        macs=model.macs,
        size_bytes=model.size_bytes,
        peak_memory_bytes=calls.peak_memory_bytes,
        accuracy=accuracy,
        training_images_per_second=None,
        runs=len(calls.seconds),
        latency_ms_low=1000 * low,
        latency_ms_high=1000 * high,
        measured=measured,
        name=model.candidate.name,
        model=model.candidate.model.id if model.candidate.model else None,
    )


def _largest_fitting_batch(model: PreparedModel, batch_size: int, on_event: OnEvent) -> tuple[int, Calls]:
    """Measure the batch, halved until it fits into memory; return its size and the calls.

    Raises:
        EnvironmentFault: one image does not fit.
    """
    while True:
        try:
            return batch_size, measurement.measure_calls(model, batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        name = model.candidate.name
        if batch_size == 1:
            cause = f"{model.device} lacks memory for one image in {name}."
            raise EnvironmentFault(cause, "Choose another device or a smaller model.")
        torch.cuda.empty_cache()
        batch_size //= 2
        on_event(Notice(f"{name}: a batch of {2 * batch_size:,} exceeds the memory; trying {batch_size:,}."))


def _add_training_speeds(report: BenchmarkReport, device: torch.device, on_event: OnEvent) -> BenchmarkReport:
    """Measure the training of every architecture, and add its speed to the rows of the architecture."""
    architectures = list(dict.fromkeys(row.architecture for row in report.results))
    for done, architecture in enumerate(architectures):
        if architecture == ENSEMBLE.name:
            on_event(Notice("The training of ensembles is left out: their members are trained one by one."))
            continue
        on_event(Measuring(architecture, "training", done, len(architectures)))
        speed = _measure_training(architecture, device, on_event)
        rows = (
            replace(row, training_images_per_second=speed) if row.architecture == architecture else row
            for row in report.results
        )
        report = replace(report, results=tuple(rows))
        on_event(report)
    return report


def _measure_training(architecture: str, device: torch.device, on_event: OnEvent) -> float | None:
    """Return the images per second of training by the recipe; None, and a notice, for lack of memory."""

    def pass_on(event: TrainingEvent) -> None:
        if isinstance(event, Notice):
            on_event(event)

    config = TrainConfig(arch=architecture, device=str(device))
    try:
        return trainer.training_speed(config, TRAINING_SECONDS, on_event=pass_on)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    on_event(Notice(f"{architecture}: training with the batch size of its recipe exceeds the memory."))
    return None


@contextlib.contextmanager
def _explain_failures(model: PreparedModel) -> Iterator[None]:
    """Raise a failure of a dtype or of torch.compile as a fault of the environment.

    PyTorch reports only when it runs an operation that a device cannot run it in a dtype.

    Raises:
        EnvironmentFault: the network does not run like this on this machine.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or (model.runtime, model.dtype) == ("torch", "float32"):
            raise
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        cause = f"{model.device} cannot run {model.candidate.name} {_described(model)}: {first_line}"
        remedy = "Give --dtype float32." if model.runtime == "torch" else "Give --runtime torch."
        raise EnvironmentFault(cause, remedy) from error


def _described(model: PreparedModel) -> str:
    return f"in {model.dtype}" + f" with {model.runtime}" * (model.runtime != "torch")
