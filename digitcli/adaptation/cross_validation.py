"""Choose the number of epochs by cross-validation, train on all pictures, and judge the network on others."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.adaptation.adaptation import INK_READER, AdaptedModel, Choice, EpochScore, FineTuning
from digitcli.adaptation.calibrate import Answer, answer_pictures
from digitcli.adaptation.line_fine_tuning import recipe_of, steps_of_epoch, trained_epochs
from digitcli.errors import InputError
from digitcli.evaluation.calibration import minimize_over_temperature, risk_table
from digitcli.evaluation.metrics import LineLogits, exact_match, line_nll
from digitcli.events import AdaptationStage, OnEvent, StageProgress
from digitcli.inference.checkpoint import Header, library_versions, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import companions_of
from digitcli.synthesis.lines import Line
from digitcli.training.line_task import line_logits
from digitcli.training.start_model import OriginalLines, describe_start

Weights = dict[str, Tensor]

# The largest loss of accuracy on 1,000 synthetic lines. It is about two standard errors of their accuracy
# (0.86 percentage points), and six of the difference between two networks (see `training.start_model`), so
# that a network which loses more has clearly become worse at other pictures.
LARGEST_LOSS = 0.02
# More than the rounding of a difference of two shares, and less than one line.
ROUNDING = 1e-9
# The shares of the way from the weights before to those after the training, the first that forgets little is
# taken. Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
SHARES = (1.0, 0.75, 0.5, 0.25)


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


def divide_into_folds(groups: Sequence[str | None], folds: int, seed: int) -> Folds:
    """Divide at least two pictures into folds of similar size; pictures of the same group stay together.

    Each group goes to the fold with the fewest pictures, the largest group first; a seed decides between
    groups of the same size. There are at most as many folds as groups.

    groups: the group of each picture; None for a picture that belongs to none.
    """
    keys: list[object] = [index if group is None else group for index, group in enumerate(groups)]
    divides_group = len(set(keys)) == 1
    if divides_group:
        keys = list(range(len(groups)))
    sizes = Counter(keys)
    distinct = list(sizes)
    order = [distinct[index] for index in np.random.default_rng(seed).permutation(len(distinct))]
    pictures_of_fold = [0] * min(folds, len(order))
    fold_of_group: dict[object, int] = {}
    for group in sorted(order, key=lambda key: -sizes[key]):
        fold = pictures_of_fold.index(min(pictures_of_fold))
        fold_of_group[group] = fold
        pictures_of_fold[fold] += sizes[group]
    numbers = tuple(fold_of_group[key] for key in keys)
    return Folds(numbers, len(pictures_of_fold), 1 if divides_group else len(distinct), divides_group)


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
    examples: Sequence[Sequence[Line]]
    folds: Folds
    composed: Sequence[Line]
    settings: FineTuning
    device: torch.device

    @property
    def lines(self) -> list[Line]:
        """The lines of all pictures."""
        return [line for example in self.examples for line in example]

    def lines_of(self, fold: int) -> tuple[list[Line], list[Line]]:
        """Return the lines to train on and the held-out lines of a fold."""
        training, held_out = list[Line](), list[Line]()
        for example, number in zip(self.examples, self.folds.numbers, strict=True):
            (held_out if number == fold else training).extend(example)
        return training, held_out


@dataclass(frozen=True)
class CrossValidation:
    """The scores by epoch, and the weights of each fold's network after each epoch, the first epoch first."""

    scores: tuple[EpochScore, ...]
    weights: tuple[tuple[Weights, ...], ...]

    @property
    def best(self) -> EpochScore:
        """The score with the lowest negative log-likelihood; of equal ones, that of the fewest epochs."""
        return min(self.scores, key=lambda score: score.nll)


