"""Stopping with a clean save."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from digitcli.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], int | None]]:
    """Within it, Ctrl-C, TERM and HUP are only remembered; a second Ctrl-C stops at once.

    What it gives returns the number of the signal that came, or None. Until it is first asked there is
    nothing to save yet, and a signal raises `Interrupted`.
    """
    received: list[int] = []
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if not asked:
            raise Interrupted(number, "Stopped before the first step; there was nothing to save.")
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def stop_signal() -> int | None:
        nonlocal asked
        asked = True
        return received[0] if received else None

    with _handled_by(remember):
        yield stop_signal


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Within it Ctrl-C, TERM and HUP raise `Interrupted`, so that what is half-written is cleared away."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _stopped(number)

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def wait_with_signals(insisting: bool = False) -> Iterator[None]:
    """Within it signals are only remembered, and raise `Interrupted` at its end; `insisting` ones, from the
    second on, at once.

    An exception that meets the import of compiled modules is swallowed there, or ends the process in a crash.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if insisting and len(received) > 1:
            raise _stopped(number)

    with _handled_by(remember):
        yield
    if received:
        raise _stopped(received[0])


def _stopped(number: int) -> Interrupted:
    return Interrupted(number, "Stopped.", "What was shown so far is whole; no file was left half-written.")


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:  # nohup ignores HUP, and means it
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
