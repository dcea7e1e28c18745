"""Measure how often a page that is called blank is blank: `python benchmarks/blank.py --pages 400`.

Half of the pages are blank: paper with texture, noise and uneven light, and on every fourth the edge of a
shadow. On the other half a digit of MNIST's validation part is written, with any contrast from none to black.
Half of all pages are JPEG files. The share of blank pages among those that are called blank is the constant
`BLANK_CONFIDENCE` in digitcli/recognition.
"""

from __future__ import annotations

import argparse
from collections import Counter

import cv2
import numpy as np
from saved_rows import add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader

BANDS = 0.02, 0.05, 0.1, 0.2, 1.0  # upper bounds of the contrast, as a share of the paper's brightness


def main() -> None:
    """Read all pages and print the answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=400, help="the number of pages (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="the random seed (default: 0)")
    add_output(parser)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    validation = split(load_mnist()).validation
    reader = Reader()
    answers_by_kind: dict[str, Counter[str]] = {}
    for number in range(arguments.pages):
        page, kind, label = paper(random), "nothing written", None
        if number % 2:
            chosen = random.integers(len(validation.images))
            contrast = random.random()
            write(page, validation.images[chosen], contrast, random)
            kind = f"a digit, contrast up to {min(band for band in BANDS if contrast <= band):.0%}"
            label = str(validation.labels[chosen])
        levels = np.round(255 * page.clip(0, 1)).astype(np.uint8)
        if random.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(50, 96))]
            levels = cv2.imdecode(cv2.imencode(".jpg", levels, quality)[1], cv2.IMREAD_GRAYSCALE)
        reading = reader.read(levels)
        answer = reading.reason or reading.status
        if reading.text:
            answer += " correctly" if reading.text == label else " wrongly"
        answers_by_kind.setdefault(kind, Counter())[answer] += 1
    for kind, answers in sorted(answers_by_kind.items()):
        print(f"{kind}: " + ", ".join(f"{count} {answer}" for answer, count in answers.most_common()))
    blank = {kind: answers["blank"] for kind, answers in answers_by_kind.items()}
    share = blank.get("nothing written", 0) / max(sum(blank.values()), 1)
    print(f"blank pages among those that are called blank: {share:.3f} of {sum(blank.values())}")
    save_rows(arguments.output, answers_by_kind)


def paper(random: np.random.Generator) -> np.ndarray:
    """Return blank paper under a lamp, float32 (H, W) around 0.4 to 0.9."""
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


def write(page: np.ndarray, digit: np.ndarray, contrast: float, random: np.random.Generator) -> None:
    """Write a digit of random size on a page, at a random place."""
    side = int(min(page.shape) * random.uniform(0.15, 0.9))
    ink = cv2.resize(digit.astype(np.float32) / 255, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    y, x = (int(random.integers(0, whole - side)) for whole in page.shape)
    page[y : y + side, x : x + side] *= 1 - contrast * ink


if __name__ == "__main__":
    main()
