"""`digitcli predict`: read the numbers in pictures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli import manifests, tables
from digitcli.cli.options import CONSTRAINTS, MAX_PROCESSES, RuntimeChoice, complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.data.storage import address_of
from digitcli.errors import (
    InputError,
    Interrupted,
    OutputError,
    PartialInputError,
    UsageError,
    counted,
    import_packages,
)
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_models
from digitcli.recognition.constraints import CheckDigit, Constraints, parse_constraints
from digitcli.recognition.readings import DEFAULT_MAX_ERROR, DEFAULT_MODELS, TOP_K, Rotation, check_ranges
from digitcli.recognition.results import (
    Per,
    ResultWriter,
    format_of,
    format_readings,
    new_results,
    resume_results,
    stored_results,
)
from digitcli.recognition.sources import (
    STANDARD_INPUT,
    find_sources,
    is_same_folder,
    listed_sources,
    read_list,
)
from digitcli.settings import argument, setting
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    from digitcli.cli.readings_view import ReadingView
    from digitcli.recognition.reader import Reader
    from digitcli.recognition.readings import Reading
    from digitcli.recognition.sources import Picture
    from digitcli.tables.forms import Form
    from digitcli.tables.reading import TableOptions

INPUT, MODELS, CERTAINTY, OUTPUT = "Input", "Models and speed", "Refusing uncertain answers", "Output"
TABLES = "Tables"
STANDARD_OUTPUT = Path("-")

PredictFormat = Literal["table", "json", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `digitcli predict`."""

    pictures: tuple[str, ...] = argument(
        "PICTURE", "Read these files, folders with all folders below them, or patterns such as "
        "'scans/**/*.png'; - is one picture on standard input.", (),
    )  # fmt: skip
    files_from: str | None = setting(
        None, INPUT, "Also read the files and folders that FILE lists, one per line or as find -print0 "
        "writes them; - is standard input.", unit="file",
    )  # fmt: skip
    manifest: str | None = setting(
        None, INPUT, "Read the portions of this manifest of digitcli plan, and write a part for each of them "
        "into the folder of -o, here or in a store; the same command continues an interrupted run.",
        unit="file",
    )  # fmt: skip
    portion: str | None = setting(
        None, INPUT, "Read only every N-th portion from the K-th on, counted from 0; for job arrays.",
        unit="K/N",
    )  # fmt: skip
    null: bool = setting(
        False, INPUT, "Has no effect: zero bytes in a list are noticed.", letter="-0", hidden=True
    )  # fmt: skip
    rotate: Rotation = setting(
        "auto", INPUT, "Turn each page clockwise by these degrees before it is read; auto turns it only if "
        "it is much easier to read then.", unit="degrees",
    )  # fmt: skip
    model: tuple[str, ...] = setting(
        (), MODELS, "Read with this shipped model, checkpoint or run folder; may be repeated (default: "
        f"{', '.join(DEFAULT_MODELS)}); models of single digits, for example cnn, read digits that stand "
        "apart.",
        letter="-m", unit="model", complete=complete_shipped,
    )  # fmt: skip
    device: str | None = device_setting(group=MODELS)
    runtime: RuntimeChoice = setting(
        "auto", MODELS, "Run models with torch or onnxruntime, which starts faster."
    )  # fmt: skip
    jobs: int | None = setting(
        None, MODELS, "Open this many pictures at once, and read with this many processes after the first "
        f"128 (default: the CPU cores, at most {MAX_PROCESSES}).", letter="-j", unit="N", at_least=1,
    )  # fmt: skip
    engine: Literal["local", "ray"] = setting(
        "local", MODELS, "Read the portions by processes of this machine, or by workers of Ray."
    )
    address: str | None = setting(
        None, MODELS, "Use this cluster of Ray (default: one on this machine).", unit="address"
    )
    workers: int | None = setting(
        None, MODELS, "Read this many portions at once (default: --jobs).", unit="N", at_least=1
    )
    min_confidence: float | None = setting(
        None, CERTAINTY, "Refuse each number whose confidence is below this, for example 0.9 or 90%.",
        unit="fraction", at_least=0, at_most=1,
    )  # fmt: skip
    max_error: float | None = setting(
        None, CERTAINTY, "Refuse numbers below the stored confidence from which on at most this fraction of "
        "answers was wrong, on your pictures (calibrate, adapt) or synthetic ones (default: "
        f"{DEFAULT_MAX_ERROR}).",
        unit="fraction",
    )  # fmt: skip
    length: str | None = setting(
        None, CONSTRAINTS, "Every number has this many digits, for example 5 or 4-6; this tells which digits "
        "form one.", unit="N or N-M",
    )  # fmt: skip
    pattern: str | None = setting(
        None, CONSTRAINTS, "The digits of a number, without marks, match this regular expression as a whole, "
        "for example '1\\d{4}'.", unit="regex",
    )  # fmt: skip
    range: str | None = setting(
        None, CONSTRAINTS, "The value of a number is from A to B, for example 0-100; A alone is the only "
        "value.",
        unit="A-B",
    )  # fmt: skip
    check_digit: CheckDigit | None = setting(
        None, CONSTRAINTS, "A number has a valid check digit: luhn (card numbers), mod97 (IBAN) or ean (EAN, "
        "UPC)."
    )  # fmt: skip
    single_digit: bool = setting(
        False, CONSTRAINTS, "Each picture holds one digit and nothing else; for tables of digits use "
        "--length 1."
    )  # fmt: skip
    format: PredictFormat | None = setting(
        None, OUTPUT, "Print a table for people, or json, jsonl, csv or parquet for programs (default: by "
        "the name of the output file, csv with --per number, or table).",
    )  # fmt: skip
    per: Per = setting(
        "page", OUTPUT, "Write one row of CSV per page, or one per number with its row and column on the "
        "page."
    )  # fmt: skip
    output: Path | None = setting(
        None, OUTPUT, "Write the results to this .jsonl, .json, .csv or .parquet file, here or in a store "
        "(s3://, gs://, az:// ...), which appears when the run has finished; - is standard output.",
        letter="-o", unit="file",
    )  # fmt: skip
    resume: bool = setting(
        False, OUTPUT, "Continue an interrupted run with -o FILE.csv or FILE.jsonl: read the pictures that "
        "are left or failed. Results grow in FILE.partial.",
    )  # fmt: skip
    force: bool = setting(
        False, OUTPUT, "Replace an existing output file, or write into a folder that is not empty."
    )  # fmt: skip
    table: bool = setting(
        False, TABLES, "Read the tables of pages: each number stands in its cell, and -o writes them to "
        "a .csv or .xlsx file. With --per number, CSV and jsonl have one record per cell.",
    )  # fmt: skip
    template: str | None = setting(
        None, TABLES, "Read filled copies of the form of this template (digitcli form learn): each page is a "
        "row, and each field a column. Other pages are refused as not_this_form.", unit="file",
    )  # fmt: skip
    columns: str | None = setting(
        None, TABLES, "Name the columns of the tables, from the first one on.", unit="name,name"
    )
    type: tuple[str, ...] = setting(
        (), TABLES, "Tell what the numbers mean: amount, integer, decimal, date, time, telephone, "
        "postcode:CC, iban:CC, card, isbn, meter or fraction. A column may have its own type, for example "
        "marks=integer or 3=date. May be repeated.", unit="type",
    )  # fmt: skip
    locale: str | None = setting(
        None, TABLES, "Read decimals, thousands and dates as people of this locale write them, for example "
        "de or en_GB; without it what is ambiguous is refused.", unit="locale",
    )  # fmt: skip
    date_order: str | None = setting(
        None, TABLES, "Dates are written as dmy, mdy or ymd; dmy:1950 also tells that years of two digits "
        "begin with 1950.", unit="order",
    )  # fmt: skip
    check: tuple[str, ...] = setting(
        (), TABLES, "Correct or refuse numbers by their arithmetic: 'total = sum(1..8)', '4 = 1 + 2 - 3', "
        "'balance = running(amount)', 'no = count', 'row last = sum(2..last-1)'; columns are counted from "
        "1. May be repeated.", unit="check",
    )  # fmt: skip
    previous: Path | None = setting(
        None, TABLES, "Compare meters with their last readings: the first column of this CSV file is the key "
        "of a row, e.g. the number of its meter, and the second the reading; both are headed like columns of "
        "the table.", unit="file",
    )  # fmt: skip
    max_change: int | None = setting(
        None, TABLES, "A reading exceeds that of --previous by at most this number; the likeliest such "
        "reading wins, or the number is refused.", unit="N", at_least=0,
    )  # fmt: skip
    printed: Literal["keep", "skip", "only"] = setting(
        "keep", TABLES, "Keep printed numbers, such as headings and row numbers, or skip them, or keep only "
        "these; their columns stay."
    )  # fmt: skip
    annotate: Path | None = setting(
        None, OUTPUT, "Write a copy of each picture into this folder, with a coloured box and the answer at "
        "each digit; red ones are uncertain or refused.", unit="dir",
    )  # fmt: skip
    show_steps: bool = setting(
        False, OUTPUT, "Show the steps from a picture to what the networks see.",
    )  # fmt: skip

    @property
    def form(self) -> PredictFormat:
        """The format of the results, also where none is named."""
        if self.format is not None or self.output is None:
            return self.format or ("csv" if self.per == "number" else "table")
        if self.is_tabular and self.output.suffix.lower() == ".xlsx":
            return "table"
        return format_of(self.output)

    @property
    def is_tabular(self) -> bool:
        """Whether the results are tables, or forms."""
        return self.table or self.template is not None


