"""The preparation of a run, and its loop: what steps and epochs change, when they are saved, and signals."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from digitcli.errors import DivergedError, Interrupted, UsageError
from digitcli.events import EpochDone, Event, Notice, StepDone
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_header
from digitcli.training import loop
from digitcli.training.configuration import TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.line_task import WORKERS, LineTask
from digitcli.training.loop import save_state, stop_if_signalled, take_step, train_epoch
from digitcli.training.optimization import scheduled_lr
from digitcli.training.setup import DRY_RUN_SYNTHETIC, StopSignal, TrainingSetup, prepare
from digitcli.training.state import TrainingState
from digitcli.training.task import derive_seed
from tests.support.training import train_config


def prepared(
    data: Path,
    folder: Path | None = None,
    arch: str = "softmax",
    stop_signal: StopSignal = lambda: None,
    events: list[Event] | None = None,
    **changes: object,
) -> tuple[TrainingSetup, TrainingState]:
    """Prepare a run of three epochs with seven steps each."""
    on_event = (lambda event: None) if events is None else events.append
    return prepare(train_config(data, arch, **changes), folder, None, on_event, stop_signal)


def weights_of(state: TrainingState) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.network.parameters()])


def test_a_step_changes_the_weights_and_the_counters_and_returns_its_loss(few_digits: Path) -> None:
    setup, state = prepared(few_digits)
    before = weights_of(state)
    state.network.eval()
    loss = take_step(setup, state)
    assert (state.epoch, state.step, state.steps_total) == (0, 1, 1)
    assert loss.isfinite() and not loss.requires_grad
    assert not torch.equal(weights_of(state), before)
    assert state.network.training
    assert all(parameter.grad is None for parameter in state.network.parameters())
    for step in range(1, 5):
        take_step(setup, state)
        expected = scheduled_lr(setup.recipe, step / 21)
        assert [group["lr"] for group in state.optimizer.param_groups] == [expected] * 2


def test_a_step_depends_on_nothing_but_the_state_and_the_seed(few_digits: Path) -> None:
    """Use dropout and augmentation."""
    results = []
    for global_seed in (1, 2):
        setup, state = prepared(few_digits, arch="mlp", recipe={"augment": True, "dropout": 0.3})
        torch.manual_seed(global_seed)
        take_step(setup, state)
        results.append(weights_of(state))
    assert torch.equal(*results)


def test_an_epoch_adds_its_figures_to_the_history_and_reports_them(
    few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []

    def recorded_step(setup: TrainingSetup, state: TrainingState) -> Tensor:
        loss = take_step(setup, state)
        losses.append(float(loss))
        return loss

    monkeypatch.setattr(loop, "take_step", recorded_step)
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    events: list[Event] = []
    setup, state = prepared(few_digits, events=events)
    train_epoch(setup, state, clock_zero=0.0)
    (done,) = state.history
    assert events[-1] is done and isinstance(done, EpochDone) and done.epoch == 1
    assert (state.epoch, state.step, state.steps_total, state.loss_sum) == (1, 0, 7, 0.0)
    assert (done.validation_loss, done.validation_accuracy) == setup.task.validate(state.weights())
    assert done.lr == scheduled_lr(setup.recipe, 6 / 21)
    assert len(losses) == 7 and done.train_loss == pytest.approx(sum(losses) / 7)
    reported = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in reported] == [1, 2, 3, 4, 5, 6, 7]
    assert reported[2].loss == pytest.approx(sum(losses[:3]) / 3)
    assert reported[2].progress == pytest.approx(3 / 21)


def test_the_state_is_saved_within_a_long_epoch(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is written at the end of an epoch only."""
    saved: list[tuple[int, bool]] = []

    def recorded_save(setup: TrainingSetup, state: TrainingState) -> None:
        save_state(setup, state)
        step = read_header(tmp_path / RESUME_FILE).training["step"]
        saved.append((step, (tmp_path / MODEL_FILE).exists()))

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "save_state", recorded_save)
    setup, state = prepared(few_digits, tmp_path)
    train_epoch(setup, state, clock_zero=0.0)
    assert saved == [*((step, False) for step in range(1, 7)), (0, True)]


