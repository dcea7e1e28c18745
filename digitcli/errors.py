"""The errors that a person can act on. Each has a cause, a remedy and an exit code.

DigitcliError            1  internal error
├── UsageError           2  an option, a name or a setting is wrong
├── InputError           3  no input could be read
│   └── PictureError     3  one picture could not be read; `reason` says why in one word
├── PartialInputError    4  some inputs failed, the others are done
├── ModelError           5  a model or checkpoint cannot be used
├── EnvironmentFault     6  a device, an optional package or memory is missing
├── OutputError          7  an output exists already or cannot be written
├── QualityError         8  a quality gate was missed
└── DivergedError        9  training diverged; the last good checkpoint is kept

Interrupted        128 + n  stopped by signal n, no file half-written
"""

from __future__ import annotations

import copyreg
import difflib
import importlib
import os
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class DigitcliError(Exception):
    """A failure that a person can act on.

    cause: what is wrong, with the value that was given.
    remedy: what to do about it.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all attributes when the error is passed between processes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


class UsageError(DigitcliError):
    """An option, a name or a setting is wrong."""

    exit_code = 2


class InputError(DigitcliError):
    """No input could be read."""

    exit_code = 3


class PictureError(InputError):
    """One picture could not be read; `reason` is the one-word reason of the JSON records."""

    def __init__(self, reason: str, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.reason = reason


class PartialInputError(DigitcliError):
    """Some inputs failed, the others are done."""

    exit_code = 4


class ModelError(DigitcliError):
    """A model or a checkpoint cannot be used."""

    exit_code = 5


class EnvironmentFault(DigitcliError):
    """The machine lacks a device, an optional package or memory."""

    exit_code = 6


class OutputError(DigitcliError):
    """An output exists already or cannot be written."""

    exit_code = 7


class QualityError(DigitcliError):
    """A quality gate was missed."""

    exit_code = 8


class DivergedError(DigitcliError):
    """Training produced a loss that explodes or is not finite; the last good checkpoint is kept."""

    exit_code = 9


class Interrupted(BaseException):
    """A signal stopped the work; no file is half-written.

    Like KeyboardInterrupt it is no Exception, so that libraries which catch exceptions let it pass.
    """

    def __init__(self, signal_number: int, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.exit_code = 128 + signal_number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the remedy for a mistyped name: the most similar known names, or all if none is similar."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known names: {', '.join(known)}."


def quoted(path: Path | str) -> str:
    """Return a path or another word as the shell takes it, for a command that a remedy names."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def counted(number: float, name: str) -> str:
    """Return a number of things, e.g. 1 digit, 7,291 digits, 0.2 epochs; the plural of the name adds an s."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def import_packages(needed_by: str, extra: str, *modules: str) -> None:
    """Import modules of packages that an extra of digitcli installs, and that only `needed_by` needs.

    Raises:
        EnvironmentFault: a module cannot be imported.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise missing_package(needed_by, extra, str(error)) from error


def missing_package(needed_by: str, extra: str, reason: str) -> EnvironmentFault:
    """Return the error about a package of an extra that is not installed."""
    cause = f"{needed_by} needs a package that cannot be loaded: {reason}."
    return EnvironmentFault(cause, f"Install it, in the copy of the repository: pip install '.[{extra}]'")
