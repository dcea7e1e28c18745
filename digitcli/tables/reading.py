"""Read the tables of pages: find their cells, tell what the numbers mean, and check their arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from digitcli.errors import UsageError, did_you_mean
from digitcli.imaging.grayscale import Grey
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.pages import look
from digitcli.recognition.pipeline import PictureLike
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import TOP_K, Number, Reading
from digitcli.tables.arithmetic import Check, apply_checks, parse_check
from digitcli.tables.structure import find_tables
from digitcli.tables.table import Cell, Table, TablePage
from digitcli.tables.values import Conventions, Refusal, ValueType, parse_conventions, parse_type, value_of


@dataclass(frozen=True)
class TableOptions:
    """What is known of the tables of all pages.

    names: of the columns, from the first one on.
    types: of the values of all columns, or of single ones by their name or their number from 1 on.
    checks: the arithmetic that their numbers satisfy.
    """

    names: tuple[str, ...] = ()
    types: dict[str | None, ValueType] = field(default_factory=dict)
    conventions: Conventions = field(default_factory=Conventions)
    checks: tuple[Check, ...] = ()

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
) -> TableOptions:
    """Parse the options of tables, for example `name,marks`, `marks=integer` and `total = sum(1..8)`.

    Raises:
        UsageError: one of them cannot be parsed, or a type is of a column that has another name.
    """
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    if "" in names or len(set(names)) < len(names):
        raise UsageError(f"--columns '{columns}' has an empty or a double name.", "Give each column a name.")
    parsed: dict[str | None, ValueType] = {}
    for text in types:
        column, is_named, kind = text.rpartition("=")
        if is_named and not column.strip().isdecimal() and column.strip() not in names:
            remedy = did_you_mean(column.strip(), names) if names else "Name the columns with --columns."
            raise UsageError(f"--type '{text}' is of no column.", remedy)
        parsed[column.strip() if is_named else None] = parse_type(kind.strip())
    conventions = parse_conventions(locale, date_order)
    return TableOptions(names, parsed, conventions, tuple(map(parse_check, checks)))


def read_tables(
    reader: Reader, pictures: Iterable[PictureLike], options: TableOptions = TableOptions()
) -> Iterator[TablePage]:
    """Yield the tables of each page, in the order of the pictures; a bad picture has the status `error`.

    reader: one that keeps pictures.

    Raises:
        UsageError: a check or a type names a column that a table does not have.
    """
    for reading in reader.read_all(pictures):
        yield tables_of(reading, reader, options)


def tables_of(reading: Reading, reader: Reader, options: TableOptions = TableOptions()) -> TablePage:
    """Return the tables of a page that a reader has read, and whose picture it has kept."""
    page = TablePage(reading.file, reading.page, (), reading.status, reading.reason, reading.picture)
    if reading.picture is None or not reading.numbers:
        return page
    threshold, networks = reader.page_min_confidence, reader.models.page_networks

    def read_blank(grey: Grey) -> Number | None:
        seen = None if networks is None else look(grey, networks, None, TOP_K).reading
        return None if seen is None or len(seen.numbers) != 1 else seen.numbers[0]

    grey = as_levels(reading.picture)
    found = find_tables(grey, reading.numbers, reading.detections, threshold, read_blank)
    return replace(page, tables=tuple(completed(table, threshold, options) for table in found))


def completed(table: Table, min_confidence: float, options: TableOptions) -> Table:
    """Return a table with the names of its columns, after its checks, and with values.

    Raises:
        UsageError: a check or a type names a column that the table does not have.
    """
    names = (*options.names[: table.columns], *("" for _ in range(table.columns - len(options.names))))
    table = replace(table, names=names if options.names else ())
    table = apply_checks(table, options.checks, min_confidence)
    return replace(table, cells=tuple(_valued(cell, options) for cell in table.cells))


def _valued(cell: Cell, options: TableOptions) -> Cell:
    """Return a cell with the value of its number; what has none is refused."""
    kind = options.type_of(cell.column)
    if kind is None or cell.number is None or cell.is_printed:
        return cell
    value = value_of(cell.number.raw or cell.number.text, kind, options.conventions)
    if isinstance(value, Refusal):
        return replace(cell, number=cell.number.refused_for(value.reason))
    return replace(cell, value=value)
