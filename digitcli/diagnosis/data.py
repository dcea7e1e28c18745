"""Examine labelled digits: wrong labels, duplicates, imbalance, and digits that do not lie as MNIST's do.

Labels are examined by confident learning, on probabilities of networks that never saw the digits: Northcutt,
Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from digitcli.data.dataset import (
    Dataset,
    Digits,
    describe_failures,
    find_contradictions,
    find_copies,
    find_imbalance,
)
from digitcli.data.label_tables import corrections_csv
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.errors import InputError, counted, import_packages, quoted
from digitcli.evaluation.statistics import mcnemar
from digitcli.events import OnEvent, ThingsDone
from digitcli.inference.predictor import load_classifier
from digitcli.inference.torch_runtime import infer
from digitcli.interpretation.drawing import CaptionedPicture, Section, in_colours, printable, save_drawing
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import take_step
from digitcli.training.setup import prepare
from digitcli.training.trainer import separate_random_numbers

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]

# Parts of the training digits, each of which is read by a network that was trained on the others.
FOLDS, FOLD_SEED = 4, 2026
# `fast` learns in seconds. Without label smoothing its probabilities are not held back from certainty.
ARCHITECTURE, EPOCHS = "fast", 3
# The least steps of a training, which takes smaller batches and more epochs of few digits.
STEPS, SMALL_BATCH = 120, 64
# The agreement with the labels above which networks may correct them; those of 200 digits reach 90 %, and
# what they take for errors is mostly none.
TRUSTED = 0.97
# MNIST's digits have their centre of mass in the middle of the image and fill 20 of its 28 pixels, within
# 0.5 and 0.3 pixels in the mean. The augmentation of the recipes shifts by two pixels and scales by a tenth.
MIDDLE_PX, SHIFT_PX = 13.5, 2.0
SIZE_PX, SIZE_TOLERANCE_PX = 20.0, 3.0
# The levels of MNIST's ink and paper are 255 and 0. With ink of half that level, or paper of 10, the model
# `fast` begins to read fewer test digits: of 1,500, 99.3 % before, 99.1 % at 128 and 93.4 % at 16.
LEAST_INK, MOST_PAPER = 128, 10
AS_PICTURES = "Give pictures of any size instead of 28 x 28 pixels: they are centred and scaled when loaded."
# The classifier that knows the right way up, and the digits that it reads in each orientation.
ORIENTATION_MODEL, ORIENTED = "fast", 1_000
SIGNIFICANT = 0.001
# A model that reads fewer digits than this does not know their kind, and cannot tell how they lie.
READABLE = 0.5
TURNS: dict[str, Callable[[Images], Images]] = {
    "rotated by 90 degrees": lambda images: np.rot90(images, 1, (1, 2)),
    "upside down": lambda images: np.rot90(images, 2, (1, 2)),
    "rotated by 270 degrees": lambda images: np.rot90(images, 3, (1, 2)),
    "mirrored": lambda images: images[:, :, ::-1],
    "mirrored and upside down": lambda images: images[:, ::-1],
    "transposed": lambda images: images.transpose(0, 2, 1),
    "transposed and rotated": lambda images: np.rot90(images.transpose(0, 2, 1), 2, (1, 2)),
    "inverted": lambda images: 255 - images,
}
# Labels of a drawing: more would make a picture that is higher than programs can show.
MOST_DRAWN = 400
LEGEND = (
    "Networks that were not trained on these digits read others than the labels say. The most doubtful come "
    "first. An exclamation mark: confident learning takes the label for wrong."
)


@dataclass(frozen=True)
class DoubtfulLabel:
    """A label that contradicts what networks say which were not trained on the digit.

    index: the number of the digit in its part of the dataset, from 0.
    label: the label that it has.
    suggestion: the digit that is likeliest.
    probability: the probability of the label.
    is_error: whether confident learning takes it for an error.
    """

    index: int
    label: int
    suggestion: int
    probability: float
    is_error: bool


@dataclass(frozen=True)
class ExaminedData:
    """What was found in the training digits of a dataset.

    files: the files of the digits, if each has its own.
    agreement: the fraction of labels with which networks agree that were not trained on the digits.
    doubtful: the doubtful labels, the most doubtful first.
    """

    diagnosis: Diagnosis
    digits: Digits
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
        rows = []
        for each in self.doubtful:
            label = each.suggestion if each.is_error and self.is_trusted else each.label
            evidence = each.suggestion, each.probability, each.is_error, self.name_of(each)
            rows.append((each.index, label, each.label, *evidence))
        return corrections_csv("train", rows)

    def save_drawing(self, path: Path, name: str) -> None:
        """Draw the most doubtful labels of the dataset `name` in a .png or .html file.

        Raises:
            OutputError: the file cannot be written.
        """
        pictures = []
        for each in self.doubtful[:MOST_DRAWN]:
            file = f", {printable(self.name_of(each))}" if self.name_of(each) else ""
            caption = f"#{each.index}: {each.label}, rather {each.suggestion}{'!' if each.is_error else ''}; "
            caption += f"its label has {percent(each.probability, 1)}{file}"
            pictures.append(CaptionedPicture(in_colours(self.digits.images[each.index]), caption))
        title = f"{counted(len(self.doubtful), 'doubtful label')} in the train part of {printable(name)}"
        if len(pictures) < len(self.doubtful):
            title += f", of which the first {len(pictures):,} are drawn"
        save_drawing(path, "Doubtful labels", [Section(title, pictures)], LEGEND)


def examine_data(
    spec: str,
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
    *,
    corrections: Path | None = None,
) -> ExaminedData:
    """Return facts about a dataset, what is wrong with it, and the doubtful labels of its training digits.

    spec: a name, a folder or a file, as `--data` of `digitcli train` takes it.
    corrections: the file that the corrections will be written to, which remedies name.

    Raises:
        EnvironmentFault: the package cleanlab is not installed.
        UsageError: there is no such dataset.
        InputError: the data cannot be read, or there are too few digits.
        The errors of `train`, except those of the run folder.
    """
    import_packages("The examination of labels", "doctor", "cleanlab")
    dataset = load_dataset(spec)
    digits, probabilities = dataset.train, out_of_sample_probabilities(dataset, device, on_event)
    agreement = float((probabilities.argmax(axis=1) == digits.labels).mean())
    doubtful = doubtful_labels(digits.labels, probabilities)
    findings = (
        *counted_faults(dataset),
        *placement(digits),
        *contrast(digits),
        *orientation(digits, device),
        *label_errors(doubtful, len(digits), agreement, spec, corrections),
    )
    facts = {
        "training digits": f"{len(digits):,}",
        "test digits": f"{len(dataset.test):,}" if dataset.test else "none",
        "digits per label": ", ".join(f"{count:,}" for count in np.bincount(digits.labels, minlength=10)),
        "agreement": f"{percent(agreement)} of the labels, by networks trained on other digits",
        "doubtful labels": f"{len(doubtful):,}",
    }
    diagnosis = Diagnosis(f"dataset {spec}", facts, findings, has_verdict=not doubtful)
    return ExaminedData(diagnosis, digits, dataset.train_files, agreement, tuple(doubtful))


def counted_faults(dataset: Dataset) -> Iterator[Finding]:
    """Yield unusable files, copies, contradictions, and digits that are missing or rare."""
    if dataset.failures:
        files = counted(len(dataset.failures), "file")
        evidence = f"{files} cannot be used: {describe_failures(dataset.failures)}"
        yield Finding("unreadable_files", "warning", evidence, "Repair or remove them.")
    hashes = dataset.train.hashes()
    if contradictions := find_contradictions(dataset.train, hashes):
        yield Finding("contradictory_labels", "error", contradictions, "Remove them or correct their labels.")
    if copies := find_copies(dataset.test, hashes):
        remedy = "Remove them from one of the parts: the test accuracy is too high otherwise."
        yield Finding("test_digits_in_training", "error", copies, remedy)
    if imbalance := find_imbalance(dataset.train):
        yield Finding("class_imbalance", "warning", imbalance, "Add pictures of the rare digits.")


def placement(digits: Digits) -> Iterator[Finding]:
    """Yield that digits do not lie in the middle, or are not as large as MNIST's."""
    images, pixels = digits.images.astype(np.float32), np.arange(digits.images.shape[1])
    total = images.sum(axis=(1, 2)).clip(min=1)
    rows, columns = ((images.sum(axis=axis) * pixels).sum(axis=1) / total for axis in (2, 1))
    shift = float(np.median(np.hypot(rows - MIDDLE_PX, columns - MIDDLE_PX)))
    if shift > SHIFT_PX:
        evidence = (
            f"The centre of mass of the ink is {shift:.1f} pixels from the middle of the image in half of "
        )
        yield Finding("shifted_digits", "warning", f"{evidence}the digits or more.", AS_PICTURES)
    side = np.median(np.maximum(*(_extent((digits.images > 0).any(axis=axis)) for axis in (2, 1))))
    if abs(side - SIZE_PX) > SIZE_TOLERANCE_PX:
        evidence = (
            f"The longer side of the digits has {side:g} pixels in the median, that of MNIST's {SIZE_PX:g}, "
            "so that models trained on the one read the other badly."
        )
        yield Finding("other_size", "warning", evidence, AS_PICTURES)


