"""The preparation of a training run: data, network, optimizer, and the saved state of a resumed run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.compression import Change
from digitcli.architectures.model_surgery import freeze, initialize, set_stochastic_depth
from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import TORCHVISION, accepts_argument, create_model, find_architecture
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Dataset, describe_failures
from digitcli.data.loading import PUBLISHED_DATASETS, find_dataset, load_dataset
from digitcli.errors import UsageError
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import TRAIN_HASHES, Header, library_versions
from digitcli.inference.devices import agrees_with_cpu, describe_device
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import load_network
from digitcli.training.checks import check_config, check_single, resolve_teachers
from digitcli.training.configuration import RunStarted, TrainConfig
from digitcli.training.data_parallel import (
    ONE_PROCESS,
    LossFunction,
    Processes,
    average_gradients,
    device_of_process,
)
from digitcli.training.digit_task import DigitTask
from digitcli.training.gap_task import GAPS
from digitcli.training.line_task import WORKERS, LineTask
from digitcli.training.optimization import (
    SMALLEST_SIDE,
    choose_dtype,
    create_average,
    create_optimizer,
    is_large,
)
from digitcli.training.page_task import SQUARES
from digitcli.training.pools import POOL_FILE, StoredExamples
from digitcli.training.start_model import (
    OriginalDigits,
    check_start_model,
    describe_start,
    least_temperature,
    load_original,
)
from digitcli.training.state import Saved, TrainingState, restore_state, run_recipe
from digitcli.training.storages import STORAGES
from digitcli.training.task import SceneKind, SceneTask, TrainingTask

DRY_RUN_SYNTHETIC = 0.02  # synthetic characters at most for each training digit in a dry run, of one step
# The metrics of a finished run that a checkpoint's header contains; the others of one that had a start model.
STORED_METRICS = (
    "validation_accuracy", "test_accuracy", "test_nll", "test_ece", "epochs", "train_seconds",
)  # fmt: skip
METRICS_OF_TRANSFER = ("test_accuracy_before", "original_accuracy", "original_accuracy_before")

StopSignal = Callable[[], int | None]


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that stays the same while a network is trained."""

    config: TrainConfig
    recipe: Recipe
    task: TrainingTask
    device: torch.device
    folder: Path | None  # of the run; None in a dry run and in every process but the first
    on_event: OnEvent
    stop_signal: StopSignal  # returns the number of a signal that this process has received, or None
    loss: LossFunction  # returns the loss of a batch by its epoch, step and progress
    processes: Processes = ONE_PROCESS
    start: Mapping[str, Any] = field(default_factory=dict)  # the start model, as a header has it
    original: OriginalDigits | None = None  # the data of that model, if the run needs them
    compression: Sequence[Change] = ()  # the changes by which that model was compressed

    def progress(self, state: TrainingState) -> float:
        """Return the completed share of the run, from 0 to 1.

        It is the share of the steps, or of the time if the run has a time limit. A run with a time limit and
        a chosen number of epochs ends with whichever comes first.
        """
        steps = self.task.steps
        share_of_steps = (state.epoch * steps + state.step) / (self.recipe.epochs * steps)
        if self.config.time_seconds is None:
            return share_of_steps
        share_of_time = min(1.0, state.seconds / self.config.time_seconds)
        return max(share_of_steps, share_of_time) if "epochs" in self.config.recipe else share_of_time

    def is_over(self, state: TrainingState) -> bool:
        """Return whether the last step has been taken, or patience has run out."""
        patience = self.config.patience
        epochs_without_gain = len(state.history) - state.best_epoch()
        return self.progress(state) >= 1 or (patience is not None and epochs_without_gain >= patience)

    def header(self, state: TrainingState) -> Header:
        """Return the header of a checkpoint of this state."""
        metrics: dict[str, Any] = {}
        if state.history:
            accuracy = state.chosen_epoch().validation_accuracy
            metrics = {"validation_accuracy": accuracy, "epochs": len(state.history)}
        if state.result:
            names = STORED_METRICS + (METRICS_OF_TRANSFER if self.start else ())
            metrics = {name: getattr(state.result, name) for name in names}
        return Header(
            architecture=self.config.arch,
            arguments=architecture_arguments(self.recipe, self.compression),
            task=find_architecture(self.config.arch).task,
            recipe=dataclasses.asdict(self.recipe),
            seed=self.config.seed,
            dataset=self._describe_dataset(),
            start=dict(self.start),
            metrics=metrics,
            temperature=state.result.temperature if state.result else 1.0,
            versions=library_versions(),
            **self.task.header,
            training={"config": dataclasses.asdict(self.config), **state.counters()},
        )

    def describe(self) -> dict[str, Any]:
        """Return the contents of `config.json`: the chosen settings and what they were resolved to."""
        return {
            "config": dataclasses.asdict(self.config),
            "recipe": dataclasses.asdict(self.recipe),
            "dataset": self._describe_dataset(),
            "start": dict(self.start),
            "device": describe_device(self.device),
            "versions": library_versions(),
        }

    def _describe_dataset(self) -> dict[str, Any]:
        task = self.task
        return {"name": task.name, "digest": task.digest, **task.sizes, **task.sources}


