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
from judging.handwritten import exam, letter
from judging.ink import JudgingRoom
from judging.printed import meter, receipt
from judging.sheet import bounds, digits_box, overlap
from judging.texts import clock, date, price, sample_integer

World = Callable[[np.random.Generator, JudgingRoom, str | None], DrawnScene]

MIN_IOU = 0.3  # of the boxes of a number and of its label
LARGEST_CUT = 0.1  # share of a character outside of the picture; as in training, which calls 0.12 whole
WORLDS: dict[str, World] = {"receipt": receipt, "meter": meter, "letter": letter, "exam": exam}
FIELDS = ("numbers", "offered", "recall", "precision")


def score_page(scene: DrawnScene, reading: Reading) -> npt.NDArray[np.int64]:
    """Return the numbers, those offered rightly, those answered rightly, and the answers that count."""
    judged = judge(scene, reading.numbers)
    answers = [
        is_right for number, is_right in zip(reading.numbers, judged, strict=True) if number.status == "read"
    ]
    shown = sum(label.kind is Kind.NUMBER for label in scene.labels)
    return np.array([shown, judged.count(True), answers.count(True), len(answers) - answers.count(None)])


def page_row(total: npt.NDArray[np.int64]) -> dict[str, float | int]:
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
