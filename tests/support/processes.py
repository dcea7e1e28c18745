"""Processes of the command line, and terminals for them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

Run = Callable[..., subprocess.CompletedProcess[str]]


def modules_loaded_by(code: str) -> set[str]:
    """The names of all modules that a fresh interpreter has loaded after running some code."""
    script = f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def python_in_background(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run an interpreter beside the test; kill it at the end of the context if it still runs."""
    command = [sys.executable, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **(environment or {})}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def digitcli_in_background(
    *arguments: str | Path, folder: Path
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run the command line beside the test, see `python_in_background`."""
    return python_in_background("-m", "digitcli", *arguments, folder=folder)


def read_until(words: str, stream: IO[str] | None) -> None:
    """Read lines of a process until one contains the words; libraries may print other lines before it."""
    assert stream is not None
    lines: list[str] = []
    while not (lines and words in lines[-1]):
        lines.append(stream.readline())
        assert lines[-1], f"the process ended after: {''.join(lines)}"


def read_terminal(arguments: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal; return its exit code and the text on the terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "digitcli", *arguments]
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment)
    os.close(slave)
    received, patience = b"", time.monotonic() + 60
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        if time.monotonic() > patience:
            process.kill()
        if select.select([master], [], [], 0.1)[0]:
            try:
                received += os.read(master, 65536)
            except OSError:  # the other side is closed
                break
    os.close(master)
    return process.wait(), received.decode()
