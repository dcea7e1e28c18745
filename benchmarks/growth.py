"""Measure how time and memory grow with digits, batch size, threads and processes.

    python benchmarks/growth.py digits       # one epoch of `fast` on a thousand to a million digits
    python benchmarks/growth.py batch        # digits per second for each batch size
    python benchmarks/growth.py threads      # digits per second for each number of threads
    python benchmarks/growth.py processes    # one process and two, with a thread each, and a projection
                                             # to 8 and 64 processes

Every run is a process of its own. Each figure is the median of `--repeats` runs with its range; runs that are
compared alternate. A dataset with more digits than MNIST repeats its digits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from digitcli.data.mnist import load_mnist

ARCHITECTURES = ("lenet5", "cnn", "resnet")
SECONDS = 3.0
NETWORK_BYTES = 1.25e9  # per second: a network of 10 Gbit/s
NETWORK_SECONDS = 50e-6  # the latency of a message in such a network


def main() -> None:
    """Print the chosen table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables: dict[str, Callable[[int], None]] = {
        "digits": digits, "batch": batch, "threads": threads, "processes": processes,
    }  # fmt: skip
    parser.add_argument("table", choices=tables, help="the table to measure")
    parser.add_argument("--repeats", type=int, default=3, help="runs for each figure (default: 3)")
    arguments = parser.parse_args()
    tables[arguments.table](arguments.repeats)


