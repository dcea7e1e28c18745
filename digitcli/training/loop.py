"""The training loop: steps, validation after each epoch, saving and stopping."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from digitcli.architectures.model_surgery import set_training_mode
from digitcli.errors import DivergedError, Interrupted, counted, quoted
from digitcli.events import EpochDone, StepDone
from digitcli.inference.checkpoint import RESUME_FILE, TRAIN_HASHES
from digitcli.training import run_folder
from digitcli.training.optimization import autocast, scheduled_lr, set_lr, step_on, update_average
from digitcli.training.setup import TrainingSetup
from digitcli.training.state import TrainingState
from digitcli.training.task import derive_seed, seed_random

REPORT_SECONDS = 0.2  # between two reports: often enough for a live view, too rarely to cost time
SAVE_SECONDS = 60.0  # between two saves within an epoch: the most work that a crash can cost
# The validation loss from which on a training has diverged (chosen by hand, far above every start: untrained,
# `cnn` has a loss of 2.3, `finder` of 4.8, and the readers of lines of 11 to 16).
EXPLODED_LOSS = 1e5


def train_epoch(setup: TrainingSetup, state: TrainingState, clock_zero: float) -> None:
    """Take the remaining steps of an epoch, then validate, save and report.

    The state is saved before the report, so that a callback which fails costs no trained epoch.
    """
    steps = setup.task.steps
    loss_sum = torch.tensor(state.loss_sum, device=setup.device)
    began = reported = saved = time.perf_counter()
    steps_before = state.step
    while state.step < steps and (setup.progress(state) < 1 or not state.steps_total):
        loss = take_step(setup, state)
        now = time.perf_counter()
        state.seconds = now - clock_zero
        loss = loss if setup.processes.size == 1 else _agree(setup, state, loss)
        loss_sum += loss
        if now - reported >= REPORT_SECONDS or state.step == steps:
            state.loss_sum = _finite(loss_sum, setup, state)
            _report(setup, state, (state.step - steps_before) / (now - began))
            reported = now
        if state.step < steps:  # after the last step of an epoch, the validation comes first
            if now - saved >= SAVE_SECONDS:
                state.loss_sum = _finite(loss_sum, setup, state)
                save_state(setup, state)
                saved = time.perf_counter()
            stop_if_signalled(setup, state, loss_sum)
    state.loss_sum = _finite(loss_sum, setup, state)
    done = _finish_epoch(setup, state, (state.step - steps_before) / (time.perf_counter() - began))
    save_state(setup, state)
    setup.on_event(done)


def take_step(setup: TrainingSetup, state: TrainingState, lr: float | None = None) -> Tensor:
    """Take one step on the next batch, and return its loss without waiting for the device.

    The learning rate is that of the schedule, unless `lr` is given.
    """
    recipe, network, device = setup.recipe, state.network, setup.device
    seed_random(device, derive_seed(setup.config.seed, state.epoch, state.step))
    progress = setup.progress(state)
    set_lr(state.optimizer, scheduled_lr(recipe, progress) if lr is None else lr)
    set_training_mode(network)
    with setup.processes.failures_explained():
        with autocast(device, recipe):
            loss = setup.loss(state.epoch, state.step, progress)
        loss.backward()
    step_on(network, state.optimizer, recipe)
    state.step += 1
    state.steps_total += 1
    if state.average is not None:
        update_average(state.average, network, recipe, state.steps_total)
    return loss.detach()


def _agree(setup: TrainingSetup, state: TrainingState, loss: Tensor) -> Tensor:
    """Give all processes the first one's time and any one's stop signal, and return the mean loss."""
    signal = setup.stop_signal() or 0
    losses, seconds, signals = setup.processes.gather(float(loss), state.seconds, signal).unbind(dim=1)
    state.seconds = float(seconds[0])
    state.stop = int(signals.max()) or None
    return losses.mean()


def _finish_epoch(setup: TrainingSetup, state: TrainingState, steps_per_second: float) -> EpochDone:
    """Validate, add the epoch's figures to the history, and return them."""
    setup.processes.average_buffers(state.network, state.average)
    validation_loss, accuracy = setup.task.validate(state.weights())
    if not validation_loss < EXPLODED_LOSS:  # NaN is not either
        raise _diverged(f"The validation loss is {validation_loss:.3g},", setup, state)
    done = EpochDone(
        epoch=state.epoch + 1,
        lr=float(state.optimizer.param_groups[-1]["lr"]),
        train_loss=state.loss_sum / state.step,
        validation_loss=validation_loss,
        validation_accuracy=accuracy,
        images_per_second=steps_per_second * setup.task.batch_size,
        seconds=state.seconds,
    )
    state.history.append(done)
    if setup.config.patience is not None:
        state.keep_best()
    state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    return done


def _report(setup: TrainingSetup, state: TrainingState, steps_per_second: float) -> None:
    setup.on_event(
        StepDone(
            epoch=state.epoch + 1,
            step=state.step,
            steps=setup.task.steps,
            progress=setup.progress(state),
            loss=state.loss_sum / state.step,
            images_per_second=steps_per_second * setup.task.batch_size,
            seconds=state.seconds,
        )
    )


def _finite(loss_sum: Tensor, setup: TrainingSetup, state: TrainingState) -> float:
    """Return the sum of the losses as a number; it must be finite."""
    value = float(loss_sum)
    if not math.isfinite(value):
        raise _diverged(f"The loss is {value},", setup, state)
    return value


def _diverged(sign: str, setup: TrainingSetup, state: TrainingState) -> DivergedError:
    kept = f"The checkpoint of epoch {state.epoch} is kept." if state.epoch else "Nothing was saved yet."
    if not state.epoch and setup.folder is not None and (setup.folder / RESUME_FILE).exists():
        kept = "The state that was saved last is kept."
    return DivergedError(
        f"{sign} so the training has diverged, in epoch {state.epoch + 1}, step {state.step}. {kept}",
        f"Lower the learning rate (--lr, now {setup.recipe.lr:g}) and start a new run.",
    )


def save_state(setup: TrainingSetup, state: TrainingState) -> None:
    """Write the state to the run folder.

    Raises:
        DivergedError: a number in the state is not finite. The saved state stays as it was.
    """
    tensors = state.tensors()
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise _diverged("A weight is not finite,", setup, state)
    if setup.folder is not None:
        hashes = setup.task.train_hashes
        if hashes is not None:
            tensors[TRAIN_HASHES] = hashes
        run_folder.save(setup.folder, setup.header(state), tensors)


def stop_if_signalled(setup: TrainingSetup, state: TrainingState, loss_sum: Tensor | None = None) -> None:
    """After a signal, save the steps of the current epoch (whose losses add up to `loss_sum`) and stop.

    Raises:
        Interrupted: a process of the run has received a signal.
    """
    signal = setup.stop_signal() if setup.processes.size == 1 else state.stop
    if signal is None:
        return
    if loss_sum is not None:
        state.loss_sum = _finite(loss_sum, setup, state)
        save_state(setup, state)
    cause = f"Stopped after {counted(state.epoch, 'epoch')} and {counted(state.step, 'step')}."
    remedy = f"Continue with: digitcli train --resume {quoted(setup.folder)}" if setup.folder else ""
    raise Interrupted(signal, cause, remedy)
