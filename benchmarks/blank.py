"""How sure it is that nothing is written where nothing is found: `python benchmarks/blank.py --pages 400`.

Half of the pages are blank: paper with texture, noise and uneven light, every fourth one with the edge of a
shadow across it. On the other half a digit of MNIST's
validation part is written, its contrast anything from none to black. Of the pages on which nothing is found,
the share that is really blank is `BLANK_CONFIDENCE` in digitcli/reading/reader.py.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from digitcli.data.digits import split
from digitcli.data.mnist import load_mnist
from digitcli.reading.page import find_page


def main() -> None:
    """Look at all pages and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    digits = split(load_mnist()).validation.images
    nothing = {"blank": 0, "written": 0}
    for number in range(arguments.pages):
        page = paper(random)
        kind = ("blank", "written")[number % 2]
        if kind == "written":
            write(page, digits[random.integers(len(digits))], random)
        nothing[kind] += not find_page(np.clip(page, 0, 1)).numbers
    half = arguments.pages // 2
    print(f"blank pages found blank: {nothing['blank']} of {half}")
    print(f"written pages found blank: {nothing['written']} of {half}")
    print(f"blank, where nothing is found: {nothing['blank'] / max(sum(nothing.values()), 1):.3f}")


def paper(random: np.random.Generator) -> np.ndarray:
    """Bare paper under a lamp, float32 (H, W) around 0.4 to 0.9."""
    width = int(random.integers(300, 1500))
    height = int(width * random.uniform(0.6, 1.4))
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    light = random.uniform(0.45, 0.9) * (1 - random.uniform(0, 0.5) * (across - random.random()) ** 2)
    light *= 1 - random.uniform(0, 0.5) * (down - random.random()) ** 2
    if random.random() < 0.25:
        angle, length = random.uniform(0, 2 * np.pi), width / random.uniform(3, 100)
        beyond = (across - random.uniform(0.2, 0.8)) * np.cos(angle)
        beyond += (down - random.uniform(0.2, 0.8)) * np.sin(angle)
        light *= 1 - random.uniform(0.05, 0.25) * (1 + np.tanh(beyond * length))
    grain = cv2.GaussianBlur(
        random.standard_normal((height, width)).astype(np.float32), (0, 0), random.uniform(0.5, 4)
    )
    noise = random.standard_normal((height, width)).astype(np.float32)
    page: np.ndarray = (
        light + random.uniform(0, 0.02) * grain / grain.std() + random.uniform(0, 0.015) * noise
    )
    return page


def write(page: np.ndarray, digit: np.ndarray, random: np.random.Generator) -> None:
    """Write a digit of any size on a page, with any contrast."""
    side = int(min(page.shape) * random.uniform(0.15, 0.9))
    ink = cv2.resize(digit.astype(np.float32) / 255, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    y, x = (int(random.integers(0, whole - side)) for whole in page.shape)
    page[y : y + side, x : x + side] *= 1 - random.random() * ink


if __name__ == "__main__":
    main()
