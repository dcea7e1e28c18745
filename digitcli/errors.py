"""What can go wrong. An error is a cause, a remedy and an exit code.

DigitcliError            1  internal error
├── UsageError           2  an option, name or configuration that cannot be meant
├── InputError           3  no input could be read
│   └── PictureError     3  one picture could not be read; `reason` says why in one word
├── PartialInputError    4  some inputs failed, the others are done
├── ModelError           5  a model or checkpoint that cannot be used
├── EnvironmentFault     6  a device, an extra or memory that is missing
├── OutputError          7  an output that exists or cannot be written
├── QualityError         8  a quality gate was missed
└── DivergedError        9  training diverged; the last good checkpoint is kept

Interrupted        128 + n  stopped by signal n after a clean save
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class DigitcliError(Exception):
    """A failure that a person can act on: what happened (`cause`) and what to do (`remedy`)."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes too it keeps all it says."""
        return _as_it_was, (type(self), self.args, self.__dict__)

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


def _as_it_was(kind: type[DigitcliError], args: tuple[Any, ...], said: dict[str, Any]) -> DigitcliError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(said)
    return error


class UsageError(DigitcliError):
    """An option, a name or a configuration that cannot be meant."""

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
    """A model or checkpoint cannot be used."""

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
    """Training produced a loss that is not finite; the last good checkpoint is kept."""

    exit_code = 9


class Interrupted(BaseException):
    """A signal stopped the work after a clean save.

    Like KeyboardInterrupt it is no Exception, for those are caught by others, who take them for theirs.
    """

    def __init__(self, signal_number: int, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.exit_code = 128 + signal_number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: the nearest known names, or all of them where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known are: {', '.join(known)}."