def _extent(has_ink: Any) -> npt.NDArray[np.int64]:
    """Return the distance from the first to the last true value in every row of an array (N, P)."""
    first, last = has_ink.argmax(axis=1), has_ink.shape[1] - has_ink[:, ::-1].argmax(axis=1)
    return np.where(has_ink.any(axis=1), last - first, 0)


def contrast(digits: Digits) -> Iterator[Finding]:
    """Yield that ink is paler or paper is brighter than MNIST's, for which models normalize."""
    pixels = digits.images.reshape(len(digits), -1)
    ink, paper = np.median(pixels.max(axis=1)), np.median(np.median(pixels, axis=1))
    if ink < LEAST_INK or paper > MOST_PAPER:
        evidence = (
            f"In the median of the digits, the brightest ink has the level {ink:g} and the paper {paper:g}; "
            "models expect ink of 255 on paper of 0, as MNIST has it."
        )
        remedy = f"Scale the pixels to these levels. {AS_PICTURES}"
        yield Finding("other_contrast", "warning", evidence, remedy)


def orientation(digits: Digits, device: str = "auto") -> Iterator[Finding]:
    """Yield that a shipped model reads the digits better when they are rotated, mirrored or inverted."""
    some = digits.take(np.linspace(0, len(digits) - 1, min(ORIENTED, len(digits))).astype(np.int64))
    classifier = load_classifier(ORIENTATION_MODEL, device=device)

    def is_correct(images: Images) -> npt.NDArray[np.bool_]:
        logits = classifier.logits(np.ascontiguousarray(images))
        return np.asarray(logits.argmax(axis=-1) == some.labels)

    as_given = is_correct(some.images)
    changed = {name: is_correct(turn(some.images)) for name, turn in TURNS.items()}
    name, best = max(changed.items(), key=lambda item: int(item[1].sum()))
    gained, lost = int((best & ~as_given).sum()), int((as_given & ~best).sum())
    p = len(changed) * mcnemar(lost, gained)  # corrected for the number of tests (Bonferroni)
    if gained > lost and p < SIGNIFICANT and best.mean() > READABLE:
        rule = "inverted_digits" if name == "inverted" else "turned_digits"
        evidence = (
            f"The model {ORIENTATION_MODEL} reads {percent(as_given.mean(), 1)} of {len(some):,} digits as "
            f"they are, and {percent(best.mean(), 1)} if they are {name}."
        )
        yield Finding(rule, "error", evidence, "Correct the images, or the program that saved them.")


