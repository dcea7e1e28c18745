"""Results as text and in files: JSON lines, JSON and CSV, and runs that are resumed. Loads no NumPy.

An interrupted run can be resumed, to read the pictures that are left, if its results are JSON lines or CSV.
They grow in `FILE.partial`, which becomes FILE when all pictures are read. `.FILE.options` holds the options
with which they were read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from digitcli.atomic_write import check_writable, faults_of, write_whole, writing_whole
from digitcli.data.storage import open_folder, split_place, store_faults
from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.readings import SCHEMA, Reading
from digitcli.recognition.sources import Picture

TextFormat = Literal["json", "jsonl", "csv"]
FileFormat = Literal["json", "jsonl", "csv", "parquet"]
# What a row of CSV stands for.
Per = Literal["page", "number"]
# Columns of CSV. With a row per number, a page without numbers has one row.
FIELDS: dict[Per, tuple[str, ...]] = {
    "page": ("file", "page", "status", "reason", "text", "raw", "confidence", "model"),
    "number": (
        "file", "page", "row", "column", "status", "reason", "text", "raw", "confidence", "alternative",
        "x", "y", "width", "height", "rotation", "model",
    ),
}  # fmt: skip
# First characters of a cell that a spreadsheet takes for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def format_readings(
    readings: Iterable[Reading], form: TextFormat, per: Per = "page", *, has_heading: bool = True
) -> Generator[str]:
    """Yield the text of readings in a format, piece by piece; CSV has a row per page or per number."""
    if form == "json":
        return _json(readings)
    if form == "jsonl":
        return (json.dumps(reading.record()) + "\n" for reading in readings)
    return _csv(readings, per, has_heading)


def format_of(path: Path) -> FileFormat:
    """Return the format that the suffix of a file names.

    Raises:
        UsageError: the suffix names none of the formats.
    """
    for form in get_args(FileFormat):
        if path.suffix.lower() == f".{form}":
            return form  # type: ignore[no-any-return]
    cause = f"The name {path} does not say which format to write."
    remedy = "Name a .jsonl, .json, .csv or .parquet file, or give --format."
    raise UsageError(cause, "For tables in Excel give --table." if path.suffix.lower() == ".xlsx" else remedy)


def as_bytes(piece: str | bytes) -> bytes:
    """Return a piece of results as it is stored; names of files may hold what is no text."""
    return piece if isinstance(piece, bytes) else piece.encode(errors="backslashreplace")


def _json(readings: Iterable[Reading]) -> Generator[str]:
    before, after = "[\n", "[]\n"
    try:
        for reading in readings:
            piece = before + json.dumps(reading.record())
            before, after = ",\n", "\n]\n"
            yield piece
    except (Exception, Interrupted):  # the list is closed, so that it stays valid JSON
        yield after
        raise
    yield after


def _csv(readings: Iterable[Reading], per: Per, has_heading: bool) -> Generator[str]:
    if has_heading:
        yield csv_line(FIELDS[per])
    for reading in readings:
        page = reading.record()
        records = [page] if per == "page" else _numbers_of(page)
        yield "".join(csv_line(record[name] for name in FIELDS[per]) for record in records)


def _numbers_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of a page as flat records, or the page itself with no place if there are none."""
    records = []
    for number in page["numbers"]:
        place = dict(zip(("x", "y", "width", "height"), number["box"], strict=True))
        alternative = next((text for text, _ in number["alternatives"]), None)
        records.append(page | number | place | {"alternative": alternative})
    return records or [dict.fromkeys(FIELDS["number"]) | page]


def csv_line(cells: Iterable[Any]) -> str:
    """Return a line of CSV, in which a spreadsheet takes no text for a formula."""
    line = io.StringIO()
    # the writer ends lines with \r\n: if it used \n alone, it would not quote \r
    csv.writer(line).writerow(map(_without_formula, cells))
    return line.getvalue().removesuffix("\r\n") + "\n"


def _without_formula(value: Any) -> Any:
    """Put a quote before a text that a spreadsheet would take for a formula; `-` alone is none."""
    is_formula = isinstance(value, str) and value != "-" and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def _as_cell(name: str) -> str:
    """Return the name of a file as it is read from a cell of CSV."""
    return str(_without_formula(name)).encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class ResultWriter:
    """A writer of the results of a run.

    write: adds text, or bytes of Parquet, to the results.
    read_before: the number of results, by file, that an earlier run wrote.
    as_written: returns the name of a file as the results hold it.
    has_known_options: whether earlier results, if there are any, are known to be read with the same options.
    """

    write: Callable[[Any], object]
    read_before: Counter[str] = field(default_factory=Counter)
    as_written: Callable[[str], str] = str
    has_known_options: bool = True

    def left(self, sources: Iterable[Picture], skipped: Counter[str] | None = None) -> Iterator[Picture]:
        """Yield the pictures that are still to be read; count the others by file."""
        read_before = self.read_before.copy()
        for source in sources:
            name = self.as_written(source.name)
            if not read_before[name]:
                yield source
            else:
                read_before[name] -= 1
                if skipped is not None:
                    skipped[name] += 1


