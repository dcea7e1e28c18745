"""`digitcli evaluate`: measure the accuracy of models on labelled digits or lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.options import check_output, complete_dataset, complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import PartialInputError, QualityError, UsageError, counted
from digitcli.evaluation import DIGIT_SUFFIXES, LINE_SUFFIXES, MISTAKES, MODEL_SUFFIX
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS, Split
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import DEFAULT_MODEL, ResolvedModel, check_distinct, resolve_models
from digitcli.settings import FRACTION, argument, setting

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult, LineEvaluation
    from digitcli.evaluation.robustness import Robustness
    from digitcli.evaluation.selection import Selection

RESULT, MEASUREMENTS = "Result", "More measurements (single digits only)"
DIGITS_ONLY = ("select", "split", "robustness", "ood")

COVERAGES = (0.99, 0.95)  # the rows of the coverage table that are shown
CORNER = "is \\ read as "
NUMBERS = ("digit", "line")  # headings of first columns that hold numbers


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The arguments and options of `digitcli evaluate`."""

    models: tuple[str, ...] = argument(
        "MODEL", "Evaluate these shipped models, checkpoint files or run folders; the probabilities of "
        f"several are averaged (default: {DEFAULT_MODEL}).", default=(), complete=complete_shipped,
    )  # fmt: skip
    data: str = setting(
        DEFAULT_DATASET, "", "Evaluate on this dataset: a name (mnist, mnist-c), a file or a folder; for "
        "line models, a folder of digitcli synthesize --for.", unit="dataset", complete=complete_dataset,
    )  # fmt: skip
    split: Split | None = setting(
        None,
        "",
        "Evaluate on this split (default: test if there are test digits or some were held out, else all).",
    )
    select: int | None = setting(
        None, "", "Choose this many of the models by the NLL of their average on the validation digits, and "
        "evaluate the average.", at_least=1, unit="N",
    )  # fmt: skip
    device: str = device_setting("auto")
    robustness: bool = setting(
        False, MEASUREMENTS, "Also measure the accuracy under the 15 corruptions of MNIST-C."
    )
    ood: bool = setting(
        False,
        MEASUREMENTS,
        "Also measure how well the confidence tells digits from noise, clouds and letters.",
    )
    mistakes: int = setting(
        MISTAKES, RESULT, "Show this many mistakes, the most confident first.", at_least=0, unit="N"
    )
    min_accuracy: float | None = setting(
        None, RESULT, "End with exit code 8 if the accuracy, or that of whole lines, is below this fraction, "
        "for example 0.99 or 99%.", at_least=0, at_most=1, unit=FRACTION,
    )  # fmt: skip
    output: Path | None = setting(
        None, RESULT, "Write the figures to a .json file, every answer to a .csv file, diagrams to an .svg "
        "file, or the models that --select chooses to a .safetensors file.", unit="file", letter="-o",
        aliases=("--save", "--out"),
    )  # fmt: skip
    force: bool = setting(False, RESULT, "Replace the file of --output if it exists.")
    format: console.Format = setting("table", RESULT, "Print a table for people, or JSON.")


def evaluate(options: EvaluateOptions) -> None:
    """Measure the accuracy and the calibration of models on labelled digits, and show their mistakes.

    Example: digitcli evaluate cnn
    """
    from digitcli.data.loading import find_dataset

    names = options.models or (DEFAULT_MODEL,)
    check_device_name(options.device)
    find_dataset(options.data)
    if options.select is not None:
        from digitcli.evaluation.selection import check_selection

        check_selection(options.select, len(names), options.split)
    resolved = resolve_models(names)
    check_distinct(resolved)
    reads_lines = "line" in {each.header.task for each in resolved}
    if reads_lines and len(resolved) > 1:
        cause = f"{' and '.join(model.name for model in resolved)} cannot be averaged, since one reads lines."
        raise UsageError(cause, "Evaluate a line model alone.")
    if reads_lines and (given := [name for name in DIGITS_ONLY if getattr(options, name)]):
        raise UsageError(f"--{given[0]} is for models of single digits, not for lines.", "Leave it out.")
    suffixes = LINE_SUFFIXES if reads_lines else DIGIT_SUFFIXES
    check_output(options.output, (*suffixes, MODEL_SUFFIX) if options.select else suffixes, options.force)
    result = _evaluate(options, resolved, reads_lines)
    try:
        if options.output:
            from digitcli.evaluation.evaluate import save_result

            save_result(options.output, result)
    finally:  # a full disk must not take the figures with it
        if options.format == "json":
            console.show_json(result.record())
        else:
            console.show_table(draw_result(result))
    _conclude(result, options.min_accuracy)


