"""What the tests of the commands share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.fixture
def predict(digitcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `digitcli predict ARGUMENTS` in the folder in which the test itself is."""
    monkeypatch.chdir(tmp_path)
    return partial(digitcli, "predict")
