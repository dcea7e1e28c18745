"""Write a folder of synthetic pictures of numbers: the pictures, `labels.csv` and `boxes.json`."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from digitcli.atomic_write import check_new_folder, faults_of, write_whole
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.events import OnEvent, ThingsDone
from digitcli.synthesis.scenes import Scene, scene_composer

LABELS, BOXES = "labels.csv", "boxes.json"


@dataclass(frozen=True)
class PictureFolderSummary:
    """A folder that was written, and the numbers of pictures, of those without a number and of digits."""

    folder: str
    count: int
    empty: int
    digits: int
    seed: int


def write_pictures(
    folder: Path,
    count: int,
    seed: int,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
) -> PictureFolderSummary:
    """Write pictures of one line each, by the writers and in the fonts that networks are trained with.

    In `labels.csv` (`file,label,raw`), the label has only the digits and `raw` also the marks. `boxes.json`
    has `[character, x, y, width, height]` for each character of `raw`. A picture depends only on the seed
    and its number. Every file is written completely or not at all, and `labels.csv` is written last: a folder
    without it is unfinished.

    Raises:
        OutputError: The folder is not empty and `force` is not given, or it cannot be written.
    """
    check_new_folder(folder, force)
    composer = scene_composer(split(load_mnist()).train, "train")
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (LABELS, BOXES):  # of the pictures that will be replaced
            (folder / name).unlink(missing_ok=True)
    rows: list[tuple[str, str, str]] = []
    boxes: dict[str, list[list[str | float]]] = {}
    for number in range(count):
        name, scene = f"{number:05}.png", composer.line(np.random.default_rng([seed, number]))
        write_whole(folder / name, cv2.imencode(".png", scene.picture)[1].tobytes())
        text = "".join(label.text for label in scene.labels)
        rows.append((name, "".join(filter(str.isdecimal, text)), text))
        boxes[name] = _boxes_of(scene)
        on_event(ThingsDone(number + 1, count))
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([["file", "label", "raw"], *rows])
    write_whole(folder / BOXES, (json.dumps(boxes) + "\n").encode())
    write_whole(folder / LABELS, content.getvalue().encode())
    empty, digits = sum(not text for _, _, text in rows), sum(len(label) for _, label, _ in rows)
    return PictureFolderSummary(str(folder), count, empty, digits, seed)


def _boxes_of(scene: Scene) -> list[list[str | float]]:
    """Return each character that is written, other than a space, and the upright box around it, in pixels."""
    return [
        [character, *np.round([*corners.min(axis=0), *np.ptp(corners, axis=0)], 2).tolist()]
        for label in scene.labels
        for character, corners in zip(label.text.replace(" ", ""), label.corners, strict=False)
    ]
