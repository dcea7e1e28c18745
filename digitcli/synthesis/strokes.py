"""Pen strokes of digits: those of real writers, which have the hatted 1s and crossed 7s that MNIST lacks, and
invented ones, in shapes as they are taught in different countries, and as pens run.
"""

from __future__ import annotations

import functools
import io
import lzma
import re
from collections.abc import Iterable, Sequence
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

# Lengths are in heights of a digit; all values were chosen by hand.
CURVE_STEPS = 7  # points of the curve between two points of a shape
WRITER_DEVIATION = (0.02, 0.055)  # range of the standard deviation of a writer's points from the shape's
DIGIT_DEVIATION = 0.014  # standard deviation of the points of one digit from the writer's own
SAMPLES_PER_DIGIT = 4  # of each invented writer
SECOND_SHAPE_SHARE = 0.15  # of the writers have two shapes of a digit

Shape = list[tuple[Stroke, npt.NDArray[np.bool_]]]  # strokes, each with which of its points are corners

# For each digit, its shapes as (relative frequency, strokes). A stroke is a list of points x,y in hundredths
# of the height, y downwards, joined by a smooth curve that has a corner at each point marked "!". A "/" lifts
# the pen.
SHAPES: dict[int, tuple[tuple[float, str], ...]] = {
    0: (
        (3, "36,2 12,16 2,50 12,86 32,98 54,84 62,48 50,14 34,3"),
        (2, "44,6 18,8 2,50 14,90 34,98 56,78 60,40 46,10 26,8 20,18"),
        (2, "30,4 8,24 4,60 20,96 46,92 62,60 56,22 36,2 22,6"),
        (1.5, "44,4 14,14 2,54 18,94 44,94 60,60 50,18 30,6 50,10 78,6"),
        (1, "20,4 2,36 6,80 26,98 44,76 46,34 30,4 16,8"),
        (1, "40,0 16,6 2,50 14,94 40,98 66,84 74,48 62,10 38,2 22,12 38,24 60,16"),
        (0.6, "60,30 50,6 26,4 6,30 4,70 24,96 52,90 62,66"),
        (0.4, "36,2 10,18 2,54 14,90 36,98 56,84 62,48 50,12 34,3 / 58,8! 8,92!"),
        (0.8, "70,30 50,4 22,2 2,40 8,88 34,99 62,76 68,34 54,10 84,14"),
        (0.6, "8,30 30,0 56,20 58,70 34,98 8,84 2,44 16,10 40,2"),
        (0.5, "50,10 30,0 6,20 2,66 20,98 46,88 54,50 44,16 30,20 70,40"),
    ),
    1: (
        (3, "14,0! 12,100!"),
        (2, "26,0! 2,100!"),
        (1.5, "0,28! 24,0! 22,100!"),
        (2, "0,48! 30,0! 28,100!"),
        (2, "0,84! 36,2! 34,100!"),
        (1.5, "0,100! 34,0! 44,100!"),
        (1.5, "0,70 22,40 38,2! 26,100!"),
        (1, "0,24! 24,0! 24,98! / 0,98! 50,98!"),
        (1, "0,36! 28,0! 22,98! 4,98! 48,97!"),
        (1, "10,40 26,18 32,2 22,4 16,40 14,76 22,98 38,90"),
        (1, "0,30 8,22 20,22 30,0! 24,50 26,100!"),
        (0.7, "8,2 16,0 14,40 12,86 20,98 34,92"),
        (0.7, "0,56 18,44 34,8 40,0! 16,100!"),
        (0.6, "0,20! 22,0! 18,92 24,99 40,94"),
        (0.6, "26,20 30,4 16,2 14,18 28,12 22,60 8,100!"),
        (0.8, "0,28 4,12 16,10 20,22 30,2! 28,100!"),
        (0.8, "4,34 0,20 12,8 26,14 34,0! 20,100!"),
        (0.8, "0,30! 22,6! / 27,0! 24,100!"),
        (0.6, "2,60 10,36 24,14 32,2 24,10 32,0! 26,100!"),
        (0.5, "0,62! 28,16! / 36,0! 34,100!"),
        (0.5, "10,16 2,28 8,34 24,14 28,0! 14,100!"),
        (0.6, "0,72! 28,0! 27,98! / 0,100! 54,94!"),
    ),
    2: (
        (2, "4,26 14,6 38,2 52,20 40,52 4,97! 62,96!"),
        (2, "4,22 22,2 48,8 50,32 26,70 6,94 8,80 26,84 44,96 64,88"),
        (1.5, "4,30 16,4 42,4 48,28 24,74 2,98 16,72 34,84 62,98"),
        (1.5, "2,4! 50,6! 2,96! 58,94!"),
        (1.5, "10,22 20,4 44,6 44,34 20,72 4,96! 34,90 66,97!"),
        (1, "22,30 8,26 12,6 40,2 52,22 38,56 14,84 0,96 8,84 28,92 58,94"),
        (1, "0,40 10,10 32,0 44,16 34,54 4,98! 28,92 56,99"),
        (1, "4,16 26,0 46,16 38,50 12,84 0,80 12,70 32,92 54,98 70,84"),
        (0.8, "0,24 12,4 34,4 40,24 28,50 10,66! 30,98 58,92"),
        (0.8, "30,30 10,32 4,12 24,0 46,12 38,46 4,98! 60,94!"),
        (0.7, "20,36 4,26 14,4 40,4 44,26 22,38 14,24 42,18 30,62 2,97! 58,94!"),
        (0.6, "6,20 22,2 40,10 36,36 16,64 20,92 40,98 66,86"),
        (0.5, "4,30 8,6 32,0 46,18 34,50 0,90 10,99 34,90 60,96 78,88"),
        (0.5, "0,30 20,2 50,8 54,40 30,72 8,72 10,56 40,74 72,98"),
    ),
    3: (
        (2, "4,14 24,1 48,12 42,36 20,46! 46,54 54,78 34,98 2,88"),
        (1.5, "2,4! 50,4! 22,40! 48,54 52,80 30,98 2,90"),
        (1.5, "6,12 30,0 46,14 34,38 18,46 28,52 26,44 46,52 52,78 26,99 0,84"),
        (1, "4,10 30,2 44,20 18,44! 48,48 56,74 36,96 10,96 4,84"),
        (1, "0,20 20,0 42,8 40,32 16,44 40,50 46,80 20,100 0,94"),
        (1, "0,4! 46,0! 20,36 46,46 50,74 28,96 8,100"),
        (0.8, "10,22 2,12 20,0 44,10 38,36 18,42 44,50 50,80 22,98 4,86 14,76"),
        (0.6, "4,8 28,0 42,16 20,42! 42,52 34,86 0,124 -14,112"),
        (0.6, "4,8! 46,2! 16,34! 44,42 52,72 30,100 6,90"),
        (0.5, "4,18 16,2 42,4 36,34 12,46 46,58 44,92 10,98"),
        (0.5, "0,14 22,0 38,16 22,40 34,48 60,64 40,96 0,94"),
        (0.6, "10,0! 56,10! 18,42! 62,50! 2,100!"),
        (0.5, "0,16 24,0 42,12! 14,42! 62,42! 20,100!"),
    ),
    4: (
        (2, "20,0! 2,62! 62,60! / 46,26! 42,100!"),
        (2, "6,4 2,40 10,56 52,48! / 56,0! 46,100!"),
        (2, "46,100! 48,0! 0,68! 66,66!"),
        (1.5, "2,0! 4,46 24,54 46,46! / 48,2! 46,100!"),
        (1.5, "0,2! 22,50! / 50,0! 20,100!"),
        (1, "0,4 6,40 24,48 48,2! 38,60 36,100!"),
        (1, "40,0! 2,66! 68,58! / 56,40! 36,100!"),
        (1, "30,2 4,44 4,58 26,52 54,30! / 58,10! 44,100!"),
        (0.8, "30,0! 4,54 16,62 64,52! / 50,24! 40,110!"),
        (0.8, "2,4! 2,50! 54,50! / 34,30! 34,100!"),
        (0.8, "20,0 4,52 30,60 58,14! 40,100! / 8,66! 66,58!"),
        (0.6, "0,10 18,0 14,40 24,52 50,40 58,4! 44,80 20,100"),
        (0.8, "0,14 14,42 32,42 50,0! 32,60 24,100!"),
        (0.8, "0,0 8,38 28,48 52,20! / 58,0! 36,100!"),
        (0.6, "6,0! 0,44! 30,46! / 34,24! 30,100!"),
        (0.6, "24,0! 0,56! 40,62 70,44! / 50,20 38,60 40,100"),
        (0.5, "2,8 4,48 22,56 44,40 50,4 46,60 52,98 66,92"),
        (0.8, "4,0! 6,60! 34,34 41,56 44,92 58,99"),
        (0.6, "10,0! 0,54! 28,38! 28,90 42,98"),
    ),
    5: (
        (2, "54,2! 16,4! 10,42! 40,42 54,68 38,96 2,92"),
        (2, "14,6! 8,44! 38,42 52,70 34,98 0,90 / 14,6! 60,2!"),
        (2, "0,62! 18,100! 30,6! / 28,8! 80,2!"),
        (1.5, "12,20! 22,100! 36,8! 84,8!"),
        (1.2, "0,46 10,40 22,98! 28,50 44,4! 92,6!"),
        (1.2, "18,4! 22,70 14,100 0,86 / 18,6! 56,2!"),
        (1, "22,4! 10,46 24,52 30,76 18,98 0,90 / 22,6! 70,-6!"),
        (1, "50,6 24,2 8,22 20,44 42,60 44,86 22,99 0,90"),
        (1, "56,0! 14,4! 10,40 30,50 40,74 24,98 0,94"),
        (0.8, "8,24! 6,56! 34,50 48,74 30,98 0,92 / 14,8! 60,-4!"),
        (0.8, "16,14! 14,50! 40,58 40,92 14,100 / 26,10! 86,0!"),
        (0.8, "48,8! 22,6! 0,48! 24,40 44,58 32,90 6,104 -10,94"),
        (0.6, "30,4! 28,60 36,94 18,100 4,84! / 30,6! 74,10!"),
        (0.6, "62,8 40,0 14,8! 8,46! 36,38 52,60 40,94 4,94"),
        (0.6, "10,6! 14,48 34,46 44,70 26,98 4,90 / 10,8 40,2 70,0"),
        (0.5, "40,0! 8,4! 20,44 34,62 26,94 0,98"),
    ),
    6: (
        (2, "44,2 16,28 2,68 14,96 42,92 50,70 34,54 8,72"),
        (1.5, "20,0! 4,60 12,96 38,94 42,70 24,58 6,76"),
        (1.5, "52,0 22,20 2,62 12,96 40,96 56,76 44,56 22,62 16,84"),
        (1, "16,2! 2,64 8,94 30,98 44,76 30,58 10,66!"),
        (1, "40,6 26,0 8,30 2,72 18,99 44,88 44,64 22,60 4,80"),
        (1, "28,0 10,40 2,80 18,100 38,84 36,62 20,66 26,84 50,80"),
        (0.6, "10,10 22,0 22,20 4,60 8,96 30,96 36,72 16,62"),
        (0.5, "60,2 30,14 6,54 10,94 34,98 44,80 30,66 8,80"),
        (0.5, "24,0! 2,72 14,100 30,90 28,72 10,76"),
        (0.7, "34,2 6,24 2,66 28,98 62,82 64,46 42,30 22,46 20,70"),
        (0.6, "48,0 10,20 0,60 16,96 54,90 62,56 40,34 14,52 22,80"),
    ),
    7: (
        (2, "2,4! 52,2! 20,100!"),
        (2, "2,6! 52,2! 22,100! / 12,52! 56,48!"),
        (1.5, "2,20! 6,4! 54,4! 22,100!"),
        (1.5, "0,18! 8,4 28,10 56,0! 24,100! / 12,52! 60,44!"),
        (1, "0,14 14,2 34,10 54,2! 34,50 26,100"),
        (1, "0,2! 48,6! 40,40 36,100 / 16,54! 64,52!"),
        (1, "0,12! 4,0! 50,0! 30,48 24,100 / 8,46! 50,52!"),
        (0.8, "0,8! 40,4! 36,100!"),
        (0.8, "2,24 8,4 22,12 50,4 34,44 14,104 / 4,60! 54,40!"),
        (0.8, "2,4! 50,4! 26,70 20,94 28,99 38,95"),
        (0.7, "2,26! 4,2! 52,4! 20,98! 34,97!"),
        (0.6, "2,10 16,0 30,10 54,4! 22,56 16,100 / 4,56 22,48 52,52"),
        (0.5, "0,30! 0,6! 44,2! 20,54 14,100! / 0,60! 44,44!"),
        (0.5, "4,4! 54,0! 48,30 20,100! / 56,0! 58,12!"),
        (1, "0,44! 16,4 30,34 58,2! 38,50 36,100! / 12,68! 72,62!"),
        (1, "0,30 14,4 28,26 56,0! 44,50 42,100! / 14,72! 76,66!"),
        (0.6, "2,6 20,28 34,30 58,0! 40,54 42,100! / 14,66! 70,60!"),
        (0.4, "4,6 22,34 46,20 54,4 42,4 40,40 38,100 / 10,64! 70,60!"),
    ),
    8: (
        (2, "46,14 24,0 8,18 24,42 46,66 38,94 12,96 4,72 26,46 46,22 40,8"),
        (1.5, "30,46 10,30 14,6 36,2 46,20 32,44 8,60 4,88 28,99 50,82 44,58 26,44"),
        (1.5, "28,0 10,14 14,38 34,42 44,22 28,1 / 26,44 4,62 8,92 36,98 50,72 28,44"),
        (1.5, "10,2! 6,98! / 8,4 38,2 44,26 12,46! 46,52 52,84 8,98"),
        (1, "8,98 2,60 10,14 30,0 44,14 36,40 18,46 44,54 50,82 28,99 8,94"),
        (1, "52,4 32,0 10,14 14,36 40,58 44,86 20,99 2,82 16,58 44,34 58,6"),
        (1, "40,26 44,6 22,0 10,20 28,44 44,70 30,98 6,90 6,68 24,50 34,42"),
        (0.8, "52,16 40,2 16,4 10,26 30,46 40,74 22,99 4,82 14,58 54,26"),
        (0.8, "8,6 34,2 38,22 14,42 6,40 34,50 44,78 22,100 2,86 6,44 8,6"),
        (0.6, "20,14 36,0 48,16 30,42 8,70 10,96 34,96 36,72 16,46 6,22 22,6"),
        (0.8, "14,2 2,20 8,50 2,80 14,99 28,84 26,50 28,14 12,2"),
        (0.8, "30,6 12,2 6,30 18,60 20,94 8,98 6,70 22,40 32,8"),
        (0.7, "46,8 24,0 8,22 28,46 42,74 24,99 6,78 24,48 44,14"),
        (0.6, "20,0 4,22 22,46 36,76 20,100 4,78 20,46 34,20 22,1"),
        (0.5, "60,4 36,2 20,22 36,44 30,78 12,98 2,80 22,52 56,10"),
        (0.5, "4,30 20,2 44,10 30,38 10,64 14,98 44,92 40,62 16,40"),
    ),
    9: (
        (2, "44,16 22,2 2,22 10,46 34,42 46,10! 42,100!"),
        (1.5, "46,10 26,0 4,18 6,44 28,48 46,18! 46,60 36,98"),
        (1.5, "42,10 14,4 4,30 22,48 42,28 46,10 44,70 26,98 2,88"),
        (1.2, "2,100! 22,40 30,4 54,6 54,30 34,46 16,44"),
        (1.2, "6,100! 20,4 42,2 48,22 36,46 8,50"),
        (1, "2,48 30,36 42,12 26,0 10,20 10,70 24,98 40,90"),
        (1, "0,52 22,46 46,18 34,0 16,16 8,60 0,100!"),
        (1, "20,48 2,34 6,8 34,0 50,18 36,44 20,50 24,74 18,100"),
        (1, "40,48 10,42 4,14 30,0 50,14 42,34 24,48 18,74 20,100"),
        (0.8, "8,44 0,16 22,0 46,12 38,34 26,50 30,100"),
        (0.8, "2,26 20,40 70,14 50,0 6,10 8,30 30,44 34,100!"),
        (0.8, "0,44 20,40 34,12 16,2 2,40 10,92 30,98 44,86"),
        (0.7, "38,8 10,6 2,30 22,42 40,20 42,60 24,100 2,110 0,96 30,76"),
        (0.7, "40,30 16,44 2,24 18,2 44,12 40,40 30,70 34,98"),
        (0.6, "44,8 20,2 4,28 20,44 44,20! 30,100!"),
        (0.5, "46,26 30,44 8,38 10,8 36,2 48,28 30,80 4,98 -10,90"),
        (0.8, "44,22 26,34 10,18 24,2 42,12 28,38 40,52 46,78 24,99 4,88"),
        (0.7, "30,42 8,30 10,6 38,2 44,24 26,44 44,58 42,88 14,100 2,88"),
        (0.5, "46,8 16,2 4,22 22,40 44,26 48,8 47,60 34,94 8,96"),
    ),
}  # fmt: skip


