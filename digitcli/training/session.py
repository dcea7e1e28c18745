"""Everything a run needs before its first step: data, network, optimiser, and a saved state taken over."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.checkpoint import MODEL_FILE, Header
from digitcli.config import Recipe, TrainConfig, change, spoken
from digitcli.data.digits import Dataset, Splits, split
from digitcli.data.sources import load_dataset
from digitcli.data.torchvision_sets import PUBLISHED_SETS
from digitcli.devices import agrees_with_cpu, choose_device, describe_device
from digitcli.errors import ModelError, UsageError
from digitcli.registry import create_model, find_architecture, recipe_of
from digitcli.training.events import Notice, OnEvent, RunStarted, TrainResult
from digitcli.training.optimization import create_average, create_optimizer
from digitcli.training.run_folder import Saved
from digitcli.training.state import TrainingState

StopSignal = Callable[[], int | None]
MAY_CHANGE = (
    "data",
    "device",
    "time_seconds",
    "patience",
)  # in a run that goes on; of its recipe, the epochs


@dataclass(frozen=True)
class Session:
    """What stays the same while a run trains. `images` are uint8 (N, 28, 28), on the device."""

    config: TrainConfig
    recipe: Recipe
    dataset: Dataset
    splits: Splits
    images: Tensor
    labels: Tensor
    folder: Path | None
    on_event: OnEvent
    stop_signal: StopSignal

    @property
    def device(self) -> torch.device:
        """Where the network and the training digits are."""
        return self.images.device

    @property
    def batch_size(self) -> int:
        """Digits in a step."""
        return min(self.recipe.batch_size, len(self.labels))

    @property
    def steps(self) -> int:
        """Steps an epoch; digits that do not fill a batch wait for another epoch."""
        return len(self.labels) // self.batch_size

    def progress(self, state: TrainingState) -> float:
        """How far training is, from 0 to 1: by the clock where there is a time, else by steps.

        Where both a time and a number of epochs were chosen, whichever is further.
        """
        by_steps = (state.epoch * self.steps + state.step) / (self.recipe.epochs * self.steps)
        if self.config.time_seconds is None:
            return by_steps
        by_clock = min(1.0, state.seconds / self.config.time_seconds)
        return max(by_steps, by_clock) if "epochs" in self.config.recipe else by_clock

    @functools.cached_property
    def train_hashes(self) -> Tensor:
        """What resume files keep of the training digits (N,), so that evaluation can tell seen from new."""
        return torch.from_numpy(self.splits.train.hashes())

    def is_over(self, state: TrainingState) -> bool:
        """Whether the last step has been taken, or patience has run out."""
        patience = self.config.patience
        waited = len(state.history) - state.best_epoch()
        return self.progress(state) >= 1 or (patience is not None and waited >= patience)

    def header(self, state: TrainingState) -> Header:
        """What a checkpoint of this run says of itself."""
        metrics: dict[str, Any] = {}
        if state.history:
            accuracy = state.chosen_epoch().validation_accuracy
            metrics = {"validation_accuracy": accuracy, "epochs": len(state.history)}
        if state.result:
            kept = ("validation_accuracy", "test_accuracy", "test_nll", "test_ece", "epochs", "train_seconds")
            metrics = {name: getattr(state.result, name) for name in kept}
        return Header(
            architecture=self.config.arch,
            arguments=built_with(self.recipe),
            task=find_architecture(self.config.arch).task,
            recipe=dataclasses.asdict(self.recipe),
            seed=self.config.seed,
            dataset=describe(self.dataset, self.splits),
            metrics=metrics,
            temperature=state.result.temperature if state.result else 1.0,
            versions=library_versions(),
            training={"config": dataclasses.asdict(self.config), **state.counters()},
        )

    def describe(self) -> dict[str, Any]:
        """What `config.json` holds: the choices and all that followed from them."""
        return {
            "config": dataclasses.asdict(self.config),
            "recipe": dataclasses.asdict(self.recipe),
            "dataset": describe(self.dataset, self.splits),
            "device": describe_device(self.device),
            "versions": library_versions(),
        }


def prepare(
    config: TrainConfig,
    folder: Path | None,
    saved: Saved | None,
    on_event: OnEvent,
    stop_signal: StopSignal,
) -> tuple[Session, TrainingState]:
    """Load the data, build the network on its device, take over a saved state, and report the start.

    Raises:
        UsageError: a value that cannot be meant, or other data than those of the saved state.
        InputError, EnvironmentFault, ModelError: data, device or saved state cannot be used.
    """
    recipe = _recipe(config, saved)
    device = choose_device(config.device)
    if config.data in PUBLISHED_SETS:
        on_event(Notice(f"Loading '{config.data}'; the first time it is fetched, which can take a while."))
    dataset = load_dataset(config.data)
    splits = split(dataset)
    torch.manual_seed(config.seed)
    network = create_model(config.arch, **built_with(recipe))
    if recipe.batch_size == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in network.modules()):
        cause = f"Architecture '{config.arch}' normalises over the batch."
        raise UsageError(cause, "Take --batch-size 2 or more.")
    if device.type == "mps" and not agrees_with_cpu(network, device):
        on_event(Notice("MPS computes other logits than the CPU on this machine; the CPU is used instead."))
        device = torch.device("cpu")
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = TrainingState(network, create_average(network, recipe), create_optimizer(network, recipe))
    if saved:
        _take_over(state, saved, dataset, on_event)
    images = torch.from_numpy(splits.train.images).to(device)
    labels = torch.from_numpy(splits.train.labels).to(device)
    session = Session(config, recipe, dataset, splits, images, labels, folder, on_event, stop_signal)
    _report_start(session, state)
    return session, state


def _recipe(config: TrainConfig, saved: Saved | None) -> Recipe:
    """The recipe of a run; one that goes on keeps that which it began with, but for the epochs chosen."""
    recipe = recipe_of(config.arch, **config.recipe)
    if saved is None:
        return recipe
    try:
        begun = Recipe(**saved[0].recipe)
    except (TypeError, UsageError) as error:
        raise ModelError(f"The saved recipe is damaged: {error}.", "Start a new run.") from error
    return change(begun, epochs=recipe.epochs) if "epochs" in config.recipe else begun


def _take_over(state: TrainingState, saved: Saved, dataset: Dataset, on_event: OnEvent) -> None:
    """Go on from a saved state, and say what keeps it from being bit for bit."""
    header, tensors = saved
    if header.dataset.get("digest") != dataset.digest:
        raise UsageError(
            f"The digits of '{dataset.name}' are not those this run began with.", "Start a new run."
        )
    counters = {name: value for name, value in header.training.items() if name != "config"}
    state.restore(counters, tensors)
    changed = [name for name, value in library_versions().items() if header.versions.get(name) != value]
    if changed:
        listed = ", ".join(f"{name} {header.versions.get(name)}" for name in changed)
        on_event(Notice(f"This run began with {listed}; its weights may end a little different."))


def finished(saved: Saved, folder: Path) -> TrainResult | None:
    """The result of a run that is over, or None.

    Raises:
        ModelError: it is damaged.
    """
    result = saved[0].training.get("result")
    try:
        here = {"run": str(folder), "checkpoint": str(folder / MODEL_FILE)}
        return TrainResult(**{**result, **here}) if result else None
    except TypeError as error:
        raise ModelError(f"The saved result is damaged: {error}.", "Start a new run.") from error


def merge(stored: TrainConfig | None, saved: Saved | None, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a run that goes on: the stored one, with what may be changed changed.

    Raises:
        UsageError: a change that would make it another run, or fewer epochs than are done.
    """
    if stored is None:
        return TrainConfig(**changes)
    recipe = changes.get("recipe", {})
    whole = saved[0].recipe if saved else dataclasses.asdict(recipe_of(stored.arch, **stored.recipe))
    fixed = [name for name in changes if name not in (*MAY_CHANGE, "recipe")]
    refused = [name for name in fixed if changes[name] != getattr(stored, name)]
    refused += [name for name in recipe if name != "epochs" and recipe[name] != whole.get(name)]
    if refused:
        listed = ", ".join(spoken(name) for name in refused)
        raise UsageError(
            f"This run was started with another {listed}.", "Leave that out, or start a new run."
        )
    done = saved[0].training["epoch"] if saved else 0
    if recipe.get("epochs", done) < done:
        raise UsageError(f"This run has done {done} epochs already.", f"Take --epochs {done} or more.")
    kept = {name: value for name, value in changes.items() if name in MAY_CHANGE}
    return change(stored, **kept, recipe={**stored.recipe, **recipe})


def derive_seed(*parts: int) -> int:
    """A seed that follows from all parts, so that no random state need be kept."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def built_with(recipe: Recipe) -> dict[str, Any]:
    """The arguments that a recipe gives to the architecture."""
    return {} if recipe.dropout is None else {"dropout": recipe.dropout}


def describe(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """A dataset as a header names it."""
    parts = {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}
    return {"name": dataset.name, "digest": dataset.digest, **parts}


def library_versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    return {name: version(name) for name in ("digitcli", "torch", "numpy")} | {
        "python": platform.python_version()
    }


def count_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _report_start(session: Session, state: TrainingState) -> None:
    if session.dataset.failures:
        listed = session.dataset.describe_failures()
        session.on_event(Notice(f"Left out of '{session.config.data}': {listed}"))
    session.on_event(
        RunStarted(
            config=session.config,
            recipe=session.recipe,
            run=session.folder,
            device=describe_device(session.device),
            parameters=count_parameters(state.network),
            train_size=len(session.splits.train),
            validation_size=len(session.splits.validation),
            test_size=len(session.splits.test),
            epochs_done=state.epoch,
        )
    )
