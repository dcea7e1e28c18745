"""Read labelled digits from one file, a NumPy archive (.npz) or a CSV table, or from arrays of any source.

Keras and Kaggle publish such files. Grey images of 28 x 28 pixels have MNIST's format and are taken as they
are. Images of other sizes or in colour are preprocessed like every picture (`digitcli.imaging`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile

from digitcli.data.dataset import Dataset, Digits, Failure
from digitcli.data.files import MAX_BYTES, open_decompressed
from digitcli.errors import InputError, counted
from digitcli.threads import file_threads

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
SIDE_PX = 28  # of MNIST's images
CLEAN_PAPER_SHARE = 0.3  # if this share of pixels has the same extreme value, it is paper without noise
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

Array = npt.NDArray[Any]
_Line = tuple[int, str]  # its number and its text
Source = TypeVar("Source")
Result = TypeVar("Result")


def load_npz(path: Path) -> Dataset:
    """Load digits from an archive of arrays; pickled objects are never loaded.

    Raises:
        InputError: the archive is damaged or too large, or contains other arrays.
    """
    try:
        # NumPy warns about headers that Python 2 wrote.
        with warnings.catch_warnings(action="ignore"), open_decompressed(path) as file:
            archive = NpzFile(file, allow_pickle=False)
            names = _choose_arrays(path, archive.files)
            assert archive.zip is not None
            if sum(archive.zip.getinfo(f"{name}.npy").file_size for name in names) > MAX_BYTES:
                cause = f"{path} decompresses to more than {MAX_BYTES} bytes."
                raise InputError(cause, "Split it into smaller files.")
            arrays: list[Array] = []
            for name in names:
                with archive.zip.open(f"{name}.npy") as member:
                    arrays.append(npy.read_array(member, allow_pickle=False))
                    if member.read(1):  # reading to the end also verifies the checksum
                        shape = arrays[-1].shape
                        raise ValueError(f"{name}.npy has more bytes than its shape {shape} needs")
    except InputError:
        raise
    except Exception as error:  # NumPy parses a header as Python code, which fails in many ways
        raise InputError(f"{path} cannot be read as a NumPy archive: {error}.", NPZ_REMEDY) from error
    return dataset_from_arrays(path.name, *arrays)


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


def load_csv(path: Path) -> Dataset:
    """Load digits from rows of a label and 784 pixels, with or without a header, plain or compressed.

    If the name contains `train` and the same folder has a file with `test` in place of it and with labels,
    that file is the test part. If the name begins with `emnist`, the images are stored transposed, as EMNIST
    is published.

    Raises:
        InputError: a row is not a digit; the error names its line.
    """
    train = _read_csv(path)
    if train is None:
        remedy = f"Add one, with the heading {' or '.join(LABEL_NAMES)}."
        raise InputError(f"{path} has no column of labels.", remedy)
    before, train_word, after = path.name.rpartition("train")
    test_path = path.with_name(f"{before}test{after}")
    return Dataset(path.name, train, _read_csv(test_path) if train_word and test_path.is_file() else None)


def _read_csv(path: Path) -> Digits | None:
    """Read the digits of a table; None if it has no column of labels."""
    with contextlib.closing(_read_lines(path)) as lines:
        label_column, rows = _skip_header(path, lines)
        if label_column is None:
            return None
        try:
            texts = (line for _, line in rows)
            table = np.loadtxt(texts, np.uint8, comments=None, delimiter=",", ndmin=2)
            if table.shape[1] != CSV_COLUMNS or table[:, label_column].max() > 9:
                raise ValueError("it is not a table of digits")
        except ValueError as error:
            fault = _first_fault(path, label_column) or f": {error}"
            raise InputError(f"{path}{fault}.", CSV_REMEDY) from error
    images = np.delete(table, label_column, axis=1).reshape(-1, 28, 28)
    if path.name.lower().startswith("emnist"):
        images = images.transpose(0, 2, 1)
    return digits_from_arrays(images, table[:, label_column], path.name)[0]


def _skip_header(path: Path, lines: Iterator[_Line]) -> tuple[int | None, Iterator[_Line]]:
    """Return the column of the labels, and the rows below the header.

    It is the column that the header names, else the first; None without labels.
    """
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path} is empty.", CSV_REMEDY)
    names = [name.strip().strip('"').lower() for name in first[1].split(",")]
    if re.match(r"\s*[-+\d]", first[1]):
        return None if len(names) == CSV_COLUMNS - 1 else 0, itertools.chain([first], lines)
    second = next(lines, None)
    if second is None:
        raise InputError(f"{path} has a header but no rows.", CSV_REMEDY)
    column = next((names.index(name) for name in LABEL_NAMES if name in names), None)
    return column, itertools.chain([second], lines)


def _read_lines(path: Path) -> Generator[_Line]:
    """Yield the lines that are not blank, numbered from 1 as in an editor."""
    total_bytes = 0
    with open_decompressed(path) as file:
        for number, content in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
            total_bytes += len(content)
            if len(content) == MAX_LINE_BYTES or total_bytes > MAX_BYTES:
                raise InputError(f"{path} is too long at line {number} for a table of digits.", CSV_REMEDY)
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} is not UTF-8 text at line {number}.", CSV_REMEDY) from error
            if line.strip():
                yield number, line


def _first_fault(path: Path, label_column: int) -> str | None:
    """Describe what is wrong with the first row that is not a label and an image, with its line."""
    with contextlib.closing(_read_lines(path)) as lines:
        for number, line in _skip_header(path, lines)[1]:
            values = line.split(",")
            if len(values) != CSV_COLUMNS:
                return f", line {number}: it has {counted(len(values), 'column')} instead of {CSV_COLUMNS}"
            for column, text in enumerate(values):
                place = f", line {number}: column {column + 1} holds"
                try:
                    value = int(text)
                except ValueError:
                    return f"{place} {text.strip()[:20]!r}, which is not an integer"
                if column == label_column and not 0 <= value <= 9:
                    return f", line {number}: the label {value} is not a digit from 0 to 9"
                if not 0 <= value <= 255:
                    return f"{place} {value}, which is not from 0 to 255"
    return None


def dataset_from_arrays(
    name: str,
    images: Array,
    labels: Array,
    test_images: Array | None = None,
    test_labels: Array | None = None,
) -> Dataset:
    """Return a dataset of arrays of its training part and, if there is one, of its test part.

    Raises:
        InputError: see `digits_from_arrays`.
    """
    train, failures = digits_from_arrays(images, labels, name)
    if test_images is None or test_labels is None:
        return Dataset(name, train, None, failures)
    test, test_failures = digits_from_arrays(test_images, test_labels, f"{name} (test)")
    return Dataset(name, train, test, failures + test_failures)


def digits_from_arrays(images: Array, labels: Array, origin: str) -> tuple[Digits, tuple[Failure, ...]]:
    """Return the digits of images (N, H, W), or an equivalent shape, and of labels (N,) or (N, 1).

    Grey images of 28 x 28 pixels from 0 to 255, or from 0 to 1, are taken as they are. If most of their
    pixels are bright, they show ink on white paper and are inverted to ink 255 on paper 0. `origin` names the
    source in error messages.

    Raises:
        InputError: the arrays differ in length or do not hold digits.
    """
    images = _check_images(images, origin)
    labels = _check_labels(labels, origin)
    if len(images) != len(labels):
        cause = f"{origin} has {counted(len(images), 'image')} but {counted(len(labels), 'label')}."
        raise InputError(cause, "Give one label for each image, in the same order.")
    if len(images) == 0:
        raise InputError(f"{origin} contains no images.", "Choose data with at least one image.")
    if images.shape[1:] == (SIDE_PX, SIDE_PX):
        return Digits(_to_bytes(images, origin), labels), ()
    return _preprocess(images, labels, origin)


def map_in_order(function: Callable[[Source], Result], sources: Sequence[Source]) -> list[Result]:
    """Call a function that releases Python's global lock, in threads; return the results in order."""
    with ThreadPoolExecutor(file_threads()) as pool:
        return list(pool.map(function, sources))


