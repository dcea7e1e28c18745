"""Read labels from CSV tables that a person can edit.

`labels.csv` in a folder tells what is written in its pictures; corrections replace labels of a dataset.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from digitcli.data.dataset import Dataset, Failure, Splits
from digitcli.data.files import walk_pictures
from digitcli.errors import InputError

LABELS = "labels.csv"
# Spreadsheets write semicolons where a comma separates decimals.
DELIMITERS = ",;\t"
REMEDY = (
    f"Put a file {LABELS} with the columns file and text beside the pictures, one row a picture; the text of "
    "a picture without a number is empty."
)
# The new label of each corrected digit by its index; None leaves the digit out.
Corrections = dict[int, int | None]
Row = tuple[int, dict[str | Any, str | Any]]  # a line of a table, and its cells by their columns
CORRECT_LABELS = ("", *"0123456789")
# Characters of the largest index that is read as a number.
LONGEST_INDEX = 12
CORRECTIONS_COLUMNS = ("part", "index", "label", "given", "suggestion", "probability", "error", "file")
CORRECTIONS_REMEDY = "Make one with: digitcli doctor DATA -o corrections.csv"


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and what is written in it.

    file: its name in the table, which is a path from the folder.
    path: its path.
    text: the numbers in it, with ASCII digits; empty if there are none.
    group: what it shares with others, for example a writer, a form or a day; None if the table does not tell.
    """

    file: str
    path: Path
    text: str
    group: str | None = None


def read_labelled_pictures(folder: Path) -> tuple[LabelledPicture, ...]:
    """Return the pictures that `labels.csv` of a folder lists; whether they exist is not checked.

    The columns are `file`, `text` and optionally `group`; others are ignored. Without `text`, `label` counts,
    which `digitcli synthesize` writes. Commas, semicolons or tabs separate them, as in the first line.

    Raises:
        InputError: the table is missing or cannot be read, or a row of it has no file, no text, the file of
            another row, or more cells than there are columns.
    """
    table = folder / LABELS
    try:
        if not folder.is_dir():
            cause = f"{folder} is not a folder." if folder.exists() else f"There is no folder {folder}."
            raise InputError(cause, "Name a folder of pictures.")
        if not table.exists():
            raise InputError(f"There is no {LABELS} in {folder}.", REMEDY)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.", "Name another folder.") from error
    columns, rows = read_table(table, REMEDY)
    text_column = "label" if "label" in columns and "text" not in columns else "text"
    _check_columns(table, columns, ("file", text_column), REMEDY)
    lines: dict[str, int] = {}
    pictures = []
    for line, row in rows:
        place, name, text = f"{table}, line {line}", row["file"], row[text_column]
        if not name or text is None:
            raise InputError(f"{place}, has no {'text' if name else 'file'}.", REMEDY)
        if any(row.get(None, ())):
            cause = f"{place}, has more cells than the first line has columns."
            raise InputError(cause, 'Write a text with a comma in quotation marks: "12,5".')
        first = lines.setdefault(os.path.normpath(name), line)
        if first != line:
            cause = f"{place}, lists {name} again, after line {first}."
            raise InputError(cause, "Give each picture one row with all that is written on it.")
        # The digits of other scripts, such as full-width ones, become 0 to 9.
        ascii_text = "".join(str(int(each)) if each.isdecimal() else each for each in text)
        group = (row.get("group") or "").strip() or None  # a space at the end makes no other group
        pictures.append(LabelledPicture(name, folder / name, ascii_text, group))
    if not pictures:
        raise InputError(f"{table} lists no pictures.", REMEDY)
    return tuple(pictures)


def read_table(path: Path, remedy: str, errors: str = "strict") -> tuple[Sequence[str], list[Row]]:
    """Return the columns of a table and its rows, each with its line; a cell that is missing is None.

    The first line tells whether commas, semicolons or tabs separate the columns. Empty rows are left out.

    Raises:
        InputError: the table cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig", errors=errors)
        delimiter = max(DELIMITERS, key=content.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(content), delimiter=delimiter)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        is_binary = isinstance(error, UnicodeDecodeError)
        cause = "it is no text in UTF-8" if is_binary else getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {cause}.", remedy) from error
    return reader.fieldnames or (), [
        (line, row) for line, row in rows if any("".join(cells or "").strip() for cells in row.values())
    ]


def _check_columns(path: Path, columns: Sequence[str], needed: Iterable[str], remedy: str) -> None:
    if missing := {*needed} - {*columns}:
        given = f", but {', '.join(columns)}" if any(columns) else ""
        raise InputError(f"{path} has no column {min(missing)}{given}.", remedy)


def unlabelled_pictures(folder: Path, pictures: tuple[LabelledPicture, ...]) -> list[Path]:
    """Return the pictures in a folder and below it that the table does not list."""
    listed = {os.path.normpath(picture.path) for picture in pictures}
    found = [path for path in walk_pictures(folder) if isinstance(path, Path)]
    return [path for path in found if os.path.normpath(path) not in listed]


def leave_copies_out(
    pictures: Sequence[LabelledPicture],
) -> tuple[list[LabelledPicture], tuple[Failure, ...]]:
    """Return pictures without copies of earlier ones, and these copies as failures.

    A copy has the same bytes as another file. A picture that cannot be read stays.
    """
    first_of: dict[bytes, LabelledPicture] = {}
    kept, copies = list[LabelledPicture](), list[Failure]()
    for picture in pictures:
        first = picture
        with contextlib.suppress(OSError, ValueError):
            first = first_of.setdefault(hashlib.sha256(picture.path.read_bytes()).digest(), picture)
        if first is picture:
            kept.append(picture)
        else:
            label = "" if picture.text == first.text else ", which has another label"
            copies.append(Failure(picture.file, "duplicate", f"It is a copy of {first.file}{label}."))
    return kept, tuple(copies)


def corrections_csv(part: str, rows: Iterable[tuple[int, int, int, int, float, bool, str]]) -> str:
    """Return the CSV of corrections of a part of a dataset.

    A row has an index, the corrected and the given label, a suggestion, the probability of the given label,
    whether it is taken for an error, and the file of the digit, if it has one of its own.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CORRECTIONS_COLUMNS)
    for *labels, probability, is_error, file in rows:
        writer.writerow((part, *labels, f"{probability:.6f}", "yes" if is_error else "no", file))
    return text.getvalue()


