"""Ensembles: their members, their folder, and how they continue after an interruption."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import resolve_recipe
from digitcli.cli.train import describe_gain
from digitcli.data.dataset import Digits
from digitcli.errors import DivergedError, Interrupted, ModelError, OutputError, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_header
from digitcli.inference.predictor import load_classifier
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.run_folder import begin, describe_config
from digitcli.training.state import TrainResult
from digitcli.training.trainer import dry_run, resume, train
from tests.support.models import saved
from tests.support.processes import Run
from tests.support.training import assert_same_run, read_weights, stop_after, train_config

STEPS = 7  # of an epoch of `few_digits`


def ensemble_config(data: Path, **changes: Any) -> TrainConfig:
    """Settings of three members of one epoch, of `STEPS` steps each."""
    changes = {"members": 3, **changes}
    recipe = {"epochs": 1, **changes.pop("recipe", {})}
    return train_config(data, changes.pop("arch", "softmax"), recipe=recipe, **changes)


@pytest.fixture(scope="module")
def trained(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A finished ensemble of three; tests that change its folder copy it before."""
    return train(ensemble_config(few_digits), out=tmp_path_factory.mktemp("runs") / "ensemble")


@pytest.fixture
def run(trained: TrainResult, tmp_path: Path) -> Path:
    """A copy of the folder of `trained`."""
    return Path(shutil.copytree(str(trained.run), tmp_path / "run"))


def assert_same_ensemble(folder: Path, other: Path) -> None:
    ours, theirs = read_weights(folder), read_weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_header(folder / MODEL_FILE).temperature == read_header(other / MODEL_FILE).temperature


def test_the_folder_answers_as_its_members_together(
    trained: TrainResult, few_digits: Path, digits: Digits
) -> None:
    members = [member.checkpoint for member in trained.members]
    assert members == [f"{trained.run}/member-{number}/{MODEL_FILE}" for number in range(3)]
    together = load_classifier(*members, device="cpu", temperature=trained.temperature)
    ensemble, images = load_classifier(str(trained.run), device="cpu"), digits.images[600:700]
    np.testing.assert_allclose(ensemble.probabilities(images), together.probabilities(images), rtol=1e-4)
    assert trained.temperature != 1.0
    whole, *parts = (
        evaluate(model, str(few_digits), split="test", device="cpu") for model in (str(trained.run), *members)
    )
    best = min(range(3), key=lambda number: parts[number].wrong)
    assert trained.best_member == best and trained.gained is not None and trained.lost is not None
    assert trained.gained - trained.lost == parts[best].wrong - whole.wrong
    assert read_header(Path(str(trained.checkpoint))).metrics["test_accuracy"] == trained.test_accuracy


def test_each_member_is_the_run_of_its_seed(few_digits: Path, tmp_path: Path) -> None:
    result = train(ensemble_config(few_digits, seed=4), out=tmp_path / "run")
    alone = train(ensemble_config(few_digits, members=None, seed=5), out=tmp_path / "alone")
    assert_same_run(tmp_path / "run" / "member-1", tmp_path / "alone")
    assert [member.seed for member in result.members] == [4, 5, 6]
    for name in ("test_accuracy", "validation_accuracy", "test_nll"):
        assert getattr(result.members[1], name) == getattr(alone, name)
    assert (result.epochs, result.parameters) == (3, 3 * alone.parameters)


def test_the_verdict_about_an_ensemble_is_that_of_mcnemars_test(trained: TrainResult) -> None:
    clear = describe_gain(replace(trained, best_member=1, gained=30, lost=5))
    assert clear.startswith("member 1; 30 of the test digits are read by the ensemble alone")
    assert "the ensemble is better (p = 2.2e-05)" in clear
    assert "is worse" in describe_gain(replace(trained, best_member=1, gained=5, lost=30))
    assert "may be chance (p = 1)" in describe_gain(replace(trained, best_member=1, gained=6, lost=5))
    assert describe_gain(replace(trained, best_member=None)) == ""


