"""`digitcli evaluate`: measure the accuracy of models on labelled digits or lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.cli.options import RuntimeChoice, complete_dataset, complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import PartialInputError, QualityError, UsageError, counted
from digitcli.evaluation.result_files import (
    DIGIT_SUFFIXES,
    LINE_SUFFIXES,
    MODEL_SUFFIX,
    check_result_file,
    save_result,
)
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS, Split
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import DEFAULT_MODEL, ResolvedModel, check_distinct, resolve_models
from digitcli.settings import FRACTION, argument, setting

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation
    from digitcli.evaluation.robustness import Robustness
    from digitcli.evaluation.selection import Selection

RESULT, MEASUREMENTS = "Result", "More measurements (single digits only)"
# What is passed on to the evaluation where it is given, and what of it is for single digits only.
PASSED_ON = (
    "data", "select", "split", "device", "runtime", "batch_size", "mistakes", "without_label_errors",
    "robustness", "ood",
)  # fmt: skip
DIGITS_ONLY = ("select", "split", "without_label_errors", "robustness", "ood")

CORRECT_SHADES = ((26, 44, 66), (120, 190, 255))  # blue, from a small share of a row to all of it
WRONG_SHADES = ((66, 36, 28), (255, 140, 90))  # red, likewise
COVERAGES = (0.99, 0.95)  # the rows of the coverage table that are shown
CORNER = "is \\ read as "
NUMBERS = ("digit", "is", "line")  # headings of first columns that hold numbers
MAX_CONFUSED_PAIRS = 12  # in a terminal that is too narrow for the confusion matrix
MAX_DARK_SHADE = 3 * 110  # the sum of red, green and blue up to which white text is legible
BLACK, WHITE = Color.from_rgb(0, 0, 0), Color.from_rgb(255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The arguments and options of `digitcli evaluate`."""

    models: tuple[str, ...] = argument(
        "MODEL",
        "Evaluate these shipped models, checkpoint files or run folders; the probabilities of several are "
        f"averaged (default: {DEFAULT_MODEL}).",
        default=(),
        complete=complete_shipped,
    )
    model: tuple[str, ...] = setting(
        (), "", "Evaluate this model too; may be repeated.", unit="model", letter="-m",
        complete=complete_shipped,
    )  # fmt: skip
    data: str | None = setting(
        None,
        "",
        "Evaluate on this dataset: a name (mnist, mnist-c), a file or a folder; for line models, a folder of "
        "digitcli synthesize (default: mnist, or 2,000 lines of its test digits).",
        unit="dataset",
        complete=complete_dataset,
    )
    split: Split | None = setting(
        None,
        "",
        "Evaluate on this split (default: test if test digits are known or were held out, else all).",
    )
    select: int | None = setting(
        None,
        "",
        "Choose this many of the models by the NLL of their average on the validation digits, and evaluate "
        "the average.",
        at_least=1,
        unit="N",
    )
    device: str | None = device_setting()
    runtime: RuntimeChoice | None = setting(
        None, "", "Run the models with torch or onnxruntime; auto takes what suits them (default: auto)."
    )
    batch_size: int | None = setting(
        None, "", "Compute this many images at once (default: 512 digits, or 32 lines).", at_least=1,
        unit="N", letter="-b",
    )  # fmt: skip
    without_label_errors: bool = setting(
        False,
        MEASUREMENTS,
        "Also measure the accuracy without the 15 test digits of MNIST with a wrong label.",
    )
    robustness: bool = setting(
        False, MEASUREMENTS, "Also measure the accuracy under the 15 corruptions of MNIST-C."
    )
    ood: bool = setting(
        False,
        MEASUREMENTS,
        "Also measure how well the confidence tells digits from noise, clouds and letters.",
    )
    mistakes: int | None = setting(
        None, RESULT, "Show this many mistakes, the most confident first (default: 6).", at_least=0, unit="N"
    )
    min_accuracy: float | None = setting(
        None,
        RESULT,
        "End with exit code 8 if the accuracy, or that of whole lines, is below this fraction, for example "
        "0.99 or 99%.",
        at_least=0,
        at_most=1,
        unit=FRACTION,
    )
    output: Path | None = setting(
        None,
        RESULT,
        "Write the figures to a .json file, every answer to a .csv file, diagrams to an .svg file, or the "
        "models that --select chooses to a .safetensors file.",
        unit="file",
        letter="-o",
        aliases=("--save", "--out"),
    )
    force: bool = setting(False, RESULT, "Replace the file of --output if it exists.")
    format: console.Format = setting("table", RESULT, "Print a table for people, or JSON.")


