"""What is given to `digitcli doctor` is told from its name and content."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digitcli.diagnosis.findings import kind_of
from digitcli.diagnosis.run import examine_run, find_learning_rate
from digitcli.errors import InputError, UsageError


def test_each_kind_is_told(tmp_path: Path, few_digits: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume.safetensors").touch()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.safetensors").touch()
    (tmp_path / "unfinished-ensemble" / "member-0").mkdir(parents=True)
    (tmp_path / "digits" / "3").mkdir(parents=True)
    kinds = {
        "run": "run",
        "trained": "model",
        "unfinished-ensemble": "run",
        "cnn": "model",
        "copy.safetensors": "model",
        "photo.jpg": "picture",
        "digits": "data",
        "mnist": "data",
        str(few_digits): "data",
    }
    assert {subject: kind_of(subject) for subject in kinds} == kinds


def made(folder: Path, file: str) -> None:
    folder.mkdir(parents=True)
    (folder / file).touch()


def test_the_remedy_for_anything_else_says_what_it_may_be() -> None:
    made(Path("runs/bad"), "resume.safetensors")
    for number in range(7):
        made(Path(f"many/mlp-{number}"), "model.safetensors" if number else "resume.safetensors")
    for subject, cause, remedies in (
        ("no-such-thing", "no run folder, model, picture or dataset", ["that exists"]),
        ("no/such/folder", "no run folder, model, picture or dataset", ["that exists"]),
        ("", "no run folder, model, picture or dataset", ["that exists"]),
        ("zoo.json", r"zoo\.json is no run folder", ["digitcli report"]),
        ("bad", "bad is no run folder", [f"Did you mean {Path('runs/bad')}?"]),
        ("mlp", "mlp is no run folder", ["add --lr-range", "digitcli train --arch mlp"]),
        ("many", "many holds 7 runs", ["mlp-0", "mlp-4, ..."]),
    ):
        with pytest.raises(UsageError, match=cause) as caught:
            kind_of(subject)
        assert all(words in caught.value.remedy for words in remedies), subject


def test_what_cannot_be_read_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, who runs many tests, may read everything, so that the fault is planted."""

    def fail(path: Path) -> bool:
        if path.is_relative_to(tmp_path / "locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return exists(path)

    exists = Path.exists
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(Path, "exists", fail)
    examinations: list[Callable[[str], Any]] = [
        kind_of, lambda name: examine_run(Path(name)), find_learning_rate,
    ]  # fmt: skip
    for examine in examinations:
        with pytest.raises(InputError, match=f"locked cannot be read: {os.strerror(errno.EACCES)}"):
            examine(str(tmp_path / "locked"))