def cross_validate(setup: Setup, on_event: OnEvent = lambda event: None) -> CrossValidation:
    """Train on all folds but one, and read the lines of that one after each epoch; for each fold.

    Raises:
        The errors of `trained_epochs`.
    """
    start, settings, device = setup.start, setup.settings, setup.device
    parts = [setup.lines_of(fold) for fold in range(setup.folds.count)]
    steps = sum(settings.epochs * steps_of_epoch(len(training)) for training, _ in parts)
    on_step = _counter(AdaptationStage.TRAIN, steps, on_event)
    logits: list[list[np.ndarray]] = [[] for _ in range(settings.epochs + 1)]
    weights = []
    for training, held_out in parts:
        logits[0] += line_logits(open_network(start).to(device), held_out)
        states = []
        epochs = trained_epochs(start, training, setup.composed, settings, device, on_step)
        for number, network in enumerate(epochs, start=1):
            logits[number] += line_logits(network, held_out)
            states.append(copied_weights(network))
        weights.append(tuple(states))
    texts = [line.digits for _, held_out in parts for line in held_out]
    scores = (_score(number, each, texts, start.header.alphabet) for number, each in enumerate(logits))
    return CrossValidation(tuple(scores), tuple(weights))


def _score(epochs: int, logits: LineLogits, texts: Sequence[str], alphabet: str) -> EpochScore:
    """Return the score of lines that were not learned from, at the temperature that suits them best."""

    def nll(temperature: float) -> float:
        return float(line_nll(logits, texts, alphabet, temperature).mean())

    share = exact_match(logits, texts, alphabet)
    temperature = minimize_over_temperature(nll, all_correct=share == 1)
    return EpochScore(epochs, nll(temperature), share, temperature)


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> Weights:
    """Return the weights at a share of the way from one network to another, from 0 to 1."""
    return {
        name: torch.lerp(tensor, end[name], share) if tensor.is_floating_point() else end[name]
        for name, tensor in start.items()
    }