def _check_images(images: Array, origin: str) -> Array:
    """Return finite images (N, H, W), or (N, H, W, 3) in colour."""
    shape, kind = images.shape, images.dtype.kind
    if kind not in "biuf":
        cause = f"The images of {origin} have the type {images.dtype}, which is not a number."
        raise InputError(cause, "Save uint8 arrays.")
    if images.ndim == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] > 0:
        images = images.reshape(len(images), side, side)
    elif images.ndim == 4 and 1 in (shape[1], shape[-1]):
        images = images[..., 0] if shape[-1] == 1 else images[:, 0]
    elif images.ndim == 4 and shape[1] == 3 and shape[-1] != 3:
        images = np.moveaxis(images, 1, -1)
    elif not (images.ndim == 3 or images.ndim == 4 and shape[-1] == 3):
        remedy = "Give (N, 28, 28), (N, 784), (N, height, width) or (N, height, width, 3)."
        raise InputError(f"The images of {origin} have the shape {shape}.", remedy)
    if 0 in images.shape[1:]:
        raise InputError(f"The images of {origin} have the shape {shape}: no pixels.", "Give (N, 28, 28).")
    if kind == "f" and not np.isfinite(images).all():
        cause = f"The images of {origin} hold values that are not finite."
        raise InputError(cause, "Remove NaN and infinity.")
    return images


