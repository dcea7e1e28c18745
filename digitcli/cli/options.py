"""Options that several commands share, and what the shell completes in them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, Literal

from typer import Argument, BadParameter, Option

from digitcli.console import Format, TableFormat
from digitcli.recognition.constraints import CheckDigit
from digitcli.threads import MAX_THREADS

# Processes at most that read pictures: each takes 120 MB of memory.
MAX_PROCESSES = 8
# The formats in which `interpretation.drawing`, which loads NumPy, can draw.
DRAWINGS = (".png", ".svg", ".html")
# The panel of the help for what is known about the numbers.
CONSTRAINTS = "Constraints on every number"


def complete_architecture(incomplete: str) -> list[tuple[str, str]]:
    """Return the architectures with their papers."""
    from digitcli.architectures.registry import architectures

    return [(row.name, row.paper) for row in architectures().values() if row.name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Return the architectures and the shipped models."""
    from digitcli.architectures.registry import architectures
    from digitcli.inference.model_resolution import shipped_models

    return [name for name in {**architectures(), **shipped_models()} if name.startswith(incomplete)]


def complete_shipped(incomplete: str) -> list[str]:
    """Return the shipped models."""
    from digitcli.inference.model_resolution import shipped_models

    return [name for name in shipped_models() if name.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Return the datasets that have a name."""
    from digitcli.data.loading import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the kinds of devices."""
    from digitcli.inference.devices import DEVICE_NAMES

    return [name for name in DEVICE_NAMES if name.startswith(incomplete)]


def parse_fraction(value: str | float) -> float:
    """Return a fraction that is given as such, or in percent; Typer passes defaults as numbers.

    Raises:
        BadParameter: it is neither.
    """
    text = str(value)
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise BadParameter(f"{text!r} is not a fraction; give for example 0.01 or 1%.") from error


def tensorboard_option(panel: str | None = None) -> Any:
    """Return the option --tensorboard, in this panel of the help."""
    return Option(
        "--tensorboard",
        metavar="DIR",
        help="Write curves, histograms and pictures for TensorBoard to a subfolder of this folder that has "
        "the name of the run folder.",
        rich_help_panel=panel,
    )


RuntimeChoice = Literal["auto", "torch", "onnxruntime"]


def device_option(panel: str | None = None) -> Any:
    """Return the option --device, in this panel of the help."""
    return Option(
        "--device",
        "-d",
        metavar="DEVICE",
        help="Compute on this device: cpu, cuda, cuda:N, mps, or auto for the fastest (default: auto).",
        autocompletion=complete_device,
        rich_help_panel=panel,
    )


def runtime_option(panel: str | None = None) -> Any:
    """Return the option --runtime, in this panel of the help."""
    return Option(
        "--runtime",
        help="Run models with torch or onnxruntime, which starts faster; auto takes onnxruntime for shipped "
        "models on the CPU, for lines and pages with integers of 8 bits, and else torch (default: auto).",
        rich_help_panel=panel,
    )


def model_argument(verb: str) -> Any:
    """Return the argument MODEL of a command that does something with one model, e.g. `Export`."""
    return Argument(
        metavar="MODEL",
        help=f"{verb} this shipped model, checkpoint file or run folder.",
        autocompletion=complete_shipped,
        show_default=False,
    )


def dataset_option(purpose: str) -> Any:
    """Return the option --data with its purpose, e.g. `Train on`."""
    return Option(
        metavar="DATASET",
        help=f"{purpose} this dataset: a name, a file or a folder, as for digitcli train.",
        autocompletion=complete_dataset,
    )


ThreadsOption = Annotated[
    int | None,
    Option("--threads", metavar="N", min=1, max=MAX_THREADS,
           help="Run each network with at most this many threads of the CPU (default: OMP_NUM_THREADS if it "
           "is set, else one for each usable core)."),
]  # fmt: skip


def with_threads(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option --threads; PyTorch and ONNX Runtime are loaded later, and obey it."""

    @functools.wraps(command)
    def decorated(*, threads: int | None = None, **options: Any) -> None:
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        command(**options)

    own = inspect.signature(command, eval_str=True)
    threads = inspect.Parameter(
        "threads", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ThreadsOption
    )
    parameters = [*own.parameters.values(), threads]
    decorated.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    decorated.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return decorated


DeviceOption = Annotated[str | None, device_option()]
FormatOption = Annotated[Format, Option("--format", help="Print a table for people, or JSON.")]
TableFormatOption = Annotated[
    TableFormat, Option("--format", help="Print a table for people, or JSON or CSV for programs.")
]
RuntimeOption = Annotated[RuntimeChoice | None, runtime_option()]
LengthOption = Annotated[
    str | None,
    Option(metavar="N or N-M", rich_help_panel=CONSTRAINTS,
           help="Every number has this many digits, for example 5 or 4-6; this tells which digits form one."),
]  # fmt: skip
PatternOption = Annotated[
    str | None,
    Option(metavar="REGEX", rich_help_panel=CONSTRAINTS,
           help="The digits of a number, without marks, match this regular expression as a whole, for "
           "example '1\\d{4}'."),
]  # fmt: skip
RangeOption = Annotated[
    str | None,
    Option("--range", metavar="A-B", help="The value of a number is from A to B, for example 0-100; A alone "
           "is the only value.",
           rich_help_panel=CONSTRAINTS),
]  # fmt: skip
CheckDigitOption = Annotated[
    CheckDigit | None,
    Option("--check-digit", rich_help_panel=CONSTRAINTS,
           help="A number has a valid check digit: luhn (card numbers), mod97 (IBAN) or ean (EAN, UPC)."),
]  # fmt: skip
