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

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import architectures, find_architecture
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
from digitcli.training import setup
from digitcli.training.configuration import TrainConfig
from digitcli.training.run_folder import begin, describe_config, read_config
from digitcli.training.trainer import resume, train
from tests.support.training import assert_same_run, stop_after, train_config


def notices_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def stop(config: TrainConfig, folder: Path, steps: int) -> Path:
    """Train in a folder for this number of steps."""
    with pytest.raises(Interrupted) as caught:
        train(config, out=folder, stop_signal=stop_after(steps))
    assert caught.value.exit_code == 130
    return folder


@pytest.mark.parametrize(
    ("arch", "places"),
    [("mlp", [(1,), (6,), (12,)]), *((arch, [(4, 5)]) for arch in ("lenet5", "resnet", "sigmoid_mlp"))],
    ids=str,
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_run(
    few_digits: Path, tmp_path: Path, arch: str, places: list[tuple[int, ...]]
) -> None:
    """6 steps an epoch, 12 in all: in the middle, twice, at the end of an epoch, and after the last step."""
    recipe = {"epochs": 2, "batch_size": 70, "augment": True, "ema_decay": 0.9, "dtype": "float32"}
    config = train_config(few_digits, arch, recipe=recipe)
    train(config, out=tmp_path / "undisturbed")
    for first, *others in places:
        run = stop(config, tmp_path / f"run-{first}", first)
        for steps in others:
            with pytest.raises(Interrupted):
                resume(run, {}, stop_signal=stop_after(steps))
        result = resume(run, {})
        assert result.total_seconds >= result.train_seconds
        assert_same_run(run, tmp_path / "undisturbed")


def test_momentum_the_best_epoch_and_the_threads_survive_an_interruption(
    few_digits: Path, tmp_path: Path
) -> None:
    recipe = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "epochs": 5}
    config = train_config(few_digits, "softmax", recipe=recipe, patience=2, threads=3)
    train(config, out=tmp_path / "undisturbed")
    run, before, seen = stop(config, tmp_path / "run", 16), torch.get_num_threads(), []
    resume(run, {}, on_event=lambda event: seen.append(torch.get_num_threads()))
    assert_same_run(run, tmp_path / "undisturbed")
    assert set(seen) == {3} and torch.get_num_threads() == before
    assert read_config(run, None).threads == 3


