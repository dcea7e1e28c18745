"""Measure what `digitcli adapt` gains, by size and on other pictures.

    python benchmarks/adaptation.py FOLDER --sizes 50,200

A folder of labelled pictures, as for `digitcli adapt`, is divided at random: for each size into parts of that
size, a reader is adapted to each of the first parts, and the pictures outside of the part are read with the
shipped models and with the adapted ones. A size of all pictures has no others: the result is that of the
cross-validation of the adaptation itself, whose networks learn from four fifths. The folder --output gets the
adapted models and results.json. Groups are not divided within an adaptation, but may be between the parts.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support import open_app

from digitcli import Reader, adapt, save_adaptation
from digitcli.adaptation.calibrate import answer_pictures
from digitcli.data.label_tables import LABELS, LabelledPicture, read_labelled_pictures
from digitcli.evaluation.statistics import mcnemar

app = open_app(__doc__)
SEED = 2026  # of the division into parts


@app.command()
def main(
    folder: Path, sizes: str = "50,200", parts: int = 2, output: Path = Path("runs/adaptation")
) -> None:  # fmt: skip
    """Adapt to every part, print a line for each, and write the results."""
    pictures = read_labelled_pictures(folder)
    output.mkdir(parents=True, exist_ok=True)
    right_before = read_all(pictures, Reader(min_confidence=0.0))
    results = []
    for size in map(int, sizes.split(",")):
        order = np.random.default_rng((SEED, size)).permutation(len(pictures))
        for part in range(min(parts, len(pictures) // size)):
            chosen = np.sort(order[part * size : (part + 1) * size])
            result = measure(pictures, chosen, right_before, output / f"{size}-{part}")
            results.append({"size": size, "part": part, **result})
            print(results[-1], flush=True)
            (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def measure(
    pictures: Sequence[LabelledPicture], chosen: np.ndarray, right_before: np.ndarray, out: Path
) -> dict[str, object]:
    """Adapt to some of the pictures, and read the others."""
    out.mkdir(exist_ok=True)
    with (out / LABELS).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "text", "group"])
        adapted_to = (pictures[index] for index in chosen)
        rows.writerows([str(each.path.resolve()), each.text, each.group or ""] for each in adapted_to)
    started = time.perf_counter()
    adaptation = adapt(out)
    fields = ("right_before", "right_after", "p_value")
    result: dict[str, object] = {
        "seconds": round(time.perf_counter() - started),
        "cross_validation": {name: getattr(adaptation, name) for name in fields},
    }
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


def read_all(pictures: Sequence[LabelledPicture], reader: Reader) -> np.ndarray:
    """Return which pictures are read correctly, bool (N,)."""
    answers, failures = answer_pictures(reader, pictures, lambda event: None)
    if failures:
        raise SystemExit(f"{failures[0].file} cannot be read: {failures[0].cause}")
    return np.array([answer.is_right for answer in answers])


if __name__ == "__main__":
    app()
