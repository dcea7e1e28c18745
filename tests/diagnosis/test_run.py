"""A run folder is examined without changing it; other folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.diagnosis.run import examine_run, find_learning_rate
from digitcli.errors import Interrupted, ModelError, UsageError
from digitcli.training import trainer
from tests.support.training import stop_after, train_config


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_examined_and_stays_as_it_was(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax", recipe={"lr": 1e-7, "epochs": 9, "batch_size": 16})
    trainer.train(config, out=tmp_path / "run")
    before = files(tmp_path / "run")
    diagnosis = examine_run(tmp_path / "run", "cpu")
    assert files(tmp_path / "run") == before
    rules = [finding.rule for finding in diagnosis.findings]
    assert "learning_rate_too_low" in rules and "too_few_epochs" not in rules
    assert diagnosis.facts["epochs"].startswith("9 of 9, ")


def test_a_folder_without_a_finished_epoch_is_refused(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run"):
        examine_run(tmp_path)
    config = train_config(few_digits, "softmax")
    with pytest.raises(Interrupted):
        trainer.train(config, out=tmp_path / "run", stop_signal=stop_after(1))
    with pytest.raises(ModelError, match="no run that has finished an epoch"):
        examine_run(tmp_path / "run")


def test_a_learning_rate_is_suggested_for_an_architecture(few_digits: Path, tmp_path: Path) -> None:
    trainer.train(train_config(few_digits, "softmax"), out=tmp_path / "run")
    diagnosis = find_learning_rate(str(tmp_path / "run"), "cpu")
    assert 1e-4 <= float(diagnosis.facts["suggested learning rate"]) <= 1
    with pytest.raises(UsageError):
        find_learning_rate("no_such_architecture")