def test_an_interruption_in_the_third_member_continues_there(
    few_digits: Path, tmp_path: Path, trained: TrainResult
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted, match="member-2: Stopped after 0 epochs and 3 steps") as caught:
        train(ensemble_config(few_digits), out=run, stop_signal=stop_after(STEPS + STEPS + 3))
    assert caught.value.exit_code == 130
    assert caught.value.remedy == f"Continue with: digitcli train --resume {run}"
    with pytest.raises(ModelError, match="holds no model") as unfinished:
        load_classifier(run, device="cpu")
    assert f"--resume {run}" in unfinished.value.remedy
    for config in (ensemble_config(few_digits), ensemble_config(few_digits, members=None)):
        with pytest.raises(OutputError, match=r"member-0/resume.safetensors"):
            train(config, out=run)
    changes: tuple[dict[str, Any], ...] = (
        {"members": 4}, {"recipe": {"epochs": 2}}, {"patience": 1}, {"seed": 1},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(UsageError, match="started with another"):
            resume(run, change)
    finished = [(run / f"member-{number}" / RESUME_FILE).stat().st_mtime_ns for number in (0, 1)]
    steps: list[None] = []
    same = {"members": 3, "recipe": {"epochs": 1, "lr": resolve_recipe("softmax").lr}}
    result = resume(run, same, stop_signal=lambda: steps.append(None))
    assert len(steps) == STEPS - 3  # the third member continues after its third step
    assert finished == [(run / f"member-{number}" / RESUME_FILE).stat().st_mtime_ns for number in (0, 1)]
    assert_same_ensemble(run, Path(str(trained.run)))
    assert (result.test_accuracy, result.test_nll) == (trained.test_accuracy, trained.test_nll)


def test_a_finished_ensemble_repeats_its_result_without_the_test_digits(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DigitTask, "test", lambda *arguments: pytest.fail("tested again"))
    events: list[Event] = []
    result = resume(run, {}, on_event=events.append)
    assert result == resume(run, {}) and len(result.members) == 3
    assert [event.message for event in events if isinstance(event, Notice)] == [
        f"The ensemble in {run} is finished; start a new one to train for longer."
    ]


def test_a_finished_ensemble_needs_neither_its_teacher_nor_its_start_model(
    few_digits: Path, tmp_path: Path
) -> None:
    teacher, start, run = tmp_path / "teacher.safetensors", tmp_path / "start.safetensors", tmp_path / "run"
    saved(teacher, "lenet1")
    saved(start, "softmax")
    train(ensemble_config(few_digits, members=2, teacher=(str(teacher),), start=str(start)), out=run)
    result = resume(run, {})
    teacher.unlink()
    start.unlink()
    assert resume(run, {}) == result
    assert resume(run, {"teacher": ("fast",)}) == result
    (run / MODEL_FILE).unlink()
    assert resume(run, {}).test_accuracy == result.test_accuracy
    shutil.rmtree(run / "member-1")
    with pytest.raises(ModelError, match=r"no model .*start\.safetensors"):
        resume(run, {})


def test_what_was_lost_is_made_again(run: Path, trained: TrainResult) -> None:
    content = read_weights(run)
    (run / MODEL_FILE).unlink()
    (run / "member-1" / MODEL_FILE).unlink()
    assert resume(run, {}).test_accuracy == trained.test_accuracy
    assert all(torch.equal(content[name], tensor) for name, tensor in read_weights(run).items())
    shutil.rmtree(run / "member-1")
    resume(run, {})
    members = read_header(run / MODEL_FILE).arguments["members"]
    member = dataclasses.asdict(read_header(run / "member-1" / MODEL_FILE))
    assert members[1] == json.loads(json.dumps(member))  # the one in the model is replaced, too


def test_the_data_must_be_those_of_the_first_member(few_digits: Path, tmp_path: Path) -> None:
    data = Path(shutil.copy(few_digits, tmp_path / "data.npz"))
    run = tmp_path / "run"
    train(ensemble_config(data), out=run)
    for missing in (MODEL_FILE, "member-2"):
        (run / MODEL_FILE).unlink()
        shutil.rmtree(run / missing, ignore_errors=True)
        with np.load(few_digits) as arrays:
            np.savez(data, images=arrays["images"][::-1], labels=arrays["labels"][::-1])
        with pytest.raises(UsageError, match="not those this run began with"):
            resume(run, {})
        assert not (run / missing).exists()
        shutil.copy(few_digits, data)
        assert len(resume(run, {}).members) == 3


def test_a_dry_run_tries_the_first_member_and_others_take_one_network_in_one_process(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    result = dry_run(ensemble_config(few_digits, seed=4), on_event=events.append)
    assert (result.architecture, result.seed, result.run, result.members) == ("softmax", 4, None, ())
    (notice,) = (each.message for each in events if isinstance(each, Notice) and "members" in each.message)
    assert "Of the 3 members, only the first is tried: softmax, seed 4." in notice
    with pytest.raises(UsageError, match="pages"):
        dry_run(TrainConfig(arch="finder", members=2, data=str(few_digits)))
    monkeypatch.setattr("digitcli.training.trainer.rank_and_size", lambda: (0, 2))
    with pytest.raises(UsageError, match="but there are 2"):
        train(ensemble_config(few_digits), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_continued_before_it_was_saved_starts_at_the_beginning(
    few_digits: Path, tmp_path: Path
) -> None:
    config = train_config(few_digits, "softmax", members=2, recipe={"epochs": 1})
    (tmp_path / "run").mkdir()
    begin(tmp_path / "run", describe_config(config))
    result = resume(tmp_path / "run", {})
    assert len(result.members) == 2 and result == resume(tmp_path / "run", {})
    failing = ensemble_config(few_digits, arch="mlp", recipe={"optimizer": "sgd", "lr": 1e30})
    with pytest.raises(DivergedError, match="Nothing was saved"):
        train(failing, out=tmp_path / "failed")
    assert not (tmp_path / "failed").exists()


def test_a_forced_run_replaces_an_ensemble_but_no_model_from_which_it_learns(
    few_digits: Path, run: Path
) -> None:
    member = str(run / "member-0")
    before = (run / "member-0" / MODEL_FILE).read_bytes()
    for role, name in {"teacher": (member,), "start": member}.items():
        with pytest.raises(UsageError, match="would replace"):
            train(ensemble_config(few_digits, **{role: name}), out=run, force=True)
    assert (run / "member-0" / MODEL_FILE).read_bytes() == before and (run / MODEL_FILE).exists()
    train(ensemble_config(few_digits, members=2), out=run, force=True)
    assert sorted(path.name for path in run.glob("member-*")) == ["member-0", "member-1"]
    train(ensemble_config(few_digits, members=None), out=run, force=True)
    assert not list(run.glob("member-*")) and read_header(run / MODEL_FILE).architecture == "softmax"
    beside = train_config(few_digits, "softmax", start=str(run))  # in the folder around that of the model
    before = (run / MODEL_FILE).read_bytes()
    assert train(beside, out=run.parent).checkpoint == str(run.parent / MODEL_FILE)
    assert (run / MODEL_FILE).read_bytes() == before


def test_the_command_reports_the_members_and_what_they_have_in_common_once(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    command = ["train", "--arch", "softmax", "--members", "2", "--epochs", "1", "--device", "cpu"]
    text = digitcli(*command, "--print-config").stdout
    assert "members = 2\n" in text
    (tmp_path / "ensemble.toml").write_text(text)
    assert digitcli("train", "--config", "ensemble.toml", "--print-config").stdout == text
    done = digitcli(*command, "--data", few_digits, "--format", "json")
    record = json.loads(done.stdout)
    assert (record["architecture"], record["run"]) == ("ensemble", "runs/ensemble-1")
    assert record["members"][1].keys() == {
        "architecture", "seed", "checkpoint", "validation_accuracy", "test_accuracy", "test_nll",
    }  # fmt: skip
    lines = done.stderr.splitlines()
    assert "Member 2 of 2, in runs/ensemble-1/member-1: softmax, seed 1." in done.stderr
    starts = ("Note: Member", "softmax ", "optimization ", "run ", "epoch ")
    shown = [next((start for start in starts if line.startswith(start)), "") for line in lines]
    expected = ["Note: Member", "softmax ", "optimization ", "run ", "epoch ", "Note: Member", "epoch "]
    assert [word for word in shown if word] == expected
    table = digitcli("train", "--resume", "runs/ensemble-1").stdout
    member = record["members"][1]
    cells = ["1", "softmax", "1", f"{100 * member['validation_accuracy']:.2f}", "%"]
    assert any(line.split()[:5] == cells for line in table.splitlines())
    assert f"{member['test_nll']:.4f}" in table
    assert f"best member  member {record['best_member']};" in table
