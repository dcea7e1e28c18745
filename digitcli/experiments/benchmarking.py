"""Benchmarking: what a model costs on this machine, and what it is worth. Loads torch only to measure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from digitcli.checkpoint import find_checkpoint, read_header, shipped_models
from digitcli.config import TrainConfig
from digitcli.devices import check_device_name, choose_device, is_out_of_memory
from digitcli.errors import EnvironmentFault, ModelError, UsageError, did_you_mean
from digitcli.experiments.environment import Environment, describe_environment
from digitcli.registry import architectures, find_architecture
from digitcli.training.events import Event as TrainingEvent
from digitcli.training.events import Notice

if TYPE_CHECKING:
    from digitcli.experiments.measuring import Calls, Subject

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
LARGEST_BATCH, MOST_THREADS = 1_000_000, 1024  # beyond them a slip of the finger is likelier than a wish
TRAINING_SECONDS = 3.0
CROWDED = 0.05  # share of the time; an idle machine stays below 0.01


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What is measured, and how.

    `archs` are architectures (with their shipped weights, or else fresh ones), checkpoint files and run
    folders; `all` stands for every architecture that reads digits, and none at all for the shipped models.
    `dtype` `auto` is float32. `threads` None leaves PyTorch's number. `train` measures training too.

    Raises:
        UsageError: a value out of range.
    """

    archs: tuple[str, ...] = ()
    device: str = "auto"
    batch_sizes: tuple[int, ...] = (1, 256)
    dtype: str = "auto"
    compile: bool = False
    threads: int | None = None
    train: bool = False

    def __post_init__(self) -> None:
        check_device_name(self.device)
        if not self.batch_sizes:
            raise UsageError("No batch size is given.", "Give one or several, such as --batch-size 1,256.")
        for size in self.batch_sizes:
            if not 1 <= size <= LARGEST_BATCH:
                raise UsageError(f"--batch-size is {size}.", f"It must be from 1 to {LARGEST_BATCH:,}.")
        if self.dtype not in get_args(Dtype):
            raise UsageError(f"--dtype is '{self.dtype}'.", did_you_mean(self.dtype, get_args(Dtype)))
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"--threads is {self.threads}.", f"It must be from 1 to {MOST_THREADS:,}.")
        if self.train and (self.compile or self.computed_dtype != "float32"):
            raise UsageError(
                "--train measures training as digitcli trains: in float32 and without torch.compile.",
                "Leave --train out, or --dtype and --compile.",
            )

    @property
    def computed_dtype(self) -> str:
        """The name of the number format, with `auto` resolved."""
        return "float32" if self.dtype == "auto" else self.dtype


