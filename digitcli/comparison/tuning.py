"""Search the settings of a recipe on the validation digits; the test digits are never read.

Bergstra et al., "Algorithms for hyper-parameter optimization", 2011, by the package optuna (Akiba et al.
2019), whose study keeps every trial in a file.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from digitcli.architectures.registry import resolve_recipe
from digitcli.atomic_write import faults_of, write_whole
from digitcli.comparison.runs import check_trainable, define_from_config
from digitcli.comparison.specification import SearchRange, Specification
from digitcli.data.dataset import Dataset
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, InputError, Interrupted, UsageError, import_packages
from digitcli.evaluation.splits import take_split
from digitcli.events import EpochDone, Event, Notice
from digitcli.inference.checkpoint import RUNS
from digitcli.json_records import parse_record
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import train_epoch
from digitcli.training.run_folder import locked
from digitcli.training.setup import StopSignal, prepare
from digitcli.training.trainer import separate_random_numbers

if TYPE_CHECKING:
    from optuna import Study

OUT = RUNS / "tune"
STUDY_FILE, STUDY_NAME = "study.jsonl", "digitcli"
# What is kept with the study: how it searches, and each training, of which the first is that by the recipe.
SEARCH, RECIPE = "search", "recipe"
CONTINUE = "Run the same command again to continue."
# `compare` trains with the seeds from 0 on, so that it never repeats the training that was the best of many.
SEED = 1_000_000
# Importances from fewer complete trials are noise, since they compare the best tenth with all of them.
TRIALS_FOR_IMPORTANCE = 20

State = Literal["complete", "pruned", "diverged", "invalid"]


@dataclass(frozen=True)
class TunedTrial:
    """A training with some settings.

    number: the number of the trial, from 1; 0 for the recipe without changes.
    settings: what the search chose.
    accuracy, loss: those of the validation digits after the last epoch; None before the first.
    state: complete; pruned after an epoch that was worse than the median of the other trials; diverged; or
        invalid where the settings contradict each other, so that nothing was trained.
    """

    number: int
    settings: dict[str, Any]
    accuracy: float | None
    loss: float | None
    epochs: int
    seconds: float
    state: State

    def rank(self) -> tuple[bool, float]:
        """Return a key that sorts trials, the complete one with the highest accuracy first."""
        return self.state != "complete", math.inf if self.accuracy is None else -self.accuracy


@dataclass(frozen=True)
class TrialDone:
    """A trial, or the training by the recipe, is finished, and `total` trials are wanted.

    best: the best trial so far, or the recipe.
    """

    trial: TunedTrial
    best: TunedTrial
    total: int


OnEvent = Callable[[Event | TrialDone], None]


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    specification: the architecture, as `digitcli compare` takes it.
    data, validation_digits: the dataset, and the number of its digits that decided.
    trials: all trials, the best first; pruned and diverged ones come last.
    importances: for each setting the share of the spread of the trials that it explains; empty after few.
    recipe_settings: the values that the varied settings have in the recipe.
    """

    specification: str
    data: str
    validation_digits: int
    recipe: TunedTrial
    trials: tuple[TunedTrial, ...]
    importances: dict[str, float]
    folder: str
    recipe_settings: dict[str, Any]

    @property
    def best(self) -> TunedTrial | None:
        """The best trial, or None if none is better than the recipe."""
        first = min((self.recipe, *self.trials), key=TunedTrial.rank)
        return None if first is self.recipe else first

    @property
    def confirmation(self) -> list[str]:
        """The command that compares the best trial with the recipe over seeds; empty without a best one."""
        if self.best is None:
            return []
        changed = specification_with(self.specification, self.best.settings)
        data = [] if self.data == TrainConfig.data else ["--data", self.data]
        return ["digitcli", "compare", self.specification, changed, "--split", "validation", *data]

    def record(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        best = None if self.best is None else asdict(self.best)
        return {**asdict(self), "best": best, "confirmation": self.confirmation}


def specification_with(specification: str, settings: Mapping[str, Any]) -> str:
    """Return the specification of an architecture with further settings: `cnn:epochs=3,lr=0.002`."""
    switches = {True: "on", False: "off"}
    words = [
        f"{name}={switches[value] if isinstance(value, bool) else value}" for name, value in settings.items()
    ]
    return f"{specification}{',' if ':' in specification else ':'}{','.join(words)}"


@dataclass(frozen=True)
class _Search:
    """What all trainings of a search have in common."""

    config: TrainConfig
    dataset: Dataset
    ranges: Sequence[SearchRange]
    on_event: OnEvent
    stop_signal: StopSignal

    def train(
        self,
        number: int,
        settings: dict[str, Any],
        is_hopeless: Callable[[EpochDone], bool] = lambda epoch: False,
    ) -> TunedTrial:
        """Train with some settings, until an epoch is hopeless."""
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
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> Tuning:
    """Train by the recipe, and then `trials` times with settings that a search chooses.

    The first ten trials are random; later ones follow the better of the earlier ones (tree-structured Parzen
    estimator). A trial is pruned after an epoch in which it is worse than the median of the earlier ones. The
    folder keeps every trial, and the same call continues the search where it stopped.

    Raises:
        EnvironmentFault: the package optuna is missing.
        UsageError: the folder has a search of another architecture, other ranges, data or models, or the
            network cannot be trained with a value of a range.
        InputError: the data or the file of the search cannot be read.
        OutputError: the folder is in use or cannot be written.
        DivergedError: the training by the recipe diverged.
        Interrupted: `stop_signal` returned a number. The same call continues the search.
        The errors of `train`, except those of the run folder.
    """
    assert specification.config is not None, "a model that exists cannot be trained"
    config = replace(specification.config, seed=SEED)
    check_installed()
    from optuna.trial import TrialState

    dataset = load_dataset(config.data)
    for each in ranges:
        for value in each.ends():
            check_trainable(replace(config, recipe={**config.recipe, each.setting: value}))
    search = _Search(config, dataset, ranges, on_event, stop_signal)
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        study = _open_study(folder / STUDY_FILE)
        _check_same_search(study, folder, search)
        recipe = _train_recipe(study, search, trials)
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        done = [_parse_trial(each.user_attrs.get(RECIPE)) for each in study.get_trials(states=ended)]
        while len(done) < trials:
            done.append(_run_trial(study, search, len(done) + 1))
            on_event(TrialDone(done[-1], min((recipe, *done), key=TunedTrial.rank), trials))
        shares = _importances(study, done)
    recipe_values = resolve_recipe(config.arch, **config.recipe)
    return Tuning(
        specification=specification.label,
        data=config.data,
        validation_digits=len(take_split(dataset, "validation")),
        recipe=recipe,
        trials=tuple(sorted(done, key=TunedTrial.rank)),
        importances=shares,
        folder=str(folder),
        recipe_settings={each.setting: getattr(recipe_values, each.setting) for each in ranges},
    )


def _train_recipe(study: Study, search: _Search, trials: int) -> TunedTrial:
    """Return the training by the recipe, which is the first of a search."""
    if RECIPE not in study.user_attrs:
        search.on_event(Notice("The first training has the recipe as it is; the trials follow."))
        trial = search.train(0, {})
        if trial.state == "diverged":
            remedy = "Lower its learning rate: --arch NAME:lr=RATE"
            raise DivergedError("The training by the recipe diverged.", remedy)
        study.set_user_attr(RECIPE, asdict(trial))
        search.on_event(TrialDone(trial, trial, trials))
    return _parse_trial(study.user_attrs[RECIPE])


def _run_trial(study: Study, search: _Search, number: int) -> TunedTrial:
    from optuna.trial import TrialState

    asked = study.ask()
    settings = {each.setting: each.suggest(asked) for each in search.ranges}

    def is_hopeless(epoch: EpochDone) -> bool:
        asked.report(epoch.validation_accuracy, epoch.epoch)
        return asked.should_prune()

    try:
        trial = search.train(number, settings, is_hopeless)
    except UsageError as error:  # values within the ranges, which only together cannot be trained
        search.on_event(Notice(f"Trial {number} cannot be trained: {error.cause}"))
        trial = TunedTrial(number, settings, None, None, 0, 0.0, "invalid")
    asked.set_user_attr(RECIPE, asdict(trial))
    if trial.state == "complete":
        study.tell(asked, trial.accuracy)
    else:
        study.tell(asked, state=TrialState.PRUNED)
    return trial


def check_installed() -> None:
    """Check that the package optuna can be loaded.

    Raises:
        EnvironmentFault: it is missing.
    """
    import_packages("A search", "tune", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _open_study(file: Path) -> Study:
    """Return the study in a file, or a new one; its next trials are those that a killed search had begun.

    Raises:
        InputError: the file is damaged.
        OutputError: it cannot be written.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    try:
        with faults_of(file):
            if file.exists() and not (content := file.read_bytes()).endswith(b"\n"):
                # a killed search ended within a line, which optuna would continue
                write_whole(file, content[: content.rfind(b"\n") + 1])
            storage = JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))
            study = optuna.create_study(
                study_name=STUDY_NAME,
                storage=storage,
                pruner=optuna.pruners.MedianPruner(),
                direction="maximize",
                load_if_exists=True,
            )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}.", "Remove it, or name another folder.") from error
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    # A search that goes on must not choose the same values again.
    study.sampler = optuna.samplers.TPESampler(seed=SEED + len(study.trials))
    return study


def _check_same_search(study: Study, folder: Path, search: _Search) -> None:
    """Store how the study searches, or check that it goes on searching so.

    Raises:
        UsageError: it searches in another way.
    """
    config = search.config
    wanted = {
        **asdict(define_from_config(config)),
        "pretrained": config.pretrained,
        "time": config.time_seconds,
        "seed": config.seed,
        "dataset": search.dataset.digest,
        "ranges": [[each.setting, *each.ends()] for each in search.ranges],
    }
    wanted = json.loads(json.dumps(wanted))  # as the file of the study has it
    stored = study.user_attrs.get(SEARCH)
    if stored is None:
        study.set_user_attr(SEARCH, wanted)
    elif changed := [name for name, value in wanted.items() if stored.get(name) != value]:
        cause = f"{folder} has a search with another {' and another '.join(changed)}."
        raise UsageError(cause, "Repeat its command, or name another folder with --output.")


def _parse_trial(record: Any) -> TunedTrial:
    """Return a trial that was kept with a study."""
    try:
        trial: TunedTrial = parse_record(record, TunedTrial)
    except ValueError as error:
        raise InputError(f"A trial of the search is damaged: {error}.", "Name another folder.") from error
    return trial


def _importances(study: Study, trials: Sequence[TunedTrial]) -> dict[str, float]:
    """Return how much each setting decides (Watanabe et al., "PED-ANOVA", 2023); nothing after few trials."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if sum(trial.state == "complete" for trial in trials) < TRIALS_FOR_IMPORTANCE:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
