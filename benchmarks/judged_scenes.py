"""Measure reading on kinds of pages that are kept out of training: `python benchmarks/judged_scenes.py`.

Four generators draw till receipts, meters, letters and exams. Their layouts, paper, light and camera share
no code with `digitcli/synthesis`; only the writers and fonts come from there, and they are held out too. For
each generator the columns are the numbers to read, the share that a reader offers with the right digits, the
share that it answers rightly, and the share of its answers that are right. A number counts where its box has
an intersection over union (IoU) of at least 0.3 with the label. Numbers that a person may read in two ways
count neither as right nor as wrong. `--single` reads pictures of one number, half of them of a single digit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from judging.ink import judging_room
from judging.score import WORLDS, page_row, score_page, single_number
from judging.sheet import bounds, digits_box
from scenes import DrawnScene
from support import Models, Output, Rows, digits_of, open_app, shares

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader

app = open_app(__doc__)


@app.command()
def main(
    model: Models = (),
    pages: int = 40,
    seed: int = 1,
    single: bool = False,
    max_error: float | None = None,
    save: Path | None = None,
    output: Output = None,
) -> None:
    """Read `--pages` of each generator; `--save FOLDER` keeps the pictures with their labels."""
    reader, room, rows = Reader(*model, max_error=max_error), judging_room(split(load_mnist()).test), Rows()
    saved: dict[str, DrawnScene] = {}
    for index, (name, world) in enumerate(WORLDS.items()):
        scenes = []
        for page in range(pages):
            random = np.random.default_rng([seed, index, page, *([1] if single else [])])
            scenes.append(single_number(world, random, room) if single else world(random, room, None))
        readings = [reader.read(scene.picture) for scene in scenes]
        if single:
            texts = [digits_of(label.text) for scene in scenes for label in scene.labels if label.text]
            rows.add(name, shares(readings, texts))
        else:
            scores = [score_page(scene, read) for scene, read in zip(scenes, readings, strict=True)]
            rows.add(name, page_row(np.sum(scores, axis=0)))
        saved |= {f"{name}-{page:03}.png": scene for page, scene in enumerate(scenes) if save}
    fields = list(rows["receipt"])[1:]
    rows.add("mean", {field: float(np.mean([row[field] for row in rows.values()])) for field in fields})
    if save:
        save_scenes(saved, save)
    rows.save(output)


def save_scenes(scenes: Mapping[str, DrawnScene], folder: Path) -> None:
    """Save pictures and `labels.json`: for each picture texts and boxes x0, y0, x1, y1."""
    folder.mkdir(parents=True, exist_ok=True)
    records = {}
    for name, scene in scenes.items():
        cv2.imwrite(str(folder / name), scene.picture)
        numbers = [{"text": label.text, "box": digits_box(label)} for label in scene.labels if label.text]
        other = [bounds(label.corners) for label in scene.labels if not label.text]
        records[name] = {"numbers": numbers, "other": other, "ignored": scene.ignored}
    (folder / "labels.json").write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    app()
