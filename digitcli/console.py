"""The only printer: data to stdout, everything for people to stderr."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from digitcli.errors import DigitcliError

Format = Literal["table", "json"]
SPARKS = "▁▂▃▄▅▆▇█"

PIPE_WIDTH = 200  # nobody's window: what is read by a program or later must not be cut


def open_console(stderr: bool) -> Console:
    """A console on stdout or stderr, wide where that is no terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


out = open_console(stderr=False)
err = open_console(stderr=True)


def show_json(result: Any) -> None:
    """A result as JSON on stdout."""
    text = json.dumps(result, default=dataclasses.asdict, indent=2, ensure_ascii=False)
    print(text)


def show_table(table: RenderableType) -> None:
    """A table on stdout."""
    out.print(table)


def show_error(error: DigitcliError) -> None:
    """What happened, and what to do about it."""
    err.print(f"[bold red]Error:[/] {escape(printable(error.cause))}", soft_wrap=True)
    if error.remedy:
        err.print(escape(printable(error.remedy)), soft_wrap=True)


def pairs(rows: Mapping[str, str]) -> Table:
    """Names and values, one pair a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(printable(value)))
    return table


def sparkline(values: Sequence[float]) -> str:
    """The course of some values in one line, from their lowest to their highest."""
    low, high = min(values), max(values)
    steps = [round((value - low) / ((high - low) or 1) * (len(SPARKS) - 1)) for value in values]
    return "".join(SPARKS[step] for step in steps)


def printable(text: str) -> str:
    """Text that cannot steer the terminal or break its encoding: file names may hold anything."""
    return "".join(
        char
        if char.isprintable() or char == "\n"
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def percent(fraction: float | None) -> str:
    """A fraction as people read it, e.g. 99.31 %."""
    return "" if fraction is None else f"{100 * fraction:.2f} %"


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(size_bytes: float) -> str:
    """Bytes as people read them, e.g. 6.5 MB."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000 or unit == "MB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if size_bytes >= 100 or unit == "B" else f"{size_bytes:.1f} {unit}"
