"""Measure `digitcli predict` on many small pictures: `python benchmarks/bulk.py --count 100000`.

MNIST's 10,000 test digits are written as PNG files, again and again under other names, and read by one
`digitcli predict`. With `--side 200` the files are photographs of that size: dark ink on grainy paper with a
shadow, the digit at a random place. The memory is the resident set of its process and of its child processes
together, as Linux reports it, after a tenth of the pictures and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from saved_rows import add_output, save_rows

from digitcli.data.mnist import load_mnist_test

PICTURES_PER_FOLDER = 10_000
SEED = 0  # of the photographs
MEGABYTE = 1e6

Grey = npt.NDArray[np.uint8]


def main() -> None:
    """Write the pictures, read them, and print the speed, the accuracy and the memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=100_000, help="the number of pictures (default: 100,000)"
    )
    parser.add_argument("--side", type=int, help="the side in pixels (default: MNIST's images as they are)")
    parser.add_argument("--model", help="the model that reads them (default: the default models)")
    parser.add_argument("--option", action="append", default=[], help="an option of digitcli predict")
    add_output(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), arguments.count, arguments.side)
        model = ["--model", arguments.model] if arguments.model else []
        row = measure(folder, arguments.count, [*model, *arguments.option])
    save_rows(arguments.output, {str(arguments.side or 28): row})


def write_pictures(folder: Path, count: int, side: int | None) -> None:
    """Write PNG files, whose names end with their digits."""
    digits, random = load_mnist_test(), np.random.default_rng(SEED)
    for number in range(count):
        part = folder / f"{number // PICTURES_PER_FOLDER:03}"
        part.mkdir(exist_ok=True)
        index = number % len(digits)
        image = digits.images[index] if side is None else photograph(digits.images[index], side, random)
        cv2.imwrite(str(part / f"{number:07}_{digits.labels[index]}.png"), image)


def photograph(image: Grey, side: int, random: np.random.Generator) -> Grey:
    """Show an image of MNIST, a third to all of the side large, as a photograph of ink on paper."""
    size = int(side * random.uniform(1 / 3, 1))
    x, y = random.integers(side - size + 1, size=2)
    ink = np.zeros((side, side), np.float32)
    ink[y : y + size, x : x + size] = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) / 255
    light = np.linspace(random.uniform(0.7, 1), random.uniform(0.7, 1), side, dtype=np.float32)
    picture = 255 * light * (1 - 0.7 * ink.clip(0, 1)) + 4 * random.standard_normal(ink.shape)
    return np.asarray(picture.clip(0, 255), np.uint8)


def measure(folder: str, count: int, options: list[str]) -> dict[str, float]:
    """Read the pictures of a folder, print the figures and return them."""
    command = [sys.executable, "-m", "digitcli", "predict", folder, "--format", "jsonl", *options]
    began = time.perf_counter()
    correct = answered = done = 0
    memory: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            done += 1
            correct += answer["status"] == "read" and answer["text"] == Path(answer["file"]).stem[-1]
            answered += answer["status"] == "read"
            if done == count // 10:
                memory["after a tenth"] = resident_bytes(process.pid)
            elif done == count - count // 100:
                memory["at the end"] = resident_bytes(process.pid)
    seconds = time.perf_counter() - began
    print(f"{done:,} pictures in {seconds:.1f} s, start included: {done / seconds:,.0f} per second")
    print(f"{answered / done:.2%} answered, {correct / done:.2%} of all correct")
    print(", ".join(f"{when} {size / MEGABYTE:.0f} MB" for when, size in memory.items()))
    return {
        "pictures": done,
        "pictures_per_second": done / seconds,
        "right": correct / done,
        "wrong": (answered - correct) / done,
        "memory_mb": max(memory.values()) / MEGABYTE,
    }


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process and its descendants; shared memory is counted in each."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(int(child)) for child in children)


if __name__ == "__main__":
    main()
