"""Results that outlive an interruption: what was written is kept, and reading goes on after it.

They grow in `FILE.partial`, which becomes FILE when all pictures are read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from digitcli.errors import OutputError
from digitcli.reading.formats import TextFormat, harmless
from digitcli.reading.sources import Source
from digitcli.writing import faults_of, write_whole


@dataclass(frozen=True)
class Resumed:
    """Where the results go on: `write` adds to them, `done` are the files whose results are there."""

    write: Callable[[str], None]
    done: frozenset[str] = field(default_factory=frozenset)

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those of the pictures that are still to be read."""
        return (source for source in sources if harmless(os.fsdecode(source.name)) not in self.done)


@contextlib.contextmanager
def resuming(path: Path, form: TextFormat) -> Iterator[Resumed]:
    """Go on with the results in a file; whatever ends this, what was written until then is kept.

    Raises:
        OutputError: they cannot be read or written, or are not in that format.
    """
    partial = path.with_name(path.name + ".partial")
    with faults_of(path):
        before = next((file.read_text("utf-8") for file in (partial, path) if file.exists()), "")
    records = _records(before, form, path)
    if partial.exists() and records:  # the pages of the last file may not all be there
        last = records[-1][0]
        while records and records[-1][0] == last:
            records.pop()
    head = before[: before.index("\n") + 1] if form == "csv" and records else ""
    write_whole(partial, (head + "".join(text for _, text in records)).encode())
    with faults_of(path), partial.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:

        def write(text: str) -> None:
            with faults_of(path):
                file.write(text)
                file.flush()

        yield Resumed(write, frozenset(name for name, _ in records))
        os.fsync(file.fileno())
    with faults_of(path):
        partial.replace(path)


def _records(text: str, form: TextFormat, path: Path) -> list[tuple[str, str]]:
    """The files and the lines of what was written before; a line that was cut off is left out."""
    whole = text[: text.rfind("\n") + 1]
    try:
        if form == "jsonl":
            return [(harmless(json.loads(line)["file"]), line) for line in whole.splitlines(keepends=True)]
        stream = io.StringIO(whole, newline="")
        rows = list(csv.DictReader(stream))
        return [(row["file"], _csv_line(row)) for row in rows if None not in row.values()]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        cause = f"{path} holds something other than results as {form}."
        raise OutputError(cause, "Name another file, or replace it with --force.") from error


def _csv_line(row: dict[str, str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(row.values())
    return line.getvalue().removesuffix("\r\n") + "\n"
