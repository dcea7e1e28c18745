"""Everything a run needs before its first step: data, network, optimizer, and a saved state taken over."""

from __future__ import annotations

import dataclasses
import functools
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.model_surgery import initialize, set_stochastic_depth
from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import TORCHVISION, create_model, find_architecture, resolve_recipe
from digitcli.data.dataset import describe_failures
from digitcli.data.loading import find_dataset, load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_SETS
from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import MODEL_FILE, Header
from digitcli.inference.devices import agrees_with_cpu, describe_device
from digitcli.settings import option_name
from digitcli.synthesis.line_folders import is_line_folder
from digitcli.training.configuration import TrainConfig
from digitcli.training.cuda_graphs import GraphedUpdate, check_graphs
from digitcli.training.digit_task import DigitMaterial
from digitcli.training.distributed import ALONE, Processes, device_of_process
from digitcli.training.events import Notice, OnEvent, RunStarted, TrainResult
from digitcli.training.line_sources import ComposedLines, StoredLines
from digitcli.training.line_task import WORKERS, LineMaterial
from digitcli.training.muon import check_muon
from digitcli.training.optimization import (
    bfloat16_where_asked,
    create_average,
    create_optimizer,
    step_on,
)
from digitcli.training.precision import choose_dtype
from digitcli.training.run_folder import Saved
from digitcli.training.state import TrainingState
from digitcli.training.task import Material
from digitcli.training.validation import check_data_settings

DRAWN_FOR_A_BATCH = 0.02
StopSignal = Callable[[], int | None]
SHARE_TO_MEASURE = 0.1  # of the time there is, for what to compute in
MAY_CHANGE = (
    "data",
    "device",
    "time_seconds",
    "patience",
    "strokes",
    "fonts",
    "cuda_graphs",
)  # in a run that goes on; of its recipe, the epochs


@dataclass(frozen=True)
class Session:
    """What stays the same while a run trains."""

    config: TrainConfig
    recipe: Recipe
    material: Material
    device: torch.device
    folder: Path | None
    on_event: OnEvent
    stop_signal: StopSignal
    processes: Processes = ALONE
    graphed: GraphedUpdate | None = None  # takes the steps, where they are recorded

    def progress(self, state: TrainingState) -> float:
        """How far training is, from 0 to 1: by the clock where there is a time, else by steps.

        Where both a time and a number of epochs were chosen, whichever is further.
        """
        steps = self.material.steps
        by_steps = (state.epoch * steps + state.step) / (self.recipe.epochs * steps)
        if self.config.time_seconds is None:
            return by_steps
        by_clock = min(1.0, state.seconds / self.config.time_seconds)
        return max(by_steps, by_clock) if "epochs" in self.config.recipe else by_clock

    @functools.cached_property
    def train_hashes(self) -> Tensor | None:
        """See `Material.hashes`."""
        return self.material.hashes()

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
            dataset=describe(self.material),
            metrics=metrics,
            temperature=state.result.temperature if state.result else 1.0,
            versions=library_versions(),
            **self.material.header,
            training={"config": dataclasses.asdict(self.config), **state.counters()},
        )

    def describe(self) -> dict[str, Any]:
        """What `config.json` holds: the choices and all that followed from them."""
        return {
            "config": dataclasses.asdict(self.config),
            "recipe": dataclasses.asdict(self.recipe),
            "dataset": describe(self.material),
            "device": describe_device(self.device),
            "versions": library_versions(),
        }


