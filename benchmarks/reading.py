"""Measure the accuracy on real pictures, beside RapidOCR: `python benchmarks/reading.py FOLDER`.

FOLDER holds sets of pictures two levels down, for example `photos/phone_photos`, or is a set itself, for
example a folder that `digitcli synthesize` wrote. The correct text of a picture is the `label` in a
`labels.csv` beside it; or nothing, in a set below `notdigits`; or the first character of its file name. A
picture is correct if exactly its digits are read. The last column is the coverage at 1 % errors: the largest
share of the pictures, the most confident first, of which at most 1 % are wrong. The rows below the table are
means of the sets with digits, each of which counts the same, also in the one ranking of all their pictures.

A second table counts only the pictures with digits: which share `digitcli predict` answers at least in part,
and which share of the answers is wrong (`--option=--max-error=0.01` sets that threshold). Where a
`boxes.json` holds boxes drawn by hand, `[digit, x, y, width, height]`, the last line is the share of them
that have an intersection over union (IoU) of 0.5 or more, in pictures that were read correctly.

Sets below `pages` are read, so that they count in the times, but are in no table: they hold several numbers.

Each reader reads the whole folder in a process of its own, `--repeats` times in turn. RapidOCR is measured if
`--peer` names a Python in which it is installed, once as it is, and once with its probabilities masked to
digits and marks, which makes it stronger on numbers:

    python -m venv peer && peer/bin/pip install rapidocr onnxruntime pillow numpy
    python benchmarks/reading.py FOLDER --peer peer/bin/python

The pictures are prepared in favour of RapidOCR: they are set upright, laid on white, enlarged and padded, and
each is given as one line, which gives better results than its own detector.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saved_rows import add_output, save_rows

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
PEER = """
import json, logging, sys
from pathlib import Path
import numpy
from PIL import Image, ImageOps
from rapidocr import RapidOCR

logging.disable(logging.CRITICAL)

def prepared(path):
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    picture = paper.convert("RGB")
    picture.thumbnail((1024, 1024))
    if min(picture.size) < 64:
        scale = 96 / min(picture.size)
        picture = picture.resize([int(side * scale) for side in picture.size], Image.BICUBIC)
    ground = tuple(int(level) for level in numpy.median(numpy.array(picture).reshape(-1, 3), axis=0))
    return numpy.array(ImageOps.expand(picture, 16, ground))[:, :, ::-1]

class Masked:
    def __init__(self, recognizer):
        self.session = recognizer.session
        self.kept = numpy.isin(recognizer.postprocess_op.character, ["blank", *"0123456789.,-/#*=$"])

    def __call__(self, images):
        columns = self.session(images) * self.kept
        columns /= columns.sum(axis=-1, keepdims=True)
        self.confidence = float(columns.max(axis=-1).prod())  # of the likeliest path
        return columns

engine = RapidOCR()
engine(numpy.full((48, 96, 3), 255, "u1"), use_det=False, use_cls=False, use_rec=True)  # opens the recognizer
masked = Masked(engine.text_rec) if sys.argv[1] == "masked" else None
if masked:
    engine.text_rec.session = masked
for line in sys.stdin:
    result = engine(prepared(Path(line.rstrip("\\n"))), use_det=False, use_cls=False, use_rec=True)
    sure = min(map(float, result.scores)) if result.txts else 0.0
    sure = masked.confidence if masked else sure
    print(json.dumps({"file": line.rstrip("\\n"), "text": "".join(result.txts or ()), "confidence": sure}))
