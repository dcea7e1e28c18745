"""What the tests of benchmarks share: quick measurements, and a benchmark with all that it reports."""

from __future__ import annotations

import math
from typing import Any

import pytest

from digitcli.data.digits import Digits
from digitcli.experiments import measuring
from digitcli.experiments.benchmarking import BenchmarkConfig, BenchmarkReport, Event, benchmark
from digitcli.training.events import Notice

NO_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """20 calls a row and 300 test digits, however fast the machine is."""
    for name in ("WARM_UP_SECONDS", "LEAST_SECONDS"):
        monkeypatch.setattr(measuring, name, 0.0)
    monkeypatch.setattr(measuring, "MOST_SECONDS", math.inf)
    few = Digits(digits.images[:300], digits.labels[:300])
    monkeypatch.setattr(measuring, "_test_digits", lambda: few)


def run(*archs: str, **settings: Any) -> tuple[BenchmarkReport, list[Event]]:
    """A benchmark on the CPU, and what it reported on the way."""
    events: list[Event] = []
    settings = {"archs": archs, "device": "cpu", "batch_sizes": (1,), **settings}
    return benchmark(BenchmarkConfig(**settings), on_event=events.append), events


def notices(events: list[Event]) -> list[str]:
    """What was said to people."""
    return [event.message for event in events if isinstance(event, Notice)]
