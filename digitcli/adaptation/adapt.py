"""Adapt the network that reads lines to labelled pictures, and find out on held-out ones whether it helps."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.adaptation.adaptation import (
    READER,
    Adaptation,
    Choice,
    EpochScore,
    FineTuning,
    PictureResult,
)
from digitcli.adaptation.calibrate import Answer, answer_pictures, numbers_of, read_folder
from digitcli.adaptation.labelled_lines import find_lines_to_learn
from digitcli.adaptation.line_fine_tuning import recipe_of, steps_of_epoch, trained_epochs
from digitcli.data.dataset import Failure, split
from digitcli.data.label_tables import LABELS, LabelledPicture
from digitcli.data.mnist import load_mnist
from digitcli.errors import InputError, QualityError, UsageError, counted
from digitcli.evaluation.calibration import minimize_over_temperature, risk_table
from digitcli.evaluation.metrics import LineLogits, exact_match, line_nll
from digitcli.events import OnEvent, ThingsDone
from digitcli.inference.checkpoint import Header, library_versions, write_checkpoint
from digitcli.inference.devices import choose_device
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model, resolve_models
from digitcli.inference.predictor import load_line_recognizer, load_page_finder
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.line_reading import FINDER
from digitcli.recognition.models import DEFAULT_OF_KIND, complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import companions_of
from digitcli.strip_format import ALPHABET
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training.line_task import held_out_strips, line_logits
from digitcli.training.start_model import describe_start
from digitcli.training.synthetic_strips import compose_training_strips
from digitcli.training.task import derive_seed

Weights = dict[str, Tensor]

# The parts into which the pictures are divided: a network of each learns from four fifths of them.
FOLDS = 5
# The fewest pictures that can be read. With fewer, no test can tell an improvement from chance, and each fold
# has only one or two pictures. Chosen by hand.
LEAST_PICTURES = 10
# The largest loss of accuracy on synthetic strips. It is about two standard errors of their accuracy, and six
# of the difference between two networks, so that one which loses more has become worse at other pictures.
TEST_STRIPS, LARGEST_LOSS = 1_000, 0.02
# More than the rounding of a difference of two shares, and less than one line.
ROUNDING = 1e-9
# The shares of the way from the weights before to those after the training, the first that forgets little is
# taken. Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
SHARES = (1.0, 0.75, 0.5, 0.25)
DEFAULT_SETTINGS = FineTuning()
# The synthetic strips to learn besides the labelled ones: each is used about twice in a training of 8 epochs.
COMPOSED_STRIPS, COMPOSED_AT_ONCE = 2_000, 100
# A part of the seeds of the synthetic strips to learn, which no pool of a training has.
_COMPOSED_SEED = (3, 0)


def adapt(
    folder: str | Path,
    models: Sequence[ModelLike] = (),
    *,
    settings: FineTuning = DEFAULT_SETTINGS,
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
) -> Adaptation:
    """Fine-tune a network that reads lines on labelled pictures, and find out whether that helps.

    The folder is that of `read_labelled_pictures`, and the models are those of `Reader`. The one of the
    architecture `reader` is fine-tuned. Cross-validation chooses the number of epochs, and tells how many
    pictures are read correctly by networks that were not trained on them. `save_adaptation`
    writes the result.

    Raises:
        UsageError: there is no single network to adapt.
        InputError: there are no labels, or too few of the labelled pictures can be used.
        QualityError: all of them are read correctly already.
        ModelError, EnvironmentFault: see `Reader`.
        DivergedError: the loss is not finite.
    """
    started = time.perf_counter()
    pictures, copies, unlabelled = read_folder(Path(folder))
    resolved = complete_models(resolve_models(models or [DEFAULT_OF_KIND["line"]]))
    start = model_to_adapt(resolved)
    reader = Reader(*resolved, device=device, min_confidence=0.0)
    answers, failures = _answer_usable(reader, pictures, start.header.alphabet, on_event)
    failures = (*copies, *failures)
    if answers and all(answer.is_right for answer in answers):
        cause = f"All {len(answers)} labelled pictures that can be read are read correctly already."
        raise QualityError(cause, "There is nothing to learn from them; label pictures that are misread.")
    digest = _digest_of(answers)
    setup = _set_up(answers, len(failures), start, settings, device, on_event)
    validation = cross_validate(setup)
    trained = train_on_all(setup, validation)
    after = answers if trained is None else read_held_out(setup, validation, trained[0], answers, resolved)
    result = Adaptation(
        folder=str(folder),
        model=reader.name,
        digest=digest,
        pictures=_results(answers, after, setup),
        unlabelled=unlabelled,
        failures=failures,
        lines=len(setup.lines),
        groups=setup.folds.groups,
        divides_group=setup.folds.divides_group,
        folds=setup.folds.count,
        scores=validation.scores,
        choice=trained[0] if trained else None,
        settings=settings,
        seconds=time.perf_counter() - started,
    )
    if trained is None or not result.helps:
        return result
    choice, tensors = trained
    return dataclasses.replace(result, adapted=(header_of(setup, choice, after, resolved), tensors))


def model_to_adapt(models: Sequence[ResolvedModel]) -> ResolvedModel:
    """Return the model of a reader that is adapted: the only one that reads strips.

    Raises:
        UsageError: there is none, or there are several, or its weights are integers.
    """
    readers = [model for model in models if model.header.architecture == READER]
    if len(readers) != 1:
        cause = f"{len(readers)} of the models are of the architecture {READER}, which is adapted."
        raise UsageError(cause, "Name one such model with -m, or leave -m out.")
    (model,) = readers
    if model.header.weight_bits:
        cause = f"The weights of {model.name} are integers, which cannot be trained."
        raise UsageError(cause, "Adapt the model that it was made from, and compress the result.")
    return model


def _answer_usable(
    reader: Reader, pictures: Sequence[LabelledPicture], alphabet: str, on_event: OnEvent
) -> tuple[list[Answer], tuple[Failure, ...]]:
    """Read the pictures that can be learned from; return the answers, and the pictures that are left out.

    A label such as `?`, without any character that a network reads, would teach it that nothing is written
    there.
    """
    unusable = [each for each in pictures if each.text.strip() and not set(each.text) & set(alphabet)]
    cause = "Its text has no digit; leave the text of a picture without a number empty."
    unlabelled = tuple(Failure(each.file, "label", cause) for each in unusable)
    labelled = [each for each in pictures if each not in unusable]
    if not any(numbers_of(picture.text) for picture in labelled):
        cause = f"No row of {LABELS} has a digit in its text, so that there is no number to learn."
        raise InputError(cause, "Write the number of each picture into the column text.")
    answers, unreadable = answer_pictures(reader, labelled, on_event, "pictures read")
    return answers, (*unlabelled, *unreadable)


def _set_up(
    answers: Sequence[Answer],
    failures: int,
    start: ResolvedModel,
    settings: FineTuning,
    device: str,
    on_event: OnEvent,
) -> Setup:
    """Find the lines to learn and divide their pictures into folds; `failures` pictures cannot be used."""
    recognizer, finder = load_line_recognizer(start, device), load_page_finder(FINDER, device)
    examples = find_lines_to_learn(answers, recognizer, finder, on_event)
    if (usable := sum(map(bool, examples))) < LEAST_PICTURES:
        listed = counted(len(examples) + failures, "labelled picture")
        cause = f"Of {listed}, {usable} can be used; {LEAST_PICTURES} are needed."
        if unclear := len(examples) - usable:
            cause += f" In {unclear}, it cannot be told where the text stands."
        if failures:
            cause += f" {failures} are copies, have no digit in their text or cannot be read."
        raise InputError(cause, "Label more pictures of one number each; 100 or more are better.")
    folds = divide_into_folds([answer.picture.group for answer in answers], FOLDS, settings.seed)
    composed = _compose_strips(settings.seed, on_event)
    original = held_out_strips(READER, "test", settings.seed, TEST_STRIPS)
    setup = Setup(start, examples, folds, composed, original, settings, choose_device(device), on_event)
    if not all(setup.lines_of(fold)[0] for fold in range(folds.count)):
        cause = "The pictures that can be used are all of one group, and the other groups have none."
        raise InputError(cause, "Label more pictures of the other groups, or leave the column group out.")
    return setup


def _compose_strips(seed: int, on_event: OnEvent) -> list[LabelledStrip]:
    """Compose the strips that are mixed with those of the pictures."""
    composer = scene_composer(split(load_mnist()).train, "train")
    random = np.random.default_rng(derive_seed(seed, *_COMPOSED_SEED))
    strips: list[LabelledStrip] = []
    while len(strips) < COMPOSED_STRIPS:
        strips += compose_training_strips(composer, random, COMPOSED_AT_ONCE)
        on_event(ThingsDone(len(strips), COMPOSED_STRIPS, "synthetic lines composed"))
    return strips


def accuracy_on(network: nn.Module, strips: Sequence[LabelledStrip]) -> float:
    """Return the share of strips whose digits are all read correctly."""
    return exact_match(line_logits(network, strips), [strip.digits for strip in strips], ALPHABET)


def _results(before: Sequence[Answer], after: Sequence[Answer], setup: Setup) -> tuple[PictureResult, ...]:
    return tuple(
        PictureResult(
            file=first.picture.file,
            fold=fold,
            lines=len(lines),
            right_before=first.is_right,
            right_after=second.is_right,
            confidence_before=first.confidence,
            confidence_after=second.confidence,
        )
        for first, second, fold, lines in zip(before, after, setup.folds.numbers, setup.examples, strict=True)
    )


def _digest_of(answers: Sequence[Answer]) -> str:
    """Return the SHA-256 of the pictures and their labels."""
    sha256 = hashlib.sha256()
    for picture in (answer.picture for answer in answers):
        sha256.update(hashlib.sha256(picture.path.read_bytes()).digest())
        sha256.update(f"{picture.text}\0{picture.group or ''}\0".encode())
    return sha256.hexdigest()


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
    original: synthetic strips by held-out writers, which show what a network forgets.
    settings, device: how, and where, the networks are trained.
    on_event: receives the progress.
    """

    start: ResolvedModel
    examples: Sequence[Sequence[LabelledStrip]]
    folds: Folds
    composed: Sequence[LabelledStrip]
    original: Sequence[LabelledStrip]
    settings: FineTuning
    device: torch.device
    on_event: OnEvent

    @property
    def lines(self) -> list[LabelledStrip]:
        """The lines of all pictures."""
        return [line for example in self.examples for line in example]

    def lines_of(self, fold: int) -> tuple[list[LabelledStrip], list[LabelledStrip]]:
        """Return the lines to train on and the held-out lines of a fold."""
        training, held_out = list[LabelledStrip](), list[LabelledStrip]()
        for example, number in zip(self.examples, self.folds.numbers, strict=True):
            (held_out if number == fold else training).extend(example)
        return training, held_out

    def counter(self, things: str, n: int) -> Callable[[], None]:
        """Return a function that reports one more of `n` things each time that it is called."""
        numbers = itertools.count(1)
        return lambda: self.on_event(ThingsDone(next(numbers), n, things))


