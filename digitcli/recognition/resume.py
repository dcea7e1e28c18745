"""Resume an interrupted run: keep the results that were written, and read the pictures that are left.

Results are JSON lines. They grow in `FILE.partial`, which becomes FILE when all pictures are read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from digitcli.atomic_write import faults_of, write_whole
from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.results import SCHEMA
from digitcli.recognition.sources import Source


@dataclass(frozen=True)
class ResultWriter:
    """A writer of the results of a run.

    write: adds text to the results.
    read_before: the number of results, by file, that an earlier run wrote.
    """

    write: Callable[[str], None]
    read_before: Counter[str] = field(default_factory=Counter)

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the pictures that are still to be read."""
        read_before = self.read_before.copy()
        for source in sources:
            if not read_before[source.name]:
                yield source
            else:
                read_before[source.name] -= 1


@dataclass(frozen=True)
class _Record:
    """A result of an earlier run and its line."""

    file: str
    page: int | None
    failed: bool
    model: str
    line: str


@contextlib.contextmanager
def resume_results(path: Path, model: str) -> Iterator[ResultWriter]:
    """Continue the results of a model in a file; whatever ends this, the results written until then are kept.

    Pictures that could not be read before are read again.

    Raises:
        OutputError: the file cannot be read or written, holds something else, or another run is writing it.
        UsageError: the file holds results of another model.
    """
    whole = Path(os.path.realpath(path))  # a link stays a link
    partial = whole.with_name(whole.name + ".partial")
    with _locked(whole, path):
        records = _usable_records(whole, partial, path)
        other_models = {record.model for record in records} - {model}
        if other_models:
            cause = f"{path} holds results of {min(other_models)}, but the models are now {model}."
            raise UsageError(cause, "Name the same models, or another file.")
        write_whole(partial, "".join(record.line for record in records).encode(), like=whole)
        read_before = Counter(record.file for record in records if record.page in (None, 1))
        with _appending(partial, path) as write:
            yield ResultWriter(write, read_before)
        with faults_of(path):
            partial.replace(whole)


@contextlib.contextmanager
def _locked(whole: Path, path: Path) -> Iterator[None]:
    """Keep other runs from writing the same file."""
    from filelock import FileLock, Timeout  # only this option needs it

    lock_file = whole.with_name(f".{whole.name}.lock")
    lock = FileLock(lock_file, timeout=0)
    with faults_of(path):
        try:
            lock.acquire()
        except Timeout as error:
            cause = f"Another run is writing {path}."
            raise OutputError(cause, "Wait for it, or name another file.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps open files
            lock_file.unlink()
        lock.release()


@contextlib.contextmanager
def _appending(partial: Path, path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that appends text to the partial file; sync the file at the end."""
    with contextlib.ExitStack() as stack:
        with faults_of(path):
            file = stack.enter_context(partial.open("ab"))

        def write(text: str) -> None:
            with faults_of(path):
                file.write(text.encode(errors="backslashreplace"))
                file.flush()

        try:
            yield write
        except Interrupted as stopped:
            stopped.remedy = f"The results so far are in {partial}; the same command continues them."
            raise
        with faults_of(path):
            os.fsync(file.fileno())


def _usable_records(whole: Path, partial: Path, path: Path) -> list[_Record]:
    """Return the records of the later of both files, without the pictures that must be read again."""
    with faults_of(path):
        files = [file for file in (whole, partial) if file.exists()]
        latest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
        content = latest.read_bytes() if latest else b""
    records = _parse(content, path)
    if latest == partial and records:  # some pages of the last file may be missing
        last_file = records[-1].file
        while records and records[-1].file == last_file:
            records.pop()
    failed = {record.file for record in records if record.failed}
    return [record for record in records if record.file not in failed]


def _parse(content: bytes, path: Path) -> list[_Record]:
    """Parse JSON lines; a line that was cut off is left out."""
    try:
        text = content[: content.rfind(b"\n") + 1].decode()
        records = []
        for line in text.split("\n")[:-1]:
            row = json.loads(line)
            if row["schema"] != SCHEMA or not isinstance(row["file"], str):
                raise ValueError(f"schema {row['schema']}, file {row['file']}")
            failed = row["status"] == "error"
            records.append(_Record(row["file"], row["page"], failed, str(row["model"]), line + "\n"))
        return records
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"{path} holds something other than results of digitcli as JSON lines."
        raise OutputError(cause, "Name another file, or replace it with --force.") from error
