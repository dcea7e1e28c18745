"""Test how `digitcli doctor` finds wrong labels: `python benchmarks/label_errors.py --draws 3`.

A share of the labels of training digits is changed at random. The rule of `digitcli doctor` (confident
learning) looks for them with the probabilities of its networks, and so does the default of the package
cleanlab, with the same probabilities. With `--survey` it also counts how many of the 15 labels of test digits
that people reject are among the 30 most doubtful ones.

It needs the package cleanlab.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.data import doubtful_labels, out_of_sample_probabilities
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS

MOST_DOUBTFUL = 30


def main() -> None:
    """Run the test, and print the mean, the lowest and the highest of each figure over the draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=0.01, help="the share of labels that are changed")
    parser.add_argument("--digits", type=int, default=60_000, help="the number of training digits")
    parser.add_argument("--draws", type=int, default=3, help="the number of draws of digits and changes")
    parser.add_argument("--survey", action="store_true", help="look for the labels that people reject")
    arguments = parser.parse_args()
    dataset = load_dataset("mnist")
    results = [
        measure(replace(dataset, test=None), arguments.digits, arguments.share, seed)
        for seed in range(arguments.draws)
    ]
    for name in results[0] if results else ():
        values = [result[name] for result in results]
        print(f"{name:32} {statistics.mean(values):8.3f}  {min(values):.3f} to {max(values):.3f}")
    if arguments.survey:
        survey(dataset)


def measure(dataset: Dataset, count: int, share: float, seed: int) -> dict[str, float]:
    """Change labels of `count` training digits, and return how well they are found."""
    from cleanlab.filter import find_label_issues

    random = np.random.default_rng(seed)
    digits = dataset.train.take(random.permutation(len(dataset.train))[:count])
    changed = random.choice(count, round(share * count), replace=False)
    labels = digits.labels.copy()
    labels[changed] = (labels[changed] + random.integers(1, 10, len(changed))) % 10
    started = time.perf_counter()
    probabilities, _ = out_of_sample_probabilities(replace(dataset, train=Digits(digits.images, labels)))
    seconds = time.perf_counter() - started
    found = [label.index for label in doubtful_labels(labels, probabilities) if label.is_error]
    by_cleanlab = np.flatnonzero(find_label_issues(labels, probabilities, n_jobs=1))
    return {
        **precision_and_recall("confident learning", found, changed),
        **precision_and_recall("cleanlab's default", by_cleanlab.tolist(), changed),
        "agreement with the labels": float((probabilities.argmax(axis=1) == labels).mean()),
        "seconds": seconds,
    }


def precision_and_recall(name: str, found: Iterable[int], changed: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return the share of changed labels that were found, and the share of found labels that were changed."""
    found, wrong = set(found), set(changed.tolist())
    right = len(found & wrong)
    return {f"{name}, recall": right / len(wrong), f"{name}, precision": right / max(1, len(found))}


def survey(dataset: Dataset) -> None:
    """Print how many of the test labels that people reject are found."""
    assert dataset.test is not None
    _, probabilities = out_of_sample_probabilities(dataset)
    assert probabilities is not None
    doubtful = [label.index for label in doubtful_labels(dataset.test.labels, probabilities)]
    rejected = set(MNIST_LABEL_ERRORS)
    for part in (doubtful[:MOST_DOUBTFUL], doubtful):
        print(f"of {len(rejected)} rejected labels, {len(rejected & set(part))} are among {len(part)}")


if __name__ == "__main__":
    main()