def predict(options: PredictOptions) -> None:
    """Read handwritten numbers in pictures, photographs and scans.

    Example: digitcli predict image.png

    A picture may hold several numbers; they are read line by line.

    A number is refused if its confidence is below the threshold, or if something else is wrong; its reason
    tells what, and its text is the best guess. A doubtful number refuses no other number of its page, and a
    file that cannot be read stops no other.
    """
    if options.manifest is not None:
        manifests.read_manifest(options, options.manifest)
        return
    manifests.check_options(options)
    if options.output == STANDARD_OUTPUT:
        options = replace(options, output=None)
    tables.check_options(options)
    known = tables.parse(options)
    constraints = parse_constraints(
        options.length, options.pattern, options.range, options.check_digit, options.single_digit
    )
    _check_input(options)
    check_ranges(options.min_confidence, options.max_error)
    _check_output(options)
    check_device_name(options.device or "auto")
    if options.output and not address_of(options.output):
        check_writable(options.output, options.force or options.resume)
    _read(options, constraints, known, resolve_models(options.model or DEFAULT_MODELS))


def _check_input(options: PredictOptions) -> None:
    if not options.pictures and options.files_from is None:
        raise UsageError(
            "No picture is named.",
            "Name a file or a folder, e.g. digitcli predict image.png, or - for standard input.",
        )
    uses = [*options.pictures, options.files_from].count(STANDARD_INPUT)
    if uses > 1:
        raise UsageError("Standard input is named more than once.", "Give - once.")
    if uses and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"Standard input is {state}.", "Pipe a file into it: digitcli predict - < image.png")
    for name in options.pictures:
        if options.annotate and is_same_folder(name, options.annotate):
            cause = f"'{name}' is an input, but --annotate writes into the same folder."
            raise UsageError(cause, "Name another folder for --annotate.")


