"""The response to each stop signal. tests/processes/test_stop*.py test with real processes how signals are received."""

import os
import signal
import subprocess
import sys

import pytest

from livecaption.server.signals import MIN_GAP_S, Escalation, Response, is_service
from tests.support.cases import for_each

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
STOP, FORCE, NOTHING, RELOAD = Response.STOP, Response.FORCE, Response.NOTHING, Response.RELOAD


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


@for_each(
    ("signals", "expected"),
    [
        ([HUP, HUP, TERM], [RELOAD, RELOAD, STOP]),
        ([TERM, HUP, TERM], [STOP, NOTHING, FORCE]),
        ([INT, TERM], [STOP, FORCE]),
    ],
)
def test_a_hang_up_of_a_service_asks_for_a_reload(signals: list[int], expected: list[Response]) -> None:
    escalation = Escalation(hang_up_reloads=True)
    assert [escalation.receive(number, float(at_s)) for at_s, number in enumerate(signals)] == expected


@for_each(
    ("environ", "expected"),
    [
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
        ({"SYSTEMD_EXEC_PID": str(os.getpid())}, True),
        # A shell in a terminal that systemd started, and its jobs.
        ({"SYSTEMD_EXEC_PID": "1", "INVOCATION_ID": "0123"}, False),
        ({}, False),
    ],
)
def test_only_the_process_that_systemd_started_is_a_service(environ: dict[str, str], expected: bool) -> None:
    assert is_service(environ) is expected


@pytest.mark.processes
def test_a_stop_before_the_server_runs_is_in_order_and_no_failure() -> None:
    """Each process has its inbox and no server yet, as `serve` in its first second, while it imports."""
    program = (
        "import signal, sys, time; from livecaption.server.signals import SignalInbox; SignalInbox.install();"
        "signal.raise_signal(int(sys.argv[1])); time.sleep(60)"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(int(number))]) for number in (TERM, INT)]
    assert [process.wait(timeout=30) for process in started] == [0, 0]
