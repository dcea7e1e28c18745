"""A benchmark beside a saved one: how much slower each row has become, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitcli.benchmarking.benchmark import BenchmarkReport, BenchmarkResult
from digitcli.errors import InputError, UsageError

SAME = ("name", "device", "runtime", "dtype", "measured", "batch_size")  # in rows that are compared
TIMES = ("latency_ms_median", "latency_ms_low", "latency_ms_high")
REMEDY = "Save one with: digitcli benchmark --format json > saved.json"

_MALFORMED = (
    OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
)  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Slowdown:
    """By how much a row takes longer than a saved one: above 1 it is slower; the 95 % interval of that, which
    does not know of drift from run to run.
    """

    name: str
    device: str
    runtime: str
    dtype: str
    measured: str
    batch_size: int
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Saved:
    """What was measured before, and with how many threads."""

    rows: Sequence[Row]
    threads: int


def read_saved(path: Path) -> Saved:
    """A benchmark saved as JSON.

    Raises:
        InputError: the file cannot be read, or is no such benchmark.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = report["results"]
        for row in rows:
            named = all(isinstance(row[key], int if key == "batch_size" else str) for key in SAME)
            if not named or not all(0 < float(row[key]) < math.inf for key in TIMES):
                raise ValueError("a row is incomplete")
        if not rows:
            raise ValueError("it has no rows")
        saved = Saved(rows, int(report["environment"]["threads"]))
    except _MALFORMED as error:
        cause = f"{path} is no saved benchmark: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, REMEDY) from error
    return saved


def check_threads(saved: Saved, threads: int) -> None:
    """Whether a benchmark with so many threads may be compared with a saved one.

    Raises:
        UsageError: it may not.
    """
    if saved.threads != threads:
        cause = f"The saved benchmark has {saved.threads} threads, not {threads}."
        raise UsageError(cause, f"Measure with --threads {saved.threads}.")


def slowdowns(report: BenchmarkReport, saved: Saved) -> tuple[Slowdown, ...]:
    """Every row that was measured before too.

    Raises:
        UsageError: there is none, or it was measured with another number of threads.
    """
    check_threads(saved, report.environment.threads)
    before = {tuple(row[key] for key in SAME): row for row in saved.rows}
    found = []
    for result in report.results:
        key = tuple(getattr(result, name) for name in SAME)
        if key in before:
            same = dict(zip(SAME, key, strict=True))
            ratio, low, high = _ratio(result, before[key])
            found.append(Slowdown(**same, ratio=ratio, ratio_low=low, ratio_high=high))
    if not found:
        raise UsageError(
            "Nothing that was measured now is in the saved benchmark.", "Measure the same models."
        )
    return tuple(found)


def _ratio(now: BenchmarkResult, before: Row) -> tuple[float, float, float]:
    """Of two medians; their errors are independent, and add up as squares of logarithms."""
    median, low, high = (float(before[key]) for key in TIMES)
    ratio = now.latency_ms_median / median
    below = math.hypot(math.log(now.latency_ms_median / now.latency_ms_low), math.log(high / median))
    above = math.hypot(math.log(now.latency_ms_high / now.latency_ms_median), math.log(median / low))
    return ratio, ratio * math.exp(-below), ratio * math.exp(above)
