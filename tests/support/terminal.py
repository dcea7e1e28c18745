"""Runs of the command line in the process of the test, also on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

import pytest

from digitcli import console
from digitcli.cli import exit_code_of_run

Terminal = Callable[..., tuple[int, str]]


def run_in_process(
    patch: pytest.MonkeyPatch, arguments: Sequence[str | Path], environment: Mapping[str, str]
) -> int:
    """Run `digitcli ARGUMENTS` with these variables of the environment; return its exit code."""
    for name, value in environment.items():
        patch.setenv(name, value)
    patch.setattr(sys, "argv", ["digitcli", *map(str, arguments)])
    patch.setattr(console, "out", console.open_console(None))
    patch.setattr(console, "err", console.open_console(cast("IO[str]", console.LenientStderr())))
    return exit_code_of_run()


@contextlib.contextmanager
def terminal(patch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Let the standard streams be a terminal; the function returns what was shown, after the context."""
    master, slave = pty.openpty()
    with ThreadPoolExecutor(1) as reader:
        shown = reader.submit(_read, master)
        with contextlib.ExitStack() as streams:
            for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
                stream = os.fdopen(os.dup(slave), mode, encoding="utf-8", errors="backslashreplace")
                patch.setattr(sys, name, streams.enter_context(stream))
            os.close(slave)
            yield lambda: shown.result().decode()
        shown.result()
    os.close(master)


def _read(master: int) -> bytes:
    """Read from a terminal until the other side is closed."""
    received = b""
    with contextlib.suppress(OSError):
        while part := os.read(master, 65536):
            received += part
    return received
