"""Write summaries, as TensorBoard calls what it shows: each function writes one kind of them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.summary import input_shape
from digitcli.atomic_write import faults_of
from digitcli.evaluation.metrics import confusion_counts
from digitcli.events import EpochDone
from digitcli.inference.runtime import DIGIT_BATCH_SIZE
from digitcli.inference.torch_runtime import as_input, device_of, evaluation_mode, infer
from digitcli.interpretation.activations import activations, features
from digitcli.interpretation.attribution import backward_pass
from digitcli.training.configuration import TrainConfig, flat_settings
from digitcli.training.digit_task import DigitTask, loss_function
from digitcli.training.setup import STORED_METRICS
from digitcli.training.state import TrainResult
from digitcli.training.task import derive_seed, seed_random
from digitcli.training.tensorboard_folder import PROJECTOR_TAG

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Events that wait for the thread which writes them: with PyTorch's 10 the training often waits for it.
QUEUE = 1_000
# Seconds after which events are on the disk, where TensorBoard finds them.
FLUSH_SECONDS = 10
# The validation digits of histograms of activations and gradients: enough to be smooth. Chosen by hand.
HISTOGRAM_DIGITS = 64
# The bins of a histogram. TensorBoard draws 30; the 1,500 of the writer make files several times as large.
BINS = 100
# The most digits in a picture of the inputs, eight in a row; a batch may have fewer.
SHOWN_DIGITS = 64
# The digits of the projector. Their features are text of up to 20 MB, which a browser has to load.
PROJECTED_DIGITS = 1_000
# Decimals of the features, which keep that text short.
FEATURE_DECIMALS = 4
# Side of a cell of the confusion matrix and sizes of its fonts, in pixels.
CELL_PX, FONT_PX, SMALL_FONT_PX = 40, 14, 11
# Colours of the right and the wrong answers in the confusion matrix.
RIGHT, WRONG = np.array([0, 114, 178]), np.array([213, 94, 0])


@contextlib.contextmanager
def opened_writer(folder: Path, purge_step: int | None = None) -> Iterator[SummaryWriter]:
    """Open a writer, which makes TensorBoard forget what the folder has from the step `purge_step` on.

    The writer writes in a thread. An error there is raised by the next call, and is not printed besides.

    Raises:
        OutputError: the folder cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    def show_error(error: threading.ExceptHookArgs) -> None:
        if not type(error.thread).__module__.startswith("tensorboard."):
            original(error)

    original, threading.excepthook = threading.excepthook, show_error
    try:
        with faults_of(folder):
            writer = SummaryWriter(
                str(folder), purge_step=purge_step, max_queue=QUEUE, flush_secs=FLUSH_SECONDS
            )
        try:
            yield writer
        finally:
            with faults_of(folder):
                writer.close()
    finally:
        threading.excepthook = original


def write_epoch(writer: SummaryWriter, done: EpochDone) -> None:
    """Write the figures of an epoch, by their names in `metrics.csv`."""
    for name, value in dataclasses.asdict(done).items():
        if name != "epoch":
            writer.add_scalar(f"epoch/{name}", value, done.epoch)


def write_settings(writer: SummaryWriter, config: TrainConfig, recipe: Recipe, result: TrainResult) -> None:
    """Write all settings of a run and its result for the table of hyper-parameters."""
    metrics = {f"result/{name}": float(getattr(result, name)) for name in (*STORED_METRICS, "parameters")}
    settings = {name: _as_hparam(value) for name, value in flat_settings(config, recipe).items()}
    # Any other name would make the writer open a subfolder, which TensorBoard shows as a run of its own.
    writer.add_hparams(settings, metrics, run_name=".")


def _as_hparam(value: Any) -> str | float:
    """Return a setting as the writer takes it: it refuses lists, and makes numbers of true and false."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else value


def write_graph(writer: SummaryWriter, network: nn.Module, task: str) -> None:
    """Write the graph of a network, whose modules are nested scopes.

    Raises:
        Exception: PyTorch cannot trace the network, or its code fails while it is traced.
    """
    network = copy.deepcopy(network).eval()
    images = torch.zeros(input_shape(network, task), device=device_of(network))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the tracer that the writer uses is deprecated
        writer.add_graph(network, images)


def write_histograms(writer: SummaryWriter, group: str, tensors: Mapping[str, Tensor], epoch: int) -> None:
    """Write a histogram of each tensor of floating-point numbers, if all of them are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and bool(tensor.isfinite().all()):
            writer.add_histogram(f"{group}/{name}", tensor.detach().float(), epoch, bins=BINS)


