"""Readings as a person sees them: a row a picture, its digits drawn, the steps, progress and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from threading import Thread
from types import TracebackType

import cv2
import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.views.terminal_image import Picture
from digitcli.errors import PictureError
from digitcli.recognition.results import Digit, Number, Reading

NAME_COLUMNS, TEXT_COLUMNS = 36, 16
DIGIT_COLUMNS, LARGE_DIGIT_COLUMNS, STEP_COLUMNS = 14, 28, 56
STEP_ROWS = 56
DRAWN = 24  # pictures whose digits are drawn; a row is enough for the others
BAR_COLUMNS = 12
UPDATE_SECONDS = 0.2
STYLES = {"read": "bold green", "refused": "yellow", "blank": "dim", "error": "red"}


class ReadingView:
    """Counts and shows readings as they come; used as `with ReadingView(...) as view: view.watch(readings)`.

    `table` is what people get on stdout, `steps` shows the road of every picture. Errors go to stderr; the
    latest is `held` back until the next picture, so that a lone error is told once, by the exit.
    """

    def __init__(self, table: bool, to_file: bool, steps: bool, read_before: int = 0) -> None:
        self.table = table
        self.steps = steps
        self.counts: Counter[str] = Counter()
        self.read_before = read_before  # pictures whose results a run goes on with
        self.files, self.files_in_all = 0, 0  # the latter is 0 until all are counted
        self.held: PictureError | None = None
        self.started = self.updated = time.monotonic()
        busy = console.err.is_interactive and (to_file or not console.out.is_terminal)
        self.status = console.Busy("Reading") if busy else None

    def count_ahead(self, files: Iterable[object]) -> None:
        """Count what is to be read while it is being read, so that the time left can be told."""

        def count() -> None:
            self.files_in_all = sum(1 for _ in files)

        if self.status:
            Thread(target=count, daemon=True).start()

    def __enter__(self) -> ReadingView:
        if self.status:
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status:
            self.status.stop()
        alone = kind is None and sum(self.counts.values()) + self.read_before == 1
        if not alone and kind is not BrokenPipeError:
            self._release()
        if kind is None and sum(self.counts.values()) > 1:
            console.err.print(self.summary(), style="dim")

    def watch(self, readings: Iterator[Reading]) -> Iterator[Reading]:
        """The same readings, counted, with their errors and steps shown."""
        for reading in readings:
            self._release()
            self.counts[reading.status] += 1
            self.files += reading.page in (None, 1)
            self.held = reading.error
            if self.steps and reading.picture is not None:
                (console.out if self.table else console.err).print(draw_steps(reading))
            if self.status and time.monotonic() - self.updated > UPDATE_SECONDS:
                self.updated = time.monotonic()
                self.status.update(self.summary() + self._left())
            yield reading

    def _release(self) -> None:
        if self.held is not None:
            console.show_error(self.held)
            self.held = None

    def summary(self) -> str:
        """How many pictures of which kind, and how fast."""
        total, seconds = sum(self.counts.values()), time.monotonic() - self.started
        named = {"read": "read", "refused": "refused", "blank": "blank", "error": "failed"}
        parts = ", ".join(
            f"{self.counts[status]:,} {word}" for status, word in named.items() if self.counts[status]
        )
        return f"{total:,} pictures in {console.duration(seconds)}: {parts} ({total / seconds:,.0f} a second)"

    def _left(self) -> str:
        if self.files_in_all <= self.files:
            return ""
        left = (time.monotonic() - self.started) * (self.files_in_all / self.files - 1)
        return f", {self.files_in_all:,} in all, {console.duration(left)} left"

    def show_row(self, reading: Reading) -> None:
        """One picture: what it reads, how surely, and its digits as the network saw them."""
        total = sum(self.counts.values())
        if total == 1:
            console.out.print(_row("picture", "reads", "sure", style="bold"), soft_wrap=True)
        console.out.print(describe(reading), soft_wrap=True)
        if reading.digits and console.out.is_terminal and total <= DRAWN and not self.steps:
            console.out.print(draw_numbers(reading.numbers))


def describe(reading: Reading) -> Text:
    """A reading in one line."""
    page = "" if reading.page is None else f" page {reading.page}"
    text = {"blank": "blank", "error": "error"}.get(reading.status, reading.text or "")
    sure = "" if reading.confidence is None else sureness(reading.confidence)
    why = (reading.reason or "").replace("_", " ") if reading.status in ("refused", "error") else ""
    note = f"refused: {why}" if reading.status == "refused" else why
    if reading.changed:
        note = f"{note}, read as asked for".removeprefix(", ")
    row = _row(console.printable(reading.file) + page, text, sure, STYLES[reading.status])
    return row.append(f"  {note}" if note else "", STYLES[reading.status])


def sureness(probability: float) -> str:
    """A probability as people read it, which never claims to be certain."""
    return "> 99.9 %" if probability >= 0.9995 else f"{100 * probability:.1f} %"


def _row(name: str, text: str, sure: str, style: str) -> Text:
    room = max(12, min(NAME_COLUMNS, console.out.width - TEXT_COLUMNS - 12)) if console.out.is_terminal else 0
    if room and len(name) > room:
        name = "..." + name[3 - room :]
    row = Text(f"{name:<{room or NAME_COLUMNS}}  ")
    return row.append(f"{text:<{TEXT_COLUMNS}}", style).append(f"  {sure:>7}")


def draw_numbers(numbers: Sequence[Number]) -> Columns:
    """Lines, and digits that stand alone, each above what it may be."""
    cells = [
        cell
        for number in numbers
        for cell in ([_cell(digit) for digit in number.digits] if _is_separate(number) else [_line(number)])
    ]
    return Columns(cells, padding=(0, 2, 1, 0))


def _is_separate(number: Number) -> bool:
    """Whether every digit was looked at by itself."""
    return number.line is None or all(digit.image is not None for digit in number.digits)


def _line(number: Number) -> Group:
    """A line as the network saw it, above what it may be."""
    assert number.line is not None
    lines: list[RenderableType] = [
        _fitted(number.line),
        Text(f"{number.raw} {sureness(number.confidence)}", "bold"),
    ]
    lines += [
        Text(f"{other} {sureness(share)}", "dim") for other, share in number.alternatives if share >= 0.001
    ]
    return Group(*lines)


def _cell(digit: Digit) -> Group:
    lines: list[RenderableType] = []
    if digit.image is not None:
        lines.append(Picture(digit.image, DIGIT_COLUMNS))
    lines.append(Text(f"{digit.digit} {sureness(digit.confidence)}", "bold"))
    lines += [
        Text(f"{other} {sureness(share)}", "dim") for other, share in digit.alternatives if share >= 0.001
    ]
    return Group(*lines)


def draw_steps(reading: Reading) -> Group:
    """The road of one picture: upright and grey; its ink with a box around each digit; 28x28 pixels each."""
    assert reading.picture is not None and reading.ink is not None
    height, width = reading.picture.shape
    first = f"1  {console.printable(reading.file)}, upright and grey, {width} x {height} pixels"
    second = "2  the ink: light flattened, ruling left out, digits boxed"
    road = Columns(
        [
            Group(Text(first), _fitted(_bytes(reading.picture))),
            Group(Text(second), _fitted(_boxed_ink(reading))),
        ],
        padding=(0, 2),
    )
    if not reading.digits:
        blank = reading.status == "blank"
        return Group(road, Text(f"3  nothing here is {'written' if blank else 'taken for digits'}"))
    parts: list[RenderableType] = [road]
    lines = [_line(number) for number in reading.numbers if number.line is not None]
    if lines:
        parts += [Text("3  each line as the network of lines sees it, 40 pixels high, and what it says")]
        parts += [Columns(lines, padding=(0, 2, 1, 0))]
    digits = [_large_cell(digit) for digit in reading.digits if digit.image is not None]
    if digits:
        parts += [Text(f"{4 if lines else 3}  each digit as the network of digits sees it, 28 x 28 pixels")]
        parts += [Columns(digits, padding=(0, 2, 1, 0))]
    return Group(*parts)


def _large_cell(digit: Digit) -> Group:
    assert digit.image is not None
    grid = Table.grid(padding=(0, 1))
    for name, share in ((digit.digit, digit.confidence), *digit.alternatives):
        bar = ("█" if console.out.encoding.startswith("utf") else "#") * round(BAR_COLUMNS * share)
        grid.add_row(f"[bold]{name}[/]", f"{bar:<{BAR_COLUMNS}}", sureness(share))
    return Group(Picture(digit.image, LARGE_DIGIT_COLUMNS), grid)


def _fitted(pixels: np.ndarray) -> Picture:
    """A picture drawn no wider and no higher than can be looked at; a thin strip is squashed for that."""
    height, width = pixels.shape
    columns = max(1, min(STEP_COLUMNS, 2 * STEP_ROWS * width // height))
    highest = 2 * STEP_ROWS * width // columns
    if height > highest:
        pixels = cv2.resize(pixels, (width, highest), interpolation=cv2.INTER_AREA)
    return Picture(pixels, columns)


def _boxed_ink(reading: Reading) -> np.ndarray:
    """The ink, white on black, with a grey box around each digit: uint8, twice as large as it is drawn."""
    assert reading.ink is not None and reading.picture is not None
    height, width = reading.picture.shape
    scale = min(2 * STEP_COLUMNS / width, 4 * STEP_ROWS / height)
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    boxed = cv2.resize(_bytes(reading.ink), size, interpolation=cv2.INTER_AREA)
    for digit in reading.digits:
        x, y, box_width, box_height = (round(side * scale) for side in digit.box)
        cv2.rectangle(boxed, (x - 2, y - 2), (x + box_width + 1, y + box_height + 1), 110, 1)
    return boxed


def _bytes(shares: np.ndarray) -> np.ndarray:
    levels: np.ndarray = np.clip(shares * 255 + 0.5, 0, 255).astype(np.uint8)
    return levels
