"""What every format gets and gives back, and whether the answers of what it wrote are those of PyTorch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch import nn

import digitcli
from digitcli.architectures.compression import rounds_inputs
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist, load_mnist_test
from digitcli.errors import QualityError
from digitcli.evaluation.metrics import read_digits
from digitcli.export.formats import Dtype
from digitcli.gap_format import COLUMNS
from digitcli.imaging.digits import BOX_PX, SIDE_PX
from digitcli.imaging.network_inputs import finder_input
from digitcli.inference.checkpoint import Header
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.runtime import DIGIT_BATCH_SIZE, pad_lines, padded_width, width_step
from digitcli.page_format import NUMBER
from digitcli.strip_format import DIGITS, STRIP_HEIGHT_PX, STRIP_PAPER
from digitcli.synthesis.scenes import scene_composer
from digitcli.templating import template_environment
from digitcli.training.gap_task import compose_pages
from digitcli.training.line_task import held_out_strips

Images = npt.NDArray[np.uint8]  # N, H, W or N, C, H, W; ink 255
Outputs = tuple[npt.NDArray[np.float32], ...]  # the logits first
TEMPLATES = Path(__file__).parent / "templates"
# Logits differ by rounding alone: by less than this in every network of the registry. A wrong layer changes
# them by far more, even where no answer changes.
MAX_DIFFERENCE = 1e-3
# A value between two integers may be rounded to either, and each such step moves the logits of a network
# whose layers round their inputs. The moves have a mean of zero, unlike those of an error in the export. In
# ONNX Runtime they were 0.0009 to 0.009 of the spread of the logits, with a mean of 0.0005 at most, and
# changed 0 to 5 of 10,000 answers (`micro`, `tiny`, `fast` and `robust` as int8). A last bias that is left
# out, or last weights that are 2 % too large, give 0.018 or more, with a mean of 0.02 or more.
MAX_MOVE = 0.015  # mean size of the moves, in standard deviations of the logits
MAX_SHIFT = 0.002  # size of the mean move of a class
MAX_SHARE = 0.001  # of answers that differ
LINES = 200  # synthetic lines on which a line model is compared
LINES_OF_A_BATCH = 16
PAGES = 8  # synthetic pages on which a page finder is compared
PAGE_PX = (256, 320)  # their height and width; both are multiples of 32
UNITS = {
    "digit": "test digits", "line": "synthetic lines", "page": "synthetic pages", "gaps": "synthetic pages",
}  # fmt: skip
# What a program must know of the input and the output by task, but of lines, where it depends on the model.
FACTS: Mapping[str, Mapping[str, str]] = {
    "digit": {
        "labels": DIGITS,
        "input": f"images (N, 1, {SIDE_PX}, {SIDE_PX}), float32 from 0 (paper) to 1 (ink)",
        "preprocessing": f"the digit is scaled into {BOX_PX} x {BOX_PX} pixels, keeping its proportions, and "
        f"its centre of mass is placed in the middle of {SIDE_PX} x {SIDE_PX} pixels, as in MNIST",
        "output": "logits (N, 10)",
    },
    "page": {
        "input": "pages (N, 4, H, W), float32 from 0 to 1; H and W are multiples of 32",
        "preprocessing": "digitcli/imaging/network_inputs.py",
        "output": "maps (N, 6, H / 4, W / 4)",
    },
    "gaps": {
        "input": f"gaps between the digits of a page (N, 1, G, {COLUMNS}), float32 from 0 to 1",
        "preprocessing": "digitcli/recognition/gaps.py",
        "output": "logits (N, G) that a gap separates two numbers",
    },
}


@dataclass(frozen=True)
class Source:
    """A model that is exported.

    model, network: its checkpoint, and its network in evaluation mode on the CPU; with int8, weights that are
        floats in the checkpoint are rounded.
    network_with_scales: the same network, in which quantized weights know their integers.
    dtype: the number format of the weights.
    verified: whether the files are compared with PyTorch before they are kept.
    """

    model: ResolvedModel
    network: nn.Module
    network_with_scales: nn.Module
    dtype: Dtype = "float32"
    verified: bool = True


@dataclass(frozen=True)
class Exporter:
    """An export that is prepared.

    files: the content of each file by name; a format of one file has one.
    facts: what is worth telling a person, by name.
    run: computes the outputs for batches of images by the exported file or folder, and nothing else.
    examples: the number of images on which they are compared; None for all of the test set.
    """

    files: Mapping[str, bytes]
    facts: Mapping[str, str | int]
    run: Callable[[Path, Sequence[Images]], list[Outputs]]
    examples: int | None = None


def describe(source: Source) -> dict[str, Any]:
    """Return what a program must know to use a model: its input, its outputs and where it comes from."""
    header = source.model.header
    parity = "the answers equal those of PyTorch"
    if not source.verified:
        parity = "not checked (--no-verify)"
    elif rounds_inputs(source.network):
        parity = "at most 1 in 1,000 answers differs from those of PyTorch"
    elif source.dtype == "int8":
        parity += " with the same rounded weights"
    return {
        "producer": f"digitcli {digitcli.__version__}",
        "model": source.model.id,
        "architecture": header.architecture,
        "arguments": header.arguments,
        "task": header.task,
        **(_line_facts(source) if header.task == "line" else FACTS[header.task]),
        "temperature": header.temperature,
        "probabilities": "softmax(logits / temperature)",
        "dtype": source.dtype,
        "checkpoint_sha256": source.model.sha256,
        "parity": parity,
    }


def _line_facts(source: Source) -> dict[str, str]:
    channels, ink = getattr(source.network, "channels", 1), "from 0 (paper) to 1 (ink)"
    if channels > 1:
        ink = (
            f"paper {STRIP_PAPER}/255, ink darker or lighter; the channels are the mean, the darkest and the "
            "lightest value of each pixel"
        )
    return {
        "alphabet": source.model.header.alphabet,
        "input": f"lines (N, {channels}, {STRIP_HEIGHT_PX}, W), float32, {ink}; W is a multiple of 4",
        "preprocessing": f"a row of writing is scaled to a height of {STRIP_HEIGHT_PX} pixels",
        "output": "logits (N, W / 4, A + 1) for the A characters of the alphabet and the blank of CTC, the "
        "last class; boxes (N, W / 4, 4) of the characters, where the network predicts them",
    }


def render(
    template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]], *, escape: bool
) -> str:
    """Return a template of this package filled with values; `escape` makes every text safe for HTML."""
    environment = template_environment(TEMPLATES, filters, escape=escape, keep_trailing_newline=True)
    return environment.get_template(template).render(values)


@dataclass(frozen=True)
class Parity:
    """How an exported model differs from PyTorch.

    n, unit: how many images were compared, and what they are.
    different_answers: the number of images that are read otherwise; 0 in every export that is kept, or few
        if the network rounds the inputs of its layers to integers (`rounds_inputs`).
    largest_difference: the largest difference of two logits.
    move, shift: the mean size of the differences of logits, and the size of their mean in the class where it
        is largest, both in standard deviations of the logits; for networks that round inputs.
    """

    n: int
    unit: str
    different_answers: int
    largest_difference: float
    rounds_inputs: bool = False
    move: float = 0.0
    shift: float = 0.0


def example_batches(source: Source, count: int | None = None) -> list[Images]:
    """Return held-out images for the task of a model, in batches: at most `count`, or all of them."""
    task = source.model.header.task
    if task == "digit":
        images = load_mnist_test().images[:count]
        return [images[start : start + DIGIT_BATCH_SIZE] for start in range(0, len(images), DIGIT_BATCH_SIZE)]
    if task == "line":
        return _lines(source.model.header.architecture, count or LINES)
    return _pages(task, count or PAGES)


def _lines(architecture: str, count: int) -> list[Images]:
    """Return batches of lines that are padded to the same width."""
    by_width: dict[int, list[Images]] = {}
    for line in (strip.image for strip in held_out_strips(architecture, "test", 0, count)):
        by_width.setdefault(padded_width(line, width_step(architecture)), []).append(line)
    return [
        pad_lines(group[start : start + LINES_OF_A_BATCH], width)
        for width, group in sorted(by_width.items())
        for start in range(0, len(group), LINES_OF_A_BATCH)
    ]


@functools.cache
def _pages(task: str, count: int) -> list[Images]:
    """Return batches of one page each, or of the gaps of one page."""
    composer = scene_composer(split(load_mnist()).test, "calibrate")
    if task == "gaps":
        pages = compose_pages(composer, np.random.default_rng(0), count)
        return [page.rows[None] for page in pages]
    pictures = (composer.page(np.random.default_rng(number), *PAGE_PX).picture for number in range(count))
    return [finder_input(picture, *PAGE_PX)[None] for picture in pictures]


def compare(source: Source, expected: Sequence[Outputs], actual: Sequence[Outputs]) -> Parity:
    """Compare the outputs of two runtimes for the same batches of images.

    Raises:
        QualityError: the outputs have other shapes.
    """
    header, different, largest, count = source.model.header, 0, 0.0, 0
    for theirs, ours in zip(expected, actual, strict=True):
        if [part.shape for part in theirs] != [part.shape for part in ours]:
            cause = f"The export gives outputs of other shapes than PyTorch: {[part.shape for part in ours]}."
            raise QualityError(cause)
        differences = [np.abs(a - b).max(initial=0) for a, b in zip(theirs, ours, strict=True)]
        largest = max(largest, *(math.inf if np.isnan(each) else float(each) for each in differences))
        pairs = zip(_answers(theirs, header), _answers(ours, header), strict=True)
        different += sum(theirs != ours for theirs, ours in pairs)
        count += len(theirs[0])
    if not rounds_inputs(source.network):
        return Parity(count, UNITS[header.task], different, largest)
    move, shift = _moves(expected, actual, 1 if header.task in ("page", "gaps") else expected[0][0].shape[-1])
    return Parity(count, UNITS[header.task], different, largest, True, move, shift)


def _moves(expected: Sequence[Outputs], actual: Sequence[Outputs], classes: int) -> tuple[float, float]:
    """Return the mean size of the differences of logits, and the size of their largest mean of a class."""
    logits = np.concatenate([outputs[0].reshape(-1, classes) for outputs in expected])
    moves = np.concatenate([outputs[0].reshape(-1, classes) for outputs in actual]) - logits
    spread = float(logits.std()) or 1.0
    return float(np.abs(moves).mean()) / spread, float(np.abs(moves.mean(axis=0)).max()) / spread


def _answers(outputs: Outputs, header: Header) -> list[str]:
    """Return the answer to each image: its digit, its text, or the number of places that hold a number."""
    if header.task == "digit":
        return [str(digit) for digit in outputs[0].argmax(axis=-1)]
    if header.task == "line":
        return read_digits(list(outputs[0]), header.alphabet)
    if header.task == "gaps":
        return ["".join("01"[int(logit > 0)] for logit in page) for page in outputs[0]]
    cores = (outputs[0][:, NUMBER] > 0).astype(np.uint8)
    return [str(cv2.connectedComponents(page)[0] - 1) for page in cores]


def check(parity: Parity) -> None:
    """Check that an exported model may be kept.

    Raises:
        QualityError: an answer differs from that of PyTorch, or a logit differs by more than rounding.
    """
    if parity.rounds_inputs:
        is_equal = parity.different_answers <= MAX_SHARE * parity.n
        is_equal &= parity.move <= MAX_MOVE and parity.shift <= MAX_SHIFT
    else:
        is_equal = parity.different_answers == 0 and parity.largest_difference <= MAX_DIFFERENCE
    if not is_equal:
        cause = (
            f"The export is not kept: it answers {parity.different_answers:,} of {parity.n:,} {parity.unit} "
            f"otherwise than PyTorch, and its logits differ by up to {parity.largest_difference:.2g}."
        )
        remedy = "Export to another format, or keep the files as they are with --no-verify."
        raise QualityError(cause, remedy)
