"""Measure whether a column of numbers is taken for one number: `python benchmarks/columns.py`.

Shrunk to 40 pixels, as `picture_reader` sees it, a column looks much like a 1. People and fonts that training
holds out write columns much like those of the training; others are cut out of receipts and exams by the
generators of `held_out_scenes.py`, which training never sees, or printed on white. The pictures of single
digits show what caution costs. `certain` is the share that `picture_reader` answers with one number on its
own, `answered` the share that the default models answer with one number, and `wrong` the share of all that
they answer so wrongly, as every column is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from held_out.handwritten import exam
from held_out.printed import receipt
from held_out.sheet import HeldOutRoom, digits_box, held_out_room
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.texts import sample_integer
from digitcli.training.synthetic_lines import scene_composer

Picture = npt.NDArray[np.uint8]

# Ranges, chosen by hand: the rows of a column, the height of a digit in pixels, the distance of two rows in
# heights of a digit, and the height of a picture over its width.
ROWS = (2, 12)
DIGIT_PX = (14.0, 60.0)
PITCH = (1.1, 2.2)
ASPECT = (0.7, 3.0)


@dataclass(frozen=True)
class Writers:
    """Who writes what training never sees: in composed pictures, and on the pages of other generators."""

    composer: SceneComposer
    room: HeldOutRoom


def main() -> None:
    """Read the pictures, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=500, help="of each kind (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the pictures (default: 1)")
    arguments = parser.parse_args()
    reader = Reader(device="cpu", rotate="0")
    validation = split(load_mnist()).validation
    writers = Writers(scene_composer(validation, held_out=True), held_out_room(validation))
    print(f"{'kind':16} {'pictures':>8} {'certain':>8} {'answered':>9} {'wrong':>7}")
    for name, kind in KINDS.items():
        counts = np.zeros(4, np.int64)
        for number in range(arguments.pictures):
            random = np.random.default_rng([arguments.seed, list(KINDS).index(name), number])
            for picture, text in kind(writers, random):
                counts += judge(reader, picture, text)
        shown, shares = counts[0], counts[1:] / max(counts[0], 1)
        print("{:16} {:8} {:8.1%} {:9.1%} {:7.2%}".format(name, shown, *shares), flush=True)


def judge(reader: Reader, picture: Picture, text: str | None) -> tuple[int, bool, bool, bool]:
    """Return 1, and whether one number is certain, answered, and wrong; several numbers have no text."""
    assert reader.models.picture_network is not None
    is_certain = reader.models.picture_network.read(picture, None, 1).is_certain
    reading = reader.read(picture)
    is_answered = reading.status == "read" and len(reading.numbers) == 1
    return 1, is_certain, is_answered, is_answered and reading.numbers[0].text != text


def written(writers: Writers, random: np.random.Generator) -> Iterator[tuple[Picture, None]]:
    """Yield a column by hand or in a font, as a photograph."""
    digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
    height = int(int(random.integers(ROWS[0], ROWS[1] + 1)) * digit_px * 1.8)
    width = max(int(height / np.exp(random.uniform(*np.log(ASPECT)))), int(1.5 * digit_px))
    scene = writers.composer.page(random, height, width, digit_px=digit_px, layout=_fill_with_rows)
    if sum(label.kind is Kind.NUMBER and bool(label.text) for label in scene.labels) > 1:
        yield scene.picture, None


def _fill_with_rows(desk: Desk) -> None:
    height, most = desk.height_px, int(desk.random.integers(1, 3))
    step, x = height * desk.uniform(*PITCH), desk.page.width * desk.uniform(0.05, 0.5)
    for y in np.arange(height * desk.uniform(0.1, 1), desk.page.height - height, step):
        text = sample_integer(desk.random, 1, most)
        desk.page.put(desk.number(text), x + desk.uniform(0, 0.3) * height, y, Kind.NUMBER, text)


def cut_out(writers: Writers, random: np.random.Generator) -> Iterator[tuple[Picture, None]]:
    """Yield two or more numbers that stand one below the other on a receipt or an exam."""
    scene = (receipt if random.random() < 0.5 else exam)(random, writers.room, None)
    boxes = sorted((digits_box(label) for label in scene.labels if label.text), key=lambda box: box[1])
    left, _, right, _ = boxes[int(random.integers(len(boxes)))]
    column = [box for box in boxes if min(right, box[2]) - max(left, box[0]) > (right - left) / 2]
    rows = int(random.integers(ROWS[0], ROWS[1] + 1))
    start = int(random.integers(max(1, len(column) - rows + 1)))
    column = column[start : start + rows]
    low, high = np.min(column, axis=0)[:2], np.max(column, axis=0)[2:]
    margin = random.uniform(0.1, 0.5) * (column[0][3] - column[0][1])
    x0, y0, x1, y1 = (round(side) for side in (*np.maximum(0, low - margin), *(high + margin)))
    if len(column) > 1:
        yield np.ascontiguousarray(scene.picture[y0:y1, x0:x1]), None


def printed(writers: Writers, random: np.random.Generator) -> Iterator[tuple[Picture, None]]:
    """Yield a column that is printed dark on white."""
    digit_px = round(float(np.exp(random.uniform(*np.log(DIGIT_PX)))))
    font = ImageFont.load_default(digit_px)
    rows, most = int(random.integers(ROWS[0], ROWS[1] + 1)), int(random.choice([10, 11, 100]))
    pitch, margin = digit_px * random.uniform(*PITCH), digit_px * random.uniform(0.3, 2)
    height = int(2 * margin + rows * pitch)
    width = max(int(height / np.exp(random.uniform(*np.log(ASPECT)))), 2 * digit_px)
    picture = Image.new("L", (width, height), 255)
    draw, x = ImageDraw.Draw(picture), random.uniform(0.1, 0.7) * (width - digit_px)
    for row in range(rows):
        place = x + random.normal(0, 0.1 * digit_px), margin + row * pitch - 0.2 * digit_px
        draw.text(place, str(random.integers(most)), fill=int(random.integers(90)), font=font)
    yield np.asarray(picture), None


def single(writers: Writers, random: np.random.Generator) -> Iterator[tuple[Picture, str]]:
    """Yield a digit by hand or in a font, or an image of the dataset, as a picture."""
    composer = writers.composer
    scene = composer.character(random) if random.random() < 0.5 else composer.image(random)
    texts = [label.text for label in scene.labels if label.text]
    if len(texts) == 1:
        yield scene.picture, texts[0]


def single_one(writers: Writers, random: np.random.Generator) -> Iterator[tuple[Picture, str]]:
    """Yield such a picture if it shows a 1."""
    yield from ((picture, text) for picture, text in single(writers, random) if text == "1")


KINDS = {
    "written column": written,
    "column of a page": cut_out,
    "printed column": printed,
    "digit": single,
    "1": single_one,
}


if __name__ == "__main__":
    main()
