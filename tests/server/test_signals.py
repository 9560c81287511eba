"""The response to each stop signal. tests/processes/test_stop*.py test with real processes how signals are received."""

import signal

import pytest

from livecaption.server.signals import MIN_GAP_S, Escalation, Response

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
STOP, FORCE, NOTHING = Response.STOP, Response.FORCE, Response.NOTHING


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        ([(TERM, 0.0)], [STOP]),
        ([(INT, 0.0)], [STOP]),
        ([(HUP, 0.0)], [STOP]),
        # The terminal and a wrapper each send one.
        ([(INT, 0.0), (INT, 0.2)], [STOP, NOTHING]),
        ([(INT, 0.0), (INT, 0.2), (INT, MIN_GAP_S - 0.01)], [STOP, NOTHING, NOTHING]),
        ([(INT, 0.0), (INT, MIN_GAP_S + 0.01)], [STOP, FORCE]),
        ([(INT, 0.0), (TERM, 5.0)], [STOP, FORCE]),
        ([(HUP, 0.0), (TERM, 5.0)], [STOP, FORCE]),
        ([(INT, 0.0), (INT, 0.2), (INT, 0.4)], [STOP, NOTHING, FORCE]),
        # The shell, the kernel and systemd each send a hang-up.
        ([(HUP, 0.0), (HUP, 1.0), (HUP, 2.0)], [STOP, NOTHING, NOTHING]),
        ([(TERM, 0.0), (HUP, 1.0)], [STOP, NOTHING]),
        ([(TERM, 0.0), (HUP, 1.0), (TERM, 2.0)], [STOP, NOTHING, FORCE]),
        # The forced stop has already begun.
        ([(INT, 0.0), (INT, 1.0), (INT, 1.1), (INT, 9.0)], [STOP, FORCE, NOTHING, NOTHING]),
    ],
)
def test_signals_ask_for(signals: list[tuple[int, float]], expected: list[Response]) -> None:
    escalation = Escalation()
    assert [escalation.receive(number, 100.0 + at_s) for number, at_s in signals] == expected
