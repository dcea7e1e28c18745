"""The report of a benchmark, its progress, and its comparison with an earlier report. Loads no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from digitcli.benchmarking.environment import Environment
from digitcli.errors import InputError, UsageError, counted
from digitcli.events import Notice
from digitcli.json_records import read_json

KEY = ("name", "device", "runtime", "dtype", "measured", "batch_size")  # equal in rows that are compared
DESCRIPTION = "a benchmark"
REMEDY = "Save one with: digitcli benchmark --format json > baseline.json"


@dataclass(frozen=True)
class BenchmarkResult:
    """One model at one batch size.

    latency_ms_median, latency_ms_p95: the time of a call with the whole batch, which is on the device
        already; if `measured` is `cold_start`, the time of a process of `digitcli predict` with one picture.
    latency_ms_low, latency_ms_high: the 95 % interval of the median.
    images_per_second: follows from the median.
    macs: multiply-accumulate operations for one image.
    size_bytes: the size of the files that the runtime loads: the checkpoint, with onnxruntime also the graph
        beside it, or the exported graph alone; for new weights with PyTorch, the size of the parameters as
        float32.
    peak_memory_bytes: the most memory that PyTorch had allocated on a CUDA device; None elsewhere, where
        PyTorch does not count it: the memory of the process includes libraries and earlier models.
    accuracy: the accuracy on the 10,000 MNIST test digits with this dtype and runtime, from 0 to 1; None for
        new weights.
    training_images_per_second: of training the architecture by its own recipe, by which this model need not
        have been trained; None where it was not measured.
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
    """All results in the order of the configuration, and the machine; as an event, the results so far.

    schema: the version of this record, which is 1.
    environment: the machine and the versions.
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
    times = [
        time
        for row in report.results
        for time in (row.latency_ms_low, row.latency_ms_median, row.latency_ms_high)
    ]
    if not times or min(times) <= 0:
        raise InputError(
            f"{path} is not {DESCRIPTION}: it has no rows, or a time that is not above 0.", REMEDY
        )
    return report


def check_threads(baseline: BenchmarkReport, threads: int) -> None:
    """Check that a baseline was measured with this number of threads.

    Raises:
        UsageError: the baseline was measured with another number of threads.
    """
    expected = baseline.environment.threads
    if expected != threads:
        cause = f"The baseline was measured with {counted(expected, 'thread')}, not with {threads}."
        raise UsageError(cause, f"Give --threads {expected}.")


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
    check_threads(baseline, report.environment.threads)
    rows = {_key(row): row for row in baseline.results}
    compared = [_slowdown(row, rows[_key(row)]) for row in report.results if _key(row) in rows]
    if not compared:
        raise UsageError("No row of this benchmark is in the baseline.", "Measure the same models.")
    return tuple(compared)


def _key(row: BenchmarkResult) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in KEY)


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
