"""The preparation of a run: its data, network and device, its progress, and the header of its checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.errors import UsageError
from digitcli.events import EpochDone, Event, Notice
from digitcli.training.configuration import RunStarted, TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.line_task import WORKERS, LineTask
from digitcli.training.setup import DRY_RUN_SYNTHETIC, TrainingSetup, prepare
from digitcli.training.state import TrainingState
from tests.support.training import train_config


def prepared(config: TrainConfig, folder: Path | None = None) -> tuple[TrainingSetup, TrainingState]:
    return prepare(config, folder, None, lambda event: None, lambda: None)


def epoch_done(number: int, accuracy: float) -> EpochDone:
    return EpochDone(number, 1e-3, 1.0, 1.0, accuracy, 1000.0, float(number))


def test_the_start_reports_what_was_prepared(few_digits: Path) -> None:
    events: list[Event] = []
    setup, state = prepare(train_config(few_digits), None, None, events.append, lambda: None)
    (started,) = events
    assert isinstance(started, RunStarted)
    assert (started.config, started.recipe, started.run) == (setup.config, setup.recipe, None)
    assert (started.train_size, started.validation_size, started.test_size) == (471, 43, 86)
    assert started.parameters == sum(parameter.numel() for parameter in state.network.parameters())
    assert (started.unit, started.epochs_done) == ("digit", 0)


def test_progress_is_the_share_of_the_steps_or_of_the_time_whichever_ends_sooner(few_digits: Path) -> None:
    setup, state = prepared(train_config(few_digits, "softmax"))
    assert setup.task.steps == 7  # of three epochs
    for epoch, step, progress in ((0, 0, 0.0), (0, 7, 1 / 3), (1, 0, 1 / 3), (2, 6, 20 / 21), (3, 0, 1.0)):
        state.epoch, state.step = epoch, step
        assert setup.progress(state) == pytest.approx(progress)
    cases: tuple[tuple[dict[str, Any], float, float], ...] = (
        ({}, 15.0, 0.25), ({}, 90.0, 1.0), ({"epochs": 2}, 15.0, 0.5), ({"epochs": 2}, 45.0, 0.75),
    )  # fmt: skip
    state.epoch, state.step = 1, 0
    for recipe, state.seconds, progress in cases:
        config = TrainConfig(arch="softmax", data=str(few_digits), time_seconds=60.0, recipe=recipe)
        limited = replace(setup, config=config, recipe=replace(setup.recipe, epochs=recipe.get("epochs", 20)))
        assert limited.progress(state) == pytest.approx(progress), (recipe, state.seconds)


def test_a_run_is_over_when_patience_runs_out(few_digits: Path) -> None:
    setup, state = prepared(train_config(few_digits, "softmax", recipe={"epochs": 60}))
    cases: tuple[tuple[tuple[float, ...], int | None, bool], ...] = (
        ((0.5, 0.6), None, False),
        ((0.6, 0.5), 2, False),
        ((0.6, 0.5, 0.6), 2, True),  # an equal accuracy is no better one
        ((0.6, 0.5, 0.7), 2, False),
    )
    for accuracies, patience, is_over in cases:
        state.history = [epoch_done(number, accuracy) for number, accuracy in enumerate(accuracies, start=1)]
        state.epoch = len(accuracies)
        assert replace(setup, config=replace(setup.config, patience=patience)).is_over(state) == is_over


def test_the_header_states_the_epoch_whose_weights_the_model_has(few_digits: Path) -> None:
    setup, state = prepared(train_config(few_digits, patience=5))
    assert setup.header(state).metrics == {}
    for number, accuracy in enumerate((0.5, 0.8, 0.7), start=1):
        state.history.append(epoch_done(number, accuracy))
        state.keep_best()
    header = setup.header(state)
    assert header.metrics == {"validation_accuracy": 0.8, "epochs": 3}
    assert (header.architecture, header.task, header.temperature) == ("mlp", "digit", 1.0)
    assert header.arguments == {"dropout": 0.0}
    assert header.dataset["digest"] == setup.task.digest and header.dataset["train"] == 471
    assert TrainConfig(**header.training["config"]) == setup.config


def test_a_dry_run_makes_few_synthetic_characters_and_keeps_the_recipe(
    few_digits: Path, tmp_path: Path
) -> None:
    config = train_config(few_digits, "softmax", recipe={"synthetic": 0.5})
    dry, _ = prepared(config)
    assert dry.task.sizes["synthetic"] == round(DRY_RUN_SYNTHETIC * 471)
    assert dry.recipe.synthetic == 0.5
    real, _ = prepared(config, tmp_path)
    assert real.task.sizes["synthetic"] == round(0.5 * 471)


def test_a_device_that_computes_wrongly_is_replaced_by_the_cpu(
    few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("digitcli.training.setup.device_of_process", lambda name: torch.device("mps"))
    monkeypatch.setattr("digitcli.training.setup.agrees_with_cpu", lambda network, device, task: False)
    events: list[Event] = []
    setup, state = prepare(train_config(few_digits, "softmax"), None, None, events.append, lambda: None)
    assert setup.device.type == "cpu"
    assert {parameter.device.type for parameter in state.network.parameters()} == {"cpu"}
    assert any(isinstance(event, Notice) and "MPS" in event.message for event in events)


def test_a_folder_of_lines_is_read(line_folder: Path) -> None:
    recipe = {"batch_size": 8}
    setup, _ = prepared(TrainConfig(arch="reader", data=str(line_folder), device="cpu", recipe=recipe))
    assert isinstance(setup.task, LineTask) and sum(setup.task.sizes.values()) == 60


def test_every_process_composes_lines_in_workers_and_a_dry_run_does_not(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first process has a folder. A process without workers would let the others wait."""
    monkeypatch.setattr("digitcli.training.setup.average_gradients", lambda network, loss, processes: loss)
    recipe = {"batch_size": 8, "dtype": "float32"}
    config = TrainConfig(arch="reader", data=str(few_digits), device="cpu", recipe=recipe)

    def workers(folder: Path | None, processes: Processes) -> int:
        setup, _ = prepare(config, folder, None, lambda event: None, lambda: None, processes)
        assert isinstance(setup.task, LineTask)
        return setup.task._pools.workers

    assert workers(tmp_path, Processes(0, 2)) == workers(None, Processes(1, 2)) == max(1, WORKERS // 2)
    assert workers(tmp_path, ONE_PROCESS) == WORKERS
    assert workers(None, ONE_PROCESS) == 0


def test_a_batch_is_at_most_the_training_digits(few_digits: Path) -> None:
    setup, _ = prepared(train_config(few_digits, "softmax", recipe={"batch_size": 10_000}))
    assert (setup.task.batch_size, setup.task.steps) == (471, 1)
    assert setup.processes is ONE_PROCESS
    odd = train_config(few_digits, "softmax", recipe={"batch_size": 25})
    with pytest.raises(UsageError, match="no equal shares for 2"):
        prepare(odd, None, None, lambda event: None, lambda: None, Processes(1, 2))