def evaluate(options: EvaluateOptions) -> None:
    """Measure the accuracy and the calibration of models on labelled digits, and show their mistakes.

    Example: digitcli evaluate cnn
    """
    given = {name: getattr(options, name) for name in PASSED_ON}
    chosen = {name: value for name, value in given.items() if value is not None and value is not False}
    names = [*options.models, *options.model] or [DEFAULT_MODEL]
    _check_options(options, len(names))
    resolved = resolve_models(names)
    check_distinct(resolved)
    reads_lines = "line" in {each.header.task for each in resolved}
    if reads_lines:
        _check_line_options(resolved, chosen)
    _check_output(options, reads_lines)
    result = _evaluate(resolved, chosen, reads_lines)
    try:
        if options.output:
            save_result(options.output, result)
    finally:  # a full disk must not take the figures with it
        if options.format == "json":
            console.show_json(result.record())
        else:
            console.show_table(draw_result(result))
    _conclude(result, options.min_accuracy)


def _check_options(options: EvaluateOptions, models: int) -> None:
    """Refuse every mistake in the options before anything heavy is loaded."""
    if options.device is not None:
        check_device_name(options.device)
    if options.data is not None:
        from digitcli.data.loading import find_dataset

        find_dataset(options.data)
    if options.select is not None:
        from digitcli.evaluation.selection import check_selection

        check_selection(options.select, models, options.split)
    is_mnist_test = options.data in (None, DEFAULT_DATASET) and options.split in (None, "test")
    if options.without_label_errors and not is_mnist_test:
        cause = "The label errors of --without-label-errors are known for the test digits of mnist only."
        raise UsageError(cause, "Leave it out, or leave --data and --split out.")


def _check_output(options: EvaluateOptions, reads_lines: bool) -> None:
    if options.output is not None:
        selected = (MODEL_SUFFIX,) if options.select else ()
        suffixes = LINE_SUFFIXES if reads_lines else (*DIGIT_SUFFIXES, *selected)
        check_result_file(options.output, suffixes, options.force)
    elif options.force:
        raise UsageError("--force replaces the file of --output, which is missing.", "Give --output FILE.")


def _check_line_options(models: tuple[ResolvedModel, ...], chosen: dict[str, Any]) -> None:
    if len(models) > 1:
        names = " and ".join(model.name for model in models)
        raise UsageError(
            f"{names} cannot be averaged, since one reads lines.", "Evaluate a line model alone."
        )
    for name in DIGITS_ONLY:
        if name in chosen:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for models of single digits, not for lines.", "Leave it out.")


def _evaluate(
    models: tuple[ResolvedModel, ...], chosen: dict[str, Any], reads_lines: bool
) -> EvaluationResult | LineEvaluation:
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.cli.progress import CountingBar
        from digitcli.inference.predictor import import_runtime

        import_runtime(models, **{name: chosen[name] for name in ("device", "runtime") if name in chosen})
        if reads_lines:
            from digitcli.evaluation import evaluate_lines
            from digitcli.synthesis.line_folders import lines_to_evaluate
        else:
            from digitcli.evaluation import evaluate
    from digitcli.events import DigitsDone, Event, Notice

    with CountingBar("lines" if reads_lines else "digits") as bar:

        def on_event(event: Event) -> None:
            if isinstance(event, Notice):
                console.show_notice(event.message)
            elif isinstance(event, DigitsDone):
                bar.show(event.done, event.n)

        if not reads_lines:
            return evaluate.evaluate(models, on_event=on_event, **chosen)
        data = chosen.pop("data", DEFAULT_DATASET)
        lines, split = lines_to_evaluate(data, models[0].header.dataset.get("digest"))
        return evaluate_lines.evaluate_lines(
            models[0], lines, data=data, split=split, on_event=on_event, **chosen
        )


