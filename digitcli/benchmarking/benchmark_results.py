"""The settings of a benchmark, its report, and its comparison with an earlier report. Loads no torch."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from digitcli.architectures.registry import architectures, find_architecture, is_architecture
from digitcli.errors import InputError, ModelError, UsageError, counted, did_you_mean
from digitcli.events import Notice
from digitcli.inference.checkpoint import library_versions
from digitcli.inference.devices import check_device_name, describe_device
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.json_records import read_json
from digitcli.settings import check_settings, freeze_lists, setting
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    import torch

Runtime = Literal["torch", "onnxruntime", "tflite"]

MAX_BATCH_SIZE = 1_000_000  # images; a larger number is more likely a typing error than a wish
CPUINFO = Path("/proc/cpuinfo")
KEY = attrgetter("name", "device", "runtime", "dtype", "batch_size")  # equal in rows that are compared
DESCRIPTION = "a benchmark"
REMEDY = "Save one with: digitcli benchmark -o baseline.json"


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """The settings of a benchmark.

    archs: `all` is every architecture of single digits.
    runtimes: each model is measured with every one that can run it, in float32.

    Raises:
        UsageError: a value is out of range or of another type, or two contradict each other.
    """

    archs: tuple[str, ...] = setting(
        (), "", "Measure these architectures, models, checkpoints and run folders, or all architectures of "
        "single digits (default: all shipped models of single digits).", unit="model,...", letter="-a",
    )  # fmt: skip
    device: str = setting(
        "auto", "", "Compute on this device: cpu, cuda, cuda:N, mps, or auto for the fastest.",
        unit="device", letter="-d",
    )  # fmt: skip
    batch_sizes: tuple[int, ...] = setting(
        (1, 256), "", "Measure calls with these numbers of images (default: 1,256).",
        unit="n,...", letter="-b", at_least=1, at_most=MAX_BATCH_SIZE,
    )  # fmt: skip
    runtimes: tuple[Runtime, ...] = setting(
        ("torch",), "", "Run the models with these: torch, onnxruntime, tflite (default: torch).",
        unit="runtime,...",
    )  # fmt: skip

    def __post_init__(self) -> None:
        freeze_lists(self)
        check_settings(self)
        check_device_name(self.device)
        for option, values in (("--batch-size", self.batch_sizes), ("--runtime", self.runtimes)):
            if not values:
                raise UsageError(f"{option} is empty.", "Give at least one value.")


@dataclass(frozen=True)
class Candidate:
    """A model that is measured under the name that was given; `model` is None for new weights."""

    name: str
    model: ResolvedModel | None


def find_candidates(archs: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Return the models that `BenchmarkConfig.archs` stands for, each once.

    Raises:
        UsageError: there is no model of a name, or an architecture reads lines.
        ModelError: a file is damaged or no checkpoint, or its model reads lines.
    """
    every = [row.name for row in architectures().values() if row.task == "digit"]
    if not archs:
        shipped = [resolve_model(name) for name in shipped_models()]
        if not shipped:
            raise ModelError("No model is shipped with this installation.", "Name architectures with --arch.")
        return tuple(Candidate(model.name, model) for model in shipped if model.header.task == "digit")
    names = [name for arch in archs for name in (every if arch == "all" else [arch])]
    return tuple(_find_candidate(name) for name in dict.fromkeys(names))


def _find_candidate(name: str) -> Candidate:
    remedy, shipped = "Name a model of the task digit, see: digitcli models", shipped_models()
    if is_architecture(name) and name not in shipped:
        if find_architecture(name).task != "digit":
            raise UsageError(f"Architecture '{name}' reads lines, not single digits.", remedy)
        return Candidate(name, None)
    is_path = os.path.lexists(name) or Path(name).name != name or Path(name).suffix == ".safetensors"
    if name not in shipped and not (name and is_path):
        known = {**architectures(), **shipped, "all": None}
        raise UsageError(f"There is no architecture or model named '{name}'.", did_you_mean(name, known))
    model = resolve_model(name)
    if model.header.task != "digit":
        raise ModelError(f"{name} reads lines, not single digits.", remedy)
    return Candidate(name, model)


@dataclass(frozen=True)
class Environment:
    """The versions and the machine of a measurement; `cores` are the cores that this process may use.

    onnxruntime, litert: the versions of further runtimes; None where the package is not installed, or where
        an earlier version of digitcli did not store them.
    """

    digitcli: str
    torch: str
    numpy: str
    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    device: str
    onnxruntime: str | None = None
    litert: str | None = None


