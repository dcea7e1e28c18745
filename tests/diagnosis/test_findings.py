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


@pytest.mark.parametrize("subject", ["no-such-thing", "no/such/folder", ""])
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(UsageError, match="no run folder, model, picture or dataset") as caught:
        kind_of(subject)
    assert "that exists" in caught.value.remedy


@pytest.mark.parametrize(
    "examine",
    [kind_of, lambda name: examine_run(Path(name)), find_learning_rate],
    ids=["doctor", "run", "learning rate"],
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
    with pytest.raises(InputError, match=f"locked cannot be read: {os.strerror(number)}"):
        examine(str(tmp_path / "locked"))


def test_a_json_file_belongs_to_report() -> None:
    with pytest.raises(UsageError, match=r"zoo\.json is no run folder") as caught:
        kind_of("zoo.json")
    assert "digitcli report" in caught.value.remedy


def made(folder: Path, file: str) -> None:
    folder.mkdir(parents=True)
    (folder / file).touch()


def test_a_run_that_is_named_without_its_folder_is_suggested() -> None:
    made(Path("runs/bad"), "resume.safetensors")
    with pytest.raises(UsageError, match="bad is no run folder") as caught:
        kind_of("bad")
    assert caught.value.remedy == f"Did you mean {Path('runs/bad')}?"


def test_an_architecture_without_weights_has_a_learning_rate_and_can_be_trained() -> None:
    with pytest.raises(UsageError, match="mlp is no run folder") as caught:
        kind_of("mlp")
    assert "add --lr-range" in caught.value.remedy
    assert caught.value.remedy.endswith("digitcli train --arch mlp")


def test_a_folder_of_runs_is_neither_a_run_nor_data() -> None:
    for number in range(7):
        made(Path(f"runs/mlp-{number}"), "model.safetensors" if number else "resume.safetensors")
    with pytest.raises(UsageError, match="runs holds 7 runs") as caught:
        kind_of("runs")
    assert "mlp-0" in caught.value.remedy and caught.value.remedy.endswith("mlp-4, ...")
