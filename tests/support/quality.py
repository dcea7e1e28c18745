"""Count what a reader does with the stored pictures of the quality gate."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading

FOLDER = Path(__file__).parent.parent / "quality"
MIN_OVERLAP = 0.3  # intersection over union of the box of a number and of its label


def count_outcomes(reader: Reader) -> Counter[str]:
    """Read all pictures; return the numbers shown, found correctly, answered, and answered wrongly.

    A number is found correctly if its digits are those of the label at its place, whether it is answered or
    refused; every answer elsewhere is wrong, but for those on writing that a person may read in two ways.
    """
    labels = json.loads((FOLDER / "labels.json").read_text())
    counts: Counter[str] = Counter()
    for reading in reader.read_all([FOLDER / name for name in labels]):
        counts += _outcomes(reading, labels[Path(reading.file).name])
    return counts


def _outcomes(reading: Reading, label: dict[str, Any]) -> Counter[str]:
    open_labels = list(label["numbers"])
    counts = Counter(shown=len(open_labels))
    for number in reading.numbers:
        x, y, width, height = number.box
        box = [x, y, x + width, y + height]
        is_alone = len(label["numbers"]) == 1
        same = [
            each
            for each in open_labels
            if each["text"] == number.text and (is_alone or _overlap(box, each["box"]) >= MIN_OVERLAP)
        ]
        if not same and any(_covered(box, ignored) >= 0.5 for ignored in label["ignored"]):
            continue
        for each in same[:1]:
            open_labels.remove(each)
        is_answered = number.status == "read"
        counts += Counter(correct=bool(same), answered=is_answered, wrong=is_answered and not same)
    return counts


def _intersection(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(first: list[float], second: list[float]) -> float:
    common = _intersection(first, second)
    return common / (_area(first) + _area(second) - common)


def _covered(box: list[float], other: list[float]) -> float:
    return _intersection(box, other) / max(_area(box), 1)


def failures(counts: Counter[str]) -> list[str]:
    """Return which limits of the gate the counts of a reader break."""
    limits = {"correct": (177, 217), "answered": (161, 172), "wrong": (0, 8)}
    return [name for name, (low, high) in limits.items() if not low <= counts[name] <= high]
