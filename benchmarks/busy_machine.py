"""Measure commands on an idle and on a busy machine: as they are, with spinning threads, and with one thread.

`python benchmarks/busy_machine.py` runs each command on the machine as it is and beside `--busy` processes
that compute without end, in three settings in turn. It prints the medians of the seconds of whole processes,
and the medians of their ratios. A command that takes longer than `--limit` seconds is stopped there, and
not repeated in that setting.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from digitcli.data.mnist import load_mnist_test

COMMANDS = {
    "fast": ["train", "--arch", "fast"],
    "lenet5": ["train", "--arch", "lenet5", "--epochs", "1"],
    "cnn": ["train", "--arch", "cnn", "--epochs", "1"],
    "predict": ["predict", str(Path(__file__).parent.parent / "docs" / "pictures"), "--format", "jsonl"],
}
SETTINGS = {
    "as it is": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # the default of GNU OpenMP, whatever the load
    "one thread": {"OMP_NUM_THREADS": "1"},
}


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Let processes compute without end."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def seconds_of(command: list[str], environment: dict[str, str], limit: float) -> float:
    """Return the seconds that a command takes as a whole process, at most `limit`."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-m", "digitcli", *command],
                env={**os.environ, **environment},
                cwd=folder,
                capture_output=True,
                check=True,
                timeout=limit,
            )
        return time.perf_counter() - started


def write_digits(count: int) -> list[str]:
    """Write the first test digits of MNIST into a file, and return the option that names it."""
    digits = load_mnist_test()
    path = Path(tempfile.mkdtemp()) / "digits.npz"
    np.savez(path, images=digits.images[:count], labels=digits.labels[:count])
    return ["--data", str(path)]


def main() -> None:
    """Measure, and print a row for each command and state of the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(COMMANDS), help="the commands to measure")
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 4], help="numbers of busy processes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--digits", type=int, help="train on this many test digits of MNIST (default: MNIST)")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds")
    options = parser.parse_args()
    data = write_digits(options.digits) if options.digits else []
    for processes in options.busy:
        for name in options.names:
            seconds: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
            with busy(processes):
                for _ in range(options.repeats):
                    for setting, environment in SETTINGS.items():
                        if max(seconds[setting], default=0) < options.limit:
                            command = COMMANDS[name] + (data if COMMANDS[name][0] == "train" else [])
                            seconds[setting].append(seconds_of(command, environment, options.limit))
            medians = {setting: statistics.median(values) for setting, values in seconds.items()}
            ratios = {
                other: statistics.median(
                    a / b for a, b in zip(seconds["as it is"], seconds[other], strict=False)
                )
                for other in ("spinning", "one thread")
            }
            cells = [f"{setting} {medians[setting]:.2f} s" for setting in SETTINGS]
            cells += [f"ratio to {other} {ratio:.2f}" for other, ratio in ratios.items()]
            print(f"{name}, {processes} busy processes: {'; '.join(cells)}; {seconds}", flush=True)


if __name__ == "__main__":
    main()
