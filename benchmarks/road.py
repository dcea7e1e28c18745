"""What the road from a picture to ink is worth: `python benchmarks/road.py FOLDER`.

The pictures in the folder, each of one digit that its file name begins with, are read by the same weights
twice: shrunk to 28x28 and inverted, as scripts on the web do, and by the road of `digitcli predict`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from digitcli.data.files import walk_pictures
from digitcli.imaging import open_picture
from digitcli.recognition.reader import Reader


def main() -> None:
    """Read all pictures twice and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="cnn")
    arguments = parser.parse_args()
    paths = [found for found in walk_pictures(arguments.folder) if isinstance(found, Path)]
    reader = Reader(arguments.model)
    probabilities = reader.models.classifier.probabilities(np.stack([shrunk(path) for path in paths]))
    answers: dict[str, list[str | None]] = {
        "shrunk and inverted": [str(row.argmax()) for row in probabilities],
        "by the road": [reading.text for reading in reader.read_all(paths)],
    }
    for way, texts in answers.items():
        right = sum(path.name[0] == text for path, text in zip(paths, texts, strict=True))
        print(f"{way}: {right} of {len(paths)} right ({100 * right / len(paths):.1f} %)")
    print(f"confidence when shrunk, mean: {100 * probabilities.max(axis=1).mean():.0f} %")


def shrunk(path: Path) -> np.ndarray:
    """A picture made 28x28 and inverted, and nothing more: uint8."""
    small = cv2.resize(open_picture(path), (28, 28), interpolation=cv2.INTER_AREA)
    inverted: np.ndarray = np.clip(255 * (1 - small) + 0.5, 0, 255).astype(np.uint8)
    return inverted


if __name__ == "__main__":
    main()
