"""`digitcli predict`: what is written in pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable, writing_whole
from digitcli.cli.completion import complete_shipped
from digitcli.cli.options import DeviceOption, RuntimeOption
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import InputError, Interrupted, PartialInputError, UsageError
from digitcli.inference.devices import check_device_name, usable_cores
from digitcli.inference.model_resolution import ResolvedModel, resolve_models
from digitcli.recognition.constraints import Check, asked_of
from digitcli.recognition.formats import format_of
from digitcli.recognition.results import DEFAULT_MODELS, MIN_CONFIDENCE, TOP_K
from digitcli.recognition.resume import Resumed, resuming
from digitcli.recognition.sources import (
    STANDARD_INPUT,
    find_sources,
    is_same_folder,
    listed_sources,
    read_list,
)

if TYPE_CHECKING:
    from digitcli.cli.views.readings import ReadingView
    from digitcli.recognition.annotation import Annotator
    from digitcli.recognition.results import Reading
    from digitcli.recognition.sources import Source

MOST_PROCESSES = 8  # unless --jobs asks for more: each takes 120 MB
PredictFormat = Literal["table", "json", "jsonl", "csv"]
INPUT, OUTPUT, NUMBER = "Input", "Output", "What every number is (the best that is so is read)"

Inputs = Annotated[
    list[str] | None,
    Argument(
        metavar="PICTURE",
        help="Files, folders (and what is below them), patterns such as 'scans/**/*.png', or - for a picture "
        "in standard input.",
        show_default=False,
    ),
]
FromList = Annotated[
    str | None,
    Option(metavar="FILE", help="Also read the files named in FILE, one a line; - for standard input.",
           rich_help_panel=INPUT),
]  # fmt: skip
Null = Annotated[
    bool,
    Option("--null", "-0", help="The names in the list end with a zero byte, as find -print0 writes them.",
           rich_help_panel=INPUT),
]  # fmt: skip
Model = Annotated[
    list[str] | None,
    Option(
        "--model",
        "-m",
        help=f"A shipped model, checkpoint file or run folder; given several times, they are averaged. "
        f"{' and '.join(DEFAULT_MODELS)} if not given; cnn alone reads only digits that stand apart.",
        autocompletion=complete_shipped,
    ),
]
BatchSize = Annotated[
    int | None, Option("--batch-size", "-b", min=1, help="Views of digits computed at once; each has two.")
]
TopK = Annotated[
    int | None,
    Option(min=1, max=10, help=f"Candidates for each digit, the best included; {TOP_K} if not given."),
]
MinConfidence = Annotated[
    float | None,
    Option(
        metavar="FRACTION",
        help=f"Refuse an answer less sure than this, from 0 to 1; what the model says, or {MIN_CONFIDENCE}, "
        "if not given.",
    ),
]
MaxError = Annotated[
    float | None,
    Option(
        metavar="FRACTION",
        help="Refuse whatever would make more of the answers wrong than this, e.g. 0.01; by the calibration "
        "of the models.",
    ),
]
Length = Annotated[
    str | None, Option(metavar="N or N-M", help="How many digits a number has.", rich_help_panel=NUMBER)
]
Pattern = Annotated[
    str | None,
    Option(
        metavar="REGEX", help="What its digits match, as a whole, e.g. '1\\d{4}'.", rich_help_panel=NUMBER
    ),
]
Range = Annotated[
    str | None, Option("--range", metavar="A-B", help="From which to which value.", rich_help_panel=NUMBER)
]
CheckDigit = Annotated[
    Check | None, Option("--check", help="The check digit that it has to have.", rich_help_panel=NUMBER)
]
Single = Annotated[bool, Option("--single", help="A picture holds one digit.", rich_help_panel=NUMBER)]
Annotate = Annotated[
    Path | None,
    Option(metavar="DIR", help="Write each picture into DIR with what was read drawn into it.",
           rich_help_panel=OUTPUT),
]  # fmt: skip
ShowSteps = Annotated[
    bool,
    Option("--show-steps", help="Show the road from the picture to what the networks see; with --annotate "
           "as a picture too.",
           rich_help_panel=OUTPUT),
]  # fmt: skip
Output = Annotated[
    Path | None,
    Option("--output", "-o", metavar="FILE", rich_help_panel=OUTPUT,
           help="Write to FILE, whole or not at all, instead of standard output; .jsonl, .json or .csv."),
]  # fmt: skip
Resume = Annotated[
    bool,
    Option("--resume", help="Keep what is in FILE or FILE.partial and read what is not there yet; what "
           "failed is tried again and comes last.",
           rich_help_panel=OUTPUT),
]  # fmt: skip
Jobs = Annotated[
    int | None,
    Option("--jobs", "-j", min=1, help="Pictures read at once; as many as cores, up to 8, if not given."),
]
Force = Annotated[bool, Option("--force", help="Replace what is there already.", rich_help_panel=OUTPUT)]
Format = Annotated[
    PredictFormat | None,
    Option(help="table (if not given) for people, the others for programs.", rich_help_panel=OUTPUT),
]


def predict(
    inputs: Inputs = None,
    from_list: FromList = None,
    null: Null = False,
    model: Model = None,
    device: DeviceOption = None,
    runtime: RuntimeOption = None,
    batch_size: BatchSize = None,
    jobs: Jobs = None,
    top_k: TopK = None,
    min_confidence: MinConfidence = None,
    max_error: MaxError = None,
    length: Length = None,
    pattern: Pattern = None,
    range: Range = None,
    check: CheckDigit = None,
    single: Single = False,
    annotate: Annotate = None,
    show_steps: ShowSteps = False,
    output: Output = None,
    resume: Resume = False,
    force: Force = False,
    format: Format = None,
) -> None:
    """Read the digits in pictures, photographs and scans.

    Example: digitcli predict image.png

    A picture may hold several numbers; they are read line by line.

    What is not sure enough is refused, and one bad file never loses the others.
    """
    form = format or (format_of(output) if output else "table")
    _check_inputs(inputs, from_list, null)
    _check(device, min_confidence, max_error, annotate, output, resume, force, form)
    models = resolve_models(model or DEFAULT_MODELS)
    if output:
        check_writable(output, force or resume)
    _check_annotated(inputs or [], annotate)
    asked = asked_of(length, pattern, range, check, single)
    given = {
        "device": device, "batch_size": batch_size, "min_confidence": min_confidence, "max_error": max_error,
        "asked": asked, "top_k": top_k, "jobs": jobs, "runtime": runtime,
    }  # fmt: skip
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen["processes"] = jobs or min(MOST_PROCESSES, usable_cores())
    view = _read(
        inputs or [], from_list, null, models, chosen, annotate, show_steps, output, resume, force, form
    )
    _conclude(view)


def _read(
    inputs: list[str],
    from_list: str | None,
    null: bool,
    models: tuple[ResolvedModel, ...],
    chosen: dict[str, Any],
    annotate: Path | None,
    show_steps: bool,
    output: Path | None,
    resume: bool,
    force: bool,
    form: PredictFormat,
) -> ReadingView:
    """Load what reads only now; read, show and write everything."""
    with ExitStack() as stack:
        names = None if from_list is None else _open_list(stack, from_list)
        annotator = _open_annotator(annotate, force, show_steps) if annotate else None
        with console.Busy("Loading the models"), wait_with_signals():
            from digitcli.cli.views.readings import ReadingView
            from digitcli.recognition.reader import Reader

            reader = Reader(*models, keep_pictures=show_steps or annotate is not None, **chosen)
        if "max_error" in chosen and not reader.calibrated:
            console.show_notice(
                "How often these models err was never measured; their confidence is believed."
            )
        resumed = stack.enter_context(_resumed(output, resume, form, reader.name))
        before = resumed.done.total()
        view = stack.enter_context(ReadingView(form == "table", output is not None, show_steps, before))
        listed = None if names is None else read_list(names, b"\0" if null else b"\n")
        if names is None and STANDARD_INPUT not in inputs:
            view.count_ahead(resumed.left(_sources(inputs, None, annotate)))
        readings = reader.read_all(resumed.left(_sources(inputs, listed, annotate)))
        if annotator:
            readings = annotator.write_all(readings)
        _show(view.watch(readings), form, view, resumed)
        if before:
            console.show_notice(f"{console.counted(before, 'picture')} had been read before.")
        elif not sum(view.counts.values()):
            raise InputError("There is nothing to read: the list is empty.", "Name pictures or folders.")
    return view


def _check_inputs(inputs: list[str] | None, from_list: str | None, null: bool) -> None:
    if not inputs and from_list is None:
        raise UsageError("No picture is named.", "Name one, e.g. digitcli predict image.png, or a folder.")
    if null and from_list is None:
        raise UsageError("-0 says how a list is written.", "Name the list with --from-list.")
    uses = [*(inputs or []), from_list].count(STANDARD_INPUT)
    if uses > 1:
        raise UsageError("Standard input is asked for more than once.", "Give - once.")
    if uses and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"Standard input is {state}.", "Pipe something in: digitcli predict - < image.png")


def _check(
    device: str | None,
    min_confidence: float | None,
    max_error: float | None,
    annotate: Path | None,
    output: Path | None,
    resume: bool,
    force: bool,
    form: PredictFormat,
) -> None:
    """Find every mistake that the arguments alone show, before anything heavy is loaded."""
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence is {min_confidence:g}.", "Give a fraction from 0 to 1, e.g. 0.9.")
    if max_error is not None and not 0 < max_error < 1:
        raise UsageError(f"--max-error is {max_error:g}.", "Give a fraction above 0 and below 1, e.g. 0.01.")
    if max_error is not None and min_confidence is not None:
        raise UsageError(
            "--max-error and --min-confidence both say what is sure enough.", "Give one of them."
        )
    if output and form == "table":
        raise UsageError("A table is for looking at.", "Give --format jsonl, json or csv for a file.")
    if resume and (output is None or form not in ("jsonl", "csv")):
        raise UsageError("--resume goes on with a file of results.", "Name it with -o, .jsonl or .csv.")
    if resume and (force or annotate):
        raise UsageError("--resume keeps what is there.", "Leave --force and --annotate out.")
    if force and not (output or annotate):
        raise UsageError("--force replaces what -o or --annotate would write.", "Leave it out.")
    if device is not None:
        check_device_name(device)


def _check_annotated(inputs: list[str], annotate: Path | None) -> None:
    for name in inputs:
        if annotate and is_same_folder(name, annotate):
            cause = f"'{name}' is to be read, and --annotate is to write there."
            raise UsageError(cause, "Name another folder for --annotate.")


def _open_list(stack: ExitStack, name: str) -> BinaryIO:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(name).open("rb"))
    except (OSError, ValueError) as error:
        cause = f"The list '{name}' cannot be read: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, "Name a text file with one path a line.") from error


def _open_annotator(folder: Path, force: bool, steps: bool) -> Annotator:
    from digitcli.recognition.annotation import Annotator

    return Annotator(folder, force, steps)


def _sources(inputs: list[str], listed: Iterator[str] | None, leave_out: Path | None) -> Iterator[Source]:
    """All pictures, but those that are annotated meanwhile."""
    yield from find_sources(inputs, sys.stdin.buffer if STANDARD_INPUT in inputs else None, leave_out)
    if listed is not None:
        yield from listed_sources(listed, leave_out)


@contextmanager
def _resumed(output: Path | None, resume: bool, form: PredictFormat, model: str) -> Iterator[Resumed]:
    """What takes the text: standard output, a file that appears whole at the end, or one that grows."""
    if output is None:
        yield Resumed(lambda text: print(text, end=""))
    elif resume:
        with resuming(output, form, model) as resumed:  # type: ignore[arg-type]
            yield resumed
    else:
        with writing_whole(output) as write:
            yield Resumed(lambda text: write(text.encode(errors="backslashreplace")))


def _show(readings: Iterator[Reading], form: PredictFormat, view: ReadingView, resumed: Resumed) -> None:
    if form == "table":
        for reading in readings:
            view.show_row(reading)
    else:
        from digitcli.recognition.formats import as_text

        pieces = as_text(readings, form)
        if resumed.done and form == "csv":
            next(pieces)  # the headings are there
        try:
            for piece in pieces:
                with wait_with_signals(insisting=True):  # what is half written would be lost
                    resumed.write(piece)
        except Interrupted as stopped:
            resumed.write(pieces.throw(stopped))  # what ends it, where the format has that
            raise
    if sys.stdout is not None:  # a closed pipe or a full disk counts for more than a bad picture
        sys.stdout.flush()


def _conclude(view: ReadingView) -> None:
    """Say what failed, with the exit code that goes with it."""
    failed, total = view.counts["error"], sum(view.counts.values())
    if not total:
        return
    if view.held is not None:
        raise view.held
    if failed == total and not view.read_before:
        raise InputError(f"None of the {total} pictures could be read.", "The causes are named above.")
    if failed:
        raise PartialInputError(
            f"{failed} of {total} pictures could not be read; the others were.", "They are named above."
        )
