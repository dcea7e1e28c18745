"""Write the curves of a run for TensorBoard, without changing its weights.

Abadi et al., "TensorFlow: large-scale machine learning on heterogeneous distributed systems", 2016.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from digitcli.atomic_write import faults_of
from digitcli.errors import OutputError, quoted
from digitcli.events import EpochDone, Event, Notice, OnEvent, StepDone
from digitcli.optional_packages import import_packages
from digitcli.training.state import TrainingState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENT_FILES = "events.out.tfevents.*"
# The least points of a curve in a long epoch. Of short steps, writing each would take as long as the step.
POINTS_PER_EPOCH = 500
# Events that wait for the thread which writes them: with PyTorch's 10 the training often waits for it.
QUEUE = 1_000
# Seconds after which events are on the disk, where TensorBoard finds them.
FLUSH_SECONDS = 10
# Raises an EnvironmentFault if the package tensorboard is missing or too old.
check_installed = partial(import_packages, "--tensorboard", "tensorboard", "torch.utils.tensorboard")


def folder_of_run(logs: Path, run: Path) -> Path:
    """Return the folder for a run: TensorBoard lays the runs of `logs` over each other, by these names."""
    return logs / run.resolve().name


def _has_curves(folder: Path) -> bool:
    with faults_of(folder):
        return any(folder.glob(EVENT_FILES))


def check_free(folder: Path) -> None:
    """Check that the curves of a new run would not be mixed with those of an earlier one.

    Raises:
        OutputError: the folder has curves already, or cannot be read.
    """
    if _has_curves(folder):
        cause = f"{folder} contains curves that those of a new run would be mixed with."
        raise OutputError(cause, f"Name another folder with --tensorboard, or remove {folder}.")


def remove_curves(folder: Path) -> None:
    """Delete the curves in a folder, and the folder if nothing else is in it.

    Raises:
        OutputError: a file cannot be deleted.
    """
    with faults_of(folder):
        for file in folder.glob(EVENT_FILES):
            file.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def write_history(folder: Path, history: Sequence[EpochDone]) -> None:
    """Write the figures of the epochs of a finished run, unless the folder has curves.

    Raises:
        OutputError: the folder cannot be written.
    """
    if not _has_curves(folder):
        writer = _open_writer(folder)
        with faults_of(folder):
            _write_figures(writer, history)
            writer.close()


def _write_figures(writer: SummaryWriter, history: Sequence[EpochDone]) -> None:
    """Write the figures of epochs, by their names in `metrics.csv`."""
    for done in history:
        for name, value in dataclasses.asdict(done).items():
            if name != "epoch":
                writer.add_scalar(f"epoch/{name}", value, done.epoch)


def _open_writer(folder: Path, purge_step: int | None = None) -> SummaryWriter:
    """Return a writer, which makes TensorBoard forget what the folder has from the step `purge_step` on."""
    from torch.utils.tensorboard import SummaryWriter

    with faults_of(folder):
        return SummaryWriter(str(folder), purge_step=purge_step, max_queue=QUEUE, flush_secs=FLUSH_SECONDS)


class Curves:
    """Writes the curves of a run to a folder; those of a resumed run continue those of its steps before.

    The numbers of steps stay on the device until the progress is reported, when the training waits for the
    device anyway. If the folder cannot be written later on, a notice says so once, and the run goes on.

    Raises:
        OutputError: the folder cannot be written at the beginning.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, state: TrainingState, on_event: OnEvent) -> None:
        if state.steps_total == 0:
            remove_curves(folder)
        is_new = not _has_curves(folder)
        on_event(Notice(f"See the curves with: tensorboard --logdir {quoted(folder.parent)}"))
        self._folder, self._state, self._report = folder, state, on_event
        self._interval = max(1, steps_per_epoch // POINTS_PER_EPOCH)
        self._writer = _open_writer(folder, None if is_new else state.steps_total + 1)
        self._points: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        self._has_failed = False
        with self._faults_noted():
            _write_figures(self._writer, state.history if is_new else ())

    @contextlib.contextmanager
    def _faults_noted(self) -> Iterator[None]:
        """Make the first `OSError` of writing a notice, and pass over later ones."""
        try:
            with faults_of(self._folder):
                yield
        except OutputError as error:
            if not self._has_failed:
                self._has_failed = True
                self._report(Notice(f"The curves for TensorBoard end here: {error.cause}"))

    def gradients_ready(self) -> None:
        """Keep the norm of all gradients of a step before they are clipped; do not wait for the device."""
        step = self._state.steps_total + 1
        if self._is_point(step):
            gradients = [each.grad for each in self._state.network.parameters() if each.grad is not None]
            self._points["step/gradient_norm"].append((step, nn.utils.get_total_norm(gradients)))

    def step_taken(self, loss: Tensor) -> None:
        """Keep the loss of a step, a number on the device, and its learning rate."""
        step = self._state.steps_total
        if self._is_point(step):
            lr = torch.tensor(self._state.optimizer.param_groups[-1]["lr"])
            self._points["step/loss"].append((step, loss))
            self._points["step/lr"].append((step, lr))

    def _is_point(self, step: int) -> bool:
        return step % self._interval == 0 and not self._has_failed

    def on_event(self, event: Event) -> None:
        """Pass an event on; write the kept numbers with the progress, and the rest at the end of an epoch."""
        self._report(event)
        if isinstance(event, StepDone | EpochDone) and not self._has_failed:
            with self._faults_noted():
                self._write_points()
                if isinstance(event, EpochDone):
                    _write_figures(self._writer, [event])
                    self._writer.flush()

    def close(self) -> None:
        """Write the numbers that are still kept, and close the file."""
        with self._faults_noted():
            self._write_points()
        with self._faults_noted():
            self._writer.close()

    def _write_points(self) -> None:
        for tag, points in self._points.items():
            if points:
                values = torch.stack([value for _, value in points]).tolist()  # one transfer
                for (step, _), value in zip(points, values, strict=True):
                    self._writer.add_scalar(tag, value, step)
                points.clear()
