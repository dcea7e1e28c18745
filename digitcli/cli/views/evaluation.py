"""Draw an evaluation in the terminal: its figures, the confusion matrix and the mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.color import Color
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.views.progress import CountingBar
from digitcli.errors import counted
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS
from digitcli.events import DigitsDone, Event, Notice

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult, GroupAccuracy
    from digitcli.evaluation.evaluate_lines import LineEvaluation
    from digitcli.evaluation.metrics import ClassScores
    from digitcli.evaluation.robustness import OodResult, Robustness
    from digitcli.evaluation.selection import Selection

CORRECT_SHADES = ((26, 44, 66), (120, 190, 255))  # blue, from a small share of a row to all of it
WRONG_SHADES = ((66, 36, 28), (255, 140, 90))  # red, likewise
COVERAGES = (0.99, 0.95)  # the rows of the coverage table that are shown
CORNER = "is \\ read as "
MAX_CONFUSED_PAIRS = 12  # in a terminal that is too narrow for the confusion matrix
MAX_DARK_SHADE = 3 * 110  # the sum of red, green and blue up to which white text is legible
BLACK, WHITE = Color.from_rgb(0, 0, 0), Color.from_rgb(255, 255, 255)


def show_event(event: Event, bar: CountingBar) -> None:
    """Show one event of an evaluation on standard error."""
    match event:
        case Notice():
            console.show_notice(event.message)
        case DigitsDone():
            bar.show(event.done, event.n)


def draw_result(result: EvaluationResult | LineEvaluation) -> Group:
    """Draw a result as wide as the terminal allows."""
    from digitcli.evaluation.evaluate import EvaluationResult

    return _draw_digits(result) if isinstance(result, EvaluationResult) else _draw_lines(result)


def _draw_digits(result: EvaluationResult) -> Group:
    tables = [_scores_table(result.per_class), _confusion_table(result.confusion)]
    parts: list[RenderableType] = [console.pairs(_figures(result)), "", Columns(tables, padding=(1, 6))]
    if result.selection is not None:
        parts = [*_draw_selection(result.selection), "", *parts]
    if result.groups:
        parts += ["", _groups_table(result.groups)]
    if result.robustness is not None:
        parts += ["", *_draw_robustness(result.robustness)]
    if result.ood is not None:
        parts += ["", _ood_table(result.ood)]
    if result.mistakes:
        parts += ["", _mistakes_title(len(result.mistakes), result.wrong), "", _mistakes_grid(result)]
    return Group(*parts)


def _draw_selection(selection: Selection) -> list[RenderableType]:
    """Draw what each chosen model adds to the ensemble."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("added", style="cyan")
    for heading in ("accuracy alone", "NLL alone", "accuracy of the ensemble", "NLL of the ensemble"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in selection.additions:
        table.add_row(
            each.model,
            console.percent(each.alone_accuracy),
            f"{each.alone_nll:.4f}",
            console.percent(each.accuracy),
            f"{each.nll:.4f}",
        )
    title = f"[bold]models chosen on {selection.n:,} validation digits[/]"
    notes = [f"left out: {', '.join(selection.left_out)}"] if selection.left_out else []
    return [title, table, *notes]


def _draw_lines(result: LineEvaluation) -> Group:
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {counted(result.n, 'line')}",
        "exact match": f"{console.percent(result.exact_match)}; "
        + console.interval(result.exact_match_low, result.exact_match_high),
        "character error rate": console.percent(result.cer),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "device": result.device,
    }
    parts: list[RenderableType] = [console.pairs(figures)]
    if result.mistakes:
        wrong = sum(text != label for text, label in zip(result.predicted, result.labels, strict=True))
        table = _table(("line", "is", "read as", "confidence"))
        for mistake in result.mistakes:
            confidence = console.percent(mistake.confidence)
            table.add_row(f"{mistake.index:,}", mistake.label or "-", mistake.predicted or "-", confidence)
        parts += ["", _mistakes_title(len(result.mistakes), wrong), table]
    return Group(*parts)


