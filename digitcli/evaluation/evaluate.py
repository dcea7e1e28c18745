"""Evaluate models of single digits on a labelled dataset."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from digitcli.atomic_write import write_whole
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Dataset, Digits, describe_failures
from digitcli.data.loading import PUBLISHED_DATASETS, load_dataset
from digitcli.errors import UsageError
from digitcli.evaluation import MISTAKES, MODEL_SUFFIX
from digitcli.evaluation.calibration import (
    CoveragePoint,
    ReliabilityBin,
    coverage,
    draw_calibration,
    reliability,
)
from digitcli.evaluation.metrics import ClassScores, class_scores, confusion_counts, ece, nll, wilson_interval
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
from digitcli.inference.predictor import load_classifier
from digitcli.inference.runtime import RuntimeName

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate_lines import LineEvaluation

# The fields that a record leaves out.
NOT_RECORDED = ("models", "digits", "predicted", "probabilities", "digit_groups")


@dataclass(frozen=True)
class Mistake:
    """A digit that was misread.

    index: its place among the evaluated digits, from 0.
    confidence, label_probability: the probabilities of the wrong answer and of the correct one.
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
    accuracy_without_label_errors: the accuracy without the 15 test digits of MNIST whose label is wrong.
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

    def as_csv(self) -> str:
        """Return `index,label,predicted,confidence`, `probability_0` to `probability_9`, `group` if any."""
        columns = ["index", "label", "predicted", "confidence"]
        columns += [f"probability_{digit}" for digit in range(self.probabilities.shape[1])]
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(columns + ["group"] * bool(self.digit_groups))
        for index, probabilities in enumerate(self.probabilities.tolist()):
            label, predicted = int(self.digits.labels[index]), int(self.predicted[index])
            figures = [f"{value:.6g}" for value in (probabilities[predicted], *probabilities)]
            writer.writerow([index, label, predicted, *figures, *self.digit_groups[index : index + 1]])
        return content.getvalue()


def evaluate(
    models: ModelLike | Sequence[ModelLike] = DEFAULT_MODEL,
    data: str | Path = DEFAULT_DATASET,
    *,
    select: int | None = None,
    split: Split | None = None,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    mistakes: int = MISTAKES,
    robustness: bool = False,
    ood: bool = False,
    on_event: OnEvent = lambda event: None,
) -> EvaluationResult:
    """Evaluate a model, or the average of several, on labelled digits.

    `data` is anything that `load_dataset` takes. With `select`, that many of the models are chosen on the
    validation digits, see `select_members`, and their average is calibrated there and evaluated on the test
    digits. For the default `split` see `default_split`. The result lists up to `mistakes` mistakes.

    Raises:
        UsageError: there is no such dataset, split or device, `select` is too small or too large, or a model
            is named twice.
        InputError: the data cannot be read, or there are too few digits for the split.
        ModelError: there is no such model, or it is damaged or does not read single digits.
        EnvironmentFault: the device, or a package that the dataset needs, is missing.
    """
    resolved = resolve_models([models] if isinstance(models, str | Path | ResolvedModel) else models)
    if split not in (None, *get_args(Split)):
        raise UsageError(f"There is no split '{split}'.", f"Give one of {', '.join(get_args(Split))}.")
    if select is not None:
        check_selection(select, len(resolved), split)
    check_distinct(resolved)
    dataset, load = _load(str(data), on_event), partial(load_classifier, device=device, runtime=runtime)
    selection = None
    if select is None:
        classifier = load(*resolved)
    else:
        chosen, selection = select_models(resolved, dataset, select, load, on_event)
        classifier = load(*chosen, temperature=selection.temperature)
    split = split or ("test" if select else default_split(dataset, classifier.headers))
    digits = take_split(dataset, split)
    overlap = report_overlap(digits, dataset, classifier, on_event)

    def report(done: int, total: int = len(digits)) -> None:
        on_event(DigitsDone(done, total))

    measured = _measure(dataset, split, digits, classifier.logits(digits.images, report), mistakes)
    accuracy, confidences = measured["accuracy"], measured["probabilities"].max(axis=-1)
    return EvaluationResult(
        model=classifier.name,
        data=str(data),
        device=classifier.device,
        overlap=overlap,
        robustness=measure_robustness(classifier, digits, accuracy, report) if robustness else None,
        ood=measure_ood(classifier, confidences) if ood else None,
        selection=selection,
        models=classifier.models,
        **measured,
    )


def _load(data: str, on_event: OnEvent) -> Dataset:
    if data in PUBLISHED_DATASETS:
        on_event(Notice(f"Loading '{data}'. The first time it is downloaded, which can take some minutes."))
    dataset = load_dataset(data)
    if dataset.failures:
        on_event(Notice(f"Some inputs of '{data}' were left out: {describe_failures(dataset.failures)}"))
    return dataset


def _measure(
    dataset: Dataset, split: Split, digits: Digits, logits: npt.NDArray[np.float32], mistakes: int
) -> dict[str, Any]:
    """Return the fields of `EvaluationResult` that follow from the digits of a split and logits (N, 10)."""
    labels, groups = digits.labels, groups_of_split(dataset, split)
    predicted, probabilities = logits.argmax(axis=-1), np.exp(log_softmax(logits))
    confidence, is_correct = probabilities.max(axis=-1), predicted == labels
    has_right_label = correctly_labelled(dataset, split)
    confusion = confusion_counts(logits, labels)
    low, high = wilson_interval(int(is_correct.sum()), len(labels))
    return {
        "digest": dataset.digest,
        "split": split,
        "n": len(labels),
        "accuracy": float(is_correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "nll": nll(logits, labels),
        "ece": ece(logits, labels),
        "per_class": class_scores(confusion),
        "confusion": confusion.tolist(),
        "unreadable": len(dataset.failures),
        "mistakes": _worst_mistakes(labels, predicted, probabilities, mistakes),
        "reliability": reliability(confidence, is_correct),
        "coverage": coverage(confidence, is_correct),
        "accuracy_without_label_errors": (
            None if has_right_label is None else float(is_correct[has_right_label].mean())
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


def save_result(path: Path, result: EvaluationResult | LineEvaluation) -> None:
    """Write figures (.json), a row for each image or line (.csv), diagrams (.svg) or the selected models.

    Raises:
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = json.dumps(result.record(), indent=2) + "\n"
    elif suffix == ".csv":
        content = result.as_csv()
    else:
        assert isinstance(result, EvaluationResult), "the command checks it"
        if suffix == MODEL_SUFFIX:
            _save_selected_models(path, result)
            return
        content = draw_calibration(result.model, result.reliability, result.coverage)
    write_whole(path, content.encode())


def _save_selected_models(path: Path, result: EvaluationResult) -> None:
    """Write the selected models as one model, an ensemble with their temperature.

    The accuracies become part of it if all members were trained on the dataset of the evaluation.
    """
    from digitcli.inference.ensemble_file import write_ensemble

    selection = result.selection
    assert selection is not None, "the command checks it"
    metrics = {
        "validation_accuracy": selection.additions[-1].accuracy,
        "test_accuracy": result.accuracy,
        "test_nll": result.nll,
        "test_ece": result.ece,
    }
    is_own_data = all(model.header.dataset.get("digest") == selection.digest for model in result.models)
    own_metrics = metrics if is_own_data else {}
    write_ensemble(path, result.models, temperature=selection.temperature, metrics=own_metrics)
