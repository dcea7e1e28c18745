"""Write a run to a folder for TensorBoard while it is trained, without changing its weights.

Abadi et al., "TensorFlow: large-scale machine learning on heterogeneous distributed systems", 2016.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from digitcli.architectures.registry import find_architecture
from digitcli.atomic_write import faults_of
from digitcli.errors import OutputError, quoted
from digitcli.events import EpochDone, Event, Notice, StepDone
from digitcli.inference.checkpoint import RESUME_FILE
from digitcli.optional_packages import import_packages
from digitcli.training import tensorboard_summaries as summaries
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.resume import run_recipe
from digitcli.training.run_folder import Saved
from digitcli.training.setup import TrainingSetup
from digitcli.training.state import TrainingState, TrainResult
from digitcli.training.tensorboard_folder import has_events, remove_events, write_owner

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# The least points of a curve in a long epoch. Of short steps, writing each would take as long as the step.
POINTS_PER_EPOCH = 500
# Raises an EnvironmentFault if the package tensorboard is missing or too old.
check_installed = partial(import_packages, "--tensorboard", "tensorboard", "torch.utils.tensorboard")


@contextlib.contextmanager
def observed(setup: TrainingSetup, state: TrainingState, folder: Path) -> Iterator[TrainingSetup]:
    """Yield the setup of a run that is written to a folder within the context.

    A new run replaces what is in the folder, a resumed run continues it. If nothing of the run was saved at
    the end, its curves are deleted. A folder that cannot be written later costs the curves and not the run.

    Raises:
        OutputError: the folder cannot be written at the beginning.
    """
    if state.steps_total == 0:
        remove_events(folder)
    is_new = not has_events(folder)
    try:
        if setup.folder is not None:
            write_owner(folder, setup.folder)
        with contextlib.ExitStack() as stack:
            purge_step = None if is_new else state.steps_total + 1
            writer = stack.enter_context(summaries.opened_writer(folder, purge_step))
            observer = TensorBoard(folder, writer, setup, state)

            def on_event(event: Event) -> None:
                setup.on_event(event)
                observer.on_event(event)

            setup.on_event(Notice(f"See the curves with: tensorboard --logdir {quoted(folder.parent)}"))
            if is_new:
                observer.begin()
            try:
                yield replace(setup, on_event=on_event, observer=observer)
            finally:
                observer.write_points()
                with observer.faults_noted():
                    stack.close()
    finally:
        if setup.folder is not None and not (setup.folder / RESUME_FILE).exists():
            remove_events(folder)


def write_finished_run(
    folder: Path, run: Path, config: TrainConfig, saved: Saved, result: TrainResult
) -> None:
    """Write what is known of the run in the folder `run`: the figures of its epochs, settings and result.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_owner(folder, run)
    with summaries.opened_writer(folder) as writer, faults_of(folder):
        for row in saved[0].training["history"]:
            summaries.write_epoch(writer, EpochDone(**row))
        summaries.write_settings(writer, config, run_recipe(config, saved), result)


class TensorBoard:
    """An `Observer` that writes curves, histograms, pictures, the graph and the settings.

    The numbers of steps stay on the device until the progress is reported, when the training waits for the
    device anyway.

    If the folder cannot be written, a notice says so once, and nothing more is written.
    """

    def __init__(
        self, folder: Path, writer: SummaryWriter, setup: TrainingSetup, state: TrainingState
    ) -> None:
        self._folder, self._writer, self._setup, self._state = folder, writer, setup, state
        self._digits = setup.task if isinstance(setup.task, DigitTask) else None
        self._steps_between_points = max(1, setup.task.steps // POINTS_PER_EPOCH)
        self._points: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        self._has_failed = False

    @contextlib.contextmanager
    def faults_noted(self) -> Iterator[None]:
        """Make the first `OSError` of writing a notice, and pass over later ones."""
        try:
            with faults_of(self._folder):
                yield
        except OutputError as error:
            if not self._has_failed:
                self._has_failed = True
                self._setup.on_event(Notice(f"The curves for TensorBoard end here: {error.cause}"))

    def begin(self) -> None:
        """Write what is known before the first step that is observed."""
        with self.faults_noted():
            for done in self._state.history:
                summaries.write_epoch(self._writer, done)
            self._write_graph()
            if self._state.steps_total == 0:
                self._write_histograms(epoch=0)

    def gradients_ready(self) -> None:
        """Keep the norm of all gradients."""
        step = self._state.steps_total + 1
        if step % self._steps_between_points == 0 and not self._has_failed:
            gradients = [each.grad for each in self._state.network.parameters() if each.grad is not None]
            self._points["step/gradient_norm"].append((step, nn.utils.get_total_norm(gradients)))

    def step_taken(self, loss: Tensor) -> None:
        """Keep the loss and the learning rate."""
        step = self._state.steps_total
        if step % self._steps_between_points == 0 and not self._has_failed:
            lr = torch.as_tensor(self._state.optimizer.param_groups[-1]["lr"])
            self._points["step/loss"].append((step, loss))
            self._points["step/lr"].append((step, lr.clone()))  # CUDA graphs change the rate in place

    def on_event(self, event: Event) -> None:
        """Write the kept numbers with the progress, and everything else at the end of an epoch."""
        if self._has_failed:
            return
        with self.faults_noted():
            match event:
                case StepDone():
                    self._write_points()
                case EpochDone():
                    self._write_epoch(event)

    def run_done(self, network: nn.Module, result: TrainResult) -> None:
        """Write the features of validation digits, and the settings with the result."""
        if self._has_failed:
            return
        with self.faults_noted():
            if self._digits is not None:
                summaries.write_features(self._writer, network, self._digits)
            summaries.write_settings(self._writer, self._setup.config, self._setup.recipe, result)

    def write_points(self) -> None:
        """Write the kept numbers."""
        with self.faults_noted():
            self._write_points()

    def _write_graph(self) -> None:
        """Write the graph of the network, or note that there is none."""
        try:
            task = find_architecture(self._setup.config.arch).task
            summaries.write_graph(self._writer, self._state.network, task)
        except OSError:
            raise
        except Exception as error:  # the tracer runs the network's own code, which may raise anything there
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self._setup.on_event(Notice(f"TensorBoard gets no graph of this network: {reason}"))

    def _write_epoch(self, done: EpochDone) -> None:
        summaries.write_epoch(self._writer, done)
        self._write_histograms(done.epoch)
        if self._digits is not None:
            summaries.write_inputs(self._writer, self._digits, self._setup.config.seed, done.epoch)
            summaries.write_confusion(self._writer, self._digits, done.epoch)
        self._writer.flush()

    def _write_histograms(self, epoch: int) -> None:
        network = self._state.weights()
        summaries.write_weights(self._writer, network, epoch)
        if self._digits is not None:
            summaries.write_layers(self._writer, network, self._digits, self._setup.recipe, epoch)

    def _write_points(self) -> None:
        for tag, points in self._points.items():
            if points:
                values = torch.stack([value for _, value in points]).tolist()  # one transfer
                for (step, _), value in zip(points, values, strict=True):
                    self._writer.add_scalar(tag, value, step)
                points.clear()