"""


Box = tuple[float, float, float, float]  # x, y, width, height
Labels = dict[str, dict[str, str]]  # for each set the digits in each of its pictures
Rows = dict[str, dict[str, float | int]]  # what is saved of each set


@dataclass(frozen=True)
class Answer:
    """The answer to one picture.

    digits: the digits that were read, or the best guess.
    confidence: from 0 to 1.
    is_read: whether the answer was given and no part of it refused; RapidOCR refuses nothing.
    is_partial: whether only a part of it was given.
    boxes: a bounding box for each digit.
    """

    digits: str
    confidence: float
    is_read: bool
    is_partial: bool
    boxes: tuple[Box, ...]


def main() -> None:
    """Read the folder with each reader and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder with the sets of pictures")
    parser.add_argument("--peer", metavar="PYTHON", help="a Python in which RapidOCR is installed")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each reader (default: 1)")
    parser.add_argument(
        "--option", action="append", default=[], help="an option of digitcli predict, e.g. --option=-mcnn"
    )
    parser.add_argument("--wrong", action="store_true", help="list the pictures that digitcli reads wrongly")
    add_output(parser)
    arguments = parser.parse_args()
    labels = labels_below(arguments.folder)
    listed = "".join(f"{path}\n" for paths in labels.values() for path in paths)
    readers = {"digitcli": lambda: read_with_digitcli(listed, arguments.option)}
    if arguments.peer:
        readers["RapidOCR"] = lambda: lines_of([arguments.peer, "-c", PEER, "plain"], listed)
        readers["masked"] = lambda: lines_of([arguments.peer, "-c", PEER, "masked"], listed)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    answers: dict[str, dict[str, Answer]] = {}
    for _ in range(arguments.repeats):
        for name, read in readers.items():
            started = time.perf_counter()
            answers[name] = {row["file"]: as_answer(row) for row in read()}
            seconds[name].append(time.perf_counter() - started)
    count = sum(map(len, labels.values()))
    labels = {name: of_set for name, of_set in labels.items() if not name.startswith("pages")}
    rows: Rows = {name: {"pictures": len(paths)} for name, paths in labels.items()}
    rows |= {"mean": {}, "all": {}, "boxes": {}}
    print_table(labels, answers, rows)
    print_means(labels, answers, rows)
    print_answered(labels, answers["digitcli"], rows)
    print_boxes(labels, answers["digitcli"], rows)
    for name, times in seconds.items():
        spread = f"{min(times):.1f} to {max(times):.1f} s, n = {len(times)}"
        rows[f"time of {name}"] = {"seconds": statistics.median(times), "pictures": count}
        print(
            f"{name}: {1000 * statistics.median(times) / count:.1f} ms per picture, whole process ({spread})"
        )
    save_rows(arguments.output, rows, n=arguments.repeats)
    if arguments.wrong:
        print_wrong(labels, answers["digitcli"])


def labels_below(folder: Path) -> Labels:
    """Return the labels of every set in a folder."""
    sets: Labels = {}
    for directory in [folder, *sorted(path for path in folder.glob("*/*") if path.is_dir())]:
        name = str(directory.relative_to(folder)) if directory != folder else folder.resolve().name
        table = directory / "labels.csv"
        if table.exists():
            with table.open(newline="") as rows:
                named = {str(directory / row["file"]): row["label"] for row in csv.DictReader(rows)}
        elif directory == folder:
            continue
        else:
            pictures = [path for path in sorted(directory.iterdir()) if path.suffix.lower() in PICTURES]
            named = {str(path): "" if name.startswith("notdigits") else path.name[0] for path in pictures}
        sets[name] = {path: re.sub(r"\D", "", label) for path, label in named.items()}
    sets = {name: labels for name, labels in sets.items() if labels}
    return sets or sys.exit(f"{folder} holds no sets of pictures, see --help.")


def read_with_digitcli(listed: str, options: list[str]) -> list[dict[str, Any]]:
    """Return the records of `digitcli predict`, whose exit code is 4 if some files fail."""
    command = [sys.executable, "-m", "digitcli", "predict", "--files-from", "-", "--format", "jsonl"]
    return lines_of([*command, *options], listed, codes=(0, 4))


