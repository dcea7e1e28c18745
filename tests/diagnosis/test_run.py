"""A run folder is examined without changing it; other folders are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.diagnosis.run import RangeTest, examine_run, find_learning_rate
from digitcli.errors import DivergedError, InputError, Interrupted, ModelError, UsageError
from digitcli.inference.checkpoint import RESUME_FILE, read_checkpoint, write_checkpoint
from digitcli.training import trainer
from tests.support.models import saved
from tests.support.training import stop_after, train_config


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_examined_and_stays_as_it_was(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax", recipe={"lr": 1e-7, "epochs": 9, "batch_size": 16})
    trainer.train(config, out=tmp_path / "run")
    before = files(tmp_path / "run")
    state = torch.get_rng_state()
    diagnosis = examine_run(tmp_path / "run", "cpu")
    assert files(tmp_path / "run") == before and torch.equal(torch.get_rng_state(), state)
    rules = [finding.rule for finding in diagnosis.findings]
    assert rules[0] == "learning_rate_too_low"
    assert diagnosis.facts["epochs"].startswith("9 of 9; ")


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
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no run"):
        find_learning_rate(str(tmp_path / "empty"))


def test_a_member_is_named_in_place_of_an_ensemble(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax", members=2, recipe={"epochs": 1})
    trainer.train(config, out=tmp_path / "run")
    for examine in (examine_run, lambda folder: find_learning_rate(str(folder))):
        with pytest.raises(ModelError, match="ensemble") as caught:
            examine(tmp_path / "run")
        assert str(tmp_path / "run" / "member-0") in caught.value.remedy
    assert examine_run(tmp_path / "run" / "member-0", "cpu").facts["architecture"] == "softmax"


@pytest.mark.parametrize("role", ["teacher", "start"])
def test_a_run_whose_teacher_or_start_model_is_gone_is_not_examined(
    few_digits: Path, tmp_path: Path, role: str
) -> None:
    model = saved(tmp_path / "model.safetensors", "softmax")
    learned_from = {"teacher": {"teacher": (str(model),)}, "start": {"start": str(model)}}[role]
    trainer.train(
        train_config(few_digits, "softmax", recipe={"epochs": 1}, **learned_from), out=tmp_path / "run"
    )
    model.unlink()
    for examine in (examine_run, lambda folder: find_learning_rate(str(folder))):
        with pytest.raises(ModelError, match=r"learned from .*model\.safetensors") as caught:
            examine(tmp_path / "run")
        assert caught.value.remedy.startswith("Put it back") and "--" not in caught.value.remedy


def test_a_run_of_another_version_is_not_examined(few_digits: Path, tmp_path: Path) -> None:
    trainer.train(train_config(few_digits, "softmax"), out=tmp_path / "run")
    header, tensors = read_checkpoint(tmp_path / "run" / RESUME_FILE)
    newer = replace(header, recipe={**header.recipe, "of_the_future": 1})
    write_checkpoint(tmp_path / "run" / RESUME_FILE, newer, tensors)
    with pytest.raises(ModelError, match="another version"):
        examine_run(tmp_path / "run", "cpu")


def test_a_run_whose_data_have_changed_is_not_examined(few_digits: Path, tmp_path: Path) -> None:
    data, corrections = tmp_path / "digits.npz", tmp_path / "corrections.csv"
    data.write_bytes(few_digits.read_bytes())
    corrections.write_text("index,label\n3,\n")
    trainer.train(train_config(data, "softmax", corrections=str(corrections)), out=tmp_path / "run")
    assert examine_run(tmp_path / "run", "cpu").facts
    corrections.write_text("index,label\n4,\n")
    with pytest.raises(InputError, match="corrections.csv has changed"):
        examine_run(tmp_path / "run", "cpu")
    with np.load(few_digits) as arrays:
        np.savez(data, images=arrays["images"][::-1], labels=arrays["labels"][::-1])
    with pytest.raises(InputError, match="digits.npz has changed"):
        examine_run(tmp_path / "run", "cpu")


def test_a_loss_that_is_not_finite_has_no_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digitcli.diagnosis.run.range_test", lambda config: RangeTest((), ()))
    with pytest.raises(DivergedError, match="before the first step"):
        find_learning_rate("softmax", "cpu")
