"""Read the tables of pages: find their cells, tell what the numbers mean, and check their arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from digitcli.errors import UsageError
from digitcli.imaging.grayscale import Grey
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.pages import look
from digitcli.recognition.pipeline import PictureLike
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number, Reading
from digitcli.tables.arithmetic import Check, apply_checks, check_name, column_in, equations, parse_check
from digitcli.tables.meters import PreviousReadings, check_readings, read_previous
from digitcli.tables.structure import find_tables
from digitcli.tables.table import Cell, Table, TablePage
from digitcli.tables.values import Conventions, Refusal, ValueType, parse_conventions, parse_type, value_of

Printed = Literal["keep", "skip", "only"]
SUMMABLE = {"amount", "decimal", "integer", "meter"}  # types of values that a check adds


@dataclass(frozen=True)
class TableOptions:
    """What is known of the tables of all pages.

    names: of the columns, from the first one on.
    types: of the values of all columns, or of single ones by their name or their number from 1 on.
    checks: the arithmetic that their numbers satisfy.
    previous: the earlier readings of their meters.
    printed: what becomes of printed numbers: all are kept, or these are skipped, or only these are kept.
    """

    names: tuple[str, ...] = ()
    types: dict[str | None, ValueType] = field(default_factory=dict)
    conventions: Conventions = field(default_factory=Conventions)
    checks: tuple[Check, ...] = ()
    previous: PreviousReadings | None = None
    printed: Printed = "keep"

    def type_of(self, column: int) -> ValueType | None:
        """Return the type of the values of a column, from 0 on; None if nothing is known of it."""
        name = self.names[column] if column < len(self.names) else None
        named = None if name is None else self.types.get(name)
        return named or self.types.get(str(column + 1)) or self.types.get(None)


def parse_table_options(
    columns: str | None = None,
    types: Iterable[str] = (),
    checks: Iterable[str] = (),
    locale: str | None = None,
    date_order: str | None = None,
    previous: Path | None = None,
    max_change: int = 0,
    printed: Printed = "keep",
) -> TableOptions:
    """Parse the options of tables, for example `name,marks`, `marks=integer` and `total = sum(1..8)`.

    Raises:
        UsageError: one of them cannot be parsed, or names a column that has another name.
        InputError: the earlier readings cannot be read, see `read_previous`.
    """
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    for name in names:
        if not name or names.count(name) > 1:
            fault = f"names '{name}' twice" if name else "has an empty name"
            raise UsageError(f"--columns '{columns}' {fault}.", "Give each column a name of its own.")
    parsed: dict[str | None, ValueType] = {}
    for text in types:
        column, is_named, kind = text.rpartition("=")
        name = column.strip()
        if name.isdecimal() and name not in names:
            name = str(int(name))
        elif is_named and name not in names:
            remedy = "Give the number of a column, from 1 on, or name the columns with --columns."
            raise UsageError(f"There is no column '{name}', which --type '{text}' names.", remedy)
        parsed[name if is_named else None] = parse_type(kind.strip())
    conventions = parse_conventions(locale, date_order)
    readings = None if previous is None else read_previous(previous, max_change)
    parsed_checks = tuple(map(parse_check, checks))
    for check in parsed_checks:
        for place in () if check.is_of_rows else check.places:
            check_name(place, names, f"--check '{check.text}'")
    for place in (readings.key, readings.value) if readings else ():
        check_name(place, names, "--previous")
    return TableOptions(names, parsed, conventions, parsed_checks, readings, printed)


def read_tables(
    reader: Reader, pictures: Iterable[PictureLike], options: TableOptions = TableOptions()
) -> Iterator[TablePage]:
    """Yield the tables of each page, in the order of the pictures; a bad picture has the status `error`.

    reader: one that keeps pictures.
    """
    for reading in reader.read_all(pictures):
        yield tables_of(reading, reader, options)


def tables_of(reading: Reading, reader: Reader, options: TableOptions = TableOptions()) -> TablePage:
    """Return the tables of a page that a reader has read, and whose picture it has kept.

    A table without a row or column that a check or a type names is not checked; if all are, the page has a
    fault, see `TablePage.fault`.
    """
    page = TablePage(reading.file, reading.page, (), reading.status, reading.reason, reading.picture)
    if reading.picture is None or not reading.numbers:
        return page
    threshold, networks = reader.page_min_confidence, reader.models.page_networks
    constraints = reader.constraints

    def read_blank(grey: Grey) -> Number | None:
        seen = None if networks is None else look(grey, networks, constraints, reader.top_k).reading
        return None if seen is None or len(seen.numbers) != 1 else seen.numbers[0]

    grey = as_levels(reading.picture)
    found = find_tables(grey, reading.numbers, reading.detections, threshold, read_blank)
    tables, faults = list[Table](), list[UsageError]()
    for table in found:
        try:
            tables.append(_fully_completed(table, threshold, options))
        except UsageError as error:  # of this table, which must not end the reading of others
            faults.append(error)
            tables.append(completed(table, threshold, replace(options, checks=(), previous=None)))
    if constraints:
        tables = [
            replace(each, cells=tuple(_constrained(cell, constraints) for cell in each.cells))
            for each in tables
        ]
    return replace(page, tables=tuple(tables), fault=faults[0] if len(faults) == len(found) > 0 else None)


def _fully_completed(table: Table, min_confidence: float, options: TableOptions) -> Table:
    """Return a completed table that has every row and column that the options name, see `completed`."""
    table = completed(table, min_confidence, options)
    if table.columns < len(options.names):
        cause = f"A table has {table.columns} columns, and --columns names {len(options.names)}."
        raise UsageError(cause, "Compare the result with the page: a column may be missing.")
    for name in filter(None, options.types):
        column_in(name, table, f"--type {name}={options.types[name]}")
    return table


def _constrained(cell: Cell, constraints: Constraints) -> Cell:
    """Return a cell whose number is refused if it breaks the constraints after all changes."""
    if cell.number is None or constraints.accepts(cell.number.text):
        return cell
    return replace(cell, number=cell.number.refused_for("constraint"))


def completed(table: Table, min_confidence: float, options: TableOptions) -> Table:
    """Return a table with the names of its columns, after its checks, and with values.

    Raises:
        UsageError: a check or a type names a column that the table does not have.
    """
    names = (*options.names[: table.columns], *("" for _ in range(table.columns - len(options.names))))
    table = replace(table, names=names if options.names else ())
    for check in options.checks:
        columns = {column for equation in equations(check, table) for _, column in equation.cells}
        kinds = {kind.name for column in columns if (kind := options.type_of(column))}
        if other := sorted(kinds - SUMMABLE):
            cause = f"--check '{check.text}' adds a column whose type is {other[0]}."
            raise UsageError(cause, f"Check columns whose type is {', '.join(sorted(SUMMABLE))}.")
    table = apply_checks(table, options.checks, min_confidence)
    if options.previous:
        table = check_readings(table, options.previous, min_confidence)
    return replace(table, cells=tuple(_kept(_valued(cell, options), options.printed) for cell in table.cells))


def _valued(cell: Cell, options: TableOptions) -> Cell:
    """Return a cell with the value of its number; what has none is refused, unless it is printed."""
    kind = options.type_of(cell.column)
    if kind is None or cell.number is None:
        return cell
    value = value_of(cell.number.raw or cell.number.text, kind, options.conventions)
    if isinstance(value, Refusal):
        return cell if cell.is_printed else replace(cell, number=cell.number.refused_for(value.reason))
    return replace(cell, value=value)


def _kept(cell: Cell, printed: Printed) -> Cell:
    """Return a cell, without its number where that is not asked for."""
    is_kept = printed == "keep" or cell.is_printed == (printed == "only")
    return cell if is_kept else replace(cell, number=None, value=None, change=None)
