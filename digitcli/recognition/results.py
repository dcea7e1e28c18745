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
from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.readings import SCHEMA, Reading
from digitcli.recognition.sources import Source

# Columns of CSV with one row per page.
FIELDS = ("file", "page", "status", "reason", "text", "raw", "confidence", "model")
# Columns of CSV with one row per number; a page without numbers has one row.
NUMBER_FIELDS = (
    "file", "page", "row", "column", "status", "reason", "text", "raw", "confidence", "alternative", "x", "y",
    "width", "height", "rotation", "model",
)  # fmt: skip
# First characters of a cell that a spreadsheet takes for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

TextFormat = Literal["json", "jsonl", "csv"]
# What a row of CSV stands for.
Per = Literal["page", "number"]


def format_readings(
    readings: Iterable[Reading], form: TextFormat, per: Per = "page", *, has_heading: bool = True
) -> Generator[str]:
    """Yield the text of readings in a format, piece by piece; CSV has a row per page or per number."""
    if form == "csv":
        return _csv(readings, per, has_heading)
    return {"json": _json, "jsonl": _json_lines}[form](readings)


def format_of(path: Path) -> TextFormat:
    """Return the format that the suffix of a file names.

    Raises:
        UsageError: the suffix names none of the formats.
    """
    for form in get_args(TextFormat):
        if path.suffix.lower() == f".{form}":
            return form  # type: ignore[no-any-return]
    cause = f"The name {path} does not say which format to write."
    raise UsageError(cause, "Name a .jsonl, .json or .csv file, or give --format.")


def _json_lines(readings: Iterable[Reading]) -> Generator[str]:
    for reading in readings:
        yield json.dumps(reading.record()) + "\n"


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
    fields = _csv_fields(per)
    if has_heading:
        yield _csv_line(fields)
    for reading in readings:
        page = reading.record()
        records = [page] if per == "page" else _numbers_of(page)
        yield "".join(_csv_line(record[name] for name in fields) for record in records)


def _csv_fields(per: Per) -> tuple[str, ...]:
    return FIELDS if per == "page" else NUMBER_FIELDS


