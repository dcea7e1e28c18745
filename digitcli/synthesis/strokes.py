"""Pen strokes of digits; they have the hatted 1s and crossed 7s that MNIST lacks.

The package contains strokes of 33,168 digits; `digitcli/data/handwriting/LICENSE` names their sources. Others
are read from files in the UNIPEN format, plain or compressed with gzip, bzip2 or xz.
"""

from __future__ import annotations

import functools
import io
import lzma
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.files import open_decompressed
from digitcli.errors import InputError

REMEDY = (
    "Give pendigits-orig.tra of 'Pen-Based Recognition of Handwritten Digits', plain or compressed "
    "(.gz, .bz2, .xz; decompress .Z with gzip -d), or a folder with it and pendigits-orig.tes, from "
    "https://archive.ics.uci.edu/dataset/81"
)
EMBEDDED = Path(str(files("digitcli.data"))) / "handwriting"
EMBEDDED_STROKES = EMBEDDED / "strokes.npz.xz"
STROKE_SCALE = 1000  # steps of the embedded strokes for each height of a digit
MAX_BYTES = 2**28  # after decompression; the published files have 6 MB
SEGMENT = re.compile(r"^\.SEGMENT\b", re.MULTILINE)
MAX_COORDINATE = 10**6  # the published tablet has 500 steps on each side
HELD_OUT_WRITERS = 10  # one of this many writers is held out from training

Stroke = npt.NDArray[np.float32]  # points (P, 2): x to the right, y downwards, in heights of the digit
DigitStrokes = list[Stroke]  # one digit, whose upper left corner is at 0, 0
WriterStrokes = dict[int, list[DigitStrokes]]  # all samples of each digit by one writer


@functools.cache
def load_writers() -> tuple[WriterStrokes, ...]:
    """Return the embedded strokes: every writer who wrote all ten digits."""
    archive = np.load(io.BytesIO(lzma.decompress(EMBEDDED_STROKES.read_bytes())))
    points = np.cumsum(archive["differences"], axis=1, dtype=np.int16).T / np.float32(STROKE_SCALE)
    all_strokes = np.split(points.astype(np.float32), np.cumsum(archive["lengths"].astype(np.int64))[:-1])
    ends = np.cumsum(archive["strokes"].astype(np.int64)).tolist()
    writers: list[WriterStrokes] = [{} for _ in range(int(archive["writers"].max()) + 1)]
    for writer, digit, start, end in zip(
        archive["writers"].tolist(), archive["labels"].tolist(), [0, *ends], ends, strict=False
    ):
        writers[writer].setdefault(digit, []).append(all_strokes[start:end])
    return tuple(writers)


def split_writers(writers: Sequence[WriterStrokes], *, held_out: bool) -> list[WriterStrokes]:
    """Return the writers to train on, or those that are held out."""
    last = HELD_OUT_WRITERS - 1
    return [writer for i, writer in enumerate(writers) if (i % HELD_OUT_WRITERS == last) == held_out]


def read_strokes(path: Path) -> list[WriterStrokes]:
    """Read every writer who wrote all ten digits, from a file or from all files of strokes in a folder.

    Writers in different files count as different people, even if their numbers are equal.

    Raises:
        InputError: A file is missing or damaged, or contains no such writer.
    """
    return [writer for file, text in _read_texts(path) for writer in _parse_writers(file, text)]


def read_stroke_bytes(path: Path) -> bytes:
    """Return the bytes on disk of all files that `read_strokes` reads, for a digest.

    Raises:
        InputError: As for `read_strokes`.
    """
    try:
        return b"".join(file.read_bytes() for file, _ in _read_texts(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", REMEDY) from error


def _read_texts(path: Path) -> list[tuple[Path, str]]:
    """Return the files of strokes at a path, sorted by name, each with its text."""
    if not path.is_dir():
        return [(path, _read_text(path))]
    try:
        files = sorted(file for file in path.iterdir() if file.is_file())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", REMEDY) from error
    texts = [(file, _read_text(file)) for file in files]
    texts = [(file, text) for file, text in texts if SEGMENT.search(text)]
    if not texts:
        raise InputError(f"{path} contains no file of strokes.", REMEDY)
    if len({text for _, text in texts}) < len(texts):
        raise InputError(f"{path} contains the same strokes twice.", "Remove one of the files.")
    return texts


def _read_text(path: Path) -> str:
    if path.suffix == ".Z":
        raise InputError(f"{path} is compressed with compress (.Z).", "Decompress it with gzip -d.")
    try:
        with open_decompressed(path) as file:
            content = file.read(MAX_BYTES + 1)
    except InputError as error:
        raise InputError(error.cause, REMEDY) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES:,} bytes, too many for a file of strokes.", REMEDY)
    return content.decode("latin-1")


def _parse_writers(path: Path, text: str) -> list[WriterStrokes]:
    strokes_of: dict[int, WriterStrokes] = {}
    for number, segment in enumerate(SEGMENT.split(text)[1:], start=1):
        try:
            writer, digit, strokes = _parse_segment(segment)
        except ValueError as error:
            raise InputError(f"{path}: segment {number} is damaged: {error}.", REMEDY) from error
        if strokes:
            strokes_of.setdefault(writer, {}).setdefault(digit, []).append(strokes)
    complete = [digits for _, digits in sorted(strokes_of.items()) if len(digits) == 10]
    if not complete:
        raise InputError(f"{path} contains no writer of all ten digits in the UNIPEN format.", REMEDY)
    return complete


def _parse_segment(segment: str) -> tuple[int, int, DigitStrokes]:
    """Return the writer, the digit and the strokes of a segment; no strokes if the pen only touched down.

    Raises:
        ValueError: The segment has no label, or a point is not two coordinates.
    """
    label: tuple[int, int] | None = None
    pen_points: list[list[tuple[int, int]]] = []
    is_pen_down = False
    for line in segment.splitlines()[1:]:
        match line.split():
            case [".COMMENT", digit, writer, *_] if digit.isdecimal() and writer.isdecimal():
                label = int(writer), int(digit)
            case [".PEN_DOWN", *_]:
                is_pen_down = True
                pen_points.append([])
            case [".PEN_UP", *_]:
                is_pen_down = False
            case [x, y] if is_pen_down:
                pen_points[-1].append((_parse_coordinate(x), _parse_coordinate(y)))
    if label is None or label[1] > 9:
        raise ValueError("it has no line '.COMMENT digit writer number'")
    return *label, _normalize([np.array(points, np.float32) for points in pen_points if len(points) > 1])


def _parse_coordinate(word: str) -> int:
    if not re.fullmatch(r"-?\d{1,7}", word, re.ASCII) or abs(int(word)) > MAX_COORDINATE:
        raise ValueError(f"'{word[:20]}' is not a coordinate")
    return int(word)


def _normalize(strokes: list[Stroke]) -> DigitStrokes:
    """Turn strokes of a tablet, whose y points upwards, upside down and scale them to the height 1."""
    if not strokes:
        return []
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    # A horizontal stroke has no height; without a limit it would become infinitely wide.
    height = max(high[1] - low[1], (high[0] - low[0]) / 2, 1)
    return [np.stack([stroke[:, 0] - low[0], high[1] - stroke[:, 1]], axis=1) / height for stroke in strokes]