def test_only_the_state_is_needed_not_even_hashes_or_the_recipe_of_today(
    stopped: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in stopped.iterdir():
        if path.name != RESUME_FILE:
            path.unlink()
    header, tensors = read_checkpoint(stopped / RESUME_FILE)
    del tensors[TRAIN_HASHES]  # as in states of earlier versions
    training = {**header.training, "config": {**header.training["config"], "snapshots": None}}
    recipe = {**header.recipe, "layer_decay": None}
    write_checkpoint(
        stopped / RESUME_FILE, dataclasses.replace(header, training=training, recipe=recipe), tensors
    )
    of_today = dataclasses.replace(find_architecture("mlp"), recipe=Recipe(lr=0.5, optimizer="sgd"))
    monkeypatch.setitem(architectures(), "mlp", of_today)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    events: list[Event] = []
    resume(stopped, {}, on_event=events.append)
    monkeypatch.undo()
    assert_same_run(stopped, undisturbed)
    assert any("began with" in notice for notice in notices_of(events))  # other library versions


def test_a_run_that_was_killed_early_has_its_settings_and_starts_again(
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
    events: list[Event] = []
    (tmp_path / "killed").mkdir()
    begin(tmp_path / "killed", describe_config(config))
    resume(tmp_path / "killed", {}, on_event=events.append)
    assert_same_run(tmp_path / "killed", tmp_path / "run")
    assert any("from the beginning" in notice for notice in notices_of(events))


def test_a_finished_run_returns_its_result_and_says_so(finished: Path) -> None:
    before = (finished / MODEL_FILE).read_bytes()
    events: list[Event] = []
    changes: dict[str, Any] = {"recipe": {"epochs": 4}, "patience": 2}
    first, again = (resume(finished, each, on_event=events.append) for each in (changes, {}))
    assert first == again and (finished / MODEL_FILE).read_bytes() == before
    assert (first.run, first.checkpoint) == (str(finished), str(finished / MODEL_FILE))  # of the moved run
    assert first.misread is not None and first.test_size is not None
    assert len(first.misread) == round((1 - (first.test_accuracy or 0)) * first.test_size)
    assert all(notice.endswith("start a new one to train for longer.") for notice in notices_of(events))


def test_changes_that_make_it_another_run_are_refused(stopped: Path, finished: Path, tmp_path: Path) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"seed": 5}, {"arch": "cnn"}, {"recipe": {"lr": 0.5}}, {"recipe": {"batch_size": 32}},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(UsageError, match="started with another"):
            resume(stopped, change)
    with pytest.raises(UsageError, match="done 3 epochs"):
        resume(finished, {"recipe": {"epochs": 1}})
    assert resume(stopped, {"recipe": {"epochs": 4}}).epochs == 4
    with pytest.raises(InputError, match="no run in"):
        resume(tmp_path / "typo", {})
    assert not (tmp_path / "typo").exists()


def test_moved_data_may_be_named_again_but_other_data_are_refused(few_digits: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "mine.npz", tmp_path / "other.npz"
    data.write_bytes(few_digits.read_bytes())
    with np.load(few_digits) as arrays:
        np.savez(other, images=arrays["images"][::-1], labels=arrays["labels"][::-1])
    run = stop(train_config(data, "softmax"), tmp_path / "run", 2)
    data.unlink()
    with pytest.raises(UsageError, match="not those this run began with"):
        resume(run, {"data": str(other)})
    assert resume(run, {"data": str(few_digits)}).test_accuracy is not None


def test_a_damaged_state_is_a_model_error(stopped: Path) -> None:
    path = stopped / RESUME_FILE
    header, tensors = read_checkpoint(path)
    damages: tuple[dict[str, Any], ...] = (
        {"recipe": {"surprise": 1}}, {"recipe": {"layer_decay": 0.8}}, {"recipe": {"lr": -1.0}},
        {"training": {}}, {"training": {**header.training, "result": {"misread": 3}}},
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


def test_missing_files_of_a_finished_run_are_written_but_no_model_without_its_state_is_replaced(
    few_digits: Path, tmp_path: Path
) -> None:
    files = (MODEL_FILE, "metrics.csv", "curves.svg")
    for patience in (None, 5):
        run = tmp_path / f"run-{patience}"
        train(train_config(few_digits, "softmax", recipe={"ema_decay": 0.9}, patience=patience), out=run)
        header, tensors = read_checkpoint(run / MODEL_FILE)
        figures = [(run / file).read_bytes() for file in files[1:]]
        for file in files:
            (run / file).unlink()
        resume(run, {})
        assert [(run / file).read_bytes() for file in files[1:]] == figures
        again, weights = read_checkpoint(run / MODEL_FILE)
        assert again == header and all(torch.equal(weights[name], tensors[name]) for name in tensors)
        (run / RESUME_FILE).unlink()
        before = (run / MODEL_FILE).read_bytes()
        with pytest.raises(OutputError, match=f"no {RESUME_FILE}"):
            resume(run, {})
        assert (run / MODEL_FILE).read_bytes() == before


def test_patience_of_a_resumed_run_counts_from_the_best_epoch(few_digits: Path, tmp_path: Path) -> None:
    run = stop(train_config(few_digits, recipe={"epochs": 30, "lr": 0.01}), tmp_path / "run", 16)
    history = read_header(run / RESUME_FILE).training["history"]
    accuracies = [row["validation_accuracy"] for row in history]
    assert accuracies == sorted(accuracies)
    events: list[Event] = []
    assert resume(run, {"patience": 3}, on_event=events.append).epochs > 4
    assert any("were not kept" in notice for notice in notices_of(events))
    events.clear()  # at the end of an epoch, its weights are still there
    train(train_config(few_digits, "softmax", recipe={"epochs": 2, "lr": 0.01}), out=tmp_path / "two")
    resume(tmp_path / "two", {"patience": 1, "recipe": {"epochs": 4}}, on_event=events.append)
    assert not any("were not kept" in notice for notice in notices_of(events))


def test_a_resumed_run_keeps_the_dtype_that_auto_chose(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(few_digits, "softmax", recipe={"epochs": 1, "dtype": "auto"})
    changes = {"recipe": {"epochs": 1, "dtype": "auto"}}  # the command that started it
    for dtype in ("float32", "bfloat16"):
        monkeypatch.setattr(setup, "choose_dtype", lambda device, dtype=dtype: (dtype, "a test says so"))
        events: list[Event] = []
        with pytest.raises(Interrupted):
            train(config, out=tmp_path / dtype, on_event=events.append, stop_signal=lambda: 15)
        assert any(dtype in notice for notice in notices_of(events))
        monkeypatch.setattr(setup, "choose_dtype", None)  # a resumed run does not choose again
        assert resume(tmp_path / dtype, changes).dtype == dtype
