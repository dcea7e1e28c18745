"""What the tests of benchmarks share: quick measurements, and a benchmark with all that it reports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.data.digits import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.experiments import measuring
from digitcli.experiments.benchmarking import BenchmarkConfig, BenchmarkReport, Event, benchmark
from digitcli.training.events import Notice

NO_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def measure_quickly(patch: pytest.MonkeyPatch, digits: Digits) -> None:
    """20 calls a row and 300 test digits, however fast the machine is."""
    for name in ("WARM_UP_SECONDS", "LEAST_SECONDS"):
        patch.setattr(measuring, name, 0.0)
    patch.setattr(measuring, "MOST_SECONDS", math.inf)
    few = Digits(digits.images[:300], digits.labels[:300])
    patch.setattr(measuring, "_test_digits", lambda: few)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    measure_quickly(monkeypatch, digits)


@pytest.fixture(scope="session")
def other_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 digits that shipped models were trained on, as an .npz file."""
    path = tmp_path_factory.mktemp("data") / "other.npz"
    train = split(load_mnist()).train
    np.savez(path, images=train.images[:600], labels=train.labels[:600])
    return path


def run(*archs: str, **settings: Any) -> tuple[BenchmarkReport, list[Event]]:
    """A benchmark on the CPU, and what it reported on the way."""
    events: list[Event] = []
    settings = {"archs": archs, "device": "cpu", "batch_sizes": (1,), **settings}
    return benchmark(BenchmarkConfig(**settings), on_event=events.append), events


def notices(events: list[Event]) -> list[str]:
    """What was said to people."""
    return [event.message for event in events if isinstance(event, Notice)]
