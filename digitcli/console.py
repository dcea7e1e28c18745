"""Print: data on stdout, everything that is only for people on stderr. Nothing else in the package prints."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, Self, cast

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from digitcli.atomic_write import STDOUT
from digitcli.errors import DigitcliError, Interrupted, UsageError
from digitcli.events import Notice, StepDone, ThingsDone

Format = Literal["table", "json"]
TableFormat = Literal["table", "json", "csv"]

NAME_WIDTH = 15  # characters; columns of figures are left out before names get less
PIPE_WIDTH = 200  # characters; output that is no terminal has no width, and must not be cut


class LenientStderr(io.TextIOBase):
    """Standard error that ignores failures: a message for people must never stop the work."""

    @property
    def stream(self) -> IO[str] | None:
        """Standard error itself, also while one of rich's live displays stands in for it."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard error."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Tell whether standard error is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of standard error."""
        if self.stream is None:
            raise OSError("there is no standard error")
        return self.stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            if self.stream is not None:
                self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:  # noqa: SIM105 (from Python 3.13 on, this also runs when contextlib and sys are gone)
            if self.stream is not None:
                self.stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def open_console(file: IO[str] | None) -> Console:
    """Return a console that prints to a file, or to stdout for None; it is wide unless that is a terminal."""
    console = Console(file=file, highlight=False, emoji=False)  # a file name may contain :colons:
    if not os.environ.get("COLUMNS", "").isdecimal() and not console.is_terminal:
        console.width = PIPE_WIDTH
    if console.width < 1:  # with COLUMNS=0 rich would print nothing at all
        console.width = 80 if console.is_terminal else PIPE_WIDTH
    return console


out = open_console(None)
err = open_console(cast("IO[str]", LenientStderr()))


def reserve_stdout(output: Path | None, format: Format | TableFormat) -> None:
    """Send what is for people to stderr if the output file of a command, `-`, is standard output.

    Raises:
        UsageError: the result would be written to standard output, too.
    """
    global out
    if output == STDOUT:
        if format != "table":
            cause = f"-o - and --format {format} both write to standard output."
            raise UsageError(cause, "Leave one of them out.")
        out = err


class Busy:
    """A spinner with a message on stderr; used as `with Busy("Reading") as busy: busy.update("...")`.

    Rich's own status would also capture stdout, which is data and may go into a file.
    """

    def __init__(self, message: str) -> None:
        from rich.live import Live  # imported here so that --help does not load it
        from rich.spinner import Spinner

        self._spinner = Spinner("dots", Text(message), style="status.spinner")
        self._live = Live(
            self._spinner, console=err, refresh_per_second=12.5, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Show the spinner, if stderr is a terminal."""
        self._live.start()

    def stop(self) -> None:
        """Remove the spinner."""
        self._live.stop()

    def update(self, message: str) -> None:
        """Change the message."""
        self._spinner.update(text=Text(message))


class CountingBar:
    """A bar over the things that are done: `with CountingBar("digits") as bar: evaluate(on_event=bar)`.

    It appears with the first count, begins anew with other things, and shows notices. Where standard error is
    no terminal, it prints a line after every `say_every` things, or none at all.
    """

    def __init__(self, things: str = "", say_every: int | None = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        hidden = not err.is_interactive
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.things = things
        self.say_every = say_every if hidden else None
        self.bar = Progress(*columns, console=err, transient=True, disable=hidden, redirect_stdout=False)
        self.task = self.bar.add_task(things, total=None, visible=False)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, event: object) -> None:
        """Draw one event."""
        if isinstance(event, Notice):
            show_notice(event.message)
        elif isinstance(event, ThingsDone):
            if event.things and event.things != self.things:
                self.things = event.things
                self.bar.reset(self.task, description=event.things)
            self.show(event.done, event.n)

    def show(self, done: float, total: int) -> None:
        """Show the number of things that are done, of all things."""
        self.bar.update(self.task, completed=done, total=total, visible=True)
        if self.say_every and done % self.say_every == 0:
            err.print(f"{done:,} of {total:,} {self.things}")


class RunsView:
    """A bar over all runs, a line for each that is finished, and each notice once, which many runs give.

    `line_of` returns the number of finished runs and the line for an event, or None if no run is finished.
    """

    def __init__(
        self, bar: CountingBar, total: int, line_of: Callable[[object], tuple[int, str] | None]
    ) -> None:
        self.bar, self.total, self.line_of = bar, total, line_of
        self.done = 0
        self.notices: set[str] = set()

    def __call__(self, event: object) -> None:
        """Draw one event."""
        if (finished := self.line_of(event)) is not None:
            self.done, line = finished
            show_message(escape(printable(line)))
            self.bar.show(self.done, self.total)
        elif isinstance(event, StepDone):
            self.bar.show(self.done + event.progress, self.total)
        elif isinstance(event, Notice) and not event.routine and event.message not in self.notices:
            self.notices.add(event.message)
            show_notice(event.message)


def show_json(result: Any) -> None:
    """Print a result as JSON."""
    print(json.dumps(result, default=dataclasses.asdict, indent=2))


def show_data(text: str) -> None:
    """Print data as it is; on a terminal without control characters, which a file name may hold."""
    if out.is_terminal:
        text = "\n".join(map(printable, text.split("\n")))
    print(text, end="")


def show_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as CSV."""
    print(as_csv(rows), end="")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, after a row with their keys, which are the same in all rows; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def show_result(result: Any, format: TableFormat, show: Callable[[Any], None]) -> None:
    """Print a result as JSON, its `record`, as CSV, its `rows`, or else as `show` prints it for people."""
    if format == "json":
        show_json(result.record())
    elif format == "csv":
        show_csv(result.rows())
    else:
        show(result)


def show_table(table: RenderableType) -> None:
    """Print a table on stdout."""
    out.print(table)


def fitted_table(
    heading: str,
    names: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    least_important_first: Sequence[str],
    width: int,
    to_the_left: Collection[str] = (),
    name_width: int = NAME_WIDTH,
) -> tuple[Table, list[str]]:
    """Return a table that fits the width without cutting a cell, and the columns that are left out for that.

    heading, names: the first column.
    columns: the other columns by heading, with a cell for each name.
    least_important_first: the columns that may be left out, in this order.
    to_the_left: the columns that are aligned to the left.
    name_width: characters of names, which may be broken where they are longer, before columns are left out.
    """
    kept, left_out = dict(columns), []
    room = width - min(name_width, max(map(cell_len, [*names, *heading.split("\n")])))
    for column in least_important_first:
        if column in kept and sum(map(_column_width, kept, kept.values())) > room:
            del kept[column]
            left_out.append(" ".join(column.split()))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heading, style="cyan", overflow="fold")
    for column in kept:
        table.add_column(column, justify="left" if column in to_the_left else "right", no_wrap=True)
    for row in zip(map(escape, map(printable, names)), *kept.values(), strict=True):
        table.add_row(*row)
    return table, left_out


