"""Compare fine-tuning with training from scratch on 1 to 100 pictures of each class.

    python benchmarks/transfer.py --hands DIR --fashion DIR --start cnn --seeds 5 --output runs/transfer

DIR of --hands holds numbers-swiss.npz, bhmsds-digits.npz and optdigits-orig-tra-cv.npz, with the arrays
`images` and `labels`, and `writers` in the first; DIR of --fashion holds the IDX files of fashion-MNIST. A
target whose files are not given is left out. Every seed draws other training pictures, but the test pictures
of a target stay the same; only with `writer` each seed is another person. A run from scratch takes the recipe
of its architecture with as many steps as fine-tuning. Each run is a process of its own; finished runs are
reused and interrupted ones resumed. The folder --output gets results.json, table.md and chart.svg, and the
runs.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support import answer_of, open_app

from digitcli.charts import Panel, Series, draw_chart
from digitcli.data.arrays import digits_from_arrays
from digitcli.data.dataset import Digits, concatenate
from digitcli.data.loading import load_dataset
from digitcli.inference.model_resolution import resolve_model
from digitcli.training.configuration import EPOCHS, MIN_EPOCH_STEPS

app = open_app(__doc__)
TEST_SIZE = 2_000  # pictures at most: the standard error of an accuracy of 95 % is then 0.5 points
TEST_SEED = 2026
SWISS_TRAINING_WRITERS = range(1, 12)  # the others, 12 to 21, write the test pictures
COUNTS = (1, 5, 20, 100)  # pictures of each class
SMALLEST_ERROR = 1e-4  # a chart with logarithmic axes cannot show an error of 0
TARGETS_OF_HANDS = {
    "swiss": "numbers-swiss.npz",
    "writer": "numbers-swiss.npz",
    "polish": "bhmsds-digits.npz",
    "turkish": "optdigits-orig-tra-cv.npz",
}
METHODS = {  # the options of each way to train; {arch} and {start} are replaced
    "from scratch": ["--arch", "{arch}", "--epochs", str(EPOCHS), "--min-epoch-steps", str(MIN_EPOCH_STEPS)],
    "fine-tuned": ["--from", "{start}"],
    "fine-tuned, rehearsed": ["--from", "{start}", "--rehearse", "0.3"],
}
ACCURACIES = ("test_accuracy", "test_accuracy_before", "original_accuracy", "original_accuracy_before")
DrawDigits = Callable[[int, int], tuple[Digits, Digits]]  # from the pictures per class and the seed
Run = dict[str, Any]


@app.command()
def main(
    hands: Path | None = None,
    fashion: Path | None = None,
    start: str = "cnn",
    seeds: int = 5,
    output: Path = Path("runs/transfer"),
) -> None:
    """Train the missing runs, seed by seed, and write the results, the table and the chart."""
    targets: dict[str, DrawDigits] = {}
    if hands:
        targets |= {name: target_of_hands(name, hands) for name in TARGETS_OF_HANDS}
    if fashion:
        dataset = load_dataset(str(fashion))
        assert dataset.test is not None, "fashion-MNIST has a test part"
        targets["fashion"] = from_parts(dataset.train, dataset.test)
    (output / "data").mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for seed in range(seeds):
        for target, draw_digits in targets.items():
            for count in COUNTS:
                train, test = draw_digits(count, seed)
                if len(train) < 10 * count:  # a writer has about 60 pictures of each class
                    continue
                data = output / "data" / f"{target}-{count}-{seed}.npz"
                arrays = {"test_images": test.images, "test_labels": test.labels}
                np.savez_compressed(data, images=train.images, labels=train.labels, **arrays)
                for method in METHODS:
                    names = {"target": target, "per_class": count, "method": method, "seed": seed}
                    runs.append({**names, **train_run(names, start, data, output)})
                    print(*runs[-1].values(), flush=True)
                    write_results(runs, start, output)


def target_of_hands(name: str, folder: Path) -> DrawDigits:
    """Return the function that draws the training and test pictures of other writers."""
    path = folder / TARGETS_OF_HANDS[name]
    if name in ("polish", "turkish"):
        digits = load_dataset(str(path)).train
        order = np.random.default_rng(TEST_SEED).permutation(len(digits))
        return from_parts(digits.take(order[: len(order) // 2]), digits.take(order[len(order) // 2 :]))
    writers = swiss_writers(path)
    if name == "writer":
        return lambda count, seed: of_one_writer(list(writers.values())[-1 - seed], count, seed)
    train = concatenate(*(writers[number] for number in SWISS_TRAINING_WRITERS))
    test = concatenate(*(writers[number] for number in writers if number not in SWISS_TRAINING_WRITERS))
    return from_parts(train, test)


@functools.cache
def swiss_writers(path: Path) -> dict[int, Digits]:
    """Return the digits of each writer, as networks see them."""
    with np.load(path) as arrays:
        images, labels, writers = arrays["images"], arrays["labels"], arrays["writers"]
    return {
        int(number): digits_from_arrays(images[writers == number], labels[writers == number], path.name)[0]
        for number in np.unique(writers)
    }


def from_parts(train: Digits, test: Digits) -> DrawDigits:
    """Return a function that draws training pictures; the test pictures are always the same."""
    chosen = np.random.default_rng(TEST_SEED).permutation(len(test))[:TEST_SIZE]
    fixed = test.take(np.sort(chosen))
    return lambda count, seed: (train.take(draw(train, count, seed)), fixed)


def of_one_writer(digits: Digits, count: int, seed: int) -> tuple[Digits, Digits]:
    """Return some pictures of each class of a writer to train on, and the others to test on."""
    chosen = draw(digits, count, seed)
    return digits.take(chosen), digits.take(np.setdiff1d(np.arange(len(digits)), chosen))


def draw(digits: Digits, count: int, seed: int) -> np.ndarray:
    """Return the indices of `count` pictures of each class, drawn at random."""
    random = np.random.default_rng(seed)
    indices = [np.flatnonzero(digits.labels == label) for label in range(10)]
    return np.sort(np.concatenate([random.permutation(of_class)[:count] for of_class in indices]))


def train_run(names: Run, start: str, data: Path, out: Path) -> Run:
    """Train or resume one run; return its seconds and accuracies, "before" those of the start model."""
    arch = resolve_model(start).header.architecture
    options = [option.format(arch=arch, start=start) for option in METHODS[names["method"]]]
    folder = out / "runs" / "-".join(map(str, names.values())).replace(", ", "-").replace(" ", "-")
    paths = ["--data", str(data), "--seed", str(names["seed"]), "--resume", str(folder)]
    result = answer_of(["digitcli", "train", *options, *paths])
    return {field: result[field] for field in (*ACCURACIES, "total_seconds")}


def write_results(runs: Sequence[Run], start: str, out: Path) -> None:
    """Write all runs as JSON, their means as a table, and a chart of the errors."""
    content = {"start": resolve_model(start).id, "runs": list(runs)}
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "table.md").write_text(table(runs))
    (out / "chart.svg").write_text(chart(runs, start))


def table(runs: Sequence[Run]) -> str:
    """Return the mean test accuracies in percent with their standard deviations over the seeds."""
    headings = ["target", "per class", "start model", *METHODS]
    headings += ["original before", "fine-tuned", "rehearsed", "n"]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for target, count in dict.fromkeys((run["target"], run["per_class"]) for run in runs):
        found = [run for run in runs if (run["target"], run["per_class"]) == (target, count)]
        by_method = [[run for run in found if run["method"] == method] for method in METHODS]
        _, fine_tuned, rehearsed = by_method
        cells = [
            mean(run["test_accuracy_before"] for run in fine_tuned),
            *(mean(run["test_accuracy"] for run in of_method) for of_method in by_method),
            mean(run["original_accuracy_before"] for run in fine_tuned),
            mean(run["original_accuracy"] for run in fine_tuned),
            mean(run["original_accuracy"] for run in rehearsed),
            str(len(fine_tuned)),
        ]
        lines.append(f"| {target} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean(fractions: Iterable[float | None]) -> str:
    """Return the mean in percent, with the standard deviation if there are two values or more."""
    known = [100 * fraction for fraction in fractions if fraction is not None]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.2f}" if len(set(known)) > 1 else ""
    return f"{statistics.mean(known):.2f}{spread}"


def chart(runs: Sequence[Run], start: str) -> str:
    """Return the mean test errors over the number of pictures, a panel for each target, as SVG."""
    panels = []
    for target in dict.fromkeys(run["target"] for run in runs):
        series = []
        for method in METHODS:
            errors: dict[int, list[float]] = {}
            for run in runs:
                if (run["target"], run["method"]) == (target, method):
                    errors.setdefault(run["per_class"], []).append(1 - run["test_accuracy"])
            points = [
                (count, 100 * max(SMALLEST_ERROR, statistics.mean(each))) for count, each in errors.items()
            ]
            if points:
                series.append(Series(method, points, dashed=method == "from scratch"))
        panels.append(Panel(f"{target}: test error in %", "pictures of each class", series, logarithmic=True))
    return draw_chart(f"Fine-tuning of {start} and training from scratch", panels)


if __name__ == "__main__":
    app()