@contextlib.contextmanager
def new_results(
    path: Path, *, force: bool, options: Mapping[str, str] | None = None
) -> Iterator[ResultWriter]:
    """Write the results of a new run, which appear in the file at the end.

    `options` are kept for `resume_results`; None for results that cannot be resumed.

    Raises:
        OutputError: the file cannot be written, or another run is writing it; or without `force` it exists,
            or an unfinished run has left results.
    """
    with _locked(path) as results:
        check_writable(path, force)
        if os.path.exists(results.partial):  # noqa: PTH110 (Path.exists raises an error for a long name)
            if not force:
                cause = f"{results.partial} holds results of a run that has not finished."
                raise OutputError(cause, "Continue it with --resume, or discard it with --force.")
            with faults_of(results.partial):
                results.partial.unlink()
        with writing_whole(path) as write:
            try:
                yield ResultWriter(lambda piece: write(as_bytes(piece)))
            except Interrupted as stopped:
                lost = f"{path} was not written, and the results are lost."
                stopped.remedy = f"{lost} With -o FILE.csv --resume, a run can be continued."
                raise
            with faults_of(path):  # the options of the results that are replaced next
                results.options.unlink(missing_ok=True)
        if options is not None:
            results.keep_options(options)


@contextlib.contextmanager
def stored_results(address: str, *, force: bool) -> Iterator[ResultWriter]:
    """Write the results of a run as one object of a store, which appears at the end.

    Raises:
        OutputError: the store cannot be used, or without `force` the object exists.
    """
    place, name = split_place(address)
    pieces: list[bytes] = []
    with store_faults(address):
        folder = open_folder(place)
        with contextlib.suppress(FileNotFoundError):
            if folder.size(name) >= 0 and not force:
                raise OutputError(f"{address} exists already.", "Replace it with --force, or name another.")
    yield ResultWriter(lambda piece: pieces.append(as_bytes(piece)))
    with store_faults(address):
        folder.write(name, b"".join(pieces))


@contextlib.contextmanager
def resume_results(
    path: Path, model: str, per: Per | None = None, options: Mapping[str, str] | None = None
) -> Iterator[ResultWriter]:
    """Continue the results of a model in a file; whatever ends this, the results written until then are kept.

    `per` tells what a row of CSV stands for; None for JSON lines. Pictures that could not be read before, and
    those of which pages may be missing, are read again; where they are not named, their results stay.
    `options` are those on which results depend, by their names; None leaves them unchecked.

    Raises:
        OutputError: the file cannot be read or written, holds something else, or another run is writing it.
        UsageError: the file holds results of another model or of other options.
    """
    with _locked(path, per) as results:
        is_continued = results.partial.exists()
        usable, doubtful = results.stored_records()
        other_models = {record.model for record in (*usable, *doubtful)} - {model}
        if other_models:
            cause = f"{path} holds results of {min(other_models)}, but the models are now {model}."
            raise UsageError(cause, "Name the same models, or another file.")
        stored = results.check_options(options) if usable or doubtful else options
        content = results.text_of(usable)
        write_whole(results.partial, content.encode(), like=results.whole)
        if stored is not None:
            results.keep_options(stored)
        read_before = Counter(record.file for record in usable if record.page in (None, 1))
        try:
            with results.appending() as write:
                yield ResultWriter(write, read_before, _as_cell if per else str, stored == options)
        except Interrupted as stopped:
            results.add_missing(doubtful)
            stopped.remedy = f"The results so far are in {results.partial}; the same command continues them."
            raise
        except Exception:
            least = len((content or results.heading).encode())
            if not is_continued and results.partial.stat().st_size <= least:  # without a new result
                results.partial.unlink()
                if not results.whole.exists():
                    results.options.unlink(missing_ok=True)
            raise
        results.add_missing(doubtful)
        with faults_of(path):
            results.partial.replace(results.whole)


@dataclass(frozen=True)
class _Record:
    """A result of an earlier run and its text: a line, or with a row per number one or more."""

    file: str
    page: int | None
    failed: bool
    model: str
    text: str


