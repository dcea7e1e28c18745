"""Training from the weights of a model: frozen stages, rehearsal, resuming, accuracies before and after."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import create_model, resolve_recipe
from digitcli.cli.train import describe_start
from digitcli.data.dataset import Digits, split
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import read_checkpoint, read_header
from digitcli.inference.model_resolution import shipped_models
from digitcli.training import line_task
from digitcli.training.configuration import RunStarted, TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.setup import prepare
from digitcli.training.trainer import dry_run, resume, train
from tests.support.models import as_npz, saved
from tests.support.processes import Run
from tests.support.training import assert_same_run, fine_tuning, read_weights, stop_after

RECIPE = {"epochs": 2, "batch_size": 64, "min_epoch_steps": 4, "lr": 0.01, "dtype": "float32"}


def config_from(start: Path | str, data: Path | str, **changes: Any) -> TrainConfig:
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return fine_tuning(str(start), data=str(data), device="cpu", recipe=recipe, **changes)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return saved(tmp_path / "start.safetensors", "fast")


def test_frozen_stages_do_not_change_and_all_parameters_are_counted(
    few_digits: Path, start: Path, tmp_path: Path
) -> None:
    recipe = {"freeze": 2, "ema_decay": 0.9, "weight_decay": 0.1}
    events: list[Event] = []
    result = train(
        config_from(start, few_digits, recipe=recipe), out=tmp_path / "run", on_event=events.append
    )
    before, after = read_checkpoint(start)[1], read_weights(tmp_path / "run")
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.split(".")[0] in ("2", "5", "6")}
    trained = sum(after[name].numel() for name, _ in create_model("fast").named_parameters()
                  if name not in unchanged)  # fmt: skip
    assert (result.parameters, result.trained_parameters) == (109_242, trained)
    (started,) = (event for event in events if isinstance(event, RunStarted))
    assert (started.parameters, started.trained_parameters) == (109_242, trained)
    assert describe_start(started)["fast"].startswith(f"109,242 parameters, {trained:,} of them trained, on")
    everything = replace(started, trained_parameters=109_242)
    assert describe_start(everything)["fast"].startswith("109,242 parameters on cpu")
    assert result.original is None and result.test_accuracy_before is not None
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert any("forgetting is not measured" in notice for notice in notices)  # the data are not known


def accuracies_of(start: str, run: str, data: Path, original: Path) -> dict[str, float]:
    """Return the accuracies that a run reports, as `evaluate` measures them."""
    return {
        "test_accuracy_before": evaluate(start, data, split="test", runtime="torch").accuracy,
        "test_accuracy": evaluate(run, data, split="test").accuracy,
        "original_accuracy_before": evaluate(start, original, split="test", runtime="torch").accuracy,
        "original_accuracy": evaluate(run, original, split="test").accuracy,
    }


def test_the_accuracies_before_and_after_are_those_of_evaluate(
    few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    recipe = {"rehearse": 0.3}
    config = config_from("fast", few_digits, original=str(other_digits), teacher=("cnn",), recipe=recipe)
    _, state = prepare(config)
    weights = read_checkpoint(shipped_models()["fast"])[1]  # the run begins with them
    assert all(torch.equal(weights[name], value) for name, value in state.network.state_dict().items())
    tuned = train(config, out=tmp_path / "tuned")
    measured = accuracies_of("fast", str(tuned.run), few_digits, other_digits)
    assert {name: getattr(tuned, name) for name in measured} == measured
    header = read_header(Path(str(tuned.checkpoint)))
    assert {name: header.metrics[name] for name in measured} == measured
    assert tuned.start == header.start["model"] and str(tuned.start).startswith("fast@")
    assert [teacher.partition("@")[0] for teacher in header.teacher] == ["cnn"]
    assert tuned.original == other_digits.name
    assert header.dataset["original"] == load_dataset(str(other_digits)).digest
    assert evaluate(str(tuned.run), other_digits, split="train").overlap == header.dataset["train"]


def test_a_resumed_run_needs_no_start_model_and_ends_bit_for_bit_the_same(
    few_digits: Path, other_digits: Path, start: Path, tmp_path: Path
) -> None:
    original = Path(shutil.copy(other_digits, tmp_path / "original.npz"))
    recipe = {"rehearse": 0.25, "freeze": 1, "epochs": 3, "augment": True}
    config = config_from(start, few_digits, original=str(original), recipe=recipe)
    undisturbed = train(config, out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", stop_signal=stop_after(14))
    moved = shutil.move(start, tmp_path / "moved.safetensors")
    interrupted = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    events: list[Event] = []
    result = resume(tmp_path / "run", {}, on_event=events.append)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
    assert result.test_accuracy_before is None and result.original_accuracy is not None
    assert any(isinstance(event, Notice) and "before the training" in event.message for event in events)
    other, unfinished = (shutil.copytree(interrupted, tmp_path / name) for name in ("other", "unfinished"))
    saved(start, "fast", seed=1)
    events.clear()
    assert resume(other, {}, on_event=events.append).test_accuracy_before is None
    assert any(isinstance(event, Notice) and "another model now" in event.message for event in events)
    again = resume(interrupted, {"start": str(moved)})
    assert again.test_accuracy_before == undisturbed.test_accuracy_before is not None
    with np.load(original) as arrays:
        np.savez(original, **{name: array[::-1] for name, array in arrays.items()})
    with pytest.raises(UsageError, match="original data"):
        resume(unfinished, {})


def rehearsing_task(few_digits: Path, rehearsal: Digits, **recipe: Any) -> DigitTask:
    settings = resolve_recipe("fast", **{**RECIPE, **recipe})
    dataset = load_dataset(str(few_digits))
    return DigitTask(TrainConfig(arch="fast"), settings, dataset, torch.device("cpu"), original=rehearsal)


def test_a_share_of_every_batch_is_rehearsed(few_digits: Path, other_digits: Path) -> None:
    rehearsal, original = split(load_dataset(str(other_digits))).train, 19  # of 64
    task = rehearsing_task(few_digits, rehearsal, rehearse=0.3, min_epoch_steps=40)
    new = task.sizes["train"]
    batches = [task.indices(epoch, step) for epoch in range(2) for step in range(task.steps)]
    assert task.steps >= 40 and {len(batch) for batch in batches} == {task.batch_size} == {64}
    assert {int((batch >= new).sum()) for batch in batches} == {original}
    assert all(len(set(batch.tolist())) == 64 for batch in batches)
    rehearsed = np.concatenate([batch[batch >= new].numpy() for batch in batches])
    uses = np.bincount(rehearsed - new, minlength=len(rehearsal))
    assert uses.max() - uses.min() <= 1 + len(batches) * original // len(rehearsal)
    assert torch.equal(task.indices(1, 3), batches[task.steps + 3])
    halves = [int((batch[:32] >= new).sum()) for batch in batches]
    assert 0.8 < 2 * np.mean(halves) / original < 1.2  # each half has its share
    with pytest.raises(UsageError, match="too small to be shared"):
        rehearsing_task(few_digits, rehearsal, rehearse=0.1, batch_size=2)


def test_a_small_dataset_keeps_its_share_and_is_passed_over_several_times(
    tmp_path: Path, digits: Digits
) -> None:
    few = digits.take(np.concatenate([np.flatnonzero(digits.labels == label)[:1] for label in range(10)]))
    data = Path(as_npz(tmp_path / "few.npz", few, digits.take(np.arange(30))))
    task = rehearsing_task(data, digits, rehearse=0.3, min_epoch_steps=6)
    batches = [task.indices(0, step) for step in range(task.steps)]
    assert task.steps == 6 and task.batch_size == 10 + 4
    assert all(sorted(batch[batch < 10].tolist()) == list(range(10)) for batch in batches)
    assert len({tuple(batch[:10].tolist()) for batch in batches}) > 1


def test_the_order_of_a_run_without_repetition_stays_the_same(few_digits: Path, digits: Digits) -> None:
    """The seed of the first pass has no number, so that runs of earlier versions can be repeated."""
    plain = rehearsing_task(few_digits, digits, rehearse=0.0, min_epoch_steps=0)
    repeated = rehearsing_task(few_digits, digits, rehearse=0.0, min_epoch_steps=20)
    assert plain.steps < repeated.steps == 20
    assert all(torch.equal(plain.indices(3, step), repeated.indices(3, step)) for step in range(plain.steps))


def test_one_picture_of_each_class_is_enough(digitcli: Run, tmp_path: Path, digits: Digits) -> None:
    few = digits.take(np.concatenate([np.flatnonzero(digits.labels == label)[:1] for label in range(10)]))
    data = as_npz(tmp_path / "one.npz", few, digits.take(np.arange(50, 90)))
    done = digitcli("train", "--from", "fast", "--data", data, "-e", "1", "--min-epoch-steps", "3",
                    "--rehearse", "0.3", "-d", "cpu", "--format", "json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    accuracies = ("test_accuracy", "test_accuracy_before", "original_accuracy", "original_accuracy_before")
    assert all(0 < result[name] <= 1 for name in accuracies)
    assert (result["architecture"], result["original"]) == ("fast", "mnist")
    assert result["temperature"] >= 1  # that of `fast` is 0.46, but nothing was held out to confirm it
    assert "one training digit" in done.stderr and "starts from" in done.stderr
    assert "started from" in digitcli("models", result["run"]).stdout
    shown = digitcli("train", "--resume", result["run"])
    low, high = wilson_interval(round(40 * result["test_accuracy"]), 40)
    assert f"of 40; 95 % interval {100 * low:.2f} to {100 * high:.2f} %" in shown.stdout
    assert "test before training" in shown.stdout and "test of mnist before training" in shown.stdout
    assert (result["test_size"], result["original_test_size"]) == (40, 10_000)


def test_if_all_validation_digits_are_read_the_temperature_is_that_of_the_start_model(
    other_digits: Path, tmp_path: Path
) -> None:
    result = train(config_from("fast", other_digits, recipe={"lr": 1e-6}), out=tmp_path / "run")
    assert result.validation_accuracy == 1
    assert result.temperature == read_header(shipped_models()["fast"]).temperature < 1


def test_a_start_model_or_teacher_that_knows_the_test_digits_is_reported(
    few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    for role in ("the start model", "a teacher"):
        said = {}
        for data in (few_digits, other_digits):
            by_teacher = TrainConfig(arch="lenet1", data=str(data), device="cpu", teacher=("fast",))
            events: list[Event] = []
            dry_run(by_teacher if role == "a teacher" else config_from("fast", data), on_event=events.append)
            notices = [event.message for event in events if isinstance(event, Notice)]
            said[data] = [each for each in notices if f"were used to train {role}" in each]
        assert len(said[other_digits]) == 1 and not said[few_digits]
    copy = shutil.copy(few_digits, tmp_path / "copy.npz")
    with pytest.raises(UsageError, match="same digits"):
        dry_run(config_from("fast", few_digits, original=str(copy), recipe={"rehearse": 0.5}))


def test_a_line_model_is_fine_tuned(
    strip_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(line_task.STRIPS, epoch=40, validation=8, test=8, pool_batches=4, networks=())
    monkeypatch.setattr(line_task, "STRIPS", few)
    monkeypatch.setattr("digitcli.training.setup.WORKERS", 0)  # another process would take seconds to start
    recipe = {"batch_size": 4, "min_epoch_steps": 1, "epochs": 1, "freeze": -1}
    result = train(config_from("reader", strip_pool, recipe=recipe), out=tmp_path / "run")
    assert result.test_accuracy_before is not None and result.original_accuracy is None
    before, after = read_checkpoint(shipped_models()["reader"])[1], read_weights(tmp_path / "run")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed == {"classes", "distances"}


def test_an_ensemble_starts_from_one_model(
    few_digits: Path, other_digits: Path, start: Path, tmp_path: Path
) -> None:
    recipe = {"freeze": 2, "rehearse": 0.25}
    config = config_from(start, few_digits, original=str(other_digits), recipe=recipe, members=2)
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", stop_signal=stop_after(3))
    other = saved(tmp_path / "other.safetensors", "fast", seed=1)
    wrong = shutil.copytree(tmp_path / "run", tmp_path / "wrong")
    with pytest.raises(UsageError, match="began with the start model start@") as caught:
        resume(wrong, {"start": str(other)})
    assert "--from" in caught.value.remedy
    result = resume(tmp_path / "run", {})
    before = read_checkpoint(start)[1]
    weights = [read_weights(tmp_path / "run" / f"member-{number}") for number in (0, 1)]
    for name in before:
        frozen = name.split(".")[0] in ("2", "5", "6")
        assert torch.equal(weights[0][name], before[name]) == frozen
        if name.endswith("weight"):
            assert torch.equal(weights[0][name], weights[1][name]) == frozen
    measured = accuracies_of(str(start), str(result.run), few_digits, other_digits)
    assert {name: getattr(result, name) for name in measured} == measured
    header = read_header(Path(str(result.checkpoint)))
    assert header.start["model"] == result.start and result.original == other_digits.name
    assert resume(tmp_path / "run", {}) == result
