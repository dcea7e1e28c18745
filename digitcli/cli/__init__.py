"""The command line: one module for each command, and one place where an error becomes an exit code."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

import digitcli
from digitcli import console
from digitcli.cli.signals import interrupt_on_signals
from digitcli.errors import (
    DigitcliError,
    EnvironmentFault,
    Interrupted,
    OutputError,
    UsageError,
    did_you_mean,
)
from digitcli.inference.devices import is_out_of_memory, rank_and_size

EXIT_CODES = (
    "Exit codes: 0 done · 1 internal error · 2 wrong usage · 3 no input could be read · "
    "4 some inputs failed, the others are done · 5 model or checkpoint unusable · "
    "6 device, optional package or memory missing · "
    "7 output not writable, or it exists and --force is not given · 8 quality gate missed · "
    "9 training diverged · 129, 130, 143 stopped by a signal, no file half-written · "
    "141 the reader closed the pipe"
)
SEE_EXIT_CODES = "The exit codes are explained by: digitcli --help"

COMMANDS = {  # the first sentences of the commands' docstrings, so that --help need not import the commands
    "predict": "Read handwritten numbers in pictures, photographs and scans.",
    "form": "Learn where the fields of an empty form are, or show them.",
    "plan": "Divide many pictures into portions, which workers read one by one.",
    "verify": "Tell whether the results of a manifest are whole: no picture missing or twice, all by the "
    "same reader.",
    "train": "Train an architecture by its recipe, and evaluate it once on the test set.",
    "evaluate": "Measure the accuracy and the calibration of models on labelled digits, and show their "
    "mistakes.",
    "calibrate": "Find the threshold from which on few answers to your pictures are wrong, with a guarantee.",
    "adapt": "Adapt the reader to your pictures, and say how many more of them it then reads correctly.",
    "explain": "Show what in a picture made a model read it as one digit and not as another.",
    "compare": "Compare architectures and models over several seeds and tell real differences from chance.",
    "tune": "Search the settings of a recipe on the validation digits.",
    "benchmark": "Measure the speed, memory and accuracy of models on this machine.",
    "report": "Write a run, an evaluation, a comparison, readings or an adaptation as one HTML file.",
    "compress": "Make a trained model smaller by pruning and integers, and measure what each step brings.",
    "export": "Write a model for another program or language, and check that it answers the same there.",
    "models": "List every architecture and every shipped model, or show one of them layer by layer.",
    "doctor": "Say what is wrong with a run, a model, a picture, data or the installation.",
    "synthesize": "Write synthetic pictures of handwritten numbers with exact labels, to train or to test a "
    "reader.",
}
HELP_OPTIONS = ["-h", "--help"]
# The error that ended the run. Its frames hold the connection to other processes; to release them waits for
# these, which may never answer, so they live until the process ends.
_kept_errors: list[BaseException] = []
ParsingError: Any = typer.BadParameter.__mro__[2]  # the class of all errors of Typer's parser
DISK_ERRORS = {getattr(errno, name, None) for name in ("ENOSPC", "EIO", "EDQUOT")}

app = typer.Typer(
    help="Read handwritten numbers in photographs and scans, and train, evaluate and compare neural networks "
    "on digits.\n\n"
    "Start with: digitcli predict PICTURE, digitcli train --arch cnn, or digitcli COMMAND --help.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": HELP_OPTIONS},
)


def show_version(is_wanted: bool) -> None:
    """Print the version and end the program."""
    if is_wanted:
        typer.echo(f"digitcli {digitcli.__version__}")
        raise typer.Exit


def with_command(arguments: Sequence[str]) -> typer.Typer:
    """Return the program with the command that the arguments name; the others are only listed.

    Importing a command takes time, so that only the one that runs is imported.
    """
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    app.registered_commands.clear()
    for name, summary in COMMANDS.items():
        if name == chosen:
            command = load_command(name)
            app.command(name, help=unwrap(inspect.getdoc(command) or ""), epilog=SEE_EXIT_CODES)(command)
        else:
            app.command(name, help=summary)(lambda: None)
    return app


def load_command(name: str) -> Callable[..., None]:
    """Return the function of a command; its parameters are the arguments and options."""
    from digitcli.cli.options import as_command

    return as_command(getattr(importlib.import_module(f"digitcli.cli.{name}"), name))


def simplify_parameters(program: Any) -> None:
    """Hide the word <bool> that Typer's help shows beside every flag, and let texts pass as they are typed.

    `cli.options` checks them. Typer would build a validator for each of them, in a quarter of the time in
    which a picture is read.
    """
    for command in (program, *program.commands.values()):
        help_option = command.get_help_option(typer.Context(command, help_option_names=HELP_OPTIONS))
        for option in (*command.params, help_option):
            option._runtime_param = TextsAsTyped()
            if getattr(option, "is_flag", False):
                option.metavar = ""


class TextsAsTyped:
    """What stands in the place of a validator of Typer."""

    def coerce(self, value: Any, param: Any, ctx: object) -> Any:
        """Return a text, or a list of them where a parameter may be repeated."""
        return list(value or ()) if param.multiple or param.nargs == -1 else value


def unwrap(docstring: str) -> str:
    """Return a docstring with each paragraph on one line, since Typer wraps the lines itself.

    Indented lines, for example commands, stay on lines of their own.
    """
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else " ".join(text.split()) for text in paragraphs)


def command_line_arguments() -> Sequence[str]:
    """Return the arguments of the program, or the arguments that a shell wants to complete."""
    if "_DIGITCLI_COMPLETE" not in os.environ:
        return sys.argv[1:]
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return words.split()[1:]


@app.callback()
def program_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True),
    ] = False,
) -> None:
    """Declare the options of the program itself; Typer calls this before every command."""


def main() -> None:
    """Run the command line and end the process with an exit code, see `errors.py`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("DIGITCLI_DEBUG"):
        sys.exit(exit_code_of_run())
    sys.excepthook = show_internal_error
    _end(exit_code_of_run())