def prepare(
    config: TrainConfig,
    folder: Path | None = None,
    saved: Saved | None = None,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
    processes: Processes = ONE_PROCESS,
    dataset: Dataset | None = None,
) -> tuple[TrainingSetup, TrainingState]:
    """Do everything that precedes the first step, and report the start.

    dataset: single digits in place of those that `config.data` names.

    Raises:
        UsageError: settings contradict each other, or data or teachers are not those of the saved state.
        InputError, EnvironmentFault, ModelError: the data, the device or the saved state cannot be used.
    """
    is_new = saved is None
    check_single(config)
    recipe = run_recipe(config, saved)
    check_config(config, recipe, is_new=is_new)
    device = device_of_process(config.device)
    start = resolve_model(config.start) if config.start is not None and is_new else None
    before = saved[0] if saved else start.header if start else None
    compression = tuple(before.compression) if before else ()
    torch.manual_seed(config.seed)
    network = create_network(config.arch, recipe, config.pretrained and is_new, start, compression)
    device = _trustworthy_device(device, network, config, on_event)
    original = load_original(config)
    is_dry_run = folder is None and processes.size == 1
    task = _load_task(config, recipe, original, dataset, device, processes, is_dry_run, on_event)
    check_batch_size(config.arch, network, task.batch_size, processes.size)
    recipe = _resolve_dtype(recipe, device, processes, on_event)
    network = cast("Any", network.to(device)).to(memory_format=torch.channels_last)
    state = TrainingState(network, create_average(network, recipe), create_optimizer(network, recipe))
    if original is not None and recipe.rehearse:
        task.sources["original"] = original.digest
    start_record = saved[0].start if saved else describe_start(start) if start else {}
    if isinstance(task, DigitTask):
        if start is not None:
            start_record["knows_digits"] = task.add_hashes_of(start)
        elif saved is not None and TRAIN_HASHES in saved[1]:
            task.train_hashes = saved[1][TRAIN_HASHES]
    task.least_temperature = least_temperature(start_record, task)
    if start is not None:
        check_start_model(start, task, original, recipe.rehearse, on_event)
    if saved is not None:
        restore_state(state, saved, task, config.patience, on_event)
    loss = average_gradients(network, functools.partial(task.loss, network), processes)
    setup = TrainingSetup(
        config, recipe, task, device, folder, on_event, stop_signal, loss, processes,
        start=start_record, original=original, compression=compression,
    )  # fmt: skip
    _report_start(setup, state)
    return setup, state


def _trustworthy_device(
    device: torch.device, network: nn.Module, config: TrainConfig, on_event: OnEvent
) -> torch.device:
    """Return the device, or the CPU in place of an MPS device that computes wrong logits."""
    if device.type != "mps" or agrees_with_cpu(network, device, find_architecture(config.arch).task):
        return device
    on_event(Notice("MPS computes other logits than the CPU on this machine; the run uses the CPU instead."))
    return torch.device("cpu")