def prepare(
    config: TrainConfig,
    folder: Path | None,
    saved: Saved | None,
    on_event: OnEvent,
    stop_signal: StopSignal,
    processes: Processes = ALONE,
) -> tuple[Session, TrainingState]:
    """Load the data, build the network on its device, take over a saved state, and report the start.

    Raises:
        UsageError: a value that cannot be meant, or other data than those of the saved state.
        InputError, EnvironmentFault, ModelError: data, device or saved state cannot be used.
    """
    recipe = _recipe(config, saved)
    device = device_of_process(config.device)
    if config.data in PUBLISHED_SETS:
        on_event(Notice(f"Loading '{config.data}'; the first time it is fetched, which can take a while."))
    task = find_architecture(config.arch).task
    check_choices(config, recipe, device, processes.size)
    torch.manual_seed(config.seed)
    network = begin_network(config.arch, recipe, config.pretrained and saved is None)
    if saved is None:
        check_muon(config.arch, network, recipe)
    if device.type == "mps" and not agrees_with_cpu(network, device, task):
        on_event(Notice("MPS computes other logits than the CPU on this machine; the CPU is used instead."))
        device = torch.device("cpu")
    shown = recipe
    if folder is None and processes.size == 1:  # a dry run: one batch
        shown = replace(recipe, synthetic=min(recipe.synthetic, DRAWN_FOR_A_BATCH))
    material = _material(config, shown, task, device, WORKERS if folder else 0, processes)
    if material.batch_size % processes.size:
        cause = f"A batch of {material.batch_size} has no equal shares for {processes.size} processes."
        raise UsageError(cause, f"Take a --batch-size that is a multiple of {processes.size}.")
    _check_share(config.arch, network, material.batch_size, processes.size)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    measuring = time.perf_counter()
    if recipe.dtype == "auto":
        patience = SHARE_TO_MEASURE * (config.time_seconds or math.inf)
        recipe = _decide_dtype(recipe, network, material, device, processes, on_event, patience)
    seconds = time.perf_counter() - measuring
    if config.time_seconds is not None and seconds > config.time_seconds:
        on_event(Notice("To measure that took all of --time, and nothing is learnt; give --dtype float32."))
    optimizer = create_optimizer(network, recipe, config.cuda_graphs)
    state = TrainingState(network, create_average(network, recipe), optimizer)
    state.seconds = processes.of_leader(seconds)  # what touches the digits counts
    if saved:
        _take_over(state, saved, material, on_event)
        if config.patience is not None and not state.has_best():
            lost = f"Epoch {state.best_epoch()} is the best so far, but its weights were not kept"
            on_event(Notice(f"{lost}: where none is better, the last epoch is the model."))
    graphed = _graphed(state, recipe, material, device) if config.cuda_graphs else None
    session = Session(config, recipe, material, device, folder, on_event, stop_signal, processes, graphed)
    _report_start(session, state)
    return session, state


def check_choices(config: TrainConfig, recipe: Recipe, device: torch.device, processes: int = 1) -> None:
    """Whether all that was chosen for a run goes together.

    Raises:
        UsageError: it does not.
    """
    task = find_architecture(config.arch).task
    check_data_settings(config, recipe)
    check_graphs(config, recipe, device, task, processes)
    if task == "line" and recipe.augment:
        raise UsageError("Lines are composed with all their variety.", "Leave --augment out.")
    if (recipe.loss == "ctc") != (task == "line"):
        raise UsageError(f"The loss {recipe.loss} is not for {task}s.", "Leave the loss to the recipe.")


def begin_network(arch: str, recipe: Recipe, pretrained: bool = False) -> nn.Module:
    """The network of a run before its first step, from the global random numbers.

    Raises:
        UsageError: it cannot be built, or not be trained by that recipe.
        ModelError, EnvironmentFault: as `create_model`.
    """
    network = create_model(arch, **built_with(recipe), **({"pretrained": True} if pretrained else {}))
    initialize(network, recipe.initialization)
    set_stochastic_depth(network, recipe.stochastic_depth or 0.0)
    _check_share(arch, network, recipe.batch_size)
    return network


def _check_share(arch: str, network: nn.Module, digits: int, processes: int = 1) -> None:
    """Whether a network can be trained on so many digits at a time, shared by so many processes.

    Raises:
        UsageError: it cannot.
    """
    over_digits = _BatchNorm if arch.startswith(TORCHVISION) else nn.BatchNorm1d  # of maps of one pixel too
    if digits < 2 * processes and any(isinstance(layer, over_digits) for layer in network.modules()):
        remedy = f"Take --batch-size {2 * processes} or more."
        raise UsageError(f"Architecture '{arch}' normalizes over the batch.", remedy)


def _graphed(state: TrainingState, recipe: Recipe, material: Material, device: torch.device) -> GraphedUpdate:
    assert isinstance(material, DigitMaterial)  # `check_graphs` has seen to it

    def update(indices: Tensor) -> Tensor:
        with bfloat16_where_asked(device, recipe):
            loss = material.loss_of(state.network, indices)
        loss.backward()
        step_on(state.network, state.optimizer, recipe)
        return loss.detach()

    return GraphedUpdate(update)


def _material(
    config: TrainConfig, recipe: Recipe, task: str, device: torch.device, workers: int, processes: Processes
) -> Material:
    path = find_dataset(config.data)
    if task == "line" and path is not None and is_line_folder(path):
        if config.strokes is not None:
            raise UsageError(f"{config.data} holds lines that are written already.", "Leave --strokes out.")
        return LineMaterial(StoredLines(path, config.seed), recipe, device, workers, processes)
    dataset = load_dataset(config.data)
    if task == "line":
        lines = ComposedLines(dataset, config.strokes, config.seed)
        return LineMaterial(lines, recipe, device, workers, processes)
    return DigitMaterial(config, recipe, dataset, device, processes)


