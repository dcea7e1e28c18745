"""Benchmark models on this machine: latency, throughput, memory, accuracy and the speed of training.

Importing this module loads no torch; `benchmark` loads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from digitcli.architectures.registry import resolve_recipe
from digitcli.benchmarking.configuration import BenchmarkConfig, Candidate, find_candidates
from digitcli.benchmarking.environment import Environment, describe_environment
from digitcli.errors import EnvironmentFault, UsageError
from digitcli.events import Event as TrainingEvent
from digitcli.events import Notice
from digitcli.inference.checkpoint import Header
from digitcli.inference.devices import choose_device, is_out_of_memory
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    import torch

    from digitcli.benchmarking.measurement import Calls, PreparedModel

TRAINING_SECONDS = 3.0  # of training steps after the first; chosen by hand
SPEED_IS_INDEPENDENT_OF = {"epochs", "dtype"}  # settings; the dtype is chosen anew for this machine


@dataclass(frozen=True)
class BenchmarkResult:
    """One model at one batch size.

    latency_ms_median, latency_ms_p95: of a call with the whole batch, which is on the device already; of a
        process of `digitcli predict` with one picture where `measured` is `cold_start`.
    latency_ms_low, latency_ms_high: the 95 % interval of the median.
    images_per_second: follows from the median.
    macs: multiply-accumulate operations for one image.
    size_bytes: the size of the checkpoint; of new weights the size of the parameters as float32.
    peak_memory_bytes: the most memory that PyTorch had allocated on a CUDA device; None elsewhere.
    accuracy: from 0 to 1, on the 10,000 MNIST test digits with this dtype and runtime; None for new weights.
    training_images_per_second: of training the architecture by its recipe; None where it was not measured,
        and for a model that was trained by another recipe.
    runs: the number of calls or processes that were timed.
    name: the name that was given.
    model: the name and digest of the checkpoint; None for new weights.
    """

    architecture: str
    device: str
    dtype: str
    runtime: str
    batch_size: int
    latency_ms_median: float
    latency_ms_p95: float
    images_per_second: float
    parameters: int
    macs: int
    size_bytes: int
    peak_memory_bytes: int | None
    accuracy: float | None
    training_images_per_second: float | None
    runs: int
    latency_ms_low: float
    latency_ms_high: float
    measured: Literal["calls", "cold_start"]
    name: str
    model: str | None


@dataclass(frozen=True)
class BenchmarkReport:
    """All results in the order of the configuration, and the machine; as an event, the results so far."""

    schema: int
    environment: Environment
    results: tuple[BenchmarkResult, ...]


@dataclass(frozen=True)
class Measuring:
    """The next step: `step` of the model `name`, after `done` of `models` models are complete."""

    name: str
    step: str
    done: int
    models: int


Event = Notice | Measuring | BenchmarkReport
OnEvent = Callable[[Event], None]


def benchmark(
    config: BenchmarkConfig,
    candidates: Sequence[Candidate] | None = None,
    *,
    on_event: OnEvent = lambda event: None,
) -> BenchmarkReport:
    """Measure every model at every batch size, one after the other, and then the training of all of them.

    `candidates` are the models that `find_candidates` returned for the configuration, if they are known.
    `on_event` receives the report whenever it has grown, so that an error or Ctrl-C loses no result. float32
    is computed without TF32, except in training, which is measured as digitcli trains.

    Raises:
        UsageError: there is no model of a name, or no model can be measured with this runtime and dtype.
        ModelError: a file is damaged or no checkpoint, or its model reads lines.
        EnvironmentFault: the device is missing or computes wrongly, cannot run this dtype or torch.compile,
            or lacks memory for one image.
    """
    candidates = find_candidates(config.archs) if candidates is None else candidates
    from digitcli.benchmarking import measurement

    device = choose_device(str(config.device))
    for candidate in candidates:  # a damaged file is an error before anything is measured
        measurement.open_candidate(candidate)
    with measurement.use_threads(config.threads):
        report = BenchmarkReport(1, describe_environment(device), ())
        with measurement.without_tf32():
            for result in _measure_all(candidates, device, config, on_event):
                report = replace(report, results=(*report.results, result))
                on_event(report)
        if not report.results:
            names, runtime = ", ".join(candidate.name for candidate in candidates), config.runtimes[0]
            raise UsageError(
                f"{names} cannot be measured with {runtime} on {device}.", "Give --runtime torch."
            )
        if config.train:
            trainable = _names_with_standard_recipe(candidates, on_event)
            rows = [row for row in report.results if row.name in trainable]
            architectures = list(dict.fromkeys(row.architecture for row in rows))
            for done, architecture in enumerate(architectures):
                on_event(Measuring(architecture, "training", done, len(architectures)))
                speed = _measure_training(architecture, device, on_event)
                report = _add_training_speed(report, architecture, trainable, speed)
                on_event(report)
    return report


def _measure_all(
    candidates: Sequence[Candidate], device: torch.device, config: BenchmarkConfig, on_event: OnEvent
) -> Iterator[BenchmarkResult]:
    from digitcli.benchmarking import measurement

    def announcer(done: int, prefix: str) -> Callable[[str], None]:
        return lambda step: on_event(Measuring(candidates[done].name, prefix + step, done, len(candidates)))

    several = len(config.combinations) > 1
    for done, candidate in enumerate(candidates):
        for runtime, dtype in config.combinations:
            if reason := measurement.reason_to_skip(candidate, device, runtime, dtype):
                on_event(Notice(f"{candidate.name} with {runtime} in {dtype} is left out: {reason}"))
                continue
            announce = announcer(done, f"{runtime} {dtype}, " if several else "")
            announce("loading")
            model = measurement.prepare_model(candidate, device, dtype, runtime)
            with _explain_failures(model):
                yield from _measure_model(model, config, announce, on_event)


def _measure_model(
    model: PreparedModel, config: BenchmarkConfig, announce: Callable[[str], None], on_event: OnEvent
) -> Iterator[BenchmarkResult]:
    """Measure one model in one dtype with one runtime; its accuracy is the same at all batch sizes."""
    from digitcli.benchmarking import measurement

    accuracy, name = None, model.candidate.name
    if (trained := model.candidate.model) is not None:
        announce("accuracy")
        accuracy = measurement.measure_accuracy(model, trained)
    for wanted in dict.fromkeys(config.batch_sizes):
        announce(f"batch {wanted:,}")
        batch_size, calls = _largest_fitting_batch(model, wanted, on_event)
        yield _result(model, batch_size, calls, accuracy, "calls")
    if config.cold_start:
        announce("cold start")
        if model.candidate.model is None or model.dtype != "float32" or model.runtime == "torch.compile":
            reason = "digitcli predict runs trained models in float32 with torch or onnxruntime."
            on_event(Notice(f"The cold start of {name} {_described(model)} is left out: {reason}"))
        else:
            yield _result(model, 1, measurement.measure_cold_start(model), accuracy, "cold_start")


def _result(
    model: PreparedModel,
    batch_size: int,
    calls: Calls,
    accuracy: float | None,
    measured: Literal["calls", "cold_start"],
) -> BenchmarkResult:
    from digitcli.benchmarking.measurement import interval_of_median, median_and_p95

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
    import torch

    from digitcli.benchmarking import measurement

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


def _names_with_standard_recipe(candidates: Sequence[Candidate], on_event: OnEvent) -> set[str]:
    """Return the names of models whose recipe is that of their architecture, and report the others."""
    names = set()
    for candidate in candidates:
        if candidate.model is None or _has_standard_recipe(candidate.model.header):
            names.add(candidate.name)
            continue
        cause = f"{candidate.name} was not trained by the recipe of its architecture"
        on_event(Notice(f"{cause}, so the speed of its training is left out."))
    return names


def _has_standard_recipe(header: Header) -> bool:
    """Return whether a model was trained by the recipe of its architecture, as far as its header says.

    A value of None in a header is older than the setting.
    """
    from digitcli.training.network import architecture_arguments

    recipe = resolve_recipe(header.architecture)
    stored = {name: value for name, value in header.recipe.items() if value is not None}
    standard = dataclasses.asdict(recipe)
    differing = {name for name, value in stored.items() if standard.get(name) != value}
    arguments = architecture_arguments(recipe)
    return differing <= SPEED_IS_INDEPENDENT_OF and arguments | header.arguments == arguments


def _measure_training(architecture: str, device: torch.device, on_event: OnEvent) -> float | None:
    """Return the images per second of training by the recipe; None, and a notice, for lack of memory."""
    from digitcli.training.trainer import training_speed

    def pass_on(event: TrainingEvent) -> None:
        if isinstance(event, Notice):
            on_event(event)

    config = TrainConfig(arch=architecture, device=str(device))
    try:
        return training_speed(config, TRAINING_SECONDS, on_event=pass_on)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    on_event(Notice(f"{architecture}: training with the batch size of its recipe exceeds the memory."))
    return None


def _add_training_speed(
    report: BenchmarkReport, architecture: str, names: Collection[str], speed: float | None
) -> BenchmarkReport:
    results = [
        replace(row, training_images_per_second=speed)
        if row.architecture == architecture and row.name in names
        else row
        for row in report.results
    ]
    return replace(report, results=tuple(results))


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
