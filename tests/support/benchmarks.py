"""Benchmarks that take a second."""

from __future__ import annotations

import math
from typing import Any

import pytest

from digitcli.benchmarking import benchmark as measurement
from digitcli.benchmarking.benchmark import benchmark
from digitcli.benchmarking.benchmark_results import BenchmarkConfig, BenchmarkReport, BenchmarkResult, Event
from digitcli.data.dataset import Digits
from digitcli.events import Notice
from digitcli.export.export import runtime_graph

ROW = BenchmarkResult(
    architecture="cnn", device="cpu", dtype="float32", runtime="torch", batch_size=4, latency_ms_median=10.0,
    latency_ms_p95=11.0, images_per_second=400.0, parameters=1, macs=1, size_bytes=1, peak_memory_bytes=None,
    accuracy=None, runs=20, latency_ms_low=10.0, latency_ms_high=10.0,
    name="cnn", model=None,
)  # fmt: skip

FEW = 100
NO_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def measure_quickly(patch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Let a row take 20 calls and the accuracy 100 digits, however fast the machine is."""
    for name in ("WARM_UP_SECONDS", "MIN_SECONDS"):
        patch.setattr(measurement, name, 0.0)
    patch.setattr(measurement, "MAX_SECONDS", math.inf)
    few = Digits(digits.images[:FEW], digits.labels[:FEW])
    patch.setattr(measurement, "_test_digits", lambda: few)


def run(*archs: str, **settings: Any) -> tuple[BenchmarkReport, list[Event]]:
    """Run a benchmark on the CPU; return its report and its events."""
    events: list[Event] = []
    settings = {"archs": archs, "device": "cpu", "batch_sizes": (1,), **settings}
    config = BenchmarkConfig(**settings)
    return benchmark(config, export_graph=runtime_graph, on_event=events.append), events


def notices(events: list[Event]) -> list[str]:
    """Return the notices among some events."""
    return [event.message for event in events if isinstance(event, Notice)]
