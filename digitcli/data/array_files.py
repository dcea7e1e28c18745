"""Digits in one file: a NumPy archive (.npz) or a CSV table, as Keras and Kaggle publish them."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.files import MAX_BYTES, open_decompressed
from digitcli.data.image_arrays import Array, digits_from_arrays
from digitcli.errors import InputError

NPZ_LAYOUTS = (  # training images and labels, test images and labels
    ("images", "labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
NPZ_REMEDY = "Make it with numpy.savez_compressed(file, images=..., labels=...)."
CSV_COLUMNS = 1 + 28 * 28
CSV_REMEDY = "A row is a label and 784 pixels from 0 to 255 (from pandas: to_csv(file, index=False))."
LABEL_NAMES = ("label", "class", "digit", "target", "y")
LONGEST_LINE = 64 * 1024


def load_npz(path: Path) -> Dataset:
    """Digits from an archive of arrays; nothing is unpickled.

    Raises:
        InputError: the archive is damaged, too large, or holds something else.
    """
    train_images, train_labels, *test_arrays = _read_npz(path)
    train, failures = digits_from_arrays(train_images, train_labels, path.name)
    if not test_arrays:
        return Dataset(path.name, train, None, failures)
    test_images, test_labels = test_arrays
    test, more = digits_from_arrays(test_images, test_labels, f"{path.name} (test)")
    return Dataset(path.name, train, test, failures + more)


def _read_npz(path: Path) -> list[Array]:
    """Images and labels of the training part and, where there is one, of the test part."""
    try:
        with open_decompressed(path) as file, zipfile.ZipFile(file) as archive:
            names = _names_of_digits(path, [name.removesuffix(".npy") for name in archive.namelist()])
            members = [archive.getinfo(f"{name}.npy") for name in names]
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise InputError(
                    f"{path} unpacks to more than {MAX_BYTES} bytes.", "Split it into smaller files."
                )
            return [_read_npy(archive, member) for member in members]
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as a NumPy archive: {error}.", NPZ_REMEDY) from error


def _names_of_digits(path: Path, names: list[str]) -> tuple[str, ...]:
    for layout in NPZ_LAYOUTS:
        train, test = layout[:2], layout[2:]
        if not set(train) <= set(names):
            continue
        if len(set(test) & set(names)) == 1:
            raise InputError(f"{path} holds only one of {' and '.join(test)}.", "Give both, or neither.")
        return layout if set(test) <= set(names) else train
    raise InputError(f"{path} holds {', '.join(names[:9]) or 'nothing'}, not images and labels.", NPZ_REMEDY)


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """One array; its header is checked before memory is taken for what it promises.

    Raises:
        ValueError: the member is damaged or holds Python objects.
    """
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"{member.filename} is in npy format {version[0]}.{version[1]}")
        try:
            with warnings.catch_warnings(action="ignore"):  # about headers that Python 2 wrote
                shape, column_major, dtype = readers[version](file)
        except Exception as error:  # the header is read by Python's own parser, which has many ways to fail
            raise ValueError(f"{member.filename} has a damaged header: {error}") from error
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects, which are never read")
        content = file.read()
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} has {len(content)} bytes for the shape {shape} of {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if column_major else "C")


def load_csv(path: Path) -> Dataset:
    """Digits from rows of a label and 784 pixels, with or without a header, plain or compressed.

    Where the name says `train` and a file named `test` with labels lies beside it, that is the test part.
    A name that begins with `emnist` means pictures stored transposed, as EMNIST publishes them.

    Raises:
        InputError: a row is not a digit; the error names its line.
    """
    train = _read_csv(path)
    before, word, after = path.name.rpartition("train")
    companion = path.with_name(f"{before}test{after}")
    has_test = bool(word) and companion.is_file() and _label_column(companion) is not None
    return Dataset(path.name, train, _read_csv(companion) if has_test else None)


def _read_csv(path: Path) -> Digits:
    label_column = _label_column(path)
    if label_column is None:
        raise InputError(
            f"{path} has no column of labels.", f"Training needs one, headed {' or '.join(LABEL_NAMES)}."
        )
    rows = (line for _, line in _rows(path))
    try:
        table = np.loadtxt(rows, np.uint8, comments=None, delimiter=",", ndmin=2)
    except ValueError as error:
        raise _wrong_row(path, label_column) or InputError(f"{path}: {error}", CSV_REMEDY) from error
    labels = table[:, label_column]
    if table.shape[1] != CSV_COLUMNS or labels.max() > 9:
        raise _wrong_row(path, label_column) or InputError(f"{path} is not a table of digits.", CSV_REMEDY)
    images = np.delete(table, label_column, axis=1).reshape(-1, 28, 28)
    if path.name.lower().startswith("emnist"):
        images = images.transpose(0, 2, 1)
    return digits_from_arrays(images, labels, path.name)[0]


def _label_column(path: Path) -> int | None:
    """Where the labels are: where the header says so, else first; None where there are none."""
    first = next(_lines(path), None)
    if first is None:
        raise InputError(f"{path} is empty.", CSV_REMEDY)
    names = [name.strip().strip('"').lower() for name in first[1].split(",")]
    if not _is_header(first[1]):
        return None if len(names) == CSV_COLUMNS - 1 else 0
    if next(_rows(path), None) is None:
        raise InputError(f"{path} has a header but no rows.", CSV_REMEDY)
    return next((names.index(name) for name in LABEL_NAMES if name in names), None)


def _is_header(line: str) -> bool:
    return re.match(r"\s*[-+\d]", line) is None


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    """The lines below the header, numbered as an editor shows them."""
    lines = _lines(path)
    for number, line in lines:
        if not _is_header(line):
            yield number, line
        break
    yield from lines


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    total = 0
    number = 0
    with open_decompressed(path) as file:
        while content := file.readline(LONGEST_LINE):
            number += 1
            total += len(content)
            if len(content) == LONGEST_LINE or total > MAX_BYTES:
                raise InputError(f"{path} is too long at line {number} for a table of digits.", CSV_REMEDY)
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} is not text at line {number}.", CSV_REMEDY) from error
            if line.strip():
                yield number, line


def _wrong_row(path: Path, label_column: int) -> InputError | None:
    """The first row that is not a digit, in words."""
    for number, line in _rows(path):
        cause = _wrong_with(line.split(","), label_column)
        if cause:
            return InputError(f"{path}, line {number}: {cause}.", CSV_REMEDY)
    return None


def _wrong_with(values: list[str], label_column: int) -> str | None:
    if len(values) != CSV_COLUMNS:
        return f"{len(values)} columns where {CSV_COLUMNS} are needed"
    for column, text in enumerate(values):
        try:
            value = int(text)
        except ValueError:
            return f"column {column + 1} holds {text.strip()[:20]!r}, which is not a whole number"
        if column == label_column and not 0 <= value <= 9:
            return f"the label {value} is not a digit from 0 to 9"
        if not 0 <= value <= 255:
            return f"column {column + 1} holds {value}, which is not from 0 to 255"
    return None
