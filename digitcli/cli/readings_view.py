"""Show readings to a person: a row for each picture, its digits, its steps, the progress and a summary."""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread

import cv2
import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.terminal_image import Picture
from digitcli.errors import PictureError, counted
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.readings import Digit, Number, Reading, as_percentage, describe_confidence

# Columns of a terminal for the name of a picture, its text, its confidence and a note, chosen by hand: an
# answer and why it is refused fit into 80 columns, and without the confidence into 40.
NAME_COLUMNS, LEAST_NAME_COLUMNS = 36, 12
TEXT_COLUMNS, LEAST_TEXT_COLUMNS = 16, 10
CONFIDENCE_COLUMNS, NOTE_COLUMNS = 7, 25
COLUMNS_WITH_CONFIDENCE = 60  # of a terminal, from which there is room for it beside any reason
GAP = "  "
DIGIT_COLUMNS, LARGE_DIGIT_COLUMNS = 14, 28  # of a digit below a row, and among the steps
STEP_COLUMNS = STEP_ROWS = 56  # of a picture among the steps
BOX_LEVEL = 110  # grey of the box of a digit around its white ink
BAR_COLUMNS = 12  # of the bar that shows a probability
DRAWN_ROWS = 8  # of a number below the row of its picture: it shall not push that off the screen (by hand)
OTHER_ROWS = 4  # of the screen, which a picture's row, the heading, the next prompt and its command take
MOST_NOTES = 3  # that are shown; a folder of other pages would bury the errors under a note each
UPDATE_SECONDS = 0.2  # between two updates of the progress
LEAST_SHOWN = 0.01  # probability of an alternative; less likely ones are noise to a person (chosen by hand)
WORDS = {"read": "read", "partial": "read in part", "refused": "refused", "blank": "blank", "error": "failed"}
STYLES = {"read": "bold green", "partial": "yellow", "refused": "yellow", "blank": "dim", "error": "red"}