def _check_labels(labels: Array, origin: str) -> npt.NDArray[np.int64]:
    remedy = "Give labels that are integers from 0 to 9, one for each image."
    if labels.dtype.kind not in "iuf":
        cause = f"The labels of {origin} have the type {labels.dtype}, which is not a number."
        raise InputError(cause, remedy)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"The labels of {origin} have the shape {labels.shape}, not (N,).", remedy)
    wrong = np.flatnonzero(~np.isin(labels, np.arange(10)))
    if len(wrong):
        share, first = f"{len(wrong):,} of {len(labels):,}", f"{labels[wrong[0]]} of image {wrong[0]}"
        cause = f"Labels of {origin} that are not digits: {share}, the first being {first}."
        raise InputError(cause, remedy)
    return labels.astype(np.int64)


def _to_bytes(images: Array, origin: str) -> npt.NDArray[np.uint8]:
    """Return images as uint8, ink on dark paper; values between 0 and 1 are scaled.

    If most pixels are bright, all images are inverted: ink covers less than half of any set of digits.
    """
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        cause = f"The images of {origin} hold values from {low} to {high}."
        raise InputError(cause, "Give pixels from 0 to 255, or from 0 to 1.")
    if high <= 1:
        images = images.astype(np.float32) * 255
    if images.dtype.kind == "f":
        images = np.rint(images)
    levels = np.ascontiguousarray(images, dtype=np.uint8)
    return 255 - levels if np.count_nonzero(levels > 127) > levels.size / 2 else levels


def _preprocess(
    images: Array, labels: npt.NDArray[np.int64], origin: str
) -> tuple[Digits, tuple[Failure, ...]]:
    """Normalize images of any size and colour to MNIST's format; blank images become failures."""
    from digitcli.imaging.digits import digit_from_grey  # imported here because it loads OpenCV

    low, high = float(images.min()), float(images.max())
    scale = 255 / max(high - low, 1e-9)
    share, level = max((float(np.mean(images == level)), level) for level in (low, high))
    paper = level if share > CLEAN_PAPER_SHARE else None

    def normalize(image: Array) -> npt.NDArray[np.uint8]:
        grey = image @ LUMA if image.ndim == 3 else image
        if paper is not None:  # a digit that fills its image would leave no paper to measure
            grey = np.pad(grey, max(grey.shape) // 4, constant_values=paper)
        return digit_from_grey(np.rint((grey - low) * scale).astype(np.uint8))

    digits = np.stack(map_in_order(normalize, list(images)))  # N, 28, 28
    has_ink = digits.any(axis=(1, 2))
    if not has_ink.any():
        raise InputError(f"Every image of {origin} is blank.", "Check how the images were saved.")
    failures = tuple(
        Failure(f"{origin}[{index}]", "blank", "Nothing is written on it.")
        for index in np.flatnonzero(~has_ink)
    )
    return Digits(digits[has_ink], labels[has_ink]), failures
