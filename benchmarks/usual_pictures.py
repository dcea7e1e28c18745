"""Measure pictures that are read well, for the limits in `digitcli.diagnosis.picture_quality`.

Command: python benchmarks/usual_pictures.py --pictures 3000

The pictures show MNIST's validation digits, held-out hands and fonts, composed as photographs and scans of
good and poor quality. Those with a single number that is read rightly at 90 % or more count. It prints, for
each measurement, the median, and the values beyond which a quarter and 5 % of the pictures are.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from picture_faults import is_doubtful

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.diagnosis.picture_quality import USUAL, distances_from_edge, measure_picture
from digitcli.imaging.grayscale import quantile, rotate
from digitcli.recognition.reader import Reader
from digitcli.synthesis.strips import strip_of_picture
from digitcli.training.synthetic_lines import compose_scenes, scene_composer

# Different from the seeds of other scripts and of training.
SEED = 2323


def main() -> None:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=3000, help="compose this many pictures")
    arguments = parser.parse_args()
    composer, reader = scene_composer(split(load_mnist()).validation, held_out=True), Reader(device="cpu")
    measured: dict[str, list[float]] = defaultdict(list)
    margins: list[float] = []
    for scene in compose_scenes(composer, np.random.default_rng(SEED), arguments.pictures):
        text = strip_of_picture(scene).text
        if not text.isdecimal() or is_doubtful(scene.picture, text, reader):
            continue
        reading = reader.read(scene.picture)
        upright, boxes = rotate(scene.picture, reading.rotation), [digit.box for digit in reading.digits]
        margins.append(min(distances_from_edge(boxes, upright)))
        for rule, value in measure_picture(upright, boxes).items():
            measured[rule].append(value)
    print(f"{len(margins)} of {arguments.pictures} pictures show a single number and are read well")
    print(f"margin, in heights: three quarters have {quantile(np.array(margins), 0.25):.3f} or more")
    for rule, usual in USUAL.items():
        values = np.array(measured[rule])
        shares = (0.75, 0.95) if usual.limit > usual.common else (0.25, 0.05)
        common, limit = (quantile(values, share) for share in shares)
        print(f"{rule}: n {len(values)}, median {np.median(values):.4f}, {common:.4f}, {limit:.4f}")


if __name__ == "__main__":
    main()