def _numbers_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of a page as flat records, or the page itself with no place if there are none."""
    if not page["numbers"]:
        return [dict.fromkeys(NUMBER_FIELDS) | page]
    return [
        page
        | number
        | dict(zip(("x", "y", "width", "height"), number["box"], strict=True))
        | {"alternative": next((text for text, _ in number["alternatives"]), None)}
        for number in page["numbers"]
    ]


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    # the writer ends lines with \r\n: if it used \n alone, it would not quote \r
    csv.writer(line).writerow(map(_without_formula, cells))
    return line.getvalue().removesuffix("\r\n") + "\n"


def _as_cell(name: str) -> str:
    """Return the name of a file as it is read from a cell of CSV."""
    return str(_without_formula(name)).encode(errors="backslashreplace").decode()


def _without_formula(value: Any) -> Any:
    """Put a quote before a text that a spreadsheet would take for a formula; `-` alone is none."""
    is_formula = isinstance(value, str) and value != "-" and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


@dataclass(frozen=True)
class ResultWriter:
    """A writer of the results of a run.

    write: adds text to the results.
    read_before: the number of results, by file, that an earlier run wrote.
    as_written: returns the name of a file as the results hold it.
    has_known_options: whether earlier results, if there are any, are known to be read with the same options.
    """

    write: Callable[[str], None]
    read_before: Counter[str] = field(default_factory=Counter)
    as_written: Callable[[str], str] = str
    has_known_options: bool = True

    def left(self, sources: Iterable[Source], skipped: Counter[str] | None = None) -> Iterator[Source]:
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


@dataclass(frozen=True)
class _Record:
    """A result of an earlier run and its text: a line, or with a row per number one or more."""

    file: str
    page: int | None
    failed: bool
    model: str
    text: str


@contextlib.contextmanager
def new_results(
    path: Path, *, force: bool, options: Mapping[str, str] | None = None
) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds text to the results of a new run, which appear in the file at the end.

    `options` are kept for `resume_results`; None for results that cannot be resumed.

    Raises:
        OutputError: the file cannot be written, or another run is writing it; or without `force` it exists,
            or an unfinished run has left results.
    """
    whole = Path(os.path.realpath(path))
    partial = _partial_results(whole)
    with _locked(whole, path):
        check_writable(path, force)
        if os.path.exists(partial):  # noqa: PTH110 (Path.exists raises an error for a long name)
            if not force:
                cause = f"{partial} holds results of a run that has not finished."
                raise OutputError(cause, "Continue it with --resume, or discard it with --force.")
            with faults_of(partial):
                partial.unlink()
        with writing_whole(path) as write:
            yield lambda text: write(text.encode(errors="backslashreplace"))
            with faults_of(path):  # the options of the results that are replaced next
                _options_file(whole).unlink(missing_ok=True)
        if options is not None:
            write_whole(_options_file(whole), json.dumps(options).encode())


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
    whole = Path(os.path.realpath(path))  # a link stays a link
    partial = _partial_results(whole)
    with _locked(whole, path):
        is_continued = partial.exists()
        usable, doubtful = _stored_records(whole, partial, path, per)
        other_models = {record.model for record in (*usable, *doubtful)} - {model}
        if other_models:
            cause = f"{path} holds results of {min(other_models)}, but the models are now {model}."
            raise UsageError(cause, "Name the same models, or another file.")
        stored = _check_options(path, whole, options) if usable or doubtful else options
        write_whole(partial, _content(usable, per).encode(), like=whole)
        if stored is not None:
            write_whole(_options_file(whole), json.dumps(dict(stored)).encode())
        read_before = Counter(record.file for record in usable if record.page in (None, 1))
        try:
            with _appending(partial, path) as write:
                yield ResultWriter(write, read_before, _as_cell if per else str, stored == options)
        except Interrupted as stopped:
            _add_missing(doubtful, partial, path, per)
            stopped.remedy = f"The results so far are in {partial}; the same command continues them."
            raise
        except Exception:
            before = _content(usable, per) or _heading(per)
            if not is_continued and partial.stat().st_size <= len(before.encode()):  # without a new result
                partial.unlink()
                if not whole.exists():
                    _options_file(whole).unlink(missing_ok=True)
            raise
        _add_missing(doubtful, partial, path, per)
        with faults_of(path):
            partial.replace(whole)


def _partial_results(whole: Path) -> Path:
    """Return the file in which the results grow until the run has finished."""
    return whole.with_name(whole.name + ".partial")


def _options_file(whole: Path) -> Path:
    """Return the file that holds the options of the results."""
    return whole.with_name(f".{whole.name}.options")


