"""Measure which digits of a page form one number: `python benchmarks/grouping.py`.

The generators of `judging/grids.py` draw pages whose rows are hard to group: combs, tables with and without
rules, exercises, lists, score cards and widely spaced numbers. Nothing is trained or chosen on them. A gap is
a pair of neighbouring digits of one number, or the last and the first digit of two numbers that stand side by
side with at most `MOST_GAP` heights between them. Of the gaps whose two digits are found, a row shows the
share that is decided wrongly: the digits of one number in two answers, or those of two numbers in one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from judging.grids import GRIDS, grid_page
from judging.ink import judging_room
from judging.score import page_row, score_page
from scenes import DrawnScene
from support import Models, Output, Rows, open_app

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading
from digitcli.synthesis.page import Corners, Kind

app = open_app(__doc__)
MOST_GAP = 4.0  # heights of a digit
Gap = tuple[int, int, bool]  # two digits of a page, and whether two numbers meet there


@app.command()
def main(model: Models = (), pages: int = 40, seed: int = 1, output: Output = None) -> None:
    """Read `--pages` of each generator."""
    reader, room, rows = Reader(*model), judging_room(split(load_mnist()).test), Rows()
    for index, (name, fill) in enumerate(GRIDS.items()):
        scenes = [grid_page(np.random.default_rng([seed, index, page]), room, fill) for page in range(pages)]
        readings = [reader.read(scene.picture) for scene in scenes]
        wrong = np.sum([judge_gaps(*each) for each in zip(scenes, readings, strict=True)], axis=0)
        scores = np.sum([score_page(*each) for each in zip(scenes, readings, strict=True)], axis=0)
        shares = {"gaps": int(wrong[:2].sum()), "wrong": wrong[2:].sum() / max(wrong[:2].sum(), 1)}
        shares |= {"split": wrong[2] / max(wrong[0], 1), "joined": wrong[3] / max(wrong[1], 1)}
        rows.add(name, {**shares, **page_row(scores)})
    rows.save(output)


def judge_gaps(scene: DrawnScene, reading: Reading) -> npt.NDArray[np.int64]:
    """Count the gaps within and between numbers, and those of each that are decided wrongly."""
    digits, gaps = gaps_of(scene)
    places = [(digit.box, index) for index, number in enumerate(reading.numbers) for digit in number.digits]
    boxes = np.array([box for box, _ in places], np.float64).reshape(-1, 4)
    found = match(digits, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    counts = np.zeros(4, np.int64)
    for left, right, is_split in gaps:
        if found[left] >= 0 and found[right] >= 0:
            decided = places[found[left]][1] != places[found[right]][1]
            counts[int(is_split)] += 1
            counts[2 + int(is_split)] += decided != is_split
    return counts


def gaps_of(scene: DrawnScene) -> tuple[npt.NDArray[np.float64], list[Gap]]:
    """Return the upright boxes (N, 4) of the digits of a page, x0 y0 x1 y1, and the gaps between them."""
    numbers = [_digit_boxes(label.corners, label.text) for label in scene.labels if label.kind is Kind.NUMBER]
    starts = np.cumsum([0, *map(len, numbers)])
    within = [(i, i + 1, False) for start, end in _pairs(starts) for i in range(start, end - 1)]
    between = [
        (starts[left + 1] - 1, starts[right], True)
        for left, number in enumerate(numbers)
        if (right := _neighbour(number, numbers)) is not None
    ]
    return np.concatenate([np.zeros((0, 4)), *numbers]), [*within, *between]


def _pairs(starts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)


def _digit_boxes(corners: Corners, text: str) -> npt.NDArray[np.float64]:
    seen = [place for place, character in enumerate(text.replace(" ", "")) if character.isdecimal()]
    points = corners[seen].astype(np.float64)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def _neighbour(number: npt.NDArray[np.float64], others: list[npt.NDArray[np.float64]]) -> int | None:
    """Return the next number to the right in the same row, if it is near."""
    last, best = number[-1], (np.inf, -1)
    height = np.median(number[:, 3] - number[:, 1])
    for index, other in enumerate(others):
        first = other[0]
        shared = min(last[3], first[3]) - max(last[1], first[1])
        is_beside = shared > 0.5 * min(last[3] - last[1], first[3] - first[1])
        if is_beside and first[0] + first[2] > last[0] + last[2]:
            best = min(best, (first[0] - last[2], index))
    return best[1] if best[0] <= MOST_GAP * height else None


def match(digits: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return for each digit (N, 4) the box (M, 4) that overlaps most, with an IoU of at least 0.3, or -1."""
    if not len(digits) or not len(boxes):
        return np.full(len(digits), -1)
    sides = np.minimum(digits[:, None, 2:], boxes[:, 2:]) - np.maximum(digits[:, None, :2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (digits, boxes)]
    iou = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
    return np.where(iou.max(axis=1) >= 0.3, iou.argmax(axis=1), -1)


if __name__ == "__main__":
    app()
