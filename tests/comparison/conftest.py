from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.comparison.compare import Comparison
from digitcli.comparison.specification import save_comparison
from digitcli.data.dataset import Digits
from tests.support.comparisons import compare_quickly


@pytest.fixture(scope="session")
def compared(few_digits: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two runs of each of two recipes, and a shipped model."""
    folder = tmp_path_factory.mktemp("runs")
    return compare_quickly(few_digits, folder, "softmax:epochs=1", "softmax:epochs=8", "shipped/fast")


@pytest.fixture
def saved(compared: Comparison, tmp_path: Path) -> Path:
    """The same as a file."""
    save_comparison(tmp_path / "saved.json", compared.to_saved())
    return tmp_path / "saved.json"