# The digits of seven-segment displays, in the same notation.
SEVEN_SEGMENTS = {
    0: "0,0! 50,0! 50,100! 0,100! 0,0!",
    1: "50,0! 50,100!",
    2: "0,0! 50,0! 50,50! 0,50! 0,100! 50,100!",
    3: "0,0! 50,0! 50,100! 0,100! / 0,50! 50,50!",
    4: "0,0! 0,50! 50,50! / 50,0! 50,100!",
    5: "50,0! 0,0! 0,50! 50,50! 50,100! 0,100!",
    6: "50,0! 0,0! 0,100! 50,100! 50,50! 0,50!",
    7: "0,0! 50,0! 50,100!",
    8: "0,50! 0,0! 50,0! 50,100! 0,100! 0,50! 50,50!",
    9: "50,50! 0,50! 0,0! 50,0! 50,100! 0,100!",
}


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


def invent_writer(random: np.random.Generator, digits: Iterable[int]) -> WriterStrokes:
    """Return samples of these digits as one invented writer writes them, in one or two shapes each."""
    return {digit: _invent_samples(random, digit) for digit in digits}


def seven_segment_writer() -> WriterStrokes:
    """Return the digits of seven-segment displays."""
    return {
        digit: [[interpolate(points, corners) for points, corners in parse_shape(text)]]
        for digit, text in SEVEN_SEGMENTS.items()
    }


