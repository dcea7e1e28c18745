"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.synthesis.line_folders import write_lines


@pytest.fixture(scope="session")
def line_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "lines"
    write_lines(path, count=60, seed=3)
    return path
