"""Two ways to read a line with the same network: `python benchmarks/centres.py FOLDER`.

The shipped reader answers columns for CTC, which `digitcli predict` decodes. Its training also asks it for
the middle of every character in the plane; here these are read as a detector reads them (Zhou, Wang &
Krähenbühl, "Objects as points", 2019): the peaks from left to right. How high a peak must be is chosen on
composed lines, never on the pictures.

FOLDER holds strips of writing and a `labels.csv`, such as `digitcli synthesize` writes; each is shown in the
first of the sizes that `predict` takes.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from digitcli.data.mnist import load_mnist_test
from digitcli.decoding import best_path, digit_columns
from digitcli.networks import as_input, open_model
from digitcli.pictures import open_picture
from digitcli.reading.regions import view_whole
from digitcli.synthesis.lines import LineSynthesizer

LINES, SEED = 2000, 77
HEIGHTS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
NEAR = np.ones((5, 5), np.uint8)  # rows, columns: of two peaks nearer than this the lower is none
WIDTH_STEP_PX = 32

Answer = tuple[np.ndarray, np.ndarray]  # logits (T, A + 1), and the probabilities of middles (A, 10, T)


def main() -> None:
    """Read everything in both ways and print what is right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    strips = [view_whole(open_picture(folder / row["file"]))[0].image for row in rows]
    labels = [re.sub(r"\D", "", row["label"]) for row in rows]
    synthesizer = LineSynthesizer(load_mnist_test())
    lines = [synthesizer.line(np.random.default_rng([SEED, n])) for n in range(LINES)]

    network, header = open_model("reader")
    composed, real = ([answer(network, image) for image in images] for images in
                      ([line.image for line in lines], strips))  # fmt: skip
    texts = [line.digits for line in lines]

    def by_columns(found: Answer) -> str:
        return best_path(digit_columns(found[0], header.alphabet))

    height = max(HEIGHTS, key=lambda height: right(composed, texts, lambda found: peaks(found, height)))
    print(f"{'':36} {LINES:,} composed lines  {len(strips)} strips")
    for name, way in (
        ("columns, CTC", by_columns),
        (f"middles in the plane, from {height}", lambda found: peaks(found, height)),
    ):
        print(f"{name:36} {right(composed, texts, way):20.1%} {right(real, labels, way):11.1%}")


@torch.inference_mode()
def answer(network: torch.nn.Module, line: np.ndarray) -> Answer:
    """What the network makes of a line (40, W)."""
    columns = -(-line.shape[1] // 4)
    padded = np.zeros((40, -(-line.shape[1] // WIDTH_STEP_PX) * WIDTH_STEP_PX), np.uint8)
    padded[:, : line.shape[1]] = line
    logits, _, middles = network.locate_in_plane(as_input(torch.from_numpy(padded)[None]))  # type: ignore[operator]
    return logits[0, :columns].numpy(), middles[0, :, :, :columns].sigmoid().numpy()


def peaks(found: Answer, height: float) -> str:
    """The digits whose middles are likelier than that and than all around them."""
    likeliest = found[1].max(axis=0)
    rows, columns = np.nonzero((likeliest >= cv2.dilate(likeliest, NEAR)) & (likeliest > height))
    order = np.argsort(columns, kind="stable")
    characters = found[1][:, rows[order], columns[order]].argmax(axis=0)
    return "".join(str(character) for character in characters if character < 10)


def right(answers: Sequence[Answer], texts: Sequence[str], way: Callable[[Answer], str]) -> float:
    """The share that is read right in one way."""
    return sum(way(found) == text for found, text in zip(answers, texts, strict=True)) / len(texts)


if __name__ == "__main__":
    main()