def _check_output(options: PredictOptions) -> None:
    if options.output is None and sys.stdout is None:
        raise OutputError("Standard output is closed.", "Write to a file with -o.")
    if options.output and options.annotate and options.output.resolve() == options.annotate.resolve():
        raise UsageError(f"-o and --annotate both name {options.output}.", "Name a file and another folder.")
    if options.form == "parquet":
        import_packages("Parquet", "parquet", "pyarrow")
        if options.output is None:
            raise UsageError("Parquet is written to a file.", "Name it with -o.")
    if options.output and options.form == "table" and not options.is_tabular:
        cause = "A table is for a terminal, not for a file."
        raise UsageError(cause, "Give --format jsonl, json or csv.")
    if options.per == "number" and options.form != "csv" and not options.is_tabular:
        cause = f"--per number is for CSV, but the output is {options.form}."
        raise UsageError(cause, "Give --format csv or -o numbers.csv; JSON lists the numbers of each page.")
    if options.resume and options.output and address_of(options.output):
        cause = "--resume cannot continue results in a store, which grow nowhere."
        raise UsageError(cause, "Name a file of this machine, or use digitcli plan and --manifest.")
    if options.resume and (options.output is None or options.form not in ("jsonl", "csv")):
        output = f"{options.output or 'standard output'} as {options.form}"
        cause = f"--resume needs a file of CSV or JSON lines, but the output is {output}."
        raise UsageError(cause, "Name a .csv or .jsonl file, e.g. -o results.csv.")
    if options.resume and STANDARD_INPUT in options.pictures:
        cause = "--resume cannot tell whether the picture on standard input was read before."
        raise UsageError(cause, "Name a file, or leave --resume out.")
    if options.resume and (options.force or options.annotate):
        cause = "--resume keeps earlier results, and works with neither --force nor --annotate."
        raise UsageError(cause, "Leave them out.")
    if options.force and not (options.output or options.annotate):
        cause = "--force replaces the output of -o or --annotate, but neither is given."
        raise UsageError(cause, "Leave --force out.")


