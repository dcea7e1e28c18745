"""Every rule finds the fault that is planted in a dataset, and is silent on MNIST's digits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digitcli.data.dataset import Dataset, Digits, Failure, split
from digitcli.data.label_tables import CORRECTIONS_COLUMNS, correct_labels
from digitcli.data.loading import load_dataset
from digitcli.diagnosis import data as data_examination
from digitcli.diagnosis.data import (
    DoubtfulLabel,
    ExaminedData,
    contrast,
    counted_faults,
    doubtful_labels,
    examine_data,
    label_errors,
    orientation,
    out_of_sample_probabilities,
    placement,
)
from digitcli.diagnosis.findings import Diagnosis
from digitcli.errors import EnvironmentFault, InputError


@pytest.fixture(scope="module")
def some(digits: Digits) -> Digits:
    return digits.take(np.arange(500))


def changed(digits: Digits, change: Callable[[np.ndarray], np.ndarray]) -> Digits:
    return replace(digits, images=np.ascontiguousarray(change(digits.images)))


def test_healthy_digits_have_no_findings(some: Digits) -> None:
    dataset = Dataset("healthy", some, some.take(np.arange(0)))
    found = [*counted_faults(dataset), *placement(some), *contrast(some)]
    assert [*found, *orientation(some, "cpu")] == []


def test_digits_that_lie_otherwise_are_found(some: Digits) -> None:
    changes: list[tuple[Callable[[np.ndarray], np.ndarray], str, str]] = [
        (lambda images: images.transpose(0, 2, 1), "turned_digits", "transposed"),
        (lambda images: np.rot90(images, 1, (1, 2)), "turned_digits", "rotated by 270 degrees"),
        (lambda images: images[:, :, ::-1], "turned_digits", "mirrored"),
        (lambda images: 255 - images, "inverted_digits", "inverted"),
    ]
    for change, rule, word in changes:
        (finding,) = orientation(changed(some, change), "cpu")
        assert finding.rule == rule and f"they are {word}." in finding.evidence
    permuted = replace(some, labels=(some.labels + 3) % 10)  # the model knows none of the characters
    assert list(orientation(permuted, "cpu")) == []


def test_another_place_size_or_contrast_is_found(some: Digits) -> None:
    (finding,) = placement(changed(some, lambda images: np.roll(images, 4, axis=2)))
    assert finding.rule == "shifted_digits"
    small = np.zeros_like(some.images)
    small[:, 7:21, 7:21] = some.images[:, ::2, ::2]
    (finding,) = placement(replace(some, images=small))
    assert finding.rule == "other_size" and "10 pixels" in finding.evidence
    (finding,) = contrast(changed(some, lambda images: images // 3))
    assert finding.rule == "other_contrast" and "level 85 and the paper 0;" in finding.evidence
    (finding,) = contrast(changed(some, lambda images: 40 + (images * 0.8).astype(np.uint8)))
    assert finding.rule == "other_contrast" and "level 244 and the paper 40;" in finding.evidence


def test_what_can_be_counted_is_found(some: Digits) -> None:
    def found(train: Digits, **parts: Any) -> list[tuple[str, str]]:
        return [(each.rule, each.evidence) for each in counted_faults(Dataset("digits", train, **parts))]

    few_sevens = some.take(np.flatnonzero((some.labels != 7) | (np.arange(500) < 30)))
    ((rule, evidence),) = found(few_sevens)
    assert rule == "class_imbalance" and "The digit 7 occurs" in evidence
    without_seven = some.take(np.flatnonzero(some.labels != 7))
    assert found(without_seven) == [("class_imbalance", "Digits that do not occur: 7.")]
    ((rule, evidence),) = found(some, test=some.take(np.arange(10)))
    assert rule == "test_digits_in_training" and evidence.startswith("10 of 10 ")
    ((rule, evidence),) = found(some, failures=(Failure("a.png", "corrupt", "It is damaged."),))
    assert rule == "unreadable_files" and "a.png: It is damaged." in evidence
    for labels in ([1, 1, 2, 2, 5, 5], [1, 2, 1, 2, 5, 5], [1, 2, 3, 4, 5, 5]):
        copies = Digits(some.images[[0, 0, 0, 0, 1, 1]], np.array(labels))
        evidence = dict(found(copies))["contradictory_labels"]
        assert evidence.endswith("different labels: 1."), labels


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
    assert data.corrections().splitlines()[0] == ",".join(CORRECTIONS_COLUMNS)
    errors = [row for row in data.corrections().splitlines() if row.endswith(",yes,")]
    assert len(errors) == sum(label.is_error for label in data.doubtful) > 10


def test_the_remedy_names_the_file_of_the_corrections() -> None:
    doubtful = [DoubtfulLabel(0, 5, 3, 0.01, True)]
    (finding,) = label_errors(doubtful, 500, 0.99, "digits", Path("my fix.csv"))
    assert "into my fix.csv." in finding.remedy
    assert finding.command == "digitcli train --data digits --corrections 'my fix.csv'"
    (finding,) = label_errors(doubtful, 500, 0.99, "digits")
    assert "into corrections.csv, which -o corrections.csv makes." in finding.remedy


def noisy_probabilities(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, of which some are wrong, and probabilities that mostly favour the right ones."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 10, 500)
    logits = random.normal(0, 1, (500, 10)) + 4 * np.eye(10)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = random.random(500) < 0.1
    return np.where(wrong, random.integers(0, 10, 500), truth), probabilities.astype(np.float32)


def test_the_errors_are_those_of_confident_learning() -> None:
    """Compute the definition by hand, also where a digit has no label."""
    for seed in range(3):
        labels, probabilities = noisy_probabilities(seed)
        labels[labels == 9] = 4 if seed else 9
        thresholds = np.full(10, np.inf)
        for digit in np.unique(labels):
            thresholds[digit] = probabilities[labels == digit, digit].mean()
        confident = np.where(probabilities >= thresholds, probabilities, -1)
        expected = np.flatnonzero((confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != labels))
        found = [each.index for each in doubtful_labels(labels, probabilities) if each.is_error]
        assert len(found) > 10 and set(found) <= set(expected.tolist())
        likeliest = probabilities.argmax(axis=1) != labels
        assert set(found) == {index for index in expected.tolist() if likeliest[index]}, seed


def test_what_cannot_be_examined_is_told_before_any_training(
    digits: Digits, few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="39 different training digits"):
        out_of_sample_probabilities(Dataset("few", digits.take(np.arange(80) % 39)), "cpu")
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(data_examination, "prepare", None)
    with pytest.raises(EnvironmentFault, match="cleanlab") as caught:
        examine_data(str(few_digits))
    assert "'.[doctor]'" in caught.value.remedy


def test_no_network_is_trained_on_the_digits_that_it_reads_or_on_copies_of_them(digits: Digits) -> None:
    """Flip labels, and give 24 copies of a seven the label 3: a network that saw them would learn them."""
    train, flipped = digits.take(np.arange(800)), np.arange(0, 800, 20)
    labels = train.labels.copy()
    labels[flipped] = (labels[flipped] + 1) % 10
    seven = train.take(np.flatnonzero(train.labels == 7)[[0] * 24])
    labels, images = np.append(labels, np.full(24, 3)), np.concatenate([train.images, seven.images])
    probabilities = out_of_sample_probabilities(Dataset("flipped", Digits(images, labels)), "cpu")
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-4)
    doubtful = [each.index for each in doubtful_labels(labels, probabilities)]
    assert {*doubtful} >= {*range(800, 824)}
    assert len({*doubtful[: 40 + 24]} & {*flipped.tolist()}) > 25


@pytest.fixture
def sheet() -> ExaminedData:
    """Three digits, of which two have doubtful labels; the second is the more doubtful one."""
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 5:20, 10:14] = 200
    return ExaminedData(
        Diagnosis("dataset <b>"),
        Digits(images, np.array([8, 7, 3])),
        ("0.png", "<i>.png", "2.png"),
        0.9,
        (DoubtfulLabel(1, 7, 1, 0.01, True), DoubtfulLabel(2, 3, 5, 0.2, False)),
    )


def test_each_doubtful_label_is_drawn_with_its_number_and_the_likelier_digit(
    sheet: ExaminedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet.save_drawing(tmp_path / "sheet.png", "digits")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert 200 in np.asarray(picture.convert("L")) and picture.width > 2 * 168
    path = tmp_path / "sheet.html"
    sheet.save_drawing(path, "my <digits>")
    text = path.read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "2 doubtful labels in the train part of my &lt;digits&gt;" in text and "are drawn" not in text
    assert text.count("data:image/png") == 2 and "http://" not in text
    assert text.index("#1: 7, rather 1!") < text.index("#2: 3, rather 5") and "rather 5!" not in text
    assert "its label has 1.0 %, &lt;i&gt;.png" in text
    monkeypatch.setattr(data_examination, "MOST_DRAWN", 1)
    sheet.save_drawing(path, "digits")
    text = path.read_text()
    assert "2 doubtful labels in the train part of digits, of which the first 1 are drawn" in text
    assert "#1: 7" in text and "#2: 3" not in text


def test_a_sheet_of_nothing_and_names_of_any_bytes_are_drawn(sheet: ExaminedData, tmp_path: Path) -> None:
    name, path = os.fsdecode(b"caf\xe9"), tmp_path / "sheet.html"
    replace(sheet, files=(name,) * 3).save_drawing(path, name)
    assert "caf?" in path.read_text()
    for path in (tmp_path / "sheet.html", tmp_path / "sheet.png"):
        replace(sheet, doubtful=()).save_drawing(path, name)
        assert path.stat().st_size
    replace(sheet, doubtful=sheet.doubtful[:1], files=(name,) * 3).save_drawing(path, 90 * "w")
    with Image.open(path) as picture:
        assert (np.asarray(picture)[:, -10:] == 255).all()  # the texts are no wider than the sheet
