"""`digitcli predict --table`: read tables, and show them or write them to a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from digitcli import console
from digitcli.atomic_write import writing_whole
from digitcli.cli.signals import wait_with_signals
from digitcli.data.storage import address_of
from digitcli.errors import PartialInputError, UsageError, counted, import_packages

if TYPE_CHECKING:
    from digitcli.cli.predict import PredictOptions
    from digitcli.recognition.reader import Reader
    from digitcli.recognition.readings import Reading
    from digitcli.tables.reading import TableOptions
    from digitcli.tables.table import Table, TablePage

# Options that have a meaning only for tables, and those that have none for them.
OWN = ("columns", "type", "locale", "date_order", "check", "previous", "max_change")
FOREIGN = ("resume", "single_digit", "manifest")
SUFFIXES = {"page": (".csv", ".xlsx"), "number": (".csv", ".jsonl")}


def check_options(options: PredictOptions) -> None:
    """Refuse options of tables without `--table`, and others with it.

    Raises:
        UsageError: two options do not go together.
        EnvironmentFault: XlsxWriter is not installed.
    """
    names, defaults = FOREIGN if options.table else OWN, vars(type(options))
    given = next((name for name in names if getattr(options, name) != defaults[name]), None)
    if given is not None:
        shown = f"--{given.replace('_', '-')}"
        if options.table:
            raise UsageError(f"--table and {shown} do not go together.", "Leave one of them out.")
        raise UsageError(f"{shown} is for tables.", "Give --table, too.")
    if not options.table:
        return
    suffix = None if options.output is None else options.output.suffix.lower()
    if options.output is not None and (address_of(options.output) or suffix not in SUFFIXES[options.per]):
        cause = f"Tables cannot be written to {options.output}."
        remedy = "Name a .csv or .xlsx file of this machine, or a .csv or .jsonl file with --per number."
        raise UsageError(cause, remedy)
    forms = {"page": ("table", "csv"), "number": ("csv", "jsonl")}[options.per]
    if options.form not in forms:
        cause = f"--table with --per {options.per} is no {options.form}."
        raise UsageError(cause, f"Give --format {' or '.join(forms)}.")
    if (options.previous is None) != (options.max_change is None):
        cause = "--previous and --max-change need each other, but only one of them is given."
        raise UsageError(cause, "Give for example --previous readings.csv --max-change 50.")
    if suffix == ".xlsx":
        import_packages("Excel", "excel", "xlsxwriter")


def parse(options: PredictOptions) -> TableOptions:
    """Parse what is known of the tables, see `parse_table_options`."""
    from digitcli.tables.reading import parse_table_options

    return parse_table_options(
        options.columns, options.type, options.check, options.locale, options.date_order,
        options.previous, options.max_change or 0,
    )  # fmt: skip


def show(readings: Iterator[Reading], options: PredictOptions, known: TableOptions, reader: Reader) -> None:
    """Show the tables of pages that were read, or write them to a file."""
    with wait_with_signals():
        from digitcli.tables import spreadsheets
        from digitcli.tables.reading import tables_of
    unchecked: list[TablePage] = []
    pages = _noted((tables_of(reading, reader, known) for reading in readings), unchecked)
    if options.per == "number":
        _write(spreadsheets.record_lines(pages, options.form), options)
    elif options.output is not None:
        written = spreadsheets.write_tables(pages, options.output, force=options.force)
        counts = (written.tables, "table"), (written.cells, "number"), (written.doubts, "doubt")
        tables, numbers, doubts = (counted(*each) for each in counts)
        notice = f"{options.output} holds {tables} with {numbers}"
        console.show_notice(f"{notice}; look at {doubts}." if written.doubts else f"{notice}, and no doubts.")
    elif options.form == "csv":
        kept = [replace(page, picture=None) for page in pages]
        console.show_data(spreadsheets.grid_csv(kept))
        cells = (cell for page in kept for table in page.tables for cell in table.cells)
        if guesses := sum(cell.number is not None and cell.number.status == "refused" for cell in cells):
            notice = f"Numbers that were refused, so that a guess stands in their cells: {guesses}."
            console.show_notice(f"{notice} Write a file with -o, or give --per number, to see which.")
    else:
        for page in pages:
            _draw(page)
    if unchecked and (fault := unchecked[0].fault):
        cause = f"{counted(len(unchecked), 'page')} could not be checked. {unchecked[0].file}: {fault.cause}"
        raise PartialInputError(cause, fault.remedy)


def _noted(pages: Iterable[TablePage], unchecked: list[TablePage]) -> Iterator[TablePage]:
    """Yield pages, and keep those that could not be checked, without their pictures."""
    for page in pages:
        if page.fault:
            unchecked.append(replace(page, picture=None))
        yield page


def _write(lines: Iterator[str], options: PredictOptions) -> None:
    if options.output is None:
        for line in lines:
            console.show_data(line)
        return
    with writing_whole(options.output) as write:
        for line in lines:
            write(line.encode(errors="backslashreplace"))


def _draw(page: TablePage) -> None:
    for index, table in enumerate(page.tables):
        place = f", page {page.page}" if page.page else ""
        end = f", table {index + 1}" if len(page.tables) > 1 else ""
        console.show_table(_grid(f"{page.file}{place}{end}", table))
    if not page.tables and page.status != "error":
        console.show_notice(f"{page.file} has no table: {page.reason or page.status}.")


def _grid(title: str, table: Table) -> RenderableType:
    """Return a table for a terminal; refused numbers are yellow and end with a question mark."""
    grid = RichTable(
        title=escape(console.printable(title)), title_justify="left", box=box.SIMPLE, show_lines=False
    )
    for column in range(table.columns):
        grid.add_column(escape(table.names[column] if table.names else str(column + 1)), justify="right")
    texts = [[""] * table.columns for _ in range(table.rows)]
    for cell in table.cells:
        if cell.number is not None:
            shown = escape(cell.value or cell.number.raw or cell.number.text)
            is_read = cell.number.status == "read"
            texts[cell.row][cell.column] = shown if is_read else f"[yellow]{shown}?[/]"
    for row in texts:
        grid.add_row(*row)
    return grid
