"""Fixtures of the tests of the commands."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.processes import Run


@pytest.fixture
def predict(digitcli: Run) -> Run:
    """Runs `digitcli predict ARGUMENTS`."""
    return partial(digitcli, "predict")
