"""A server is cut off where others may reach the database, not where it is down for all or nobody else is there."""

import errno

import asyncpg

from livecaption.store.postgresql.connecting import is_down
from livecaption.store.postgresql.reach import CUT_OFF_S, Reach
from tests.support.cases import for_each

REFUSED = OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1'), [Errno 111] Connect call failed")


def lost(n_failures: int, *, n_others: int = 1, is_down: bool = False) -> Reach:
    """Return the state of the way at a server that has reached the database at 10 s and then failed to."""
    reach = Reach(0.0, 7)
    reach.note_reached(10.0)
    reach.note_others(n_others)
    for _ in range(n_failures):
        reach.note_failure(is_down=is_down)
    return reach


def test_a_server_is_cut_off_once_it_has_not_reached_the_database_for_a_while() -> None:
    reach = lost(2)
    assert not reach.is_cut_off(10.0 + CUT_OFF_S - 0.1)
    assert reach.is_cut_off(10.0 + CUT_OFF_S)


def test_it_is_not_once_the_database_has_answered() -> None:
    reach = lost(9)
    reach.note_reached(100.0)
    assert not reach.is_cut_off(200.0)


def test_one_failure_is_not_enough_because_the_server_itself_may_have_paused() -> None:
    assert not lost(1).is_cut_off(1000.0)


def test_a_server_that_was_alone_is_never_cut_off() -> None:
    assert not lost(9, n_others=0).is_cut_off(1000.0)


def test_a_server_is_not_cut_off_from_a_database_that_is_down() -> None:
    reach = lost(9, is_down=True)
    assert not reach.is_cut_off(1000.0)
    reach.note_failure(is_down=False)  # now its machine is silent
    assert reach.is_cut_off(1000.0)
    reach.note_failure(is_down=True)
    assert not reach.is_cut_off(1000.0)


@for_each(
    ("error", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (REFUSED, True),
        (asyncpg.CannotConnectNowError("the database system is starting up"), True),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), True),
        (TimeoutError(), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (OSError(errno.EHOSTUNREACH, "no route to host"), False),
        (asyncpg.InvalidPasswordError("password authentication failed"), False),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), False),
    ],
)
def test_a_database_is_down_where_its_machine_refuses_connections_or_its_answer_names_that(
    error: Exception, *, expected: bool
) -> None:
    assert is_down(error) is expected
