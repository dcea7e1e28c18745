"""Short trainings are repeatable, change nothing outside, and show what a learning rate does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from digitcli.data.dataset import Digits
from digitcli.diagnosis.trials import HIGHEST_LR, LOWEST_LR, RangeTest, range_test, train_briefly
from digitcli.training.configuration import fine_tuning
from tests.support.models import saved
from tests.support.training import train_config


def test_a_trial_learns_and_is_repeatable(few_digits: Path, digits: Digits) -> None:
    some = digits.take(np.arange(600, 800))
    config = train_config(few_digits, recipe={"lr": 0.01})
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = train_briefly(config, 30, some)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.losses == train_briefly(config, 30, some).losses
    assert len(first.losses) == 30 and first.is_correct.mean() > 0.5
    assert train_briefly(config, 30, some, lr=1e-6).is_correct.mean() < 0.5


def test_a_trial_keeps_the_teacher_of_the_run(few_digits: Path, tmp_path: Path, digits: Digits) -> None:
    some = digits.take(np.arange(600, 800))
    teacher = str(saved(tmp_path / "teacher.safetensors"))
    recipe = {"lr": 0.01, "distillation_weight": 1.0}
    taught = train_briefly(train_config(few_digits, teacher=(teacher,), recipe=recipe), 30, some)
    assert taught.is_correct.mean() < 0.5  # the teacher has random weights


def test_a_trial_of_a_fine_tuning_run_starts_from_its_model(few_digits: Path, digits: Digits) -> None:
    config = fine_tuning("fast", data=str(few_digits), device="cpu", recipe={"freeze": 1})
    trial = train_briefly(config, 1, digits.take(np.arange(600, 700)))
    assert trial.is_correct.mean() > 0.9


def test_a_trial_that_diverges_reads_nothing(few_digits: Path, digits: Digits) -> None:
    config = train_config(few_digits, arch="softmax", recipe={"optimizer": "sgd", "lr": 1e38})
    trial = train_briefly(config, 5, digits.take(np.arange(20)))
    assert len(trial.losses) < 5 and not trial.is_correct.any()


def test_the_range_test_raises_the_learning_rate_until_the_loss_rises(few_digits: Path) -> None:
    test = range_test(train_config(few_digits), 40)
    assert test.lrs[0] == LOWEST_LR and test.lrs[-1] < HIGHEST_LR
    assert list(test.lrs) == sorted(test.lrs) and len(test.lrs) == len(test.losses)
    assert 1e-4 <= test.suggestion <= 1e-2


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss() -> None:
    assert RangeTest((0.001, 0.012, 0.1), (2.0, 1.0, 3.0)).suggestion == 0.001