def _read(
    options: PredictOptions,
    constraints: Constraints | None,
    known: TableOptions | Form | None,
    models: tuple[ResolvedModel, ...],
) -> None:
    """Read the pictures by these models, and show or write the readings."""
    with ExitStack() as stack:
        names = _open_list(stack, options.files_from)
        annotator = None
        if options.annotate:
            from digitcli.recognition.annotation import Annotator

            annotator = Annotator(options.annotate, options.force)
        with console.Busy("Loading the models"), wait_with_signals():
            from digitcli.cli.readings_view import ReadingView

            reader = _load_reader(options, constraints, models)
        if reader.calibration_note is not None:
            console.show_notice(reader.calibration_note)
        results = stack.enter_context(_results(options, constraints, reader.name))
        view = stack.enter_context(
            ReadingView(
                shows_table=options.form == "table" and not options.is_tabular,
                writes_file=options.output is not None,
                shows_steps=options.show_steps,
                read_before=results.read_before.total(),
                thresholds=_describe_thresholds(options, reader, is_resumed=bool(results.read_before)),
            )
        )
        is_stored = any(map(address_of, options.pictures))  # what it counts would be fetched twice
        if names is None and STANDARD_INPUT not in options.pictures and not is_stored:
            view.count_ahead(results.left(_sources(options, None)))
        skipped: Counter[str] = Counter()
        pictures = results.left(_sources(options, names), skipped)
        readings = reader.read_all(pictures) if known is None else tables.read(pictures, known, reader)
        if annotator:
            readings = annotator.write_all(readings)
        if known is None:
            _show(view.watch(readings), options, view, results)
        else:
            tables.show(view.watch(readings), options, known, reader)
        if view.read_before:
            console.show_notice(_describe_kept(options, skipped.total(), results))
        elif not view.counts:
            raise InputError("There is nothing to read: the list is empty.", "Name pictures or folders.")
    _raise_failures(view)


def _describe_kept(options: PredictOptions, skipped: int, results: ResultWriter) -> str:
    """Return which results stay: those of pictures that are named, and perhaps by mistake those of others."""
    kept = f"{counted(skipped, 'picture')} had results in {options.output} under the same names."
    if others := results.read_before.total() - skipped:
        kept += f" It also holds {counted(others, 'result')} of pictures that are not named now."
    if not results.has_known_options:
        kept += " The options with which they were read are not known, and may differ from those of this run."
    return kept


def _load_reader(
    options: PredictOptions, constraints: Constraints | None, models: tuple[ResolvedModel, ...]
) -> Reader:
    from digitcli.recognition.reader import THREADS, Reader

    return Reader(
        *models,
        device=options.device or "auto",
        runtime=options.runtime,
        jobs=options.jobs or THREADS,
        processes=options.jobs or min(MAX_PROCESSES, usable_cores()),
        min_confidence=options.min_confidence,
        max_error=options.max_error,
        constraints=constraints,
        top_k=TOP_K
        + 3 * bool(options.check or options.previous or options.template),  # from which they choose
        keep_pictures=options.show_steps or options.annotate is not None or tables.needs_pictures(options),
        rotate=options.rotate,
    )


