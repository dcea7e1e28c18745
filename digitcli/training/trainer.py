"""Training: from the settings of a run to a run folder with a trained model."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from digitcli.architectures.registry import ENSEMBLE
from digitcli.data.loading import find_dataset
from digitcli.errors import Interrupted, ModelError, UsageError, quoted
from digitcli.events import EpochDone, Notice, OnEvent
from digitcli.inference.checkpoint import MODEL_FILE
from digitcli.inference.devices import choose_device, rank_and_size
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network, place_network
from digitcli.threads import torch_threads, use_threads
from digitcli.training import run_folder
from digitcli.training.checks import check_config, member_configs
from digitcli.training.configuration import TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes, joined_processes
from digitcli.training.ensemble import check_same_as_first, combine, is_trained, member_folders
from digitcli.training.loop import save_state, stop_if_signalled, take_step, train_epoch
from digitcli.training.setup import (
    StopSignal,
    TrainingSetup,
    count_parameters,
    count_trained_parameters,
    prepare,
)
from digitcli.training.state import (
    Saved,
    TrainingState,
    TrainResult,
    merge_changes,
    model_tensors,
    read_result,
)


def train(
    config: TrainConfig,
    *,
    out: Path | None = None,
    force: bool = False,
    tensorboard: Path | None = None,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> TrainResult:
    """Train an architecture, or an ensemble, in a new run folder, and test it once.

    The run folder is `out`, by default `runs/<arch>-<n>`. The curves for TensorBoard are written to a
    subfolder of `tensorboard` of the same name. `stop_signal` is called after every step; if it returns the
    number of a signal, the run saves its state and stops.

    Raises:
        UsageError: there is no such architecture or dataset, or the settings contradict each other.
        InputError: the data cannot be read.
        EnvironmentFault: the device or the package tensorboard is not there, or another process of the run
            has ended.
        OutputError: the run folder or its curves exist, are in use or cannot be written, or the disk is full.
        DivergedError: the loss explodes or is not finite. What was saved before stays as it was.
        Interrupted: `stop_signal` returned a number. `resume` continues the run.
    """
    config = _with_threads(config)
    if tensorboard is not None:
        run_folder.check_tensorboard()
    is_ensemble = config.members is not None
    if is_ensemble:
        _check_ensemble_run(config)
    with contextlib.ExitStack() as stack:
        processes = ONE_PROCESS if is_ensemble else stack.enter_context(joined_processes(config.device))
        if not processes.is_first:
            return _train(config, None, None, on_event, stop_signal, processes)
        arch = ENSEMBLE.name if is_ensemble else config.arch
        folder = stack.enter_context(run_folder.new_run(arch, out, force))
        _check_sources_stay(config, folder)
        # An earlier run stays until the data are loaded.
        if is_ensemble or not run_folder.files_to_be_replaced(folder):
            run_folder.begin(folder, run_folder.describe_config(config))
        if is_ensemble:
            return _train_ensemble(config, folder, tensorboard, on_event, stop_signal)
        return _train(config, folder, None, on_event, stop_signal, processes, tensorboard)


def resume(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    tensorboard: Path | None = None,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> TrainResult:
    """Continue the run in a folder as if it had not been interrupted; start it if nothing was saved yet.

    `changes` are fields of `TrainConfig`: a resumed run may have more epochs, other devices, a time limit or
    patience. The curves for TensorBoard continue in `tensorboard`, see `train`.

    Raises:
        InputError: there is no run in the folder.
        UsageError: a change would make it another run, or the data are not those that it began with.
        ModelError: the saved state is damaged.
        The errors of `train`.
    """
    rank, _ = rank_and_size()
    if tensorboard is not None:
        run_folder.check_tensorboard()
    run_folder.check_is_run(folder)
    with contextlib.nullcontext() if rank else run_folder.existing_run(folder):
        saved = run_folder.read_state(folder)
        stored = run_folder.read_config(folder, saved)
        config = _with_threads(merge_changes(stored, saved, changes))
        result = None if saved is None else read_result(saved, folder)
        is_finished = result is not None or is_trained(stored, folder)
        if is_finished:
            what = "run" if stored.members is None else "ensemble"
            cause = f"The {what} in {folder} is finished; start a new one to train for longer."
            on_event(Notice(cause, routine=True))
        if config.members is not None:
            _check_one_process()
            if not is_finished:
                _check_ensemble_run(config)
            return _train_ensemble(config, folder, tensorboard, on_event, stop_signal)
        if saved is None:
            cause = f"{folder} has a configuration and no saved state; the run starts from the beginning."
            on_event(Notice(cause, routine=True))
        elif result is not None:
            if not rank:
                run_folder.repair_outputs(folder, saved)
                if tensorboard is not None and not run_folder.folder_of_run(tensorboard, folder).exists():
                    history = [EpochDone(**row) for row in saved[0].training["history"]]
                    with run_folder.curves_written(tensorboard, folder, history, on_event):
                        pass
            return result
        with joined_processes(config.device) as processes:
            place = folder if processes.is_first else None
            return _train(config, place, saved, on_event, stop_signal, processes, tensorboard)


def _with_threads(config: TrainConfig) -> TrainConfig:
    """Return the settings with a number of threads, which the run stores, since its weights depend on it."""
    return dataclasses.replace(config, threads=config.threads or torch_threads())


def _check_sources_stay(config: TrainConfig, folder: Path) -> None:
    """Check that a new run does not replace a model from which it learns.

    Raises:
        UsageError: a teacher or the start model is a file of an earlier run in the folder.
    """
    replaced = {(folder / file).resolve() for file in run_folder.files_to_be_replaced(folder)}
    names = filter(None, (*config.teacher, config.start)) if replaced else ()
    for model in map(resolve_model, names):
        if model.path.resolve() in replaced:
            cause = f"The run would replace the model {model.name}, from which it learns."
            raise UsageError(cause, "Choose another --output.")


def _check_ensemble_run(config: TrainConfig) -> None:
    """Check that an ensemble can be trained, before an earlier run in its folder is replaced.

    Raises:
        UsageError: the settings contradict each other, or `torchrun` has started several processes.
        InputError, ModelError, EnvironmentFault: the data, a model or the device are not there.
    """
    check_config(config)
    find_dataset(config.data)
    choose_device(config.device)
    _check_one_process()


def _check_one_process() -> None:
    if (processes := rank_and_size()[1]) > 1:
        cause = f"An ensemble is trained by one process, but there are {processes}."
        raise UsageError(cause, "Train its members as runs of their own, and name all of them as one model.")


def _train_ensemble(
    config: TrainConfig, folder: Path, tensorboard: Path | None, on_event: OnEvent, stop_signal: StopSignal
) -> TrainResult:
    """Train the members of an ensemble, or continue them, and combine them; finished ones stay as they are.

    Raises:
        Interrupted: a member was interrupted.
    """
    logs = None if tensorboard is None else tensorboard / folder.name
    members = list(zip(member_configs(config), member_folders(config, folder), strict=True))
    results: list[TrainResult] = []
    with use_threads(config.threads):
        for number, (single, place) in enumerate(members, start=1):
            with run_folder.existing_run(place):
                saved = run_folder.read_state(place)
                if saved is not None and (result := read_result(saved, place)) is not None:
                    run_folder.repair_outputs(place, saved)
                    results.append(result)
                    continue
                title = f"Member {number} of {len(members)}, in {place}"
                on_event(Notice(f"{title}: {single.arch}, seed {single.seed}.", routine=True))
                try:
                    results.append(
                        _train(single, place, saved, on_event, stop_signal, ONE_PROCESS, logs, True)
                    )
                except Interrupted as stop:
                    remedy = f"Continue with: digitcli train --resume {quoted(folder)}"
                    raise Interrupted(stop.exit_code - 128, f"{place.name}: {stop.cause}", remedy) from stop
        return combine(config, folder, results)


def dry_run(config: TrainConfig, *, on_event: OnEvent = lambda event: None) -> TrainResult:
    """Prepare a run, train and validate on one batch each, and write nothing; of an ensemble, one member.

    Raises:
        The errors of `train`, except those of the run folder.
    """
    started = time.perf_counter()
    if config.members is not None:
        _check_ensemble_run(config)
        cause = f"Of the {config.members} members, only the first is tried"
        config = member_configs(config)[0]
        on_event(Notice(f"{cause}: {config.arch}, seed {config.seed}."))
    with separate_random_numbers(config), use_threads(config.threads):
        setup, state = prepare(config, on_event=on_event)
        take_step(setup, state)
        state.seconds = time.perf_counter() - started
        accuracy = setup.task.validate_batch(state.weights())
    return _result(setup, state, started, {"validation_accuracy": accuracy})


def _train(
    config: TrainConfig,
    folder: Path | None,
    saved: Saved | None,
    on_event: OnEvent,
    stop_signal: StopSignal,
    processes: Processes,
    logs: Path | None = None,
    is_member: bool = False,
) -> TrainResult:
    """Train to the end. A process without a folder takes every step, but neither writes, reports nor tests.

    logs: the folder of the curves of several runs for TensorBoard, if they are wanted.
    is_member: whether the run is one of an ensemble.
    """
    started = time.perf_counter() - (saved[0].training["seconds"] if saved else 0.0)
    on_event = on_event if processes.is_first else lambda event: None
    with separate_random_numbers(config), use_threads(config.threads):
        setup, state = prepare(config, folder, saved, on_event, stop_signal, processes)
        processes.check_equal(state.steps_total)
        if saved is None and folder is not None:
            if is_member:
                check_same_as_first(setup, folder)
            run_folder.begin(folder, setup.describe())
        with run_folder.curves_written(logs, folder, state.history, setup.on_event) as reporter:
            setup = dataclasses.replace(setup, on_event=reporter)
            clock_zero = time.perf_counter() - state.seconds
            while state.step > 0 or not state.history or not setup.is_over(state):
                train_epoch(setup, state, clock_zero)
                stop_if_signalled(setup, state)
            state.seconds = time.perf_counter() - clock_zero + setup.task.preparation_seconds
        if folder is None:
            accuracy = state.chosen_epoch().validation_accuracy
            return _result(setup, state, started, {"validation_accuracy": accuracy})
        state.result = _test(setup, state, started)
        save_state(setup, state)
        return state.result


@contextlib.contextmanager
def separate_random_numbers(config: TrainConfig) -> Iterator[None]:
    """Restore the caller's random state at the end of the context."""
    device = choose_device(config.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _test(setup: TrainingSetup, state: TrainingState, started: float) -> TrainResult:
    """Test a copy of the network with the weights that the model has. This uses the test examples, once."""
    network = copy.deepcopy(state.weights())
    network.load_state_dict(model_tensors(state.tensors()))
    metrics = dataclasses.asdict(setup.task.test(network))
    if setup.config.start is not None:
        metrics |= _compare_with_start(setup, setup.config.start, network)
    return _result(setup, state, started, metrics)


def _compare_with_start(setup: TrainingSetup, name: str, network: nn.Module) -> dict[str, Any]:
    """Return the fields of a `TrainResult` that compare a trained network with its start model of this name.

    The start model is tested only now, after all choices. If its file is no longer there, or holds another
    model, the accuracies before the training are None.
    """
    original = setup.original
    fields: dict[str, Any] = {"start": setup.start.get("model")}
    if original is not None:
        fields |= {"original": original.name, "original_test_size": original.test_size}
        fields["original_accuracy"] = original.test_accuracy(network)
    try:
        model = resolve_model(name)
        before = place_network(open_network(model), setup.device, model.header.task)
        missing = None if model.sha256 == setup.start.get("sha256") else f"{name} is another model now."
    except ModelError as error:
        missing = error.cause
    if missing is not None:
        setup.on_event(Notice(f"The accuracy before the training is not reported: {missing}"))
        return fields
    fields["test_accuracy_before"] = setup.task.test(before).test_accuracy
    if original is not None:
        fields["original_accuracy_before"] = original.test_accuracy(before)
    return fields


def _result(
    setup: TrainingSetup, state: TrainingState, started: float, metrics: dict[str, Any]
) -> TrainResult:
    folder = setup.folder
    return TrainResult(
        architecture=setup.config.arch,
        run=str(folder) if folder else None,
        checkpoint=str(folder / MODEL_FILE) if folder else None,
        seed=setup.config.seed,
        epochs=_trained_epochs(state, setup.task.steps),
        train_seconds=state.seconds,
        total_seconds=time.perf_counter() - started,
        parameters=count_parameters(state.network),
        trained_parameters=count_trained_parameters(state.network),
        device=str(setup.device),
        dtype=setup.recipe.dtype,
        unreadable=len(setup.task.failures),
        test_size=setup.task.sizes["test"],
        data=setup.config.data,
        **metrics,
    )


def _trained_epochs(state: TrainingState, steps_per_epoch: int) -> float:
    """Return the number of epochs, with two decimals if the last one is incomplete; 0 for a dry run."""
    complete, steps = divmod(state.steps_total, steps_per_epoch)
    return round(complete + steps / steps_per_epoch, 2) if steps and state.history else complete
