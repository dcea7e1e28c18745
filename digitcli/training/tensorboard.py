"""Write the curves and histograms of a run for TensorBoard, without changing its weights.

Abadi et al., "TensorFlow: large-scale machine learning on heterogeneous distributed systems", 2016.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import find_architecture
from digitcli.architectures.summary import input_shape
from digitcli.atomic_write import faults_of
from digitcli.errors import OutputError, quoted
from digitcli.events import EpochDone, Event, Notice, OnEvent, StepDone
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.optional_packages import import_packages
from digitcli.training.digit_losses import loss_function
from digitcli.training.digit_task import DigitTask
from digitcli.training.state import TrainingState
from digitcli.training.task import TrainingTask

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENT_FILES = "events.out.tfevents.*"
# The least points of a curve in a long epoch. Of short steps, writing each would take as long as the step.
POINTS_PER_EPOCH = 500
# Events that wait for the thread which writes them: with PyTorch's 10 the training often waits for it.
QUEUE = 1_000
# Seconds after which events are on the disk, where TensorBoard finds them.
FLUSH_SECONDS = 10
# The validation digits of the histograms of activations and gradients. Chosen by hand.
HISTOGRAM_DIGITS = 64
# The bins of a histogram. TensorBoard draws 30; the 1,500 of the writer make files several times as large.
BINS = 100
# Raises an EnvironmentFault if the package tensorboard is missing or too old.
check_installed = partial(import_packages, "--tensorboard", "tensorboard", "torch.utils.tensorboard")


def folder_of_run(logs: Path, run: Path) -> Path:
    """Return the folder for a run: TensorBoard lays the runs of `logs` over each other, by these names."""
    return logs / run.resolve().name


def has_curves(folder: Path) -> bool:
    """Return whether a folder has curves.

    Raises:
        OutputError: the folder cannot be read.
    """
    with faults_of(folder):
        return any(folder.glob(EVENT_FILES))


def check_free(folder: Path) -> None:
    """Check that the curves of a new run would not be mixed with those of an earlier one.

    Raises:
        OutputError: the folder has curves already, or cannot be read.
    """
    if has_curves(folder):
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
    if not has_curves(folder):
        writer = _open_writer(folder)
        with faults_of(folder):
            for done in history:
                write_figures(writer, done)
            writer.close()


def write_figures(writer: SummaryWriter, done: EpochDone) -> None:
    """Write the figures of an epoch, by their names in `metrics.csv`."""
    for name, value in dataclasses.asdict(done).items():
        if name != "epoch":
            writer.add_scalar(f"epoch/{name}", value, done.epoch)


def _open_writer(folder: Path, purge_step: int | None = None) -> SummaryWriter:
    """Return a writer, which makes TensorBoard forget what the folder has from the step `purge_step` on."""
    from torch.utils.tensorboard import SummaryWriter

    with faults_of(folder):
        return SummaryWriter(str(folder), purge_step=purge_step, max_queue=QUEUE, flush_secs=FLUSH_SECONDS)


@contextlib.contextmanager
def watched(
    folder: Path, arch: str, recipe: Recipe, task: TrainingTask, state: TrainingState, on_event: OnEvent
) -> Iterator[Curves]:
    """Yield what writes the curves of a run to a folder; a resumed run continues those of its steps before.

    Raises:
        OutputError: the folder cannot be written at the beginning. Later that costs the curves, not the run.
    """
    if state.steps_total == 0:
        remove_curves(folder)
    is_new = not has_curves(folder)
    on_event(Notice(f"See the curves with: tensorboard --logdir {quoted(folder.parent)}"))
    writer = _open_writer(folder, None if is_new else state.steps_total + 1)
    curves = Curves(folder, writer, arch, recipe, task, state, on_event)
    try:
        if is_new:
            curves.begin()
        yield curves
    finally:
        curves.end()


@dataclass
class Curves:
    """Writes the curves, the histograms and the graph of a run, and changes nothing in it.

    The numbers of steps stay on the device until the progress is reported, when the training waits for the
    device anyway. If the folder cannot be written, a notice says so once, and nothing more is written.
    """

    folder: Path
    writer: SummaryWriter
    arch: str
    recipe: Recipe
    task: TrainingTask
    state: TrainingState
    report: OnEvent
    points: dict[str, list[tuple[int, Tensor]]] = field(default_factory=lambda: defaultdict(list))
    has_failed: bool = False

    @contextlib.contextmanager
    def _faults_noted(self) -> Iterator[None]:
        """Make the first `OSError` of writing a notice, and pass over later ones."""
        try:
            with faults_of(self.folder):
                yield
        except OutputError as error:
            if not self.has_failed:
                self.has_failed = True
                self.report(Notice(f"The curves for TensorBoard end here: {error.cause}"))

    def begin(self) -> None:
        """Write what is known before the first step that is watched."""
        with self._faults_noted():
            for done in self.state.history:
                write_figures(self.writer, done)
            self._write_graph()
            if self.state.steps_total == 0:
                self._write_histograms(epoch=0)

    def gradients_ready(self) -> None:
        """Keep the norm of all gradients of a step before they are clipped; do not wait for the device."""
        step = self.state.steps_total + 1
        if self._is_point(step):
            gradients = [each.grad for each in self.state.network.parameters() if each.grad is not None]
            self.points["step/gradient_norm"].append((step, nn.utils.get_total_norm(gradients)))

    def step_taken(self, loss: Tensor) -> None:
        """Keep the loss of a step, a number on the device, and its learning rate."""
        step = self.state.steps_total
        if self._is_point(step):
            lr = torch.tensor(self.state.optimizer.param_groups[-1]["lr"])
            self.points["step/loss"].append((step, loss))
            self.points["step/lr"].append((step, lr))

    def _is_point(self, step: int) -> bool:
        return step % max(1, self.task.steps // POINTS_PER_EPOCH) == 0 and not self.has_failed

    def on_event(self, event: Event) -> None:
        """Pass an event on; write the kept numbers with the progress, and the rest at the end of an epoch."""
        self.report(event)
        if isinstance(event, StepDone | EpochDone) and not self.has_failed:
            with self._faults_noted():
                self._write_points()
                if isinstance(event, EpochDone):
                    write_figures(self.writer, event)
                    self._write_histograms(event.epoch)
                    self.writer.flush()

    def end(self) -> None:
        """Write the numbers that are still kept, and close the file."""
        with self._faults_noted():
            self._write_points()
        with self._faults_noted():
            self.writer.close()

    def _write_points(self) -> None:
        for tag, points in self.points.items():
            if points:
                values = torch.stack([value for _, value in points]).tolist()  # one transfer
                for (step, _), value in zip(points, values, strict=True):
                    self.writer.add_scalar(tag, value, step)
                points.clear()

    def _write_graph(self) -> None:
        """Write the graph of the network, whose modules are nested boxes, or note that there is none."""
        network = copy.deepcopy(self.state.network).eval()
        try:
            shape = input_shape(network, find_architecture(self.arch).task)
            images = torch.zeros(shape, device=device_of(network))
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")  # the tracer that the writer uses is deprecated
                self.writer.add_graph(network, images)
        except OSError:
            raise
        except Exception as error:  # the tracer runs the network's own code, which may raise anything there
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self.report(Notice(f"TensorBoard gets no graph of this network: {reason}"))

    def _write_histograms(self, epoch: int) -> None:
        network = copy.deepcopy(self.state.weights())
        tensors: dict[str, Tensor] = {
            f"weights/{name}": weight for name, weight in network.named_parameters()
        }
        if isinstance(self.task, DigitTask):
            tensors |= layers_of(network, self.task, self.recipe)
        for tag, tensor in tensors.items():
            if tensor.numel() and bool(tensor.isfinite().all()):
                self.writer.add_histogram(tag, tensor.detach().float(), epoch, bins=BINS)


def layers_of(network: nn.Module, task: DigitTask, recipe: Recipe) -> dict[str, Tensor]:
    """Return the outputs of the layers and the gradients of the loss, for the first validation digits.

    The network computes in evaluation mode, so that the histograms of all epochs are of the same function.
    """
    outputs: dict[str, Tensor] = {}

    def keep(tag: str, output: object) -> None:
        if isinstance(output, Tensor):  # a recurrent layer returns several
            outputs[tag] = output.detach().clone()  # a layer that works in place would overwrite it

    for name, layer in network.named_modules():
        if not any(layer.children()):
            tag = f"activations/{name} {type(layer).__name__}"
            layer.register_forward_hook(lambda layer, inputs, output, tag=tag: keep(tag, output))
    network.eval().requires_grad_().zero_grad()
    images = torch.from_numpy(task.validation.images[:HISTOGRAM_DIGITS]).to(device_of(network))
    labels = torch.from_numpy(task.validation.labels[:HISTOGRAM_DIGITS]).to(images.device)
    with torch.backends.cudnn.flags(enabled=False):  # it refuses gradients of recurrent layers in this mode
        loss_function(recipe)(network(as_input(images)), labels).backward()
    gradients = {
        f"gradients/{name}": weight.grad
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    return outputs | gradients