@dataclass
class ReadingView:
    """Counts and shows readings as they come.

        with ReadingView(...) as view:
            for reading in view.watch(readings): ...

    The table goes to standard output, errors go to standard error. The latest error is held back until the
    next reading: the exit of the program tells the error of a single picture.

    shows_table: whether standard output is a table for people.
    writes_file: whether the results go to a file.
    shows_steps: whether the steps of each picture are shown.
    read_before: the number of pictures that an earlier run read.
    thresholds: a sentence about the numbers that are refused, which ends the summary; None for no sentence.
    """

    shows_table: bool
    writes_file: bool
    shows_steps: bool
    read_before: int = 0
    thresholds: str | None = None

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()  # by status
        self.held_error: PictureError | None = None
        self._notes = 0
        self._files = self._all_files = 0  # 0 until all are counted
        self._started = self._updated = time.monotonic()
        is_busy = console.err.is_interactive and (self.writes_file or not console.out.is_terminal)
        self._status = console.Busy("Reading") if is_busy else None

    def count_ahead(self, files: Iterable[object]) -> None:
        """Count the pictures in a thread while they are read, so that the time left can be shown."""

        def count() -> None:
            self._all_files = sum(1 for _ in files)

        if self._status:
            Thread(target=count, daemon=True).start()

    def __enter__(self) -> ReadingView:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if self._status:
            self._status.stop()
        is_single = kind is None and self.counts.total() + self.read_before == 1
        if not is_single and kind is not BrokenPipeError:
            self._release()
        if kind is not BrokenPipeError and self._notes > MOST_NOTES:
            more = counted(self._notes - MOST_NOTES, "further page")
            console.show_notice(f"The same holds for {more}; a file written with -o names each.")
        if kind is None and self.counts.total() > 1:
            console.show_message(self.summary(), style="dim")
        if kind is None and self.counts and self.thresholds:
            console.show_message(escape(console.printable(self.thresholds)), style="dim")

    def watch(self, readings: Iterator[Reading]) -> Iterator[Reading]:
        """Yield the same readings, count them, and show their errors and steps."""
        for reading in readings:
            self._release()
            self.counts[reading.status] += 1
            self._files += reading.page in (None, 1)
            self.held_error = reading.error
            self._notes += bool(reading.note)
            if reading.note and self._notes <= MOST_NOTES:
                page = f", page {reading.page}" if reading.page else ""
                console.show_notice(f"{reading.file}{page} is {reading.note}")
            if self.shows_steps and reading.picture is not None:
                (console.out if self.shows_table else console.err).print(draw_steps(reading))
            if self._status and time.monotonic() - self._updated > UPDATE_SECONDS:
                self._updated = time.monotonic()
                self._status.update(self.summary() + self._left())
            yield reading

    def _release(self) -> None:
        if self.held_error is not None:
            console.show_error(self.held_error)
            self.held_error = None

    def summary(self) -> str:
        """Return the number of pictures of each status and the speed, as one line."""
        total, seconds = self.counts.total(), time.monotonic() - self._started
        parts = ", ".join(
            f"{self.counts[status]:,} {word}" for status, word in WORDS.items() if self.counts[status]
        )
        rate = f"{total / seconds:,.0f} a second" if total > seconds else f"{seconds / total:.1f} s each"
        return f"{counted(total, 'picture')} in {console.duration(seconds)}: {parts} ({rate})"

    def _left(self) -> str:
        if self._all_files <= self._files:
            return ""
        seconds_left = (time.monotonic() - self._started) * (self._all_files / self._files - 1)
        return f", {self._all_files:,} in all, {console.duration(seconds_left)} left"

    def show_row(self, reading: Reading) -> None:
        """Show one reading: its text and its confidence."""
        if self.counts.total() == 1:
            console.out.print(_row("picture", "reads", "sure", style="bold"), soft_wrap=True)
        console.out.print(describe(reading), soft_wrap=True)

    def show_only_page(self, reading: Reading) -> None:
        """Show what a row has no room for, if a terminal shows one page: its one number, or all in a grid."""
        if not console.out.is_terminal or self.shows_steps or not reading.digits:
            return
        rows_of_thresholds = -(-len(self.thresholds or "") // console.out.width)
        rows = max(1, console.out.height - OTHER_ROWS - rows_of_thresholds)
        if len(reading.numbers) > 1:
            console.out.print(draw_grid(reading.numbers, console.out.width, rows))
            return
        drawing = draw_numbers(reading.numbers)
        if len(console.out.render_lines(drawing)) <= rows:
            console.out.print(drawing)


def draw_grid(numbers: Sequence[Number], width: int, rows: int) -> Text:
    """Return the numbers of a page in their rows and columns, refused ones with a question mark.

    Rows and columns that do not fit into this many characters and rows are left out, and counted.
    """
    cells: dict[tuple[int, int], list[Number]] = {}
    for number in numbers:
        cells.setdefault((number.row or 0, number.column or 0), []).append(number)
    texts = {
        place: " ".join(_marked(number, number.raw) for number in there) for place, there in cells.items()
    }
    row_count, column_count = (1 + max(place[axis] for place in cells) for axis in (0, 1))
    widths = [
        max((len(text) for place, text in texts.items() if place[1] == column), default=0)
        for column in range(column_count)
    ]
    shown = sum(total <= width for total in itertools.accumulate(2 + each for each in widths))
    is_whole = shown == column_count and row_count <= rows
    grid = Text()
    for row in range(row_count if is_whole else min(row_count, rows - 1 if shown else 0)):
        for column, cell_width in enumerate(widths[:shown]):
            is_refused = any(number.status == "refused" for number in cells.get((row, column), ()))
            text = texts.get((row, column), "")
            grid.append("  ").append(f"{text:<{cell_width}}", STYLES["refused"] if is_refused else "")
        grid.append("\n")
    if is_whole:
        return grid[:-1]
    size = f"{counted(row_count, 'row')} and {counted(column_count, 'column')}"
    note = Text(f"  Of {size}, these fit. Write all with: --per number -o FILE.csv", "dim")
    note.truncate(width, overflow="ellipsis")
    return grid.append(note)


def describe(reading: Reading) -> Text:
    """Return a reading as one line, see `_row`."""
    page = "" if reading.page is None else f" page {reading.page}"
    text = {"blank": "blank", "error": "error"}.get(reading.status, reading.text or "no number")
    if reading.status in ("partial", "refused") and reading.numbers:
        text = " ".join(_marked(number, number.text) for number in reading.numbers)
    confidence = "" if reading.confidence is None else as_percentage(reading.confidence)
    reason = "" if reading.status == "blank" else (reading.reason or "").replace("_", " ")
    refusal = _count_refused(reading) + reason
    explained = ", ".join(filter(None, [describe_confidence(reading.status, reading.text), refusal]))
    others = [f"written {reading.raw}"] if reading.digits and reading.raw != reading.text else []
    others += ["changed by the constraints"] if reading.changed else []
    others += [f"turned by {reading.rotation} degrees clockwise"] if reading.rotation else []
    name, style = console.printable(reading.file) + page, STYLES[reading.status]
    return _row(name, text, confidence, style, [explained, refusal, reason], others)


def _marked(number: Number, text: str) -> str:
    return text + ("?" if number.status == "refused" else "")


def _count_refused(reading: Reading) -> str:
    """Return how much of a page is refused, as the beginning of a note."""
    if reading.status == "partial":
        count = sum(number.status == "refused" for number in reading.numbers)
        return f"{count:,} of {len(reading.numbers):,} refused (?): "
    return "refused: " if reading.status == "refused" else ""


def _row(
    name: str,
    text: str,
    confidence: str,
    style: str,
    reasons: Sequence[str] = ("",),
    others: Sequence[str] = (),
) -> Text:
    """Return the row of a picture; on a terminal it is one line, in which what matters least is left out.

    The name and the text are shortened, but stay. Then comes the reason, in the first of these wordings that
    fits; then the confidence, which depends on the width alone so that columns stay columns; then the other
    notes, as far as they fit.
    """
    width = console.out.width if console.out.is_terminal else sys.maxsize
    is_wide = width >= COLUMNS_WITH_CONFIDENCE
    text_columns = TEXT_COLUMNS if is_wide else LEAST_TEXT_COLUMNS
    figures = f"{GAP}{confidence:>{CONFIDENCE_COLUMNS}}" if is_wide else ""
    fixed = text_columns + len(figures) + 2 * len(GAP)
    name_columns = max(LEAST_NAME_COLUMNS, min(NAME_COLUMNS, width - fixed - NOTE_COLUMNS))
    if len(name) > name_columns and console.out.is_terminal:
        name = "..." + name[3 - name_columns :]
    room = width - name_columns - fixed
    note = next((reason for reason in reasons if len(reason) <= room), reasons[-1][:room])
    for other in others:
        longer = f"{note}, {other}" if note else other
        note = longer if len(longer) <= room else note
    room = max(text_columns, width - name_columns - len(GAP + figures) - (len(GAP + note) if note else 0))
    if len(text) > room:
        text = text[: room - 3] + "..."
    row = Text(f"{name:<{name_columns}}{GAP}").append(f"{text:<{text_columns}}", style).append(figures)
    row.append(GAP + note if note else "", style)
    row.truncate(width, overflow="ellipsis")  # characters of Asian scripts are two columns wide
    return row


def draw_numbers(numbers: Sequence[Number]) -> Columns:
    """Draw lines, and digits that stand apart, each above its candidates."""
    cells: list[Group] = []
    for number in numbers:
        if number.line is None or all(digit.image is not None for digit in number.digits):
            for digit in number.digits:
                picture = [] if digit.image is None else [Picture(digit.image, DIGIT_COLUMNS)]
                candidates = _candidates(digit.digit, digit.confidence, digit.alternatives)
                cells.append(Group(*picture, *candidates))
        else:
            cells.append(_line(number, DRAWN_ROWS))
    return Columns(cells, padding=(0, 2, 1, 0))


def _line(number: Number, rows: int) -> Group:
    """Draw a line as the network saw it, above its candidates."""
    assert number.line is not None
    return Group(_fitted(number.line, rows), *_candidates(number.raw, number.confidence, number.alternatives))


def _candidates(best: str, confidence: float, alternatives: Sequence[tuple[str, float]]) -> list[Text]:
    """Return the best candidate and the alternatives that are not negligible, a line each."""
    rest = [
        Text(f"{text} {as_percentage(share)}", "dim") for text, share in alternatives if share >= LEAST_SHOWN
    ]
    return [Text(f"{best} {as_percentage(confidence)}", "bold"), *rest]


def draw_steps(reading: Reading) -> Group:
    """Draw the steps of one picture: it in grey, its ink with boxes or its detections, and its crops."""
    assert reading.picture is not None
    height, width = reading.picture.shape
    name = console.printable(reading.file)
    pictures = {f"{name}, grey, as it was read, {width} x {height} pixels": as_levels(reading.picture)}
    if reading.ink is not None:
        boxes = [
            np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
            for x, y, w, h in (digit.box for digit in reading.digits)
        ]
        outlined = _outlined(reading.ink, width, boxes, BOX_LEVEL)
        pictures["the ink without light and ruled lines, and the boxes of the digits"] = outlined
    if reading.detections:
        passed_over = sum(not each.has_number for each in reading.detections)
        rest = f", {passed_over} of them passed over" if passed_over else ""
        title = f"lines that the page finder detects: {len(reading.detections)}{rest}"
        corners = [np.array(each.corners) for each in reading.detections]
        level = 0 if np.median(reading.picture) > 0.5 else 255
        pictures[title] = _outlined(reading.picture, width, corners, level)
    step = itertools.count(1)
    titled = [Group(Text(f"{next(step)}  {title}"), _fitted(pixels)) for title, pixels in pictures.items()]
    parts: list[RenderableType] = [Columns(titled, padding=(0, 2))]
    if not reading.digits:
        nothing = "nothing is written" if reading.status == "blank" else "nothing is a digit"
        return Group(*parts, Text(f"{next(step)}  {nothing}"))
    crops = {
        "each number as networks see it, 40 pixels high, and its readings": [
            _line(each, STEP_ROWS) for each in reading.numbers if each.line is not None
        ],
        "each digit as the digit network sees it, 28 x 28 pixels": [
            _large_digit(digit) for digit in reading.digits if digit.image is not None
        ],
    }
    for title, cells in crops.items():
        if cells:
            parts += [Text(f"{next(step)}  {title}"), Columns(cells, padding=(0, 2, 1, 0))]
    return Group(*parts)


def _large_digit(digit: Digit) -> Group:
    assert digit.image is not None
    grid = Table.grid(padding=(0, 1))
    for name, share in ((digit.digit, digit.confidence), *digit.alternatives):
        bar = ("█" if console.out.encoding.startswith("utf") else "#") * round(BAR_COLUMNS * share)
        grid.add_row(f"[bold]{name}[/]", f"{bar:<{BAR_COLUMNS}}", as_percentage(share))
    return Group(Picture(digit.image, LARGE_DIGIT_COLUMNS), grid)


def _fitted(pixels: np.ndarray, rows: int = STEP_ROWS) -> Picture:
    """Draw a picture that fits a terminal and has this many rows at most; a thin strip is squashed."""
    height, width = pixels.shape
    columns = max(1, min(STEP_COLUMNS, 2 * rows * width // height))
    highest = 2 * rows * width // columns
    if height > highest:
        pixels = cv2.resize(pixels, (width, highest), interpolation=cv2.INTER_AREA)
    return Picture(pixels, columns)


def _outlined(shares: np.ndarray, width: int, outlines: Sequence[np.ndarray], level: int) -> np.ndarray:
    """Return a picture as uint8 with outlines, whose corners (N, 2) are in pixels of a copy of this width."""
    pixels = as_levels(shares)
    thickness = max(1, round(max(pixels.shape) / (2 * STEP_COLUMNS)))  # half a column, when it is drawn
    scaled = [np.round(corners * (pixels.shape[1] / width)).astype(np.int32) for corners in outlines]
    cv2.polylines(pixels, scaled, isClosed=True, color=level, thickness=thickness)
    return pixels