@dataclass(frozen=True)
class CrossValidation:
    """The scores by epoch, and the weights of each fold's network after each epoch, the first epoch first."""

    scores: tuple[EpochScore, ...]
    weights: tuple[tuple[Weights, ...], ...]

    @property
    def best(self) -> EpochScore:
        """The score with the lowest negative log-likelihood; of equal ones, that of the fewest epochs."""
        return min(self.scores, key=lambda score: score.nll)


def cross_validate(setup: Setup) -> CrossValidation:
    """Train on all folds but one, and read the lines of that one after each epoch; for each fold.

    Raises:
        The errors of `trained_epochs`.
    """
    start, settings, device = setup.start, setup.settings, setup.device
    parts = [setup.lines_of(fold) for fold in range(setup.folds.count)]
    steps = sum(settings.epochs * steps_of_epoch(len(training)) for training, _ in parts)
    on_step = setup.counter("training steps of the cross-validation", steps)
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


def train_on_all(setup: Setup, validation: CrossValidation) -> tuple[Choice, Weights] | None:
    """Train on all lines for the best number of epochs; None if it is 0, or the network forgets too much.

    Weights that lose more than `LARGEST_LOSS` on synthetic lines are moved back towards those before.
    """
    epochs = validation.best.epochs
    if not epochs:
        return None
    settings = dataclasses.replace(setup.settings, epochs=epochs)
    on_step = setup.counter("training steps on all pictures", epochs * steps_of_epoch(len(setup.lines)))
    *_, network = trained_epochs(setup.start, setup.lines, setup.composed, settings, setup.device, on_step)
    trial = open_network(setup.start).to(setup.device)
    before, after = copied_weights(trial), copied_weights(network)
    accuracy = accuracy_on(trial, setup.original)
    for share in SHARES:
        tensors = interpolated(before, after, share)
        trial.load_state_dict(tensors)
        new_accuracy = accuracy_on(trial, setup.original)
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


def read_held_out(
    setup: Setup,
    validation: CrossValidation,
    choice: Choice,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
) -> list[Answer]:
    """Read the pictures of each fold with its network in the place of the one that is adapted.

    answers: what the models of the reader read before the adaptation.

    Raises:
        InputError: a picture has vanished since it was read for the first time.
    """
    start, numbers = setup.start, setup.folds.numbers
    header = dataclasses.replace(start.header, temperature=choice.score.temperature)
    weights_before = copied_weights(open_network(start))
    after: dict[int, Answer] = {}
    count = setup.counter("held-out pictures read", len(answers))
    with tempfile.TemporaryDirectory() as folder:
        for fold, weights in enumerate(validation.weights):
            path = Path(folder) / f"{READER}-{fold}.safetensors"
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


def header_of(
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
