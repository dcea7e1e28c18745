"""Evaluate models of single digits on a labelled dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Dataset, Digits, describe_failures
from digitcli.data.loading import PUBLISHED_DATASETS, load_dataset
from digitcli.errors import UsageError
from digitcli.evaluation.calibration import CoveragePoint, ReliabilityBin, coverage, reliability
from digitcli.evaluation.metrics import (
    ClassScores,
    accuracy,
    class_scores,
    confusion_counts,
    ece,
    nll,
    wilson_interval,
)
from digitcli.evaluation.robustness import OodResult, Robustness, measure_ood, measure_robustness
from digitcli.evaluation.selection import Selection, check_selection, select_models
from digitcli.evaluation.splits import (
    Split,
    correctly_labelled,
    default_split,
    groups_of_split,
    report_overlap,
    take_split,
)
from digitcli.events import DigitsDone, Notice, OnEvent
from digitcli.inference.ctc import log_softmax
from digitcli.inference.model_resolution import (
    DEFAULT_MODEL,
    ModelLike,
    ResolvedModel,
    check_distinct,
    resolve_models,
)
from digitcli.inference.predictor import DigitClassifier, load_classifier
from digitcli.inference.runtime import DIGIT_BATCH_SIZE, RuntimeName

MISTAKES = 6  # mistakes that a result lists
# The fields that a record leaves out.
NOT_RECORDED = ("models", "digits", "predicted", "probabilities", "digit_groups")


@dataclass(frozen=True)
class Mistake:
    """A digit that was misread.

    index: its place among the evaluated digits, from 0.
    confidence: the probability of the wrong answer.
    label_probability: the probability of the correct answer.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    label_probability: float


