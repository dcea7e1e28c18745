"""Measure what the preprocessing of pictures is worth: `python benchmarks/preprocessing.py FOLDER`.

Each picture in the folder shows one digit, with which its file name begins. The same weights read all
pictures twice: shrunk to 28x28 and inverted, as scripts on the web do, and with the preprocessing of
`digitcli predict`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from saved_rows import add_output, save_rows

from digitcli.data.files import walk_pictures
from digitcli.imaging.opening import open_picture
from digitcli.recognition.reader import Reader


def main() -> None:
    """Read all pictures twice and print the shares of correct answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder with the pictures")
    parser.add_argument("--model", default="cnn", help="the model that reads them (default: cnn)")
    add_output(parser)
    arguments = parser.parse_args()
    paths = [path for path in walk_pictures(arguments.folder) if isinstance(path, Path)]
    reader = Reader(arguments.model)
    probabilities = reader.models.classifier.probabilities(np.stack([shrunk(path) for path in paths]))
    answers: dict[str, list[str | None]] = {
        "shrunk and inverted": [str(row.argmax()) for row in probabilities],
        "with preprocessing": [reading.text for reading in reader.read_all(paths)],
    }
    rows = {}
    for method, texts in answers.items():
        right = sum(path.name[0] == text for path, text in zip(paths, texts, strict=True))
        rows[method] = {"pictures": len(paths), "right": right / len(paths)}
        print(f"{method}: {right} of {len(paths)} correct ({100 * right / len(paths):.1f} %)")
    save_rows(arguments.output, rows)
    print(f"mean confidence when shrunk and inverted: {100 * probabilities.max(axis=1).mean():.0f} %")


def shrunk(path: Path) -> np.ndarray:
    """Return a picture as 28x28 pixels, inverted, uint8."""
    small = cv2.resize(open_picture(path), (28, 28), interpolation=cv2.INTER_AREA)
    inverted: np.ndarray = np.clip(255 * (1 - small) + 0.5, 0, 255).astype(np.uint8)
    return inverted


if __name__ == "__main__":
    main()
