"""Every rule finds the fault that is planted in a dataset, and is silent on MNIST's digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.corrections import COLUMNS, correct_labels
from digitcli.data.dataset import Dataset, Digits, Failure, split
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.data import (
    contrast,
    duplicates,
    examine_data,
    imbalance,
    label_errors,
    orientation,
    placement,
    unreadable_files,
)
from digitcli.diagnosis.label_errors import DoubtfulLabel
from digitcli.errors import UsageError


@pytest.fixture(scope="module")
def some(digits: Digits) -> Digits:
    return digits.take(np.arange(500))


def changed(digits: Digits, change: Callable[[np.ndarray], np.ndarray]) -> Digits:
    return replace(digits, images=np.ascontiguousarray(change(digits.images)))


def test_healthy_digits_have_no_findings(some: Digits) -> None:
    dataset = Dataset("healthy", some, some.take(np.arange(0)))
    found = [*unreadable_files(dataset), *duplicates(dataset), *imbalance(some), *placement(some)]
    found += contrast(some)
    assert [*found, *orientation(some, "cpu")] == []


@pytest.mark.parametrize(
    "change, rule, word",
    [
        (lambda images: images.transpose(0, 2, 1), "turned_digits", "transposed"),
        (lambda images: np.rot90(images, 1, (1, 2)), "turned_digits", "turned by 270 degrees"),
        (lambda images: images[:, :, ::-1], "turned_digits", "mirrored"),
        (lambda images: 255 - images, "inverted_digits", "inverted"),
    ],
)
def test_digits_that_lie_otherwise_are_found(
    some: Digits, change: Callable[[np.ndarray], np.ndarray], rule: str, word: str
) -> None:
    (finding,) = orientation(changed(some, change), "cpu")
    assert finding.rule == rule and f"they are {word}." in finding.evidence


def test_characters_that_are_no_digits_have_no_orientation(some: Digits) -> None:
    """Permute the labels, so that the model knows none of the characters."""
    permuted = replace(some, labels=(some.labels + 3) % 10)
    assert list(orientation(permuted, "cpu")) == []


def test_shifted_digits_are_found(some: Digits) -> None:
    (finding,) = placement(changed(some, lambda images: np.roll(images, 4, axis=2)))
    assert finding.rule == "shifted_digits"


def test_digits_of_another_size_are_found(some: Digits) -> None:
    small = np.zeros_like(some.images)
    small[:, 7:21, 7:21] = some.images[:, ::2, ::2]
    (finding,) = placement(replace(some, images=small))
    assert finding.rule == "other_size" and "10 pixels" in finding.evidence


@pytest.mark.parametrize(
    "change, levels",
    [
        (lambda images: images // 3, "level 85 and the paper 0;"),
        (lambda images: 40 + (images * 0.8).astype(np.uint8), "level 244 and the paper 40;"),
    ],
)
def test_another_contrast_is_found(
    some: Digits, change: Callable[[np.ndarray], np.ndarray], levels: str
) -> None:
    (finding,) = contrast(changed(some, change))
    assert finding.rule == "other_contrast" and levels in finding.evidence


def test_a_rare_and_a_missing_digit_are_found(some: Digits) -> None:
    (rare,) = imbalance(some.take(np.flatnonzero((some.labels != 7) | (np.arange(500) < 30))))
    assert rare.rule == "class_imbalance" and "The digit 7 occurs" in rare.evidence
    (missing,) = imbalance(some.take(np.flatnonzero(some.labels != 7)))
    assert missing.evidence == "Digits that do not occur: 7."


def test_duplicates_are_found(some: Digits) -> None:
    shared = some.take(np.arange(10))
    (finding,) = duplicates(Dataset("shared", some, shared))
    assert finding.rule == "test_digits_in_training" and finding.evidence.startswith("10 of 10 ")


@pytest.mark.parametrize("labels", [[1, 1, 2, 2, 5, 5], [1, 2, 1, 2, 5, 5], [1, 2, 3, 4, 5, 5]])
def test_an_image_with_several_labels_is_counted_once_in_any_order(some: Digits, labels: list[int]) -> None:
    (finding,) = duplicates(Dataset("copies", Digits(some.images[[0, 0, 0, 0, 1, 1]], np.array(labels))))
    assert finding.rule == "contradictory_labels" and finding.evidence.endswith("different labels: 1.")


def test_unreadable_files_are_counted(some: Digits) -> None:
    dataset = Dataset("files", some, None, (Failure("a.png", "corrupt", "It is damaged."),))
    (finding,) = unreadable_files(dataset)
    assert finding.rule == "unreadable_files" and "a.png: It is damaged." in finding.evidence


def test_wrong_labels_are_found_and_their_corrections_can_be_trained_with(
    digits: Digits, tmp_path: Path
) -> None:
    labels = digits.labels[:900].copy()
    wrong = np.arange(0, 900, 30)
    labels[wrong] = (labels[wrong] + 1) % 10
    np.savez(tmp_path / "wrong.npz", images=digits.images[:900], labels=labels)
    data = examine_data(str(tmp_path / "wrong.npz"), device="cpu")
    assert "label_errors" in [finding.rule for finding in data.diagnosis.findings]
    trusted = replace(data, agreement=1.0)
    (tmp_path / "corrections.csv").write_text(trusted.corrections())
    dataset = load_dataset(str(tmp_path / "wrong.npz"))
    before = split(dataset)
    after = correct_labels(before, dataset, tmp_path / "corrections.csv")
    truth = digits.labels[before.train_indices]
    assert (after.train.labels != truth).sum() < (before.train.labels != truth).sum()
    unsure = replace(data, agreement=0.9).corrections().splitlines()[1:]
    assert all(row.split(",")[2] == row.split(",")[3] for row in unsure)
    assert data.corrections().splitlines()[0] == ",".join(COLUMNS)
    errors = [row for row in data.corrections().splitlines() if row.endswith(",yes,")]
    assert len(errors) == sum(label.is_error for label in data.doubtful) > 10


def test_the_remedy_names_the_file_of_the_corrections(some: Digits) -> None:
    doubtful = [DoubtfulLabel(0, 5, 3, 0.01, True)]
    (finding,) = label_errors(doubtful, some, 0.99, "digits", Path("my fix.csv"))
    assert "into my fix.csv." in finding.remedy
    assert finding.command == "digitcli train --data digits --corrections 'my fix.csv'"
    (finding,) = label_errors(doubtful, some, 0.99, "digits")
    assert "into corrections.csv, which -o corrections.csv makes." in finding.remedy


def test_a_dataset_without_a_test_part_has_none_to_examine(few_digits: Path) -> None:
    with pytest.raises(UsageError, match="no test part"):
        examine_data(str(few_digits), "test")
