"""Every rule finds the fault that is planted in a run, and is silent on a healthy run."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import resolve_recipe
from digitcli.data.dataset import Digits, Splits, split
from digitcli.data.loading import load_dataset
from digitcli.diagnosis import run as run_examination
from digitcli.diagnosis.findings import Finding
from digitcli.diagnosis.run import (
    HIGHEST_LR,
    LOWEST_LR,
    ExaminedRun,
    RangeTest,
    Trial,
    dead_units,
    learning_rate,
    not_learning,
    overfitting,
    range_test,
    start,
    train_briefly,
)
from digitcli.events import EpochDone
from digitcli.training.configuration import TrainConfig
from tests.support.models import saved
from tests.support.training import fine_tuning, train_config

STEPS = 40


@pytest.fixture(scope="module")
def data(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 digits; of the training part, 107 are for validation."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, images=digits.images[:1500], labels=digits.labels[:1500])
    return path


def run_of(data: Path, arch: str = "mlp", epochs: int = 20, steps: int = STEPS, **recipe: Any) -> ExaminedRun:
    """Train for `steps` steps, and return a run that claims to have taken three times as many."""
    recipe = {"batch_size": 48, **recipe}
    config, parts, trials = trials_of(data, arch, steps, tuple(recipe.items()))
    history = [epoch(number, 0.1, 0.1) for number in range(1, epochs + 1)]
    network = start(config)[1].network.eval()
    return ExaminedRun(
        config,
        recipe,
        resolve_recipe(arch, **recipe),
        history,
        3 * steps,
        network,
        parts.train,
        parts.validation,
        trials[0].is_correct,
        trials[1].is_correct,
    )


@functools.cache
def trials_of(
    data: Path, arch: str, steps: int, recipe: tuple[tuple[str, Any], ...]
) -> tuple[TrainConfig, Splits, list[Trial]]:
    """Train for `steps` steps, once for all runs with these settings; judge by both parts of the data."""
    config = TrainConfig(arch=arch, data=str(data), device="cpu", recipe=dict(recipe))
    parts = split(load_dataset(str(data)))
    return config, parts, [train_briefly(config, steps, part) for part in (parts.train, parts.validation)]


def epoch(number: int, train_loss: float, validation_loss: float) -> EpochDone:
    return EpochDone(number, 1e-3, train_loss, validation_loss, 1 - train_loss, 1000.0, float(number))


def rules(found: Iterator[Finding]) -> list[str]:
    return [finding.rule for finding in found]


def test_overfitting_is_a_rise_of_the_validation_loss_that_is_more_than_its_error() -> None:
    for losses, expected in (
        ([(0.5, 0.4), (0.2, 0.2), (0.1, 0.15), (0.05, 0.12)], []),
        ([(0.5, 0.4), (0.2, 0.2), (0.1, 0.25), (0.01, 0.3)], ["overfitting"]),
        ([(0.5, 0.4), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2), (0.2, 0.21)], []),
        ([(0.5, 0.4)], []),
        ([(0.5, 0.4), (0.2, 0.5), (0.6, 0.6)], []),  # it diverges, which is no overfitting
    ):
        history = [epoch(number, *pair) for number, pair in enumerate(losses, start=1)]
        assert rules(overfitting(TrainConfig(), history)) == expected, losses
        assert rules(overfitting(TrainConfig(patience=3), history)) == []
    history = [epoch(1, 0.03, 0.0145), epoch(2, 0.014, 0.0168)]
    assert rules(overfitting(TrainConfig(), history, 0.0001)) == ["overfitting"]
    assert rules(overfitting(TrainConfig(), history, 0.0033)) == []


def test_a_healthy_run_has_no_findings(data: Path) -> None:
    run = run_of(data)
    dead = dead_units(run.network, run.training.images)
    assert [*learning_rate(run), *dead, *not_learning(run)] == []


def test_a_learning_rate_that_is_too_low_or_too_high_is_found(data: Path) -> None:
    (finding,) = learning_rate(run_of(data, lr=10.0))
    assert finding.rule == "learning_rate_too_high"
    run = run_of(data, lr=1e-7)
    (finding,) = learning_rate(run)
    assert finding.rule == "learning_rate_too_low"
    assert "that of the recipe" in finding.evidence, "it is tried first"
    assert finding.command is not None and finding.command.startswith("digitcli train --arch ")
    assert finding.command.endswith("--lr 0.002")
    (finding,) = not_learning(run)
    assert (finding.rule, finding.severity) == ("not_learning", "error")
    perfect = replace(run, training_is_correct=np.ones_like(run.training_is_correct))
    assert rules(not_learning(perfect)) == []


def test_a_loss_above_that_of_equal_probabilities_is_a_learning_rate_that_is_too_high(data: Path) -> None:
    run = run_of(data, arch="softmax", lr=5.0)
    sure_of_mistakes = replace(run, history=[epoch(1, 25.4, 56.8)])
    perfect = replace(sure_of_mistakes, validation_is_correct=np.ones_like(run.validation_is_correct))
    (finding,) = learning_rate(perfect)
    assert (
        finding.rule == "learning_rate_too_high"
        and "56.8" in finding.evidence
        and "2.303" in finding.evidence
    )
    assert rules(learning_rate(replace(perfect, history=[epoch(1, 0.3, 0.3)]))) == []


def test_a_learning_rate_is_not_blamed_for_what_a_trial_without_changes_gains(data: Path) -> None:
    run = run_of(data, lr=0.0006)
    unfinished = replace(run, validation_is_correct=np.zeros_like(run.validation_is_correct))
    usual = train_briefly(run.config, run.trial_steps, run.validation, lr=resolve_recipe("mlp").lr)
    assert usual.is_correct.mean() > 0.5
    assert rules(learning_rate(unfinished)) == []


def test_a_fine_tuned_run_is_compared_with_the_recipe_of_fine_tuning(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model.safetensors", "mlp")
    config = fine_tuning(str(model), data=str(data), device="cpu")
    tuned = replace(run_of(data), config=config)
    recipe = resolve_recipe("mlp", **config.recipe)
    monkeypatch.setattr(run_examination, "train_briefly", None)
    monkeypatch.setattr(run_examination, "range_test", lambda config: RangeTest((10 * recipe.lr,), (0.1,)))
    assert rules(learning_rate(replace(tuned, recipe=recipe))) == []


def test_a_trial_learns_and_is_repeatable(few_digits: Path, digits: Digits) -> None:
    some = digits.take(np.arange(600, 800))
    config = train_config(few_digits, recipe={"lr": 0.01})
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = train_briefly(config, 30, some)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.nll == train_briefly(config, 30, some).nll and first.is_correct.mean() > 0.5
    assert train_briefly(config, 30, some, lr=1e-6).is_correct.mean() < 0.5


def test_a_trial_keeps_the_teacher_and_the_start_model_of_the_run(
    few_digits: Path, tmp_path: Path, digits: Digits
) -> None:
    some = digits.take(np.arange(600, 800))
    teacher = str(saved(tmp_path / "teacher.safetensors"))
    recipe = {"lr": 0.01, "distillation_weight": 1.0}
    taught = train_briefly(train_config(few_digits, teacher=(teacher,), recipe=recipe), 30, some)
    assert taught.is_correct.mean() < 0.5  # the teacher has random weights
    config = fine_tuning("fast", data=str(few_digits), device="cpu", recipe={"freeze": 1})
    assert train_briefly(config, 1, some).is_correct.mean() > 0.9
    config = train_config(few_digits, arch="softmax", recipe={"optimizer": "sgd", "lr": 1e38})
    diverged = train_briefly(config, 5, some)
    assert diverged.nll == float("inf") and not diverged.is_correct.any()


def test_the_range_test_raises_the_learning_rate_until_the_loss_rises(few_digits: Path) -> None:
    test = range_test(train_config(few_digits), 40)
    assert test.lrs[0] == LOWEST_LR and test.lrs[-1] < HIGHEST_LR
    assert list(test.lrs) == sorted(test.lrs) and len(test.lrs) == len(test.losses)
    assert 1e-4 <= test.suggestion <= 1e-2
    # It is a tenth of the rate with the lowest loss.
    assert RangeTest((0.001, 0.012, 0.1), (2.0, 1.0, 3.0)).suggestion == 0.001