def label_errors(
    doubtful: Sequence[DoubtfulLabel], count: int, agreement: float, spec: str, file: Path | None = None
) -> Iterator[Finding]:
    """Yield that confident learning finds wrong labels among those of `count` digits of the dataset `spec`.

    file: the file that the corrections will be written to; None if none was named.
    """
    if errors := sum(label.is_error for label in doubtful):
        name = file or Path("corrections.csv")
        remedy = f"Look at the most doubtful ones. Write the right labels into {name}"
        remedy += "." if file else f", which -o {name} makes."
        evidence = (
            f"{errors:,} of {count:,} labels contradict networks that were trained on other digits. They "
            f"agree with {percent(agreement)} of all labels, and are as sure of another digit as usual."
        )
        command = f"digitcli train --data {quoted(spec)} --corrections {quoted(str(name))}"
        yield Finding("label_errors", "warning", evidence, remedy, command)


def doubtful_labels(labels: npt.NDArray[np.int64], probabilities: Probabilities) -> list[DoubtfulLabel]:
    """Return the labels (N,) that are not the likeliest by probabilities (N, 10), the most doubtful first.

    The order is that of the distance of the two probabilities. Confident learning takes a label for an error
    if another digit is at least as likely as it is, in the mean, where it is the label.
    """
    from cleanlab.filter import find_label_issues

    digits = np.unique(labels)  # cleanlab knows no digit without a label
    places, shares = np.searchsorted(digits, labels), probabilities[:, digits]
    is_error = np.zeros(len(labels), bool)
    if len(digits) > 1:
        is_error = find_label_issues(places, shares, filter_by="confident_learning", n_jobs=1)
    suggestions, of_label = probabilities.argmax(axis=1), probabilities[np.arange(len(labels)), labels]
    columns = (labels, suggestions, of_label, is_error)
    order = np.argsort(of_label - probabilities.max(axis=1), kind="stable").tolist()
    doubtful = (index for index in order if suggestions[index] != labels[index])
    return [DoubtfulLabel(index, *(column[index].item() for column in columns)) for index in doubtful]


