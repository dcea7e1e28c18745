"""The file in which a search of settings keeps its trials: a study of the package optuna."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.atomic_write import faults_of, write_whole
from digitcli.comparison.runs import define_from_config
from digitcli.comparison.search_ranges import SearchRange
from digitcli.comparison.tuning_results import Objective, TunedTrial
from digitcli.data.dataset import Dataset
from digitcli.errors import InputError, UsageError
from digitcli.json_records import parse_record
from digitcli.optional_packages import import_packages
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    from optuna import Study

STUDY_NAME = "digitcli"
# What is kept with the study: how it searches, and each training, of which the first is that by the recipe.
SEARCH, RECIPE = "search", "recipe"
# Importances from fewer complete trials are noise, since they compare the best tenth with all of them.
TRIALS_FOR_IMPORTANCE = 20


def check_installed() -> None:
    """Check that the package optuna can be loaded.

    Raises:
        EnvironmentFault: it is missing.
    """
    import_packages("A search", "tune", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(file: Path, config: TrainConfig, objective: Objective) -> Study:
    """Return the study in a file, or a new one; its next trials are those that a killed search had begun.

    Raises:
        InputError: the file is damaged.
        OutputError: it cannot be written.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    try:
        with faults_of(file):
            _drop_incomplete_line(file)
            storage = JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))
            study = optuna.create_study(
                study_name=STUDY_NAME,
                storage=storage,
                pruner=optuna.pruners.MedianPruner(),
                direction="maximize" if objective == "accuracy" else "minimize",
                load_if_exists=True,
            )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}.", "Remove it, or name another folder.") from error
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    # A search that goes on must not choose the same values again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    return study


def _drop_incomplete_line(file: Path) -> None:
    """Drop the part of a line with which a killed search ended, since optuna would continue that line."""
    if file.exists() and not (content := file.read_bytes()).endswith(b"\n"):
        write_whole(file, content[: content.rfind(b"\n") + 1])


def check_same_search(
    study: Study,
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    ranges: Sequence[SearchRange],
    objective: Objective,
) -> None:
    """Store how the study searches, or check that it goes on searching so.

    Raises:
        UsageError: it searches in another way.
    """
    definition = define_from_config(config)
    search = {
        "architecture": config.arch,
        "recipe": dict(config.recipe),
        "teacher": list(definition.teacher),
        "start model": definition.start,
        "original data": definition.original,
        "corrections": definition.corrections,
        "fonts": definition.fonts,
        "pretrained weights": config.pretrained,
        "time": config.time_seconds,
        "seed": config.seed,
        "dataset": dataset.digest,
        "objective": objective,
        "ranges": [[each.setting, *each.ends()] for each in ranges],
    }
    stored = study.user_attrs.get(SEARCH)
    if stored is None:
        study.set_user_attr(SEARCH, search)
    elif stored.get("seed") != config.seed:
        cause = f"{folder} has a search that another version of digitcli began."
        raise UsageError(cause, "Name another folder with --out.")
    elif changed := [name for name, value in search.items() if stored.get(name) != value]:
        cause = f"{folder} has a search with another {' and another '.join(changed)}."
        raise UsageError(cause, "Repeat its command, or name another folder with --out.")


def finished_trials(study: Study) -> list[TunedTrial]:
    """Return the trials of a study that ended, in their order.

    Raises:
        InputError: one of them is damaged.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [parse_trial(trial.user_attrs.get(RECIPE)) for trial in trials]


def parse_trial(record: Any) -> TunedTrial:
    """Return a trial that was kept with a study.

    Raises:
        InputError: it is damaged.
    """
    try:
        trial: TunedTrial = parse_record(record, TunedTrial)
    except ValueError as error:
        raise InputError(f"A trial of the search is damaged: {error}.", "Name another folder.") from error
    return trial


def importances(study: Study, trials: Sequence[TunedTrial]) -> dict[str, float]:
    """Return how much each setting decides (Watanabe et al., "PED-ANOVA", 2023)."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if sum(trial.state == "complete" for trial in trials) < TRIALS_FOR_IMPORTANCE:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
