"""The state of a run, as a checkpoint holds it, and how a run resumes from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe, stored_recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.errors import ModelError, UsageError, counted
from digitcli.events import EpochDone, Notice, OnEvent
from digitcli.inference.checkpoint import MODEL_FILE, Header, library_versions
from digitcli.settings import option_name
from digitcli.training.configuration import TrainConfig
from digitcli.training.task import TrainingTask

Saved = tuple[Header, dict[str, Tensor]]  # what `resume.safetensors` holds
# The settings that may change when a run is resumed; of its recipe, only the epochs may change.
CHANGEABLE = (
    "data", "teacher", "start", "device", "threads", "corrections", "fonts", "time_seconds", "patience",
)  # fmt: skip
# Of these, an ensemble keeps two, and it keeps its epochs, so that all of its members are trained alike.
FIXED_IN_ENSEMBLES = ("time_seconds", "patience")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run. Accuracies are fractions from 0 to 1. None, as in a dry run, is not measured."""

    architecture: str  # "ensemble" for several networks
    run: str | None  # the run folder
    checkpoint: str | None  # the file of the model
    seed: int
    epochs: float  # of all members; with a fraction if a time limit ended the last one
    train_seconds: float  # of the steps, validations and saves, and of synthetic characters before them
    total_seconds: float  # of the whole command, with loading and testing
    validation_accuracy: float  # of the chosen weights
    test_size: int | None = None  # the number of test examples
    test_accuracy: float | None = None
    test_nll: float | None = None  # the negative log-likelihood, in nats
    test_ece: float | None = None  # the expected calibration error, a fraction
    temperature: float = 1.0  # the divisor of the logits that calibrates the confidence
    parameters: int
    trained_parameters: int | None = None  # the number of those that are not frozen; None for an ensemble
    device: str
    dtype: str  # in which the network was trained
    unreadable: int  # the number of files of the dataset that could not be read
    data: str  # the name or path of the dataset
    misread: tuple[int, ...] | None = None  # indices of test examples read wrongly; None for an ensemble
    members: tuple[TrainResult, ...] = ()  # of an ensemble
    best_member: int | None = None  # the index of the member with the highest test accuracy
    gained: int | None = None  # the number of test examples that only the ensemble reads correctly,
    lost: int | None = None  # and that only this member does
    start: str | None = None  # the start model, with the beginning of its digest
    test_accuracy_before: float | None = None  # of that model; None if it is not there any more
    original: str | None = None  # the dataset that it was trained on, if that is known and is not `data`
    original_accuracy: float | None = None  # of the trained model on the test examples of that dataset,
    original_accuracy_before: float | None = None  # and of the start model
    original_test_size: int | None = None  # the number of these


@dataclass
class TrainingState:
    """Everything that changes while a network is trained.

    It holds no random state: the order of the examples, the augmentation and dropout follow from the seed,
    the epoch and the step.
    """

    network: nn.Module
    average: nn.Module | None  # the exponential moving average of the weights, if the recipe asks for one
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # the number of complete epochs
    step: int = 0  # the number of steps taken in the current epoch,
    steps_total: int = 0  # and in all epochs
    loss_sum: float = 0.0  # of the current epoch's steps
    seconds: float = 0.0  # the training time so far
    history: list[EpochDone] = field(default_factory=list)  # the figures of the complete epochs
    best: dict[str, Tensor] | None = None  # the weights of the best epoch, if `patience` asks for them
    result: TrainResult | None = None  # of the run, once it is finished
    stop: int | None = None  # the signal that any of several processes received before the last step

    def weights(self) -> nn.Module:
        """Return the network whose weights are validated and kept: the average, if there is one."""
        return self.network if self.average is None else self.average

    def best_epoch(self) -> int:
        """Return the number of the first epoch with the best validation accuracy, or 0 before the first."""
        accuracies = [row.validation_accuracy for row in self.history]
        return accuracies.index(max(accuracies)) + 1 if accuracies else 0

    def chosen_epoch(self) -> EpochDone:
        """Return the epoch whose weights the model has: the best if its weights are kept, else the last."""
        return self.history[-1 if self.best is None else self.best_epoch() - 1]

    def keep_best(self) -> None:
        """Copy the weights if the last epoch is better than all before it."""
        if self.best_epoch() == len(self.history):
            weights = self.weights().state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def counters(self) -> dict[str, Any]:
        """Return the numbers of the state, which a checkpoint holds in its JSON header."""
        numbers = ("epoch", "step", "steps_total", "loss_sum", "seconds")
        return {
            **{name: getattr(self, name) for name in numbers},
            "history": [dataclasses.asdict(row) for row in self.history],
            "result": dataclasses.asdict(self.result) if self.result else None,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state by unique names, without any tensor twice."""
        groups: dict[str, dict[str, Any]] = {"network": self.network.state_dict()}
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        if self.best is not None:
            groups["best"] = self.best
        for index, slots in self.optimizer.state_dict()["state"].items():
            groups[f"optimizer.{index}"] = slots
        return {
            f"{group}.{name}": value
            for group, values in groups.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def restore(self, counters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Set the state to the results of `counters` and `tensors`.

        Raises:
            ModelError: The counters or tensors belong to another network.
        """
        try:
            self.network.load_state_dict(_group(tensors, "network"))
            if self.average is not None:
                self.average.load_state_dict(_group(tensors, "average"))
            self.best = _group(tensors, "best") or None
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": _slots(tensors)})
            self._match_strides()
            for name, value in counters.items():
                setattr(self, name, value)
            self.history = [EpochDone(**row) for row in counters["history"]]
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            cause = f"The saved state does not fit this run: {error}."
            raise ModelError(cause, "Start a new run.") from error

    def _match_strides(self) -> None:
        """Give the tensors of the optimizer the strides of their parameters, which fused optimizers need."""
        for parameter, slots in self.optimizer.state.items():
            for name, value in slots.items():
                if value.shape == parameter.shape:
                    slots[name] = torch.empty_like(parameter).copy_(value)


def model_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the model from the tensors of a state.

    They are the weights of the best epoch if they are kept, else the average, else the network.
    """
    for group in ("best", "average", "network"):
        if weights := _group(tensors, group):
            return weights
    return {}


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = group + "."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _slots(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _group(tensors, "optimizer").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = tensor
    return slots


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
