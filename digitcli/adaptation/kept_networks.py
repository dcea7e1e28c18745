"""Adapt the network of lines and the classifier of digits; keep what reads more pictures rightly."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from digitcli.adaptation.classifier import (
    ClassifierSetup,
    FoldClassifiers,
    classifier_to_adapt,
    cross_validate_classifier,
    train_classifier_on_all,
)
from digitcli.adaptation.cross_validation import Setup, cross_validate
from digitcli.adaptation.digit_examples import find_digits_to_learn
from digitcli.adaptation.final_network import (
    Trained,
    adapted_model,
    counter,
    read_held_out,
    train_on_all,
    unchanged_model,
    write_fold_networks,
)
from digitcli.adaptation.results import AdaptedModel, Choice, ClassifierResult, EpochScore
from digitcli.events import AdaptationStage, OnEvent
from digitcli.inference.checkpoint import read_checkpoint
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.recognition.calibrate import Answer
from digitcli.recognition.crops import DIGIT_SIZES_PX
from digitcli.recognition.models import DEFAULT_OF_KIND
from digitcli.training.original import OriginalLines


@dataclass(frozen=True)
class KeptNetworks:
    """What became of the networks of a reader.

    scores: the scores of the held-out lines by the number of epochs.
    choice: how the network that reads lines was chosen, see `Adaptation`.
    keeps_reader: whether that network is kept.
    classifier: how the classifier does; None if it was not trained.
    answers: the answers to the held-out pictures with the networks that are kept; if none is, with the one
        that reads lines.
    models: the networks that are kept.
    """

    scores: tuple[EpochScore, ...]
    choice: Choice | None
    keeps_reader: bool
    classifier: ClassifierResult | None
    answers: Sequence[Answer]
    models: tuple[AdaptedModel, ...]


@dataclass(frozen=True)
class Trial:
    """The models of the reader for each fold, and what they read in the pictures of that fold."""

    models_of_folds: Sequence[Sequence[ResolvedModel]]
    answers: Sequence[Answer]

    @property
    def right(self) -> int:
        """The number of pictures that are read rightly."""
        return sum(answer.is_right for answer in self.answers)


@dataclass(frozen=True)
class ClassifierTrial:
    """A classifier that was tried, and the one that is kept in place of `start`; None if it is not."""

    start: ResolvedModel
    result: ClassifierResult
    answers: Sequence[Answer]
    network: ResolvedModel | None = None


def train_networks(
    setup: Setup,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
    original: OriginalLines,
    device: str,
    on_event: OnEvent,
) -> KeptNetworks:
    """Adapt the network that reads lines, then the classifier beside what was kept.

    answers: what the models of the reader read before the adaptation.

    Raises:
        The errors of `cross_validate`, `read_held_out` and `train`.
    """
    validation = cross_validate(setup, counter(AdaptationStage.TRAIN, setup.steps, on_event))
    trained = train_on_all(setup, validation, original, on_event)
    before = tried = Trial([models] * setup.folds.count, answers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if trained is not None:
            networks = write_fold_networks(setup, validation, trained, folder)
            tried = _try(before, setup.start, networks, setup, device, on_event)
        keeps_reader = tried.right > before.right
        classifier = _try_classifier(tried if keeps_reader else before, setup, device, folder, on_event)
        keeps_classifier = classifier is not None and classifier.network is not None
        after = classifier.answers if classifier and keeps_classifier else tried.answers
        adapted = _adapted_models(setup, trained if keeps_reader else None, classifier, after, models)
    choice = trained.choice if trained else None
    result = classifier.result if classifier else None
    return KeptNetworks(validation.scores, choice, keeps_reader, result, after, adapted)


def _try(
    before: Trial,
    start: ResolvedModel,
    networks: Sequence[ResolvedModel],
    setup: Setup,
    device: str,
    on_event: OnEvent,
) -> Trial:
    """Read the held-out pictures of each fold with its network in place of one of the models before."""
    folds = [
        _with(models, start, network)
        for models, network in zip(before.models_of_folds, networks, strict=True)
    ]
    pictures = [answer.picture for answer in before.answers]
    return Trial(folds, read_held_out(pictures, setup.folds, folds, device, on_event))


def _try_classifier(
    before: Trial, setup: Setup, device: str, folder: Path, on_event: OnEvent
) -> ClassifierTrial | None:
    """Adapt the classifier of single digits; None if the pictures cannot adapt it."""
    examples = find_digits_to_learn(before.answers)
    start = classifier_to_adapt(before.models_of_folds[0], examples, setup.folds)
    if start is None:
        return None
    seed = setup.settings.seed
    digits = ClassifierSetup(start, examples, setup.folds, seed, device, folder, on_event)
    classifiers = cross_validate_classifier(digits)
    after = _try(before, start, classifiers.models, setup, device, on_event)
    result = _compare(digits, classifiers, before, after)
    if result.gained <= result.lost:
        return ClassifierTrial(start, result, after.answers)
    network, trained = train_classifier_on_all(digits, classifiers.temperature)
    result = replace(
        result, mnist_before=trained.original_accuracy_before, mnist_after=trained.original_accuracy
    )
    if result.forgets_too_much:
        return ClassifierTrial(start, result, after.answers)
    return ClassifierTrial(start, replace(result, is_kept=True), after.answers, network)


def _compare(
    setup: ClassifierSetup, classifiers: FoldClassifiers, before: Trial, after: Trial
) -> ClassifierResult:
    pairs = list(zip(before.answers, after.answers, strict=True))
    return ClassifierResult(
        pictures=sum(example.is_of_one_digit for example in setup.examples),
        digits=sum(len(example.digits) // len(DIGIT_SIZES_PX) for example in setup.examples),
        accuracy_before=classifiers.accuracy_before,
        accuracy_after=classifiers.accuracy_after,
        right_before=before.right,
        right_after=after.right,
        gained=sum(second.is_right and not first.is_right for first, second in pairs),
        lost=sum(first.is_right and not second.is_right for first, second in pairs),
    )


def _adapted_models(
    setup: Setup,
    trained: Trained | None,
    classifier: ClassifierTrial | None,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
) -> tuple[AdaptedModel, ...]:
    """Return the networks that are kept; with one of them, always the network that reads lines.

    A folder with a classifier alone would read single digits only, see `complete_models`.
    """
    network = classifier.network if classifier else None
    if classifier and network:
        models = _with(models, classifier.start, network)
    if trained is not None:
        reader = adapted_model(setup, trained, answers, models)
    elif network is not None:
        reader = unchanged_model(setup.start, answers, models)
    else:
        return ()
    if network is None:
        return (reader,)
    return reader, AdaptedModel(DEFAULT_OF_KIND["digit"], *read_checkpoint(network.path, network.sha256))


def _with(
    models: Sequence[ResolvedModel], start: ResolvedModel, network: ResolvedModel
) -> list[ResolvedModel]:
    """Return models with another one in place of `start`."""
    return [network if model is start else model for model in models]
