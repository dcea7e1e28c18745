"""Resuming a run: it ends bit for bit as if it had not been interrupted."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digitcli.architectures.recipe import RECIPES, Recipe
from digitcli.data import loading
from digitcli.data.dataset import Dataset
from digitcli.errors import InputError, Interrupted, ModelError, OutputError, UsageError
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import (
    MODEL_FILE,
    RESUME_FILE,
    TRAIN_HASHES,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.threads import torch_threads
from digitcli.training import setup, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.run_folder import begin, describe_config, read_config
from digitcli.training.trainer import resume, train
from tests.support.training import assert_same_run, stop_after, train_config


def notices_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize(
    ("arch", "stops"),
    [
        *(("mlp", stops) for stops in [(1,), (6,), (12,)]),
        *((arch, (4, 5)) for arch in ("lenet5", "resnet", "sigmoid_mlp")),
    ],
    ids=str,
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_run(
    few_digits: Path, tmp_path: Path, arch: str, stops: tuple[int, ...]
) -> None:
    """6 steps an epoch, 12 in all: in the middle, twice, at the end of an epoch, and after the last step."""
    recipe = {"epochs": 2, "batch_size": 70, "augment": True, "ema_decay": 0.9, "dtype": "float32"}
    train(train_config(few_digits, arch, recipe=recipe), out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted) as caught:
        train(
            train_config(few_digits, arch, recipe=recipe),
            out=tmp_path / "run",
            stop_signal=stop_after(stops[0]),
        )
    assert caught.value.exit_code == 130
    for stop in stops[1:]:
        with pytest.raises(Interrupted):
            resume(tmp_path / "run", {}, stop_signal=stop_after(stop))
    result = resume(tmp_path / "run", {})
    assert result.total_seconds >= result.train_seconds
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_momentum_and_the_best_epoch_survive_an_interruption(few_digits: Path, tmp_path: Path) -> None:
    recipe = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "epochs": 5}
    chosen = train_config(few_digits, "softmax", recipe=recipe, patience=2)
    train(chosen, out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(chosen, out=tmp_path / "run", stop_signal=stop_after(16))
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_resuming_needs_only_the_resume_file_and_no_hashes(stopped: Path, undisturbed: Path) -> None:
    for path in stopped.iterdir():
        if path.name != RESUME_FILE:
            path.unlink()
    header, tensors = read_checkpoint(stopped / RESUME_FILE)
    del tensors[TRAIN_HASHES]  # as in states of earlier versions
    write_checkpoint(stopped / RESUME_FILE, header, tensors)
    resume(stopped, {})
    assert_same_run(stopped, undisturbed)


def test_a_resumed_run_keeps_the_recipe_that_it_began_with(
    stopped: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "mlp", Recipe(lr=0.5, optimizer="sgd"))
    resume(stopped, {})
    assert_same_run(stopped, undisturbed)


def test_settings_of_earlier_versions_are_passed_over_or_explained(stopped: Path, undisturbed: Path) -> None:
    header, tensors = read_checkpoint(stopped / RESUME_FILE)
    for snapshots in (2, None):
        config = {**header.training["config"], "cuda_graphs": False, "snapshots": snapshots}
        stored = dataclasses.replace(header, training={**header.training, "config": config})
        write_checkpoint(stopped / RESUME_FILE, stored, tensors)
        if snapshots:
            with pytest.raises(ModelError, match="snapshots of one network") as caught:
                resume(stopped, {})
            assert "--members" in caught.value.remedy
    resume(stopped, {})
    assert_same_run(stopped, undisturbed)


def test_resuming_starts_from_the_beginning_if_nothing_was_saved(few_digits: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / "run").mkdir()
    begin(tmp_path / "run", describe_config(train_config(few_digits, "softmax", seed=3)))
    result = resume(tmp_path / "run", {}, on_event=events.append)
    assert (result.architecture, result.seed) == ("softmax", 3) and result.test_accuracy is not None
    assert any("from the beginning" in notice for notice in notices_of(events))


def test_a_run_that_is_killed_while_its_data_are_loaded_has_its_settings(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(few_digits, "softmax", seed=3)
    stored: list[TrainConfig] = []

    def load_dataset(name: str) -> Dataset:
        stored.append(read_config(tmp_path / "run", None))
        return loading.load_dataset(name)

    monkeypatch.setattr(setup, "load_dataset", load_dataset)
    train(config, out=tmp_path / "run")
    assert stored == [dataclasses.replace(config, threads=torch_threads())]


def test_a_resumed_run_keeps_its_number_of_threads(few_digits: Path, tmp_path: Path) -> None:
    before, seen = torch.get_num_threads(), []
    config = train_config(few_digits, "softmax", threads=3)
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", stop_signal=stop_after(3))
    resume(tmp_path / "run", {}, on_event=lambda event: seen.append(torch.get_num_threads()))
    assert set(seen) == {3} and torch.get_num_threads() == before
    assert read_config(tmp_path / "run", None).threads == 3


def test_more_threads_than_cores_are_reported(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "usable_cores", lambda: 2)
    notices: dict[int, list[str]] = {}
    for threads in (2, 3):
        events: list[Event] = []
        config = train_config(few_digits, "softmax", threads=threads, recipe={"epochs": 1})
        train(config, out=tmp_path / str(threads), on_event=events.append)
        notices[threads] = [notice for notice in notices_of(events) if "thread" in notice]
    assert notices[2] == [] and len(notices[3]) == 1
    assert "3 threads, but there are only 2 cores. --threads 2 may be faster" in notices[3][0]


def test_resuming_a_folder_without_a_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in"):
        resume(tmp_path / "typo", {})
    assert list(tmp_path.iterdir()) == []


def test_resuming_a_finished_run_returns_its_result_and_says_which_options_changed_nothing(
    finished: Path,
) -> None:
    before = (finished / MODEL_FILE).read_bytes()
    events: list[Event] = []
    idle: dict[str, Any] = {"recipe": {"epochs": 4}, "patience": 2}
    same: dict[str, Any] = {"recipe": {"epochs": 3}, "device": "cpu"}
    results = [resume(finished, changes, on_event=events.append) for changes in (idle, same)]
    assert results[0] == results[1] and (finished / MODEL_FILE).read_bytes() == before
    told, silent = notices_of(events)
    assert told.endswith(
        "is finished; start a new one to train for longer. --patience, --epochs changed nothing."
    )
    assert silent.endswith("to train for longer.")


def test_resuming_refuses_changes_that_make_it_another_run(stopped: Path) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"seed": 5}, {"arch": "cnn"}, {"recipe": {"lr": 0.5}}, {"recipe": {"batch_size": 32}},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(UsageError, match="started with another"):
            resume(stopped, change)


def test_a_resumed_run_may_have_other_epochs_but_not_fewer_than_are_done(
    stopped: Path, finished: Path
) -> None:
    assert resume(stopped, {"recipe": {"epochs": 4}}).epochs == 4
    with pytest.raises(UsageError, match="done 3 epochs"):
        resume(finished, {"recipe": {"epochs": 1}})


def test_moved_data_may_be_named_again_but_other_data_are_refused(few_digits: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "mine.npz", tmp_path / "other.npz"
    data.write_bytes(few_digits.read_bytes())
    with np.load(few_digits) as arrays:
        np.savez(other, images=arrays["images"][::-1], labels=arrays["labels"][::-1])
    with pytest.raises(Interrupted):
        train(train_config(data, "softmax"), out=tmp_path / "run", stop_signal=stop_after(2))
    data.unlink()
    with pytest.raises(UsageError, match="not those this run began with"):
        resume(tmp_path / "run", {"data": str(other)})
    assert resume(tmp_path / "run", {"data": str(few_digits)}).test_accuracy is not None


def test_a_damaged_state_is_a_model_error(stopped: Path) -> None:
    path = stopped / RESUME_FILE
    header, tensors = read_checkpoint(path)
    damages: tuple[dict[str, Any], ...] = (
        {"recipe": {"surprise": 1}}, {"recipe": {"lr": -1.0}}, {"training": {}},
    )  # fmt: skip
    for damage in damages:
        write_checkpoint(path, dataclasses.replace(header, **damage), tensors)
        with pytest.raises(ModelError):
            resume(stopped, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError):
        resume(stopped, {})


def test_whichever_write_fails_resuming_ends_with_the_same_weights(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the first sync, at the second, and so on, until a run meets none."""
    fields = {"arch": "softmax", "data": str(few_digits), "device": "cpu", "recipe": {"epochs": 2}}
    train(TrainConfig(**fields), out=tmp_path / "undisturbed")
    fsync = os.fsync
    for failing in itertools.count():
        folder, syncs = tmp_path / f"run-{failing}", itertools.count()

        def full(descriptor: int, failing: int = failing, syncs: Iterator[int] = syncs) -> None:
            if next(syncs) == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            train(TrainConfig(**fields), out=folder)
            break
        except OutputError:
            monkeypatch.setattr(os, "fsync", fsync)
            assert not folder.exists() or not list(folder.glob("*.part"))
            resume(folder, fields) if folder.exists() else train(TrainConfig(**fields), out=folder)
            assert_same_run(folder, tmp_path / "undisturbed")
    assert failing > 20


