"""Measure the accuracy on real pictures, beside RapidOCR: `python benchmarks/reading.py FOLDER`.

FOLDER holds sets of pictures two levels down, for example `photos/phone_photos`, or is a set itself, for
example a folder that `digitcli synthesize` wrote. The correct text of a picture is the `label` in a
`labels.csv` beside it; or nothing, in a set below `notdigits`; or the first character of its file name.

right: the share of pictures of which exactly the digits are read.
coverage: the largest share of the pictures, the most confident first, of which at most 1 % are wrong.
answered, answered_correctly: the shares that `digitcli predict` answers at least in part.
wrong_answers: which share of the answers is wrong (`--option=--max-error=0.01` sets the threshold).

`mean` is the mean of the sets with digits, each of which counts the same, also in the one ranking of all
their pictures. Where a `boxes.json` holds boxes drawn by hand, `[digit, x, y, width, height]`, `boxes` is the
share of them that have an intersection over union (IoU) of 0.5 or more, in pictures that were read correctly.
Sets below `pages` are read, so that they count in the times, but are in no row: they hold several numbers.

Each reader reads the whole folder in a process of its own, `--repeats` times in turn. RapidOCR is measured if
`--peer` names a Python in which it is installed, once as it is, and once with its probabilities masked to
digits and marks, which makes it stronger on numbers:

    python -m venv peer && peer/bin/pip install rapidocr onnxruntime pillow numpy
    python benchmarks/reading.py FOLDER --peer peer/bin/python

The pictures are prepared in favour of RapidOCR: they are set upright, laid on white, enlarged and padded, and
each is given as one line, which gives better results than its own detector.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from support import ANSWERED, Output, Rows, digits_of, open_app

app = open_app(__doc__)
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


@dataclass(frozen=True)
class Answer:
    """The answer to one picture, with the digits that were read, or the best guess.

    confidence: from 0 to 1.
    status: `read` or `partial` if it was given; RapidOCR refuses nothing.
    boxes: a bounding box for each digit.
    """

    digits: str
    confidence: float
    status: str
    boxes: tuple[Box, ...]


Answers = dict[str, Answer]  # by the paths of pictures
Scored = list[tuple[float, bool, float]]  # the confidence, whether it is right, and the weight


@app.command()
def main(
    folder: Path,
    peer: Annotated[str | None, typer.Option(help="A Python in which RapidOCR is installed.")] = None,
    repeats: int = 1,
    option: Annotated[list[str], typer.Option(help="An option of digitcli predict: --option=-mcnn")] = (),
    wrong: Annotated[bool, typer.Option(help="List the pictures that are read wrongly.")] = False,
    output: Output = None,
) -> None:
    """Read the folder with each reader."""
    labels = labels_below(folder)
    listed = "".join(f"{path}\n" for paths in labels.values() for path in paths)
    predict = ["-m", "digitcli", "predict", "--files-from", "-", "--format", "jsonl"]
    commands = {"digitcli": [sys.executable, *predict, *option]}
    if peer:
        commands |= {"RapidOCR": [peer, "-c", PEER, "plain"], "masked": [peer, "-c", PEER, "masked"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    answers: dict[str, Answers] = {}
    for _ in range(repeats):
        for name, command in commands.items():
            started = time.perf_counter()
            answers[name] = {row["file"]: as_answer(row) for row in lines_of(command, listed)}
            seconds[name].append(time.perf_counter() - started)
    count = sum(map(len, labels.values()))
    labels = {name: of_set for name, of_set in labels.items() if not name.startswith("pages")}
    rows = Rows()
    for name, of_set in labels.items():
        row = {"pictures": len(of_set), **figures([of_set], answers), **given(of_set, answers["digitcli"])}
        if not any(of_set.values()):  # shows no digits
            row = {field: row[field] for field in row if field == "pictures" or field.endswith("_right")}
        rows.add(name, row)
    with_digits = [of_set for of_set in labels.values() if all(of_set.values())]
    if with_digits:
        rows.add("mean", figures(with_digits, answers, wrong=True))
    some = [of_set for of_set in labels.values() if any(of_set.values())]
    together = {path: label for of_set in some for path, label in of_set.items()}
    rows.add("all", {"pictures": len(together), **given(together, answers["digitcli"])})
    if matches := found_boxes(labels, answers["digitcli"]):
        rows.add("boxes", {"digits": len(matches), "overlap": sum(matches) / len(matches)})
    for name, times in seconds.items():
        rows.add(f"time of {name}", {"seconds": statistics.median(times), "pictures": count})
    rows.save(output, n=repeats)
    if wrong:
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
        sets[name] = {path: digits_of(label) for path, label in named.items()}
    sets = {name: labels for name, labels in sets.items() if labels}
    return sets or sys.exit(f"{folder} holds no sets of pictures, see --help.")


def lines_of(command: list[str], names: str) -> list[dict[str, Any]]:
    """Return the JSON lines that a program prints for the names of pictures on standard input.

    The exit code of `digitcli predict` is 4 if some files fail.
    """
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, input=names, stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode not in (0, 4):
            errors.seek(0)
            sys.exit(f"{command[0]} failed: {errors.read()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_answer(row: dict[str, Any]) -> Answer:
    """Return the answer in a record."""
    numbers: list[dict[str, Any]] = row.get("numbers") or []
    boxes = tuple(tuple(digit["box"]) for number in numbers for digit in number["digits"])
    digits, status = digits_of(row.get("text")), row.get("status", "read")
    is_empty = status == "read" and not digits
    return Answer(digits, float(row.get("confidence") or 0), "blank" if is_empty else status, boxes)


def figures(
    sets: Sequence[dict[str, str]], answers: dict[str, Answers], wrong: bool = False
) -> dict[str, float]:
    """Return what each reader gets right, and its coverage, where each of some sets counts the same."""
    row = {}
    for reader, by_path in answers.items():
        pairs = [(by_path[path], label, 1 / len(each)) for each in sets for path, label in each.items()]
        ranked = [(answer.confidence, answer.digits == label, weight) for answer, label, weight in pairs]
        row[f"{reader}_right"] = sum(weight for _, is_right, weight in ranked if is_right) / len(sets)
        if wrong:
            failed = [w for answer, label, w in pairs if answer.status == "read" and answer.digits != label]
            row[f"{reader}_wrong"] = sum(failed) / len(sets)
        row[f"{reader}_coverage"] = covered(ranked)
    return row


def covered(scored: Scored, limit: float = 0.01) -> float:
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


def given(of_set: dict[str, str], answers: Answers) -> dict[str, float]:
    """Return the shares of pictures that digitcli answers, and the share of wrong ones of the answers."""
    read = [
        answers[path].digits == label for path, label in of_set.items() if answers[path].status in ANSWERED
    ]
    correct, total = sum(read), max(len(of_set), 1)
    return {
        "answered": len(read) / total,
        "answered_correctly": correct / total,
        "wrong_answers": (len(read) - correct) / max(len(read), 1),
    }


def found_boxes(labels: Labels, answers: Answers) -> list[bool]:
    """Tell of each hand-drawn box whether it is found, in pictures that were read correctly."""
    matches: list[bool] = []
    for folder in {Path(path).parent for of_set in labels.values() for path in of_set}:
        file = folder / "boxes.json"
        for name, drawn in (json.loads(file.read_text()) if file.exists() else {}).items():
            drawn = sorted((box for box in drawn if str(box[0]).isdecimal()), key=lambda box: box[1])
            answer = answers.get(str(folder / name))
            if answer and answer.digits == "".join(str(box[0]) for box in drawn):
                pairs = zip(answer.boxes, drawn, strict=True)
                matches += [overlap(box, tuple(drawn_box[1:])) >= 0.5 for box, drawn_box in pairs]
    return matches


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union (IoU) of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def print_wrong(labels: Labels, answers: Answers) -> None:
    """Print every picture that is read wrongly, the most confident first."""
    pairs = [(answers[path], path, label) for each in labels.values() for path, label in each.items()]
    wrong = [(a.confidence, path, label, a.digits) for a, path, label in pairs if a.digits != label]
    for confidence, path, label, digits in sorted(wrong, reverse=True):
        print(f"{path}: {label or 'nothing'} read as {digits or 'nothing'}, {confidence:.3f}")


if __name__ == "__main__":
    app()
