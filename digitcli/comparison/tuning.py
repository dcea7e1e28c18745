"""Search the settings of a recipe on the validation digits; the test digits are never read.

Bergstra et al., "Algorithms for hyper-parameter optimization", 2011, by the package optuna
(Akiba et al. 2019).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.architectures.registry import resolve_recipe
from digitcli.atomic_write import faults_of
from digitcli.comparison.runs import check_trainable
from digitcli.comparison.search_ranges import SearchRange
from digitcli.comparison.specification import Specification
from digitcli.comparison.study import (
    RECIPE,
    check_installed,
    check_same_search,
    finished_trials,
    importances,
    open_study,
    parse_trial,
)
from digitcli.comparison.tuning_results import Objective, State, TrialDone, TunedTrial, Tuning
from digitcli.data.dataset import Dataset
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, Interrupted, UsageError
from digitcli.evaluation.splits import take_split
from digitcli.events import EpochDone, Event, Notice
from digitcli.inference.checkpoint import RUNS
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import train_epoch
from digitcli.training.run_folder import locked
from digitcli.training.setup import StopSignal, prepare
from digitcli.training.trainer import separate_random_numbers

if TYPE_CHECKING:
    from optuna import Study

OUT = RUNS / "tune"
STUDY_FILE = "study.jsonl"
CONTINUE = "Run the same command again to continue."
# `compare` trains with the seeds from 0 on, so that it never repeats the training that was the best of many.
SEED = 1_000_000


@dataclass(frozen=True)
class _Search:
    """What all trainings of a search have in common."""

    config: TrainConfig
    dataset: Dataset
    on_event: Callable[[Event | TrialDone], None]
    stop_signal: StopSignal

    def train(
        self,
        number: int,
        settings: dict[str, Any],
        is_hopeless: Callable[[EpochDone], bool] = lambda epoch: False,
    ) -> TunedTrial:
        """Train with some settings, until an epoch is hopeless.

        Raises:
            Interrupted: `stop_signal` returned a number.
            The errors of `train`, except those of the run folder.
        """
        config = replace(self.config, recipe={**self.config.recipe, **settings})
        outcome: State = "complete"
        with separate_random_numbers(config):
            setup, state = prepare(config, None, None, self.on_event, self.stop_signal, dataset=self.dataset)
            started = time.perf_counter()
            try:
                while not state.history or not setup.is_over(state):
                    train_epoch(setup, state, started)
                    if not setup.is_over(state) and is_hopeless(state.history[-1]):
                        outcome = "pruned"
                        break
            except DivergedError:
                outcome = "diverged"
            except Interrupted as error:
                raise Interrupted(error.exit_code - 128, "The search has stopped.", CONTINUE) from error
        last = state.history[-1] if state.history else None
        return TunedTrial(
            number=number,
            settings=settings,
            accuracy=last.validation_accuracy if last else None,
            loss=last.validation_loss if last else None,
            epochs=len(state.history),
            seconds=state.seconds,
            state=outcome,
        )


def tune(
    specification: Specification,
    ranges: Sequence[SearchRange],
    folder: Path,
    *,
    trials: int,
    objective: Objective = "accuracy",
    on_event: Callable[[Event | TrialDone], None] = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> Tuning:
    """Train by the recipe, and then `trials` times with settings that a search chooses.

    The first ten trials are random; later ones follow the better of the earlier ones (tree-structured Parzen
    estimator). A trial is pruned after an epoch in which it is worse than the median of the earlier ones. The
    folder keeps every trial, and the same call continues the search where it stopped.

    Raises:
        EnvironmentFault: the package optuna is missing.
        UsageError: the folder has a search of another architecture, other ranges, data, models or objective,
            or the network cannot be trained with a value of a range.
        InputError: the data or the file of the search cannot be read.
        OutputError: the folder is in use or cannot be written.
        DivergedError: the training by the recipe diverged.
        Interrupted: `stop_signal` returned a number. The same call continues the search.
        The errors of `train`, except those of the run folder.
    """
    assert specification.config is not None, "a model that exists cannot be trained"
    config = replace(specification.config, seed=SEED)
    check_installed()
    dataset = load_dataset(config.data)
    _check_ends(config, ranges)
    search = _Search(config, dataset, on_event, stop_signal)
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        study = open_study(folder / STUDY_FILE, config, objective)
        check_same_search(study, folder, config, dataset, ranges, objective)
        recipe = _train_recipe(study, search, trials)
        done = finished_trials(study)
        while len(done) < trials:
            done.append(_run_trial(study, search, ranges, objective, len(done) + 1))
            best = min((recipe, *done), key=lambda trial: trial.rank(objective))
            on_event(TrialDone(done[-1], best, trials))
        shares = importances(study, done)
    return Tuning(
        specification=specification.label,
        data=config.data,
        validation_digits=len(take_split(dataset, "validation")),
        objective=objective,
        recipe=recipe,
        trials=tuple(sorted(done, key=lambda trial: trial.rank(objective))),
        importances=shares,
        folder=str(folder),
        recipe_settings=_recipe_settings(config, ranges),
    )


def _recipe_settings(config: TrainConfig, ranges: Sequence[SearchRange]) -> dict[str, Any]:
    recipe = resolve_recipe(config.arch, **config.recipe)
    return {each.setting: getattr(recipe, each.setting) for each in ranges}


def _check_ends(config: TrainConfig, ranges: Sequence[SearchRange]) -> None:
    """Check that the network can be trained with the choices, or the ends, of every range.

    Raises:
        UsageError: it cannot be trained with one of them.
    """
    for each in ranges:
        for value in each.ends():
            check_trainable(replace(config, recipe={**config.recipe, each.setting: value}))


def _train_recipe(study: Study, search: _Search, trials: int) -> TunedTrial:
    """Return the training by the recipe, which is the first of a search."""
    if RECIPE not in study.user_attrs:
        search.on_event(Notice("The first training has the recipe as it is; the trials follow."))
        trial = search.train(0, {})
        if trial.state == "diverged":
            raise DivergedError(
                "The training by the recipe diverged.", "Lower its learning rate: --arch NAME:lr=RATE"
            )
        study.set_user_attr(RECIPE, asdict(trial))
        search.on_event(TrialDone(trial, trial, trials))
    return parse_trial(study.user_attrs[RECIPE])


def _run_trial(
    study: Study, search: _Search, ranges: Sequence[SearchRange], objective: Objective, number: int
) -> TunedTrial:
    from optuna.trial import TrialState

    asked = study.ask()
    settings = {each.setting: each.suggest(asked) for each in ranges}

    def is_hopeless(epoch: EpochDone) -> bool:
        value = epoch.validation_accuracy if objective == "accuracy" else epoch.validation_loss
        asked.report(value, epoch.epoch)
        return asked.should_prune()

    try:
        trial = search.train(number, settings, is_hopeless)
    except UsageError as error:  # values within the ranges, which only together cannot be trained
        search.on_event(Notice(f"Trial {number} cannot be trained: {error.cause}"))
        trial = TunedTrial(number, settings, None, None, 0, 0.0, "invalid")
    asked.set_user_attr(RECIPE, asdict(trial))
    if trial.state == "complete":
        study.tell(asked, trial.accuracy if objective == "accuracy" else trial.loss)
    else:
        study.tell(asked, state=TrialState.PRUNED)
    return trial