def write_weights(writer: SummaryWriter, network: nn.Module, epoch: int) -> None:
    """Write histograms of the weights, after this number of epochs."""
    write_histograms(writer, "weights", dict(network.named_parameters()), epoch)


def write_layers(
    writer: SummaryWriter, network: nn.Module, task: DigitTask, recipe: Recipe, epoch: int
) -> None:
    """Write histograms of the activations and of the gradients of the loss, for the first validation digits.

    The network computes in evaluation mode, so that the histograms of all epochs are of the same function.
    """
    network = copy.deepcopy(network).eval().requires_grad_()
    network.zero_grad()
    images, labels = (
        torch.from_numpy(array[:HISTOGRAM_DIGITS]).to(device_of(network))
        for array in (task.validation.images, task.validation.labels)
    )
    images = as_input(images)
    outputs = {
        f"{name} {type(layer).__name__}": output
        for name, output in activations(network, images).items()
        if not any((layer := network.get_submodule(name)).children())
    }
    write_histograms(writer, "activations", outputs, epoch)
    with backward_pass(network):
        loss_function(recipe)(network(images), labels).backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    write_histograms(writer, "gradients", gradients, epoch)


def write_inputs(writer: SummaryWriter, task: DigitTask, seed: int, epoch: int) -> None:
    """Write digits of the first batch of an epoch as the network saw them, after augmentation."""
    indices = task.indices(epoch - 1, 0)
    with _separate_random_numbers(indices.device):
        seed_random(indices.device, derive_seed(seed, epoch - 1, 0))  # as the training loop does
        images, _ = task.augmented(indices)
    writer.add_images("digits/training_inputs", images[:SHOWN_DIGITS].clamp(0, 1), epoch)


@contextlib.contextmanager
def _separate_random_numbers(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def write_confusion(writer: SummaryWriter, task: DigitTask, epoch: int) -> None:
    """Write the confusion matrix of the latest validation as a picture."""
    assert task.validation_logits is not None
    counts = confusion_counts(task.validation_logits, task.validation.labels)
    writer.add_image("digits/validation_confusion", draw_confusion(counts), epoch, dataformats="HWC")


def draw_confusion(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Draw the number of digits (row) that received each answer (column), (H, W, 3).

    Right answers are blue and wrong ones orange; the colour is the stronger, the larger the share of the row.
    """
    classes = len(counts)
    side = (classes + 1) * CELL_PX
    canvas = Image.new("RGB", (side, side), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_PX)

    def write(row: int, column: int, text: str, colour: str = "black") -> None:
        centre = (column + 0.5) * CELL_PX, (row + 0.5) * CELL_PX
        pen.text(centre, text, colour, font, anchor="mm")

    pen.text((2, 2), "read as\n  is", "black", ImageFont.load_default(SMALL_FONT_PX))
    for digit in range(classes):
        write(digit + 1, 0, str(digit))
        write(0, digit + 1, str(digit))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            strength = np.sqrt(shares[row, column])  # a single mistake of 500 digits must be visible
            colour = 255 + strength * ((RIGHT if row == column else WRONG) - 255)
            x, y = (column + 1) * CELL_PX, (row + 1) * CELL_PX
            pen.rectangle((x, y, x + CELL_PX - 2, y + CELL_PX - 2), tuple(colour.astype(int).tolist()))
            write(row + 1, column + 1, str(count), "white" if strength > 0.7 else "black")
    return np.asarray(canvas)


def write_features(writer: SummaryWriter, network: nn.Module, task: DigitTask) -> None:
    """Write the input of the last layer for the first validation digits, with labels, for the projector."""
    digits = task.validation.take(np.arange(min(PROJECTED_DIGITS, len(task.validation))))
    images, device = torch.from_numpy(digits.images), device_of(network)
    with evaluation_mode(network):
        batches = images.split(DIGIT_BATCH_SIZE)
        vectors = [features(network, as_input(batch.to(device))) for batch in batches]
    answers = infer(network, images).argmax(dim=-1).tolist()
    writer.add_embedding(
        torch.cat(vectors).cpu().double().round(decimals=FEATURE_DECIMALS),
        metadata=list(zip(digits.labels.tolist(), answers, strict=True)),
        metadata_header=["digit", "read as"],
        label_img=as_input(images),
        tag=PROJECTOR_TAG,
    )
