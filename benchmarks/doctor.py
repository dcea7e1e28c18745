"""Measure how often `digitcli doctor` is right: `python benchmarks/doctor.py faults`, `usual` or `labels`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from support import Picture, digits_of, held_out_composer, open_app

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import load_mnist_test
from digitcli.diagnosis.data import doubtful_labels, out_of_sample_probabilities
from digitcli.diagnosis.findings import Finding
from digitcli.diagnosis.picture import CONFIDENT, USUAL, distances_from_edge, examine_picture, measure_picture
from digitcli.imaging.grayscale import quantile, rotate
from digitcli.recognition.reader import Reader
from digitcli.synthesis.strips import strip_of_picture
from digitcli.training.synthetic_strips import compose_scenes

app = open_app(__doc__)
Plant = Callable[[Picture, float], Picture]
SCALE = 4  # pixels of the picture for each of MNIST's
MARGIN_PX = 50  # paper around the number: about half of the height of a digit
MENDED = "it is read as"  # what the evidence says of a correction that leads to the right answer
RANDOM = np.random.default_rng(23)
SEED = 2323  # different from the seeds of other scripts and of training


def thin(picture: Picture, pixels: float) -> Picture:
    """Make strokes thinner by so many pixels."""
    return np.asarray(cv2.dilate(picture, np.ones((int(pixels), int(pixels)), np.uint8)), np.uint8)


def blur(picture: Picture, deviation_px: float) -> Picture:
    """Blur by a Gaussian of this standard deviation."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation_px), np.uint8)


