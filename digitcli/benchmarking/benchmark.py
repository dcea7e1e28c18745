"""Benchmarking: what a model costs on this machine, and what it is worth. Loads torch only to measure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.architectures.registry import architectures, find_architecture, is_architecture
from digitcli.benchmarking.configuration import BenchmarkConfig
from digitcli.benchmarking.environment import Environment, describe_environment
from digitcli.errors import EnvironmentFault, ModelError, UsageError, did_you_mean
from digitcli.events import Event as TrainingEvent
from digitcli.events import Notice
from digitcli.inference.checkpoint import read_header
from digitcli.inference.devices import choose_device, is_out_of_memory
from digitcli.inference.model_resolution import resolve_model, shipped_models
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    import torch

    from digitcli.benchmarking.measurement import Calls, Subject

TRAINING_SECONDS = 3.0
CROWDED = 0.05  # share of the time; an idle machine stays below 0.01


@dataclass(frozen=True)
class BenchmarkResult:
    """One model at one batch size.

    A latency is that of one call with the whole batch, which is on the device already; where `measured` is
    `process` it is that of `digitcli predict` with one picture, from the start of the process to its end.
    `runs` were timed; the 95 % interval of their median is from `latency_ms_low` to `latency_ms_high`, and
    `images_per_second` follows from it. `macs` are multiply-accumulates an image.
    `size_bytes` is the checkpoint, or else what the parameters take as float32.

    `peak_memory_bytes`: on CUDA the most that PyTorch had allocated on the device; on the CPU (Linux) the
    largest resident set of the whole process while the row was measured, loaded libraries included, so that
    only differences between rows tell of the networks; None elsewhere. `accuracy` (0 to 1) is measured now,
    with this dtype and runtime, on the 10,000 embedded test digits; None for fresh weights, which have no
    `model` either. `training_images_per_second` is that of whole training steps by the recipe, its batch size
    included; None where it was not asked for, not measured yet, or cannot be measured, which a notice says.

    `core_wait` is the share of the time in which a thread of the CPU was ready to run and had no core; well
    above 0, other programs have spoilt the figures.
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
    measured: str
    core_wait: float | None
    name: str
    model: str | None


@dataclass(frozen=True)
class BenchmarkReport:
    """Every result, in the order asked for, and where it was measured; as an event, those so far."""

    schema: int
    environment: Environment
    results: tuple[BenchmarkResult, ...]


@dataclass(frozen=True)
class Measuring:
    """What is measured next: `what` of the model `name`; `done` of all `models` are complete."""

    name: str
    what: str
    done: int
    models: int


Event = Notice | Measuring | BenchmarkReport
OnEvent = Callable[[Event], None]


def benchmark(config: BenchmarkConfig, *, on_event: OnEvent = lambda event: None) -> BenchmarkReport:
    """Measure every model at every batch size, one after the other; after all of them training, if asked for.

    `on_event` gets the report so far whenever it has grown, so that an error or Ctrl-C costs nothing that was
    measured before. float32 is computed whole: cuDNN may not round it to TF32, except in training, which is
    measured as digitcli trains.

    Raises:
        UsageError: an unknown name, a value out of range, or nothing that can be measured as asked for.
        ModelError: a damaged or foreign file, a model that does not read single digits, or a recipe that
            cannot be trained by.
        EnvironmentFault: the device is not there, computes wrongly, cannot run this dtype or torch.compile,
            or has not the memory for one image.
    """
    names = names_of(config)
    from digitcli.benchmarking import measurement

    device = choose_device(str(config.device))
    trainings = _check_models(names, device, config.train, on_event)
    with measurement.threads(config.threads):
        report = BenchmarkReport(1, describe_environment(device), ())
        with measurement.whole_float32():
            for done, name in enumerate(names):
                announce = _announcer(name, done, len(names), on_event)
                for result in _measure(name, device, config, announce, on_event):
                    report = replace(report, results=(*report.results, result))
                    on_event(report)
        if not report.results:
            cause = f"Nothing of {', '.join(names)} can be measured with {config.ways[0][0]} on {device}."
            raise UsageError(cause, "Take --runtime torch.")
        _warn_of_crowding(report.results, on_event)
        for done, (name, training) in enumerate(
            trainings.items()
        ):  # last: what it loads counts in the memory of rows
            _announcer(name, done, len(trainings), on_event)("training")
            report = _with_training_speed(report, name, _training_speed(name, training, on_event))
            on_event(report)
    return report


