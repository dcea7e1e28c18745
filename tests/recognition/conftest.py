"""Readers that are loaded once; no test may change them."""

from __future__ import annotations

import pytest

from digitcli.recognition.reader import Reader


@pytest.fixture(scope="session")
def default_reader() -> Reader:
    """The reader with the default models."""
    return Reader(device="cpu")


@pytest.fixture(scope="session")
def cnn_reader() -> Reader:
    """The reader of digits that stand apart, which refuses nothing."""
    return Reader("cnn", device="cpu", min_confidence=0.0)