def copied_weights(network: nn.Module) -> Weights:
    """Return a copy of the weights and buffers of a network on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def train_on_all(
    setup: Setup, validation: CrossValidation, original: OriginalLines, on_event: OnEvent
) -> tuple[Choice, Weights] | None:
    """Train on all lines for the best number of epochs; None if it is 0, or the network forgets too much.

    Weights that lose more than `LARGEST_LOSS` on synthetic lines are moved back towards those before.
    """
    epochs = validation.best.epochs
    if not epochs:
        return None
    settings = dataclasses.replace(setup.settings, epochs=epochs)
    on_step = _counter(AdaptationStage.TRAIN_ALL, epochs * steps_of_epoch(len(setup.lines)), on_event)
    *_, network = trained_epochs(setup.start, setup.lines, setup.composed, settings, setup.device, on_step)
    trial = open_network(setup.start).to(setup.device)
    before, after, accuracy = copied_weights(trial), copied_weights(network), original.test_accuracy(trial)
    for share in SHARES:
        tensors = interpolated(before, after, share)
        trial.load_state_dict(tensors)
        new_accuracy = original.test_accuracy(trial)
        if accuracy - new_accuracy <= LARGEST_LOSS + ROUNDING:
            score = _score_at(setup, validation, epochs, share)
            return Choice(epochs, share, accuracy, new_accuracy, score), tensors
    return None


def _score_at(setup: Setup, validation: CrossValidation, epochs: int, share: float) -> EpochScore:
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
    return _score(epochs, logits, texts, setup.start.header.alphabet)


@dataclass(frozen=True)
class Judged:
    """The final network, judged by those of the folds, which read pictures that they were not trained on.

    scores: the scores of the held-out lines by the number of epochs.
    choice: how the network was chosen, see `Adaptation`.
    answers: the answers to the held-out pictures; those before where no network was chosen.
    adapted: the network, if more pictures are read correctly with it.
    """

    scores: tuple[EpochScore, ...]
    choice: Choice | None
    answers: Sequence[Answer]
    adapted: AdaptedModel | None = None


def train_and_judge(
    setup: Setup,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
    original: OriginalLines,
    on_event: OnEvent,
) -> Judged:
    """Adapt the network that reads lines, and find out whether more pictures are read correctly with it.

    answers: what the models of the reader read before the adaptation.

    Raises:
        InputError: a picture has vanished since it was read for the first time.
        The errors of `cross_validate`.
    """
    validation = cross_validate(setup, on_event)
    trained = train_on_all(setup, validation, original, on_event)
    if trained is None:
        return Judged(validation.scores, None, answers)
    choice, tensors = trained
    after = _read_held_out(setup, validation, choice, answers, models, on_event)
    if sum(answer.is_right for answer in after) <= sum(answer.is_right for answer in answers):
        return Judged(validation.scores, choice, after)
    header = _header_of(setup, choice, after, models)
    return Judged(validation.scores, choice, after, AdaptedModel(header, tensors))


def _read_held_out(
    setup: Setup,
    validation: CrossValidation,
    choice: Choice,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
    on_event: OnEvent,
) -> list[Answer]:
    """Read the pictures of each fold with its network in the place of the one that is adapted."""
    start, numbers = setup.start, setup.folds.numbers
    header = dataclasses.replace(start.header, temperature=choice.score.temperature)
    weights_before = copied_weights(open_network(start))
    after: dict[int, Answer] = {}
    count = _counter(AdaptationStage.TEST, len(answers), on_event)
    with tempfile.TemporaryDirectory() as folder:
        for fold, weights in enumerate(validation.weights):
            path = Path(folder) / f"{INK_READER}-{fold}.safetensors"
            tensors = interpolated(weights_before, weights[choice.epochs - 1], choice.share)
            write_checkpoint(path, header, tensors)
            network = resolve_model(path)
            changed = [network if model is start else model for model in models]
            reader = Reader(*changed, device=str(setup.device), min_confidence=0.0)
            held_out = [index for index, number in enumerate(numbers) if number == fold]
            pictures = [answers[index].picture for index in held_out]
            read, failures = answer_pictures(reader, pictures, lambda event: count())
            if failures:
                cause = f"{failures[0].file} could be read before the training, but cannot any more."
                raise InputError(cause, "Leave the pictures as they are while digitcli adapt runs.")
            after |= dict(zip(held_out, read, strict=True))
    return [after[index] for index in range(len(answers))]


def _header_of(
    setup: Setup, choice: Choice, answers: Sequence[Answer], models: Sequence[ResolvedModel]
) -> Header:
    """Return the header of the final network, with the risk of the reader that it belongs to.

    answers: what the networks of the folds read in the pictures that were held out. One more answer that is
        wrong and has the highest confidence makes the risk table careful: few right answers do not show that
        none is wrong.
    models: the models of the reader, with this network as it was before.
    """
    start, settings = setup.start, dataclasses.replace(setup.settings, epochs=choice.epochs)
    given = [(answer.confidence, answer.is_right) for answer in answers if answer.confidence is not None]
    confidences, is_right = zip((1.0, False), *given, strict=True)
    return Header(
        architecture=start.header.architecture,
        arguments=start.header.arguments,
        task=start.header.task,
        alphabet=start.header.alphabet,
        recipe=dataclasses.asdict(recipe_of(start, settings, setup.device)),
        seed=settings.seed,
        dataset={"name": "labelled pictures", "pictures": len(setup.examples), "train": len(setup.lines)},
        start=describe_start(start),
        temperature=choice.score.temperature,
        risk=risk_table(confidences, is_right),
        risk_companions=companions_of(start, models),
        versions=library_versions(),
    )


def _counter(stage: AdaptationStage, n: int, on_event: OnEvent) -> Callable[[], None]:
    """Return a function that reports the progress of a stage each time that it is called."""
    numbers = itertools.count(1)
    return lambda: on_event(StageProgress(stage, next(numbers), n))