def digits(repeats: int) -> None:
    """Measure training and evaluation on 1,000 to 1,000,000 digits."""
    counts = [1_000, 10_000, 100_000, 1_000_000]
    mnist = load_mnist().train
    print("| digits | trained in | a digit | evaluated in | largest resident set |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = {count: Path(folder) / f"{count}.npz" for count in counts}
        for count, file in files.items():
            index = np.arange(count) % len(mnist)
            np.savez(file, images=mnist.images[index], labels=mnist.labels[index])
        rows: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
        for _ in range(repeats):
            for count, file in files.items():
                run = ["train", "--arch", "fast", "--data", str(file), "--out", f"{folder}/run", "--force"]
                trained = digitcli([*run, "--format", "json"])
                evaluated = digitcli(["evaluate", "cnn", "--data", str(file), "--format", "json"])
                rows[count].append({**trained, "evaluate_seconds": evaluated["process_seconds"]})
        for count, results in rows.items():
            trained_in = [row["train_seconds"] for row in results]
            print(
                f"| {count:,} | {shown(trained_in)} s | {1e6 * statistics.median(trained_in) / count:.0f} us "
                f"| {shown([row['evaluate_seconds'] for row in results])} s "
                f"| {max(row['peak_bytes'] for row in results) / 1e6:.0f} MB |"
            )


def batch(repeats: int) -> None:
    """Measure the speed of training for each batch size."""
    sizes = [16, 32, 64, 128, 256, 512, 1024]
    print(f"| architecture | {' | '.join(map(str, sizes))} |\n|---|{'---|' * len(sizes)}")
    for architecture in ARCHITECTURES:
        print_speeds(architecture, [{"batch_size": size} for size in sizes], repeats)


def threads(repeats: int) -> None:
    """Measure the speed of training for each number of threads."""
    counts = list(range(1, (os.cpu_count() or 1) + 1))
    print(f"| architecture | {' | '.join(map(str, counts))} |\n|---|{'---|' * len(counts)}")
    for architecture in ARCHITECTURES:
        print_speeds(architecture, [{"threads": count} for count in counts], repeats)


def print_speeds(architecture: str, settings: list[dict[str, int]], repeats: int) -> None:
    """Print a row with the digits per second of each setting; the settings alternate."""
    speeds: list[list[float]] = [[] for _ in settings]
    for _ in range(repeats):
        for setting, measured in zip(settings, speeds, strict=True):
            measured.append(speed(architecture, **setting))
    print(f"| {architecture} | {' | '.join(shown(measured, 0) for measured in speeds)} |", flush=True)


def speed(architecture: str, batch_size: int = 128, threads: int = 0) -> float:
    """Return the digits per second of training: of the steps of the first epoch, without validation."""
    code = """
import sys, time, torch
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import take_step
from digitcli.training.setup import prepare

name, batch, threads, seconds = sys.argv[1], *map(float, sys.argv[2:])
if threads:
    torch.set_num_threads(int(threads))
config = TrainConfig(arch=name, recipe={"batch_size": int(batch)}, device="cpu")
setup, state = prepare(config, None, None, lambda event: None, lambda: None)
for duration in (seconds / 4, seconds):  # the first one is the warm-up
    steps, started = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - started < duration:
        state.step %= setup.task.steps
        take_step(setup, state)
        steps += 1
    speed = steps * setup.task.batch_size / (time.perf_counter() - started)
print(speed)
"""
    arguments = [architecture, str(batch_size), str(threads), str(SECONDS)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def processes(repeats: int) -> None:
    """Measure one process and two, with a thread each and the same batch in all, and project to more."""
    print("| architecture | one, digits per second | two | efficiency | gradient | 8 | 64 |")
    print("|---|---|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        one: list[float] = []
        two: list[float] = []
        for _ in range(repeats):
            one.append(trained_speed(architecture, 1))
            two.append(trained_speed(architecture, 2))
        efficiency = statistics.median(two) / statistics.median(one) / 2
        gradient = 4 * digitcli(["models", "--format", "json"], architecture)["parameters"]
        projected = [project(statistics.median(one), gradient, count) for count in (8, 64)]
        cells = [architecture, shown(one, 0), shown(two, 0), f"{efficiency:.0%}", f"{gradient / 1e6:.1f} MB"]
        print(f"| {' | '.join(cells + [f'{share:.0%}' for share in projected])} |", flush=True)


def trained_speed(architecture: str, count: int) -> float:
    """Return the digits per second of one epoch in this number of processes, by the clock of the run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    with tempfile.TemporaryDirectory() as folder:
        run = ["train", "--arch", architecture, "--epochs", "1", "--dtype", "float32"]
        command = [sys.executable, *launcher, "-m", "digitcli", *run, "--out", f"{folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--format", "json"], capture_output=True, text=True, check=True, env=environment
        )
        result = json.loads(done.stdout[done.stdout.index("{") :])
    return 55_000 / float(result["train_seconds"])


def project(digits_a_second: float, gradient_bytes: int, count: int, batch_size: int = 128) -> float:
    """Return the estimated efficiency of machines in a ring, each with a batch of this size.

    Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009: each sends
    2 (n - 1) / n of the gradient in 2 (n - 1) messages. The estimate is a lower bound, because it
    counts no overlap with the backward pass.
    """
    computing = batch_size / digits_a_second
    sending = 2 * (count - 1) * (gradient_bytes / count / NETWORK_BYTES + NETWORK_SECONDS)
    return computing / (computing + sending)


def digitcli(arguments: list[str], architecture: str | None = None) -> dict[str, Any]:
    """Return the JSON of a command, with the seconds and the largest resident set of its process."""
    code = (
        "import json, resource, subprocess, sys, time\n"
        "began = time.perf_counter()\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)\n"
        "seconds = time.perf_counter() - began\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024\n"
        "print(json.dumps([json.loads(done.stdout), seconds, peak]))\n"
    )
    command = [sys.executable, "-c", code, sys.executable, "-m", "digitcli", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer, seconds, peak = json.loads(done.stdout)
    if architecture is not None:
        answer = next(row for row in answer if row["name"] == architecture)
    return {**answer, "process_seconds": seconds, "peak_bytes": peak}


def shown(values: list[float], places: int = 2) -> str:
    """Return the median and the range."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:,.{places}f} ({low:,.{places}f} to {high:,.{places}f})"


if __name__ == "__main__":
    main()