def test_a_model_without_its_state_is_never_replaced_by_resuming(finished: Path) -> None:
    (finished / RESUME_FILE).unlink()
    before = (finished / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError, match=f"no {RESUME_FILE}"):
        resume(finished, {})
    assert (finished / MODEL_FILE).read_bytes() == before


@pytest.mark.parametrize("patience", [None, 5])
def test_resuming_writes_the_missing_files_of_a_finished_run(
    few_digits: Path, tmp_path: Path, patience: int | None
) -> None:
    config = train_config(few_digits, "softmax", recipe={"ema_decay": 0.9}, patience=patience)
    train(config, out=tmp_path / "run")
    header, tensors = read_checkpoint(tmp_path / "run" / MODEL_FILE)
    figures = [(tmp_path / "run" / file).read_bytes() for file in ("metrics.csv", "curves.svg")]
    for file in (MODEL_FILE, "metrics.csv", "curves.svg"):
        (tmp_path / "run" / file).unlink()
    resume(tmp_path / "run", {})
    assert [(tmp_path / "run" / file).read_bytes() for file in ("metrics.csv", "curves.svg")] == figures
    again, weights = read_checkpoint(tmp_path / "run" / MODEL_FILE)
    assert again == header
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())


def test_patience_of_a_resumed_run_counts_from_the_best_epoch(few_digits: Path, tmp_path: Path) -> None:
    chosen = train_config(few_digits, recipe={"epochs": 30, "lr": 0.01})
    with pytest.raises(Interrupted):
        train(chosen, out=tmp_path / "run", stop_signal=stop_after(16))
    accuracies = [
        row["validation_accuracy"] for row in read_header(tmp_path / "run" / RESUME_FILE).training["history"]
    ]
    assert accuracies == sorted(accuracies)
    events: list[Event] = []
    assert resume(tmp_path / "run", {"patience": 3}, on_event=events.append).epochs > 4
    assert any("were not kept" in notice for notice in notices_of(events))


