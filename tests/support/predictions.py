"""Pictures for `digitcli predict`, and its answers to them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.pictures import drawn, encoded


def put(path: Path | str, digits: str = "5") -> str:
    """A picture of digits that stand side by side."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(encoded(np.hstack([drawn(digit, 200) for digit in digits])))
    return str(path)


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def read(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str | None]]:
    """Return the text of each file, for a run with --format jsonl."""
    return [(record["file"], record["text"]) for record in records(done)]


def names_in(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())