def _end(code: int) -> NoReturn:
    """End the process at once, since the interpreter takes longer to shut down than to read a picture."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
                stream.flush()
    os._exit(code)


def exit_code_of_run() -> int:
    """Run the command that the arguments name, show its failure if there is one, and return the exit code."""
    try:
        try:
            with interrupt_on_signals():
                # `app()` would replace sys.excepthook, so the command is called instead.
                program = get_command(with_command(command_line_arguments()))
                simplify_parameters(program)
                code = program(prog_name="digitcli", standalone_mode=False) or 0
        except ParsingError as error:
            if error.format_message():
                return _fail(_explained(error))
            code = error.exit_code  # the help was shown
        except SystemExit as end:  # of shell completion, or of a reader that closed the pipe
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
        remedy = "Choose a smaller --batch-size or less data."
        return _fail(EnvironmentFault("There is not enough memory.", remedy))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _discard_stdout()
        return _fail(OutputError(f"The output cannot be written: {error.strerror}.", "Free some space."))


def _explained(error: Any) -> UsageError:
    """Return an error of Typer's parser in the words of this program, with a remedy."""
    context = error.ctx
    path = context.command_path if context else "digitcli"
    usual = f"{path} --help lists the {'options' if context and context.parent else 'commands'}."
    kind, message = type(error).__name__, error.message
    if kind == "NoSuchOption":
        files = [name for name in command_line_arguments() if name.startswith("-") and os.path.lexists(name)]
        if files:
            usual = f"To name the file {files[0]}, write ./{files[0]}"
        elif error.possibilities:
            usual = f"Did you mean {' or '.join(sorted(error.possibilities))}?"
        return UsageError(f"{path} has no option {error.option_name}.", usual)
    if kind == "MissingParameter":
        return UsageError(f"{error.param.metavar or error.param.name.upper()} is missing.", usual)
    if kind == "BadOptionUsage":
        if "not take" in message:
            return UsageError(f"{error.option_name} takes no value.", "Give it alone.")
        return UsageError(f"{error.option_name} needs a value.", "Give one after it.")
    if message.startswith("No such command"):
        word = next(word for word in command_line_arguments() if not word.startswith("-"))
        is_file = bool(word) and os.path.lexists(word)
        remedy = f"To read a picture: digitcli predict {word}" if is_file else did_you_mean(word, COMMANDS)
        return UsageError(f"There is no command '{word}'.", remedy)
    if "unexpected extra argument" in message:
        words = message[message.rindex("(") + 1 : -1]
        if any("--arch" in parameter.opts for parameter in context.command.params):
            usual = f"Name an architecture with --arch, for example: {path} --arch cnn"
        return UsageError(f"{path} takes no further argument, but '{words}' is given.", usual)
    return UsageError(message, usual)


def show_internal_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an internal error in place of a traceback; Python then ends the process with exit code 1."""
    cause = f"Internal error, {kind.__name__}: {error}"
    remedy = "This is a bug. Run the command again with DIGITCLI_DEBUG=1 and report what it prints."
    console.show_error(DigitcliError(cause, remedy))


def _fail(error: DigitcliError | Interrupted) -> int:
    _kept_errors.append(error)
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
    """Send what is still buffered to nowhere, so that the interpreter's own flush cannot fail."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
