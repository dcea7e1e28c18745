"""Benchmarks in tests are quick."""

from __future__ import annotations

import pytest

from digitcli.data.dataset import Digits
from tests.support.benchmarks import measure_quickly


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    measure_quickly(monkeypatch, digits)
