"""Training: from a configuration to a run folder with a model in it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from digitcli.architectures.registry import find_architecture
from digitcli.errors import DivergedError, Interrupted
from digitcli.inference.checkpoint import MODEL_FILE, TRAIN_HASHES
from digitcli.inference.devices import choose_device, rank_and_size
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitMaterial
from digitcli.training.distributed import Processes, joined
from digitcli.training.events import EpochDone, Notice, OnEvent, StepDone, TrainResult
from digitcli.training.optimization import (
    bfloat16_where_asked,
    scheduled_lr,
    set_lr,
    step_on,
    update_average,
)
from digitcli.training.run_folder import Saved
from digitcli.training.setup import (
    Session,
    StopSignal,
    count_parameters,
    finished,
    merge,
    prepare,
)
from digitcli.training.state import TrainingState, model_tensors
from digitcli.training.task import derive_seed, seed_random
from digitcli.training.validation import check_config

REPORT_SECONDS = 0.2
SAVE_SECONDS = 60.0


def train(
    config: TrainConfig,
    *,
    out: Path | None = None,
    name: str | None = None,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> TrainResult:
    """Train an architecture in a new run folder and judge it once on the test set.

    `out` is the run folder itself, `name` one below `runs/`; without either it is `runs/<arch>-<n>`.
    `stop_signal` is asked after every step; a signal's number ends the run after a clean save.

    Raises:
        UsageError: an unknown architecture or dataset, or a value out of range.
        InputError: the data cannot be read.
        EnvironmentFault: the device is not there.
        OutputError: the run folder exists, is in use or cannot be written, or the disk is full.
        DivergedError: the loss is not finite; what was saved before is as it was.
        Interrupted: `stop_signal` gave a number; `resume` goes on.
    """
    find_architecture(config.arch)
    with joined(config.device) as processes:
        if not processes.leads:
            return _train(config, None, None, lambda event: None, stop_signal, processes)
        with run_folder.new_run(config.arch, out, name, force) as folder:
            return _train(config, folder, None, on_event, stop_signal, processes)


def resume(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> TrainResult:
    """Go on with the run in a folder as if nothing had happened, or start it where nothing was saved yet.

    `changes` are fields of `TrainConfig`: more epochs, another device, time or patience may be chosen for
    a run that goes on.

    Raises:
        UsageError: a change that would make it another run, or other data than it began with.
        ModelError: the saved state is damaged.
        The errors of `train`.
    """
    rank, _ = rank_and_size()
    with contextlib.nullcontext() if rank else run_folder.existing_run(folder):
        saved = run_folder.read_state(folder)
        config = merge(run_folder.read_config(folder, saved), saved, changes)
        if saved is None:
            check_config(config)
            nothing = f"Nothing was saved in {folder} yet; the run starts from the beginning."
            on_event(Notice(nothing, routine=True))
        elif result := finished(saved, folder):
            over = f"The run in {folder} is finished; start a new one to train for longer."
            on_event(Notice(over, routine=True))
            if not rank:
                run_folder.mend(folder, saved)
            return result
        with joined(config.device) as processes:
            if processes.leads:
                return _train(config, folder, saved, on_event, stop_signal, processes)
            return _train(config, None, saved, lambda event: None, stop_signal, processes)


def dry_run(config: TrainConfig, *, on_event: OnEvent = lambda event: None) -> TrainResult:
    """Everything a run does, for one batch and writing nothing: does it all fit together?

    Raises:
        The errors of `train`, but those of the run folder.
    """
    started = time.perf_counter()
    with _random_numbers_of_its_own(config):
        session, state = prepare(config, None, None, on_event, lambda: None)
        _take_step(session, state)
        state.seconds = time.perf_counter() - started
        accuracy = session.material.try_out(state.weights())
    return _result(session, state, started, {"validation_accuracy": accuracy})


def _train(
    config: TrainConfig,
    folder: Path | None,
    saved: Saved | None,
    on_event: OnEvent,
    stop_signal: StopSignal,
    processes: Processes,
) -> TrainResult:
    """Without a folder this is a process that does not lead: it takes every step, and neither writes nor
    judges.
    """
    started = time.perf_counter() - (saved[0].training["seconds"] if saved else 0.0)
    with _random_numbers_of_its_own(config):
        session, state = prepare(config, folder, saved, on_event, stop_signal, processes)
        if saved is None and folder is not None:
            run_folder.begin(folder, session.describe())
        clock_zero = time.perf_counter() - state.seconds
        while state.step > 0 or not state.history or not session.is_over(state):
            _train_epoch(session, state, clock_zero)
            _save(session, state)
            _stop_if_asked(session, state)
        if folder is None:
            return _result(
                session, state, started, {"validation_accuracy": state.chosen_epoch().validation_accuracy}
            )
        state.result = _judge(session, state, started)
        _save(session, state)
        return state.result


@contextlib.contextmanager
def _random_numbers_of_its_own(config: TrainConfig) -> Iterator[None]:
    """Within it random numbers may be seeded; the caller's go on afterwards as if nothing had been drawn."""
    device = choose_device(config.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _train_epoch(session: Session, state: TrainingState, clock_zero: float) -> None:
    """Take the steps of an epoch that are left, then validate."""
    material = session.material
    loss_sum = torch.tensor(state.loss_sum, device=session.device)
    began = reported = saved = time.perf_counter()
    steps_before = state.step
    while state.step < material.steps and (session.progress(state) < 1 or not state.steps_total):
        loss_sum += _take_step(session, state)
        now = time.perf_counter()
        state.seconds = session.processes.of_leader(now - clock_zero)
        if now - reported >= REPORT_SECONDS or state.step == material.steps:
            state.loss_sum = _finite(loss_sum, session, state)
            _report(session, state, (state.step - steps_before) / (now - began))
            reported = now
        if state.step < material.steps:  # at the end of an epoch the caller does both
            if now - saved >= SAVE_SECONDS:
                state.loss_sum = _finite(loss_sum, session, state)
                _save(session, state)
                saved = time.perf_counter()
            _stop_if_asked(session, state, loss_sum)
    state.loss_sum = _finite(loss_sum, session, state)
    _finish_epoch(session, state, (state.step - steps_before) / (time.perf_counter() - began))


def _take_step(session: Session, state: TrainingState) -> Tensor:
    """One step on the next batch; the loss is not waited for."""
    recipe, network, device = session.recipe, state.network, session.device
    seed_random(device, derive_seed(session.config.seed, state.epoch, state.step))
    progress = session.progress(state)
    set_lr(state.optimizer, scheduled_lr(recipe, progress))
    network.train()
    if session.graphed is not None and isinstance(session.material, DigitMaterial):
        loss = session.graphed(session.material.indices(state.epoch, state.step))
    else:
        with bfloat16_where_asked(device, recipe):
            loss = session.material.loss(network, state.epoch, state.step, progress)
        loss.backward()
        if session.processes.size > 1:
            loss, state.stop = session.processes.average(network, loss, session.stop_signal())
        step_on(network, state.optimizer, recipe)
    state.step += 1
    state.steps_total += 1
    if state.average is not None:
        update_average(state.average, network, recipe, state.steps_total)
    return loss.detach()


def _finite(loss_sum: Tensor, session: Session, state: TrainingState) -> float:
    """The sum of losses as a number.

    Raises:
        DivergedError: it is not finite.
    """
    value = float(loss_sum)
    if not np.isfinite(value):
        raise _diverged("The loss is", session, state)
    return value


def _diverged(what: str, session: Session, state: TrainingState) -> DivergedError:
    kept = f"The checkpoint of epoch {state.epoch} is kept." if state.epoch else "Nothing was saved yet."
    return DivergedError(
        f"{what} not finite any more in epoch {state.epoch + 1}, step {state.step}. {kept}",
        f"Lower the learning rate (--lr, now {session.recipe.lr:g}) and start a new run.",
    )


def _report(session: Session, state: TrainingState, steps_per_second: float) -> None:
    session.on_event(
        StepDone(
            epoch=state.epoch + 1,
            step=state.step,
            steps=session.material.steps,
            progress=session.progress(state),
            loss=state.loss_sum / state.step,
            images_per_second=steps_per_second * session.material.batch_size,
            seconds=state.seconds,
        )
    )


def _finish_epoch(session: Session, state: TrainingState, steps_per_second: float) -> None:
    """Validate, write the epoch's figures into the history, and report them."""
    session.processes.average_buffers(state.network, state.average)
    validation_loss, accuracy = session.material.validate(state.weights())
    if not np.isfinite(validation_loss):
        raise _diverged("The validation loss is", session, state)
    done = EpochDone(
        epoch=state.epoch + 1,
        lr=float(state.optimizer.param_groups[0]["lr"]),
        train_loss=state.loss_sum / state.step,
        validation_loss=validation_loss,
        validation_accuracy=accuracy,
        images_per_second=steps_per_second * session.material.batch_size,
        seconds=state.seconds,
    )
    state.history.append(done)
    if session.config.patience is not None:
        state.keep_best()
    state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    session.on_event(done)


def _stop_if_asked(session: Session, state: TrainingState, loss_sum: Tensor | None = None) -> None:
    """After a signal, save what is not saved yet (`loss_sum` is that of an epoch under way) and stop.

    Raises:
        Interrupted: there was a signal.
    """
    signal = state.stop if session.processes.size > 1 else session.stop_signal()
    if signal is None:
        return
    if loss_sum is not None:
        state.loss_sum = _finite(loss_sum, session, state)
        _save(session, state)
    done = f"after {state.epoch} epochs and {state.step} steps"
    remedy = f"Go on with: digitcli train --resume {_quoted(session.folder)}" if session.folder else ""
    raise Interrupted(signal, f"Stopped {done}.", remedy)


def _quoted(path: Path) -> str:
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def _save(session: Session, state: TrainingState) -> None:
    """Write the state, unless it would spoil what was saved before.

    Raises:
        DivergedError: a number in it is not finite.
    """
    tensors = state.tensors()
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise _diverged("The weights are", session, state)
    if session.folder is not None:
        hashes = session.train_hashes
        kept = {**tensors, **({} if hashes is None else {TRAIN_HASHES: hashes})}
        run_folder.save(session.folder, session.header(state), kept)


def _judge(session: Session, state: TrainingState, started: float) -> TrainResult:
    """Use the test examples: once."""
    network = copy.deepcopy(state.weights())
    network.load_state_dict(model_tensors(state.tensors()))
    judgement = session.material.judge(network)
    return _result(session, state, started, dataclasses.asdict(judgement))


NOT_JUDGED: dict[str, Any] = {"temperature": 1.0, "test_accuracy": None, "test_nll": None, "test_ece": None}


def _result(session: Session, state: TrainingState, started: float, judgement: dict[str, Any]) -> TrainResult:
    folder = session.folder
    return TrainResult(
        architecture=session.config.arch,
        run=str(folder) if folder else None,
        checkpoint=str(folder / MODEL_FILE) if folder else None,
        seed=session.config.seed,
        epochs=len(state.history),
        train_seconds=state.seconds,
        total_seconds=time.perf_counter() - started,
        **{**NOT_JUDGED, **judgement},
        parameters=count_parameters(state.network),
        device=str(session.device),
        dtype=session.recipe.dtype,
        unreadable=len(session.material.failures),
        data=session.config.data,
    )


def training_speed(config: TrainConfig, seconds: float, *, on_event: OnEvent = lambda event: None) -> float:
    """Images a second in real steps of a run, taken for that long after a warm-up; nothing is written.

    Validation and saving are left out. The first epoch is gone through over and over.

    Raises:
        The errors of `train`, but those of the run folder.
    """
    with _random_numbers_of_its_own(config):
        session, state = prepare(config, None, None, on_event, lambda: None)
        speed = 0.0
        for duration in (seconds / 4, seconds):  # the first is the warm-up
            steps, started = 0, time.perf_counter()
            while steps == 0 or time.perf_counter() - started < duration:
                state.step %= session.material.steps
                loss = _take_step(session, state)
                steps += 1
            float(loss)  # waits for the device
            speed = steps * session.material.batch_size / (time.perf_counter() - started)
    return speed