def correct_labels(splits: Splits, dataset: Dataset, path: Path) -> Splits:
    """Return the parts of a dataset, in which digits to train on have the labels that a file gives them.

    A digit whose label is empty is left out. Validation and test digits stay as they are, so that models with
    other corrections are measured on the same ones.

    Raises:
        InputError: see `read_corrections` and `apply_corrections`.
    """
    return apply_corrections(splits, read_corrections(dataset, path))


def read_corrections(dataset: Dataset, path: Path) -> Corrections:
    """Return the label that a file gives to each training digit that it names; None for one that is left out.

    The columns `index`, counted from 0, and `label` are needed. The columns `part`, `given` and `file`, where
    they are there and not empty, must agree with the dataset; of `file`, the name and the folder in which it
    lies, since a dataset may be moved. Other columns are ignored.

    Raises:
        InputError: the file cannot be read, or a row does not fit the dataset.
    """
    columns, rows = read_table(path, CORRECTIONS_REMEDY, "surrogateescape")
    _check_columns(path, columns, ("index", "label"), CORRECTIONS_REMEDY)
    count = len(dataset.train)
    remedy = f"Give corrections of the training digits of {dataset.name}."
    labels: Corrections = {}
    for line, row in rows:
        place, text, label = f"{path}, line {line}", _cell(row, "index"), _cell(row, "label")
        index = int(text) if text.isdecimal() and len(text) < LONGEST_INDEX else count
        if index >= count:
            wrong = f"the index {text[:LONGEST_INDEX]} is not from 0 to {count - 1}"
            raise InputError(f"{place}: {wrong if text else 'it has no index'}.", remedy)
        if label not in CORRECT_LABELS:
            cause = f"{place}: the label {label[:20]!r} is not a digit from 0 to 9."
            raise InputError(cause, "Correct it, or leave it empty to leave the picture out.")
        if index in labels:
            raise InputError(f"{place}: the index {index} occurs twice.", "Leave one of the rows out.")
        facts = {"part": "train", "given": str(dataset.train.labels[index])}
        if dataset.train_files:
            facts["file"] = dataset.train_files[index]
        for column, value in facts.items():
            stated = _cell(row, column)
            is_file = column == "file" and Path(stated).parts[-2:] == Path(value).parts[-2:]
            if stated and stated != value and not is_file:
                cause = f"{place}: the {column} is {stated[-60:]}, but that of the digit is {value}."
                raise InputError(cause, remedy)
        labels[index] = int(label) if label else None
    return labels


def _cell(row: dict[str | Any, str | Any], column: str) -> str:
    return (row.get(column) or "").strip()


def apply_corrections(splits: Splits, labels: Corrections) -> Splits:
    """Return the parts of a dataset, in which digits to train on have other labels or are left out.

    Raises:
        InputError: no digit to train on is left.
    """
    indices, old = splits.train_indices.tolist(), splits.train.labels.tolist()
    new = [labels.get(index, label) for index, label in zip(indices, old, strict=True)]
    kept = np.array([place for place, label in enumerate(new) if label is not None], np.int64)
    if not kept.size:
        raise InputError("The corrections leave out every digit to train on.", "Give some of them a label.")
    corrected = np.array([label for label in new if label is not None], splits.train.labels.dtype)
    train = replace(splits.train.take(kept), labels=corrected)
    return replace(splits, train=train, train_indices=splits.train_indices[kept])


def describe_corrections(before: Splits, after: Splits, labels: Corrections) -> Iterator[str]:
    """Yield sentences on what corrections have changed in the parts of a dataset, and what they have not."""
    left_out = len(before.train) - len(after.train)
    is_kept = np.isin(before.train_indices, after.train_indices)
    changed = int((before.train.labels[is_kept] != after.train.labels).sum())
    if changed or left_out:
        yield f"Labels corrected: {changed:,}; training digits left out: {left_out:,}."
    else:
        yield (
            "The corrections change nothing: no row gives a digit to train on another label or an empty one. "
            "Copy suggestion to label where you accept it."
        )
    held_out = len(labels.keys() - set(before.train_indices.tolist()))
    if held_out:
        yield f"Rows of validation or test digits, which stay as they are: {held_out:,}."


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file of corrections.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"The corrections {path} cannot be read: {error}.", CORRECTIONS_REMEDY) from error
