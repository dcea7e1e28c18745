"""Evaluate models of single digits on a labelled dataset, or a line model on labelled lines."""

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
from digitcli.evaluation import MISTAKES, MODEL_SUFFIX, calibration, metrics, splits
from digitcli.evaluation.robustness import OodResult, Robustness, measure_ood, measure_robustness
from digitcli.evaluation.selection import Selection, check_selection, select_models
from digitcli.evaluation.splits import Split
from digitcli.events import Notice, OnEvent, ThingsDone
from digitcli.inference import model_resolution
from digitcli.inference.ctc import log_softmax
from digitcli.inference.model_resolution import DEFAULT_MODEL, ModelLike, ResolvedModel
from digitcli.inference.predictor import DigitClassifier, load_classifier, load_line_recognizer
from digitcli.inference.runtime import LineOutput, RuntimeName

if TYPE_CHECKING:
    from digitcli.synthesis.strips import LabelledStrip

BATCHES_PER_STEP = 4  # batches of lines between two reports of progress
CSV_COLUMNS = ("index", "label", "predicted", "confidence")


@dataclass(frozen=True)
class Mistake:
    """A digit or a line that was misread.

    index: its place among the evaluated digits or lines, from 0.
    label, predicted: the digit, or the digits of a line.
    confidence, label_probability: the probabilities of the wrong answer and, of a digit, of the correct one.
    """

    index: int
    label: int | str
    predicted: int | str
    confidence: float
    label_probability: float | None = None


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
    """The evaluation of models on digits; nll is in nats. Measurements that were not requested are None.

    data, digest: the name of the dataset and the digest of its content.
    accuracy, accuracy_low, accuracy_high: the accuracy and its 95 % interval, as fractions.
    confusion: the number of images of each digit (row) that received each answer (column).
    overlap: the number of digits that were used in training; None if it is not known.
    accuracy_without_label_errors: the accuracy without the 15 test digits of MNIST whose label is wrong.
    robustness: the accuracies on corrupted digits.
    selection: how the models were chosen among several, if they were.
    groups: the accuracy of each group of the digits, if the dataset has groups.
    digits, predicted, probabilities: the digits, the answers (N,) and the probabilities (N, 10).
    digit_groups: the group of each digit, see `splits.groups_of_split`.
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
    per_class: list[metrics.ClassScores]
    confusion: list[list[int]]
    device: str
    overlap: int | None
    unreadable: int
    mistakes: list[Mistake]
    reliability: list[calibration.ReliabilityBin]
    coverage: list[calibration.CoveragePoint]
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
        return _figures_of(self)

    def as_csv(self) -> str:
        """Return `index,label,predicted,confidence`, `probability_0` to `probability_9`, `group` if any."""
        columns = [f"probability_{digit}" for digit in range(self.probabilities.shape[1])]
        rows: list[list[Any]] = [[*CSV_COLUMNS, *columns, *["group"] * bool(self.digit_groups)]]
        for index, probabilities in enumerate(self.probabilities.tolist()):
            label, predicted = int(self.digits.labels[index]), int(self.predicted[index])
            figures = [f"{value:.6g}" for value in (probabilities[predicted], *probabilities)]
            rows.append([index, label, predicted, *figures, *self.digit_groups[index : index + 1]])
        return _as_csv(rows)


def _figures_of(result: EvaluationResult | LineEvaluation) -> dict[str, Any]:
    """Return the fields of a result that its representation has: all but the models and the arrays."""
    shown = {each.name for each in dataclasses.fields(result) if each.repr}
    return {name: value for name, value in dataclasses.asdict(result).items() if name in shown}


def _as_csv(rows: Sequence[Sequence[Any]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(rows)
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
    names = [models] if isinstance(models, str | Path | ResolvedModel) else models
    resolved = model_resolution.resolve_models(names)
    if split not in (None, *get_args(Split)):
        raise UsageError(f"There is no split '{split}'.", f"Give one of {', '.join(get_args(Split))}.")
    model_resolution.check_distinct(resolved)
    load, selection, temperature = partial(load_classifier, device=device, runtime=runtime), None, 1.0
    if select is not None:
        check_selection(select, len(resolved), split)
    if str(data) in PUBLISHED_DATASETS:
        on_event(Notice(f"Loading '{data}'. The first time it is downloaded, which can take some minutes."))
    dataset = load_dataset(str(data))
    if dataset.failures:
        on_event(Notice(f"Some inputs of '{data}' were left out: {describe_failures(dataset.failures)}"))
    if select is not None:
        resolved, selection = select_models(resolved, dataset, select, load, on_event)
        temperature = selection.temperature
    classifier = load(*resolved, temperature=temperature)
    split = split or ("test" if select else splits.default_split(dataset, classifier.headers))
    return _measure(
        classifier, selection, str(data), dataset, split, mistakes, robustness, ood, on_event
    )  # fmt: skip


def _measure(
    classifier: DigitClassifier,
    selection: Selection | None,
    data: str,
    dataset: Dataset,
    split: Split,
    mistakes: int,
    robustness: bool,
    ood: bool,
    on_event: OnEvent,
) -> EvaluationResult:
    """Evaluate a classifier on a split of the dataset, see `evaluate`."""
    digits = splits.take_split(dataset, split)
    overlap = splits.report_overlap(digits, dataset, classifier, on_event)

    def report(done: int, total: int = len(digits)) -> None:
        on_event(ThingsDone(done, total))

    logits = classifier.logits(digits.images, report)
    labels, groups = digits.labels, splits.groups_of_split(dataset, split)
    predicted, probabilities = logits.argmax(axis=-1), np.exp(log_softmax(logits))
    confidence, is_correct = probabilities.max(axis=-1), predicted == labels
    accuracy, confusion = float(is_correct.mean()), metrics.confusion_counts(logits, labels)
    low, high = metrics.wilson_interval(int(is_correct.sum()), len(labels))
    return EvaluationResult(
        model=classifier.name,
        data=data,
        digest=dataset.digest,
        split=split,
        n=len(labels),
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        nll=metrics.nll(logits, labels),
        ece=metrics.ece(logits, labels),
        per_class=metrics.class_scores(confusion),
        confusion=confusion.tolist(),
        device=classifier.device,
        overlap=overlap,
        unreadable=len(dataset.failures),
        mistakes=_worst_mistakes(labels, predicted, probabilities, mistakes),
        reliability=calibration.reliability(confidence, is_correct),
        coverage=calibration.coverage(confidence, is_correct),
        accuracy_without_label_errors=splits.accuracy_without_label_errors(dataset, split, is_correct),
        robustness=measure_robustness(classifier, digits, accuracy, report) if robustness else None,
        ood=measure_ood(classifier, confidence) if ood else None,
        selection=selection,
        groups=_group_accuracies(groups, is_correct) if groups else None,
        models=classifier.models,
        digits=digits,
        predicted=predicted,
        probabilities=probabilities,
        digit_groups=groups,
    )


def _group_accuracies(names: tuple[str, ...], is_correct: npt.NDArray[np.bool_]) -> list[GroupAccuracy]:
    """Return the accuracy of each group, in the order in which they begin."""
    accuracies = []
    for name in dict.fromkeys(filter(None, names)):
        correct = is_correct[np.array(names) == name]
        interval = metrics.wilson_interval(int(correct.sum()), len(correct))
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


@dataclass(frozen=True)
class LineEvaluation:
    """The evaluation of a line model; nll is in nats a line.

    exact_match, exact_match_low, exact_match_high: the fraction of lines whose digits are all correct, and
        its 95 % interval.
    cer: the character error rate; None if no line has a digit.
    print_accuracy: of the characters, as print or handwriting; None if the model does not tell it.
    labels, predicted, confidences: the digits that are written, the digits that were read, their probability.
    """

    model: str
    data: str
    split: str
    n: int
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    cer: float | None
    print_accuracy: float | None
    nll: float
    ece: float
    device: str
    mistakes: list[Mistake]
    labels: list[str] = field(repr=False, compare=False)
    predicted: list[str] = field(repr=False, compare=False)
    confidences: list[float] = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The exact match, which --min-accuracy compares."""
        return self.exact_match

    @property
    def wrong(self) -> int:
        """The number of lines that were misread."""
        return sum(text != label for text, label in zip(self.predicted, self.labels, strict=True))

    def record(self) -> dict[str, Any]:
        """Return the figures for JSON, without the arrays."""
        return _figures_of(self)

    def as_csv(self) -> str:
        """Return the columns `index,label,predicted,confidence`."""
        columns = (self.labels, self.predicted, [f"{value:.6g}" for value in self.confidences])
        return _as_csv([CSV_COLUMNS, *zip(range(self.n), *columns, strict=True)])


