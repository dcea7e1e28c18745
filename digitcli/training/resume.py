"""Resume a run: check which settings change, and restore the saved state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import Recipe, stored_recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.errors import ModelError, UsageError, counted
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import MODEL_FILE, library_versions
from digitcli.settings import option_name
from digitcli.training.configuration import TrainConfig
from digitcli.training.run_folder import Saved
from digitcli.training.state import TrainingState, TrainResult
from digitcli.training.task import TrainingTask

# The settings that may change when a run is resumed; of its recipe, only the epochs may change.
CHANGEABLE = (
    "data",
    "teacher",
    "start",
    "device",
    "threads",
    "corrections",
    "fonts",
    "time_seconds",
    "patience",
)

# Of these, an ensemble keeps two, and it keeps its epochs, so that all of its members are trained alike.
FIXED_IN_ENSEMBLES = ("time_seconds", "patience")


def run_recipe(config: TrainConfig, saved: Saved | None) -> Recipe:
    """Return the recipe of a run; a resumed run keeps its own, except for the epochs.

    Raises:
        ModelError: the saved recipe is damaged.
    """
    recipe = resolve_recipe(config.arch, **config.recipe)
    if saved is None:
        return recipe
    try:
        saved_recipe = stored_recipe(saved[0].recipe)
    except (TypeError, UsageError) as error:
        raise ModelError(f"The saved recipe is damaged: {error}.", "Start a new run.") from error
    return replace(saved_recipe, epochs=recipe.epochs) if "epochs" in config.recipe else saved_recipe


def merge_changes(stored: TrainConfig, saved: Saved | None, changes: Mapping[str, Any]) -> TrainConfig:
    """Return the stored settings of a run with these changes.

    Raises:
        UsageError: a change would make it another run, or has fewer epochs than are done.
    """
    recipe_changes = changes.get("recipe", {})
    of_run = {name: value for name, value in changes.items() if name != "recipe"}
    is_ensemble = stored.members is not None
    free = [name for name in CHANGEABLE if not (is_ensemble and name in FIXED_IN_ENSEMBLES)]
    chosen = resolve_recipe(stored.arch, **stored.recipe)
    recipe = run_recipe(replace(stored, recipe={}), saved) if saved else chosen
    before = {**vars(recipe), **vars(stored)}
    same_dtype = recipe_changes.get("dtype") == chosen.dtype  # "auto", which the saved recipe has replaced
    free += ["epochs"] * (not is_ensemble) + ["dtype"] * same_dtype
    refused = [
        name for name, value in {**of_run, **recipe_changes}.items()
        if name not in free and value != before.get(name)
    ]  # fmt: skip
    if refused:
        options = ", ".join(f"{option_name(name)} ({before.get(name)})" for name in refused)
        cause = f"This run was started with another {options}."
        raise UsageError(cause, "Leave that out, or start a new run.")
    epochs_done = saved[0].training["epoch"] if saved else 0
    if recipe_changes.get("epochs", epochs_done) < epochs_done:
        cause = f"This run has done {counted(epochs_done, 'epoch')} already."
        raise UsageError(cause, f"Choose --epochs {epochs_done} or more.")
    return replace(stored, **of_run, recipe={**stored.recipe, **recipe_changes})


def options_without_effect(stored: TrainConfig, recipe: Recipe, changes: Mapping[str, Any]) -> list[str]:
    """Return the options that ask for another run than one with these settings, which is finished."""
    of_run = [name for name in CHANGEABLE if changes.get(name, ...) not in (..., getattr(stored, name))]
    of_recipe = [] if changes.get("recipe", {}).get("epochs", recipe.epochs) == recipe.epochs else ["epochs"]
    return [option_name(name) for name in (*of_run, *of_recipe)]


def restore_state(
    state: TrainingState, saved: Saved, task: TrainingTask, patience: int | None, on_event: OnEvent
) -> None:
    """Set the state to the saved one, and report what may make the result differ.

    Raises:
        UsageError: the data or the teachers are not those that the run began with.
        ModelError: the saved state is damaged.
    """
    header, tensors = saved
    check_same_data(header.dataset, task)
    check_same_models("teacher", "--teacher", header.teacher, task.header.get("teacher", {}))
    state.restore({name: value for name, value in header.training.items() if name != "config"}, tensors)
    changed = [name for name, version in library_versions().items() if header.versions.get(name) != version]
    if changed:
        versions = ", ".join(f"{name} {header.versions.get(name)}" for name in changed)
        on_event(Notice(f"This run began with {versions}; its weights may end slightly different."))
    if patience is not None and state.history and state.best is None:
        if state.step == 0:  # the weights are still those of the last epoch, which may be the best
            state.keep_best()
        if state.best is None:
            cause = f"The weights of epoch {state.best_epoch()}, the best so far, were not kept"
            consequence = "if no later epoch is better, the model has the weights of the last one."
            on_event(Notice(f"{cause}; {consequence}"))


def check_same_data(stored: Mapping[str, Any], task: TrainingTask) -> None:
    """Check that the data of a task have the digests that were stored.

    Raises:
        UsageError: a digest differs.
    """
    digests = {"digest": task.digest, "corrections": None, "fonts": None, "original": None, **task.sources}
    if any(stored.get(name) != digest for name, digest in digests.items()):
        kinds = "the networks that choose hard negatives, corrections, original data or fonts"
        cause = f"The digits of '{task.name}', {kinds} are not those this run began with."
        raise UsageError(cause, "Start a new run.")


def check_same_models(role: str, option: str, stored: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Check that the digests of models that a run learns from are those that were stored.

    role: what the models are for the run.
    stored, given: their names, which may differ, with their digests.

    Raises:
        UsageError: a digest differs.
    """
    if list(stored.values()) != list(given.values()):
        began, now = (", ".join(models) or "none" for models in (stored, given))
        cause = f"This run began with the {role} {began}, but its {role} is now {now}."
        raise UsageError(cause, f"Name that one with {option}, or start a new run.")


def read_result(saved: Saved, folder: Path) -> TrainResult | None:
    """Return the result of a finished run, or None.

    Raises:
        ModelError: the result is damaged.
    """
    training = saved[0].training
    result = training.get("result")
    if not result:
        return None
    places = {"run": str(folder), "checkpoint": str(folder / MODEL_FILE)}
    try:
        misread = None if result.get("misread") is None else tuple(result["misread"])
        data = training["config"]["data"]
        return TrainResult(**{"data": data, **result, "misread": misread, "members": (), **places})
    except (TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"The saved result is damaged: {error}.", "Start a new run.") from error