def _describe_thresholds(options: PredictOptions, reader: Reader, *, is_resumed: bool) -> str | None:
    """Return which numbers are refused, for people who have asked for it or have calibrated the model."""
    if options.max_error is None and not options.show_steps and not reader.thresholds.is_guaranteed:
        return None
    refused = reader.thresholds.describe()
    return f"In the pictures read now: {refused[0].lower()}{refused[1:]}" if is_resumed else refused


def _open_list(stack: ExitStack, name: str | None) -> Iterator[str] | None:
    """Open a list of pictures now, and return the names in it, which are read when they are needed."""
    if name is None:
        return None
    if name == STANDARD_INPUT:
        return read_list(sys.stdin.buffer)
    try:
        return read_list(stack.enter_context(Path(name).open("rb")))
    except (OSError, ValueError) as error:
        cause = f"The list '{name}' cannot be read: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, "Name a text file with one path per line.") from error


def _sources(options: PredictOptions, names: Iterator[str] | None) -> Iterator[Picture]:
    """Yield all pictures, without the annotated ones that this run writes."""
    stdin = sys.stdin.buffer if STANDARD_INPUT in options.pictures else None
    yield from find_sources(options.pictures, stdin, options.annotate)
    if names is not None:
        yield from listed_sources(names, options.annotate)


def _results(
    options: PredictOptions, constraints: Constraints | None, model: str
) -> AbstractContextManager[ResultWriter]:
    """Open standard output, a file that appears whole at the end, or a file of an earlier run that grows.

    The options on which results depend are kept beside the file; the models are in the results.
    """
    if options.output is None or options.is_tabular:
        return nullcontext(ResultWriter(console.show_data))
    if (address := address_of(options.output)) is not None:
        return stored_results(address, force=options.force)
    given = {
        "--device": options.device,
        "--runtime": options.runtime,
        "--rotate": options.rotate,
        "--min-confidence": options.min_confidence,
        "--max-error": None
        if options.max_error == DEFAULT_MAX_ERROR and not options.model
        else options.max_error,
    }
    kept = {name: str(value) for name, value in given.items() if value not in (None, "auto")}
    kept |= constraints.options() if constraints else {}
    if options.resume:
        return resume_results(options.output, model, options.per if options.form == "csv" else None, kept)
    can_resume = options.form in ("csv", "jsonl")
    return new_results(options.output, force=options.force, options=kept if can_resume else None)


def _show(
    readings: Iterator[Reading], options: PredictOptions, view: ReadingView, results: ResultWriter
) -> None:
    if options.form == "table":
        only = None
        for number, reading in enumerate(readings):
            view.show_row(reading)
            only = None if number else reading
        if only is not None:
            view.show_only_page(only)
    else:
        has_heading = not results.read_before
        pieces: Generator[str] | Generator[bytes]
        if options.form == "parquet":
            from digitcli.bulk.parquet import parquet_pieces

            pieces = parquet_pieces(readings)
        else:
            pieces = format_readings(readings, options.form, options.per, has_heading=has_heading)
        try:
            for piece in pieces:
                with wait_with_signals(insisting=True):  # a signal must not tear a piece
                    results.write(piece)
        except Interrupted as stopped:
            results.write(pieces.throw(stopped))  # the end that makes the format valid, where it has one
            raise
    if sys.stdout is not None:  # a closed pipe or a full disk matters more than a bad picture
        sys.stdout.flush()


def _raise_failures(view: ReadingView) -> None:
    """Raise the error whose exit code tells how many pictures could not be read."""
    failed, total = view.counts["error"], view.counts.total()
    if view.held_error is not None:
        raise view.held_error
    if not failed:
        return
    remedy = "Each failure is explained above."
    if failed == total and not view.read_before:
        raise InputError(f"Of {counted(total, 'picture')}, none could be read.", remedy)
    raise PartialInputError(f"{failed} of {counted(total, 'picture')} could not be read.", remedy)