def _conclude(result: EvaluationResult | LineEvaluation, min_accuracy: float | None) -> None:
    """End with an exit code if the accuracy is too low or some inputs could not be used."""
    if min_accuracy is not None and result.accuracy < min_accuracy:
        raise QualityError(
            f"The accuracy {result.accuracy:.6g} is below --min-accuracy {min_accuracy:g}.",
            "Evaluate another model, or train this one longer; the mistakes above show where it fails.",
        )
    if result.unreadable:
        inputs = counted(result.unreadable, "input")
        raise PartialInputError(
            f"{inputs} of '{result.data}' could not be used; the others were evaluated.",
            "Repair or remove the files that are named above.",
        )


def draw_result(result: EvaluationResult | LineEvaluation) -> Group:
    """Draw a result as wide as the terminal allows."""
    from digitcli.evaluation.evaluate import EvaluationResult

    return _draw_digits(result) if isinstance(result, EvaluationResult) else _draw_lines(result)


def _draw_digits(result: EvaluationResult) -> Group:
    percent = console.percent
    scores = _table(
        ("digit", "precision", "recall", "F1", "n"),
        (
            (str(row.digit), percent(row.precision), percent(row.recall), percent(row.f1), f"{row.n:,}")
            for row in result.per_class
        ),
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
        parts += ["", _mistakes_title(len(result.mistakes), result.wrong), "", _mistakes_grid(result)]
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
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "device": result.device,
    }
    parts: list[RenderableType] = [console.pairs(figures)]
    if result.mistakes:
        wrong = sum(text != label for text, label in zip(result.predicted, result.labels, strict=True))
        rows = (
            (f"{each.index:,}", each.label or "-", each.predicted or "-", console.percent(each.confidence))
            for each in result.mistakes
        )
        table = _table(("line", "is", "read as", "confidence"), rows)
        parts += ["", _mistakes_title(len(result.mistakes), wrong), table]
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


def _mistakes_title(shown: int, wrong: int) -> str:
    return f"[bold]most confident mistakes: {shown} of {wrong:,}[/]"


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
        "without label errors": cleaned,
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}",
        "coverage": ", ".join(
            f"{console.percent(row.accuracy)} of the most confident {100 * row.coverage:g} % are correct"
            for row in result.coverage
            if row.coverage in COVERAGES
        ),
        "device": result.device,
    }
    return {name: value for name, value in figures.items() if value}


def _confusion_table(confusion: Sequence[Sequence[int]]) -> Table:
    """Draw digits in rows and answers in columns: correct in blue, wrong in red, large shares brighter.

    A terminal that is too narrow for the matrix gets a list of the most frequent confusions.
    """
    width = max(4, *(len(str(count)) + 1 for row in confusion for count in row))
    if len(CORNER) + 10 * (width + 1) > console.out.width:
        pairs = [
            (count, digit, answer)
            for digit, row in enumerate(confusion)
            for answer, count in enumerate(row)
            if count and digit != answer
        ]
        most = sorted(pairs, key=lambda pair: -pair[0])[:MAX_CONFUSED_PAIRS]
        rows = ((str(digit), str(answer), f"{count:,}") for count, digit, answer in most)
        return _table(("is", "read as", "times"), rows)
    table = Table.grid()
    table.add_row(Text(CORNER, "bold"), *(Text(f"{answer:>{width}} ", "bold") for answer in range(10)))
    for digit, counts in enumerate(confusion):
        cells = [
            _heat_cell(count, sum(counts), digit == answer, width) for answer, count in enumerate(counts)
        ]
        table.add_row(Text(f"{digit:>{len(CORNER) - 1}} ", "cyan"), *cells)
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
    from digitcli.cli.terminal_image import PICTURE_COLUMNS, Picture, picture_grid  # loads OpenCV

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