def add_noise(picture: Picture, deviation: float) -> Picture:
    """Lower the contrast, and add noise of this standard deviation in levels."""
    noisy = 40 + 0.7 * picture + RANDOM.normal(0, deviation, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def checker(picture: Picture, depth: float) -> Picture:
    """Put a number on a chequered ground."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (picture * (1 - depth * ((columns // 12 + rows // 12) % 2))).astype(np.uint8)


def shrink(picture: Picture, factor: float) -> Picture:
    """Make a picture smaller."""
    scale = {"fx": 1 / factor, "fy": 1 / factor}
    return np.asarray(cv2.resize(picture, None, **scale, interpolation=cv2.INTER_AREA), np.uint8)


def cut(picture: Picture, share: float) -> Picture:
    """Cut off the paper on the right and a share of the width of a digit."""
    return np.ascontiguousarray(picture[:, : -(MARGIN_PX + 4 * SCALE + round(share * 20 * SCALE))])


# Faults by the rule that shall find them: a change of the picture, and its growing strengths.
FAULTS: dict[str, tuple[Plant, Sequence[float]]] = {
    "too_thin": (thin, (5, 7, 8, 9, 10, 11, 12)),
    "blurred": (blur, (4, 6, 8, 10, 12, 14, 17)),
    "noisy": (add_noise, (30, 50, 70, 90, 110, 140)),
    "uneven_background": (checker, (0.3, 0.45, 0.6, 0.75, 0.9)),
    "too_small": (shrink, (4, 6, 8, 10, 12, 14)),
    "cut_off": (cut, (0.2, 0.35, 0.5, 0.65)),
    "turned": (lambda picture, turns: np.ascontiguousarray(np.rot90(picture, int(turns))), (1, 2, 3)),
    "inverted": (lambda picture, depth: (255 - picture * depth).astype(np.uint8), (1.0, 0.6, 0.3)),
}


@app.command()
def faults(numbers: int = 20, digits: int = 4) -> None:
    """Plant faults in pictures, and count how often they are found.

    Numbers are composed of MNIST's test digits, as dark ink on white paper. Each fault is planted in growing
    strength, until the number is read wrongly or with doubt; then the doctor examines the picture, and is
    told what it shows. A row tells how many pictures became doubtful, in how many the fault is among the
    findings, in how many it is the first one, in how many a finding names a correction that leads to the
    right answer, how many have no explanation, and how often other faults are named.
    """
    test, reader = load_mnist_test(), Reader(device="cpu")
    rows = np.arange(digits * numbers).reshape(-1, digits)
    composed = [(compose(test.images[row]), "".join(map(str, test.labels[row]))) for row in rows]
    healthy = [each for each in composed if not is_doubtful(*each, reader)]
    alarms = sum(bool(examine(*each, reader)) for each in healthy)
    print(f"{len(healthy)} of {len(composed)} numbers are read well; findings on them: {alarms}", flush=True)
    for rule in FAULTS:
        counts = count_findings(healthy, rule, reader)
        print(f"{rule}:", ", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)


def compose(digits: Picture) -> Picture:
    """Draw digits (N, 28, 28) beside each other, in dark ink on white paper."""
    row = cv2.resize(np.hstack(list(digits)), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    return np.pad(255 - np.asarray(row, np.uint8), MARGIN_PX, constant_values=255)


def examine(picture: Picture, label: str, reader: Reader) -> tuple[Finding, ...]:
    """Return what the doctor finds, the first finding first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        cv2.imwrite(str(path), picture)
        return examine_picture(path, label, reader).findings


def is_doubtful(picture: Picture, label: str, reader: Reader) -> bool:
    """Tell whether a picture is read wrongly, or not for certain."""
    reading = reader.read(picture)
    is_sure = reading.status == "read" and (reading.confidence or 0.0) >= CONFIDENT
    return digits_of(reading.text) != label or not is_sure


def count_findings(numbers: Sequence[tuple[Picture, str]], rule: str, reader: Reader) -> Counter[str]:
    """Plant a fault in numbers that are read well, and count what the doctor finds."""
    plant, strengths = FAULTS[rule]
    counts = Counter(doubtful=0, found=0, first=0, mended=0, unexplained=0)
    for picture, label in numbers:
        planted = (plant(picture, strength) for strength in strengths)
        doubtful = next((each for each in planted if is_doubtful(each, label, reader)), None)
        if doubtful is None:
            continue
        findings = examine(doubtful, label, reader)
        rules = [finding.rule for finding in findings]
        mended = any(MENDED in finding.evidence for finding in findings)
        counts.update(doubtful=1, found=rule in rules, first=rules[:1] == [rule], mended=mended)
        counts.update(unexplained=rules == ["unexplained"])
        counts.update(f"({other})" for other in rules if other not in (rule, "unexplained"))
    return counts


@app.command()
def usual(pictures: int = 3000) -> None:
    """Measure pictures that are read well, for the limits in `digitcli.diagnosis.picture`.

    The pictures show MNIST's validation digits, held-out writers and fonts, composed as photographs and scans
    of good and poor quality. Those with a single number that is read correctly at 90 % or more count. It
    prints, for each measurement, the median, and the values beyond which a quarter and 5 % of the pictures
    are.
    """
    composer, reader = held_out_composer(), Reader(device="cpu")
    measured: dict[str, list[float]] = defaultdict(list)
    margins: list[float] = []
    for scene in compose_scenes(composer, np.random.default_rng(SEED), pictures):
        text = strip_of_picture(scene).text
        if not text.isdecimal() or is_doubtful(scene.picture, text, reader):
            continue
        reading = reader.read(scene.picture)
        upright, boxes = rotate(scene.picture, reading.rotation), [digit.box for digit in reading.digits]
        margins.append(min(distances_from_edge(boxes, upright)))
        for rule, value in measure_picture(upright, boxes).items():
            measured[rule].append(value)
    print(f"{len(margins)} of {pictures} pictures show a single number and are read well")
    print(f"margin, in heights: three quarters have {quantile(np.array(margins), 0.25):.3f} or more")
    for rule, limits in USUAL.items():
        values = np.array(measured[rule])
        shares = (0.75, 0.95) if limits.limit > limits.common else (0.25, 0.05)
        common, limit = (quantile(values, share) for share in shares)
        print(f"{rule}: n {len(values)}, median {np.median(values):.4f}, {common:.4f}, {limit:.4f}")


@app.command()
def labels(share: float = 0.01, digits: int = 60_000, draws: int = 3) -> None:
    """Change a share of the labels of training digits, and tell how well they are found.

    It prints the mean, the lowest and the highest of each figure over the draws.
    """
    dataset = load_dataset("mnist")
    results = [
        find_changed(replace(dataset, test=None), digits, share, seed) for seed in range(draws)
    ]  # fmt: skip
    for name in results[0]:
        values = [result[name] for result in results]
        print(f"{name:32} {statistics.mean(values):8.3f}  {min(values):.3f} to {max(values):.3f}")


def find_changed(dataset: Dataset, count: int, share: float, seed: int) -> dict[str, float]:
    """Change labels of `count` training digits, and return how well they are found."""
    random = np.random.default_rng(seed)
    digits = dataset.train.take(random.permutation(len(dataset.train))[:count])
    changed = random.choice(count, round(share * count), replace=False)
    given = digits.labels.copy()
    given[changed] = (given[changed] + random.integers(1, 10, len(changed))) % 10
    started = time.perf_counter()
    probabilities = out_of_sample_probabilities(replace(dataset, train=Digits(digits.images, given)))
    seconds = time.perf_counter() - started
    found = {label.index for label in doubtful_labels(given, probabilities) if label.is_error}
    right = len(found & set(changed.tolist()))
    return {
        "recall": right / len(changed),
        "precision": right / max(1, len(found)),
        "agreement with the labels": float((probabilities.argmax(axis=1) == given).mean()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    app()
