"""Measure `digitcli predict` on many pictures or a large one: `python benchmarks/reading_speed.py KIND`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from support import Models, Output, Picture, Rows, open_app, peak_bytes_of

from digitcli.data.mnist import load_mnist_test
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number

app = open_app(__doc__)
Cell = tuple[int, int]  # row, column
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
PICTURES_PER_FOLDER = 10_000
MEGABYTE = 1e6
HEIGHT_PX, WIDTH_PX = 4000, 3000
ROWS, COLUMNS, ROW_PX, TOP_PX = 30, 6, 120, 200
DIGIT_SCALE = 2.8  # of the 28x28 images, whose digits are 20 pixels high
NAMES = (
    "Anna Meier", "Ben Okoro", "Carla Diaz", "Deng Wei", "Emil Novak", "Fatma Kaya", "Gita Rao",
    "Hans Muller",
)  # fmt: skip


@app.command()
def many(
    count: int = 100_000,
    side: int | None = None,
    model: Models = (),
    option: Annotated[list[str], typer.Option(help="An option of digitcli predict.")] = (),
    output: Output = None,
) -> None:
    """Read many small pictures.

    MNIST's 10,000 test digits are written as PNG files, again and again under other names, and read by one
    `digitcli predict`. With `--side 200` the files are photographs of that size: dark ink on grainy paper
    with a shadow, the digit at a random place. The memory is the resident set of its process and of its child
    processes together, as Linux reports it, after a tenth of the pictures and at the end.
    """
    models = [word for each in model for word in ("--model", each)]
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), count, side)
        command = [sys.executable, "-m", "digitcli", "predict", folder, "--format", "jsonl", *models, *option]
        began = time.perf_counter()
        correct = answered = done = 0
        memory = [0]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
            for line in process.stdout:
                answer = json.loads(line)
                done += 1
                correct += answer["status"] == "read" and answer["text"] == Path(answer["file"]).stem[-1]
                answered += answer["status"] == "read"
                if done in (count // 10, count - count // 100):
                    memory.append(resident_bytes(process.pid))
        seconds = time.perf_counter() - began
    row = {
        "pictures": done,
        "pictures_per_second": done / seconds,
        "right": correct / done,
        "wrong": (answered - correct) / done,
        "memory_mb": max(memory) / MEGABYTE,
    }
    rows = Rows()
    rows.add(str(side or 28), row)
    print("memory after a tenth and at the end, MB:", *(round(size / MEGABYTE) for size in memory[1:]))
    rows.save(output)


def write_pictures(folder: Path, count: int, side: int | None) -> None:
    """Write PNG files, whose names end with their digits."""
    digits, random = load_mnist_test(), np.random.default_rng(0)
    for number in range(count):
        part = folder / f"{number // PICTURES_PER_FOLDER:03}"
        part.mkdir(exist_ok=True)
        index = number % len(digits)
        image = digits.images[index] if side is None else photograph(digits.images[index], side, random)
        cv2.imwrite(str(part / f"{number:07}_{digits.labels[index]}.png"), image)


def photograph(image: Picture, side: int, random: np.random.Generator) -> Picture:
    """Show an image of MNIST, a third to all of the side large, as a photograph of ink on paper."""
    size = int(side * random.uniform(1 / 3, 1))
    x, y = random.integers(side - size + 1, size=2)
    ink = np.zeros((side, side), np.float32)
    ink[y : y + size, x : x + size] = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) / 255
    light = np.linspace(random.uniform(0.7, 1), random.uniform(0.7, 1), side, dtype=np.float32)
    picture = 255 * light * (1 - 0.7 * ink.clip(0, 1)) + 4 * random.standard_normal(ink.shape)
    return np.asarray(picture.clip(0, 255), np.uint8)


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process and its descendants; shared memory is counted in each."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(int(child)) for child in children)


@app.command()
def table(repeats: int = 3, seed: int = 0, save: Path | None = None, output: Output = None) -> None:
    """Read a table on 12 megapixels.

    The table has 30 rows and 6 columns, and a number of 1 to 3 of MNIST's test digits in each cell; without
    and with printed names in front of the rows. A number counts as right if the cell has a number with the
    same digits, and as placed if it also has the row and the column of its cell. Of several repetitions, the
    time is the median. The memory is the largest resident set of a `digitcli predict` that reads the page.
    """
    reader, rows = Reader(device="cpu"), Rows()
    for name in ("without names", "with names"):
        page, cells = draw_table(has_names=name == "with names", seed=seed)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            reading = reader.read(page)
            seconds.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            file = (save or Path(folder)) / f"table {name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), page)
            memory = peak_bytes_of(["predict", str(file)], read=str)[2]
        right = find_right(reading.numbers, cells)
        row = {
            "numbers": len(cells),
            "found": len(reading.numbers),
            "right": len(right),
            "placed": sum((number.row, number.column) == cell for cell, number in right.items()),
            "seconds": statistics.median(seconds),
            "memory_mb": round(memory / MEGABYTE),
        }
        rows.add(name, row)
    rows.save(output, n=repeats)


def draw_table(*, has_names: bool, seed: int) -> tuple[Picture, dict[Cell, tuple[Box, str]]]:
    """Return a page with a table, and the box and the text of each cell."""
    random, test = np.random.default_rng(seed), load_mnist_test()
    page = np.clip(235 + random.normal(0, 4, (HEIGHT_PX, WIDTH_PX)), 0, 255).astype(np.uint8)
    left = 700 if has_names else 200
    column_px = (WIDTH_PX - 200 - left) // COLUMNS
    right, bottom = left + COLUMNS * column_px, TOP_PX + ROWS * ROW_PX
    for y in range(TOP_PX, bottom + 1, ROW_PX):
        cv2.line(page, (200, y), (right, y), 90, 3)
    for x in range(left, right + 1, column_px):
        cv2.line(page, (x, TOP_PX), (x, bottom), 90, 3)
    cells = {}
    for row in range(ROWS):
        top = TOP_PX + row * ROW_PX
        if has_names:
            name = NAMES[row % len(NAMES)]
            cv2.putText(page, name, (220, top + 80), cv2.FONT_HERSHEY_SIMPLEX, 1.9, 60, 4, cv2.LINE_AA)
        for column in range(COLUMNS):
            x = left + column * column_px
            indices = random.integers(len(test.images), size=int(random.integers(1, 4)))
            start = x + 30 + int(random.integers(60)), top + 20 + int(random.integers(15))
            _write(page, [test.images[index] for index in indices], start, random)
            text = "".join(str(test.labels[index]) for index in indices)
            cells[row, column] = (x, top, x + column_px, top + ROW_PX), text
    return page, cells


def _write(page: Picture, digits: list[Picture], start: tuple[int, int], random: np.random.Generator) -> None:
    x, y = start
    for digit in digits:
        inked = np.flatnonzero(digit.max(axis=0) > 50)
        ink = digit[:, inked[0] : inked[-1] + 1].astype(np.float32)
        ink = cv2.resize(ink, None, fx=DIGIT_SCALE, fy=DIGIT_SCALE, interpolation=cv2.INTER_CUBIC)
        height, width = ink.shape
        place = page[y : y + height, x : x + width]
        place[:] = place * (1 - 0.72 * ink.clip(0, 255) / 255)
        x += width + int(random.integers(2, 10))


def find_right(numbers: tuple[Number, ...], cells: dict[Cell, tuple[Box, str]]) -> dict[Cell, Number]:
    """Return the numbers with the right digits by their cells, in which the centres of their boxes are."""
    return {
        cell: number
        for cell, ((left, top, end, bottom), text) in cells.items()
        for number in numbers
        if number.text == text
        and left <= number.box[0] + number.box[2] / 2 < end
        and top <= number.box[1] + number.box[3] / 2 < bottom
    }


if __name__ == "__main__":
    app()
