"""Stop cleanly on Ctrl-C, TERM and HUP."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from digitcli.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the number of the signal that was received, or None.

    Signals are only remembered, so that the work can be saved first; a second Ctrl-C ends the process at
    once. Before the first call of the function there is nothing to save, and a signal raises `Interrupted`.
    """
    received: list[int] = []
    was_called = False

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if not was_called:
            raise Interrupted(number, "Stopped before the first step; there was nothing to save.")
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def stop_signal() -> int | None:
        nonlocal was_called
        was_called = True
        return received[0] if received else None

    with _handled_by(remember):
        yield stop_signal


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise `Interrupted` on Ctrl-C, TERM and HUP, so that half-written files are removed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _stopped(number)

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def wait_with_signals(insisting: bool = False) -> Iterator[None]:
    """Remember signals and raise `Interrupted` at the end; if `insisting`, a second signal raises it at once.

    The import of compiled modules is protected in this way, since it swallows exceptions or crashes by them.
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
    return Interrupted(number, "Stopped.", "No half-written file is left.")


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:  # e.g. by nohup, whose process must survive HUP
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