def _groups_table(groups: Sequence[GroupAccuracy]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group", style="cyan")
    for heading in ("accuracy", "95 % interval", "n"):
        table.add_column(heading, justify="right")
    for group in groups:
        interval = f"{100 * group.accuracy_low:.2f} to {100 * group.accuracy_high:.2f}"
        table.add_row(group.name, console.percent(group.accuracy), interval, f"{group.n:,}")
    return table


def _draw_robustness(result: Robustness) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("corruption", style="cyan")
    table.add_column("accuracy", justify="right")
    table.add_column("similar in training", style="dim")
    for row in result.corruptions:
        table.add_row(row.name, console.percent(row.accuracy), "yes" if row.trained else "")
    summary = (
        f"[bold]robustness gap {100 * result.gap:.2f} points[/]: {console.percent(result.clean)} on clean "
        f"digits, {console.percent(result.mean)} on average over the corruptions, "
        f"{console.percent(result.unseen)} over those that resemble nothing in training, "
        f"{console.percent(result.worst)} at worst ({result.worst_name})"
    )
    return [summary, "", table]


def _ood_table(rows: Sequence[OodResult]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("out-of-distribution", style="cyan")
    for heading in ("n", "AUROC"):
        table.add_column(heading, justify="right")
    table.add_column("similar in training", style="dim")
    for row in rows:
        table.add_row(row.name, f"{row.n:,}", f"{row.auroc:.4f}", "yes" if row.trained else "")
    return table


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _mistakes_title(shown: int, wrong: int) -> str:
    return f"[bold]most confident mistakes: {shown} of {wrong:,}[/]"


def _figures(result: EvaluationResult) -> dict[str, str]:
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {counted(result.n, 'digit')}",
        "used in training": _used_in_training(result.overlap),
        "accuracy": f"{console.percent(result.accuracy)}, {result.wrong:,} wrong; "
        + console.interval(result.accuracy_low, result.accuracy_high),
        "without label errors": _without_label_errors(result),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "coverage": ", ".join(
            f"{console.percent(row.accuracy)} of the most confident {100 * row.coverage:g} % are correct"
            for row in result.coverage
            if row.coverage in COVERAGES
        ),
        "device": result.device,
    }
    return {name: value for name, value in figures.items() if value}


def _without_label_errors(result: EvaluationResult) -> str:
    accuracy = result.accuracy_without_label_errors
    if accuracy is None:
        return ""
    n = result.n - len(MNIST_LABEL_ERRORS)
    wrong = n - round(accuracy * n)
    return f"{console.percent(accuracy)}, {wrong:,} wrong; {len(MNIST_LABEL_ERRORS)} digits are left out"


def _used_in_training(overlap: int | None) -> str:
    if overlap is None:
        return "not known, since the training digits are not available"
    return f"{overlap:,} of these digits" if overlap else ""


def _scores_table(rows: Sequence[ClassScores]) -> Table:
    table = _table(("digit", "precision", "recall", "F1", "n"))
    for row in rows:
        scores = (console.percent(score) for score in (row.precision, row.recall, row.f1))
        table.add_row(f"[cyan]{row.digit}[/]", *scores, f"{row.n:,}")
    return table


def _confusion_table(confusion: Sequence[Sequence[int]]) -> Table:
    """Draw digits in rows and answers in columns: correct in blue, wrong in red, large shares brighter."""
    width = max(4, *(len(str(count)) + 1 for row in confusion for count in row))
    if len(CORNER) + 10 * (width + 1) > console.out.width:
        return _confused_pairs_table(confusion)
    table = Table.grid()
    table.add_row(Text(CORNER, "bold"), *(Text(f"{answer:>{width}} ", "bold") for answer in range(10)))
    for digit, counts in enumerate(confusion):
        cells = [
            _heat_cell(count, sum(counts), digit == answer, width) for answer, count in enumerate(counts)
        ]
        table.add_row(Text(f"{digit:>{len(CORNER) - 1}} ", "cyan"), *cells)
    return table


def _confused_pairs_table(confusion: Sequence[Sequence[int]]) -> Table:
    """List the most frequent confusions, for a terminal that is too narrow for the whole matrix."""
    table = _table(("is", "read as", "times"))
    pairs = [
        (count, digit, answer)
        for digit, row in enumerate(confusion)
        for answer, count in enumerate(row)
        if count and digit != answer
    ]
    for count, digit, answer in sorted(pairs, key=lambda pair: -pair[0])[:MAX_CONFUSED_PAIRS]:
        table.add_row(f"[cyan]{digit}[/]", str(answer), f"{count:,}")
    return table


def _heat_cell(count: int, row_total: int, is_correct: bool, width: int) -> Text:
    if count == 0:
        dot = "·" if console.out.encoding.startswith("utf") else "."
        return Text(f"{dot:>{width}} ", "dim")
    strength = (count / row_total) ** 0.25  # so that one mistake among a thousand digits is visible
    darkest, brightest = CORRECT_SHADES if is_correct else WRONG_SHADES
    shade = [round(low + strength * (high - low)) for low, high in zip(darkest, brightest, strict=True)]
    text_colour = BLACK if sum(shade) > MAX_DARK_SHADE else WHITE
    return Text(f"{count:>{width}} ", Style(color=text_colour, bgcolor=Color.from_rgb(*shade)))


def _mistakes_grid(result: EvaluationResult) -> Table:
    """Draw the misread digits side by side, each above its answer and its label."""
    from digitcli.cli.views.terminal_image import PICTURE_COLUMNS, Picture, picture_grid  # loads OpenCV

    return picture_grid(
        (
            Group(
                Picture(result.digits.images[mistake.index], PICTURE_COLUMNS),
                Text(
                    f"{mistake.predicted}? it is {mistake.label}, {100 * mistake.confidence:.1f} %, "
                    f"#{mistake.index}"
                ),
            )
            for mistake in result.mistakes
        ),
        console.out.width,
    )
