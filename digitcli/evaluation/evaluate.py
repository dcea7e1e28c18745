"""Evaluation: from the names of models and of a dataset to what the models are worth on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Dataset, Digits, describe_failures
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import DIGEST
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.errors import UsageError
from digitcli.evaluation.calibration import Bin, Covered, coverage, reliability
from digitcli.evaluation.label_errors import undoubted
from digitcli.evaluation.metrics import (
    ClassScores,
    accuracy,
    class_scores,
    confusion_counts,
    ece,
    nll,
    wilson_interval,
)
from digitcli.evaluation.splits import Split, default_split, take_part
from digitcli.evaluation.train_test_overlap import told_overlap
from digitcli.events import DigitsDone, Notice, OnEvent
from digitcli.inference.ctc import log_softmax
from digitcli.inference.model_resolution import DEFAULT_MODEL, ModelLike, ResolvedModel
from digitcli.inference.predictor import DigitClassifier, load_classifier
from digitcli.inference.runtime import DIGIT_BATCH_SIZE, RuntimeName

if TYPE_CHECKING:
    from digitcli.evaluation.ood import Outliers
    from digitcli.evaluation.robustness import Robustness

WORST = 6
ARRAYS, ROWS = ("digits", "predicted", "probabilities"), ("per_class", "mistakes", "reliability", "coverage")


@dataclass(frozen=True)
class Mistake:
    """A digit read wrongly; `index` counts from 0 within the digits evaluated.

    `confidence` is the probability given to the wrong answer, `label_probability` that of the right one.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    label_probability: float


