"""Judge what a reader offers of a page that training never sees, and draw pictures of one number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scenes import DrawnScene

from digitcli.recognition.readings import Number, Reading
from digitcli.synthesis.page import Kind, numbers_of
from digitcli.synthesis.scenes import Scene
from digitcli.tables.table import Table
from judging.handwritten import exam, letter
from judging.ink import JudgingRoom
from judging.printed import meter, receipt
from judging.sheet import bounds, digits_box, overlap
from judging.tables import CellLabel
from judging.texts import clock, date, price, sample_integer

World = Callable[[np.random.Generator, JudgingRoom, str | None], DrawnScene]

MIN_IOU = 0.3  # of the boxes of a number and of its label
LARGEST_CUT = 0.1  # share of a character outside of the picture; as in training, which calls 0.12 whole
WORLDS: dict[str, World] = {"receipt": receipt, "meter": meter, "letter": letter, "exam": exam}
FIELDS = ("numbers", "offered", "recall", "precision")
# Gains of two numbers at the same place: with the same digits, with a digit in common, and with none.
SAME, ALIKE, OTHER = 1.0, 0.12, 0.02
PRINTED = 0.3  # gain of a printed number, in gains of a handwritten one
TURNS = 6  # in which rows and columns are aligned, one after the other
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def score_page(scene: DrawnScene, reading: Reading) -> Integers:
    """Return the numbers, those offered rightly, those answered rightly, and the answers that count."""
    judged = judge(scene, reading.numbers)
    answers = [
        is_right for number, is_right in zip(reading.numbers, judged, strict=True) if number.status == "read"
    ]
    shown = sum(label.kind is Kind.NUMBER for label in scene.labels)
    return np.array([shown, judged.count(True), answers.count(True), len(answers) - answers.count(None)])


def page_row(total: Integers) -> dict[str, float | int]:
    """Return the shares of sums of `score_page`: of the numbers, and of the answers those that are right."""
    shown, offered, right, answers = total.tolist()
    values = shown, offered / max(shown, 1), right / max(shown, 1), right / max(answers, 1)
    return dict(zip(FIELDS, values, strict=True))


def judge(scene: DrawnScene, numbers: Sequence[Number]) -> list[bool | None]:
    """Tell of each number whether a scene shows it there; None where it may be read in two ways.

    What is shown once is right once.
    """
    open_labels = [label for label in scene.labels if label.kind is Kind.NUMBER]
    judged: list[bool | None] = []
    for number in numbers:
        x, y, width, height = number.box
        box = x, y, x + width, y + height
        for index, label in enumerate(open_labels):
            if re.sub(r"\D", "", label.text) == number.text and overlap(box, digits_box(label))[0] >= MIN_IOU:
                del open_labels[index]
                judged.append(True)
                break
        else:
            is_clear = not any(overlap(box, ignored)[1] >= 0.5 for ignored in scene.ignored)
            judged.append(False if is_clear else None)
    return judged


def single_number(world: World, random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Return a small picture of one number that a person can read; half of the numbers are single digits."""
    while True:
        text = sample_integer(random, 1, 1) if random.random() < 0.5 else sample_integer(random, 2, 7)
        if random.random() < 0.3 and len(text) > 1 and world is not meter:
            text = str(random.choice([price(random), date(random, "."), clock(random)]))
        scene = world(random, room, text)
        if [label.text for label in scene.labels] == [text]:
            return scene


def judged_scene(scene: Scene) -> DrawnScene:
    """Return a scene with a label for each number that is seen whole."""
    size = scene.picture.shape[::-1]
    written = [label for label in scene.labels if label.kind is Kind.NUMBER]
    numbers = [number for label in written for number in numbers_of(label)]
    cut = [bool(number.shares_outside(size).max() > LARGEST_CUT) for number in numbers]
    whole = tuple(number for number, is_cut in zip(numbers, cut, strict=True) if not is_cut)
    unclear = [number for number, is_cut in zip(numbers, cut, strict=True) if is_cut]
    unclear += [label for label in written if not label.text]
    return DrawnScene(scene.picture, whole, tuple(bounds(label.corners) for label in unclear))


def judge_table(labels: Sequence[CellLabel], table: Table, scene: DrawnScene) -> Integers:
    """Count the numbers of a table, those offered and answered rightly, the answers, and the false ones.

    Handwritten numbers count, and answers in cells that are aligned with true ones; false are those in empty
    cells.
    """
    cells = [(cell.row, cell.column, cell.number) for cell in table.cells if cell.number is not None]
    true = np.array([(label.row, label.column) for label in labels]).reshape(-1, 2)
    places = np.array([(row, column) for row, column, _ in cells]).reshape(-1, 2)
    texts = [re.sub(r"\D", "", label.text) for label in labels]
    partners = align(true, places, gains(texts, labels, [number.text for *_, number in cells]))
    label_at = {tuple(place): k for k, place in enumerate(true.tolist())}
    numbers = offered = right = answered = false = 0
    numbers = sum(not label.is_printed for label in labels)
    for place, (*_, number) in zip(partners.tolist(), cells, strict=True):
        x, y, width, height = number.box
        if -1 in place or any(overlap((x, y, x + width, y + height), box)[1] >= 0.5 for box in scene.ignored):
            continue
        is_answer, index = number.status == "read", label_at.get(tuple(place))
        if index is None:
            false += is_answer
        elif not labels[index].is_printed:
            is_right = number.text == texts[index]
            offered, right, answered = (
                offered + is_right,
                right + (is_right & is_answer),
                answered + is_answer,
            )
    return np.array([numbers, offered, right, answered, false], np.int64)


def gains(texts: Sequence[str], labels: Sequence[CellLabel], found: Sequence[str]) -> Floats:
    """Return what each pair of a true and a found number gains if both stand at the same place."""
    rows = [
        [SAME if text == other else ALIKE if set(text) & set(other) else OTHER for other in found]
        for text in texts
    ]
    weights = [PRINTED if label.is_printed else 1.0 for label in labels]
    return np.array(rows).reshape(len(texts), len(found)) * np.array(weights)[:, None]


def align(true: Integers, found: Integers, gain: Floats) -> Integers:
    """Return the true row and column of each found number (M, 2), -1 where there is none.

    true, found: row and column of each number (N, 2) and (M, 2).
    gain: of each pair (N, M).
    """
    best, result = -1.0, np.full(found.shape, -1)
    for first in (0, 1) if gain.size else ():
        partners, is_open = np.full(found.shape, -1), np.where(gain >= PRINTED, gain, 0.0)
        for turn in range(TURNS):
            axis = (first + turn) % 2
            total = np.zeros((true[:, axis].max() + 1, found[:, axis].max() + 1))
            np.add.at(total, (true[:, None, axis], found[None, :, axis]), is_open)
            partners[:, axis] = monotone(total)[found[:, axis]]
            is_open = gain * (true[:, None, axis] == partners[None, :, axis])
        hits = float((is_open * (true[:, None] == partners[None]).all(axis=2) >= PRINTED).sum())
        best, result = (hits, partners) if hits > best else (best, result)
    return result


def monotone(gain: Floats) -> Integers:
    """Return for each column of gains (T, F) its row, or -1: in ascending order, with the largest sum."""
    best = np.zeros((gain.shape[0] + 1, gain.shape[1] + 1))
    for i, j in np.ndindex(*gain.shape):
        best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + gain[i, j])
    partners, (i, j) = np.full(gain.shape[1], -1), gain.shape
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            partners[j] = i
    return partners