class _ResultFile:
    """A file of results, and the files beside it.

    path: its name as a person gave it; whole: the file itself, where that is a link.
    per: what a row of CSV stands for; None for JSON lines.
    partial: the file in which the results grow until the run has finished.
    options: the file with the options of the results.
    heading: the first line of CSV.
    """

    def __init__(self, path: Path, per: Per | None) -> None:
        self.path, self.per, self.whole = path, per, Path(os.path.realpath(path))
        self.partial = self.whole.with_name(self.whole.name + ".partial")
        self.options = self.whole.with_name(f".{self.whole.name}.options")
        self.heading = csv_line(FIELDS[per]) if per else ""

    def text_of(self, records: Sequence[_Record]) -> str:
        """Return the text of a file with these records; empty without any."""
        return "".join([self.heading, *(record.text for record in records)]) if records else ""

    def stored_records(self) -> tuple[list[_Record], list[_Record]]:
        """Return the records of both files, and those whose pictures are to be read again.

        The partial file begins with what was usable in the whole one; its last picture may lack pages.
        """
        with faults_of(self.path):
            contents = [file.read_bytes() if file.exists() else b"" for file in (self.partial, self.whole)]
        newer, older = map(self._parse, contents)
        files, end = {record.file for record in newer}, len(newer)
        while end and newer[end - 1].file == newer[-1].file:
            end -= 1
        records = [*newer[:end], *(record for record in older if record.file not in files)]
        failed = {record.file for record in records if record.failed}
        doubtful = [*(record for record in records if record.file in failed), *newer[end:]]
        return [record for record in records if record.file not in failed], doubtful

    def check_options(self, options: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Return the options of earlier results, or None if they are not known.

        Raises:
            UsageError: they differ from the options of this run.
        """
        try:
            stored = dict(json.loads(self.options.read_bytes()))
        except (OSError, ValueError, TypeError):  # another version wrote the results
            return None
        if options is None or stored == options:
            return stored
        names = [name for name in {**stored, **options} if stored.get(name) != options.get(name)]
        before, now = (
            ", ".join(f"{name} {given[name]}" if name in given else f"no {name}" for name in names)
            for given in (stored, options)
        )
        holder = self.partial if self.partial.exists() else self.path
        cause = f"{holder} holds results that were read with {before}, but this run has {now}."
        raise UsageError(
            cause, "Give the same options, name another file, or begin anew with --force instead of --resume."
        )

    def keep_options(self, options: Mapping[str, str]) -> None:
        """Write the options of the results."""
        write_whole(self.options, json.dumps(dict(options)).encode())

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that appends text to the partial file; sync the file at the end."""
        with contextlib.ExitStack() as stack:
            with faults_of(self.path):
                file = stack.enter_context(self.partial.open("ab", buffering=0))

            def write(text: str) -> None:
                left = text.encode(errors="backslashreplace")
                with faults_of(self.path):
                    while left:
                        left = left[file.write(left) :]

            yield write
            with faults_of(self.path):
                os.fsync(file.fileno())

    def add_missing(self, records: Sequence[_Record]) -> None:
        """Add the records of files of which the partial file holds no result."""
        if not records:
            return
        with faults_of(self.path):
            content = self.partial.read_bytes()
        files = {record.file for record in self._parse(content)}
        missing = [record for record in records if record.file not in files]
        with self.appending() as write:
            write(self.text_of(missing).removeprefix(self.heading if content else ""))

    def _parse(self, content: bytes) -> list[_Record]:
        """Parse the results of a file; a line that was cut off is left out."""
        end = content.rfind(b"\n") + 1
        while self.per and content[:end].count(b'"') % 2:  # the line ends within a quoted cell
            end = content.rfind(b"\n", 0, end - 1) + 1
        try:
            text = content[:end].decode()
            return _parse_csv(text, self.per) if self.per else _parse_json_lines(text)
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            kind = f"CSV with a row per {self.per}" if self.per else "JSON lines"
            cause = f"{self.path} or its .partial holds something other than results of digitcli as {kind}."
            remedy = "Name another file, or the same options; an edited table cannot be continued."
            raise OutputError(cause, remedy) from error


@contextlib.contextmanager
def _locked(path: Path, per: Per | None = None) -> Iterator[_ResultFile]:
    """Yield a file of results, and keep other runs from writing it."""
    from filelock import FileLock, Timeout  # only results in a file need it

    results = _ResultFile(path, per)
    lock_file = results.whole.with_name(f".{results.whole.name}.lock")
    lock = FileLock(lock_file, timeout=0)
    with faults_of(path):
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"Another run is writing {path}.", "Wait for it, or name another file."
            ) from error
    try:
        yield results
    finally:
        with contextlib.suppress(OSError):  # Windows keeps open files
            lock_file.unlink()
        lock.release()


def _parse_json_lines(text: str) -> list[_Record]:
    records = []
    for line in text.split("\n")[:-1]:
        row = json.loads(line)
        if row["schema"] != SCHEMA or not isinstance(row["file"], str):
            raise ValueError(f"schema {row['schema']}, file {row['file']}")
        failed = row["status"] == "error"
        records.append(_Record(row["file"], row["page"], failed, str(row["model"]), line + "\n"))
    return records


def _parse_csv(text: str, per: Per) -> list[_Record]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    if text and next(lines) != list(FIELDS[per]):
        raise ValueError("other columns")
    records: list[_Record] = []
    last: tuple[str, str, int, int] | None = None  # the place of the number before, if the row has one
    for cells in lines:
        row, line = dict(zip(FIELDS[per], cells, strict=True)), csv_line(cells)
        has_place = per == "number" and row["x"] != ""
        place = (row["file"], row["page"], int(row["row"]), int(row["x"])) if has_place else None
        if last is not None and place is not None and last[:2] == place[:2] and last < place:
            records[-1] = replace(records[-1], text=records[-1].text + line)  # a further number of the page
        else:
            page = int(row["page"]) if row["page"] else None
            records.append(_Record(row["file"], page, row["status"] == "error", row["model"], line))
        last = place
    return records
