"""Corrections of labels, in a CSV file that a person can edit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from digitcli.data.dataset import Dataset
from digitcli.errors import InputError

COLUMNS = ("part", "index", "label", "given", "suggestion", "probability", "file")
REMEDY = "Make one with: digitcli doctor DATA -o corrections.csv"


def corrections_csv(part: str, rows: Iterable[tuple[int, int, int, int, float, str]]) -> str:
    """Return the CSV of corrections of a part of a dataset.

    A row has an index, the corrected and the given label, a suggestion, the probability of the given label,
    and the file of the digit, if it has one of its own.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((part, *row[:4], f"{row[4]:.6f}", row[5]) for row in rows)
    return text.getvalue()


def correct_labels(dataset: Dataset, path: Path) -> Dataset:
    """Return a dataset whose training digits have the labels that a file gives them.

    A digit whose label is empty is left out. The columns `index`, counted from 0, and `label` are needed, and
    others have no effect; if there is a column `part`, it must be `train`.

    Raises:
        InputError: the file cannot be read, or a row does not fit the dataset.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The corrections {path} cannot be read: {error}.", REMEDY) from error
    labels = dataset.train.labels.copy()
    is_kept = np.ones(len(labels), bool)
    for line, row in enumerate(rows, start=2):
        index, label = (row.get("index") or "").strip(), row.get("label")
        place = f"{path}, line {line}"
        if label is None:
            raise InputError(f"{place} has no label.", f"It needs the columns index and label. {REMEDY}")
        if not index.isdecimal() or int(index) >= len(labels):
            cause = f"{place}: the index {index or 'that is missing'} is not below {len(labels):,}."
            raise InputError(cause, f"Give corrections of the training digits of {dataset.name}.")
        if row.get("part", "train") != "train":
            raise InputError(f"{place} is about a digit of the {row['part']} part.", "Leave --split out.")
        if label.strip() and not (label.strip().isdecimal() and int(label) < 10):
            cause = f"{place}: the label {label.strip()[:20]!r} is not a digit from 0 to 9."
            raise InputError(cause, "Correct it, or leave it empty to leave the picture out.")
        is_kept[int(index)] = bool(label.strip())
        labels[int(index)] = int(label.strip() or 0)
    kept = np.flatnonzero(is_kept)
    return replace(dataset, train=replace(dataset.train, labels=labels).take(kept))
