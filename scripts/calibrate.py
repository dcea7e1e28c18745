"""Measure how reliable the confidence of the default models is on lines of writers that they never saw.

    python scripts/calibrate.py

The script composes lines from MNIST's validation digits and from the writers that training holds out, and
reads them like `digitcli predict`. It writes into the checkpoint of `reader` which confidence keeps the share
of wrong answers below which limit.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import torch

from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import risk_table
from digitcli.evaluation.metrics import calibration_error
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.reader import Reader
from digitcli.training.line_sources import ComposedLines

SEED = 4711  # different from the seed of `digitcli evaluate`


def main() -> None:
    """Read the lines, print the measurements and write them into the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    arguments = parser.parse_args()
    model = resolve_model("reader")
    source = ComposedLines(load_mnist(), None, SEED)
    synthesizer = source.validation_synthesizer()
    photographs = [
        synthesizer.synthesize_photograph(np.random.default_rng([SEED, n])) for n in range(arguments.count)
    ]
    reader = Reader(device="cpu", min_confidence=0.0)
    readings = list(reader.read_all(grey for grey, _, _ in photographs))
    answers = [
        (
            reading.text,
            "".join(filter(str.isdecimal, text)),
            min(number.confidence for number in reading.numbers),
        )
        for reading, (_, text, _) in zip(readings, photographs, strict=True)
        if reading.status == "read"  # a line that is read as several numbers is read wrongly
    ]
    is_correct = [answer == text for answer, text, _ in answers]
    confidences = [confidence for _, _, confidence in answers]
    table = risk_table(confidences, is_correct)
    error = calibration_error(torch.tensor(confidences), torch.tensor(is_correct))
    print(
        f"{len(is_correct)} answers: {np.mean(is_correct):.2%} correct, mean confidence "
        f"{np.mean(confidences):.2%}, expected calibration error {error:.4f}"
    )
    for max_error, min_confidence in table.items():
        answered = np.mean(np.array(confidences) >= min_confidence)
        print(
            f"at most {float(max_error):.1%} wrong: confidence {min_confidence:.4f}, {answered:.1%} answered"
        )
    header, tensors = read_checkpoint(model.path)
    write_checkpoint(model.path, dataclasses.replace(header, risk=table), tensors)


if __name__ == "__main__":
    main()
