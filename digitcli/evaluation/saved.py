"""Read the figures of an evaluation, which `digitcli evaluate` saves or prints as JSON. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from digitcli.evaluation.calibration import CoveragePoint, ReliabilityBin
from digitcli.evaluation.evaluate import GroupAccuracy, Mistake
from digitcli.evaluation.evaluate_lines import LineMistake
from digitcli.evaluation.metrics import ClassScores
from digitcli.evaluation.robustness import OodResult, Robustness
from digitcli.evaluation.selection import Selection
from digitcli.evaluation.splits import Split
from digitcli.json_records import parse_record

CLASSES = 10


@dataclass(frozen=True)
class SavedEvaluation:
    """The figures of an `EvaluationResult`, with the same names; older files have no digest."""

    model: str
    data: str
    split: Split
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    nll: float
    ece: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]
    reliability: tuple[ReliabilityBin, ...]
    coverage: tuple[CoveragePoint, ...]
    digest: str = ""
    device: str = ""
    overlap: int | None = None
    unreadable: int = 0
    accuracy_without_label_errors: float | None = None
    robustness: Robustness | None = None
    ood: tuple[OodResult, ...] | None = None
    selection: Selection | None = None
    groups: tuple[GroupAccuracy, ...] | None = None

    def __post_init__(self) -> None:
        if [len(row) for row in self.confusion] != [CLASSES] * CLASSES:
            raise ValueError(f"the confusion matrix has not {CLASSES} rows of {CLASSES} counts")
        counts = [count for row in self.confusion for count in row]
        if self.n < 1 or min(counts) < 0 or sum(counts) != self.n:
            raise ValueError(f"the confusion matrix does not add up to {self.n} digits")
        if [row.digit for row in self.per_class] != list(range(CLASSES)):
            raise ValueError(f"it has not the scores of {CLASSES} digits")
        if not self.reliability or not self.coverage:
            raise ValueError("it has no calibration")
        _check_fractions([self.accuracy, self.accuracy_low, self.accuracy_high, self.ece])
        _check_fractions([value for row in self.reliability for value in (row.confidence, row.accuracy)])
        _check_fractions([value for row in self.coverage for value in (row.coverage, row.accuracy)])
        _check_fractions([mistake.confidence for mistake in self.mistakes])
        _check_fractions([mistake.label_probability for mistake in self.mistakes])

    @property
    def wrong(self) -> int:
        """The number of digits that were misread."""
        return self.n - sum(row[digit] for digit, row in enumerate(self.confusion))


@dataclass(frozen=True)
class SavedLineEvaluation:
    """The figures of a `LineEvaluation`, with the same names."""

    model: str
    data: str
    split: str
    n: int
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    cer: float | None
    nll: float
    ece: float
    mistakes: tuple[LineMistake, ...]
    device: str = ""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}")
        _check_fractions([self.exact_match, self.exact_match_low, self.exact_match_high, self.ece])
        _check_fractions([mistake.confidence for mistake in self.mistakes])


def parse_evaluation(record: dict[str, Any]) -> SavedEvaluation | SavedLineEvaluation:
    """Return the figures in a record of JSON: of single digits, or of lines if it has an exact match.

    Raises:
        ValueError: a figure is missing, has another type or contradicts another figure.
    """
    kind = SavedLineEvaluation if "exact_match" in record else SavedEvaluation
    evaluation: SavedEvaluation | SavedLineEvaluation = parse_record(record, kind)
    return evaluation


def _check_fractions(values: Sequence[float]) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"a fraction is {value}")
