"""One line for a record of a kind, and few of them in a minute."""

import errno
import logging
import sys

from livecaption.server.logs import RateLimited, refused_accept


def record(message: str, at_s: float = 1000.0, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error is not None else None
    made = logging.LogRecord("asyncio", logging.ERROR, "x.py", 1, message, (), exc_info)
    made.created = at_s
    return made


def passed(limit: RateLimited, *records: logging.LogRecord) -> list[str]:
    """What a handler would write of those that pass."""
    return [logging.Formatter("%(message)s").format(each) for each in records if limit.filter(each)]


def bad_only(each: logging.LogRecord) -> str | None:
    return "bad" if each.getMessage().startswith("bad") else None


def test_few_of_a_kind_pass_in_a_minute_and_the_next_one_says_how_many_did_not() -> None:
    limit = RateLimited(bad_only, per_minute=2)
    assert passed(limit, *(record("bad thing", 1000.0 + n) for n in range(10))) == [
        "bad",
        "bad; more of this minute are suppressed",
    ]
    assert passed(limit, record("bad thing", 1059.9)) == []
    assert passed(limit, record("bad thing", 1060.0)) == ["bad (9 more before it were suppressed)"]
    assert passed(limit, record("bad thing", 1061.0)) == ["bad; more of this minute are suppressed"]
    assert passed(limit, record("bad thing", 1300.0)) == ["bad"]


def test_all_of_other_kinds_pass_as_they_are() -> None:
    limit = RateLimited(bad_only, per_minute=1)
    others = [record("good thing", error=ValueError("why")) for _ in range(5)]
    assert [line.splitlines() for line in passed(limit, *others)] == [["good thing", "ValueError: why"]] * 5


def test_a_clock_that_is_set_back_suppresses_nothing_for_long() -> None:
    limit = RateLimited(bad_only, per_minute=1)
    passed(limit, record("bad thing", 5000.0))
    assert len(passed(limit, record("bad thing", 100.0))) == 1


def test_a_connection_that_is_not_accepted_is_one_line_without_a_traceback() -> None:
    """As asyncio logs it: several lines, and where it was raised."""
    try:
        raise OSError(errno.EMFILE, "Too many open files")
    except OSError:
        refused = record("socket.accept() out of system resource\nsocket: <socket.socket fd=6>")
        refused.exc_info = sys.exc_info()
    assert passed(RateLimited(refused_accept), refused) == [
        "no connection can be accepted just now: [Errno 24] Too many open files"
    ]
    assert refused_accept(record("Task exception was never retrieved")) is None
