"""Training runs: their files, their end, and the state that they keep when they diverge."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.data.dataset import Digits, split
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, OutputError, UsageError
from digitcli.evaluation.metrics import accuracy
from digitcli.events import EpochDone, Event, Notice, StepDone
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, TRAIN_HASHES, read_header
from digitcli.inference.torch_runtime import infer, load_model
from digitcli.training import digit_task, loop, trainer
from digitcli.training.configuration import RunStarted, TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.setup import prepare
from digitcli.training.trainer import dry_run, resume, train
from tests.support.training import assert_same_run, read_weights, train_config


def test_a_run_writes_its_folder(finished: Path) -> None:
    result, folder = resume(finished, {}), finished
    files = {path.name for path in folder.iterdir()} - {".lock"}
    assert files == {"config.json", "curves.svg", "metrics.csv", "model.safetensors", "resume.safetensors"}
    header = read_header(folder / MODEL_FILE)
    assert (header.architecture, header.task, header.seed) == ("mlp", "digit", 0)
    assert header.recipe["epochs"] == 3 and header.recipe["dropout"] == 0.0
    assert header.dataset["name"] == "few.npz" and len(header.dataset["digest"]) == 64
    assert header.metrics["test_accuracy"] == result.test_accuracy
    assert header.temperature == result.temperature
    assert header.training == {}
    assert header.versions.keys() == {"digitcli", "torch", "numpy", "python"}
    assert json.loads((folder / "config.json").read_text())["recipe"] == header.recipe
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,lr,train_loss") and len(rows) == 4


def test_the_model_file_has_the_weights_that_were_tested(few_digits: Path, finished: Path) -> None:
    result = resume(finished, {})
    parts = split(load_dataset(str(few_digits)))
    logits = infer(load_model(str(finished)), parts.test.images)
    labels = torch.from_numpy(parts.test.labels)
    assert accuracy(logits, labels) == result.test_accuracy
    assert result.misread is not None
    assert [place for place, wrong in enumerate(logits.argmax(-1) != labels) if wrong] == list(result.misread)
    hashes = torch.from_numpy(parts.train.hashes())
    assert torch.equal(read_weights(finished, RESUME_FILE)[TRAIN_HASHES], hashes)
    assert TRAIN_HASHES not in read_weights(finished)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    few_digits: Path, tmp_path: Path, undisturbed: Path
) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        train(train_config(few_digits, seed=seed), out=tmp_path / name)
        assert torch.equal(torch.rand(3), expected)  # the caller's random numbers are left alone
    assert_same_run(tmp_path / "same", undisturbed)
    ours, theirs = read_weights(undisturbed), read_weights(tmp_path / "other")
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("good", "save_seconds", "epoch", "words"),
    [(9, 60.0, 1, "epoch 2.* of epoch 1 is kept"), (4, 0.0, 0, "epoch 1.* saved last is kept")],
)
def test_a_loss_that_is_not_finite_keeps_what_was_saved_before(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    good: int, save_seconds: float, epoch: int, words: str,
) -> None:  # fmt: skip
    original, calls, run = digit_task.loss_function, itertools.count(), tmp_path / "run"

    def broken(recipe: Recipe) -> Any:
        factor = 1.0 if next(calls) < good else float("nan")
        return lambda logits, labels: original(recipe)(logits, labels) * factor

    monkeypatch.setattr(digit_task, "loss_function", broken)
    monkeypatch.setattr(loop, "SAVE_SECONDS", save_seconds)
    with pytest.raises(DivergedError, match=words) as caught:
        train(train_config(few_digits), out=run)
    assert caught.value.exit_code == 9
    assert all(tensor.isfinite().all() for tensor in read_weights(run, RESUME_FILE).values())
    assert read_header(run / RESUME_FILE).training["epoch"] == epoch
    assert not epoch or load_model(str(run))


def test_patience_stops_early_and_keeps_the_best_epoch(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, recipe={"epochs": 60, "lr": 0.01}, patience=2)
    result = train(config, out=tmp_path / "run")
    history = read_header(tmp_path / "run" / RESUME_FILE).training["history"]
    accuracies = [row["validation_accuracy"] for row in history]
    assert len(history) < 60
    assert accuracies.index(max(accuracies)) == len(accuracies) - 3
    assert result.validation_accuracy == max(accuracies)
    assert result.test_accuracy is not None and result.test_accuracy > 0.75  # it has learned


def test_a_time_limit_replaces_the_epochs_of_the_recipe(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = train_config(few_digits, "softmax", recipe={"batch_size": 50}, time_seconds=1e-6)
    assert train(short, out=tmp_path / "short").epochs == 0.11  # one of nine steps
    both = train_config(few_digits, "softmax", recipe={"epochs": 2}, time_seconds=600.0)
    assert train(both, out=tmp_path / "both").epochs == 2  # whichever comes first
    chosen = TrainConfig(arch="softmax", data=str(few_digits), device="cpu", time_seconds=0.5)
    synthetic = dataclasses.replace(chosen, recipe={"synthetic": 0.1})
    setup, _ = prepare(synthetic)
    assert setup.task.preparation_seconds > 0  # it counts as training, and leaves the time to it
    result = train(synthetic, out=tmp_path / "synthetic")
    assert result.train_seconds >= 0.5 and result.epochs >= 1
    ticks = itertools.count()
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: next(ticks) / 4)  # it counts its readings
    result = train(dataclasses.replace(chosen, time_seconds=60.0), out=tmp_path / "run")
    assert 60 <= result.train_seconds < 62  # the last validation and the save are counted, too
    assert result.epochs > resolve_recipe("softmax").epochs
    assert read_header(tmp_path / "run" / RESUME_FILE).training["history"][-1]["lr"] < 1e-5


def test_a_dry_run_writes_nothing_and_runs_are_numbered(few_digits: Path, tmp_path: Path) -> None:
    result = dry_run(train_config(few_digits, "cnn"))
    assert result.run is None and result.test_accuracy is None and result.epochs == 0
    assert list(tmp_path.iterdir()) == []
    chosen = train_config(few_digits, "softmax", recipe={"epochs": 1})
    assert [train(chosen).run for _ in range(2)] == ["runs/softmax-1", "runs/softmax-2"]


def test_a_forced_run_replaces_another_but_no_file_of_others(few_digits: Path, finished: Path) -> None:
    before = (finished / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError, match="would replace"):
        train(train_config(few_digits, "softmax"), out=finished)
    assert (finished / MODEL_FILE).read_bytes() == before
    (finished / "notes.txt").write_text("mine")
    config = train_config(few_digits, "softmax", recipe={"epochs": 1})
    assert train(config, out=finished, force=True).architecture == "softmax"
    assert (finished / "notes.txt").read_text() == "mine"


def test_events_come_in_order_and_nobody_else_may_use_the_folder(few_digits: Path, tmp_path: Path) -> None:
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, RunStarted):
            with pytest.raises(OutputError, match="in use"):
                resume(tmp_path / "run", {})

    train(train_config(few_digits), out=tmp_path / "run", on_event=on_event)
    assert isinstance(events[0], RunStarted)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [1, 2, 3]
    progress = [event.progress for event in events if isinstance(event, StepDone)]
    assert progress == sorted(progress) and progress[-1] == 1.0


def test_an_epoch_is_saved_before_it_is_reported(few_digits: Path, tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        train(train_config(few_digits, "softmax"), out=tmp_path / "run", on_event=fail)
    assert read_header(tmp_path / "run" / RESUME_FILE).training["epoch"] == 1


def test_a_batch_of_one_is_refused_with_batch_normalization(few_digits: Path) -> None:
    for arch in ("mlp", "fast", "torchvision/resnet18"):
        with pytest.raises(UsageError, match="normalizes over the batch"):
            dry_run(train_config(few_digits, arch, recipe={"batch_size": 1}))
    dry_run(train_config(few_digits, "softmax", recipe={"batch_size": 1}))


def test_a_validation_loss_that_explodes_is_a_divergence(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loss in (float("inf"), float("nan"), 1e30):
        monkeypatch.setattr(DigitTask, "validate", lambda task, network, loss=loss: (loss, 0.5))
        with pytest.raises(DivergedError, match="validation loss"):
            train(train_config(few_digits, "softmax"), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_worst_fault_of_the_data_is_reported(digits: Digits, tmp_path: Path) -> None:
    threes = digits.take(np.flatnonzero(digits.labels == 3)[:100])
    np.savez(tmp_path / "threes.npz", images=threes.images, labels=threes.labels)
    events: list[Event] = []
    train(train_config(tmp_path / "threes.npz", recipe={"epochs": 1}), on_event=events.append)
    notices = [event.message for event in events if isinstance(event, Notice)]
    expected = "Digits that do not occur: 0, 1, 2, 4, 5, 6, 7, 8, 9. To see more, run: digitcli doctor "
    assert [notice for notice in notices if notice.startswith(expected)]