def describe_environment(device: torch.device) -> Environment:
    """Return the environment of a measurement on this device."""
    import torch

    return Environment(
        **library_versions(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        device=describe_device(device),
        onnxruntime=_version("onnxruntime"),
        litert=_version("ai-edge-litert"),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """Return the name of the processor, or its kind where the system does not tell the name."""
    try:
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass  # the system has no such file or command
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class BenchmarkResult:
    """One model at one batch size.

    latency_ms_median, latency_ms_p95: the time of a call with the whole batch, which is on the device
        already.
    latency_ms_low, latency_ms_high: the 95 % interval of the median.
    macs: multiply-accumulate operations for one image.
    size_bytes: the size of the files that the runtime loads: the checkpoint, with onnxruntime also the graph
        beside it, or the exported graph alone; for new weights with PyTorch, the size of the parameters as
        float32.
    peak_memory_bytes: the most memory that PyTorch had allocated on a CUDA device; None elsewhere, where
        PyTorch does not count it: the memory of the process includes libraries and earlier models.
    accuracy: the accuracy on the 10,000 MNIST test digits with this runtime, from 0 to 1; None for
        new weights.
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
    runs: int
    latency_ms_low: float
    latency_ms_high: float
    name: str
    model: str | None


@dataclass(frozen=True)
class BenchmarkReport:
    """All results in the order of the configuration, and the machine; as an event, the results so far.

    results: a row for each model, runtime, dtype and batch size.
    """

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


@dataclass(frozen=True)
class Slowdown:
    """The time of a row divided by its time in the baseline; above 1 it is slower.

    low, high: the 95 % interval of the ratio, which does not include a drift of the machine between both.
    """

    row: BenchmarkResult
    ratio: float
    low: float
    high: float


def read_baseline(path: Path) -> BenchmarkReport:
    """Read a benchmark that was saved as JSON.

    Raises:
        InputError: the file cannot be read or holds no benchmark.
    """
    report = read_json(path, BenchmarkReport, DESCRIPTION, REMEDY)
    times = (min(row.latency_ms_low, row.latency_ms_median, row.latency_ms_high) for row in report.results)
    if min(times, default=0) <= 0:
        cause = f"{path} is not {DESCRIPTION}: it has no rows, or a time that is not above 0."
        raise InputError(cause, REMEDY)
    return report


def describe_differences(report: BenchmarkReport, baseline: BenchmarkReport) -> str | None:
    """Return in words what else than digitcli may have changed the times; None if nothing that is known."""
    before, now = dataclasses.asdict(baseline.environment), dataclasses.asdict(report.environment)
    changed = [
        f"{name} {before[name]}, now {value}"
        for name, value in now.items()
        if name not in ("digitcli", "threads") and before[name] and value and before[name] != value
    ]
    return f"Not only digitcli has changed since the baseline: {'; '.join(changed)}." if changed else None


def find_slowdowns(report: BenchmarkReport, baseline: BenchmarkReport) -> tuple[Slowdown, ...]:
    """Compare every row that is in both reports.

    Raises:
        UsageError: no row is in both, or the baseline was measured with another number of threads.
    """
    expected, threads = baseline.environment.threads, report.environment.threads
    if expected != threads:
        cause = f"The baseline was measured with {counted(expected, 'thread')}, not with {threads}."
        raise UsageError(cause, f"Set the variable OMP_NUM_THREADS to {expected}.")
    rows = {KEY(row): row for row in baseline.results}
    compared = [_slowdown(row, rows[KEY(row)]) for row in report.results if KEY(row) in rows]
    if not compared:
        raise UsageError("No row of this benchmark is in the baseline.", "Measure the same models.")
    return tuple(compared)


def _slowdown(row: BenchmarkResult, before: BenchmarkResult) -> Slowdown:
    """Return the ratio; both medians err independently, so the squares of their logarithms add up."""
    below = math.hypot(
        math.log(row.latency_ms_median / row.latency_ms_low),
        math.log(before.latency_ms_high / before.latency_ms_median),
    )
    above = math.hypot(
        math.log(row.latency_ms_high / row.latency_ms_median),
        math.log(before.latency_ms_median / before.latency_ms_low),
    )
    ratio = row.latency_ms_median / before.latency_ms_median
    return Slowdown(row, ratio, ratio * math.exp(-below), ratio * math.exp(above))