def _evaluate(
    options: EvaluateOptions, models: tuple[ResolvedModel, ...], reads_lines: bool
) -> EvaluationResult | LineEvaluation:
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.inference.predictor import import_runtime

        import_runtime(models, options.device)
        from digitcli.evaluation import evaluate
    with console.CountingBar("lines" if reads_lines else "digits") as bar:
        if not reads_lines:
            return evaluate.evaluate(
                models, options.data, select=options.select, split=options.split, device=options.device,
                mistakes=options.mistakes, robustness=options.robustness, ood=options.ood, on_event=bar,
            )  # fmt: skip
        from digitcli.training.line_task import strips_to_evaluate

        strips, split = strips_to_evaluate(models[0].header.architecture, options.data)
        return evaluate.evaluate_lines(
            models[0], strips, data=options.data, split=split, device=options.device,
            mistakes=options.mistakes, on_event=bar,
        )  # fmt: skip


def _conclude(result: EvaluationResult | LineEvaluation, min_accuracy: float | None) -> None:
    """End with an exit code if the accuracy is too low or some inputs could not be used."""
    if min_accuracy is not None and result.accuracy < min_accuracy:
        raise QualityError(
            f"The accuracy {result.accuracy:.6g} is below --min-accuracy {min_accuracy:g}.",
            "Evaluate another model, or train this one longer; the mistakes above show where it fails.",
        )
    if unreadable := getattr(result, "unreadable", 0):  # a line that cannot be read ends the evaluation
        cause = f"{counted(unreadable, 'input')} of '{result.data}' could not be used; the others were."
        raise PartialInputError(cause, "Repair or remove the files that are named above.")


def draw_result(result: EvaluationResult | LineEvaluation) -> Group:
    """Draw a result as wide as the terminal allows."""
    from digitcli.evaluation.evaluate import EvaluationResult

    return _draw_digits(result) if isinstance(result, EvaluationResult) else _draw_lines(result)


def _draw_digits(result: EvaluationResult) -> Group:
    percent = console.percent
    scores = _table(
        ("digit", "precision", "recall", "F1", "n"),
        [
            (str(row.digit), percent(row.precision), percent(row.recall), percent(row.f1), f"{row.n:,}")
            for row in result.per_class
        ],
    )
    tables = Columns([scores, _confusion_table(result.confusion)], padding=(1, 6))
    parts: list[RenderableType] = [console.pairs(_figures(result)), "", tables]
    if result.selection is not None:
        parts = [*_draw_selection(result.selection), "", *parts]
    if result.groups:
        rows = (
            (row.name, percent(row.accuracy), _interval(row.accuracy_low, row.accuracy_high), f"{row.n:,}")
            for row in result.groups
        )
        parts += ["", _table(("group", "accuracy", "95 % interval", "n"), rows)]
    if result.robustness is not None:
        parts += ["", *_draw_robustness(result.robustness)]
    if result.ood is not None:
        others = ((row.name, f"{row.n:,}", f"{row.auroc:.4f}", "yes" * row.trained) for row in result.ood)
        parts += ["", _table(("out-of-distribution", "n", "AUROC", "similar in training"), others)]
    if result.mistakes:
        parts += ["", _mistakes_title(result), "", _mistakes_grid(result)]
    return Group(*parts)


def _draw_selection(selection: Selection) -> list[RenderableType]:
    """Draw what each chosen model adds to the ensemble."""
    headings = ("added", "accuracy alone", "NLL alone", "accuracy of the ensemble", "NLL of the ensemble")
    rows = (
        (
            each.model,
            console.percent(each.alone_accuracy),
            f"{each.alone_nll:.4f}",
            console.percent(each.accuracy),
            f"{each.nll:.4f}",
        )
        for each in selection.additions
    )
    title = f"[bold]models chosen on {selection.n:,} validation digits[/]"
    left_out = [f"left out: {', '.join(selection.left_out)}"] if selection.left_out else []
    return [title, _table(headings, rows), *left_out]


