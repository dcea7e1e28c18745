"""Explain the answers of a model of lines: one digit of each line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from digitcli.architectures.registry import find_architecture
from digitcli.errors import ModelError, UsageError
from digitcli.inference.model_resolution import ModelLike, resolve_model
from digitcli.inference.runtime import paper_level
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.attribution import (
    Quadratures,
    Score,
    backward_pass,
    integrated_gradients,
    occlusion,
)
from digitcli.interpretation.explanation import LINE_PANEL, Method
from digitcli.interpretation.line_explanation import LineExplanation
from digitcli.interpretation.methods import BY_SCORE, attributions_of, layers_of, only_layer
from digitcli.interpretation.place_reader import ReadLine, read_line
from digitcli.strip_format import COLUMN_PX

# Side of the square that occlusion covers and the distance between squares, in pixels. Strokes of lines are
# wider than those of MNIST, and a line has many more places for a square: with these, 200 pixels take 496
# passes through the network.
OCCLUSION_PX, OCCLUSION_STEP_PX = 8, 4
# Points of quadrature and their power, see `attribution`: of 13 composed lines by former weights, 6 added up
# with the first, and all with 200 points of the second. A 7 of MNIST misses 1.03 % with 200, 0.15 with 300.
QUADRATURES = ((50, 1), (300, 3), (1000, 4))
# What benchmarks/line_attributions.py measured of integrated gradients.
CAUTION = (
    "Integrated gradients of a line add up to the score, and show where the digit is. Which of its strokes "
    "matter they tell no better than its ink does: prefer occlusion."
)


def _raise(error: UsageError) -> None:
    raise error


def explain_lines(
    model: ModelLike,
    lines: Iterable[tuple[str, npt.NDArray[np.uint8]]],
    methods: Sequence[Method] = LINE_PANEL,
    against: int | None = None,
    *,
    position: int | None = None,
    layer: str | None = None,
    device: str = "auto",
    on_missing_digit: Callable[[UsageError], None] = _raise,
) -> Iterator[LineExplanation]:
    """Explain why a model of lines reads one digit of each line.

    model: a shipped name (`reader`), a checkpoint file or a run folder.
    lines: the names of the lines, and what the network sees of each, uint8 (40, W) or (3, 40, W), see
        `recognition.line_crops`.
    methods: what is computed, see `explanation.Method`; all but `prototype`.
    against: the digit with which the answer is compared; by default, or if it is the answer, the likeliest
        other digit at its place.
    position: the place of the digit, counted from 1; by default that of the least certain digit.
    layer: the only layer whose feature maps are wanted.
    on_missing_digit: is called for a line that has fewer digits than `position`, which is then left out; by
        default it raises the error.

    Raises:
        UsageError: the architecture of the model does not have what a method looks at.
        ModelError: there is no such model, its file is damaged, or it does not read lines.
        EnvironmentFault: the device is not available.
    """
    resolved = resolve_model(model)
    if resolved.header.task != "line":
        raise ModelError(f"{resolved.name} does not read lines.", "Name a model of the task line: reader.")
    network = load_model(resolved, device=device)
    for name, image in lines:
        with backward_pass(network), find_architecture(resolved.header.architecture).plugin_errors():
            line = read_line(network, resolved.header, image)
            if line.text and position is not None and not 1 <= position <= len(line.places):
                cause = f"{name} is read as {line.text}, which has no digit {position}."
                on_missing_digit(UsageError(cause, f"Give a position from 1 to {len(line.places)}."))
                continue
            explanation = LineExplanation(name, resolved.id, image, line.text, line.confidence)
            if line.text:
                explanation = _locate(explanation, line, position)
                explanation = _explain(explanation, line, methods, against)
                layers = tuple(layers_of(network, line.batch, methods))
                explanation = replace(explanation, layers=only_layer(layers, layer))
        yield explanation


def _locate(explanation: LineExplanation, line: ReadLine, position: int | None) -> LineExplanation:
    """Add the digit that is explained: that at a position, or the least certain one."""
    with torch.no_grad():
        probabilities = [reader(line.batch)[0].softmax(dim=0).tolist() for _, reader in line.places]
    certainties = [shares[int(digit)] for shares, digit in zip(probabilities, line.text, strict=True)]
    index = int(np.argmin(certainties)) if position is None else position - 1
    first, end = line.places[index][0]
    return replace(
        explanation,
        position=index + 1,
        span=(first * COLUMN_PX, min(end * COLUMN_PX, explanation.image.shape[-1])),
        probabilities=tuple(probabilities[index]),
    )


def _explain(
    explanation: LineExplanation, line: ReadLine, methods: Sequence[Method], against: int | None
) -> LineExplanation:
    """Add what speaks for the digit that is explained, and for it and against another one."""
    digit, other = explanation.digit, explanation.other_digit
    if against not in (None, digit):
        other = against
    assert digit is not None and other is not None
    paper, width = paper_level(explanation.image) / 255, explanation.image.shape[-1]
    _, reader = line.places[explanation.position - 1]
    attributions, notes = attributions_of(
        reader, line.batch, methods, digit, other, paper, line_methods(paper)
    )
    if any(each.method == "integrated-gradients" for each in attributions):
        notes.append(CAUTION)
    return replace(
        explanation,
        attributions=tuple(replace(each, values=each.values[:, :width]) for each in attributions),
        notes=tuple(dict.fromkeys(notes)),
    )


def line_methods(
    paper: float, quadratures: Quadratures | None = None
) -> dict[str, Callable[[Score, Tensor], Tensor]]:
    """Return the methods of attribution with their settings for lines on paper of this value."""
    return BY_SCORE | {
        "integrated-gradients": partial(
            integrated_gradients, paper=paper, quadratures=quadratures or QUADRATURES
        ),
        "occlusion": partial(occlusion, side_px=OCCLUSION_PX, step_px=OCCLUSION_STEP_PX, paper=paper),
    }
