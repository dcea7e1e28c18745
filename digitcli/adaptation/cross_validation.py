"""Choose the number of epochs by cross-validation, and keep the network of each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.adaptation.examples import PictureLines
from digitcli.adaptation.folds import Folds
from digitcli.adaptation.networks import trained_epochs
from digitcli.adaptation.results import EpochScore
from digitcli.adaptation.settings import FineTuning
from digitcli.evaluation.calibration import minimize_over_temperature
from digitcli.evaluation.metrics import LineLogits, exact_match, line_nll
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import open_network
from digitcli.synthesis.lines import Line
from digitcli.training.line_task import line_logits


@dataclass(frozen=True)
class Setup:
    """Everything that a cross-validation needs.

    start: the network to fine-tune.
    examples: the lines to learn from, by picture.
    folds: the folds of these pictures.
    composed: composed lines, which are mixed with them.
    settings, device: how, and where, the networks are trained.
    """

    start: ResolvedModel
    examples: Sequence[PictureLines]
    folds: Folds
    composed: Sequence[Line]
    settings: FineTuning
    device: torch.device

    @property
    def lines(self) -> list[Line]:
        """The lines of all pictures."""
        return [line for example in self.examples for line in example.lines]

    @property
    def steps(self) -> int:
        """The training steps of all folds."""
        return sum(
            self.settings.epochs * self.settings.steps_of_epoch(len(self.lines_of(fold)[0]))
            for fold in range(self.folds.count)
        )

    def lines_of(self, fold: int) -> tuple[list[Line], list[Line]]:
        """Return the lines to train on and the held-out lines of a fold."""
        training, held_out = list[Line](), list[Line]()
        for example, number in zip(self.examples, self.folds.numbers, strict=True):
            (held_out if number == fold else training).extend(example.lines)
        return training, held_out


@dataclass(frozen=True)
class CrossValidation:
    """The scores by epoch, and the weights of each fold's network after each epoch, the first epoch first."""

    scores: tuple[EpochScore, ...]
    weights: tuple[tuple[dict[str, Tensor], ...], ...]

    @property
    def best(self) -> EpochScore:
        """The score with the lowest negative log-likelihood; of equal ones, that of the fewest epochs."""
        return min(self.scores, key=lambda score: score.nll)


def cross_validate(setup: Setup, on_step: Callable[[], None] = lambda: None) -> CrossValidation:
    """Train on all folds but one, and read the lines of that one after each epoch; for each fold.

    Raises:
        The errors of `trained_epochs`.
    """
    start, settings, device = setup.start, setup.settings, setup.device
    logits: list[list[LineLogits]] = [[] for _ in range(settings.epochs + 1)]
    texts: list[str] = []
    weights = []
    for fold in range(setup.folds.count):
        training, held_out = setup.lines_of(fold)
        texts += [line.digits for line in held_out]
        logits[0].append(line_logits(open_network(start).to(device), held_out))
        states = []
        epochs = trained_epochs(start, training, setup.composed, settings, device, on_step)
        for number, network in enumerate(epochs, start=1):
            logits[number].append(line_logits(network, held_out))
            states.append(copied_weights(network))
        weights.append(tuple(states))
    alphabet = start.header.alphabet
    scores = (
        score_lines(number, [line for fold in each for line in fold], texts, alphabet)
        for number, each in enumerate(logits)
    )
    return CrossValidation(tuple(scores), tuple(weights))


def score_interpolated(setup: Setup, validation: CrossValidation, epochs: int, share: float) -> EpochScore:
    """Return the score of all folds after some epochs, with weights at a share of the way from the start."""
    if share == 1:
        return validation.scores[epochs]
    network = open_network(setup.start).to(setup.device)
    start, logits, texts = copied_weights(network), list[np.ndarray](), list[str]()
    for fold, weights in enumerate(validation.weights):
        _, held_out = setup.lines_of(fold)
        network.load_state_dict(interpolated(start, weights[epochs - 1], share))
        logits += line_logits(network, held_out)
        texts += [line.digits for line in held_out]
    return score_lines(epochs, logits, texts, setup.start.header.alphabet)


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the weights at a share of the way from one network to another, from 0 to 1."""
    return {
        name: torch.lerp(tensor, end[name], share) if tensor.is_floating_point() else end[name]
        for name, tensor in start.items()
    }


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights and buffers of a network on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def score_lines(epochs: int, logits: LineLogits, texts: Sequence[str], alphabet: str) -> EpochScore:
    """Return the score of lines that were not learned from, at the temperature that suits them best."""

    def nll(temperature: float) -> float:
        return float(line_nll(logits, texts, alphabet, temperature).mean())

    share = exact_match(logits, texts, alphabet)
    temperature = minimize_over_temperature(nll, all_correct=share == 1)
    return EpochScore(epochs, nll(temperature), share, temperature)