@dataclass(frozen=True)
class BenchmarkResult:
    """One model at one batch size.

    A latency is that of one call with the whole batch, which is on the device already; `runs` calls were
    timed, and `images_per_second` follows from their median. `macs` are multiply-accumulates an image.
    `size_bytes` is the checkpoint, or else what the parameters take as float32.

    `peak_memory_bytes`: on CUDA the most that PyTorch had allocated on the device; on the CPU (Linux) the
    largest resident set of the whole process, PyTorch itself included, while the row was measured; None
    elsewhere. `accuracy` (0 to 1) is measured now, with this dtype and runtime, on the 10,000 embedded test
    digits; None for fresh weights, which have no `model` either. `training_images_per_second` is that of
    whole training steps by the recipe, its batch size included; None where it was not asked for.

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
    core_wait: float | None
    name: str
    model: str | None


@dataclass(frozen=True)
class BenchmarkReport:
    """Every result, in the order asked for, and where it was measured."""

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


Event = Notice | Measuring | BenchmarkResult
OnEvent = Callable[[Event], None]


def benchmark(config: BenchmarkConfig, *, on_event: OnEvent = lambda event: None) -> BenchmarkReport:
    """Measure every model at every batch size, one after the other.

    Raises:
        UsageError: an unknown name, or a value out of range.
        ModelError: a damaged or foreign file, or a model that does not read single digits.
        EnvironmentFault: the device is not there, computes wrongly, cannot run this dtype or torch.compile,
            or has not the memory for one image.
    """
    names = names_of(config)
    from digitcli.catalogue import open_or_create
    from digitcli.experiments import measuring

    device = choose_device(config.device)
    for name in names:  # one that cannot be opened must not cost the rows before it
        open_or_create(name)
    results: list[BenchmarkResult] = []
    with measuring.threads(config.threads):
        for index, name in enumerate(names):
            announce = _announcer(name, index, len(names), on_event)
            announce("loading")
            subject = measuring.open_subject(name, device, config.computed_dtype)
            with _explained(subject, config):
                results += _measure(subject, config, announce, on_event)
        _warn_of_crowding(results, on_event)
        return BenchmarkReport(1, describe_environment(device), tuple(results))


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
    if name in architectures() and name not in shipped:
        if find_architecture(name).task != "digit":
            raise UsageError(f"Architecture '{name}' reads lines, not single digits.", remedy)
    elif name in shipped or (name and is_path):
        if read_header(find_checkpoint(name)).task != "digit":
            raise ModelError(f"{name} reads lines, not single digits.", remedy)
    else:
        known = {**architectures(), **shipped, "all": None}
        raise UsageError(f"There is no architecture or model named '{name}'.", did_you_mean(name, known))


def _announcer(name: str, done: int, models: int, on_event: OnEvent) -> Callable[[str], None]:
    """A function that reports what of this model is measured next."""
    return lambda what: on_event(Measuring(name, what, done, models))


def _measure(
    subject: Subject, config: BenchmarkConfig, announce: Callable[[str], None], on_event: OnEvent
) -> list[BenchmarkResult]:
    """The rows of one model; what does not depend on the batch size is measured once."""
    from digitcli.experiments import measuring

    accuracy, training_speed = None, None
    if subject.header is not None:
        announce("accuracy")
        accuracy = measuring.accuracy_of(subject, config.compile)
    if config.train:
        announce("training")
        training_speed = _training_speed(subject, on_event)
    results = []
    for wanted in config.batch_sizes:
        announce(f"batch {wanted:,}")
        batch_size, calls = _fitting(subject, wanted, config.compile, on_event)
        results.append(_result(subject, config, batch_size, calls, accuracy, training_speed))
        on_event(results[-1])
    return results


def _result(
    subject: Subject,
    config: BenchmarkConfig,
    batch_size: int,
    calls: Calls,
    accuracy: float | None,
    training_speed: float | None,
) -> BenchmarkResult:
    from digitcli.experiments.measuring import median_and_p95

    median, p95 = median_and_p95(calls.seconds)
    return BenchmarkResult(
        architecture=subject.architecture,
        device=str(subject.device),
        dtype=config.computed_dtype,
        runtime="torch.compile" if config.compile else "torch",
        batch_size=batch_size,
        latency_ms_median=1000 * median,
        latency_ms_p95=1000 * p95,
        images_per_second=batch_size / median,
        parameters=subject.parameters,
        macs=subject.macs,
        size_bytes=subject.size_bytes,
        peak_memory_bytes=calls.peak_memory_bytes,
        accuracy=accuracy,
        training_images_per_second=training_speed,
        runs=len(calls.seconds),
        core_wait=calls.core_wait,
        name=subject.name,
        model=subject.model,
    )


def _warn_of_crowding(results: list[BenchmarkResult], on_event: OnEvent) -> None:
    """Say so where the figures are worse than this machine can do."""
    crowded = sum((result.core_wait or 0) > CROWDED for result in results)
    if crowded:
        on_event(
            Notice(
                f"In {crowded} of {len(results)} rows threads had to wait for a core, since other programs "
                "run too or there are more threads than cores: this machine can do better."
            )
        )


def _fitting(subject: Subject, batch_size: int, compiled: bool, on_event: OnEvent) -> tuple[int, Calls]:
    """The largest batch that fits, halving what does not, and the calls that were measured with it.

    Raises:
        EnvironmentFault: one image does not fit.
    """
    from digitcli.experiments import measuring

    while True:
        try:
            return batch_size, measuring.measure_calls(subject, batch_size, compiled)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if batch_size == 1:
            cause = f"{subject.device} has not the memory for one image in {subject.name}."
            raise EnvironmentFault(cause, "Take another device, or a smaller model.")
        measuring.release_memory(subject.device)
        too_large, batch_size = batch_size, batch_size // 2
        on_event(Notice(f"{subject.name}: no memory for a batch of {too_large:,}; taking {batch_size:,}."))


def _training_speed(subject: Subject, on_event: OnEvent) -> float | None:
    """Images a second of training by the recipe; None where memory does not suffice, and a notice."""
    from digitcli.training.loop import training_speed

    def pass_on(event: TrainingEvent) -> None:
        if isinstance(event, Notice):
            on_event(event)

    recipe = subject.header.recipe if subject.header else {}
    config = TrainConfig(arch=subject.architecture, recipe=recipe, device=str(subject.device))
    try:
        return training_speed(config, TRAINING_SECONDS, on_event=pass_on)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    on_event(Notice(f"{subject.name}: there is no memory for training with the recipe's batch size."))
    return None


@contextlib.contextmanager
def _explained(subject: Subject, config: BenchmarkConfig) -> Iterator[None]:
    """Within it, what only this dtype or torch.compile cannot do is the machine's fault, not a mistake.

    Nothing tells beforehand what a device can do: PyTorch says so operation by operation, as it runs.

    Raises:
        EnvironmentFault: the network does not run like this here.
    """
    try:
        yield
    except RuntimeError as error:
        unusual = config.compile or config.computed_dtype != "float32"
        if is_out_of_memory(error) or not unusual:
            raise
        how = config.computed_dtype + " with torch.compile" * config.compile
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "Leave --compile out." if config.compile else "Take --dtype float32."
        raise EnvironmentFault(
            f"{subject.device} cannot run {subject.name} in {how}: {first_line}", remedy
        ) from error