def _draw_robustness(result: Robustness) -> list[RenderableType]:
    rows = ((row.name, console.percent(row.accuracy), "yes" * row.trained) for row in result.corruptions)
    summary = (
        f"[bold]robustness gap {100 * result.gap:.2f} points[/]: {console.percent(result.clean)} on clean "
        f"digits, {console.percent(result.mean)} on average over the corruptions, "
        f"{console.percent(result.unseen)} over those that resemble nothing in training, "
        f"{console.percent(result.worst)} at worst ({result.worst_name})"
    )
    return [summary, "", _table(("corruption", "accuracy", "similar in training"), rows)]


def _draw_lines(result: LineEvaluation) -> Group:
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {counted(result.n, 'line')}",
        "exact match": f"{console.percent(result.exact_match)}; "
        + console.interval(result.exact_match_low, result.exact_match_high),
        "character error rate": console.percent(result.cer),
        "print or handwriting": console.percent(result.print_accuracy),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "device": result.device,
    }
    parts: list[RenderableType] = [console.pairs(figures)]
    if result.mistakes:
        rows = (
            (
                f"{each.index:,}",
                str(each.label) or "-",
                str(each.predicted) or "-",
                console.percent(each.confidence),
            )
            for each in result.mistakes
        )
        table = _table(("line", "is", "read as", "confidence"), rows)
        parts += ["", _mistakes_title(result), table]
    return Group(*parts)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    first, *others = headings
    table.add_column(first, justify="right" if first in NUMBERS else "left", style="cyan")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _mistakes_title(result: EvaluationResult | LineEvaluation) -> str:
    return f"[bold]most confident mistakes: {len(result.mistakes)} of {result.wrong:,}[/]"


def _figures(result: EvaluationResult) -> dict[str, str]:
    """Return the figures by their names, without those that were not measured."""
    used = "not known, since the training digits are not available"
    if result.overlap is not None:
        used = f"{result.overlap:,} of these digits" if result.overlap else ""
    cleaned = ""
    if (accuracy := result.accuracy_without_label_errors) is not None:
        left_out = len(MNIST_LABEL_ERRORS)
        wrong = round((1 - accuracy) * (result.n - left_out))
        cleaned = f"{console.percent(accuracy)}, {wrong:,} wrong; {left_out} digits are left out"
    figures = {
        "model": result.model,
        "data": f"{result.data}, {result.split}: {counted(result.n, 'digit')}",
        "used in training": used,
        "accuracy": f"{console.percent(result.accuracy)}, {result.wrong:,} wrong; "
        + console.interval(result.accuracy_low, result.accuracy_high),
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "coverage": ", ".join(
            f"{console.percent(row.accuracy)} of the most confident {100 * row.coverage:g} % are correct"
            for row in result.coverage
            if row.coverage in COVERAGES
        ),
        "without label errors": cleaned,
        "device": result.device,
    }
    return {name: value for name, value in figures.items() if value}


def _confusion_table(confusion: Sequence[Sequence[int]]) -> RenderableType:
    """Draw digits in rows and answers in columns: correct in blue, wrong in red."""
    width = max(4, *(len(str(count)) + 1 for row in confusion for count in row))
    if len(CORNER) + 10 * (width + 1) > console.out.width:
        return "[dim]The terminal is too narrow for the confusion matrix.[/]"
    dot = "·" if console.out.encoding.startswith("utf") else "."
    table = Table.grid()
    table.add_row(Text(CORNER, "bold"), *(Text(f"{answer:>{width}} ", "bold") for answer in range(10)))
    for digit, counts in enumerate(confusion):
        cells = [Text(f"{count or dot:>{width}} ", "bold red" if count else "dim") for count in counts]
        cells[digit].style = "blue" if counts[digit] else "dim"
        table.add_row(Text(f"{digit:>{len(CORNER) - 1}} ", "cyan"), *cells)
    return table


def _mistakes_grid(result: EvaluationResult) -> Table:
    """Draw the misread digits side by side, each above its answer and its label."""
    from digitcli.cli.terminal_image import PICTURE_COLUMNS, Picture, picture_grid  # loads OpenCV

    pictures = []
    for each in result.mistakes:
        caption = f"{each.predicted}? it is {each.label}, {100 * each.confidence:.1f} %, #{each.index}"
        picture = Picture(result.digits.images[each.index], PICTURE_COLUMNS)
        pictures.append(Group(picture, Text(caption)))
    return picture_grid(pictures, console.out.width)
