"""Compare a benchmark with an earlier one: how much slower is each row, and is the difference real?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from digitcli.benchmarking.benchmark import BenchmarkReport, BenchmarkResult
from digitcli.errors import InputError, UsageError
from digitcli.json_records import read_json

KEY = ("name", "device", "runtime", "dtype", "measured", "batch_size")  # equal in rows that are compared
DESCRIPTION = "a benchmark"
REMEDY = "Save one with: digitcli benchmark --format json > baseline.json"


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
        cause = f"The baseline was measured with {expected} threads, not with {threads}."
        raise UsageError(cause, f"Give --threads {expected}.")


def slowdowns(report: BenchmarkReport, baseline: BenchmarkReport) -> tuple[Slowdown, ...]:
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
    """The errors of two medians are independent: the squares of their logarithms add up."""
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
