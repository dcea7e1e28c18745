"""`digitcli predict`: read the numbers in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from digitcli.cli.options import (
    CONSTRAINTS,
    MAX_PROCESSES,
    CheckDigitOption,
    LengthOption,
    PatternOption,
    RangeOption,
    RuntimeChoice,
    complete_shipped,
    device_option,
    parse_fraction,
    runtime_option,
)
from digitcli.cli.predict_run import (
    PredictFormat,
    PredictOptions,
    check_options,
    read_pictures,
)
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.reading_formats import Per, format_of
from digitcli.recognition.readings import (
    BATCH_SIZE,
    DEFAULT_MAX_ERROR,
    DEFAULT_MODELS,
    MIN_CONFIDENCE,
    TOP_K,
    Rotation,
)

INPUT, MODELS, CERTAINTY, OUTPUT = "Input", "Models and speed", "Refusing uncertain answers", "Output"

Inputs = Annotated[
    list[str] | None,
    Argument(metavar="PICTURE", show_default=False,
             help="Pictures to read: files, folders and all folders below them, patterns such as "
             "'scans/**/*.png', or - for one picture on standard input."),
]  # fmt: skip
FilesFrom = Annotated[
    str | None,
    Option(metavar="FILE", rich_help_panel=INPUT,
           help="Also read the files and folders that FILE names, one per line; - for standard input."),
]  # fmt: skip
Null = Annotated[
    bool,
    Option("--null", "-0", rich_help_panel=INPUT,
           help="Names in the list of --files-from end with a zero byte, as find -print0 writes them."),
]  # fmt: skip
Model = Annotated[
    list[str] | None,
    Option("--model", "-m", metavar="MODEL", autocompletion=complete_shipped, rich_help_panel=MODELS,
           help="Read with this shipped model, checkpoint file or run folder; repeat the option to average "
           f"models (default: {', '.join(DEFAULT_MODELS)}); a model of lines replaces reader, and "
           "picture_reader unless calibrate or adapt wrote it; models of single digits alone, for example "
           "cnn, read only digits that stand apart."),
]  # fmt: skip
Device = Annotated[str | None, device_option(MODELS)]
Runtime = Annotated[RuntimeChoice | None, runtime_option(MODELS)]
BatchSize = Annotated[
    int | None,
    Option("--batch-size", "-b", metavar="N", min=1, rich_help_panel=MODELS,
           help="Give a network this many crops of digits at once; each digit is seen at two sizes (default: "
           f"{BATCH_SIZE})."),
]  # fmt: skip
Jobs = Annotated[
    int | None,
    Option("--jobs", "-j", metavar="N", min=1, rich_help_panel=MODELS,
           help="Open this many pictures at once; after the first 128, read with this many processes, but "
           f"with one for --annotate or --show-steps (default: the number of CPU cores, at most "
           f"{MAX_PROCESSES})."),
]  # fmt: skip
MinConfidence = Annotated[
    float | None,
    Option(metavar="FRACTION", parser=parse_fraction, rich_help_panel=CERTAINTY,
           help="Refuse each number whose confidence is below this, for example 0.9 or 90%; cannot be given "
           f"with --max-error (default: the ones of --max-error {DEFAULT_MAX_ERROR} for the default models, "
           f"else the one that a model stores, or {MIN_CONFIDENCE})."),
]  # fmt: skip
MaxError = Annotated[
    float | None,
    Option(metavar="FRACTION", parser=parse_fraction, rich_help_panel=CERTAINTY,
           help="Refuse each number whose confidence is below a stored one, above which at most this "
           "fraction of the answers was wrong, for example 0.01 or 1%: measured on your pictures if digitcli "
           f"calibrate or adapt wrote the model, else on synthetic ones (default: {DEFAULT_MAX_ERROR} for "
           "the default models)."),
]  # fmt: skip
SingleDigit = Annotated[
    bool,
    Option("--single-digit", rich_help_panel=CONSTRAINTS,
           help="Each picture holds one digit and nothing else; for tables of digits use --length 1."),
]  # fmt: skip
Format = Annotated[
    PredictFormat | None,
    Option(rich_help_panel=OUTPUT,
           help="Print a table for people, or json, jsonl or csv for programs (default: the suffix of the "
           "output file, csv with --per number, or table)."),
]  # fmt: skip
PerOption = Annotated[
    Per,
    Option(rich_help_panel=OUTPUT,
           help="Write one row of CSV per page, or one per number with its row and column on the page."),
]  # fmt: skip
Output = Annotated[
    Path | None,
    Option("--output", "-o", metavar="FILE", rich_help_panel=OUTPUT,
           help="Write the results to this .jsonl, .json or .csv file instead of standard output; it appears "
           "when the run has finished."),
]  # fmt: skip
Resume = Annotated[
    bool,
    Option("--resume", rich_help_panel=OUTPUT,
           help="Write each result to FILE.partial at once, and continue it if a run with -o FILE.csv or "
           "FILE.jsonl was interrupted: read the pictures that are left or failed."),
]  # fmt: skip
Force = Annotated[
    bool,
    Option("--force", rich_help_panel=OUTPUT,
           help="Replace an existing output file, or write into a folder that is not empty."),
]  # fmt: skip
TopK = Annotated[
    int,
    Option(metavar="K", min=1, max=10, rich_help_panel=OUTPUT,
           help="Give this many candidates for each digit and number in JSON output, the best included; with "
           "--per number, CSV has the second one of each number."),
]  # fmt: skip
Rotate = Annotated[
    Rotation,
    Option(metavar="DEGREES", rich_help_panel=INPUT,
           help="Turn each page clockwise by 0, 90, 180 or 270 degrees before it is read; auto turns a page "
           "only if it is much easier to read turned, and only with a model that finds numbers on pages."),
]  # fmt: skip
Annotate = Annotated[
    Path | None,
    Option(metavar="DIR", rich_help_panel=OUTPUT,
           help="Write a copy of each picture into this folder, with a box and the answer at each digit: "
           "green from a confidence of 0.95 on, orange from 0.5 on, red below and for refused numbers."),
]  # fmt: skip
ShowSteps = Annotated[
    bool,
    Option("--show-steps", rich_help_panel=OUTPUT,
           help="Show the steps from a picture to what the networks see; with --annotate also as a picture, "
           "FILE.steps.png."),
]  # fmt: skip


def predict(
    inputs: Inputs = None,
    files_from: FilesFrom = None,
    null: Null = False,
    rotate: Rotate = "auto",
    model: Model = None,
    device: Device = None,
    runtime: Runtime = None,
    batch_size: BatchSize = None,
    jobs: Jobs = None,
    min_confidence: MinConfidence = None,
    max_error: MaxError = None,
    length: LengthOption = None,
    pattern: PatternOption = None,
    range: RangeOption = None,
    check_digit: CheckDigitOption = None,
    single_digit: SingleDigit = False,
    format: Format = None,
    per: PerOption = "page",
    output: Output = None,
    resume: Resume = False,
    force: Force = False,
    top_k: TopK = TOP_K,
    annotate: Annotate = None,
    show_steps: ShowSteps = False,
) -> None:
    """Read handwritten numbers in pictures, photographs and scans.

    Example: digitcli predict image.png

    A picture may hold several numbers; they are read line by line.

    A number is refused if its confidence is below the threshold, or if something else is wrong; its reason
    tells what, and its text is the best guess. A doubtful number refuses no other number of its page, and a
    file that cannot be read stops no other.
    """
    options = PredictOptions(
        inputs=inputs or [], files_from=files_from, null=null, rotate=rotate, device=device, runtime=runtime,
        batch_size=batch_size, jobs=jobs, min_confidence=min_confidence, max_error=max_error,
        constraints=parse_constraints(length, pattern, range, check_digit, single_digit),
        form=format or _default_form(output, per), per=per, output=output, resume=resume, force=force,
        top_k=top_k, annotate=annotate, show_steps=show_steps,
    )  # fmt: skip
    check_options(options)
    read_pictures(options, resolve_models(model or DEFAULT_MODELS))


def _default_form(output: Path | None, per: Per) -> PredictFormat:
    """Return the format where none is named."""
    if output is not None:
        return format_of(output)
    return "csv" if per == "number" else "table"