def write_shape(random: np.random.Generator, text: str) -> DigitStrokes:
    """Return the strokes of a shape, given in the notation of this file, as a random writer writes it."""
    deviation = random.uniform(*WRITER_DEVIATION)
    return [
        interpolate(_displace(random, points, deviation), corners) for points, corners in parse_shape(text)
    ]


@functools.cache
def parse_shape(text: str) -> Shape:
    """Parse the notation of a shape into strokes: points (P, 2), and which of them are corners (P,)."""
    strokes = []
    for stroke in text.split("/"):
        words = stroke.split()
        points = [[float(number) / 100 for number in word.rstrip("!").split(",")] for word in words]
        strokes.append((np.array(points, np.float32), np.array([word.endswith("!") for word in words])))
    return strokes


def interpolate(points: Stroke, corners: npt.NDArray[np.bool_]) -> Stroke:
    """Join points (P, 2) by a spline that is broken at the corners.

    E. Catmull, R. Rom, "A class of local interpolating splines", 1974.
    """
    forward = np.diff(points, axis=0)
    tangents = np.zeros_like(points)
    tangents[1:-1] = (points[2:] - points[:-2]) / 2
    leaving, arriving = tangents.copy(), tangents.copy()
    leaving[:-1][corners[:-1]] = forward[corners[:-1]]
    arriving[1:][corners[1:]] = forward[corners[1:]]
    leaving[0], arriving[-1] = forward[0], forward[-1]
    t = np.linspace(0, 1, CURVE_STEPS, endpoint=False, dtype=np.float32)[None, :, None]
    start, end = points[:-1, None], points[1:, None]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * leaving[:-1, None]
        + (3 * t**2 - 2 * t**3) * end
        + (t**3 - t**2) * arriving[1:, None]
    )
    return np.concatenate([curve.reshape(-1, 2), points[-1:]]).astype(np.float32)


def _invent_samples(random: np.random.Generator, digit: int) -> list[DigitStrokes]:
    shapes = [_sample_shape(random, digit)]
    if random.random() < SECOND_SHAPE_SHARE:
        shapes.append(_sample_shape(random, digit))
    return [
        [
            interpolate(_displace(random, points, DIGIT_DEVIATION), corners)
            for points, corners in shapes[number % len(shapes)]
        ]
        for number in range(SAMPLES_PER_DIGIT)
    ]


def _sample_shape(random: np.random.Generator, digit: int) -> Shape:
    """Return a random shape of a digit, with the deviations of one writer."""
    frequencies = np.array([frequency for frequency, _ in SHAPES[digit]])
    index = int(random.choice(len(frequencies), p=frequencies / frequencies.sum()))
    deviation = random.uniform(*WRITER_DEVIATION)
    return [
        (_displace(random, points, deviation), corners)
        for points, corners in parse_shape(SHAPES[digit][index][1])
    ]


def _displace(random: np.random.Generator, points: Stroke, deviation: float) -> Stroke:
    return points + random.normal(0, deviation, points.shape).astype(np.float32)
