"""Measure what `digitcli adapt` gains on pictures that it did not learn from.

    python benchmarks/adaptation.py FOLDER --sizes 50 200 --parts 2 --out runs/adaptation

FOLDER is that of `digitcli adapt`. For each size its pictures are divided at random into parts of that size,
a reader is adapted to each of the first parts, and the pictures outside of the part are read with the shipped
models and with the adapted ones. A size of all pictures has no others: the result is that of the
cross-validation of the adaptation itself, whose networks learn from four fifths. The folder --out gets the
adapted models and results.json. Groups are not divided within an adaptation, but may be between the parts.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digitcli import Reader, adapt, save_adaptation
from digitcli.adaptation.calibrate import answer_pictures
from digitcli.data.label_tables import LABELS, LabelledPicture, read_labelled_pictures
from digitcli.evaluation.statistics import mcnemar

SEED = 2026  # of the division into parts


def main() -> None:
    """Adapt to every part, print a line for each, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder of labelled pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200], help="pictures to adapt to")
    parser.add_argument("--parts", type=int, default=2, help="the number of parts of each size (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/adaptation"), help="the folder to write to")
    arguments = parser.parse_args()
    pictures = read_labelled_pictures(arguments.folder)
    arguments.out.mkdir(parents=True, exist_ok=True)
    right_before = read_all(pictures, Reader(min_confidence=0.0))
    results = []
    for size in arguments.sizes:
        order = np.random.default_rng((SEED, size)).permutation(len(pictures))
        for part in range(min(arguments.parts, len(pictures) // size)):
            chosen = np.sort(order[part * size : (part + 1) * size])
            result = measure(pictures, chosen, right_before, arguments.out / f"{size}-{part}")
            results.append({"size": size, "part": part, **result})
            print(results[-1], flush=True)
            (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def measure(
    pictures: Sequence[LabelledPicture], chosen: np.ndarray, right_before: np.ndarray, out: Path
) -> dict[str, object]:
    """Adapt to some of the pictures, and read the others."""
    write_table([pictures[index] for index in chosen], out)
    started = time.perf_counter()
    adaptation = adapt(out)
    seconds = time.perf_counter() - started
    cross_validated = {
        "right_before": adaptation.right_before,
        "right_after": adaptation.right_after,
        "p_value": adaptation.p_value,
    }
    result: dict[str, object] = {"seconds": round(seconds), "cross_validation": cross_validated}
    others = np.setdiff1d(np.arange(len(pictures)), chosen)
    if adaptation.adapted is None or not len(others):
        return result
    model = out.with_name(f"{out.name}-reader")
    save_adaptation(adaptation, model)
    right = read_all([pictures[index] for index in others], Reader(model, min_confidence=0.0))
    before = right_before[others]
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    return {
        **result,
        "n": len(others),
        "accuracy_before": float(before.mean()),
        "accuracy_after": float(right.mean()),
        "gained": gained,
        "lost": lost,
        "p_value": mcnemar(lost, gained),
    }


def write_table(pictures: Sequence[LabelledPicture], folder: Path) -> None:
    """Write a folder of some of the pictures: a table with the paths of the files."""
    folder.mkdir(exist_ok=True)
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "text", "group"])
        rows.writerows([str(each.path.resolve()), each.text, each.group or ""] for each in pictures)


def read_all(pictures: Sequence[LabelledPicture], reader: Reader) -> np.ndarray:
    """Return which pictures are read rightly, bool (N,)."""
    answers, failures = answer_pictures(reader, pictures, lambda event: None)
    if failures:
        raise SystemExit(f"{failures[0].file} cannot be read: {failures[0].cause}")
    return np.array([answer.is_right for answer in answers])


if __name__ == "__main__":
    main()
