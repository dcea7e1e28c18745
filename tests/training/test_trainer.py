"""The promises of a run: resumable bit for bit, stoppable, never without its last good checkpoint."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from digitcli.training.events import EpochDone, Event, Notice, RunStarted, StepDone

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, Interrupted, ModelError, OutputError, UsageError
from digitcli.inference.checkpoint import (
    MODEL_FILE,
    RESUME_FILE,
    TRAIN_HASHES,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.inference.torch_runtime import load_model
from digitcli.training import digit_task, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitMaterial
from digitcli.training.trainer import dry_run, resume, train

RECIPE = {"epochs": 3, "batch_size": 64}


def config(data: Path, arch: str = "mlp", **changes: Any) -> TrainConfig:
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return TrainConfig(**{"arch": arch, "data": str(data), "device": "cpu", "recipe": recipe, **changes})


def stop_after(steps: int, number: int = signal.SIGINT) -> Callable[[], int | None]:
    """A stop signal that comes after so many steps."""
    taken = 0

    def stop_signal() -> int | None:
        nonlocal taken
        taken += 1
        return int(number) if taken >= steps else None

    return stop_signal


def weights(folder: Path, file: str = MODEL_FILE) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / file)[1]


def assert_same_run(folder: Path, other: Path) -> None:
    for file in (MODEL_FILE, RESUME_FILE):
        ours, theirs = weights(folder, file), weights(other, file)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), (file, name)
    figures = ("epoch", "lr", "train_loss", "validation_loss", "validation_accuracy")
    histories = [
        [[row[name] for name in figures] for row in read_header(run / RESUME_FILE).training["history"]]
        for run in (folder, other)
    ]
    assert histories[0] == histories[1]
    headers = [read_header(run / MODEL_FILE) for run in (folder, other)]
    for name in ("recipe", "temperature", "dataset", "arguments"):
        assert getattr(headers[0], name) == getattr(headers[1], name)
    assert headers[0].metrics["test_accuracy"] == headers[1].metrics["test_accuracy"]


def test_leaves_a_run_folder_that_tells_everything(few_digits: Path, tmp_path: Path) -> None:
    result = train(config(few_digits), out=tmp_path / "run")
    folder = tmp_path / "run"
    files = {path.name for path in folder.iterdir()} - {".lock"}
    assert files == {"config.json", "curves.svg", "metrics.csv", "model.safetensors", "resume.safetensors"}
    header = read_header(folder / MODEL_FILE)
    assert (header.architecture, header.task, header.seed) == ("mlp", "digit", 0)
    assert header.recipe["epochs"] == 3 and header.recipe["dropout"] == 0.3
    assert header.dataset["name"] == "few.npz" and len(header.dataset["digest"]) == 64
    assert header.metrics["test_accuracy"] == result.test_accuracy
    assert header.temperature == result.temperature
    assert header.training == {}
    assert header.versions.keys() == {"digitcli", "torch", "numpy", "python"}
    assert json.loads((folder / "config.json").read_text())["recipe"] == header.recipe
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,lr,train_loss") and len(rows) == 4


def test_learns(few_digits: Path, tmp_path: Path) -> None:
    result = train(config(few_digits, recipe={"epochs": 15, "lr": 0.005}), out=tmp_path / "run")
    assert result.test_accuracy is not None and result.test_accuracy > 0.75


def test_the_model_file_is_what_was_judged(few_digits: Path, tmp_path: Path) -> None:
    result = train(config(few_digits), out=tmp_path / "run")
    from digitcli.evaluation.metrics import accuracy
    from digitcli.inference.torch_runtime import infer

    test = split(load_dataset(str(few_digits))).test
    logits = infer(load_model(str(tmp_path / "run")), test.images)
    labels = torch.from_numpy(test.labels)
    assert accuracy(logits, labels) == result.test_accuracy
    assert result.misread is not None
    assert [place for place, wrong in enumerate(logits.argmax(-1) != labels) if wrong] == list(result.misread)
    assert resume(tmp_path / "run", {}).misread == result.misread


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    few_digits: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(few_digits, seed=seed), out=tmp_path / name)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert any(
        not torch.equal(weights(tmp_path / "a")[k], weights(tmp_path / "c")[k])
        for k in weights(tmp_path / "a")
    )


def test_training_leaves_the_callers_random_numbers_alone(few_digits: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(config(few_digits, recipe={"epochs": 1}), out=tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("arch", "stops"),
    [
        *(("mlp", stops) for stops in [(1,), (6,), (12,)]),
        *((arch, (4, 5)) for arch in ("cnn", "resnet", "sigmoid_mlp")),
    ],
    ids=str,
)
def test_interrupted_and_resumed_ends_with_the_weights_of_an_undisturbed_run(
    few_digits: Path, tmp_path: Path, arch: str, stops: tuple[int, ...]
) -> None:
    """6 steps an epoch, 12 in all: in the middle, twice, at the end of an epoch, and after the last step."""
    recipe = {"epochs": 2, "batch_size": 70, "augment": True, "ema_decay": 0.9, "dtype": "float32"}
    train(config(few_digits, arch, recipe=recipe), out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted) as caught:
        train(config(few_digits, arch, recipe=recipe), out=tmp_path / "run", stop_signal=stop_after(stops[0]))
    assert caught.value.exit_code == 130
    for stop in stops[1:]:
        with pytest.raises(Interrupted):
            resume(tmp_path / "run", {}, stop_signal=stop_after(stop))
    result = resume(tmp_path / "run", {})
    assert result.total_seconds >= result.train_seconds
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_momentum_and_the_best_epoch_survive_an_interruption(few_digits: Path, tmp_path: Path) -> None:
    recipe = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "epochs": 5}
    chosen = config(few_digits, recipe=recipe, patience=2)
    train(chosen, out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(chosen, out=tmp_path / "run", stop_signal=stop_after(16))
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_have_their_own_codes(few_digits: Path, tmp_path: Path, number: int, code: int) -> None:
    with pytest.raises(Interrupted) as caught:
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(2, number))
    assert caught.value.exit_code == code
    assert f"--resume {tmp_path / 'run'}" in caught.value.remedy


def test_resuming_needs_only_the_resume_file(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(8))
    for path in (tmp_path / "run").iterdir():
        if path.name != RESUME_FILE:
            path.unlink()
    train(config(few_digits), out=tmp_path / "undisturbed")
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_resuming_where_nothing_was_saved_starts_afresh_and_says_so(few_digits: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    fields = {"arch": "softmax", "data": str(few_digits), "device": "cpu", "recipe": {"epochs": 1}}
    result = resume(tmp_path / "run", fields, on_event=events.append)
    assert result.test_accuracy is not None
    assert any(isinstance(event, Notice) and "from the beginning" in event.message for event in events)


def test_resuming_a_finished_run_says_so_and_gives_its_result(few_digits: Path, tmp_path: Path) -> None:
    result = train(config(few_digits), out=tmp_path / "run")
    before = (tmp_path / "run" / MODEL_FILE).read_bytes()
    events: list[Event] = []
    assert resume(tmp_path / "run", {}, on_event=events.append) == result
    assert (tmp_path / "run" / MODEL_FILE).read_bytes() == before
    assert any(isinstance(event, Notice) and "finished" in event.message for event in events)


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"arch": "cnn"}, {"recipe": {"lr": 0.5}}, {"recipe": {"batch_size": 32}}], ids=str
)
def test_resuming_refuses_what_would_be_another_run(
    few_digits: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(2))
    with pytest.raises(UsageError, match="started with another"):
        resume(tmp_path / "run", change)


def test_a_run_may_be_made_longer(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(2))
    assert resume(tmp_path / "run", {"recipe": {"epochs": 4}}).epochs == 4


def test_a_configuration_goes_on_with_the_run_that_it_began(few_digits: Path, tmp_path: Path) -> None:
    recipe = {"dtype": "auto", "epochs": 2}
    with pytest.raises(Interrupted):
        train(config(few_digits, recipe=recipe), out=tmp_path / "run", stop_signal=stop_after(2))
    assert resume(tmp_path / "run", {"recipe": recipe}).dtype in ("float32", "bfloat16")


def test_a_batch_of_one_has_no_mean_to_normalize_by(few_digits: Path, tmp_path: Path) -> None:
    for arch in ("fast", "torchvision/resnet18"):
        with pytest.raises(UsageError, match="normalizes over the batch"):
            dry_run(config(few_digits, arch, recipe={"batch_size": 1}))


def test_resuming_refuses_other_data(few_digits: Path, tmp_path: Path) -> None:
    import numpy as np

    data = tmp_path / "mine.npz"
    data.write_bytes(few_digits.read_bytes())
    with pytest.raises(Interrupted):
        train(config(data), out=tmp_path / "run", stop_signal=stop_after(2))
    with np.load(few_digits) as arrays:
        np.savez(data, images=arrays["images"][::-1], labels=arrays["labels"][::-1])
    with pytest.raises(UsageError, match="not those this run began with"):
        resume(tmp_path / "run", {})


def test_a_damaged_state_is_never_started_over_silently(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(2))
    path = tmp_path / "run" / RESUME_FILE
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError):
        resume(tmp_path / "run", {})


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = digit_task.loss_function
    calls = 0

    def broken(recipe: Any) -> Any:
        nonlocal calls
        calls += 1
        factor = float("nan") if calls == 10 else 1.0
        return lambda logits, labels: original(recipe)(logits, labels) * factor

    monkeypatch.setattr(digit_task, "loss_function", broken)
    with pytest.raises(DivergedError, match="epoch 2") as caught:
        train(config(few_digits), out=tmp_path / "run")
    assert caught.value.exit_code == 9
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run", RESUME_FILE).values())
    assert load_model(str(tmp_path / "run"))
    assert read_header(tmp_path / "run" / RESUME_FILE).training["epoch"] == 1


def test_diverging_at_once_leaves_no_folder_behind(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Nothing was saved"):
        train(config(few_digits, recipe={"optimizer": "sgd", "lr": 1e30}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patience_stops_early_and_keeps_the_best_epoch(few_digits: Path, tmp_path: Path) -> None:
    result = train(config(few_digits, recipe={"epochs": 60, "lr": 0.01}, patience=2), out=tmp_path / "run")
    history = read_header(tmp_path / "run" / RESUME_FILE).training["history"]
    accuracies = [row["validation_accuracy"] for row in history]
    assert len(history) < 60
    assert accuracies.index(max(accuracies)) == len(accuracies) - 3
    assert result.validation_accuracy == max(accuracies)


def test_a_time_ends_training_whatever_the_epochs_of_the_recipe(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: next(ticks) / 4)  # it counts its readings
    chosen = TrainConfig(arch="softmax", data=str(few_digits), device="cpu", time_seconds=60.0)
    result = train(chosen, out=tmp_path / "run")
    assert 60 <= result.train_seconds < 61
    assert result.epochs > resolve_recipe("softmax").epochs
    assert read_header(tmp_path / "run" / RESUME_FILE).training["history"][-1]["lr"] < 1e-5


def test_time_and_epochs_together_end_with_whichever_comes_first(few_digits: Path, tmp_path: Path) -> None:
    chosen = config(few_digits, "softmax", recipe={"epochs": 2}, time_seconds=600.0)
    assert train(chosen, out=tmp_path / "run").epochs == 2


def test_a_dry_run_writes_nothing(few_digits: Path, tmp_path: Path) -> None:
    result = dry_run(config(few_digits, "cnn"))
    assert result.run is None and result.test_accuracy is None
    assert list(tmp_path.iterdir()) == []


def test_runs_are_numbered(few_digits: Path) -> None:
    chosen = config(few_digits, "softmax", recipe={"epochs": 1})
    assert [train(chosen).run for _ in range(2)] == ["runs/softmax-1", "runs/softmax-2"]
    assert train(chosen, name="mine").run == "runs/mine"


def test_a_run_that_is_there_is_not_replaced_without_force(few_digits: Path, tmp_path: Path) -> None:
    chosen = config(few_digits, "softmax", recipe={"epochs": 1})
    train(chosen, out=tmp_path / "run")
    before = (tmp_path / "run" / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError, match="holds a run already"):
        train(config(few_digits), out=tmp_path / "run")
    assert (tmp_path / "run" / MODEL_FILE).read_bytes() == before
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert train(config(few_digits), out=tmp_path / "run", force=True).architecture == "mlp"
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_two_runs_cannot_share_a_folder(few_digits: Path, tmp_path: Path) -> None:
    refused: list[OutputError] = []

    def on_event(event: Event) -> None:
        if isinstance(event, RunStarted):
            with pytest.raises(OutputError, match="in use") as caught:
                resume(tmp_path / "run", {})
            refused.append(caught.value)

    train(config(few_digits, "softmax"), out=tmp_path / "run", on_event=on_event)
    assert refused


def test_unreadable_pictures_are_told_and_counted(tmp_path: Path, few_digits: Path) -> None:
    import numpy as np
    from PIL import Image

    with np.load(few_digits) as arrays:
        for index, (image, label) in enumerate(
            zip(arrays["images"][:60], arrays["labels"][:60], strict=True)
        ):
            folder = tmp_path / "pictures" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    events: list[Event] = []
    result = train(config(tmp_path / "pictures", "softmax"), out=tmp_path / "run", on_event=events.append)
    assert result.unreadable == 1
    assert any(isinstance(event, Notice) and "broken.png" in event.message for event in events)


def test_events_come_in_order(few_digits: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    train(config(few_digits), out=tmp_path / "run", on_event=events.append)
    assert isinstance(events[0], RunStarted)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [1, 2, 3]
    progress = [event.progress for event in events if isinstance(event, StepDone)]
    assert progress == sorted(progress) and progress[-1] == 1.0


def test_a_batch_of_one_is_refused_where_the_batch_is_normalized(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="normalizes over the batch"):
        train(config(few_digits, "mlp", recipe={"batch_size": 1}), out=tmp_path / "run")
    assert train(config(few_digits, "softmax", recipe={"batch_size": 1, "epochs": 1}), out=tmp_path / "run")


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
            resume(folder, fields)
            assert_same_run(folder, tmp_path / "undisturbed")
    assert failing > 20


def test_a_model_without_its_state_is_never_replaced_by_resuming(few_digits: Path, tmp_path: Path) -> None:
    train(config(few_digits, "softmax"), out=tmp_path / "run")
    (tmp_path / "run" / RESUME_FILE).unlink()
    before = (tmp_path / "run" / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError, match=f"no {RESUME_FILE}"):
        resume(tmp_path / "run", {})
    assert (tmp_path / "run" / MODEL_FILE).read_bytes() == before


@pytest.mark.parametrize("patience", [None, 5])
def test_the_files_that_follow_from_a_finished_state_are_made_anew(
    few_digits: Path, tmp_path: Path, patience: int | None
) -> None:
    train(config(few_digits, recipe={"ema_decay": 0.9}, patience=patience), out=tmp_path / "run")
    files = (MODEL_FILE, "metrics.csv", "curves.svg")
    before = [(tmp_path / "run" / file).read_bytes() for file in files]
    for file in files:
        (tmp_path / "run" / file).unlink()
    resume(tmp_path / "run", {})
    after = [(tmp_path / "run" / file).read_bytes() for file in files]
    assert after[1:] == before[1:]
    ours, theirs = read_checkpoint(tmp_path / "run" / MODEL_FILE), before[0]
    (tmp_path / "before.safetensors").write_bytes(theirs)
    header, tensors = read_checkpoint(tmp_path / "before.safetensors")
    assert ours[0] == header
    assert all(torch.equal(ours[1][name], tensor) for name, tensor in tensors.items())


def test_patience_that_comes_later_counts_from_the_best_epoch(few_digits: Path, tmp_path: Path) -> None:
    chosen = config(few_digits, recipe={"epochs": 30, "lr": 0.01})
    with pytest.raises(Interrupted):
        train(chosen, out=tmp_path / "run", stop_signal=stop_after(16))
    accuracies = [
        row["validation_accuracy"] for row in read_header(tmp_path / "run" / RESUME_FILE).training["history"]
    ]
    assert accuracies == sorted(accuracies)
    events: list[Event] = []
    assert resume(tmp_path / "run", {"patience": 3}, on_event=events.append).epochs > 4
    assert [event for event in events if isinstance(event, Notice) and "were not kept" in event.message]


def test_patience_that_comes_after_the_best_epoch_keeps_it(few_digits: Path, tmp_path: Path) -> None:
    chosen = config(few_digits, "softmax", recipe={"epochs": 2, "lr": 0.01})
    train(chosen, out=tmp_path / "run")
    events: list[Event] = []
    changes = {"patience": 1, "recipe": {"epochs": 4}}
    resume(tmp_path / "run", changes, on_event=events.append)
    assert not [event for event in events if isinstance(event, Notice) and "were not kept" in event.message]


def test_numbers_that_overflow_beside_the_weights_are_never_saved(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = trainer._finish_epoch

    def overflow(session: Any, state: Any, speed: float) -> None:
        finish(session, state, speed)
        if state.epoch == 2:
            state.network[3].running_var.fill_(float("inf"))

    monkeypatch.setattr(trainer, "_finish_epoch", overflow)
    with pytest.raises(DivergedError):
        train(config(few_digits), out=tmp_path / "run")
    assert read_checkpoint(tmp_path / "run" / RESUME_FILE)[0].training["epoch"] == 1


def test_a_validation_loss_that_is_not_finite_is_a_divergence(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DigitMaterial, "validate", lambda material, network: (float("inf"), 0.5))
    with pytest.raises(DivergedError, match="validation loss"):
        train(config(few_digits), out=tmp_path / "run")


def test_a_run_goes_on_by_the_recipe_it_began_with(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from digitcli.architectures.recipe import RECIPES

    train(config(few_digits), out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(8))
    monkeypatch.setitem(RECIPES, "mlp", Recipe(lr=0.5, optimizer="sgd"))
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_other_library_versions_are_told(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(2))
    monkeypatch.setattr("digitcli.training.setup.version", lambda name: "9.9")
    events: list[Event] = []
    resume(tmp_path / "run", {}, on_event=events.append)
    assert any(isinstance(event, Notice) and "began with" in event.message for event in events)


def test_data_that_moved_may_be_named_again(few_digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "few.npz"
    data.write_bytes(few_digits.read_bytes())
    with pytest.raises(Interrupted):
        train(config(data), out=tmp_path / "run", stop_signal=stop_after(2))
    data.unlink()
    assert resume(tmp_path / "run", {"data": str(few_digits)}).test_accuracy is not None


def test_fewer_epochs_than_are_done_are_refused(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(14))
    with pytest.raises(UsageError, match="done 2 epochs"):
        resume(tmp_path / "run", {"recipe": {"epochs": 1}})


def test_a_finished_run_that_moved_tells_where_it_is(few_digits: Path, tmp_path: Path) -> None:
    train(config(few_digits, "softmax"), out=tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    result = resume(tmp_path / "moved", {})
    assert (result.run, result.checkpoint) == (str(tmp_path / "moved"), str(tmp_path / "moved" / MODEL_FILE))


@pytest.mark.parametrize(
    "damage", [{"recipe": {"surprise": 1}}, {"recipe": {"lr": -1.0}}, {"training": {}}], ids=str
)
def test_a_state_whose_header_makes_no_sense_is_a_model_error(
    few_digits: Path, tmp_path: Path, damage: dict[str, Any]
) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits, "softmax"), out=tmp_path / "run", stop_signal=stop_after(2))
    header, tensors = read_checkpoint(tmp_path / "run" / RESUME_FILE)
    write_checkpoint(tmp_path / "run" / RESUME_FILE, dataclasses.replace(header, **damage), tensors)
    with pytest.raises(ModelError):
        resume(tmp_path / "run", {})


def test_the_resume_file_keeps_hashes_of_the_training_digits_and_the_model_file_none(
    few_digits: Path, tmp_path: Path
) -> None:
    train(config(few_digits, "softmax", recipe={"epochs": 1}), out=tmp_path / "run")
    expected = torch.from_numpy(split(load_dataset(str(few_digits))).train.hashes())
    assert torch.equal(weights(tmp_path / "run", RESUME_FILE)[TRAIN_HASHES], expected)
    assert TRAIN_HASHES not in weights(tmp_path / "run")


def test_a_state_saved_before_there_were_hashes_goes_on_and_gets_them(
    few_digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits), out=tmp_path / "run", stop_signal=stop_after(8))
    header, tensors = read_checkpoint(tmp_path / "run" / RESUME_FILE)
    del tensors[TRAIN_HASHES]
    write_checkpoint(tmp_path / "run" / RESUME_FILE, header, tensors)
    train(config(few_digits), out=tmp_path / "undisturbed")
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
