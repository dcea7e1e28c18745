"""Read `adaptation.json`, in which `digitcli adapt` saves what it has found out. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from digitcli.adaptation.results import EpochScore, PictureResult
from digitcli.adaptation.self_training_results import PictureReadTwice
from digitcli.data.dataset import Failure


@dataclass(frozen=True, kw_only=True)
class SavedAdaptation:
    """The figures of an `Adaptation`, with the names that its record has; older files lack some.

    pictures: the number of labelled pictures.
    epochs, share, chosen_score, composed_before, composed_after: those of its `Choice`.
    """

    folder: str
    model: str
    digest: str
    models: tuple[str, ...]
    pictures: int
    lines: int
    groups: int
    divides_group: bool
    folds: int
    epochs: int
    share: float
    right_before: int
    right_after: int
    gained: int
    lost: int
    p_value: float
    helps: bool
    may_be_chance: bool
    composed_before: float | None
    composed_after: float | None
    settings: Mapping[str, Any]
    scores: tuple[EpochScore, ...]
    results: tuple[PictureResult, ...]
    chosen_score: EpochScore | None = None
    wrong_before: int | None = None
    wrong_after: int | None = None
    unlabelled: int = 0
    unused: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pictures != len(self.results) or not self.results:
            raise ValueError(
                f"it has the results of {len(self.results)} pictures, but tells of {self.pictures}"
            )
        if self.epochs not in [score.epochs for score in self.scores]:
            raise ValueError(f"it has no score of epoch {self.epochs}")
        _check_counts(self.pictures, self.right_before, self.right_after, self.gained, self.lost)

    @property
    def chosen(self) -> EpochScore:
        """The score of the chosen number of epochs at the chosen share; older files lack the share."""
        if self.chosen_score is not None:
            return self.chosen_score
        return next(score for score in self.scores if score.epochs == self.epochs)

    @property
    def start(self) -> EpochScore:
        """The score before the training."""
        return min(self.scores, key=lambda score: score.epochs)


@dataclass(frozen=True, kw_only=True)
class SavedSelfTraining:
    """The figures of a `SelfTraining`, with the names that its record has; older files lack some.

    pictures, labelled: the numbers of pictures without and with a label.
    """

    folder: str
    model: str
    digest: str
    models: tuple[str, ...]
    pictures: int
    labelled: int
    threshold: float
    page_threshold: float
    evidence: str
    answered_before: int
    learned: int
    lines: int
    epochs: int
    share: float
    changed: int
    newly_answered: int
    no_longer_answered: int
    right_before: int | None
    right_after: int | None
    gained: int | None
    lost: int | None
    p_value: float | None
    composed_before: float | None
    composed_after: float | None
    settings: Mapping[str, Any]
    results: tuple[PictureReadTwice, ...]
    wrong_before: int | None = None
    wrong_after: int | None = None
    most_epochs: int | None = None
    forgets: bool = False
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pictures + self.labelled != len(self.results) or not self.results:
            told = self.pictures + self.labelled
            raise ValueError(f"it has results of {len(self.results)} pictures, but tells of {told}")
        _check_counts(self.pictures, self.answered_before, self.changed, self.newly_answered)
        of_labelled = (self.right_before, self.right_after, self.gained, self.lost)
        if self.labelled and None in of_labelled:
            raise ValueError("it does not tell how many labelled pictures are read rightly")
        _check_counts(self.labelled, *(count for count in of_labelled if count is not None))


def _check_counts(n: int, *counts: int) -> None:
    for count in counts:
        if not 0 <= count <= n:
            raise ValueError(f"it tells of {count} of {n} pictures")
