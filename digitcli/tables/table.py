"""The tables of a page: cells in rows and columns, and the numbers that stand in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digitcli.errors import UsageError
from digitcli.recognition.readings import Number

if TYPE_CHECKING:
    import numpy as np

Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    row, column: where it begins, from 0 on.
    corners: x and y of its corners in pixels of the upright page, clockwise from the upper left one.
    number: what is written in it, None if it is empty.
    is_printed: whether that is printed, as headings and row numbers are.
    value: what the number means, in the form of `digitcli.tables.values`; None where no type was asked for.
    change: what a check made of the number and how sure that is, or what it contradicts; None otherwise.
    """

    row: int
    column: int
    number: Number | None = None
    corners: Corners = ()
    is_printed: bool = False
    value: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of a page.

    cells: at least those that hold a number.
    rows, columns: how many there are, empty ones included.
    names: of the columns; empty if nobody named them.
    is_ruled: whether its rules were found.
    unmet: the rows or columns where a check does not hold with the numbers as they stand, e.g. `row 2`.
    """

    cells: tuple[Cell, ...]
    rows: int
    columns: int
    names: tuple[str, ...] = ()
    is_ruled: bool = False
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True)
class TablePage:
    """The tables of one page of a file.

    file, page: as in `Reading`.
    picture: the upright page, float32 (H, W) in [0, 1]; None where it was not kept.
    fault: why none of its tables could be checked, e.g. because they have too few columns; None if one could.
    """

    file: str
    page: int | None
    tables: tuple[Table, ...]
    status: str = "read"
    reason: str | None = None
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)
    fault: UsageError | None = None
