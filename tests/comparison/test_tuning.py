"""The search of settings: what it trains, chooses, keeps and continues."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from digitcli.comparison import tuning
from digitcli.comparison.specification import parse_ranges, parse_specification, parse_specifications
from digitcli.comparison.tuning import STUDY_FILE, TrialDone, Tuning, specification_with, tune
from digitcli.errors import DivergedError, EnvironmentFault, InputError, Interrupted, OutputError, UsageError
from digitcli.training.configuration import TrainConfig
from digitcli.training.run_folder import locked
from digitcli.training.setup import prepare
from tests.support.models import saved

SPECIFICATION = "softmax:epochs=3"


def search(data: Path, folder: Path, *, trials: int = 3, arch: str = SPECIFICATION, **options: Any) -> Tuning:
    parsed = parse_specification(arch, str(data), "cpu")
    assert parsed.config is not None
    vary = options.pop("vary", ("lr=1e-4..1e-1",))
    return tune(parsed, parse_ranges(vary, parsed.config), folder, trials=trials, **options)


def test_the_best_trial_is_found_on_validation_digits_and_its_command_trains_it(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("digitcli.training.digit_task.DigitTask.test", None)  # no test digit is read
    result = search(few_digits, tmp_path, trials=6, arch="softmax:epochs=3,optimizer=sgd")
    best = result.best
    assert best is not None and best.accuracy is not None and len(result.trials) == 6
    complete = [trial for trial in result.trials if trial.state == "complete"]
    assert best.accuracy == max(trial.accuracy or 0 for trial in complete)
    assert result.trials[: len(complete)] == tuple(complete)
    recipe, winner = result.confirmation[2:4]
    assert winner == f"softmax:epochs=3,optimizer=sgd,lr={best.settings['lr']}"
    assert parse_specifications((recipe, winner), str(few_digits), "cpu")[1].config is not None
    assert result.confirmation[-2:] == ["--data", str(few_digits)]
    changed = specification_with("mlp", {"augment": False, "lr": 0.01})
    assert changed == "mlp:augment=off,lr=0.01" and shlex.quote(changed) == changed


def test_the_same_call_continues_and_ends_with_what_is_there(few_digits: Path, tmp_path: Path) -> None:
    """Also after a kill in the middle of a line."""
    events: list[TrialDone] = []
    note = lambda event: events.append(event) if isinstance(event, TrialDone) else None  # noqa: E731
    first = search(few_digits, tmp_path, trials=2, on_event=note)
    with (tmp_path / STUDY_FILE).open("a") as file:
        file.write('{"op_code": 4, "worker_')
    second = search(few_digits, tmp_path, trials=4, on_event=note)
    assert [event.trial.number for event in events] == [0, 1, 2, 3, 4]
    assert events[0].trial == first.recipe and first.recipe_settings == {"lr": 0.001}
    assert second.recipe == first.recipe and set(map(str, first.trials)) <= set(map(str, second.trials))
    assert len({trial.settings["lr"] for trial in second.trials}) == 4
    events.clear()
    assert search(few_digits, tmp_path, trials=4, on_event=note) == second and not events


def test_an_interrupted_trial_is_trained_again(few_digits: Path, tmp_path: Path) -> None:
    steps = 0

    def stop_in_the_second_trial() -> int | None:
        nonlocal steps
        steps += 1
        return 15 if steps > 40 else None

    with pytest.raises(Interrupted, match="search has stopped") as stopped:
        search(few_digits, tmp_path, trials=40, stop_signal=stop_in_the_second_trial)
    assert stopped.value.exit_code == 143 and "same command" in stopped.value.remedy
    text = (tmp_path / STUDY_FILE).read_text()
    lines = text.count("param_name")
    started = [json.loads(line) for line in text.splitlines() if "param_name" in line][-1]
    tried = search(few_digits, tmp_path, trials=lines)
    assert sorted(trial.number for trial in tried.trials) == [*range(1, lines + 1)]
    assert len({trial.settings["lr"] for trial in tried.trials}) == lines
    assert float(f"{started['param_value_internal']:.3g}") in {each.settings["lr"] for each in tried.trials}


def test_trials_that_are_pruned_or_diverge_are_kept_and_come_last(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(optuna.trial.Trial, "should_prune", lambda trial: True)
        result = search(few_digits, tmp_path / "pruned", trials=1)
    assert [(trial.state, trial.epochs) for trial in result.trials] == [("pruned", 1)]
    assert result.best is None and result.confirmation == []
    honest = tuning.train_epoch
    monkeypatch.setattr(tuning, "train_epoch", diverging_above(0.001, honest))
    result = search(few_digits, tmp_path / "diverged", vary=("lr=0.0001,0.01",), trials=4)
    states = {trial.settings["lr"]: trial.state for trial in result.trials}
    assert states == {0.0001: "complete", 0.01: "diverged"} and result.trials[-1].accuracy is None
    monkeypatch.setattr(tuning, "train_epoch", diverging_above(0, honest))
    with pytest.raises(DivergedError, match="recipe diverged"):
        search(few_digits, tmp_path / "recipe")


def diverging_above(lr: float, honest: Callable[..., None]) -> Callable[..., None]:
    def train_epoch(setup: Any, state: Any, clock_zero: float) -> None:
        if setup.recipe.lr > lr:
            raise DivergedError("The loss is not finite.", "")
        honest(setup, state, clock_zero)

    return train_epoch


def test_values_that_cannot_be_trained_together_are_an_invalid_trial(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def prepare_but_the_second(config: TrainConfig, *arguments: Any, **settings: Any) -> Any:
        seeds.append(config.seed)
        if len(seeds) == 2:
            raise UsageError("The batch is too small.")
        return prepare(config, *arguments, **settings)

    monkeypatch.setattr(tuning, "prepare", prepare_but_the_second)
    result = search(few_digits, tmp_path, trials=3)
    assert [trial.state for trial in result.trials].count("invalid") == 1
    assert len(result.trials) == 3 and result.trials[-1].accuracy is None
    assert search(few_digits, tmp_path, trials=3) == result
    assert set(seeds) == {tuning.SEED} and tuning.SEED > 1000  # the seeds of a comparison


def test_a_folder_keeps_one_search(few_digits: Path, tmp_path: Path) -> None:
    model, folder = saved(tmp_path / "model.safetensors", "softmax"), tmp_path / "search"
    arch = f"softmax:epochs=1,teacher={model}"
    search(few_digits, folder, trials=1, arch=arch)
    for changes, named in (
        ({"vary": ("lr=1e-4..1e-2",)}, "ranges"),
        ({"arch": "softmax:epochs=1"}, "teacher"),
    ):
        with pytest.raises(UsageError, match=f"has a search with another .*{named}"):
            search(few_digits, folder, trials=1, **{"arch": arch, **changes})
    saved(model, "softmax", seed=1)
    with pytest.raises(UsageError, match="another teacher"):
        search(few_digits, folder, trials=1, arch=arch)
    tuned = f"softmax:epochs=1,from={model}"
    search(few_digits, tmp_path / "tuned", trials=1, arch=tuned)
    saved(model, "softmax", seed=2)
    with pytest.raises(UsageError, match="another start"):
        search(few_digits, tmp_path / "tuned", trials=1, arch=tuned)
    with locked(folder), pytest.raises(OutputError, match="in use"):
        search(few_digits, folder, trials=1)
    (folder / STUDY_FILE).write_text("nonsense\n{}\n")
    with pytest.raises(InputError, match="damaged"):
        search(few_digits, folder, trials=1)


def test_importances_name_the_setting_that_decides(few_digits: Path, tmp_path: Path) -> None:
    vary = ("lr=1e-6..1e-1", "beta1=0.89..0.9")
    result = search(few_digits, tmp_path, trials=30, arch="softmax:epochs=1", vary=vary)
    assert sum(result.importances.values()) == pytest.approx(1)
    assert result.importances["lr"] > 0.8


def test_what_cannot_be_searched_is_refused_before_the_search(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arch, vary, cause in [
        ("softmax", "optimizer", "Muon is for matrices"),
        ("mlp", "batch_size=1,64", "normalizes over the batch"),
        ("fast:from=fast", "freeze=0,1,99", "--freeze is 99"),
    ]:
        with pytest.raises(UsageError, match=cause):
            search(few_digits, tmp_path, arch=arch, vary=(vary,))
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(EnvironmentFault, match=r"A search needs a package .*optuna") as fault:
        search(few_digits, tmp_path)
    assert "pip install '.[tune]'" in fault.value.remedy and not (tmp_path / STUDY_FILE).exists()
