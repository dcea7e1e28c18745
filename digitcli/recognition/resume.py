"""Results that outlive an interruption: what was written is kept, and reading goes on after it.

They grow in `FILE.partial`, which becomes FILE when all pictures are read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from digitcli.atomic_write import faults_of, write_whole
from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.formats import TextFormat, harmless
from digitcli.recognition.results import FIELDS, SCHEMA
from digitcli.recognition.sources import STANDARD_INPUT, Source


@dataclass(frozen=True)
class Resumed:
    """Where the results go on: `write` adds to them, `done` counts the results that are there, by file."""

    write: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those of the pictures that are still to be read."""
        done = self.done.copy()
        for source in sources:
            name = _written(source.name)
            if source.name == STANDARD_INPUT or not done[name]:
                yield source
            else:
                done[name] -= 1


@dataclass(frozen=True)
class _Record:
    """A result that was written: of which file and page, by which model, and its text."""

    file: str
    page: int | None
    failed: bool
    model: str
    text: str


@contextlib.contextmanager
def resuming(path: Path, form: TextFormat, model: str) -> Iterator[Resumed]:
    """Go on with the results of a model in a file; whatever ends this, what was written until then is kept.

    What could not be read is not kept: it is tried again.

    Raises:
        OutputError: they cannot be read or written, are not in that format, or another run is writing them.
        UsageError: they are another model's.
    """
    whole = Path(os.path.realpath(path))  # a link stays a link
    with _alone(whole, path), _going_on(whole, path, form, model) as resumed:
        yield resumed


@contextlib.contextmanager
def _alone(whole: Path, path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout  # which only this option needs

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
        with contextlib.suppress(OSError):  # Windows keeps what is open
            lock_file.unlink()
        lock.release()


@contextlib.contextmanager
def _going_on(whole: Path, path: Path, form: TextFormat, model: str) -> Iterator[Resumed]:
    partial = whole.with_name(whole.name + ".partial")
    with faults_of(path):
        there = [file for file in (whole, partial) if file.exists()]
        latest = max(there, key=lambda file: file.stat().st_mtime_ns, default=None)
        before = latest.read_bytes() if latest else b""
    records = _records(before, form, path)
    if latest == partial and records:  # the pages of the last file may not all be there
        last = records[-1].file
        while records and records[-1].file == last:
            records.pop()
    failed = {record.file for record in records if record.failed}
    records = [record for record in records if record.file not in failed]
    others = {record.model for record in records} - {model}
    if others:
        cause = f"{path} holds what was read by {min(others)}, not by {model}."
        raise UsageError(cause, "Name the same models, or another file.")
    head = ",".join(FIELDS) + "\n" if form == "csv" and records else ""
    write_whole(partial, (head + "".join(record.text for record in records)).encode(), like=whole)
    with contextlib.ExitStack() as stack:
        with faults_of(path):
            file = stack.enter_context(partial.open("ab"))

        def write(text: str) -> None:
            with faults_of(path):
                file.write(text.encode(errors="backslashreplace"))
                file.flush()

        try:
            yield Resumed(write, Counter(record.file for record in records if record.page in (None, 1)))
        except Interrupted as stopped:
            stopped.remedy = f"What was read is in {partial}; the same command goes on."
            raise
        with faults_of(path):
            os.fsync(file.fileno())
    with faults_of(path):
        partial.replace(whole)


def _records(content: bytes, form: TextFormat, path: Path) -> list[_Record]:
    """What was written before; a line that was cut off is left out."""
    try:
        text = content[: content.rfind(b"\n") + 1].decode()
        return _of_json_lines(text) if form == "jsonl" else _of_csv(text)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        cause = f"{path} holds something other than results as {form}."
        raise OutputError(cause, "Name another file, or replace it with --force.") from error


def _of_json_lines(text: str) -> list[_Record]:
    records = []
    for line in text.split("\n")[:-1]:
        row = json.loads(line)
        if row["schema"] != SCHEMA:
            raise ValueError("another schema")
        failed = row["status"] == "error"
        records.append(_Record(_written(row["file"]), row["page"], failed, str(row["model"]), line + "\n"))
    return records


def _of_csv(text: str) -> list[_Record]:
    rows = csv.reader(io.StringIO(text, newline=""))
    if text and tuple(next(rows)) != FIELDS:
        raise ValueError("other columns")
    return [
        _Record(row[0], int(row[1]) if row[1] else None, row[2] == "error", row[-1], _csv_line(row))
        for row in rows
        if len(row) == len(FIELDS)
    ]


def _csv_line(row: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _written(name: str) -> str:
    """A name as CSV has it, in which not every file name can be written."""
    return str(harmless(name)).encode(errors="backslashreplace").decode()
