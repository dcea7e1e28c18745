"""Draw the progress of countable work on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from digitcli import console
from digitcli.events import Notice, StepDone


class CountingBar:
    """A bar that appears with the first count; used as `with CountingBar("digits") as bar: bar.show(1, 10)`.

    Where standard error is no terminal, it prints a line after every `say_every` things, or none at all.
    """

    def __init__(self, things: str, say_every: int | None = None) -> None:
        columns = (TextColumn(things), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = not console.err.is_interactive
        self.things = things
        self.say_every = say_every if hidden else None
        self.bar = Progress(
            *columns, console=console.err, transient=True, disable=hidden, redirect_stdout=False
        )
        self.task = self.bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def show(self, done: float, total: int) -> None:
        """Show the number of things that are done, of all things."""
        self.bar.update(self.task, completed=done, total=total, visible=True)
        if self.say_every and done % self.say_every == 0:
            console.err.print(f"{done:,} of {total:,} {self.things}")


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
            console.show_message(escape(console.printable(line)))
            self.bar.show(self.done, self.total)
        elif isinstance(event, StepDone):
            self.bar.show(self.done + event.progress, self.total)
        elif isinstance(event, Notice) and not event.routine and event.message not in self.notices:
            self.notices.add(event.message)
            console.show_notice(event.message)