@dataclass(frozen=True)
class GroupAccuracy:
    """The accuracy on a group of the digits, for example one corruption of MNIST-C, and its 95 % interval."""

    name: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class EvaluationResult:
    """The evaluation of models on digits. Measurements that were not requested are None.

    model: the ids of the models.
    data, digest: the name of the dataset and the digest of its content.
    n: the number of digits.
    accuracy, accuracy_low, accuracy_high: the accuracy and its 95 % interval, as fractions.
    nll: the mean negative log-likelihood in nats.
    ece: the expected calibration error.
    confusion: the number of images of each digit (row) that received each answer (column).
    overlap: the number of digits that were used in training; None if it is not known.
    unreadable: the number of inputs of the dataset that could not be used.
    mistakes: the mistakes of the highest confidence.
    accuracy_without_label_errors: the accuracy without the digits whose label is known to be wrong.
    robustness: the accuracies on corrupted digits.
    ood: how well confidence tells digits from other pictures.
    selection: how the models were chosen among several, if they were.
    groups: the accuracy of each group of the digits, if the dataset has groups.
    models: the models themselves.
    digits, predicted, probabilities: the digits, the answers (N,) and the probabilities (N, 10).
    digit_groups: the group of each digit, see `groups_of_split`.
    """

    model: str
    data: str
    digest: str
    split: Split
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    nll: float
    ece: float
    per_class: list[ClassScores]
    confusion: list[list[int]]
    device: str
    overlap: int | None
    unreadable: int
    mistakes: list[Mistake]
    reliability: list[ReliabilityBin]
    coverage: list[CoveragePoint]
    accuracy_without_label_errors: float | None
    robustness: Robustness | None
    ood: tuple[OodResult, ...] | None
    selection: Selection | None
    groups: list[GroupAccuracy] | None
    models: tuple[ResolvedModel, ...] = field(repr=False, compare=False)
    digits: Digits = field(repr=False, compare=False)
    predicted: npt.NDArray[np.int64] = field(repr=False, compare=False)
    probabilities: npt.NDArray[np.float32] = field(repr=False, compare=False)
    digit_groups: tuple[str, ...] = field(repr=False, compare=False)

    @property
    def wrong(self) -> int:
        """The number of digits that were misread."""
        return self.n - sum(row[digit] for digit, row in enumerate(self.confusion))

    def record(self) -> dict[str, Any]:
        """Return the figures for JSON, without the arrays."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_RECORDED}


def evaluate(
    models: ModelLike | Sequence[ModelLike] = DEFAULT_MODEL,
    data: str | Path = DEFAULT_DATASET,
    *,
    select: int | None = None,
    split: Split | None = None,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    batch_size: int = DIGIT_BATCH_SIZE,
    mistakes: int = MISTAKES,
    without_label_errors: bool = False,
    robustness: bool = False,
    ood: bool = False,
    on_event: OnEvent = lambda event: None,
) -> EvaluationResult:
    """Evaluate a model, or the average of several, on labelled digits.

    `data` is anything that `load_dataset` takes. With `select`, that many of the models are chosen on the
    validation digits, see `select_members`, and their average is calibrated there and evaluated on the test
    digits. For the default `split` see `default_split`. The result lists up to `mistakes` mistakes.

    Raises:
        UsageError: there is no such dataset, split or device, a number is too small or too large, a model is
            named twice, or the label errors of the digits are not known.
        InputError: the data cannot be read, or there are too few digits for the split.
        ModelError: there is no such model, or it is damaged or does not read single digits.
        EnvironmentFault: the device, or a package that the dataset needs, is missing.
    """
    names = [models] if isinstance(models, str | Path | ResolvedModel) else models
    resolved = resolve_models(names)
    _check_options(split, mistakes, select, resolved)
    runner: dict[str, Any] = {"device": device, "runtime": runtime, "batch_size": batch_size}
    dataset = _load(str(data), on_event)
    classifier, selection = _open(resolved, dataset, select, on_event, runner)
    split = split or ("test" if select else default_split(dataset, classifier.headers))
    correct_labels = correctly_labelled(dataset, split) if without_label_errors else None
    digits, groups = take_split(dataset, split), groups_of_split(dataset, split)
    overlap = report_overlap(digits, dataset, classifier, on_event)

    def report(done: int, total: int = len(digits)) -> None:
        on_event(DigitsDone(done, total))

    logits = classifier.logits(digits.images, report)
    metrics = _metrics(digits, logits, mistakes, groups, correct_labels)
    confidences = metrics["probabilities"].max(axis=-1)
    corrupted = measure_robustness(classifier, digits, metrics["accuracy"], report) if robustness else None
    return EvaluationResult(
        model=classifier.name,
        data=str(data),
        digest=dataset.digest,
        split=split,
        device=classifier.device,
        overlap=overlap,
        unreadable=len(dataset.failures),
        robustness=corrupted,
        ood=measure_ood(classifier, confidences) if ood else None,
        selection=selection,
        models=classifier.models,
        **metrics,
    )


def _open(
    models: Sequence[ResolvedModel],
    dataset: Dataset,
    select: int | None,
    on_event: OnEvent,
    runner: dict[str, Any],
) -> tuple[DigitClassifier, Selection | None]:
    """Load the models, or those that are chosen on the validation digits and how they were chosen."""
    if select is None:
        return load_classifier(*models, **runner), None
    chosen, selection = select_models(models, dataset, select, on_event, **runner)
    return load_classifier(*chosen, **runner, temperature=selection.temperature), selection


def _check_options(
    split: Split | None, mistakes: int, select: int | None, models: Sequence[ResolvedModel]
) -> None:
    if split not in (None, *get_args(Split)):
        raise UsageError(f"There is no split '{split}'.", f"Give one of {', '.join(get_args(Split))}.")
    if mistakes < 0:
        raise UsageError(f"--mistakes is {mistakes}.", "It must be at least 0.")
    if select is not None:
        check_selection(select, len(models), split)
    check_distinct(models)


def _load(data: str, on_event: OnEvent) -> Dataset:
    if data in PUBLISHED_DATASETS:
        on_event(Notice(f"Loading '{data}'. The first time it is downloaded, which can take some minutes."))
    dataset = load_dataset(data)
    if dataset.failures:
        on_event(Notice(f"Some inputs of '{data}' were left out: {describe_failures(dataset.failures)}"))
    return dataset


def _metrics(
    digits: Digits,
    logits: npt.NDArray[np.float32],
    mistakes: int,
    groups: tuple[str, ...],
    correct_labels: npt.NDArray[np.bool_] | None,
) -> dict[str, Any]:
    """Return the fields of `EvaluationResult` that follow from logits (N, 10) and groups of digits."""
    labels = digits.labels
    confusion = confusion_counts(logits, labels)
    low, high = wilson_interval(int(confusion.trace()), len(labels))
    predicted, probabilities = logits.argmax(axis=-1), np.exp(log_softmax(logits))
    confidence, is_correct = probabilities.max(axis=-1), predicted == labels
    return {
        "n": len(labels),
        "accuracy": accuracy(logits, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "nll": nll(logits, labels),
        "ece": ece(logits, labels),
        "per_class": class_scores(confusion),
        "confusion": confusion.tolist(),
        "reliability": reliability(confidence, is_correct),
        "coverage": coverage(confidence, is_correct),
        "mistakes": _worst_mistakes(labels, predicted, probabilities, mistakes),
        "accuracy_without_label_errors": (
            None if correct_labels is None else float(is_correct[correct_labels].mean())
        ),
        "groups": _group_accuracies(groups, is_correct) if groups else None,
        "digits": digits,
        "predicted": predicted,
        "probabilities": probabilities,
        "digit_groups": groups,
    }


def _group_accuracies(names: tuple[str, ...], is_correct: npt.NDArray[np.bool_]) -> list[GroupAccuracy]:
    """Return the accuracy of each group, in the order in which they begin."""
    accuracies = []
    for name in dict.fromkeys(filter(None, names)):
        correct = is_correct[np.array(names) == name]
        interval = wilson_interval(int(correct.sum()), len(correct))
        accuracies.append(GroupAccuracy(name, len(correct), float(correct.mean()), *interval))
    return accuracies


def _worst_mistakes(
    labels: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    count: int,
) -> list[Mistake]:
    """Return the mistakes of the highest confidence; mistakes of equal confidence stay in their order."""
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    return [
        Mistake(
            index=index,
            label=int(labels[index]),
            predicted=int(predicted[index]),
            confidence=float(probabilities[index, predicted[index]]),
            label_probability=float(probabilities[index, labels[index]]),
        )
        for index in wrong[np.argsort(-confidence, kind="stable")][:count].tolist()
    ]
