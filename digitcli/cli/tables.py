"""`digitcli predict --table` and `--form`: read tables and forms, and show or write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
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
from digitcli.settings import option_name

if TYPE_CHECKING:
    from digitcli.cli.predict import PredictOptions
    from digitcli.recognition.reader import Reader
    from digitcli.recognition.readings import Reading
    from digitcli.recognition.sources import Picture
    from digitcli.tables.forms import Form
    from digitcli.tables.reading import TableOptions
    from digitcli.tables.table import Cell, Table, TablePage

# Options that have a meaning only for tables, those that have none for them, and those that a template of a
# form replaces.
OWN = ("columns", "type", "locale", "date_order", "check", "previous", "max_change", "printed")
FOREIGN = ("resume", "single_digit", "manifest")
REPLACED = ("table", *OWN, *FOREIGN, "length", "pattern", "range", "check_digit")
MOST_UNMET = 3  # rows that a check does not meet which are named
SUFFIXES = {"page": (".csv", ".xlsx"), "number": (".csv", ".jsonl")}


def check_options(options: PredictOptions) -> None:
    """Refuse options of tables without `--table`, and others with it or with `--form`.

    Raises:
        UsageError: two options do not go together.
        EnvironmentFault: XlsxWriter is not installed.
    """
    kind = "--form" if options.template is not None else "--table"
    unfit = REPLACED if options.template is not None else FOREIGN if options.table else OWN
    defaults = vars(type(options))
    given = next((name for name in unfit if getattr(options, name) != defaults[name]), None)
    if given is not None and options.is_tabular:
        remedy = "Leave one of them out" + ("; the template tells this." if kind == "--form" else ".")
        raise UsageError(f"{kind} and {option_name(given)} do not go together.", remedy)
    if given is not None:
        raise UsageError(f"{option_name(given)} is for tables.", "Give --table, too.")
    if not options.is_tabular:
        return
    suffix = None if options.output is None else options.output.suffix.lower()
    if options.output is not None and (address_of(options.output) or suffix not in SUFFIXES[options.per]):
        cause = f"Tables cannot be written to {options.output}."
        remedy = "Name a .csv or .xlsx file of this machine, or a .csv or .jsonl file with --per number."
        raise UsageError(cause, remedy)
    forms = {"page": ("table", "csv"), "number": ("csv", "jsonl")}[options.per]
    if options.form not in forms:
        cause = f"{kind} with --per {options.per} is no {options.form}."
        raise UsageError(cause, f"Give --format {' or '.join(forms)}.")
    if (options.previous is None) != (options.max_change is None):
        cause = "--previous and --max-change need each other, but only one of them is given."
        raise UsageError(cause, "Give for example --previous readings.csv --max-change 50.")
    if suffix == ".xlsx":
        import_packages("Excel", "excel", "xlsxwriter")


def needs_pictures(options: PredictOptions) -> bool:
    """Tell whether tables are sought in the pictures of pages, or cells of forms are shown in Excel."""
    is_excel = options.output is not None and options.output.suffix.lower() == ".xlsx"
    return options.table or (options.template is not None and is_excel)


def parse(options: PredictOptions) -> TableOptions | Form | None:
    """Return what is known of the tables, see `parse_table_options`, or the form; None for other results."""
    if options.template is not None:
        from digitcli.tables.forms import load_form

        return load_form(Path(options.template))
    if not options.table:
        return None
    from digitcli.tables.reading import parse_table_options

    return parse_table_options(
        options.columns, options.type, options.check, options.locale, options.date_order,
        options.previous, options.max_change or 0, options.printed,
    )  # fmt: skip


def read(pictures: Iterable[Picture], known: TableOptions | Form, reader: Reader) -> Iterator[Reading]:
    """Yield the readings of pages with tables, or of a form."""
    from digitcli.tables.forms import Form, read_forms

    return read_forms(reader, pictures, known) if isinstance(known, Form) else reader.read_all(pictures)


def show(
    readings: Iterator[Reading], options: PredictOptions, known: TableOptions | Form, reader: Reader
) -> None:
    """Show the tables or forms of pages that were read, or write them to a file."""
    with wait_with_signals():
        from digitcli.tables import spreadsheets
        from digitcli.tables.forms import Form, form_page
        from digitcli.tables.reading import tables_of

    def page_of(reading: Reading) -> TablePage:
        if isinstance(known, Form):
            return form_page(reading, known, reader.min_confidence)
        return tables_of(reading, reader, known)

    unchecked: list[TablePage] = []
    unmet: list[str] = []
    pages = _noted(map(page_of, readings), unchecked, unmet)
    fields = known.options.names if isinstance(known, Form) else None
    if options.per == "number":
        _write(spreadsheets.record_lines(pages, options.form), options)
    elif options.output is not None:
        written = spreadsheets.write_tables(pages, options.output, force=options.force, fields=fields)
        things = (written.tables, "form" if fields else "table"), (written.cells, "number")
        tables, numbers, doubts = (counted(*each) for each in (*things, (written.doubts, "doubt")))
        notice = f"{options.output} holds {tables} with {numbers}"
        is_excel = options.output.suffix.lower() == ".xlsx"
        place = "the sheet doubts" if is_excel else options.output.with_suffix(".doubts.csv").name
        if written.doubts:
            console.show_notice(f"{notice}; look at {doubts} in {place}.")
        elif written.tables:
            console.show_notice(f"{notice}, and no doubts.")
    elif options.form == "csv":
        kept = [replace(page, picture=None) for page in pages]
        console.show_data(spreadsheets.grid_csv(kept, fields))
        for page in kept if fields is None else ():
            _note_no_table(page)
        cells = (cell for page in kept for table in page.tables for cell in table.cells)
        if guesses := sum(cell.number is not None and cell.number.status == "refused" for cell in cells):
            shown = "their cells are empty" if fields else "a guess stands in their cells"
            notice = f"Numbers that were refused, so that {shown}: {guesses}."
            console.show_notice(f"{notice} Write a file with -o, or give --per number, to see which.")
    else:
        for page in pages:
            _draw(page, is_form=fields is not None)
    if unmet:
        more = f" and {len(unmet) - MOST_UNMET:,} more" if len(unmet) > MOST_UNMET else ""
        console.show_notice(f"--check does not hold for {', '.join(unmet[:MOST_UNMET])}{more}.")
    if unchecked and (fault := unchecked[0].fault):
        cause = f"{counted(len(unchecked), 'page')} could not be checked. {unchecked[0].file}: {fault.cause}"
        raise PartialInputError(cause, fault.remedy)


def _noted(pages: Iterable[TablePage], unchecked: list[TablePage], unmet: list[str]) -> Iterator[TablePage]:
    """Yield pages, and keep those that could not be checked, without their pictures, and unmet checks."""
    for page in pages:
        if page.fault:
            unchecked.append(replace(page, picture=None))
        unmet += [f"{place} of {page.file}" for table in page.tables for place in table.unmet]
        yield page


def _write(lines: Iterator[str], options: PredictOptions) -> None:
    if options.output is None:
        for line in lines:
            console.show_data(line)
        return
    with writing_whole(options.output) as write:
        for line in lines:
            write(line.encode(errors="backslashreplace"))


def _draw(page: TablePage, *, is_form: bool) -> None:
    for index, table in enumerate(page.tables):
        place = f", page {page.page}" if page.page else ""
        end = f", table {index + 1}" if len(page.tables) > 1 else ""
        console.show_table((_fields if is_form else _grid)(f"{page.file}{place}{end}", table))
    if not is_form:
        _note_no_table(page)


def _note_no_table(page: TablePage) -> None:
    if not page.tables and page.status != "error":
        console.show_notice(f"{page.file} has no table: {page.reason or page.status}.")


def _grid(title: str, table: Table) -> RenderableType:
    """Return a table for a terminal."""
    grid = _new_grid(title)
    for column in range(table.columns):
        grid.add_column(escape(table.names[column] if table.names else str(column + 1)), justify="right")
    texts = [[""] * table.columns for _ in range(table.rows)]
    for cell in table.cells:
        texts[cell.row][cell.column] = _shown(cell)
    for row in texts:
        grid.add_row(*row)
    return grid


def _fields(title: str, form: Table) -> RenderableType:
    """Return the fields of a form for a terminal, which is narrow, below each other."""
    grid = _new_grid(title)
    grid.add_column("field")
    grid.add_column("reads", justify="right")
    for cell in form.cells:
        grid.add_row(escape(form.names[cell.column]), _shown(cell))
    return grid


def _new_grid(title: str) -> RichTable:
    title = escape(console.printable(title))
    return RichTable(title=title, title_justify="left", box=box.SIMPLE, show_lines=False)


def _shown(cell: Cell) -> str:
    """Return the text of a cell; a refused number is yellow and ends with a question mark."""
    if cell.number is None:
        return ""
    shown = escape(cell.value or cell.number.raw or cell.number.text)
    return shown if cell.number.status == "read" else f"[yellow]{shown}?[/]"
