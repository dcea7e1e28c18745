"""The speed of training in a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from digitcli.benchmarking import measurement
from digitcli.benchmarking.benchmark import benchmark
from digitcli.benchmarking.measurement import Calls
from digitcli.benchmarking.report import BenchmarkConfig, BenchmarkReport, Event
from digitcli.inference.ensemble_file import write_ensemble
from digitcli.inference.model_resolution import resolve_models
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import training_speed
from tests.support.benchmarks import NO_MEMORY, notices, run
from tests.support.models import saved


def fake_speed(monkeypatch: pytest.MonkeyPatch, measure: Callable[[TrainConfig], float]) -> None:
    """Let the speed of training be measured by a function of the configuration."""
    monkeypatch.setattr(trainer, "training_speed", lambda config, seconds, *, on_event: measure(config))


def test_each_architecture_is_trained_by_its_recipe_after_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    def speed(config: TrainConfig) -> float:
        done.append(config)
        return 1234.5 if config.arch == "softmax" else 6.0

    def measure(model: measurement.PreparedModel, size: int) -> Calls:
        done.append((model.candidate.name, size))
        return Calls([0.5], None)

    fake_speed(monkeypatch, speed)
    monkeypatch.setattr(measurement, "measure_calls", measure)
    report, events = run("softmax", "lenet5", batch_sizes=(1, 2), train=True)
    rows = [("softmax", 1), ("softmax", 2), ("lenet5", 1), ("lenet5", 2)]
    assert done == [*rows, *(TrainConfig(arch=name, device="cpu") for name in ("softmax", "lenet5"))]
    assert [row.training_images_per_second for row in report.results] == [1234.5] * 2 + [6.0] * 2
    assert [event for event in events if isinstance(event, BenchmarkReport)][-1] == report


def test_training_that_does_not_fit_and_that_of_ensembles_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speed(config: TrainConfig) -> float:
        raise NO_MEMORY

    fake_speed(monkeypatch, speed)
    monkeypatch.setattr(measurement, "measure_calls", lambda model, size: Calls([0.5], None))
    path = str(tmp_path / "both.safetensors")
    write_ensemble(Path(path), resolve_models([saved(tmp_path / "a.safetensors")]))
    report, events = run(path, "softmax", batch_sizes=(1,), train=True)
    assert [row.training_images_per_second for row in report.results] == [None, None]
    for words in ("ensembles is left out", "softmax: training with the batch size"):
        assert any(words in notice for notice in notices(events))


def test_rows_survive_a_failure_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def speed(config: TrainConfig) -> float:
        if config.arch == "softmax":
            return 1234.5
        raise KeyboardInterrupt

    fake_speed(monkeypatch, speed)
    events: list[Event] = []
    config = BenchmarkConfig(archs=("softmax", "lenet5"), device="cpu", batch_sizes=(1,), train=True)
    with pytest.raises(KeyboardInterrupt):
        benchmark(config, on_event=events.append)
    report = [event for event in events if isinstance(event, BenchmarkReport)][-1]
    assert [row.training_images_per_second for row in report.results] == [1234.5, None]


def test_all_models_of_an_architecture_share_the_speed_of_its_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(saved(tmp_path / "model.safetensors", recipe={"batch_size": 7}))
    configs: list[TrainConfig] = []
    fake_speed(monkeypatch, lambda config: configs.append(config) or 7.0)
    monkeypatch.setattr(measurement, "measure_calls", lambda model, size: Calls([0.5], None))
    report, _ = run(path, "softmax", train=True)
    assert [row.training_images_per_second for row in report.results] == [7.0, 7.0]
    assert configs == [TrainConfig(arch="softmax", device="cpu")]


def test_training_speed_counts_the_images_of_all_steps_after_the_warm_up(
    monkeypatch: pytest.MonkeyPatch, few_digits: Path
) -> None:
    now = 0.0

    def step(setup: Any, state: Any) -> torch.Tensor:
        nonlocal now
        now += 4.0 if now == 0 else 0.5  # the first is slow
        return torch.zeros(())

    monkeypatch.setattr(trainer, "take_step", step)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: now))
    config = TrainConfig(arch="softmax", recipe={"batch_size": 32}, data=str(few_digits), device="cpu")
    assert training_speed(config, 8.0) == 2 * 32
    assert now == 4.0 + 8.0


def test_training_speed_takes_real_steps_and_leaves_random_numbers_alone(
    monkeypatch: pytest.MonkeyPatch, few_digits: Path
) -> None:
    steps: list[tuple[int, int]] = []
    take_step = trainer.take_step

    def spy(setup: Any, state: Any) -> torch.Tensor:
        steps.append((state.step, setup.task.steps))
        return take_step(setup, state)

    monkeypatch.setattr(trainer, "take_step", spy)
    config = TrainConfig(arch="softmax", data=str(few_digits), device="cpu")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert training_speed(config, 0.02) > 0
    assert torch.equal(torch.rand(3), expected)
    assert steps == [(taken % of, of) for taken, (_, of) in enumerate(steps)] and len(steps) >= 2
