"""What is given to `digitcli doctor` is told from its name and content."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digitcli.diagnosis.run import examine_run, find_learning_rate
from digitcli.diagnosis.subjects import kind_of
from digitcli.errors import InputError, UsageError
from digitcli.reporting.report import build_page


def test_each_kind_is_told(tmp_path: Path, few_digits: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume.safetensors").touch()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.safetensors").touch()
    (tmp_path / "digits" / "3").mkdir(parents=True)
    kinds = {
        "run": "run",
        "trained": "model",
        "cnn": "model",
        "copy.safetensors": "model",
        "zoo.json": "comparison",
        "photo.jpg": "picture",
        "digits": "data",
        "mnist": "data",
        str(few_digits): "data",
    }
    assert {subject: kind_of(subject) for subject in kinds} == kinds


@pytest.mark.parametrize("subject", ["no-such-thing", "no/such/folder", ""])
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(UsageError, match="--as"):
        try:
            kind_of(subject)
        except UsageError as error:
            raise UsageError(f"{error.cause} {error.remedy}") from error


@pytest.mark.parametrize(
    "examine",
    [kind_of, lambda name: examine_run(Path(name)), find_learning_rate, build_page],
    ids=["doctor", "run", "learning rate", "report"],
)
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_what_cannot_be_read_is_an_input_error(
    examine: Callable[..., Any], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, who runs many tests, may read everything, so that the fault is planted."""

    def fail(path: Path) -> bool:
        if path.is_relative_to(tmp_path / "locked"):
            raise OSError(number, os.strerror(number))
        return exists(path)

    exists = Path.exists
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(Path, "exists", fail)
    options = (lambda event: None,) if examine is build_page else ()
    with pytest.raises(InputError, match=f"locked cannot be read: {os.strerror(number)}"):
        examine(str(tmp_path / "locked"), *options)