def names_of(config: BenchmarkConfig) -> tuple[str, ...]:
    """What `config.archs` stands for: the names of models, each once. Loads no torch.

    Raises:
        UsageError: an unknown name, or an architecture that does not read single digits.
        ModelError: a damaged or foreign file, or one whose model does not read single digits.
    """
    every = [row.name for row in architectures().values() if row.task == "digit"]
    names = [each for name in config.archs for each in (every if name == "all" else [name])]
    if not config.archs:
        names = [name for name, path in shipped_models().items() if read_header(path).task == "digit"]
    if not names:
        raise ModelError("No model is shipped with this installation.", "Name architectures with --arch.")
    for name in names:
        _check_name(name)
    return tuple(dict.fromkeys(names))


def _check_name(name: str) -> None:
    """Refuse what is no model of single digits."""
    remedy = "Name a model of the task digit, see digitcli models."
    shipped = shipped_models()
    is_path = os.path.lexists(name) or Path(name).name != name or Path(name).suffix == ".safetensors"
    if is_architecture(name) and name not in shipped:
        if find_architecture(name).task != "digit":
            raise UsageError(f"Architecture '{name}' reads lines, not single digits.", remedy)
    elif name in shipped or (name and is_path):
        if resolve_model(name).header.task != "digit":
            raise ModelError(f"{name} reads lines, not single digits.", remedy)
    else:
        known = {**architectures(), **shipped, "all": None}
        raise UsageError(f"There is no architecture or model named '{name}'.", did_you_mean(name, known))


def _check_models(
    names: tuple[str, ...], device: torch.device, train: bool, on_event: OnEvent
) -> dict[str, TrainConfig]:
    """Refuse what cannot be measured before the first model is; how each is trained, if that is asked for.

    The models are opened again when their turn comes: all of them at once would count in each row's memory.
    """
    from digitcli.benchmarking.measurement import training_config
    from digitcli.inference.model_index import open_or_create

    trainings = {}
    for name in names:
        _, model = open_or_create(name)
        header = model.header if model else None
        training = training_config(name, header, device) if train else None
        if training is not None:
            trainings[name] = training
        elif train and header is not None:
            on_event(
                Notice(
                    f"{name}: the speed of training is left out, since its network was built with "
                    f"{header.arguments}, and training would build another."
                )
            )
    return trainings


def _announcer(name: str, done: int, models: int, on_event: OnEvent) -> Callable[[str], None]:
    """A function that reports what of this model is measured next."""
    return lambda what: on_event(Measuring(name, what, done, models))


def _measure(
    name: str,
    device: torch.device,
    config: BenchmarkConfig,
    announce: Callable[[str], None],
    on_event: OnEvent,
) -> Iterator[BenchmarkResult]:
    """The rows of one model as they are measured; its accuracy is the same for all of a runtime and dtype."""
    from digitcli.benchmarking import measurement
    from digitcli.benchmarking.cold_start import measure_processes

    for runtime, dtype in config.ways:
        way = f"{runtime} {dtype}, " if len(config.ways) > 1 else ""
        if why := measurement.why_not(name, device, runtime, dtype):
            on_event(Notice(f"{name} in {runtime} with {dtype} is left out: {why}"))
            continue
        announce(f"{way}loading")
        subject = measurement.open_subject(name, device, dtype, runtime)
        with _explained(subject):
            accuracy = None
            if subject.model is not None:
                announce(f"{way}accuracy")
                accuracy = measurement.accuracy_of(subject)
            for wanted in dict.fromkeys(config.batch_sizes):
                announce(f"{way}batch {wanted:,}")
                batch_size, calls = _fitting(subject, wanted, on_event)
                yield _result(subject, batch_size, calls, accuracy)
        if config.cold:
            announce(f"{way}processes")
            if subject.model is None or dtype != "float32" or runtime == "torch.compile":
                on_event(Notice(f"{name}: no process answers with {_named(subject)}; its row is left out."))
            else:
                yield _result(subject, 1, measure_processes(subject), accuracy, "process")


