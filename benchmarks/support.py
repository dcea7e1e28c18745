"""What the benchmarks share: rows that are printed and saved, answers of processes, and counts.

A script that publishes figures has the option `-o FILE.json`, which wrote the files of `benchmarks/results/`.
`python scripts/generate_docs.py` copies their figures into README.md and docs/.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from digitcli.benchmarking.benchmark_results import cpu_name
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.readings import Reading
from digitcli.synthesis.scenes import SceneComposer, scene_composer
from digitcli.threads import usable_cores

Picture = npt.NDArray[np.uint8]
Row = Mapping[str, float | int]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Also save the rows here.")
]
Models = Annotated[list[str], typer.Option("--model", "-m", help="As in digitcli predict.")]
ANSWERED = ("read", "partial")  # the status of a page with an answer


def open_app(text: str | None) -> typer.Typer:
    """Return a program with this help, whose functions become commands; a single one has no name."""
    return typer.Typer(help=text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Rows(dict[str, Row]):
    """What was measured, by name. Shares are fractions from 0 to 1."""

    def add(self, name: str, row: Row) -> None:
        """Keep a row, and print it."""
        self[name] = row
        cells = (f"{field} {value:,.4g}" for field, value in row.items())
        print(f"{name:24} {'  '.join(cells)}", flush=True)

    def save(self, path: Path | None, n: int = 1) -> None:
        """Write the rows with command, machine, versions, commit and day; write nothing without a path.

        n: the number of runs behind each figure.
        """
        if path is None:
            return
        versions = {package: importlib.metadata.version(package) for package in ("torch", "onnxruntime")}
        describe = ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"]
        facts = {
            "schema": 1,
            "command": shlex.join(["python", *sys.argv]),
            "machine": f"{usable_cores()} cores of {cpu_name()}",
            "versions": {"python": platform.python_version(), **versions},
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "commit": subprocess.run(describe, capture_output=True, text=True).stdout.strip(),
            "n": n,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(_rounded(row))}" for name, row in self.items())
        head = json.dumps(facts, indent=1).removesuffix("\n}")
        path.write_text(f'{head},\n "rows": {{\n{lines}\n}}}}\n', encoding="utf-8")


def _rounded(row: Row) -> dict[str, float | int]:
    return {
        field: value if isinstance(value, int) else round(float(value), 5) for field, value in row.items()
    }


def held_out_composer() -> SceneComposer:
    """Compose scenes by people and fonts that training holds out, with MNIST's validation digits."""
    return scene_composer(split(load_mnist()).validation, "calibrate")


def digits_of(text: str | None) -> str:
    """Return the digits of a text."""
    return re.sub(r"\D", "", text or "")


def shares(readings: Iterable[Reading], texts: Sequence[str]) -> dict[str, float | int]:
    """Return how pictures of these digits are read, as shares of them.

    right: the answer, or the best guess where none is given, has the digits.
    wrong: an answer is given that has not.
    """
    pairs = [
        (reading.status in ANSWERED, digits_of(reading.text) == text)
        for reading, text in zip(readings, texts, strict=True)
    ]
    answered, right = (np.array(flags) for flags in zip(*pairs, strict=True))
    wrong = (answered & ~right).mean()
    return {"pictures": len(texts), "right": right.mean(), "answered": answered.mean(), "wrong": wrong}


def answer_of(command: Sequence[str | Path], **options: Any) -> Any:
    """Return the JSON that a command prints; `digitcli` is this one. A failure ends the script."""
    words = [*map(str, command), *(["--format", "json"] if command[0] == "digitcli" else [])]
    words = [sys.executable, "-m", *words] if command[0] == "digitcli" else words
    done = subprocess.run(words, capture_output=True, text=True, **options)
    return json.loads(done.stdout) if done.returncode == 0 else sys.exit(done.stderr)


def median_and_range(values: Sequence[float], places: int = 2) -> str:
    """Return the median with the lowest and the highest value."""
    middle, low, high = (f"{f(values):,.{places}f}" for f in (statistics.median, min, max))
    return f"{middle} ({low} to {high}, n = {len(values)})"


def peak_bytes_of(command: Sequence[str], read: Callable[[str], Any] = json.loads) -> tuple[Any, float, int]:
    """Run a command; return what it printed, the seconds of the process, and its largest resident set.

    A child process is charged with the memory of the one that starts it, so that a small one must.
    """
    launcher = (
        "import json, resource, subprocess, sys, time\n"
        "began = time.perf_counter()\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)\n"
        "seconds = time.perf_counter() - began\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024\n"
        "print(json.dumps([done.stdout.decode(), seconds, peak]))\n"
    )
    words = [sys.executable, "-c", launcher, sys.executable, "-m", "digitcli", *command]
    printed, seconds, peak = answer_of(words)
    return read(printed), seconds, peak