def _load_task(
    config: TrainConfig,
    recipe: Recipe,
    original: OriginalDigits | None,
    dataset: Dataset | None,
    device: torch.device,
    processes: Processes,
    is_dry_run: bool,
    on_event: OnEvent,
) -> TrainingTask:
    """Load the data of a run. A dry run has few synthetic characters and no workers."""
    kind = find_architecture(config.arch).task
    if config.data in PUBLISHED_DATASETS and dataset is None:
        on_event(Notice(f"Loading '{config.data}'; it is downloaded first if it is not there yet."))
    if kind == "digit":
        if is_dry_run and dataset is None:
            recipe = replace(recipe, synthetic=min(recipe.synthetic, DRY_RUN_SYNTHETIC))
        digits = None if original is None else original.train
        dataset = load_dataset(config.data) if dataset is None else dataset
        teachers = resolve_teachers(config.teacher)
        return DigitTask(config, recipe, dataset, device, processes, teachers=teachers, original=digits)
    workers = 0 if is_dry_run else min(WORKERS, max(1, WORKERS // processes.size))
    path, stored, arch = find_dataset(config.data), None, config.arch
    if path is not None and (path / POOL_FILE).is_file():  # those to validate and to test on are composed
        if arch not in STORAGES:
            cause = f"{arch} does not learn from a pool of examples."
            raise UsageError(cause, f"Pools are for {', '.join(STORAGES)}.")
        stored = StoredExamples[Any](path, arch, STORAGES[arch].unpack)
    dataset = load_dataset(DEFAULT_DATASET if stored else config.data)
    if kind == "line":
        guided = config.start is None
        return LineTask(arch, dataset, recipe, config.seed, device, workers, processes, stored, guided=guided)
    scenes: SceneKind[Any] = SQUARES if kind == "page" else GAPS
    return SceneTask(scenes, dataset, recipe, config.seed, device, workers, processes, stored)


def _resolve_dtype(recipe: Recipe, device: torch.device, processes: Processes, on_event: OnEvent) -> Recipe:
    """Replace the dtype "auto" by the first process's choice, and report it."""
    if recipe.dtype != "auto":
        return recipe
    dtype, reason = choose_dtype(device)
    if processes.size > 1:
        dtype = "bfloat16" if processes.gather(float(dtype == "bfloat16"))[0] else "float32"
    on_event(Notice(f"The network is trained in {dtype}, because {reason}.", routine=True))
    return replace(recipe, dtype=dtype)


def _report_start(setup: TrainingSetup, state: TrainingState) -> None:
    config, task = setup.config, setup.task
    if task.failures:
        setup.on_event(Notice(f"Left out of '{config.data}': {describe_failures(task.failures)}"))
    if isinstance(task, DigitTask):
        for note in task.notes:
            setup.on_event(Notice(note))
    setup.on_event(
        RunStarted(
            config=config,
            recipe=setup.recipe,
            run=setup.folder,
            device=describe_device(setup.device),
            parameters=count_parameters(state.network),
            trained_parameters=count_trained_parameters(state.network),
            unit=task.unit,
            train_size=task.sizes["train"],
            validation_size=task.sizes["validation"],
            test_size=task.sizes["test"],
            epochs_done=state.epoch,
            steps_done=state.step,
        )
    )


def check_batch_size(arch: str, network: nn.Module, batch_size: int, processes: int = 1) -> None:
    """Check that a batch has equal shares for the processes, and two examples or more for batch norm.

    Raises:
        UsageError: the batch has no equal shares, or too few examples for batch norm.
    """
    if batch_size % processes:
        cause = f"A batch of {batch_size} has no equal shares for {processes} processes."
        raise UsageError(cause, f"Choose a --batch-size that is a multiple of {processes}.")
    # Torchvision's networks may shrink an image to one pixel, where BatchNorm2d has only the batch, too.
    over_batch = _BatchNorm if arch.startswith(TORCHVISION) else nn.BatchNorm1d
    if batch_size < 2 * processes and any(isinstance(layer, over_batch) for layer in network.modules()):
        cause = f"Architecture '{arch}' normalizes over the batch, and cannot with a batch of {batch_size}."
        raise UsageError(cause, f"Choose --batch-size {2 * processes} or more.")


def create_network(
    arch: str,
    recipe: Recipe,
    pretrained: bool = False,
    start: ResolvedModel | None = None,
    compression: Sequence[Change] = (),
) -> nn.Module:
    """Build the network of a run before its first step, with the global random generator.

    It has the weights of the model `start`, if there is one, and the changes by which that was compressed.

    Raises:
        UsageError: the network cannot be built or trained by this recipe.
        ModelError, EnvironmentFault: see `create_model` and `load_network`.
    """
    arguments = architecture_arguments(recipe, compression)
    if pretrained:
        arguments["pretrained"] = True
    if start is not None and accepts_argument(arch, "alphabet"):
        arguments["alphabet"] = start.header.alphabet
    network = create_model(arch, **arguments)
    initialize(network, recipe.initialization)
    if start is not None:
        network.load_state_dict(load_network(start).state_dict())
    set_stochastic_depth(network, recipe.stochastic_depth or 0.0)
    freeze(network, recipe.freeze)
    check_batch_size(arch, network, recipe.batch_size)
    if recipe.optimizer == "muon" and not any(map(is_large, network.parameters())):
        cause = f"Muon is for matrices of {SMALLEST_SIDE} rows and columns or more; '{arch}' has none."
        raise UsageError(cause, "Choose another --optimizer.")
    return network


def architecture_arguments(recipe: Recipe, compression: Sequence[Change] = ()) -> dict[str, Any]:
    """Return the arguments that a recipe and the compression of its start model pass to the architecture."""
    arguments: dict[str, Any] = {} if recipe.dropout is None else {"dropout": recipe.dropout}
    if recipe.normalization not in (None, "batch"):
        arguments["normalization"] = recipe.normalization
    if compression:
        arguments["compression"] = list(compression)
    return arguments


def count_parameters(network: nn.Module) -> int:
    """Return the number of all parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trained_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are not frozen."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