def _column_width(heading: str, cells: Sequence[str]) -> int:
    """Return the width of a column with the two blanks before it."""
    return 2 + max(map(len, [*heading.split("\n"), *cells]))


def show_left_out(columns: Sequence[str], whole: str = "csv") -> None:
    """Print which columns of a table were left out, if any, and the format that has them all."""
    if columns:
        names = ", ".join(columns)
        show_notice(f"These columns do not fit: {names}. Widen the terminal, or give --format {whole}.")


def show_notice(message: str) -> None:
    """Print a sentence for people on stderr."""
    show_message(f"[yellow]Note:[/] {escape(printable(message))}")


def show_error(error: DigitcliError | Interrupted) -> None:
    """Print the cause of an error and its remedy."""
    label = "" if isinstance(error, Interrupted) else "[bold red]Error:[/] "
    show_message(label + escape(printable(error.cause)))
    if error.remedy:
        show_message(escape(printable(error.remedy)))


def show_message(markup: str, style: str | None = None) -> None:
    """Print a message on stderr: wrapped at words on a terminal, and elsewhere in one line."""
    err.print(markup, style=style, soft_wrap=not err.is_terminal)


def pairs(rows: Mapping[str, str]) -> Table:
    """Return a table of names and values, one pair a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(printable(name)), escape(printable(value)))
    return table


def printable(text: str) -> str:
    """Return text with control characters escaped: a file name may hold anything."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def thousands(number: int | None) -> str:
    """Return a number with separators, e.g. 3,274,634; empty for None."""
    return "" if number is None else f"{number:,}"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage, e.g. 99.31 %; empty for None."""
    return "" if fraction is None else f"{100 * fraction:.2f} %"


def interval(low: float, high: float) -> str:
    """Return a 95 % interval of a fraction, e.g. 95 % interval 98.98 to 99.34 %."""
    return f"95 % interval {100 * low:.2f} to {percent(high)}"


def three_digits(number: float) -> str:
    """Return the first three digits of a measurement, since the fourth differs from run to run."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(size_bytes: float) -> str:
    """Return bytes with a unit, e.g. 6.5 MB."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000 or unit == "MB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if size_bytes >= 100 or unit == "B" else f"{size_bytes:.1f} {unit}"
