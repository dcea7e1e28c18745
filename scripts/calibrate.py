"""How far the confidence of the shipped reader can be trusted, measured on lines it was never trained on.

    python scripts/calibrate.py --strokes pendigits

Composes pictures of MNIST's validation digits and of the writers that training holds out, reads them as
`digitcli predict` does, and writes into the checkpoint from which confidence on how many answers are wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import risk_table
from digitcli.evaluation.metrics import binned_error
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.reader import Reader
from digitcli.training.line_sources import ComposedLines

SEED = 4711  # evaluate has another


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    arguments = parser.parse_args()
    model = resolve_model("reader")
    path = model.path
    source = ComposedLines(load_mnist(), str(arguments.strokes), SEED)
    if model.header.dataset["digest"] != source.digest:
        sys.exit("The reader was trained on other strokes, and perhaps on those held out here.")
    synthesizer = source.validation_synthesizer()
    drawn = [
        synthesizer.synthesize_photograph(np.random.default_rng([SEED, n])) for n in range(arguments.count)
    ]
    reader = Reader(min_confidence=0.0)
    readings = list(reader.read_all(grey for grey, _, _ in drawn))
    answers = [
        (reading.text or "", "".join(filter(str.isdecimal, text)), reading.confidence or 0.0)
        for reading, (_, text, _) in zip(readings, drawn, strict=True)
        if reading.status == "read"
    ]
    right = [found.replace(" ", "") == text for found, text, _ in answers]
    confidences = [confidence for _, _, confidence in answers]
    table = risk_table(confidences, right)
    error = binned_error(torch.tensor(confidences), torch.tensor(right))
    print(f"{np.mean(right):.2%} of {len(right)} right, sure by {np.mean(confidences):.2%}, ECE {error:.4f}")
    for share, confidence in table.items():
        answered = np.mean(np.array(confidences) >= confidence)
        print(f"at most {float(share):.1%} wrong from {confidence:.4f} on: {answered:.1%} answered")
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, risk=table), tensors)


if __name__ == "__main__":
    main()
