"""Signals that ask for an end: all processes of a team hear of them at the same step."""

from __future__ import annotations

import signal

import pytest

from so3md.cli.signals import GracefulStop
from so3md.parallel import ALONE


class Pair:
    """This process and another one, which knows of the signal `others`; `meanwhile` comes here during the exchange."""

    size, leads = 2, True

    def __init__(self) -> None:
        self.others = 0
        self.meanwhile: signal.Signals | None = None

    def highest(self, value: int) -> int:
        found = max(value, self.others)
        if self.meanwhile is not None:
            signal.raise_signal(self.meanwhile)
            self.meanwhile = None
        self.others = found
        return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_after_the_exchange_stops_nobody_before_the_next(number: signal.Signals) -> None:
    pair = Pair()
    with GracefulStop(pair) as stop:  # type: ignore[arg-type]
        assert not stop.share()
        pair.meanwhile = number
        assert not stop.share()  # the other one goes on
        assert stop.requested
        assert stop.share()
        assert pair.others == number
    assert stop.exit_code == 128 + number


def test_the_signal_of_another_process_stops_this_one() -> None:
    pair = Pair()
    with GracefulStop(pair) as stop:  # type: ignore[arg-type]
        pair.others = signal.SIGTERM
        assert stop.share()
    assert stop.exit_code == 128 + signal.SIGTERM


def test_alone_a_signal_is_heard_at_once() -> None:
    with GracefulStop(ALONE) as stop:
        assert not stop.share()
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        assert stop.share()