def _recipe(config: TrainConfig, saved: Saved | None) -> Recipe:
    """The recipe of a run; one that goes on keeps that which it began with, but for the epochs chosen."""
    recipe = resolve_recipe(config.arch, **config.recipe)
    if saved is None:
        return recipe
    try:
        begun = Recipe(**saved[0].recipe)
    except (TypeError, UsageError) as error:
        raise ModelError(f"The saved recipe is damaged: {error}.", "Start a new run.") from error
    return replace(begun, epochs=recipe.epochs) if "epochs" in config.recipe else begun


def _decide_dtype(
    recipe: Recipe,
    network: nn.Module,
    material: Material,
    device: torch.device,
    processes: Processes,
    on_event: OnEvent,
    patience: float,
) -> Recipe:
    dtype, ratio = choose_dtype(network, material, device, patience)
    faster = processes.of_leader(float(dtype == "bfloat16")) > 0
    dtype = "bfloat16" if faster else "float32"
    measured = f"bfloat16 is {ratio:.2f} times as fast as float32" if ratio else "no bfloat16"
    on_event(Notice(f"Trains in {dtype}: {measured} on {describe_device(device)}.", routine=True))
    return replace(recipe, dtype=dtype)


def _take_over(state: TrainingState, saved: Saved, material: Material, on_event: OnEvent) -> None:
    """Go on from a saved state, and say what keeps it from being bit for bit."""
    header, tensors = saved
    same = {"digest": material.digest, "fonts": None, **material.sources}
    if any(header.dataset.get(name) != digest for name, digest in same.items()):
        raise UsageError(
            f"The digits of '{material.name}', the strokes or the fonts are not those this run began with.",
            "Start a new run.",
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
    if not result:
        return None
    here = {"run": str(folder), "checkpoint": str(folder / MODEL_FILE)}
    try:
        misread = result.get("misread")
        kept = {"misread": None if misread is None else tuple(misread)}
        return TrainResult(**{"data": saved[0].training["config"]["data"], **result, **kept, **here})
    except (TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"The saved result is damaged: {error}.", "Start a new run.") from error


def merge(stored: TrainConfig | None, saved: Saved | None, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a run that goes on: the stored one, with what may be changed changed.

    Raises:
        UsageError: a change that would make it another run, or fewer epochs than are done.
    """
    if stored is None:
        return TrainConfig(**changes)
    recipe = changes.get("recipe", {})
    resolved = resolve_recipe(stored.arch, **stored.recipe)
    begun = _recipe(replace(stored, recipe={}), saved) if saved else resolved
    whole = dataclasses.asdict(begun)
    fixed = [name for name in changes if name not in (*MAY_CHANGE, "recipe")]
    refused = [name for name in fixed if changes[name] != getattr(stored, name)]
    same = {name for name in recipe if recipe[name] == whole.get(name)} | {"epochs"}
    if recipe.get("dtype") == resolved.dtype:  # auto, before it was measured
        same |= {"dtype"}
    refused += [name for name in recipe if name not in same]
    if refused:
        listed = ", ".join(option_name(name) for name in refused)
        raise UsageError(
            f"This run was started with another {listed}.", "Leave that out, or start a new run."
        )
    done = saved[0].training["epoch"] if saved else 0
    if recipe.get("epochs", done) < done:
        raise UsageError(f"This run has done {done} epochs already.", f"Take --epochs {done} or more.")
    kept = {name: value for name, value in changes.items() if name in MAY_CHANGE}
    return replace(stored, **kept, recipe={**stored.recipe, **recipe})


def built_with(recipe: Recipe) -> dict[str, Any]:
    """The arguments that a recipe gives to the architecture."""
    arguments: dict[str, Any] = {} if recipe.dropout is None else {"dropout": recipe.dropout}
    if recipe.normalization not in (None, "batch"):
        arguments["normalization"] = recipe.normalization
    return arguments


def describe(material: Material) -> dict[str, Any]:
    """A dataset as a header names it."""
    return {"name": material.name, "digest": material.digest, **material.sizes, **material.sources}


def library_versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    return {name: version(name) for name in ("digitcli", "torch", "numpy")} | {
        "python": platform.python_version()
    }


def count_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _report_start(session: Session, state: TrainingState) -> None:
    if session.material.failures:
        listed = describe_failures(session.material.failures)
        session.on_event(Notice(f"Left out of '{session.config.data}': {listed}"))
    session.on_event(
        RunStarted(
            config=session.config,
            recipe=session.recipe,
            run=session.folder,
            device=describe_device(session.device),
            parameters=count_parameters(state.network),
            unit=session.material.unit,
            train_size=session.material.sizes["train"],
            validation_size=session.material.sizes["validation"],
            test_size=session.material.sizes["test"],
            epochs_done=state.epoch,
        )
    )
