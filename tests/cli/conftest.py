"""What the tests of the commands share."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from digitcli.cli import exit_code_of_run
from tests.conftest import Run


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `digitcli predict ARGUMENTS` in a folder of its own, without a process; `input` is its stdin."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, input: bytes = b"") -> CompletedProcess[str]:
        command = ["digitcli", "predict", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
        capsys.readouterr()
        code = exit_code_of_run()
        return CompletedProcess(command, code, *capsys.readouterr())

    return run
