"""Measure reading in front of real backgrounds: `python benchmarks/photographs.py FOLDER`.

FOLDER holds photographs that show no number, for example those of scikit-image, scikit-learn and Matplotlib.
A sheet of paper with one number lies on a part of one of them; hands and camera are those of
`held_out_scenes.py`, which training never sees. Parts of the photographs without a sheet are read too: there
every answer is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from held_out.camera import bow, lay, take_picture
from held_out.sheet import HeldOutRoom, Pen, held_out_room, new_sheet
from saved_rows import add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.texts import sample_integer

Grey = npt.NDArray[np.uint8]

# All sizes and shares were chosen by hand.
SINGLE_SHARE = 0.6  # of the numbers are single digits
DIGIT_PX = (14, 90)  # range of the height of a digit, as on other sheets of one number
SURROUNDINGS = (0.2, 1.2)  # range of the most of a photograph beside the sheet, in its shorter sides
PARTS = (0.5, 1.0)  # range of the sides of a part, in those of the largest of the same shape
SIDES_PX = (60, 700)  # range of the sides of a part without a sheet


def main() -> None:
    """Read the pictures and print two rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photographs without numbers")
    parser.add_argument("--count", type=int, default=400, help="pictures of each kind (default: 400)")
    parser.add_argument("--seed", type=int, default=7, help="the random seed (default: 7)")
    add_output(parser)
    arguments = parser.parse_args()
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(arguments.folder.iterdir()))
    photographs = [np.asarray(photograph, np.uint8) for photograph in read if photograph is not None]
    if not photographs:
        parser.error(f"{arguments.folder} holds no picture.")
    room = held_out_room(split(load_mnist()).test)
    print(f"{'':12} {'pictures':>8} {'right':>8} {'answered':>9} {'wrong':>8}")
    rows = {}
    for name, shown in (
        ("numbers", with_number(room, photographs, arguments.count, arguments.seed)),
        ("no number", without_number(photographs, arguments.count, arguments.seed)),
    ):
        counts = np.zeros(3, int)
        reader = Reader()
        for picture, text in shown:
            reading = reader.read(picture)
            is_right = (reading.text or "").replace(" ", "") == text
            is_answer = reading.status in ("read", "partial")
            counts += [is_right, is_answer, is_answer and not is_right]
        right, answered, wrong = counts / arguments.count
        print(f"{name:12} {arguments.count:8} {right:8.1%} {answered:9.1%} {wrong:8.1%}", flush=True)
        rows[name] = {"pictures": arguments.count, "right": right, "answered": answered, "wrong": wrong}
    save_rows(arguments.output, rows)


def with_number(
    room: HeldOutRoom, photographs: Sequence[Grey], count: int, seed: int
) -> Iterator[tuple[Grey, str]]:
    """Yield pictures of a sheet on a part of a photograph, and the digits that are written on it."""
    number = 0
    for index in range(10 * count):
        random = np.random.default_rng([seed, 0, index])
        text = (
            sample_integer(random, 1, 1) if random.random() < SINGLE_SHARE else sample_integer(random, 2, 6)
        )
        sheet = new_sheet(random, room, DIGIT_PX, text, 46)
        height, width = sheet.light.shape
        sheet.light[:] = random.uniform(0.7, 0.98)
        pen = Pen(room.person(random), random.uniform(0.05, 0.4))
        sheet.write(pen, text, width / 2, (height + sheet.digit_px) / 2, align=0.5)
        if sheet.chance(0.3):
            bow(sheet)

        def part(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
            return (sample_part(random, photographs, shape) / np.float32(255)).astype(np.float32)  # noqa: B023

        lay(sheet, part, random.normal(0, 6), 0.07, margin=random.uniform(*SURROUNDINGS))
        scene = take_picture(sheet)
        if [label.text for label in scene.labels if label.text] == [text]:  # a person can read it
            yield scene.picture, text
            number += 1
        if number == count:
            return


def without_number(photographs: Sequence[Grey], count: int, seed: int) -> Iterator[tuple[Grey, str]]:
    """Yield parts of photographs, upright or wide up to twice their height."""
    for index in range(count):
        random = np.random.default_rng([seed, 1, index])
        height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2))
        shape = int(height), int(np.clip(width, height / 2, height * 2))
        yield sample_part(random, photographs, shape), ""


def sample_part(random: np.random.Generator, photographs: Sequence[Grey], shape: tuple[int, int]) -> Grey:
    """Return a random part of a photograph at a size (H, W), half of them mirrored."""
    photograph = photographs[int(random.integers(len(photographs)))]
    scale = min(have / want for have, want in zip(photograph.shape, shape, strict=True))
    scale *= random.uniform(*PARTS)
    height, width = (max(8, int(side * scale)) for side in shape)
    y, x = (int(random.integers(0, max(1, have - side + 1))) for have, side in
            zip(photograph.shape, (height, width), strict=True))  # fmt: skip
    part = photograph[y : y + height, x : x + width]
    part = part[:, ::-1] if random.random() < 0.5 else part
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, shape[::-1], interpolation=how), np.uint8)


if __name__ == "__main__":
    main()
