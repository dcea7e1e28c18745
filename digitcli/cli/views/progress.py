"""Draw the progress of countable work on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from digitcli import console


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
