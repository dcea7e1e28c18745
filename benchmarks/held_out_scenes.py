"""Measure reading on kinds of pages that are kept out of training: `python benchmarks/held_out_scenes.py`.

Four generators draw till receipts, meters, letters and exams. Their layouts, paper, light and camera share
no code with `digitcli/synthesis`; only the writers and fonts come from there, and they are held out too. For
each generator the columns are the numbers to read, the share that a reader offers with the right digits, the
share that it answers rightly, and the share of its answers that are right. A number counts where its box has
an intersection over union (IoU) of at least 0.3 with the label. Numbers that a person may read in two ways
count neither as right nor as wrong. `--single` reads pictures of one number, half of them of a single digit.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from held_out.handwritten import exam, letter
from held_out.printed import meter, receipt
from held_out.sheet import HeldOutRoom, HeldOutScene, bounds, digits_box, held_out_room, overlap
from held_out.texts import clock, date, price
from saved_rows import Row, add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number, Reading
from digitcli.synthesis.page import Kind
from digitcli.synthesis.texts import sample_integer

MIN_IOU = 0.3  # of the boxes of a number and of its label
WORLDS: dict[str, Callable[[np.random.Generator, HeldOutRoom, str | None], HeldOutScene]] = {
    "receipt": receipt,
    "meter": meter,
    "letter": letter,
    "exam": exam,
}

FIELDS = ("offered", "recall", "precision")  # shares of the numbers, and of the answers that are right
OUTCOMES = ("right", "wrong", "refused")

Rows = dict[str, Row]


def score_page(scene: HeldOutScene, reading: Reading) -> npt.NDArray[np.int64]:
    """Return the numbers, those offered rightly, those answered rightly, and the answers that count."""
    judged = judge(scene, reading.numbers)
    answers = [
        is_right for number, is_right in zip(reading.numbers, judged, strict=True) if number.status == "read"
    ]
    shown = sum(label.kind is Kind.NUMBER for label in scene.labels)
    return np.array([shown, judged.count(True), answers.count(True), len(answers) - answers.count(None)])


def judge(scene: HeldOutScene, numbers: Sequence[Number]) -> list[bool | None]:
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


def measure_pages(reader: Reader, room: HeldOutRoom, pages: int, seed: int, folder: Path | None) -> Rows:
    """Read pages of every generator and print a row for each."""
    print(f"{'generator':10} {'numbers':>8} {'offered':>8} {'recall':>8} {'precision':>10}")
    shares, saved, table = [], {}, {}
    for index, (name, world) in enumerate(WORLDS.items()):
        total = np.zeros(4, np.int64)
        for page in range(pages):
            scene = world(np.random.default_rng([seed, index, page]), room, None)
            total += score_page(scene, reader.read(scene.picture))
            if folder:
                saved[f"{name}-{page:03}.png"] = scene
        shares.append([total[1] / total[0], total[2] / total[0], total[2] / max(total[3], 1)])
        print(
            f"{name:10} {total[0]:8} {shares[-1][0]:8.1%} {shares[-1][1]:8.1%} {shares[-1][2]:10.1%}",
            flush=True,
        )
        table[name] = {"numbers": int(total[0]), **dict(zip(FIELDS, shares[-1], strict=True))}
    means = np.mean(shares, axis=0)
    print(f"{'mean':10} {'':8} " + "{:8.1%} {:8.1%} {:10.1%}".format(*means))
    table["mean"] = dict(zip(FIELDS, means, strict=True))
    if folder:
        save(saved, folder)
    return table


def measure_single_numbers(
    reader: Reader, room: HeldOutRoom, pictures: int, seed: int, folder: Path | None
) -> Rows:
    """Read small pictures of one number of every generator and print a row for each."""
    print(f"{'generator':10} {'pictures':>8} {'right':>8} {'wrong':>8} {'refused':>8}")
    rows, saved, table = [], {}, {}
    for index, (name, world) in enumerate(WORLDS.items()):
        counts = dict.fromkeys(OUTCOMES, 0)
        for picture in range(pictures):
            scene = single_number(world, np.random.default_rng([seed, index, picture, 1]), room)
            counts[outcome(reader.read(scene.picture), scene)] += 1
            if folder:
                saved[f"single-{name}-{picture:03}.png"] = scene
        rows.append([count / pictures for count in counts.values()])
        print(f"{name:10} {pictures:8} " + " ".join(f"{share:8.1%}" for share in rows[-1]), flush=True)
        table[name] = {"pictures": pictures, **dict(zip(counts, rows[-1], strict=True))}
    means = np.mean(rows, axis=0)
    print(f"{'mean':10} {'':8} " + " ".join(f"{share:8.1%}" for share in means))
    if folder:
        save(saved, folder)
    return table | {"mean": dict(zip(OUTCOMES, means, strict=True))}


def outcome(reading: Reading, scene: HeldOutScene) -> str:
    """Tell whether the only number of a scene is answered right, answered wrong, or refused."""
    (label,) = (label for label in scene.labels if label.text)
    if reading.status not in ("read", "partial"):
        return "refused"
    is_right = re.sub(r"\D", "", reading.text or "") == re.sub(r"\D", "", label.text)
    return "right" if is_right else "wrong"


def single_number(
    world: Callable[[np.random.Generator, HeldOutRoom, str | None], HeldOutScene],
    random: np.random.Generator,
    room: HeldOutRoom,
) -> HeldOutScene:
    """Return a small picture of one number that a person can read; half of the numbers are single digits."""
    while True:
        text = sample_integer(random, 1, 1) if random.random() < 0.5 else sample_integer(random, 2, 7)
        if random.random() < 0.3 and len(text) > 1 and world is not meter:
            text = str(random.choice([price(random), date(random, "."), clock(random)]))
        scene = world(random, room, text)
        if [label.text for label in scene.labels] == [text]:
            return scene


def save(scenes: dict[str, HeldOutScene], folder: Path) -> None:
    """Save pictures and `labels.json`: for each picture texts and boxes x0, y0, x1, y1."""
    folder.mkdir(parents=True, exist_ok=True)
    records = {}
    for name, scene in scenes.items():
        cv2.imwrite(str(folder / name), scene.picture)
        numbers = [{"text": label.text, "box": digits_box(label)} for label in scene.labels if label.text]
        other = [bounds(label.corners) for label in scene.labels if not label.text]
        records[name] = {"numbers": numbers, "other": other, "ignored": scene.ignored}
    (folder / "labels.json").write_text(json.dumps(records, indent=1))


def main() -> None:
    """Read the pages of every generator, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="M",
        help="the models that read (default: the default models)",
    )
    parser.add_argument("--pages", type=int, default=40, help="pages of each generator (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="the random seed (default: 1)")
    parser.add_argument("--single", action="store_true", help="read pictures of one number instead of pages")
    parser.add_argument("--max-error", type=float, help="as of digitcli predict (default: its default)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="save the pictures and labels.json here")
    add_output(parser)
    arguments = parser.parse_args()
    measure = measure_single_numbers if arguments.single else measure_pages
    rows = measure(
        Reader(*arguments.model, max_error=arguments.max_error),
        held_out_room(split(load_mnist()).test),
        arguments.pages,
        arguments.seed,
        arguments.save,
    )
    save_rows(arguments.output, rows)


if __name__ == "__main__":
    main()