def _check_options(path: Path, whole: Path, options: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return the options of earlier results, or None if they are not known.

    Raises:
        UsageError: they differ from the options of this run.
    """
    try:
        stored = dict(json.loads(_options_file(whole).read_bytes()))
    except (OSError, ValueError, TypeError):  # another version wrote the results
        return None
    if options is None or stored == options:
        return stored
    names = [name for name in {**stored, **options} if stored.get(name) != options.get(name)]
    before, now = (
        ", ".join(f"{name} {given[name]}" if name in given else f"no {name}" for name in names)
        for given in (stored, options)
    )
    partial = _partial_results(whole)
    holder = partial if partial.exists() else path
    cause = f"{holder} holds results that were read with {before}, but this run has {now}."
    raise UsageError(
        cause, "Give the same options, name another file, or begin anew with --force instead of --resume."
    )


@contextlib.contextmanager
def _locked(whole: Path, path: Path) -> Iterator[None]:
    """Keep other runs from writing the same file."""
    from filelock import FileLock, Timeout  # only results in a file need it

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
            file = stack.enter_context(partial.open("ab", buffering=0))

        def write(text: str) -> None:
            left = text.encode(errors="backslashreplace")
            with faults_of(path):
                while left:
                    left = left[file.write(left) :]

        yield write
        with faults_of(path):
            os.fsync(file.fileno())


def _stored_records(
    whole: Path, partial: Path, path: Path, per: Per | None
) -> tuple[list[_Record], list[_Record]]:
    """Return the records of both files, and those whose pictures are to be read again.

    The partial file begins with what was usable in the whole one.
    """
    with faults_of(path):
        contents = [file.read_bytes() if file.exists() else b"" for file in (partial, whole)]
    newer, older = (_parse(content, path, per) for content in contents)
    files = {record.file for record in newer}
    doubtful: list[_Record] = []
    last_file = newer[-1].file if newer else None
    while newer and newer[-1].file == last_file:  # some of its pages may be missing
        doubtful.insert(0, newer.pop())
    records = [*newer, *(record for record in older if record.file not in files)]
    failed = {record.file for record in records if record.failed}
    doubtful = [*(record for record in records if record.file in failed), *doubtful]
    return [record for record in records if record.file not in failed], doubtful


def _content(records: Sequence[_Record], per: Per | None) -> str:
    """Return the text of a file with these records; empty without any."""
    return "".join([_heading(per), *(record.text for record in records)]) if records else ""


def _heading(per: Per | None) -> str:
    return _csv_line(_csv_fields(per)) if per else ""


def _add_missing(records: Sequence[_Record], partial: Path, path: Path, per: Per | None) -> None:
    """Add the records of files of which the partial file holds no result."""
    if not records:
        return
    with faults_of(path):
        content = partial.read_bytes()
    files = {record.file for record in _parse(content, path, per)}
    missing = [record for record in records if record.file not in files]
    with _appending(partial, path) as write:
        write(_content(missing, None if content else per))


def _parse(content: bytes, path: Path, per: Per | None) -> list[_Record]:
    """Parse the results of a file; a line that was cut off is left out."""
    end = content.rfind(b"\n") + 1
    while per and content[:end].count(b'"') % 2:  # the line ends within a quoted cell
        end = content.rfind(b"\n", 0, end - 1) + 1
    try:
        return _parse_json_lines(content[:end].decode()) if per is None else _parse_csv(content[:end], per)
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        kind = "JSON lines" if per is None else f"CSV with a row per {per}"
        cause = f"{path} or its .partial holds something other than results of digitcli as {kind}."
        raise OutputError(
            cause, "Name another file, or the same options; an edited table cannot be continued."
        ) from error


def _parse_json_lines(text: str) -> list[_Record]:
    records = []
    for line in text.split("\n")[:-1]:
        row = json.loads(line)
        if row["schema"] != SCHEMA or not isinstance(row["file"], str):
            raise ValueError(f"schema {row['schema']}, file {row['file']}")
        failed = row["status"] == "error"
        records.append(_Record(row["file"], row["page"], failed, str(row["model"]), line + "\n"))
    return records


def _parse_csv(content: bytes, per: Per) -> list[_Record]:
    fields = _csv_fields(per)
    lines = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    if content and next(lines) != list(fields):
        raise ValueError("other columns")
    records: list[_Record] = []
    last: tuple[str, str, int, int] | None = None  # the place of the number before, if the row has one
    for line in lines:
        row = dict(zip(fields, line, strict=True))
        page, failed, text = (
            int(row["page"]) if row["page"] else None,
            row["status"] == "error",
            _csv_line(line),
        )
        is_number = per == "number" and row["x"] != ""
        place = (row["file"], row["page"], int(row["row"]), int(row["x"])) if is_number else None
        if last is not None and place is not None and last[:2] == place[:2] and last < place:
            records[-1] = replace(records[-1], text=records[-1].text + text)  # a further number of the page
        else:
            records.append(_Record(row["file"], page, failed, row["model"], text))
        last = place
    return records
