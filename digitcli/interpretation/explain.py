"""Explain the answers of a model: to images of single digits, or to one digit of each line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.registry import find_architecture
from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import Header
from digitcli.inference.ctc import beam_search, digit_columns, divide
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model
from digitcli.inference.runtime import count_columns, pad_lines, padded_width, paper_level, width_step
from digitcli.inference.torch_runtime import as_input, device_of, load_model
from digitcli.interpretation.activations import NO_MAPS, NeighbourSearch, layers_of
from digitcli.interpretation.attribution import attributions_of, backward_pass, counterfactual
from digitcli.interpretation.explanation import LINE_PANEL, PANEL, Change, Explanation, Method
from digitcli.strip_format import COLUMN_PX, DIGITS

NamedImages = Iterable[tuple[str, npt.NDArray[np.uint8]]]

# What was measured of integrated gradients of lines, see docs/explanation.md.
CAUTION = (
    "Integrated gradients of a line add up to the score, and show where the digit is. Which of its strokes "
    "matter they tell no better than its ink does: prefer occlusion."
)


def explain(
    model: ModelLike,
    images: NamedImages,
    methods: Sequence[Method] = PANEL,
    against: int | None = None,
    *,
    change_to: int | None = None,
    device: str = "auto",
) -> Iterator[Explanation]:
    """Explain the answer of a model of single digits to each image.

    model: a shipped name (`cnn`), a checkpoint file or a run folder.
    images: the names of the images, and the images, uint8 (28, 28), ink 255 on paper 0.
    methods: what is computed, see `explanation.Method`.
    against: the digit with which the answer is compared; by default, or if it is the answer, the runner-up.
    change_to: a digit as which the image shall be read after a small change.

    Raises:
        UsageError: the architecture of the model does not have what a method looks at.
        ModelError: there is no such model, its file is damaged, or it does not classify single digits.
        EnvironmentFault: the device is not available.
    """
    resolved = resolve_model(model)
    if resolved.header.task != "digit":
        cause = f"The task of {resolved.name} is {resolved.header.task}s, not single digits."
        raise ModelError(cause, "Name a model of the task digit, for example cnn.")
    network = load_model(resolved, device=device)
    search = NeighbourSearch(network, resolved) if "prototype" in methods else None
    for name, image in images:
        batch = as_input(torch.from_numpy(image[None].copy()).to(device_of(network)))
        with backward_pass(network), find_architecture(resolved.header.architecture).plugin_errors():
            explanation = Explanation(name, resolved.id, image, _probabilities(network, resolved, batch))
            explanation = _attributed(explanation, network, batch, methods, against)
            layers = layers_of(network, batch, methods)
            changes: tuple[Change, ...] = ()
            notes = explanation.notes
            if change_to == explanation.digit:
                notes = (*notes, f"It is read as {change_to} already.")
            elif change_to is not None:
                changes = tuple(_changes(network, resolved, batch, change_to))
                notes += () if changes else (f"No counterfactual change to {change_to} was found.",)
        if "feature-maps" in methods and all(each.kind == "filters" for each in layers):
            notes = (*notes, NO_MAPS)
        neighbours = search.nearest(image) if search else ()
        yield replace(explanation, neighbours=neighbours, changes=changes, layers=layers, notes=notes)


def _attributed(
    explanation: Explanation,
    network: nn.Module,
    batch: Tensor,
    methods: Sequence[Method],
    against: int | None,
    paper: float = 0.0,
) -> Explanation:
    """Add what speaks for the digit that is explained, and for it and against another one.

    batch: the image as the network sees it, maybe with padding on the right.
    """
    digit, other, width = explanation.digit, explanation.other_digit, explanation.image.shape[-1]
    assert digit is not None and other is not None
    notes = []
    if against == digit:
        notes.append(f"It is read as {digit}, so it is shown against the likeliest other digit, {other}.")
    elif against is not None:
        other = against
    is_line = explanation.text is not None
    attributions, missing = attributions_of(network, batch, methods, digit, other, paper, is_line=is_line)
    cropped = tuple(replace(each, values=each.values[:, :width]) for each in attributions)
    return replace(explanation, attributions=cropped, notes=tuple(dict.fromkeys(notes + missing)))


def _probabilities(network: nn.Module, model: ResolvedModel, batch: Tensor) -> tuple[float, ...]:
    """Return the ten calibrated probabilities of one image."""
    with torch.no_grad():
        logits: Tensor = network(batch)
        return tuple((logits / model.header.temperature).softmax(dim=1)[0].tolist())


def _changes(network: nn.Module, model: ResolvedModel, batch: Tensor, digit: int) -> Iterator[Change]:
    """Yield a change of an image after which it is read as another digit, if one is found."""
    changed = counterfactual(network, batch, digit)
    if changed is not None:
        before, after = (_probabilities(network, model, each)[digit] for each in (batch, changed))
        difference = changed - batch
        yield Change(
            digit,
            (255 * changed[0, 0]).round().to(torch.uint8).cpu().numpy(),
            before,
            after,
            added=float(difference.clamp(min=0).sum()),
            erased=float((-difference).clamp(min=0).sum()),
            largest=float(difference.abs().max()),
        )


def explain_lines(
    model: ModelLike,
    lines: NamedImages,
    methods: Sequence[Method] = LINE_PANEL,
    against: int | None = None,
    *,
    position: int | None = None,
    device: str = "auto",
) -> Iterator[Explanation]:
    """Explain why a model of lines reads one digit of each line.

    model: a shipped name (`reader`), a checkpoint file or a run folder.
    lines: the names of the lines, and what the network sees of each, uint8 (40, W) or (3, 40, W), see
        `recognition.line_reading`.
    methods: what is computed, see `explanation.Method`; all but `prototype`.
    against: the digit with which the answer is compared; by default, or if it is the answer, the likeliest
        other digit at its place.
    position: the place of the digit, counted from 1; by default that of the least certain digit.

    Raises:
        UsageError: a line has fewer digits than `position`, or see `explain`.
        ModelError, EnvironmentFault: see `explain`.
    """
    resolved = resolve_model(model)
    if resolved.header.task != "line":
        raise ModelError(f"{resolved.name} does not read lines.", "Name a model of the task line: reader.")
    network = load_model(resolved, device=device)
    for name, image in lines:
        with backward_pass(network), find_architecture(resolved.header.architecture).plugin_errors():
            line = read_line(network, resolved.header, image)
            explanation = Explanation(name, resolved.id, image, text=line.text, confidence=line.confidence)
            if line.text:
                explanation = _locate(explanation, line, position)
                paper, (_, reader) = paper_level(image) / 255, line.places[explanation.position - 1]
                explanation = _attributed(explanation, reader, line.batch, methods, against, paper)
                notes = explanation.notes
                if any(each.method == "integrated-gradients" for each in explanation.attributions):
                    notes = (*notes, CAUTION)
                layers = layers_of(network, line.batch, methods)
                explanation = replace(explanation, layers=layers, notes=notes)
        yield explanation


class PlaceReader(nn.Module):
    """A network from lines (N, C, 40, W) to the logits (N, 11) of the digits at one place, and of none.

    The place is a range of columns. The logit of a digit is the logarithm of the probability that these
    columns show this digit, once, over the probability that they show none; therefore that of none is 0. As
    in connectionist temporal classification, the probability of a digit is the sum over its alignments, which
    are the runs of neighbouring columns that show it while all others are blank (Graves et al., 2006). Marks
    count as the blank. The softmax of the logits is calibrated by the temperature of the model.
    """

    def __init__(
        self, network: nn.Module, alphabet: str, temperature: float, columns: tuple[int, int]
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.columns = slice(*columns)
        self.digits = [alphabet.index(digit) for digit in DIGITS]
        self.others = [index for index in range(len(alphabet) + 1) if index not in self.digits]

    def forward(self, lines: Tensor) -> Tensor:
        """Return logits (N, 11); the last is 0."""
        logits = self.network(lines).float()[:, self.columns] / self.temperature  # N, T, A + 1
        blank = logits[..., self.others].logsumexp(dim=-1, keepdim=True)
        first, *others = (logits[..., self.digits] - blank).unbind(dim=1)  # T times N, 10
        ending = total = first  # alignments whose run ends at the column, and all so far
        for lead in others:
            ending = F.softplus(ending) + lead  # the run begins here, or goes on
            total = torch.logaddexp(total, ending)
        return F.pad(total, (0, 1))


@dataclass(frozen=True)
class ReadLine:
    """A line that is read.

    batch: the line as the network sees it, padded as for `predict`, float32 (1, C, 40, W).
    text, confidence: the likeliest text and its probability.
    places: the columns of each digit, see `ctc.divide`, and the network as their classifier.
    """

    batch: Tensor
    text: str
    confidence: float
    places: list[tuple[tuple[int, int], PlaceReader]]


@torch.no_grad()
def read_line(network: nn.Module, header: Header, image: npt.NDArray[np.uint8]) -> ReadLine:
    """Read a line, uint8 (40, W) or (3, 40, W), by the network of a checkpoint, and divide it into digits."""
    padded = pad_lines([image], padded_width(image, width_step(header.architecture)))
    batch = as_input(torch.from_numpy(padded).to(device_of(network)))
    logits = network(batch)[0].float().cpu().numpy()
    logits = logits[: count_columns(image.shape[-1], padded.shape[-1], len(logits))]
    columns = digit_columns(logits, header.alphabet, header.temperature)
    text, log_probability = beam_search(columns)[0]
    places = [
        (place, PlaceReader(network, header.alphabet, header.temperature, place))
        for place in divide(columns, text)
    ]
    return ReadLine(batch, text, min(1.0, math.exp(log_probability)), places)


def _locate(explanation: Explanation, line: ReadLine, position: int | None) -> Explanation:
    """Add the digit that is explained: that at a position, or the least certain one."""
    if position is not None and not 1 <= position <= len(line.places):
        cause = f"{explanation.file} is read as {line.text}, which has no digit {position}."
        raise UsageError(cause, f"Give a position from 1 to {len(line.places)}.")
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
