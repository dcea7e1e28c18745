"""Read labelled digits from one file: a NumPy archive (.npz) or a CSV table, as Keras and Kaggle publish."""

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
from digitcli.errors import InputError, counted

NPZ_LAYOUTS = (  # names of the training images and labels, and of the test images and labels
    ("images", "labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
NPZ_REMEDY = "Make it with numpy.savez_compressed(file, images=..., labels=...)."
CSV_COLUMNS = 1 + 28 * 28  # a label and the pixels of one image
CSV_REMEDY = "A row is a label and 784 pixels from 0 to 255 (with pandas: to_csv(file, index=False))."
LABEL_NAMES = ("label", "class", "digit", "target", "y")
MAX_LINE_BYTES = 64 * 1024  # a row of 785 numbers needs 3 kB


def load_npz(path: Path) -> Dataset:
    """Load digits from an archive of arrays; pickled objects are never loaded.

    Raises:
        InputError: The archive is damaged or too large, or contains other arrays.
    """
    train_images, train_labels, *test_arrays = _read_npz(path)
    train, failures = digits_from_arrays(train_images, train_labels, path.name)
    if not test_arrays:
        return Dataset(path.name, train, None, failures)
    test_images, test_labels = test_arrays
    test, test_failures = digits_from_arrays(test_images, test_labels, f"{path.name} (test)")
    return Dataset(path.name, train, test, failures + test_failures)


def _read_npz(path: Path) -> list[Array]:
    """Read the images and labels of the training part and, if there is one, of the test part."""
    try:
        with open_decompressed(path) as file, zipfile.ZipFile(file) as archive:
            names = _choose_arrays(path, [name.removesuffix(".npy") for name in archive.namelist()])
            members = [archive.getinfo(f"{name}.npy") for name in names]
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise InputError(
                    f"{path} decompresses to more than {MAX_BYTES} bytes.", "Split it into smaller files."
                )
            return [_read_npy(archive, member) for member in members]
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as a NumPy archive: {error}.", NPZ_REMEDY) from error


def _choose_arrays(path: Path, names: list[str]) -> tuple[str, ...]:
    """Return the names of the arrays to read."""
    for layout in NPZ_LAYOUTS:
        train, test = layout[:2], layout[2:]
        if not set(train) <= set(names):
            continue
        if len(set(test) & set(names)) == 1:
            raise InputError(f"{path} contains only one of {' and '.join(test)}.", "Give both or neither.")
        return layout if set(test) <= set(names) else train
    present = ", ".join(names[:9]) or "nothing"
    raise InputError(f"{path} contains {present}, not images and labels.", NPZ_REMEDY)


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read one array; no memory is reserved for the shape that its header announces.

    Raises:
        ValueError: The member is damaged or contains Python objects.
    """
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"{member.filename} has the unknown npy version {version[0]}.{version[1]}")
        try:
            with warnings.catch_warnings(action="ignore"):  # NumPy warns about headers that Python 2 wrote
                shape, column_major, dtype = readers[version](file)
        except Exception as error:  # NumPy parses the header as Python code, which fails in many ways
            raise ValueError(f"{member.filename} has a damaged header: {error}") from error
        if dtype.hasobject:
            raise ValueError(f"{member.filename} contains Python objects, which are never loaded")
        content = file.read()
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} has {len(content)} bytes for the shape {shape} of {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if column_major else "C")


def load_csv(path: Path) -> Dataset:
    """Load digits from rows of a label and 784 pixels, with or without a header, plain or compressed.

    If the name contains `train` and the same folder has a file with `test` in place of it and with labels,
    that file is the test part. If the name begins with `emnist`, the images are stored transposed, as EMNIST
    is published.

    Raises:
        InputError: A row is not a digit; the error names its line.
    """
    train = _read_csv(path)
    before, train_word, after = path.name.rpartition("train")
    test_path = path.with_name(f"{before}test{after}")
    has_test = bool(train_word) and test_path.is_file() and _find_label_column(test_path) is not None
    return Dataset(path.name, train, _read_csv(test_path) if has_test else None)


def _read_csv(path: Path) -> Digits:
    label_column = _find_label_column(path)
    if label_column is None:
        raise InputError(
            f"{path} has no column of labels.", f"Add one, with the heading {' or '.join(LABEL_NAMES)}."
        )
    rows = (line for _, line in _read_rows(path))
    try:
        table = np.loadtxt(rows, np.uint8, comments=None, delimiter=",", ndmin=2)
    except ValueError as error:
        raise _wrong_row_error(path, label_column) or InputError(f"{path}: {error}", CSV_REMEDY) from error
    labels = table[:, label_column]
    if table.shape[1] != CSV_COLUMNS or labels.max() > 9:
        raise _wrong_row_error(path, label_column) or InputError(
            f"{path} is not a table of digits.", CSV_REMEDY
        )
    images = np.delete(table, label_column, axis=1).reshape(-1, 28, 28)
    if path.name.lower().startswith("emnist"):
        images = images.transpose(0, 2, 1)
    return digits_from_arrays(images, labels, path.name)[0]


def _find_label_column(path: Path) -> int | None:
    """Return the column of the labels: the one that the header names, else the first; None without labels."""
    numbered_line = next(_read_lines(path), None)
    if numbered_line is None:
        raise InputError(f"{path} is empty.", CSV_REMEDY)
    _, first_line = numbered_line
    names = [name.strip().strip('"').lower() for name in first_line.split(",")]
    if not _is_header(first_line):
        return None if len(names) == CSV_COLUMNS - 1 else 0
    if next(_read_rows(path), None) is None:
        raise InputError(f"{path} has a header but no rows.", CSV_REMEDY)
    return next((names.index(name) for name in LABEL_NAMES if name in names), None)


def _is_header(line: str) -> bool:
    return re.match(r"\s*[-+\d]", line) is None


def _read_rows(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines below the header, numbered as in an editor."""
    lines = _read_lines(path)
    for number, line in lines:
        if not _is_header(line):
            yield number, line
        break
    yield from lines


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    total_bytes = 0
    number = 0
    with open_decompressed(path) as file:
        while content := file.readline(MAX_LINE_BYTES):
            number += 1
            total_bytes += len(content)
            if len(content) == MAX_LINE_BYTES or total_bytes > MAX_BYTES:
                raise InputError(f"{path} is too long at line {number} for a table of digits.", CSV_REMEDY)
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} is not UTF-8 text at line {number}.", CSV_REMEDY) from error
            if line.strip():
                yield number, line


def _wrong_row_error(path: Path, label_column: int) -> InputError | None:
    """Return the error for the first row that is not a digit."""
    for number, line in _read_rows(path):
        fault = _find_fault(line.split(","), label_column)
        if fault:
            return InputError(f"{path}, line {number}: {fault}.", CSV_REMEDY)
    return None


def _find_fault(values: list[str], label_column: int) -> str | None:
    """Describe what is wrong with a row; None if it is a label and an image."""
    if len(values) != CSV_COLUMNS:
        return f"it has {counted(len(values), 'column')} instead of {CSV_COLUMNS}"
    for column, text in enumerate(values):
        try:
            value = int(text)
        except ValueError:
            return f"column {column + 1} holds {text.strip()[:20]!r}, which is not an integer"
        if column == label_column and not 0 <= value <= 9:
            return f"the label {value} is not a digit from 0 to 9"
        if not 0 <= value <= 255:
            return f"column {column + 1} holds {value}, which is not from 0 to 255"
    return None
