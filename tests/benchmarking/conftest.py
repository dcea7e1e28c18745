"""What the tests of benchmarks share: quick measurements, and a benchmark with all that it reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from tests.support.benchmarks import measure_quickly


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
