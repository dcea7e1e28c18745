"""Compare fine-tuning with training from scratch on 1 to 100 pictures of each class.

    python benchmarks/transfer.py --hands DIR --fashion DIR --start cnn --seeds 5 --out runs/transfer

DIR of --hands holds numbers-swiss.npz, bhmsds-digits.npz and optdigits-orig-tra-cv.npz, with the arrays
`images` and `labels`, and `writers` in the first; DIR of --fashion holds the IDX files of fashion-MNIST. A
target whose files are not given is left out. Every seed draws other training pictures, but the test pictures
of a target stay the same; only with `writer` each seed is another person. A run from scratch takes the recipe
of its architecture with as many steps as fine-tuning. Each run is a process of its own; finished runs are
reused and interrupted ones resumed. The folder --out gets results.json, table.md and chart.svg, and the runs.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from digitcli.charts import Panel, Series, draw_chart
from digitcli.data.arrays import digits_from_arrays
from digitcli.data.dataset import Digits, concatenate
from digitcli.data.loading import load_dataset
from digitcli.inference.model_resolution import resolve_model
from digitcli.training.transfer import EPOCHS, MIN_EPOCH_STEPS

TEST_SIZE = 2_000  # pictures at most: the standard error of an accuracy of 95 % is then 0.5 points
TEST_SEED = 2026
SWISS_TRAINING_WRITERS = range(1, 12)  # the others, 12 to 21, write the test pictures
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
DrawDigits = Callable[[int, int], tuple[Digits, Digits]]  # from the pictures per class and the seed


@dataclass(frozen=True)
class Outcome:
    """One run and its seconds. Accuracies are fractions; those before the training are of the start model."""

    target: str
    per_class: int
    method: str
    seed: int
    accuracy: float
    accuracy_before: float | None
    original_accuracy: float | None
    original_accuracy_before: float | None
    seconds: float


def main() -> None:
    """Train the missing runs, and write the results, the table and the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hands", type=Path, help="the folder with pictures of digits by other writers")
    parser.add_argument("--fashion", type=Path, help="the folder with the IDX files of fashion-MNIST")
    parser.add_argument("--start", default="cnn", help="the start model (default: cnn)")
    parser.add_argument("--targets", nargs="+", help="the targets (default: all whose files are given)")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 5, 20, 100], help="pictures of each class"
    )
    parser.add_argument("--seeds", type=int, default=5, help="the number of seeds, from 0 on (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="the folder to write to")
    arguments = parser.parse_args()
    given = [*(TARGETS_OF_HANDS if arguments.hands else ()), *(["fashion"] if arguments.fashion else ())]
    names = arguments.targets or given
    targets = {name: target_of(name, arguments.hands, arguments.fashion) for name in names}
    outcomes = []
    for outcome in run_all(targets, arguments.counts, arguments.seeds, arguments.start, arguments.out):
        outcomes.append(outcome)
        label = f"{outcome.target} {outcome.per_class} {outcome.method} {outcome.seed}"
        print(f"{label}: {outcome.accuracy:.4f}", flush=True)
        write_results(outcomes, arguments.start, arguments.out)
    print((arguments.out / "table.md").read_text())


def target_of(name: str, hands: Path | None, fashion: Path | None) -> DrawDigits:
    """Return the function that draws the training and test pictures of a target."""
    if name == "fashion" and fashion is not None:
        dataset = load_dataset(str(fashion))
        assert dataset.test is not None, "fashion-MNIST has a test part"
        return from_parts(dataset.train, dataset.test)
    if name not in TARGETS_OF_HANDS or hands is None:
        raise SystemExit(f"There is no target {name}, or its files are not given.")
    if name in ("polish", "turkish"):
        return from_parts(*halves(load_dataset(str(hands / TARGETS_OF_HANDS[name])).train))
    writers = swiss_writers(hands / TARGETS_OF_HANDS[name])
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


def halves(digits: Digits) -> tuple[Digits, Digits]:
    """Return two random halves, always the same ones."""
    order = np.random.default_rng(TEST_SEED).permutation(len(digits))
    return digits.take(order[: len(order) // 2]), digits.take(order[len(order) // 2 :])


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


def run_all(
    targets: dict[str, DrawDigits], counts: Sequence[int], seeds: int, start: str, out: Path
) -> Iterator[Outcome]:
    """Train every run, seed by seed, so that an early end leaves whole comparisons."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for target, draw_digits in targets.items():
            for count in counts:
                train, test = draw_digits(count, seed)
                if len(train) < 10 * count:  # a writer has about 60 pictures of each class
                    continue
                data = out / "data" / f"{target}-{count}-{seed}.npz"
                arrays = {"test_images": test.images, "test_labels": test.labels}
                np.savez_compressed(data, images=train.images, labels=train.labels, **arrays)
                for method in METHODS:
                    yield run(target, count, method, seed, start, data, out)


def run(target: str, count: int, method: str, seed: int, start: str, data: Path, out: Path) -> Outcome:
    """Train or resume one run in a process of its own."""
    arch = resolve_model(start).header.architecture
    options = [option.format(arch=arch, start=start) for option in METHODS[method]]
    folder = out / "runs" / f"{target}-{count}-{method.replace(', ', '-').replace(' ', '-')}-{seed}"
    command = [sys.executable, "-m", "digitcli", "train", *options, "--data", str(data), "--seed", str(seed)]
    command += ["--resume", str(folder), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout)
    return Outcome(
        target=target,
        per_class=count,
        method=method,
        seed=seed,
        accuracy=result["test_accuracy"],
        accuracy_before=result["test_accuracy_before"],
        original_accuracy=result["original_accuracy"],
        original_accuracy_before=result["original_accuracy_before"],
        seconds=result["total_seconds"],
    )


def write_results(outcomes: Sequence[Outcome], start: str, out: Path) -> None:
    """Write all runs as JSON, their means as a table, and a chart of the errors."""
    versions = {name: version(name) for name in ("digitcli", "torch", "numpy")}
    environment = {"machine": platform.machine(), "python": platform.python_version(), **versions}
    runs = [asdict(outcome) for outcome in outcomes]
    content = {"start": resolve_model(start).id, "environment": environment, "runs": runs}
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "table.md").write_text(table(outcomes))
    (out / "chart.svg").write_text(chart(outcomes, start))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the mean test accuracies in percent with their standard deviations over the seeds."""
    headings = ["target", "per class", "start model", *METHODS]
    headings += ["original before", "fine-tuned", "rehearsed", "n"]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for target, count in dict.fromkeys((each.target, each.per_class) for each in outcomes):
        of_target = [each for each in outcomes if (each.target, each.per_class) == (target, count)]
        of_method = {method: [each for each in of_target if each.method == method] for method in METHODS}
        _, fine_tuned, rehearsed = of_method.values()
        cells = [
            mean([each.accuracy_before for each in fine_tuned]),
            *(mean([each.accuracy for each in found]) for found in of_method.values()),
            mean([each.original_accuracy_before for each in fine_tuned]),
            mean([each.original_accuracy for each in fine_tuned]),
            mean([each.original_accuracy for each in rehearsed]),
            str(len(fine_tuned)),
        ]
        lines.append(f"| {target} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean(fractions: Sequence[float | None]) -> str:
    """Return the mean in percent, with the standard deviation if there are two values or more."""
    known = [100 * fraction for fraction in fractions if fraction is not None]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.2f}" if len(known) > 1 and len(set(known)) > 1 else ""
    return f"{statistics.mean(known):.2f}{spread}"


def chart(outcomes: Sequence[Outcome], start: str) -> str:
    """Return the mean test errors over the number of pictures, a panel for each target, as SVG."""
    panels = []
    for target in dict.fromkeys(each.target for each in outcomes):
        series = []
        for method in METHODS:
            found = [each for each in outcomes if (each.target, each.method) == (target, method)]
            points = [
                (count, 100 * max(SMALLEST_ERROR, 1 - statistics.mean(
                    each.accuracy for each in found if each.per_class == count
                )))
                for count in dict.fromkeys(each.per_class for each in found)
            ]  # fmt: skip
            if points:
                series.append(Series(method, points, dashed=method == "from scratch"))
        panels.append(Panel(f"{target}: test error in %", "pictures of each class", series, logarithmic=True))
    return draw_chart(f"Fine-tuning of {start} and training from scratch", panels)


if __name__ == "__main__":
    main()
