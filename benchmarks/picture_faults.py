"""Measure how often `digitcli doctor` finds a fault that is planted in a picture.

Command: python benchmarks/picture_faults.py --numbers 20

Numbers are composed of MNIST's test digits, as dark ink on white paper. Each fault is planted in growing
strength, until the number is read wrongly or with doubt; then the doctor examines the picture, and is told
what it shows. For each fault it prints how many pictures became doubtful, in how many the fault is among the
findings, in how many it is the first one, in how many a finding names a correction that leads to the right
answer, how many have no explanation, and how often other faults are named. It counts the findings on the
pictures without a fault, too.

--digits 1 composes single digits, and --light light ink on black. --validation takes MNIST's validation
digits, for choices; the test digits are for the figures that are reported.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist, load_mnist_test
from digitcli.diagnosis.findings import Finding
from digitcli.diagnosis.picture import CONFIDENT, examine_picture
from digitcli.recognition.reader import Reader

Grey = npt.NDArray[np.uint8]
Finish = Callable[[Grey], Grey]

# Pixels of the picture for each of MNIST's.
SCALE = 4
# Paper around the number, in pixels: about half of the height of a digit.
MARGIN_PX = 50
# What the evidence says of a correction that leads to the right answer.
MENDED = "it is read as"
RANDOM = np.random.default_rng(23)


def thin(picture: Grey, pixels: float) -> Grey:
    """Make strokes thinner by so many pixels."""
    size = int(pixels)
    return np.asarray(cv2.dilate(picture, np.ones((size, size), np.uint8)), np.uint8)


def blur(picture: Grey, deviation_px: float) -> Grey:
    """Blur by a Gaussian of this standard deviation."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation_px), np.uint8)


def add_noise(picture: Grey, deviation: float) -> Grey:
    """Lower the contrast, and add noise of this standard deviation in levels."""
    noisy = 40 + 0.7 * picture + RANDOM.normal(0, deviation, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def checker(picture: Grey, depth: float) -> Grey:
    """Put a number on a chequered ground."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (picture * (1 - depth * ((columns // 12 + rows // 12) % 2))).astype(np.uint8)


def shrink(picture: Grey, factor: float) -> Grey:
    """Make a picture smaller."""
    return np.asarray(
        cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA), np.uint8
    )


def cut(picture: Grey, share: float) -> Grey:
    """Cut off the paper on the right and a share of the width of a digit."""
    return np.ascontiguousarray(picture[:, : -(MARGIN_PX + 4 * SCALE + round(share * 20 * SCALE))])


# Faults by the rule that shall find them: a change of the picture, and its growing strengths.
FAULTS: dict[str, tuple[Callable[[Grey, float], Grey], Sequence[float]]] = {
    "too_thin": (thin, (5, 7, 8, 9, 10, 11, 12)),
    "blurred": (blur, (4, 6, 8, 10, 12, 14, 17)),
    "noisy": (add_noise, (30, 50, 70, 90, 110, 140)),
    "uneven_background": (checker, (0.3, 0.45, 0.6, 0.75, 0.9)),
    "too_small": (shrink, (4, 6, 8, 10, 12, 14)),
    "cut_off": (cut, (0.2, 0.35, 0.5, 0.65)),
    "turned": (lambda picture, turns: np.ascontiguousarray(np.rot90(picture, int(turns))), (1, 2, 3)),
    "inverted": (lambda picture, depth: (255 - picture * depth).astype(np.uint8), (1.0, 0.6, 0.3)),
}


def compose(digits: npt.NDArray[np.uint8]) -> Grey:
    """Draw digits (N, 28, 28) beside each other, in dark ink on white paper."""
    row = cv2.resize(np.hstack(list(digits)), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    return np.pad(255 - np.asarray(row, np.uint8), MARGIN_PX, constant_values=255)


def _keep(picture: Grey) -> Grey:
    return picture


def _invert(picture: Grey) -> Grey:
    return 255 - picture


def examine(picture: Grey, label: str, reader: Reader) -> tuple[Finding, ...]:
    """Return what the doctor finds, the first finding first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        cv2.imwrite(str(path), picture)
        return examine_picture(path, label, reader).findings


def is_doubtful(picture: Grey, label: str, reader: Reader) -> bool:
    """Tell whether a picture is read wrongly, or not for certain."""
    reading = reader.read(picture)
    is_sure = reading.status == "read" and (reading.confidence or 0.0) >= CONFIDENT
    return (reading.text or "").replace(" ", "") != label or not is_sure


def measure(numbers: Sequence[tuple[Grey, str]], rule: str, reader: Reader, finish: Finish) -> Counter[str]:
    """Plant a fault in numbers that are read well, and count what the doctor finds."""
    plant, strengths = FAULTS[rule]
    counts: Counter[str] = Counter()
    for picture, label in numbers:
        planted = next(
            (
                each
                for each in (finish(plant(picture, s)) for s in strengths)
                if is_doubtful(each, label, reader)
            ),
            None,
        )
        if planted is None:
            continue
        findings = examine(planted, label, reader)
        rules = [finding.rule for finding in findings]
        counts["doubtful"] += 1
        counts["found"] += rule in rules
        counts["first"] += rules[:1] == [rule]
        counts["mended"] += any(MENDED in finding.evidence for finding in findings)
        counts["unexplained"] += rules == ["unexplained"]
        counts.update(f"({other})" for other in rules if other not in (rule, "unexplained"))
    return counts


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--numbers", type=int, default=20, help="compose this many numbers")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="plant only this fault")
    parser.add_argument("--digits", type=int, default=4, help="compose numbers of this many digits")
    parser.add_argument("--light", action="store_true", help="compose light ink on black")
    parser.add_argument("--validation", action="store_true", help="take MNIST's validation digits")
    arguments = parser.parse_args()
    digits = split(load_mnist()).validation if arguments.validation else load_mnist_test()
    reader, finish = Reader(device="cpu"), _invert if arguments.light else _keep
    rows = np.arange(arguments.digits * arguments.numbers).reshape(-1, arguments.digits)
    composed = [(compose(digits.images[row]), "".join(map(str, digits.labels[row]))) for row in rows]
    healthy = [each for each in composed if not is_doubtful(finish(each[0]), each[1], reader)]
    alarms = sum(bool(examine(finish(picture), label, reader)) for picture, label in healthy)
    print(f"{len(healthy)} of {len(composed)} numbers are read well; findings on them: {alarms}", flush=True)
    for rule in arguments.fault or FAULTS:
        counts = measure(healthy, rule, reader, finish)
        others = ", ".join(f"{name} {count}" for name, count in counts.most_common() if name[0] == "(")
        print(
            f"{rule}: doubtful {counts['doubtful']}, found {counts['found']}, first {counts['first']}, "
            f"mended {counts['mended']}, unexplained {counts['unexplained']}; {others}",
            flush=True,
        )


if __name__ == "__main__":
    main()