def out_of_sample_probabilities(
    dataset: Dataset, device: str = "auto", on_event: OnEvent = lambda event: None
) -> Probabilities:
    """Return the probabilities of training digits (N, 10) by cross-validation.

    Each of four networks is trained on three quarters of the digits and reads the others.

    Raises:
        InputError: there are too few digits.
        The errors of `train`, except those of the run folder.
    """
    digits = dataset.train
    _, firsts, copied = np.unique(digits.hashes(), return_index=True, return_inverse=True)
    if len(firsts) < 10 * FOLDS:
        count = counted(len(firsts), "different training digit")
        cause = f"{dataset.name} has {count}, too few for a cross-validation."
        raise InputError(cause, f"Give {10 * FOLDS} or more.")
    # A network that has learned from a copy of a digit cannot judge its label: copies share a fold.
    number = np.argsort(np.argsort(firsts))[copied]
    fold_of = (np.random.default_rng(FOLD_SEED).permutation(len(firsts)) % FOLDS)[number]
    probabilities = np.empty((len(digits), 10), np.float32)
    for fold in range(FOLDS):
        network = _train(dataset.name, digits.take(np.flatnonzero(fold_of != fold)), device)
        held_out = np.flatnonzero(fold_of == fold)
        probabilities[held_out] = infer(network, digits.take(held_out).images).softmax(dim=1).numpy()
        on_event(ThingsDone(len(digits) * (fold + 1) // FOLDS, len(digits)))
    return probabilities


def _train(name: str, digits: Digits, device: str) -> torch.nn.Module:
    """Train a network on digits, all but those that every training holds out for validation."""
    recipe: dict[str, Any] = {"epochs": EPOCHS, "label_smoothing": 0.0}
    if len(digits) * EPOCHS < STEPS * SMALL_BATCH:
        recipe |= {"batch_size": SMALL_BATCH, "epochs": -(-STEPS * SMALL_BATCH // len(digits))}
    config = TrainConfig(arch=ARCHITECTURE, recipe=recipe, device=device)
    with separate_random_numbers(config):
        setup, state = prepare(config, dataset=Dataset(name, digits))
        for state.epoch in range(setup.recipe.epochs):
            for state.step in range(setup.task.steps):
                take_step(setup, state)
    return state.weights()
