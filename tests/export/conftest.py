"""Fixtures of the tests of exports."""

from __future__ import annotations

import pytest

from digitcli.data.dataset import Digits
from digitcli.export import exporter

FEW = 300


@pytest.fixture
def on_few_digits(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the answers on 300 digits in place of 10,000."""
    few = Digits(digits.images[:FEW], digits.labels[:FEW])
    monkeypatch.setattr(exporter, "load_mnist_test", lambda: few)
