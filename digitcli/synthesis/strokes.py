"""Pen trajectories of digits in UNIPEN text, with the hatted 1s and crossed 7s that MNIST hardly has.

Source: E. Alpaydin and F. Alimoglu, "Pen-Based Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, CC BY 4.0. The package does not contain it: its `pendigits-orig.tra` and
`pendigits-orig.tes` come from https://archive.ics.uci.edu/dataset/81 and are read plain, or packed with gzip,
bzip2 or xz.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.files import open_decompressed
from digitcli.errors import InputError

REMEDY = (
    "Give pendigits-orig.tra of 'Pen-Based Recognition of Handwritten Digits', plain or packed "
    "(.gz, .bz2, .xz; unpack .Z with gzip -d), or a folder with it and pendigits-orig.tes, from "
    "https://archive.ics.uci.edu/dataset/81"
)
MAX_BYTES = 2**28  # unpacked; the published files have 6 MB
SEGMENT = re.compile(r"^\.SEGMENT\b", re.MULTILINE)
MAX_COORDINATE = 10**6  # the published tablet has 500 steps a side

Stroke = npt.NDArray[np.float32]  # points (P, 2): x to the right and y downwards, in heights of the digit
DigitStrokes = list[Stroke]  # one digit; its upper left corner is at 0, 0
WriterStrokes = dict[int, list[DigitStrokes]]  # digit -> samples


def read_strokes(path: Path) -> list[WriterStrokes]:
    """Every writer who wrote all ten digits, of a file or of the files in a folder that hold strokes.

    Writers of two files are taken for different people, whatever their numbers.

    Raises:
        InputError: a file is missing or damaged, or holds no such writer.
    """
    return [writer for file, text in _texts(path) for writer in _writers(file, text)]


def read_stroke_bytes(path: Path) -> bytes:
    """The bytes of all files that `read_strokes` reads, as they lie on the disk.

    Raises:
        InputError: as `read_strokes`.
    """
    try:
        return b"".join(file.read_bytes() for file, _ in _texts(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", REMEDY) from error


def _texts(path: Path) -> list[tuple[Path, str]]:
    """The files with strokes at a path, in the order of their names, and what is in them."""
    if not path.is_dir():
        return [(path, _read(path))]
    try:
        files = sorted(file for file in path.iterdir() if file.is_file())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", REMEDY) from error
    texts = [(file, _read(file)) for file in files]
    texts = [(file, text) for file, text in texts if SEGMENT.search(text)]
    if not texts:
        raise InputError(f"{path} holds no file of strokes.", REMEDY)
    if len({text for _, text in texts}) < len(texts):
        raise InputError(f"{path} holds the same strokes twice.", "Leave one of the files.")
    return texts


def _writers(path: Path, text: str) -> list[WriterStrokes]:
    strokes: dict[int, WriterStrokes] = {}
    for number, segment in enumerate(SEGMENT.split(text)[1:], start=1):
        try:
            writer, digit, sample = _parse(segment)
        except ValueError as error:
            raise InputError(f"{path}: segment {number} is damaged: {error}.", REMEDY) from error
        if sample:
            strokes.setdefault(writer, {}).setdefault(digit, []).append(sample)
    complete = [digits for _, digits in sorted(strokes.items()) if len(digits) == 10]
    if not complete:
        raise InputError(f"{path} holds no writer with all ten digits in UNIPEN's form.", REMEDY)
    return complete


def _read(path: Path) -> str:
    if path.suffix == ".Z":
        raise InputError(f"{path} is packed with compress.", "Unpack it with gzip -d.")
    try:
        with open_decompressed(path) as file:
            content = file.read(MAX_BYTES + 1)
    except InputError as error:
        raise InputError(error.cause, REMEDY) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} is larger than any file of strokes.", REMEDY)
    return content.decode("latin-1")


def _parse(segment: str) -> tuple[int, int, DigitStrokes]:
    """The writer, the digit and the strokes of one segment; no strokes where the pen only touched down.

    Raises:
        ValueError: it lacks its label, or a point is none.
    """
    label: tuple[int, int] | None = None
    pens: list[list[tuple[int, int]]] = []
    down = False
    for line in segment.splitlines()[1:]:
        match line.split():
            case [".COMMENT", digit, writer, *_] if digit.isdecimal() and writer.isdecimal():
                label = int(writer), int(digit)
            case [".PEN_DOWN", *_]:
                down = True
                pens.append([])
            case [".PEN_UP", *_]:
                down = False
            case [across, up] if down:
                pens[-1].append((_coordinate(across), _coordinate(up)))
    if label is None or label[1] > 9:
        raise ValueError("no '.COMMENT digit writer number' gives its label")
    return *label, _upright([np.array(pen, np.float32) for pen in pens if len(pen) > 1])


def _coordinate(word: str) -> int:
    if not re.fullmatch(r"-?\d{1,7}", word, re.ASCII) or abs(int(word)) > MAX_COORDINATE:
        raise ValueError(f"'{word[:20]}' is no coordinate")
    return int(word)


def _upright(pens: list[Stroke]) -> DigitStrokes:
    """Strokes of a tablet, whose y points upwards, as a sample of height 1."""
    if not pens:
        return []
    points = np.concatenate(pens)
    low, high = points.min(axis=0), points.max(axis=0)
    height = max(high[1] - low[1], (high[0] - low[0]) / 2, 1)  # a lying stroke must not become a giant
    return [np.stack([pen[:, 0] - low[0], high[1] - pen[:, 1]], axis=1) / height for pen in pens]
