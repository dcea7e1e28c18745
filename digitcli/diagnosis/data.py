"""Examine labelled digits: wrong labels, duplicates, imbalance, and digits that do not lie as MNIST's do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from digitcli.data.corrections import corrections_csv
from digitcli.data.dataset import (
    Dataset,
    Digits,
    describe_failures,
    find_contradictions,
    find_copies,
    find_imbalance,
)
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.diagnosis.label_errors import DoubtfulLabel, doubtful_labels, out_of_sample_probabilities
from digitcli.errors import UsageError, counted, quoted
from digitcli.evaluation.statistics import mcnemar
from digitcli.events import OnEvent
from digitcli.inference.predictor import load_classifier

Part = Literal["train", "test"]
Images = npt.NDArray[np.uint8]

# The agreement with the labels above which networks may correct them; those of 200 digits reach 90 %, and
# what they take for errors is mostly none.
TRUSTED = 0.97
# MNIST's digits have their centre of mass in the middle of the image and fill 20 of its 28 pixels, within
# 0.5 and 0.3 pixels in the mean. The augmentation of the recipes shifts by two pixels and scales by a tenth.
MIDDLE_PX, SHIFT_PX = 13.5, 2.0
SIZE_PX, SIZE_TOLERANCE_PX = 20.0, 3.0
# The levels of MNIST's ink and paper are 255 and 0. With ink of half that level, or paper of 10, the model
# `fast` begins to read fewer test digits: 99.1 % of 1,500 at 128 and 93.4 % at 16 in place of 99.3 %.
LEAST_INK, MOST_PAPER = 128, 10
# Digits that the shipped classifier reads in each orientation.
ORIENTED = 1_000
SIGNIFICANT = 0.001
# A model that reads fewer digits than this does not know their kind, and cannot tell how they lie.
READABLE = 0.5
TURNS: dict[str, Callable[[Images], Images]] = {
    "turned by 90 degrees": lambda images: np.rot90(images, 1, (1, 2)),
    "upside down": lambda images: np.rot90(images, 2, (1, 2)),
    "turned by 270 degrees": lambda images: np.rot90(images, 3, (1, 2)),
    "mirrored": lambda images: images[:, :, ::-1],
    "mirrored and upside down": lambda images: images[:, ::-1],
    "transposed": lambda images: images.transpose(0, 2, 1),
    "transposed and turned": lambda images: np.rot90(images.transpose(0, 2, 1), 2, (1, 2)),
}
# The classifier that knows the right way up.
ORIENTATION_MODEL = "fast"


@dataclass(frozen=True)
class ExaminedData:
    """What was found in a part of a dataset.

    diagnosis: the facts and findings.
    digits: the examined digits.
    part: the part of the dataset.
    files: the files of the digits, if each has its own.
    agreement: the fraction of labels with which networks agree that were not trained on the digits.
    doubtful: the doubtful labels, the most doubtful first.
    """

    diagnosis: Diagnosis
    digits: Digits
    part: Part
    files: tuple[str, ...]
    agreement: float
    doubtful: tuple[DoubtfulLabel, ...]

    @property
    def is_trusted(self) -> bool:
        """Whether the networks are good enough to correct labels."""
        return self.agreement >= TRUSTED

    def name_of(self, label: DoubtfulLabel) -> str:
        """Return the file of the digit, or an empty text if the digits have no files of their own."""
        return self.files[label.index] if self.files else ""

    def corrections(self) -> str:
        """Return a file for `correct_labels`, in which labels that are taken for errors are corrected.

        Where the networks are not good enough to be trusted, all labels stay as they are.
        """
        rows = (
            (
                each.index,
                each.suggestion if each.is_error and self.is_trusted else each.label,
                each.label,
                each.suggestion,
                each.probability,
                each.is_error,
                self.name_of(each),
            )
            for each in self.doubtful
        )
        return corrections_csv(self.part, rows)


def examine_data(
    spec: str,
    part: Part = "train",
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
    *,
    corrections: Path | None = None,
) -> ExaminedData:
    """Return facts about a dataset, what is wrong with it, and the doubtful labels of one of its parts.

    spec: a name, a folder or a file, as `--data` of `digitcli train` takes it.
    corrections: the file that the corrections will be written to, which remedies name.

    Raises:
        UsageError: there is no such dataset, or it has no test part.
        InputError: the data cannot be read, or there are too few digits.
        The errors of `train`, except those of the run folder.
    """
    dataset = load_dataset(spec)
    if part == "test" and dataset.test is None:
        raise UsageError(f"{spec} has no test part.", "Leave --split out.")
    of_train, of_test = out_of_sample_probabilities(dataset, device, on_event)
    if part == "train" or dataset.test is None or of_test is None:
        digits, probabilities, files = dataset.train, of_train, dataset.train_files
    else:
        digits, probabilities, files = dataset.test, of_test, dataset.test_files
    agreement = float((probabilities.argmax(axis=1) == digits.labels).mean())
    doubtful = doubtful_labels(digits.labels, probabilities)
    findings = [
        *unreadable_files(dataset),
        *duplicates(dataset),
        *imbalance(digits),
        *placement(digits),
        *contrast(digits),
        *orientation(digits, device),
        *label_errors(doubtful, digits, agreement, spec if part == "train" else None, corrections),
    ]
    facts = {
        "training digits": f"{len(dataset.train):,}",
        "test digits": f"{len(dataset.test):,}" if dataset.test else "none",
        "examined": f"{part}, {len(digits):,} digits",
        "digits per label": ", ".join(f"{count:,}" for count in np.bincount(digits.labels, minlength=10)),
        "agreement": f"{percent(agreement)} of the labels, by networks trained on other digits",
        "doubtful labels": f"{len(doubtful):,}",
    }
    diagnosis = Diagnosis(f"dataset {spec}", facts, tuple(findings), has_verdict=not doubtful)
    return ExaminedData(diagnosis, digits, part, files, agreement, tuple(doubtful))


def unreadable_files(dataset: Dataset) -> Iterator[Finding]:
    """Yield that some files cannot be used."""
    if dataset.failures:
        evidence = (
            f"{counted(len(dataset.failures), 'file')} cannot be used: {describe_failures(dataset.failures)}"
        )
        yield Finding("unreadable_files", "warning", evidence, "Repair or remove them.")


def duplicates(dataset: Dataset) -> Iterator[Finding]:
    """Yield test digits that are training digits too, and equal images with different labels."""
    hashes = dataset.train.hashes()
    if evidence := find_contradictions(dataset.train, hashes):
        yield Finding("contradictory_labels", "error", evidence, "Remove them or correct their labels.")
    if evidence := find_copies(dataset.test, hashes):
        remedy = "Remove them from one of the parts: the test accuracy is too high otherwise."
        yield Finding("test_digits_in_training", "error", evidence, remedy)


def imbalance(digits: Digits) -> Iterator[Finding]:
    """Yield digits that are missing or rare."""
    if evidence := find_imbalance(digits):
        yield Finding("class_imbalance", "warning", evidence, "Add pictures of the rare digits.")


def placement(digits: Digits) -> Iterator[Finding]:
    """Yield that digits do not lie in the middle, or are not as large as MNIST's."""
    images = digits.images.astype(np.float32)
    total = images.sum(axis=(1, 2)).clip(min=1)
    pixels = np.arange(images.shape[1])
    rows = (images.sum(axis=2) * pixels).sum(axis=1) / total
    columns = (images.sum(axis=1) * pixels).sum(axis=1) / total
    shift = np.hypot(rows - MIDDLE_PX, columns - MIDDLE_PX)
    if np.median(shift) > SHIFT_PX:
        yield Finding(
            "shifted_digits",
            "warning",
            f"The centre of mass of the ink is {np.median(shift):.1f} pixels from the middle of the image in "
            "half of the digits or more.",
            "Give pictures of any size in place of 28 x 28 pixels: they are centred when they are loaded.",
        )
    has_ink = digits.images > 0
    sides = np.maximum(_extent(has_ink.any(axis=2)), _extent(has_ink.any(axis=1)))
    if abs(np.median(sides) - SIZE_PX) > SIZE_TOLERANCE_PX:
        yield Finding(
            "other_size",
            "warning",
            f"The longer side of the digits has {np.median(sides):g} pixels in the median, that of MNIST's "
            f"{SIZE_PX:g}, so that models trained on the one read the other badly.",
            "Give pictures of any size in place of 28 x 28 pixels: they are scaled when they are loaded.",
        )


