"""Measure the mean and the spread of the test accuracy of `digitcli train` over seeds.

    python benchmarks/seeds.py softmax sigmoid_mlp mlp lenet5 cnn resnet --seeds 3

Each run is a process of its own, with its folder in runs/seeds. A finished run is reused, and an interrupted
run is resumed. No run is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RUNS = Path("runs/seeds")


def main() -> None:
    """Train the missing runs and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="+", help="the architectures to train")
    parser.add_argument("--seeds", type=int, default=3, help="the number of seeds, from 0 on (default: 3)")
    arguments = parser.parse_args()

    print(f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}")
    print("| architecture | parameters | test accuracy: mean | sd | min | max | validation | training | n |")
    print("|---|---|---|---|---|---|---|---|---|")
    for architecture in arguments.architectures:
        print(row(architecture, [train(architecture, seed) for seed in range(arguments.seeds)]), flush=True)


def train(architecture: str, seed: int) -> dict[str, Any]:
    """Train or resume one run and return its result."""
    folder = RUNS / f"{architecture}-{seed}"
    command = [sys.executable, "-m", "digitcli", "train", "--arch", architecture, "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--resume", str(folder), "--format", "json"], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(architecture: str, results: list[dict[str, Any]]) -> str:
    """Return a line of the table."""
    tests = [100 * result["test_accuracy"] for result in results]
    validations = [100 * result["validation_accuracy"] for result in results]
    seconds = [result["train_seconds"] for result in results]
    spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
    return (
        f"| {architecture} | {results[0]['parameters']:,} | {statistics.mean(tests):.2f} % | {spread:.2f} "
        f"| {min(tests):.2f} | {max(tests):.2f} | {statistics.mean(validations):.2f} % "
        f"| {min(seconds):.0f} to {max(seconds):.0f} s | {len(results)} |"
    )


if __name__ == "__main__":
    main()
