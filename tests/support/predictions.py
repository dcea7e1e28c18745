"""Pictures for `digitcli predict`, and its answers to them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.pictures import drawn, encoded


def put(path: Path | str, digits: str = "5") -> str:
    """A picture of digits that stand side by side, nearer to each other than two numbers."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    row = np.hstack([drawn(digit, 200)[:, 40:-40] for digit in digits])
    Path(path).write_bytes(encoded(np.pad(row, ((0, 0), (40, 40)), constant_values=255)))
    return str(path)


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def read(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str | None]]:
    """Return the text of each file, for a run with --format jsonl."""
    return [(record["file"], record["text"]) for record in records(done)]


def names_in(folder: str = ".") -> list[str]:
    """The names of the files and folders in a folder, without the options that are kept beside results."""
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix != ".options")
