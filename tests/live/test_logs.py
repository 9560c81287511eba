"""Records that clients can cause again and again are one line each, and few in a minute."""

import logging

import pytest

from livecaption.live.logs import FEW_REFUSALS, RateLimited
from tests.support.logs import passed, record
from tests.support.serving import Client


def bad_only(each: logging.LogRecord) -> str | None:
    return "bad" if each.getMessage().startswith("bad") else None


def test_few_of_a_kind_pass_in_a_minute_and_the_next_one_has_the_number_of_the_others() -> None:
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


async def test_streams_that_are_refused_again_and_again_are_few_lines(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(FEW_REFUSALS.per_minute + 1):
        socket = await client.ws_connect("/v1/stream")
        await socket.send_str("hello")
        await socket.receive()
        await socket.close()
    assert 0 < caplog.text.count("a stream is refused") <= FEW_REFUSALS.per_minute