@dataclass(frozen=True)
class EvaluationResult:
    """What models are worth on some digits. Accuracies and probabilities are fractions, the NLL is in nats.

    `accuracy_low` and `accuracy_high` bound the 95 % interval. `confusion` counts answers (columns) to
    digits (rows). `overlap` is how many of the digits are known to have been trained on, None where that is
    not known. `unreadable` counts the inputs of the dataset that could not be used. `mistakes` are the
    worst ones, the most confident first. `clean_accuracy` leaves the digits of `doubted.py` out. What was not
    asked for is None. The arrays behind the figures are not part of the record: `digits`,
    the answers `predicted` (N,) and the `probabilities` (N, 10).
    """

    model: str
    data: str
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
    reliability: list[Bin]
    coverage: list[Covered]
    clean_accuracy: float | None
    robustness: Robustness | None
    outliers: tuple[Outliers, ...] | None
    digits: Digits = field(repr=False, compare=False)
    predicted: npt.NDArray[np.int64] = field(repr=False, compare=False)
    probabilities: npt.NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def wrong(self) -> int:
        """How many digits were read wrongly."""
        return self.n - sum(row[digit] for digit, row in enumerate(self.confusion))

    def record(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        names = [entry.name for entry in dataclasses.fields(self) if entry.name not in ARRAYS]
        rows = {name: [dataclasses.asdict(row) for row in getattr(self, name)] for name in ROWS}
        return {name: rows.get(name, getattr(self, name)) for name in names}


def evaluate(
    models: ModelLike | Sequence[ModelLike] = DEFAULT_MODEL,
    data: str | Path = DEFAULT_DATASET,
    *,
    split: Split | None = None,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    batch_size: int = DIGIT_BATCH_SIZE,
    worst: int = WORST,
    clean: bool = False,
    robustness: bool = False,
    outliers: bool = False,
    fonts: Path | None = None,
    on_event: OnEvent = lambda event: None,
) -> EvaluationResult:
    """Judge a model, or the average of several, on labelled digits.

    A model is a shipped name, a checkpoint file or a run folder; `data` is what `load_dataset` takes. Where
    no `split` is given it is the dataset's own test part. A dataset without one is taken whole, unless a
    model was trained on that very set: then it is the part which its training held out as test digits.
    The result keeps the `worst` mistakes. With `clean` it also has the accuracy without the digits whose
    label people reject, with `robustness` those on corrupted digits, and with `outliers` it says how well
    confidence tells digits from what is none, from the letters of `fonts` too if those are given.

    Raises:
        UsageError: no model, an unknown dataset, split or device, a batch below 1, fewer than no mistakes, or
            `clean` for other digits than the test digits of MNIST.
        InputError: the data or fonts cannot be read, or are too few for the split.
        ModelError: no such model, or one that is damaged or does not read single digits.
        EnvironmentFault: the device, or a package that the data need, is not there.
    """
    names = [models] if isinstance(models, str | Path | ResolvedModel) else models
    data = str(data)
    _check(split, worst)
    classifier = load_classifier(*names, device=device, batch_size=batch_size, runtime=runtime)
    dataset = _load(data, on_event)
    split = split or default_split(dataset, classifier.headers)
    if clean and (dataset.digest != DIGEST or split != "test"):
        raise UsageError(
            "--clean knows the test digits of mnist alone.", "Leave --clean, or --data and --split, out."
        )
    digits = take_part(dataset, split)
    kept = undoubted(digits) if clean else slice(None)
    overlap = told_overlap(digits, dataset, classifier, on_event)
    logits = classifier.logits(digits.images, lambda done: on_event(DigitsDone(done, len(digits))))
    return _result(
        digits,
        logits,
        worst,
        model=classifier.name,
        data=data,
        split=split,
        device=str(classifier.device),
        overlap=overlap,
        unreadable=len(dataset.failures),
        clean_accuracy=accuracy(logits[kept], digits.labels[kept]) if clean else None,
        robustness=_robustness(classifier, digits, logits, on_event) if robustness else None,
        outliers=_outliers(classifier, logits, fonts) if outliers else None,
    )


def _check(split: Split | None, worst: int) -> None:
    if split not in (None, *get_args(Split)):
        raise UsageError(f"There is no split '{split}'.", f"Take one of {', '.join(get_args(Split))}.")
    if worst < 0:
        raise UsageError(f"--worst is {worst}.", "It must be at least 0.")


def _robustness(
    classifier: DigitClassifier, digits: Digits, logits: npt.NDArray[np.float32], on_event: OnEvent
) -> Robustness:
    from digitcli.evaluation.robustness import measure_robustness  # loads OpenCV

    clean = accuracy(logits, digits.labels)
    return measure_robustness(classifier, digits, clean, lambda done, of: on_event(DigitsDone(done, of)))


def _outliers(
    classifier: DigitClassifier, logits: npt.NDArray[np.float32], fonts: Path | None
) -> tuple[Outliers, ...]:
    from digitcli.evaluation.ood import measure_outliers  # loads OpenCV

    return measure_outliers(classifier, np.exp(log_softmax(logits)).max(axis=-1), fonts)


def _load(data: str, on_event: OnEvent) -> Dataset:
    if data in PUBLISHED_DATASETS:
        on_event(Notice(f"Loading '{data}'; the first time it is fetched, which can take a while."))
    dataset = load_dataset(data)
    if dataset.failures:
        on_event(Notice(f"Left out of '{data}': {describe_failures(dataset.failures)}"))
    return dataset


def _result(digits: Digits, logits: npt.NDArray[np.float32], worst: int, **known: Any) -> EvaluationResult:
    """The figures of logits (N, 10), with what is known beside them."""
    labels = digits.labels
    confusion = confusion_counts(logits, labels)
    low, high = wilson_interval(int(confusion.trace()), len(labels))
    predicted, probabilities = logits.argmax(axis=-1), np.exp(log_softmax(logits))
    confidence, right = probabilities.max(axis=-1), predicted == labels
    return EvaluationResult(
        n=len(labels),
        accuracy=accuracy(logits, labels),
        accuracy_low=low,
        accuracy_high=high,
        nll=nll(logits, labels),
        ece=ece(logits, labels),
        per_class=class_scores(confusion),
        confusion=confusion.tolist(),
        reliability=reliability(confidence, right),
        coverage=coverage(confidence, right),
        mistakes=_worst_mistakes(digits.labels, predicted, probabilities, worst),
        digits=digits,
        predicted=predicted,
        probabilities=probabilities,
        **known,
    )


def _worst_mistakes(
    labels: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    worst: int,
) -> list[Mistake]:
    """The mistakes with the highest probability of the wrong answer; of equal ones the first."""
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
        for index in wrong[np.argsort(-confidence, kind="stable")][:worst].tolist()
    ]
