"""Measure reading of a table on 12 megapixels: `python benchmarks/large_table.py`.

The table has 30 rows and 6 columns, and a number of 1 to 3 of MNIST's test digits in each cell; without and
with printed names in front of the rows. A number counts as right if the cell has a number with the same
digits, and as placed if it also has the row and the column of its cell. Of several repetitions, the time is
the median. The memory is the largest resident set of a `digitcli predict` that reads the page: this process
also draws it, which takes more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from saved_rows import add_output, save_rows

from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number

KILOBYTE, MEGABYTE = 1024, 1e6  # Linux counts the resident set in units of 1,024 bytes
# A child process is charged with the memory of the one that starts it, so that a small one must.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
HEIGHT_PX, WIDTH_PX = 4000, 3000
ROWS, COLUMNS, ROW_PX, TOP_PX = 30, 6, 120, 200
DIGIT_SCALE = 2.8  # of the 28x28 images, whose digits are 20 pixels high
NAMES = (
    "Anna Meier",
    "Ben Okoro",
    "Carla Diaz",
    "Deng Wei",
    "Emil Novak",
    "Fatma Kaya",
    "Gita Rao",
    "Hans Muller",
)

Grey = npt.NDArray[np.uint8]
Cell = tuple[int, int]  # row, column
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def draw_table(*, has_names: bool, seed: int, empty: float = 0.0) -> tuple[Grey, dict[Cell, tuple[Box, str]]]:
    """Return a page with a table, and the box and the text of each cell; a share of them is left empty."""
    random, test = np.random.default_rng(seed), load_mnist().test
    paper = 235 + random.normal(0, 4, (HEIGHT_PX, WIDTH_PX))
    page: Grey = np.asarray(np.clip(paper, 0, 255), np.uint8)
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
            if empty and random.random() < empty:
                continue
            indices = random.integers(len(test.images), size=int(random.integers(1, 4)))
            start = x + 30 + int(random.integers(60)), top + 20 + int(random.integers(15))
            _write(page, [test.images[index] for index in indices], start, random)
            text = "".join(str(test.labels[index]) for index in indices)
            cells[row, column] = (x, top, x + column_px, top + ROW_PX), text
    return page, cells


def _write(page: Grey, digits: list[Grey], start: tuple[int, int], random: np.random.Generator) -> None:
    x, y = start
    for digit in digits:
        inked = np.flatnonzero(digit.max(axis=0) > 50)
        ink = digit[:, inked[0] : inked[-1] + 1].astype(np.float32)
        ink = cv2.resize(ink, None, fx=DIGIT_SCALE, fy=DIGIT_SCALE, interpolation=cv2.INTER_CUBIC).clip(
            0, 255
        )
        height, width = ink.shape
        place = page[y : y + height, x : x + width]
        place[:] = place * (1 - 0.72 * ink / 255)
        x += width + int(random.integers(2, 10))


def find_right(numbers: tuple[Number, ...], cells: dict[Cell, tuple[Box, str]]) -> list[tuple[Cell, Number]]:
    """Return the cells that have a number with the right digits, by the centre of its box."""
    right = {
        cell: number
        for cell, ((left, top, end, bottom), text) in cells.items()
        for number in numbers
        if number.text == text
        and left <= number.box[0] + number.box[2] / 2 < end
        and top <= number.box[1] + number.box[3] / 2 < bottom
    }
    return list(right.items())


def measure_memory(page: Grey) -> float:
    """Return the largest resident set, in MB, of a process that reads the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        cv2.imwrite(str(file), page)
        command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "digitcli", "predict", str(file)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output) * KILOBYTE / MEGABYTE


def main() -> None:
    """Read both tables, and print how many numbers are right, the time and the peak memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of the time (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="the random seed (default: 0)")
    parser.add_argument("--empty", type=float, default=0.0, help="the share of empty cells (default: 0)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="save the pages here")
    add_output(parser)
    arguments = parser.parse_args()
    reader, rows = Reader(device="cpu"), {}
    for has_names in (False, True):
        page, cells = draw_table(has_names=has_names, seed=arguments.seed, empty=arguments.empty)
        seconds = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            reading = reader.read(page)
            seconds.append(time.perf_counter() - start)
        memory_mb = measure_memory(page)
        right = find_right(reading.numbers, cells)
        placed = sum((number.row, number.column) == cell for cell, number in right)
        print(
            f"names {'yes' if has_names else 'no':3}  numbers {len(cells)}  found {len(reading.numbers)}"
            f"  right {len(right)}  placed {placed}"
            f"  {statistics.median(seconds):.2f} s  peak {memory_mb:.0f} MB"
        )
        rows["with names" if has_names else "without names"] = {
            "numbers": len(cells),
            "found": len(reading.numbers),
            "right": len(right),
            "placed": placed,
            "seconds": statistics.median(seconds),
            "memory_mb": memory_mb,
        }
        if arguments.save:
            arguments.save.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(arguments.save / f"table-{'names' if has_names else 'plain'}.png"), page)
    save_rows(arguments.output, rows, n=arguments.repeats)


if __name__ == "__main__":
    main()