def test_what_is_not_finite_is_not_saved(few_digits: Path, tmp_path: Path) -> None:
    for tensors in (torch.nn.Module.parameters, torch.nn.Module.buffers):
        setup, state = prepared(few_digits, tmp_path, "mlp")
        with torch.no_grad():
            next(tensors(state.network)).fill_(float("inf"))
        with pytest.raises(DivergedError, match="A weight is not finite") as caught:
            save_state(setup, state)
        assert f"{setup.recipe.lr:g}" in caught.value.remedy
        assert list(tmp_path.iterdir()) == []
    setup, state = prepared(few_digits)
    train_epoch(setup, state, clock_zero=0.0)
    with torch.no_grad():
        next(state.network.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="epoch 2.* of epoch 1 is kept"):
        train_epoch(setup, state, clock_zero=0.0)
    assert len(state.history) == 1


def test_a_signal_saves_the_steps_of_the_epoch_and_says_how_to_continue(
    few_digits: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    setup, state = prepared(few_digits, folder, stop_signal=lambda: signal.SIGTERM)
    take_step(setup, state)
    with pytest.raises(Interrupted) as caught:
        stop_if_signalled(setup, state, torch.tensor(2.5))
    assert caught.value.exit_code == 143 and f"--resume '{folder}'" in caught.value.remedy
    training = read_header(folder / RESUME_FILE).training
    assert (training["step"], training["loss_sum"]) == (1, 2.5)
    with pytest.raises(Interrupted) as without_folder:
        stop_if_signalled(replace(setup, folder=None), state)
    assert without_folder.value.remedy == ""
    stop_if_signalled(replace(setup, stop_signal=lambda: None), state, torch.tensor(1.0))
    assert state.loss_sum == 2.5  # without a signal training goes on


def test_a_derived_seed_depends_on_every_part_and_nothing_else() -> None:
    seeds = {derive_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in range(5)}
    assert len(seeds) == 125
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


def epoch_done(number: int, accuracy: float) -> EpochDone:
    return EpochDone(number, 1e-3, 1.0, 1.0, accuracy, 1000.0, float(number))


def test_progress_is_the_share_of_the_steps_or_of_the_time_whichever_ends_sooner(few_digits: Path) -> None:
    setup, state = prepare(train_config(few_digits, "softmax"))
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
    setup, state = prepare(train_config(few_digits, "softmax", recipe={"epochs": 60}))
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
    setup, state = prepare(train_config(few_digits, patience=5))
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
    dry, _ = prepare(config)
    assert dry.task.sizes["synthetic"] == round(DRY_RUN_SYNTHETIC * 471)
    assert dry.recipe.synthetic == 0.5
    real, _ = prepare(config, tmp_path)
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


def test_every_process_composes_lines_in_workers_and_a_dry_run_does_not(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first process has a folder. A process without workers would let the others wait."""
    monkeypatch.setattr("digitcli.training.setup.average_gradients", lambda network, loss, processes: loss)
    recipe = {"batch_size": 8, "dtype": "float32"}
    config = TrainConfig(arch="reader", data=str(few_digits), device="cpu", recipe=recipe)

    def workers(folder: Path | None, processes: Processes) -> int:
        setup, _ = prepare(config, folder, processes=processes)
        assert isinstance(setup.task, LineTask)
        return setup.task._pools.workers

    assert workers(tmp_path, Processes(0, 2)) == workers(None, Processes(1, 2)) == max(1, WORKERS // 2)
    assert workers(tmp_path, ONE_PROCESS) == WORKERS
    assert workers(None, ONE_PROCESS) == 0


def test_a_batch_is_at_most_the_training_digits(few_digits: Path) -> None:
    setup, _ = prepare(train_config(few_digits, "softmax", recipe={"batch_size": 10_000}))
    assert (setup.task.batch_size, setup.task.steps) == (471, 1)
    assert setup.processes is ONE_PROCESS
    odd = train_config(few_digits, "softmax", recipe={"batch_size": 25})
    with pytest.raises(UsageError, match="no equal shares for 2"):
        prepare(odd, processes=Processes(1, 2))
