"""What an evaluation reports while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """Something a person should know, in a sentence; `routine` if nothing is unusual about it."""

    message: str
    routine: bool = False


@dataclass(frozen=True)
class DigitsDone:
    """How many of the `n` digits the model has answered."""

    done: int
    n: int


Event = Notice | DigitsDone
OnEvent = Callable[[Event], None]
