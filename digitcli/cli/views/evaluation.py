"""An evaluation as a person sees it: figures, confusions and mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.color import Color
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.views.progress import CountingBar
from digitcli.evaluation.label_errors import DOUBTED
from digitcli.events import DigitsDone, Event, Notice

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation
    from digitcli.evaluation.metrics import ClassScores
    from digitcli.evaluation.ood import Outliers
    from digitcli.evaluation.robustness import Robustness

PICTURE_COLUMNS, GAP_COLUMNS = 28, 2
RIGHT, WRONG = ((26, 44, 66), (120, 190, 255)), ((66, 36, 28), (255, 140, 90))  # from few to all of a row
SHARES = (0.99, 0.95)  # of the answers, the surest, whose accuracy is shown
CORNER = "is \\ read as "
CONFUSED = 12  # pairs that a narrow terminal shows
BLACK, WHITE = Color.from_rgb(0, 0, 0), Color.from_rgb(255, 255, 255)


def show_event(event: Event, bar: CountingBar) -> None:
    """One event of an evaluation on stderr: a notice, or how far it is."""
    match event:
        case Notice():
            console.show_notice(event.message)
        case DigitsDone():
            bar.show(event.done, event.n)


def draw_result(result: EvaluationResult) -> Group:
    """The whole result, as wide as the terminal lets it be."""
    tables = [_scores_table(result.per_class), _confusion_table(result.confusion)]
    parts: list[RenderableType] = [console.pairs(_figures(result)), "", Columns(tables, padding=(1, 6))]
    if result.robustness is not None:
        parts += ["", *_corruptions(result.robustness)]
    if result.outliers is not None:
        parts += ["", _outliers_table(result.outliers)]
    if result.mistakes:
        parts += ["", f"[bold]worst mistakes: {len(result.mistakes)} of {result.wrong:,}[/]", ""]
        parts.append(_mistakes_grid(result))
    return Group(*parts)


def _corruptions(result: Robustness) -> list[RenderableType]:
    """The reality gap, and the accuracy under each corruption."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("corruption", style="cyan")
    table.add_column("accuracy", justify="right")
    table.add_column("trained with", style="dim")
    for row in result.corruptions:
        table.add_row(row.name, console.percent(row.accuracy), "yes" if row.trained else "")
    said = (
        f"[bold]reality gap {100 * result.gap:.2f} points[/]: clean {console.percent(result.clean)}, "
        f"corrupted {console.percent(result.mean)} in the mean, {console.percent(result.unseen)} where "
        f"training did not do the like, {console.percent(result.worst)} at worst ({result.worst_name})"
    )
    return [said, "", table]