def test_patience_that_begins_at_the_best_epoch_keeps_its_weights(few_digits: Path, tmp_path: Path) -> None:
    chosen = train_config(few_digits, "softmax", recipe={"epochs": 2, "lr": 0.01})
    train(chosen, out=tmp_path / "run")
    events: list[Event] = []
    changes = {"patience": 1, "recipe": {"epochs": 4}}
    resume(tmp_path / "run", changes, on_event=events.append)
    assert not any("were not kept" in notice for notice in notices_of(events))


def test_other_library_versions_are_reported(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    events: list[Event] = []
    resume(stopped, {}, on_event=events.append)
    assert any("began with" in notice for notice in notices_of(events))


def test_the_result_of_a_moved_run_names_its_new_folder(finished: Path) -> None:
    result = resume(finished, {})
    assert (result.run, result.checkpoint) == (str(finished), str(finished / MODEL_FILE))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_run_keeps_the_dtype_that_auto_chose(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("digitcli.training.setup.choose_dtype", lambda device: (dtype, "a test says so"))
    chosen = train_config(few_digits, "softmax", recipe={"epochs": 1, "dtype": "auto"})
    events: list[Event] = []
    with pytest.raises(Interrupted):
        train(chosen, out=tmp_path / "run", on_event=events.append, stop_signal=lambda: 15)
    assert any(dtype in notice for notice in notices_of(events))
    monkeypatch.setattr("digitcli.training.setup.choose_dtype", None)  # a resumed run does not choose again
    changes = {"recipe": {"epochs": 1, "dtype": "auto"}}  # the command that started it
    assert resume(tmp_path / "run", changes).dtype == dtype
