"""Measure reading of single digits by other hands: `python benchmarks/hands.py ARCHIVE...`.

An archive (.npz) holds `images` (N, H, W), uint8, ink 255 on 0, and their `labels`. Where it also holds the
`numbers` in which order a hand wrote them, as that of BHMSDS does, only the odd blocks of
`scripts/embed_handwriting.py` are read: training may see the even ones.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from saved_rows import add_output, save_rows

from digitcli.recognition.reader import Reader

BLOCK = 30  # as in scripts/embed_handwriting.py


def main() -> None:
    """Print the share that is read rightly and wrongly of each archive, and the most frequent mistakes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archives", type=Path, nargs="+", help="files with images and labels")
    parser.add_argument("--count", type=int, default=1500, help="images of each (default: 1,500)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the images (default: 0)")
    parser.add_argument("--model", nargs="+", default=[], help="the models (default: the default models)")
    add_output(parser)
    arguments = parser.parse_args()
    reader = Reader(*arguments.model)
    print(f"{'archive':28} {'digits':>7} {'right':>7} {'wrong':>7}  mistakes")
    rows = {}
    for path in arguments.archives:
        archive = np.load(path)
        images, labels = archive["images"], archive["labels"]
        if "numbers" in archive:
            is_held_out = archive["numbers"] // BLOCK % 2 == 1
            images, labels = images[is_held_out], labels[is_held_out]
        chosen = np.random.default_rng(arguments.seed).permutation(len(labels))[: arguments.count]
        texts = labels[chosen].astype(str)
        readings = list(reader.read_all(255 - image for image in images[chosen]))
        is_right = np.array([reading.text == text for reading, text in zip(readings, texts, strict=True)])
        is_answer = np.array([reading.status in ("read", "partial") for reading in readings])
        mistakes = Counter(
            f"{text} as {reading.text or 'none'}"
            for reading, text in zip(readings, texts, strict=True)
            if reading.text != text
        )
        frequent = ", ".join(f"{mistake} ({count})" for mistake, count in mistakes.most_common(5))
        right, wrong = is_right.mean(), (is_answer & ~is_right).mean()
        print(f"{path.stem:28} {len(chosen):7} {right:7.1%} {wrong:7.1%}  {frequent}", flush=True)
        rows[path.stem] = {"digits": len(chosen), "right": right, "wrong": wrong}
    save_rows(arguments.output, rows)


if __name__ == "__main__":
    main()
