"""Pen strokes of digits: those of real writers, which have the hatted 1s and crossed 7s that MNIST lacks, and
invented ones, in shapes as they are taught in different countries, and as pens run.

The shapes lie in `shapes.json`, drawn for this project: for each digit, pairs of a relative frequency and
strokes, and the strokes of seven-segment displays and of letters. A stroke is a list of points x,y in
hundredths of the height, y downwards, joined by a smooth curve that has a corner at each point marked "!". A
"/" lifts the pen.
"""

from __future__ import annotations

import functools
import io
import json
import lzma
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

EMBEDDED = Path(str(files("digitcli.data"))) / "handwriting"
EMBEDDED_STROKES = EMBEDDED / "strokes.npz.xz"
STROKE_SCALE = 1000  # steps of the embedded strokes for each height of a digit
HELD_OUT_WRITERS = 10  # one of this many writers is held out from training

# Who has writers and fonts of their own: networks learn from them, choices and confidences, or the judges.
Group = Literal["train", "calibrate", "judge"]
Stroke = npt.NDArray[np.float32]  # points (P, 2): x to the right, y downwards, in heights of the digit
DigitStrokes = list[Stroke]  # one digit, whose upper left corner is at 0, 0
WriterStrokes = dict[int, list[DigitStrokes]]  # all samples of each digit by one writer
Shape = list[tuple[Stroke, npt.NDArray[np.bool_]]]  # strokes, each with which of its points are corners

# Lengths are in heights of a digit; all values were chosen by hand.
CURVE_STEPS = 7  # points of the curve between two points of a shape
WRITER_DEVIATION = (0.02, 0.055)  # range of the standard deviation of a writer's points from the shape's
DIGIT_DEVIATION = 0.014  # standard deviation of the points of one digit from the writer's own
SAMPLES_PER_DIGIT = 4  # of each invented writer
SECOND_SHAPE_SHARE = 0.15  # of the writers have two shapes of a digit

_SHAPES = json.loads((EMBEDDED / "shapes.json").read_text(encoding="utf-8"))
LETTERS: dict[str, str] = _SHAPES["letters"]


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


def split_writers(writers: Sequence[WriterStrokes], group: Group) -> list[WriterStrokes]:
    """Return the writers of a group."""
    return [writer for i, writer in enumerate(writers) if group_of(i, HELD_OUT_WRITERS) == group]


def group_of(index: int, every: int) -> Group:
    """Return the group of a writer or a font; one of `every` is held out, by turns for the two others."""
    turn, place = divmod(index, every)
    if place != every - 1:
        return "train"
    return "judge" if turn % 2 else "calibrate"


def invent_writer(random: np.random.Generator, digits: Iterable[int]) -> WriterStrokes:
    """Return samples of these digits as one invented writer writes them, in one or two shapes each."""
    writer: WriterStrokes = {}
    for digit in digits:
        shapes = [_sample_shape(random, digit)]
        if random.random() < SECOND_SHAPE_SHARE:
            shapes.append(_sample_shape(random, digit))
        chosen = (shapes[number % len(shapes)] for number in range(SAMPLES_PER_DIGIT))
        writer[digit] = [_curves(_displaced(random, shape, DIGIT_DEVIATION)) for shape in chosen]
    return writer


def _sample_shape(random: np.random.Generator, digit: int) -> Shape:
    """Return a random shape of a digit, with the deviations of one writer."""
    shapes = _SHAPES["digits"][str(digit)]
    frequencies = np.array([frequency for frequency, _ in shapes])
    text = shapes[int(random.choice(len(shapes), p=frequencies / frequencies.sum()))][1]
    return _displaced(random, parse_shape(text), random.uniform(*WRITER_DEVIATION))


def seven_segment_writer() -> WriterStrokes:
    """Return the digits of seven-segment displays."""
    return {int(digit): [_curves(parse_shape(text))] for digit, text in _SHAPES["seven segments"].items()}


def write_shape(random: np.random.Generator, text: str) -> DigitStrokes:
    """Return the strokes of a shape, for example one of `LETTERS`, as a random writer writes it."""
    return _curves(_displaced(random, parse_shape(text), random.uniform(*WRITER_DEVIATION)))


@functools.cache
def parse_shape(text: str) -> Shape:
    """Parse the notation of a shape into strokes: points (P, 2), and which of them are corners (P,)."""
    strokes = []
    for stroke in text.split("/"):
        words = stroke.split()
        points = [[float(number) / 100 for number in word.rstrip("!").split(",")] for word in words]
        strokes.append((np.array(points, np.float32), np.array([word.endswith("!") for word in words])))
    return strokes


def _displaced(random: np.random.Generator, shape: Shape, deviation: float) -> Shape:
    return [
        (points + random.normal(0, deviation, points.shape).astype(np.float32), corners)
        for points, corners in shape
    ]


def _curves(shape: Shape) -> DigitStrokes:
    return [interpolate(points, corners) for points, corners in shape]


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