def _outliers_table(rows: Sequence[Outliers]) -> Table:
    """How well confidence tells digits from what is none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what is no digit", style="cyan")
    for heading in ("n", "AUROC"):
        table.add_column(heading, justify="right")
    table.add_column("trained with", style="dim")
    for row in rows:
        table.add_row(row.name, f"{row.n:,}", f"{row.auroc:.4f}", "yes" if row.trained else "")
    return table


def draw_line_result(result: LineEvaluation) -> Group:
    """The same for lines."""
    interval = f"{100 * result.exact_match_low:.2f} to {console.percent(result.exact_match_high)}"
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {console.counted(result.n, 'line')}",
        "exact match": f"{console.percent(result.exact_match)}; 95 % interval {interval}",
        "character errors": console.percent(result.cer),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "device": result.device,
    }
    parts: list[RenderableType] = [console.pairs(figures)]
    if result.mistakes:
        wrong = sum(ours != label for ours, label in zip(result.found, result.labels, strict=True))
        parts += ["", f"[bold]worst mistakes: {len(result.mistakes)} of {wrong:,}[/]"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("line", "is", "read as", "sure"):
            table.add_column(heading, justify="right", no_wrap=True)
        for mistake in result.mistakes:
            sure = console.percent(mistake.confidence)
            table.add_row(f"{mistake.index:,}", mistake.label or "-", mistake.found or "-", sure)
        parts.append(table)
    return Group(*parts)


def _figures(result: EvaluationResult) -> dict[str, str]:
    interval = f"{100 * result.accuracy_low:.2f} to {console.percent(result.accuracy_high)}"
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {console.counted(result.n, 'digit')}",
        "trained on": _trained_on(result.overlap),
        "accuracy": f"{console.percent(result.accuracy)}, {result.wrong:,} wrong; 95 % interval {interval}",
        "without label errors": _clean(result),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "coverage": ", ".join(
            f"{console.percent(row.accuracy)} right of the surest {100 * row.coverage:g} %"
            for row in result.coverage
            if row.coverage in SHARES
        ),
        "device": result.device,
    }
    return {name: value for name, value in figures.items() if value}


def _clean(result: EvaluationResult) -> str:
    if result.clean_accuracy is None:
        return ""
    left_out = len(DOUBTED)
    n = result.n - left_out
    wrong = n - round(result.clean_accuracy * n)
    return f"{console.percent(result.clean_accuracy)}, {wrong:,} wrong; {left_out} digits are left out"


def _trained_on(overlap: int | None) -> str:
    if overlap is None:
        return "not known; the training digits are not at hand"
    return f"{overlap:,} of these digits" if overlap else ""


def _scores_table(rows: Sequence[ClassScores]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("digit", "precision", "recall", "F1", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shares = (console.percent(share) for share in (row.precision, row.recall, row.f1))
        table.add_row(f"[cyan]{row.digit}[/]", *shares, f"{row.n:,}")
    return table


def _confusion_table(confusion: Sequence[Sequence[int]]) -> Table:
    """Digits in rows, answers in columns; blue is right, red is wrong, the brighter the more of the row."""
    width = max(4, *(len(str(count)) + 1 for row in confusion for count in row))
    if len(CORNER) + 10 * (width + 1) > console.out.width:
        return _most_confused(confusion)
    table = Table.grid()
    table.add_row(Text(CORNER, "bold"), *(Text(f"{answer:>{width}} ", "bold") for answer in range(10)))
    for digit, counts in enumerate(confusion):
        cells = [
            _heat_cell(count, sum(counts), digit == answer, width) for answer, count in enumerate(counts)
        ]
        table.add_row(Text(f"{digit:>{len(CORNER) - 1}} ", "cyan"), *cells)
    return table


def _most_confused(confusion: Sequence[Sequence[int]]) -> Table:
    """What is most often read as what, for where there is no room for all."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("is", "read as", "times"):
        table.add_column(heading, justify="right", no_wrap=True)
    wrong = [
        (count, digit, answer)
        for digit, row in enumerate(confusion)
        for answer, count in enumerate(row)
        if count and digit != answer
    ]
    for count, digit, answer in sorted(wrong, key=lambda pair: -pair[0])[:CONFUSED]:
        table.add_row(f"[cyan]{digit}[/]", str(answer), f"{count:,}")
    return table


def _heat_cell(count: int, of: int, is_right: bool, width: int) -> Text:
    if count == 0:
        dot = "·" if console.out.encoding.startswith("utf") else "."
        return Text(f"{dot:>{width}} ", "dim")
    strength = (count / of) ** 0.25  # one mistake in a thousand must be seen beside the rest
    faint, full = RIGHT if is_right else WRONG
    shade = [round(low + strength * (high - low)) for low, high in zip(faint, full, strict=True)]
    ink = BLACK if sum(shade) > 3 * 110 else WHITE
    return Text(f"{count:>{width}} ", Style(color=ink, bgcolor=Color.from_rgb(*shade)))


def _mistakes_grid(result: EvaluationResult) -> Table:
    """The worst mistakes side by side, each above what was answered and what it is."""
    room = console.out.width + GAP_COLUMNS
    a_row = max(1, room // (PICTURE_COLUMNS + GAP_COLUMNS))
    grid = Table.grid(padding=(0, GAP_COLUMNS, 0, 0))
    pictures = list(_captioned(result))
    for start in range(0, len(pictures), a_row):
        if start:
            grid.add_row()
        grid.add_row(*pictures[start : start + a_row])
    return grid


def _captioned(result: EvaluationResult) -> Iterator[Group]:
    from digitcli.cli.views.terminal_image import Picture  # loads OpenCV

    for mistake in result.mistakes:
        caption = f"{mistake.predicted}? it is {mistake.label}, {100 * mistake.confidence:.1f} %"
        yield Group(Picture(result.digits.images[mistake.index], PICTURE_COLUMNS), Text(caption))