def _extent(has_ink: Any) -> npt.NDArray[np.int64]:
    """Return the distance from the first to the last true value in every row of an array (N, P)."""
    first, last = has_ink.argmax(axis=1), has_ink.shape[1] - has_ink[:, ::-1].argmax(axis=1)
    return np.where(has_ink.any(axis=1), last - first, 0)


def contrast(digits: Digits) -> Iterator[Finding]:
    """Yield that ink is paler or paper is brighter than MNIST's, for which models normalize."""
    pixels = digits.images.reshape(len(digits), -1)
    ink, paper = np.median(pixels.max(axis=1)), np.median(np.median(pixels, axis=1))
    if ink < LEAST_INK or paper > MOST_PAPER:
        yield Finding(
            "other_contrast",
            "warning",
            f"In the median of the digits, the brightest ink has the level {ink:g} and the paper {paper:g}; "
            "models expect ink of 255 on paper of 0, as MNIST has it.",
            "Scale the pixels to these levels, or give pictures of any size in place of 28 x 28 pixels: they "
            "are scaled when they are loaded.",
        )


def orientation(digits: Digits, device: str = "auto") -> Iterator[Finding]:
    """Yield that a shipped model reads the digits better when they are turned, mirrored or inverted."""
    some = digits.take(np.linspace(0, len(digits) - 1, min(ORIENTED, len(digits))).astype(np.int64))
    classifier = load_classifier(ORIENTATION_MODEL, device=device)

    def is_correct(images: Images) -> npt.NDArray[np.bool_]:
        logits = classifier.logits(np.ascontiguousarray(images))
        return np.asarray(logits.argmax(axis=-1) == some.labels)

    as_given = is_correct(some.images)
    changed = {name: is_correct(turn(some.images)) for name, turn in TURNS.items()}
    changed["inverted"] = is_correct(255 - some.images)
    name, best = max(changed.items(), key=lambda item: int(item[1].sum()))
    gained, lost = int((best & ~as_given).sum()), int((as_given & ~best).sum())
    p = len(changed) * mcnemar(lost, gained)  # corrected for the number of tests (Bonferroni)
    if gained > lost and p < SIGNIFICANT and best.mean() > READABLE:
        yield Finding(
            "inverted_digits" if name == "inverted" else "turned_digits",
            "error",
            f"The model {ORIENTATION_MODEL} reads {percent(as_given.mean(), 1)} of {len(some):,} digits as "
            f"they are, and {percent(best.mean(), 1)} if they are {name}.",
            "Correct the images, or the program that saved them.",
        )


def label_errors(
    doubtful: list[DoubtfulLabel],
    digits: Digits,
    agreement: float,
    spec: str | None,
    file: Path | None = None,
) -> Iterator[Finding]:
    """Yield that confident learning finds wrong labels.

    spec: the dataset if it can be corrected.
    file: the file that the corrections will be written to; None if none was named.
    """
    errors = [label for label in doubtful if label.is_error]
    if not errors:
        return
    name = file or Path("corrections.csv")
    remedy = "Look at the most doubtful ones."
    if spec is not None:
        remedy += f" Write the right labels into {name}{'' if file else f', which -o {name} makes'}."
    yield Finding(
        "label_errors",
        "warning",
        f"{len(errors):,} of {len(digits):,} labels contradict networks that were trained on other digits. "
        f"They agree with {percent(agreement)} of all labels, and are as sure of another digit as usual.",
        remedy,
        spec and f"digitcli train --data {quoted(spec)} --corrections {quoted(str(name))}",
    )
