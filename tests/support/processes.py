"""Processes of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import IO

Run = Callable[..., subprocess.CompletedProcess[str]]


def modules_loaded_by(code: str) -> set[str]:
    """The names of all modules that a fresh interpreter has loaded after running some code."""
    script = f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def read_until(words: str, stream: IO[str] | None) -> None:
    """Read lines of a process until one contains the words; libraries may print other lines before it."""
    assert stream is not None
    lines: list[str] = []
    while not (lines and words in lines[-1]):
        lines.append(stream.readline())
        assert lines[-1], f"the process ended after: {''.join(lines)}"
