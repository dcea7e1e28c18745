"""Find the threshold of a reader from which on few answers are wrong, with a guarantee, and store it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digitcli.data.dataset import Failure
from digitcli.data.label_tables import (
    LABELS,
    LabelledPicture,
    leave_copies_out,
    read_labelled_pictures,
    unlabelled_pictures,
)
from digitcli.errors import InputError, UsageError, counted
from digitcli.evaluation.calibration import RiskControl, control_risk, pictures_to_plan
from digitcli.events import OnEvent, ThingsDone
from digitcli.inference.checkpoint import Guarantee, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_models
from digitcli.recognition.models import complete_models, reads_pictures
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import TOP_K, check_ranges
from digitcli.recognition.sources import Picture
from digitcli.recognition.thresholds import companions_of
from digitcli.strip_format import SEPARATORS

# The fraction of wrong answers that the documentation of `predict` recommends.
MAX_ERROR = 0.01
# The usual confidence level of intervals and tests.
CONFIDENCE = 0.95
# The figures of `Calibration`, `RiskControl` and `ThresholdTest` that a record has under the same names.
FIGURES = (
    "folder", "model", "pictures", "unlabelled", "answers", "share_answered", "guarantee", "groups",
    "groups_with_wrong", "more_pictures",
)  # fmt: skip
FIGURES_OF_CONTROL = ("max_error", "confidence", "least_answers", "first_answers")
FIGURES_OF_THRESHOLD = ("threshold", "answered", "wrong", "p_value")


@dataclass(frozen=True)
class Answer:
    """The answer to a labelled picture, at no threshold.

    confidence: the least confidence of its numbers, with which a threshold is compared; None if the picture
        is not answered at any threshold.
    is_right: whether the text is that of the label.
    rotation: the degrees by which the picture was turned clockwise to read it.
    """

    picture: LabelledPicture
    confidence: float | None
    is_right: bool
    rotation: int = 0


@dataclass(frozen=True)
class Calibration:
    """What labelled pictures show about the answers of a reader.

    folder, model: the pictures, and the ids of the models.
    pictures: the number of different labelled pictures that could be read.
    copies: the labelled pictures that are copies of others. They do not count, because the p-values need
        independent pictures.
    answers: the number of pictures that are answered where no threshold refuses.
    control: the tests of the thresholds, and the threshold that is proven.
    groups, groups_with_wrong: the number of groups of pictures, and of those with a wrong answer from the
        proven threshold on; None without groups or without such a threshold.
    more_pictures: an estimate of the further labelled pictures that this guarantee needs; 0 if it is proven
        or failed by chance, None if too many answers are wrong.
    """

    folder: str
    model: str
    pictures: int
    unlabelled: int
    failures: tuple[Failure, ...]
    copies: tuple[Failure, ...]
    answers: int
    control: RiskControl
    groups: int | None
    groups_with_wrong: int | None
    more_pictures: int | None
    models: tuple[ResolvedModel, ...] = field(repr=False, compare=False)

    @property
    def share_answered(self) -> float | None:
        """The share of the pictures that are answered from the proven threshold on."""
        return self.control.proven.answered / self.pictures if self.control.proven else None

    @property
    def guarantee(self) -> str | None:
        """The guarantee as a sentence, with its limits; None if nothing is proven."""
        if self.control.proven is None:
            return None
        limit, level = self.control.in_percent
        source = "pictures from the same source as these"
        if self.groups is not None:
            source = "further pictures of the same groups, as many of each as here"
        return (
            f"At a confidence level of {level}, at most {limit} of the answers from this threshold on "
            f"are wrong, in {source}, read without constraints."
        )

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        record = {name: getattr(self, name) for name in FIGURES}
        record |= {name: getattr(self.control, name) for name in FIGURES_OF_CONTROL}
        record |= {name: getattr(self.control.proven, name, None) for name in FIGURES_OF_THRESHOLD}
        return {
            **record,
            "unreadable": len(self.failures),
            "tests": [dataclasses.asdict(test) for test in self.control.tests],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "copies": [dataclasses.asdict(copy) for copy in self.copies],
        }


def calibrate(
    folder: str | Path,
    models: Sequence[ModelLike] = (),
    *,
    max_error: float = MAX_ERROR,
    confidence: float = CONFIDENCE,
    device: str = "auto",
    processes: int = 1,
    on_event: OnEvent = lambda event: None,
) -> Calibration:
    """Find the lowest threshold from which on at most a fraction `max_error` of the answers is wrong.

    The folder is that of `read_labelled_pictures`, and the models are those of `Reader`. An answer is a
    picture with the status `read`; it is right if its text is that of the label without marks. `confidence`
    is the confidence level: the probability that the guarantee is true, see `evaluation.calibration`. Of
    several copies of a file, the first counts.

    Raises:
        UsageError: a value is out of range, or the models do not go together.
        InputError: there are no labels, or none of the labelled pictures can be read.
        ModelError: there is no such model, or it is damaged.
        EnvironmentFault: this machine does not have the device.
    """
    check_guarantee(max_error, confidence)
    pictures, copies, unlabelled = read_folder(Path(folder))
    resolved = complete_models(resolve_models(models))
    reader = Reader(*resolved, device=device, processes=processes, min_confidence=0.0)
    answers, failures = answer_pictures(reader, pictures, on_event)
    if not answers:
        cause = f"Of {counted(len(pictures), 'labelled picture')}, none could be read: {failures[0].cause}"
        raise InputError(cause, f"Repair the pictures in {folder}, or the column file of its {LABELS}.")
    given = [(answer.confidence, answer.is_right) for answer in answers if answer.confidence is not None]
    confidences, is_right = [each for each, _ in given], [each for _, each in given]
    control = control_risk(confidences, is_right, max_error, confidence)
    more: int | None = 0
    if control.proven is None:
        needed = pictures_to_plan(confidences, is_right, len(answers), max_error, confidence)
        more = None if needed is None else max(0, needed - len(answers))
    groups, groups_with_wrong = _count_groups(answers, control)
    return Calibration(
        folder=str(folder),
        model=reader.name,
        pictures=len(answers),
        unlabelled=unlabelled,
        failures=tuple(failures),
        copies=copies,
        answers=len(given),
        control=control,
        groups=groups,
        groups_with_wrong=groups_with_wrong,
        more_pictures=more,
        models=resolved,
    )


def read_folder(folder: Path) -> tuple[list[LabelledPicture], tuple[Failure, ...], int]:
    """Return the different labelled pictures of a folder, the copies, and the number of unlabelled pictures.

    Raises:
        InputError: there are no labels.
    """
    listed = read_labelled_pictures(folder)
    pictures, copies = leave_copies_out(listed)
    return pictures, copies, len(unlabelled_pictures(folder, listed))


def check_guarantee(max_error: float, confidence: float) -> None:
    """Check the values of a guarantee.

    Raises:
        UsageError: a value is out of range.
    """
    check_ranges(None, max_error, TOP_K)
    if not 0 < confidence < 1:
        remedy = "Give a fraction above 0 and below 1, e.g. 0.95."
        raise UsageError(f"--confidence is {confidence:g}.", remedy)


def numbers_of(label: str) -> str:
    """Return the numbers of a label as `Reading.text` has them: digits only, joined by one space."""
    spaced = "".join(" " if character in SEPARATORS else character for character in label)
    numbers = ("".join(filter(str.isdecimal, word)) for word in spaced.split())
    return " ".join(number for number in numbers if number)


def answer_pictures(
    reader: Reader,
    pictures: Sequence[LabelledPicture],
    on_event: OnEvent = lambda event: None,
    things: str = "",
) -> tuple[list[Answer], list[Failure]]:
    """Read labelled pictures; return the answers in their order, and the pictures that could not be used.

    A picture of several pages cannot be used. The reader must have no threshold: its `min_confidence` is 0.
    """
    answers: list[Answer] = []
    failures: list[Failure] = []
    readings = reader.read_all(Picture(picture.file, picture.path) for picture in pictures)
    by_file = itertools.groupby(readings, key=lambda reading: reading.file)
    for picture, (file, pages) in zip(pictures, by_file, strict=True):
        reading, *others = pages
        if others:
            cause = f"It has {1 + len(others)} pages, but only pictures of one page can be used."
            failures.append(Failure(file, "unsupported_format", cause))
        elif reading.error is not None:
            failures.append(Failure(file, reading.error.reason, reading.error.cause))
        else:
            is_answered = reading.status == "read"
            confidence = min(number.confidence for number in reading.numbers) if is_answered else None
            is_right = reading.text == numbers_of(picture.text)
            answers.append(Answer(picture, confidence, is_right, reading.rotation))
        on_event(ThingsDone(len(answers) + len(failures), len(pictures), things))
    return answers, failures


def _count_groups(answers: Sequence[Answer], control: RiskControl) -> tuple[int | None, int | None]:
    """Return the number of groups, and the number of those with a wrong answer from the threshold on."""
    groups = {answer.picture.group for answer in answers} - {None}
    if not groups or control.proven is None:
        return len(groups) or None, None
    threshold = control.proven.threshold
    wrong = (each for each in answers if not each.is_right and (each.confidence or 0.0) >= threshold)
    return len(groups), len({answer.picture.group for answer in wrong} - {None})


def carrier_of(models: Sequence[ResolvedModel]) -> ResolvedModel:
    """Return the model of a reader that carries its guarantee: the reader, or a classifier of digits."""
    readers = [model for model in models if model.header.task == "line" and not reads_pictures(model)]
    return (readers or list(models))[0]


def save_calibrated(calibration: Calibration, path: Path) -> None:
    """Write a copy of the model that carries the guarantee, with the guarantee in its header.

    Raises:
        ValueError: no threshold is proven.
        ModelError: the model was replaced meanwhile.
        OutputError: the file cannot be written.
    """
    control = calibration.control
    if control.proven is None:
        raise ValueError("no threshold is proven")
    model = carrier_of(calibration.models)
    header, tensors = read_checkpoint(model.path, model.sha256)
    guarantee = Guarantee(
        max_error=control.max_error,
        confidence=control.confidence,
        **dataclasses.asdict(control.proven),
        copy_of=header.guarantee.copy_of if header.guarantee else model.sha256,
        companions=companions_of(model, calibration.models),
    )
    write_checkpoint(path, dataclasses.replace(header, guarantee=guarantee), tensors)
