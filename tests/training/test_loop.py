"""The loop: what a step and an epoch change, when the state is saved, and how a signal stops it."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from digitcli.errors import DivergedError, Interrupted
from digitcli.events import EpochDone, Event, StepDone
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_header
from digitcli.training import loop
from digitcli.training.loop import save_state, stop_if_signalled, take_step, train_epoch
from digitcli.training.optimization import scheduled_lr
from digitcli.training.setup import StopSignal, TrainingSetup, prepare
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


def test_the_moving_average_follows_the_weights(few_digits: Path) -> None:
    setup, state = prepared(few_digits, recipe={"ema_decay": 0.9})
    assert state.average is not None
    take_step(setup, state)
    first = weights_of(state)
    averaged = torch.cat([parameter.flatten() for parameter in state.average.parameters()])
    assert torch.equal(averaged, first)  # the average begins with the weights after the first step
    take_step(setup, state)
    averaged = torch.cat([parameter.flatten() for parameter in state.average.parameters()])
    torch.testing.assert_close(averaged, first.lerp(weights_of(state), 1 - 3 / 12))


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
    setup, state = prepared(few_digits, tmp_path)
    with torch.no_grad():
        next(state.network.parameters()).fill_(float("inf"))
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


def test_without_a_run_folder_a_signal_stops_and_without_a_signal_training_goes_on(few_digits: Path) -> None:
    setup, state = prepared(few_digits, stop_signal=lambda: signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        stop_if_signalled(setup, state)
    assert caught.value.remedy == ""
    stop_if_signalled(replace(setup, stop_signal=lambda: None), state, torch.tensor(1.0))
    assert state.loss_sum == 0.0


def test_patience_keeps_the_weights_of_the_best_epoch(
    few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, state = prepared(few_digits, patience=5)
    accuracies = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr(setup.task, "validate", lambda network: (1.0, next(accuracies)))
    weights = []
    for _ in range(3):
        train_epoch(setup, state, clock_zero=0.0)
        weights.append(weights_of(state))
    assert state.best is not None
    best = torch.cat([tensor.flatten() for tensor in state.best.values()])
    assert torch.equal(best, weights[1]) and not torch.equal(best, weights[2])


def test_a_derived_seed_depends_on_every_part_and_nothing_else() -> None:
    seeds = {derive_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in range(5)}
    assert len(seeds) == 125
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
