"""The command line: one file a command, and one place where an error becomes an exit code."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

import digitcli
from digitcli import console
from digitcli.cli.signals import interrupt_on_signals
from digitcli.errors import DigitcliError, EnvironmentFault, Interrupted, OutputError
from digitcli.inference.devices import is_out_of_memory, rank_and_size

EPILOG = (
    "Exit codes: 0 done · 1 internal error · 2 usage · 3 no input could be read · 4 some inputs failed · "
    "5 model unusable · 6 device, extra or memory missing · 7 output not writable · 8 quality gate missed · "
    "9 training diverged · 129, 130, 143 stopped by a signal · 141 the reader closed the pipe"
)

COMMANDS = {  # the first lines of their docstrings: the program's help need not import them
    "predict": "Read the digits in pictures, photographs and scans.",
    "train": "Train an architecture by its recipe and judge it once on the test set.",
    "evaluate": "Judge models on labelled digits: accuracy, calibration, confusions, and the worst mistakes.",
    "compare": "Train architectures over several seeds, judge all on the same images, and say what may "
    "be chance.",
    "benchmark": "Measure speed, memory and accuracy of models on this machine.",
    "models": "List every architecture and shipped model, show one layer by layer, or write the cards "
    "of all.",
    "synthesize": "Write lines of handwritten numbers, with exact labels and boxes, to train or to try a "
    "reader.",
}
DISK_ERRORS = {getattr(errno, name, None) for name in ("ENOSPC", "EIO", "EDQUOT")}

app = typer.Typer(
    help="Reads handwritten digits, and shows how every kind of neural network does it.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"digitcli {digitcli.__version__}")
        raise typer.Exit


def with_command(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that the arguments name; the others, whose import takes time, in name."""
    named = next((word for word in arguments if not word.startswith("-")), "")
    app.registered_commands.clear()
    for name, summary in COMMANDS.items():
        if name == named:
            app.command(name)(getattr(importlib.import_module(f"digitcli.cli.{name}"), name))
        else:
            app.command(name, help=summary)(lambda: None)
    return app


def given_arguments() -> Sequence[str]:
    """The program's arguments, or those that a shell wants to have completed."""
    if "_DIGITCLI_COMPLETE" not in os.environ:
        return sys.argv[1:]
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return words.split()[1:]


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the program itself; Typer calls this before every command."""


def main() -> None:
    """Run the command line and end the process with its exit code, see `errors.py`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("DIGITCLI_DEBUG"):
        sys.exit(exit_code_of_run())
    sys.excepthook = show_internal_error
    _end(exit_code_of_run())


def _end(code: int) -> NoReturn:
    """End the process at once: taking the interpreter apart takes longer than reading a picture."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
                stream.flush()
    os._exit(code)


def exit_code_of_run() -> int:
    """Run the command that the arguments name; every failure is shown here and nowhere else."""
    try:
        try:
            with interrupt_on_signals():
                get_command(with_command(given_arguments()))(
                    prog_name="digitcli"
                )  # calling the app itself would take the excepthook
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):
                raise end.__context__ from None
            code = end.code if isinstance(end.code, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_stdout()
        return 141
    except (DigitcliError, Interrupted) as error:
        return _fail(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        remedy = "Take a smaller --batch-size or less data."
        return _fail(EnvironmentFault("There is not enough memory.", remedy))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _discard_stdout()
        return _fail(OutputError(f"The output cannot be written: {error.strerror}.", "Free some space."))


def show_internal_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake of ours, in place of Python's traceback; Python ends the process with exit code 1."""
    cause = f"Internal error, {kind.__name__}: {error}"
    remedy = "This is a bug. Run the command again with DIGITCLI_DEBUG=1 and report what it prints."
    console.show_error(DigitcliError(cause, remedy))


def _fail(error: DigitcliError | Interrupted) -> int:
    rank, size = rank_and_size()
    if size > 1:
        error.cause = f"Process {rank} of {size}: {error.cause}"
    console.show_error(error)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _discard_stdout()
    return error.exit_code


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's own flush cannot fail."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