def _result(
    subject: Subject, batch_size: int, calls: Calls, accuracy: float | None, measured: str = "calls"
) -> BenchmarkResult:
    from digitcli.benchmarking.measurement import interval_of_median, median_and_p95

    median, p95 = median_and_p95(calls.seconds)
    low, high = interval_of_median(calls.seconds)
    return BenchmarkResult(
        architecture=subject.architecture,
        device=str(subject.device),
        dtype=subject.dtype,
        runtime=subject.runtime,
        batch_size=batch_size,
        latency_ms_median=1000 * median,
        latency_ms_p95=1000 * p95,
        images_per_second=batch_size / median,
        parameters=subject.parameters,
        macs=subject.macs,
        size_bytes=subject.size_bytes,
        peak_memory_bytes=calls.peak_memory_bytes,
        accuracy=accuracy,
        training_images_per_second=None,
        runs=len(calls.seconds),
        latency_ms_low=1000 * low,
        latency_ms_high=1000 * high,
        measured=measured,
        core_wait=calls.core_wait,
        name=subject.name,
        model=subject.model.id if subject.model else None,
    )


def _warn_of_crowding(results: tuple[BenchmarkResult, ...], on_event: OnEvent) -> None:
    """Say so where the figures are worse than this machine can do."""
    crowded = sum((result.core_wait or 0) > CROWDED for result in results)
    if crowded:
        on_event(
            Notice(
                f"In {crowded} of {len(results)} rows threads had to wait for a core, since other programs "
                "run too or there are more threads than cores: this machine can do better."
            )
        )


def _fitting(subject: Subject, batch_size: int, on_event: OnEvent) -> tuple[int, Calls]:
    """The largest batch that fits, halving what does not, and the calls that were measured with it.

    Raises:
        EnvironmentFault: one image does not fit.
    """
    from digitcli.benchmarking import measurement

    while True:
        try:
            return batch_size, measurement.measure_calls(subject, batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if batch_size == 1:
            cause = f"{subject.device} has not the memory for one image in {subject.name}."
            raise EnvironmentFault(cause, "Take another device, or a smaller model.")
        measurement.release_memory(subject.device)
        too_large, batch_size = batch_size, batch_size // 2
        on_event(Notice(f"{subject.name}: no memory for a batch of {too_large:,}; taking {batch_size:,}."))


def _training_speed(name: str, training: TrainConfig, on_event: OnEvent) -> float | None:
    """Images a second of training by the recipe; None where memory does not suffice, and a notice."""
    from digitcli.benchmarking.measurement import blaming_recipe
    from digitcli.training.trainer import training_speed

    def pass_on(event: TrainingEvent) -> None:
        if isinstance(event, Notice):
            on_event(event)

    try:
        with blaming_recipe(name):
            return training_speed(training, TRAINING_SECONDS, on_event=pass_on)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    on_event(Notice(f"{name}: there is no memory for training with the recipe's batch size."))
    return None


def _with_training_speed(report: BenchmarkReport, name: str, speed: float | None) -> BenchmarkReport:
    rows = (
        replace(row, training_images_per_second=speed) if row.name == name else row for row in report.results
    )
    return replace(report, results=tuple(rows))


@contextlib.contextmanager
def _explained(subject: Subject) -> Iterator[None]:
    """Within it, what only this dtype or torch.compile cannot do is the machine's fault, not a mistake.

    Nothing tells beforehand what a device can do: PyTorch says so operation by operation, as it runs.

    Raises:
        EnvironmentFault: the network does not run like this here.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or (subject.runtime, subject.dtype) == ("torch", "float32"):
            raise
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "Take --dtype float32." if subject.runtime == "torch" else "Take --runtime torch."
        raise EnvironmentFault(
            f"{subject.device} cannot run {subject.name} in {_named(subject)}: {first_line}", remedy
        ) from error


def _named(subject: Subject) -> str:
    """How a model is run, in words."""
    return subject.dtype + f" with {subject.runtime}" * (subject.runtime != "torch")
