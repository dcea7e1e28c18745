"""Processes that start at once, because a server forks them in which PyTorch is imported already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from digitcli.cli import main

# A new interpreter takes three seconds of the processor to import these; optimizers import torch._dynamo.
IMPORTED_BY_THE_SERVER = [
    "digitcli.__main__", "digitcli.cli.train", "digitcli.cli.evaluate", "digitcli.cli.benchmark",
    "digitcli.training.trainer", "digitcli.training.data_parallel", "digitcli.evaluation.evaluate",
    "digitcli.benchmarking.benchmark", "torch._dynamo",
]  # fmt: skip
FILE_SIZE = 300  # bytes that a file may have where the disk is full


class ForkedProcess:
    """A process with a memory, streams, signals and an environment of its own, used like a `Popen`."""

    def __init__(
        self, target: Callable[..., None], arguments: tuple[str, ...], environment: dict[str, str]
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED_BY_THE_SERVER)
        self._pipes = [context.Pipe(duplex=False) for _ in ("stdout", "stderr")]
        writers = [writer for _, writer in self._pipes]
        given = (target, arguments, str(Path.cwd()), {**os.environ, **environment}, *writers)
        self._process = context.Process(target=_run, args=given)
        self._process.start()
        for writer in writers:
            writer.close()
        self.stdout, self.stderr = (os.fdopen(reader.fileno(), closefd=False) for reader, _ in self._pipes)

    @property
    def returncode(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def close_stderr(self) -> None:
        """Close the end of stderr that is read."""
        self.stderr.close()
        self._pipes[1][0].close()

    def communicate(self, timeout: float = 100) -> tuple[str, str]:
        """Return what it writes until it ends, by itself or because it is killed after these seconds."""
        patience = threading.Timer(timeout, self._process.kill)
        patience.start()
        with ThreadPoolExecutor(2) as readers:
            out, err = readers.map(_rest_of, (self.stdout, self.stderr))
        self._process.join()
        patience.cancel()
        return out, err

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Kill the process, if it still runs, and close its streams."""
        self.kill()
        for stream, (reader, _) in zip((self.stdout, self.stderr), self._pipes, strict=True):
            stream.close()
            reader.close()


def _rest_of(stream: IO[str]) -> str:
    """Read a stream to its end, if it is open."""
    return "" if stream.closed else stream.read()


def _run(
    target: Callable[..., None],
    arguments: tuple[str, ...],
    folder: str,
    environment: dict[str, str],
    out: Connection,
    err: Connection,
) -> None:
    """Call the target in the forked process."""
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def run_digitcli(*arguments: str) -> None:
    """Run the command line as the program does, which ends the process."""
    sys.argv = ["digitcli", *arguments]
    main()


def run_digitcli_on_a_full_disk(*arguments: str) -> None:
    """Run the command line with a limit on the size of files, which stands for a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    run_digitcli(*arguments)


def run_digitcli_in_ascii(*arguments: str) -> None:
    """Run the command line as where text is ASCII."""
    sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]
    run_digitcli(*arguments)


@contextlib.contextmanager
def in_background(
    *arguments: str | Path, target: Callable[..., None] = run_digitcli, **environment: str
) -> Iterator[ForkedProcess]:
    """Run a function of strings, by default `digitcli ARGUMENTS`, in the folder of the test and beside it."""
    with contextlib.closing(ForkedProcess(target, tuple(map(str, arguments)), environment)) as process:
        yield process
