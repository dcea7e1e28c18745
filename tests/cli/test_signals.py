"""Signals end the work with `Interrupted`, and their handlers are restored."""

from __future__ import annotations

import signal

import pytest

from digitcli.cli.signals import SIGNALS, interrupt_on_signals, wait_with_signals
from digitcli.errors import Interrupted


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_interrupted_with_its_exit_code(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Interrupted) as caught, interrupt_on_signals():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_on_signals():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_errors_pass_through_and_handlers_are_restored() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyError), interrupt_on_signals():
        raise KeyError
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_remembered_signal_is_raised_at_the_end() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    done = False
    with pytest.raises(Interrupted) as caught, wait_with_signals():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done and caught.value.exit_code == 143
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_second_signal_is_raised_at_once_if_insisting() -> None:
    with pytest.raises(Interrupted) as caught, wait_with_signals(insisting=True):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was only remembered")
    assert caught.value.exit_code == 130


def test_waiting_without_a_signal_raises_nothing() -> None:
    with wait_with_signals():
        pass
