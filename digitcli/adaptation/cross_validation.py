"""Divide labelled pictures into folds, and choose the number of epochs by cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.adaptation.adaptation import EpochScore, FineTuning
from digitcli.adaptation.labelled_lines import PictureLines
from digitcli.adaptation.line_fine_tuning import trained_epochs
from digitcli.evaluation.calibration import minimize_over_temperature
from digitcli.evaluation.metrics import LineLogits, exact_match, line_nll
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import open_network
from digitcli.synthesis.lines import Line
from digitcli.training.line_task import line_logits


@dataclass(frozen=True)
class Folds:
    """The fold of each picture, from 0 on.

    numbers: the number of the fold of each picture.
    count: the number of folds.
    groups: the number of groups, where a picture without a group is a group of its own.
    divides_group: whether all pictures are of one group, which had to be divided.
    """

    numbers: tuple[int, ...]
    count: int
    groups: int
    divides_group: bool

    def held_out(self, fold: int) -> list[int]:
        """Return the indices of the pictures of a fold."""
        return [index for index, number in enumerate(self.numbers) if number == fold]


def divide_into_folds(groups: Sequence[str | None], folds: int, seed: int) -> Folds:
    """Divide pictures into folds of similar size; pictures of the same group stay together.

    Each group goes to the fold with the fewest pictures, the largest group first; a seed decides between
    groups of the same size. There are at most as many folds as groups.

    groups: the group of each picture; None for a picture that belongs to none.

    Raises:
        ValueError: there are fewer than two pictures.
    """
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} pictures cannot be divided")
    keys: list[object] = [index if group is None else group for index, group in enumerate(groups)]
    divides_group = len(set(keys)) == 1
    if divides_group:
        keys = list(range(len(groups)))
    sizes = Counter(keys)
    distinct = list(sizes)
    order = [distinct[index] for index in np.random.default_rng(seed).permutation(len(distinct))]
    count = min(folds, len(order))
    pictures_of_fold = [0] * count
    fold_of_group: dict[object, int] = {}
    for group in sorted(order, key=lambda key: -sizes[key]):
        fold = pictures_of_fold.index(min(pictures_of_fold))
        fold_of_group[group] = fold
        pictures_of_fold[fold] += sizes[group]
    number_of_groups = 1 if divides_group else len(distinct)
    return Folds(tuple(fold_of_group[key] for key in keys), count, number_of_groups, divides_group)


@dataclass(frozen=True)
class Setup:
    """Everything that a cross-validation needs.

    start: the network to fine-tune.
    examples: the lines to learn from, by picture.
    folds: the folds of these pictures.
    composed: synthetic lines, which are mixed with them.
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
