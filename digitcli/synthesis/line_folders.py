"""Write and read folders of synthetic lines: pictures, `labels.csv` and `boxes.json`.

NumPy and OpenCV are imported only when lines are written or read.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.atomic_write import faults_of, write_whole
from digitcli.errors import InputError, OutputError, UsageError
from digitcli.events import OnEvent, ThingsDone

if TYPE_CHECKING:
    from digitcli.synthesis.lines import Line

LABELS, BOXES = "labels.csv", "boxes.json"
HEADINGS = ["file", "label", "raw"]
# Lines that are composed for an evaluation where no folder is named.
EVALUATION_LINES, EVALUATION_SEED = 2000, 2026


@dataclass(frozen=True)
class LineFolderSummary:
    """A folder that was written: its path, the numbers of lines, of lines without text and of digits."""

    folder: str
    count: int
    empty: int
    digits: int
    seed: int


def check_output_folder(folder: Path, force: bool) -> None:
    """Check before the work that lines can be written to a folder, which need not exist yet.

    Raises:
        OutputError: The path is not a folder, cannot be written, or is not empty and `force` is not given.
    """
    with faults_of(folder):
        with contextlib.suppress(FileNotFoundError):
            folder.stat()  # it raises errors for a path through a file, a link to itself and a name too long
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is not a folder.", "Give a folder.")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            remedy = "Give another folder, or write into it with --force."
            raise OutputError(f"{folder} is not empty.", remedy)
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OutputError(f"{existing} cannot be written.", "Give a folder that can be written.")


def write_lines(
    folder: Path,
    count: int,
    seed: int,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
) -> LineFolderSummary:
    """Write lines of MNIST's training digits, of invented writers and of the pen strokes of the package.

    Pictures `00000.png` ... show lines as networks see them: ink 255 on paper 0, 40 pixels high. In
    `labels.csv` (`file,label,raw`), the label has only the digits and `raw` also the marks; `boxes.json` has
    `[character, x, y, width, height]` for each character of `raw`. A line depends only on the seed and its
    number. Every file is written completely or not at all, and `labels.csv` is written last: a folder without
    it is unfinished.

    Raises:
        OutputError: The folder is not empty and `force` is not given, or it cannot be written.
    """
    import cv2
    import numpy as np

    from digitcli.data.dataset import split
    from digitcli.data.mnist import load_mnist
    from digitcli.synthesis.lines import LineSynthesizer
    from digitcli.synthesis.strokes import load_writers, split_writers

    check_output_folder(folder, force)
    synthesizer = LineSynthesizer(split(load_mnist()).train, split_writers(load_writers(), "train"))
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (LABELS, BOXES):  # of the lines that will be replaced
            (folder / name).unlink(missing_ok=True)
    rows: list[tuple[str, str, str]] = []
    boxes: dict[str, list[list[str | float]]] = {}
    for number in range(count):
        name = f"{number:05}.png"
        line = synthesizer.synthesize_line(np.random.default_rng([seed, number]))
        write_whole(folder / name, cv2.imencode(".png", line.image)[1].tobytes())
        rows.append((name, line.digits, line.text))
        boxes[name] = [
            [character, *(round(number, 2) for number in (x0, y0, x1 - x0, y1 - y0))]
            for character, (x0, y0, x1, y1) in zip(line.text, line.boxes.tolist(), strict=True)
        ]
        on_event(ThingsDone(number + 1, count))
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([HEADINGS, *rows])
    write_whole(folder / BOXES, (json.dumps(boxes) + "\n").encode())
    write_whole(folder / LABELS, content.getvalue().encode())
    empty, digits = sum(not text for _, _, text in rows), sum(len(label) for _, label, _ in rows)
    return LineFolderSummary(str(folder), count, empty, digits, seed)


def is_line_folder(path: Path) -> bool:
    """Return whether a folder contains lines that `write_lines` has written."""
    try:
        with (path / LABELS).open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), []) == HEADINGS
    except (OSError, ValueError, csv.Error):
        return False


def read_lines(folder: Path) -> list[Line]:
    """Read the lines that `write_lines` has written.

    Raises:
        InputError: A file is missing or damaged, or a picture, its text and its boxes do not belong together.
    """
    import cv2
    import numpy as np

    from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX
    from digitcli.synthesis.lines import ALPHABET, Line, count_ctc_columns

    remedy, lines = "Write the folder again with digitcli synthesize --force.", []
    try:
        boxes = json.loads((folder / BOXES).read_text(encoding="utf-8"))
        with (folder / LABELS).open(newline="", encoding="utf-8") as file:
            texts = {row["file"]: row["raw"] for row in csv.DictReader(file)}
        for name, text in texts.items():
            image = cv2.imdecode(np.frombuffer((folder / name).read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
            corners = np.array([box[1:] for box in boxes[name]], np.float32).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            is_valid = (
                image is not None
                and image.shape[0] == STRIP_HEIGHT_PX
                and image.shape[1] >= COLUMN_PX * count_ctc_columns(text)
                and len(corners) == len(text)
                and set(text) <= set(ALPHABET)
                and np.isfinite(corners).all()
                and (corners >= 0).all()
            )
            if not is_valid:
                raise ValueError(f"{name} does not fit its labels")
            lines.append(Line(np.asarray(image, np.uint8), text, corners))
    except (OSError, ValueError, LookupError, TypeError, RecursionError, csv.Error, cv2.error) as error:
        raise InputError(f"The lines in {folder} cannot be read: {error}.", remedy) from error
    if not lines:
        raise InputError(f"{folder} contains no lines.", remedy)
    return lines


def lines_to_evaluate(data: str, training_digest: str | None) -> tuple[list[Line], str]:
    """Return lines on which a model is evaluated, and the name of their split.

    data: a folder that `write_lines` has written, or mnist for lines that are composed of its test digits.
    training_digest: `hash_lines` of the lines that the model was trained on; of these, only the test part is
        taken.

    Raises:
        UsageError: the data is no such folder.
        InputError: the lines cannot be read.
    """
    import numpy as np

    from digitcli.data import DEFAULT_DATASET
    from digitcli.data.loading import find_dataset
    from digitcli.data.mnist import load_mnist_test
    from digitcli.synthesis.lines import LineSynthesizer

    path = find_dataset(data)
    if path is not None and is_line_folder(path):
        lines = read_lines(path)
        return (split_lines(lines)[2], "test") if hash_lines(lines) == training_digest else (lines, "all")
    if data != DEFAULT_DATASET:
        raise UsageError(f"{data} holds no lines.", "Name a folder that digitcli synthesize has written.")
    synthesizer = LineSynthesizer(load_mnist_test())
    seeds = ([EVALUATION_SEED, number] for number in range(EVALUATION_LINES))
    return [synthesizer.synthesize_line(np.random.default_rng(seed)) for seed in seeds], "test"


def split_lines(lines: list[Line]) -> tuple[list[Line], list[Line], list[Line]]:
    """Split lines into a training part, a validation part (a twelfth) and a test part (a seventh)."""
    import numpy as np

    from digitcli.data.dataset import SPLIT_SEED, TEST_SHARE, VALIDATION_SHARE

    order = np.random.default_rng(SPLIT_SEED).permutation(len(lines))
    test_size, validation_size = round(len(lines) * TEST_SHARE), round(len(lines) * VALIDATION_SHARE)
    test, validation, train = np.split(order, [test_size, test_size + validation_size])
    return [lines[i] for i in train], [lines[i] for i in validation], [lines[i] for i in test]


def hash_lines(lines: list[Line]) -> str:
    """Return the SHA-256 of every picture and text."""
    sha256 = hashlib.sha256()
    for line in lines:
        sha256.update(line.image.tobytes())
        sha256.update(line.text.encode() + b"\0")
    return sha256.hexdigest()
