"""`digitcli adapt` writes a model that the other commands take, or says that the adaptation did not help."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from digitcli.adaptation import adapt as adapting
from digitcli.adaptation import adaptation, cross_validation, final_network
from digitcli.adaptation.adaptation import AdaptedModel
from digitcli.inference.checkpoint import Header
from digitcli.training import start_model
from tests.support.adaptation import (
    TEXTS,
    healed,
    labelled_numbers,
    measured_adaptation,
    miscounting_reader,
)
from tests.support.predictions import records
from tests.support.processes import Run


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (final_network, cross_validation):
        monkeypatch.setattr(module, "trained_epochs", healed)
    monkeypatch.setattr(adapting, "COMPOSED_LINES", 8)
    monkeypatch.setattr(adapting, "COMPOSED_AT_ONCE", 8)
    monkeypatch.setattr(start_model, "TEST_LINES", 24)


def test_an_adapted_model_is_written_and_used(
    digitcli: Run, predict: Run, tmp_path: Path, without_training: None
) -> None:
    folder = labelled_numbers(tmp_path / "f")
    (folder / "broken.png").write_text("no picture")
    with (folder / "labels.csv").open("a") as file:
        file.write("broken.png,5,\n")
    wrong = miscounting_reader(tmp_path / "wrong.safetensors")
    common = ("-m", wrong, "--epochs", "2", "--folds", "2", "--device", "cpu")
    done = digitcli("adapt", folder, "-o", "my-reader", *common)
    assert done.returncode == 4 and "broken.png" in done.stderr  # one picture could not be used
    shown = " ".join(done.stdout.split())
    assert "after 12 of 12 read correctly (100.00 %), 0 answered wrongly" in shown
    assert "digitcli predict PICTURES -m my-reader" in shown and "hardly chance" in shown
    (record,) = records(predict(folder / "2.png", "-m", "my-reader", "--format", "jsonl", "--device", "cpu"))
    assert record["text"] == TEXTS[2] and record["status"] == "read"
    described = " ".join(digitcli("models", "my-reader").stdout.split())
    assert "measured on the held-out pictures of the adaptation" in described
    again = digitcli("adapt", folder, "-o", "my-reader", *common)
    assert again.returncode == 7 and "--force" in again.stderr
    calibrated = digitcli(
        "calibrate", folder, "-m", "my-reader", "--max-error", "0.2", "--confidence", "0.8", "--device", "cpu"
    )
    assert calibrated.returncode == 4, calibrated.stderr


def test_an_adaptation_that_does_not_help_ends_with_exit_code_8(
    digitcli: Run, tmp_path: Path, without_training: None
) -> None:
    folder = labelled_numbers(tmp_path / "f", ["9", *TEXTS[1:]])
    done = digitcli(
        "adapt", folder, "-o", "my-reader", "--epochs", "2", "--device", "cpu", "--format", "json"
    )
    assert done.returncode == 8 and "did not help" in done.stderr
    result = json.loads(done.stdout)
    assert result["output"] is None and result["helps"] is False and result["pictures"] == len(TEXTS)
    assert not (tmp_path / "my-reader").exists() and not Path("my-reader").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 2),
        (("-o", "x", "--folds", "1"), 2),
        (("-o", "x", "--epochs", "0"), 2),
        (("-o", "f"), 7),
    ],
)
def test_mistakes_have_exit_codes(
    digitcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    labelled_numbers(tmp_path / "f")
    monkeypatch.chdir(tmp_path)
    assert digitcli("adapt", "f", *options).returncode == code


@pytest.mark.parametrize(
    ("format", "figure"), [("table", "after 2 of 4 read correctly"), ("json", '"pictures": 4')]
)
def test_a_full_disk_leaves_the_figures_and_no_advice_to_use_the_model(
    digitcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, figure: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    result = measured_adaptation([AdaptedModel("reader", Header(architecture="reader"), {})])
    monkeypatch.setattr(adapting, "adapt", lambda *arguments, **options: result)
    monkeypatch.setattr(adaptation, "write_checkpoint", full)
    done = digitcli("adapt", tmp_path, "-o", "my-reader", "--format", format)
    assert done.returncode == 7 and "No space left" in done.stderr
    assert figure in " ".join(done.stdout.split()) and "my-reader" not in done.stdout
