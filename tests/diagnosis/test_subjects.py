"""What is given to `digitcli doctor` is told from its name and content."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.diagnosis.subjects import kind_of
from digitcli.errors import UsageError


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