def lines_of(command: list[str], names: str, codes: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Return the JSON lines that a program prints for the names of pictures on standard input."""
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, input=names, stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode not in codes:
            errors.seek(0)
            sys.exit(f"{command[0]} failed: {errors.read()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_answer(row: dict[str, Any]) -> Answer:
    """Return the answer in a record."""
    numbers: list[dict[str, Any]] = row.get("numbers") or []
    boxes = tuple(tuple(digit["box"]) for number in numbers for digit in number["digits"])
    digits = re.sub(r"\D", "", row.get("text") or "")
    status = row.get("status", "read")
    is_read, is_partial = bool(digits) and status == "read", status == "partial"
    return Answer(digits, float(row.get("confidence") or 0), is_read, is_partial, boxes)


def print_table(labels: Labels, answers: dict[str, dict[str, Answer]], rows: Rows) -> None:
    """Print a row for each set: its pictures, and each reader's accuracy and coverage at 1 % errors."""
    print(f"{'set':32} {'n':>5}" + "".join(f"  {name:>9} {'at 1 %':>7}" for name in answers))
    for name, of_set in labels.items():
        cells = ""
        for reader, by_path in answers.items():
            read = [(by_path[path], label) for path, label in of_set.items()]
            scored = [(answer.confidence, answer.digits == label, 1.0) for answer, label in read]
            right = sum(is_right for _, is_right, _ in scored) / len(scored)
            rows[name][f"{reader}_right"] = right
            share = ""
            if not name.startswith("notdigits"):
                rows[name][f"{reader}_coverage"] = answered(scored)
                share = f"{answered(scored):.1%}"
            cells += f"  {right:9.1%} {share:>7}"
        print(f"{name:32} {len(of_set):5}{cells}")


def print_means(labels: Labels, answers: dict[str, dict[str, Answer]], rows: Rows) -> None:
    """Print the means of the sets with digits: right, answered wrongly, and the coverage at 1 % errors."""
    sets = [of_set for of_set in labels.values() if all(of_set.values())]
    if not sets:
        return
    print(f"{f'mean of {len(sets)} sets with digits':38}  {'right':>7} {'wrong':>7} {'at 1 %':>7}")
    for name, by_path in answers.items():
        pairs = [[(by_path[path], label) for path, label in of_set.items()] for of_set in sets]
        right, wrong = (
            statistics.mean(statistics.mean(map(float, flags)) for flags in of_sets)
            for of_sets in (
                [[answer.digits == label for answer, label in of_set] for of_set in pairs],
                [[answer.is_read and answer.digits != label for answer, label in of_set] for of_set in pairs],
            )
        )
        ranked = [
            (answer.confidence, answer.digits == label, 1 / len(of_set))
            for of_set in pairs
            for answer, label in of_set
        ]
        print(f"{name:38}  {right:7.1%} {wrong:7.1%} {answered(ranked):7.1%}")
        figures = {"right": right, "wrong": wrong, "coverage": answered(ranked)}
        rows["mean"] |= {f"{name}_{field}": share for field, share in figures.items()}


def answered(scored: list[tuple[float, bool, float]], limit: float = 0.01) -> float:
    """Return the largest share by weight, the most confident first, of which at most `limit` are wrong."""
    best = wrong = count = 0.0
    ordered = sorted(scored, reverse=True)
    for place, (confidence, is_right, weight) in enumerate(ordered, start=1):
        count += weight
        wrong += weight * (not is_right)
        tied = place < len(ordered) and ordered[place][0] == confidence
        if not tied and wrong <= limit * count:
            best = count
    return best / sum(weight for _, _, weight in ordered)


def print_answered(labels: Labels, answers: dict[str, Answer], rows: Rows) -> None:
    """Print the share of pictures with digits that are answered, and the share of wrong answers."""
    print(f"{'answered by digitcli predict':32} {'n':>5}  {'share':>9} {'wrong':>7}")
    sets = {name: of_set for name, of_set in labels.items() if any(of_set.values())}
    together = {path: label for of_set in sets.values() for path, label in of_set.items()}
    for name, of_set in (sets | {"all": together}).items():
        given = [(answers[path], label) for path, label in of_set.items()]
        read = [(each.digits, label) for each, label in given if each.is_read or each.is_partial]
        wrong = sum(digits != label for digits, label in read) / max(len(read), 1)
        rows[name] |= {
            "pictures": len(of_set),
            "answered": len(read) / len(of_set),
            "answered_correctly": len(read) * (1 - wrong) / len(of_set),
            "wrong_answers": wrong,
        }
        print(f"{name:32} {len(of_set):5}  {len(read) / len(of_set):9.1%} {wrong:7.1%}")


def print_boxes(labels: Labels, answers: dict[str, Answer], rows: Rows) -> None:
    """Print the share of hand-drawn boxes that are found, in pictures that were read correctly."""
    matches: list[bool] = []
    for folder in {Path(path).parent for of_set in labels.values() for path in of_set}:
        if not (folder / "boxes.json").exists():
            continue
        for name, drawn in json.loads((folder / "boxes.json").read_text()).items():
            drawn = sorted((box for box in drawn if str(box[0]).isdecimal()), key=lambda box: box[1])
            answer = answers.get(str(folder / name))
            if answer and answer.digits == "".join(str(box[0]) for box in drawn):
                pairs = zip(answer.boxes, drawn, strict=True)
                matches += [overlap(box, tuple(drawn_box[1:])) >= 0.5 for box, drawn_box in pairs]
    if matches:
        rows["boxes"] = {"digits": len(matches), "overlap": sum(matches) / len(matches)}
        print(
            f"boxes with an IoU of 0.5 or more: {sum(matches) / len(matches):.1%} of {len(matches):,} digits"
        )


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union (IoU) of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def print_wrong(labels: Labels, answers: dict[str, Answer]) -> None:
    """Print every picture that is read wrongly, the most confident first."""
    wrong = [
        (answers[path].confidence, path, label, answers[path].digits)
        for of_set in labels.values()
        for path, label in of_set.items()
        if answers[path].digits != label
    ]
    for confidence, path, label, digits in sorted(wrong, reverse=True):
        print(f"{path}: {label or 'nothing'} read as {digits or 'nothing'}, {confidence:.3f}")


if __name__ == "__main__":
    main()