def evaluate_lines(
    model: ModelLike,
    lines: Sequence[LabelledStrip],
    *,
    data: str,
    split: str,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    mistakes: int = MISTAKES,
    on_event: OnEvent = lambda event: None,
) -> LineEvaluation:
    """Evaluate a line model on lines; `data` and `split` say in the result where they are from.

    Raises:
        UsageError: there is no such kind of device.
        ModelError: there is no such model, or it is damaged or reads single digits.
        EnvironmentFault: this machine does not have the device.
    """
    recognizer = load_line_recognizer(model, device, runtime=runtime)
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    outputs: list[LineOutput] = []
    step = BATCHES_PER_STEP * recognizer.batch_size
    for start in range(0, len(lines), step):
        outputs += recognizer.outputs([line.image for line in lines[start : start + step]])
        on_event(ThingsDone(len(outputs), len(lines)))
    logits = [output.logits for output in outputs]
    labels, predicted = [line.digits for line in lines], metrics.read_digits(logits, alphabet)
    confidences = (-metrics.line_nll(logits, predicted, alphabet, temperature)).exp().tolist()
    wrong = [
        Mistake(index, label, text, confidence)
        for index, (label, text, confidence) in enumerate(zip(labels, predicted, confidences, strict=True))
        if text != label
    ]
    correct = len(lines) - len(wrong)
    low, high = metrics.wilson_interval(correct, len(lines))
    return LineEvaluation(
        model=recognizer.name,
        data=data,
        split=split,
        n=len(lines),
        exact_match=correct / len(lines),
        exact_match_low=low,
        exact_match_high=high,
        cer=metrics.character_error_rate(predicted, labels),
        print_accuracy=metrics.print_accuracy(
            [output.prints for output in outputs],
            [line.boxes for line in lines],
            [line.prints for line in lines],
        ),
        nll=float(metrics.line_nll(logits, labels, alphabet, temperature).mean()),
        ece=metrics.line_ece(logits, labels, alphabet, temperature),
        device=recognizer.device,
        mistakes=sorted(wrong, key=lambda mistake: -mistake.confidence)[:mistakes],
        labels=labels,
        predicted=predicted,
        confidences=confidences,
    )


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
        content = calibration.draw_calibration(result.model, result.reliability, result.coverage)
    write_whole(path, content.encode())


def _save_selected_models(path: Path, result: EvaluationResult) -> None:
    """Write the selected models as one model, an ensemble with their temperature.

    The accuracies become part of it if all members were trained on the dataset of the evaluation.
    """
    from digitcli.inference.torch_runtime import write_ensemble

    selection = result.selection
    assert selection is not None, "the command checks it"
    measured = {
        "validation_accuracy": selection.additions[-1].accuracy,
        "test_accuracy": result.accuracy,
        "test_nll": result.nll,
        "test_ece": result.ece,
    }
    is_own_data = all(model.header.dataset.get("digest") == selection.digest for model in result.models)
    own = measured if is_own_data else {}
    write_ensemble(path, result.models, temperature=selection.temperature, metrics=own)
