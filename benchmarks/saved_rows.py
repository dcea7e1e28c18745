"""Save what a benchmark measured, for the tables and figures of the documentation.

A script that publishes figures has the option `-o FILE.json`, which wrote the files of `benchmarks/results/`.
`python scripts/generate_docs.py` copies their figures into README.md and docs/.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from digitcli.benchmarking.benchmark_results import cpu_name
from digitcli.threads import usable_cores

PACKAGES = ("torch", "onnxruntime")

Row = Mapping[str, float | int]


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the option `-o FILE.json`."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="also save the rows here")


def save_rows(path: Path | None, rows: Mapping[str, Row], n: int = 1) -> None:
    """Write the rows with command, machine, versions, commit and day; write nothing without a path.

    rows: shares are fractions from 0 to 1.
    n: the number of runs behind each figure.
    """
    if path is None:
        return
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    facts = {
        "schema": 1,
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{usable_cores()} cores of {cpu_name()}",
        "versions": {"python": platform.python_version(), **versions},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "n": n,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(_rounded(row))}" for name, row in rows.items())
    head = json.dumps(facts, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "rows": {{\n{lines}\n}}}}\n', encoding="utf-8")


def _rounded(row: Row) -> dict[str, float | int]:
    return {
        field: value if isinstance(value, int) else round(float(value), 5) for field, value in row.items()
    }
