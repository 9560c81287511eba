"""Lines of the log, as text and as JSON, and what they are about."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from livecaption.ipc import children, logs
from livecaption.ipc.config import LogConfig
from livecaption.ipc.logs import Subject, fields_of, formatter, is_journal
from tests.support.cases import for_each

AT_S = 1_700_000_000.25
PUBLISHER = Subject(request="r1", peer="203.0.113.5", session="abcdef", room="pycon")


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Leave the log of the tests as it was."""
    ours, root = logging.getLogger(logs.OWN), logging.getLogger()
    before = logs._used, ours.level, root.level, root.handlers[:], logging.raiseExceptions
    yield
    logs._used, ours.level, root.level, root.handlers[:], logging.raiseExceptions = before
    ours.manager._clear_cache()  # type: ignore[attr-defined]


def record(message: str = "hello", level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("livecaption.x").makeRecord("livecaption.x", level, "x.py", 1, message, (), None)
    made.created = AT_S
    made.__dict__.update(extra)
    return made


def failed() -> logging.LogRecord:
    """Return the record of an exception."""
    made = record("it failed", logging.ERROR)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def as_json(made: logging.LogRecord) -> dict[str, object]:
    line = formatter(LogConfig(format="json"), in_journal=False).format(made)
    assert "\n" not in line
    assert line.isascii()
    parsed: dict[str, object] = json.loads(line)
    return parsed


def test_a_line_of_json_has_its_time_in_utc_and_what_it_is_about() -> None:
    made = record("naïve\nline", session="abcdef", code="overloaded", status=503, bytes=0)
    assert as_json(made) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "livecaption.x",
        "message": "naïve\nline",
        "process": "livecaption",
        "pid": os.getpid(),
        "session": "abcdef",
        "code": "overloaded",
        "status": 503,
        "bytes": 0,
    }


def test_an_exception_is_a_field_of_the_same_line() -> None:
    line = as_json(failed())
    assert line["message"] == "it failed"
    assert str(line["exception"]).startswith("Traceback (most recent call last):\n")
    assert str(line["exception"]).endswith("ValueError: two\nlines")


def test_a_text_line_has_what_it_is_about_unless_its_message_has_it() -> None:
    text = logs.TextFormatter(logs.TEXT)
    assert text.format(record("session=abcdef ended", session="abcdef", room="pycon", host="x")) == (
        "INFO livecaption.x: session=abcdef ended [room=pycon]"
    )
    assert text.format(record()) == "INFO livecaption.x: hello"
    assert text.format(failed()).splitlines()[0] == "ERROR livecaption.x: it failed"


def test_the_journal_gets_priorities_and_no_second_time() -> None:
    in_journal = formatter(LogConfig(), in_journal=True)
    assert in_journal.format(record()) == "<6>INFO livecaption.x: hello"
    lines = in_journal.format(failed()).splitlines()
    assert lines[0] == "<3>ERROR livecaption.x: it failed"
    assert [line[:3] for line in lines] == ["<3>"] * len(lines)
    assert len(lines) > 3
    assert formatter(LogConfig(format="json"), in_journal=True).format(record()).startswith('<6>{"time": ')
    elsewhere = formatter(LogConfig(), in_journal=False).format(record())
    assert elsewhere.endswith(" INFO livecaption.x: hello")
    assert elsewhere.startswith("2023-11-1")


def test_the_journal_is_recognized_by_its_socket() -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    assert is_journal(writing, stream)
    assert not is_journal(sys.__stdin__.fileno() if sys.__stdin__ else 0, stream)
    assert not is_journal(writing, {})
    os.close(reading)
    os.close(writing)
    assert not is_journal(writing, stream)


async def test_tasks_of_a_request_share_its_subject_and_other_requests_do_not() -> None:
    async def sender(known: asyncio.Event) -> dict[str, object]:
        await known.wait()
        return fields_of(record())

    async def request(name: str) -> dict[str, object]:
        logs.begin(Subject(request=name))
        known = asyncio.Event()
        sending = asyncio.ensure_future(sender(known))
        await asyncio.sleep(0)
        logs.note(session=f"s{name}")
        known.set()
        return await sending

    assert await asyncio.gather(*map(asyncio.ensure_future, map(request, "12"))) == [
        {"request": "1", "session": "s1"},
        {"request": "2", "session": "s2"},
    ]
    logs.note(session="nobody's")
    assert fields_of(record()) == {}


def test_the_callbacks_of_a_session_have_no_request() -> None:
    seen: list[dict[str, object]] = []
    own = logs.context(session="abcdef", room="")
    logs.context("x", "y").run(lambda: (logs.begin(PUBLISHER), own.run(lambda: seen.append(fields_of(record())))))
    assert seen == [{"session": "abcdef"}]


@for_each(
    ("session", "request"),
    [("abcdef", "r1"), ("another", None)],
)
def test_a_line_about_another_session_has_nothing_of_this_request(session: str, request: str | None) -> None:
    own = logs.context(session="", room="")
    own.run(logs.begin, PUBLISHER)
    found = own.run(fields_of, record(session=session))
    assert (found["session"], found.get("request"), found.get("room")) == (session, request, request and "pycon")


def test_libraries_write_no_debug_lines(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()
    logs.configure(LogConfig(level="debug"))
    logging.getLogger("asyncio").debug("quoted from a client")
    logging.getLogger("livecaption.x").debug("ours")
    assert capfd.readouterr().err.endswith(" DEBUG livecaption.x: ours\n")


@pytest.mark.parametrize(("level", "n_lines"), [("info", 3), ("warning", 2), ("error", 1)])
def test_lines_below_the_level_are_not_written(level: str, n_lines: int, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()
    logs.configure(LogConfig(level=level))
    for name in ("livecaption.x", "asyncio"):
        for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(severity, "a line")
    assert len(capfd.readouterr().err.splitlines()) == 2 * n_lines


async def test_a_child_process_writes_lines_of_the_same_format(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()
    logs.configure(LogConfig(format="json"))
    process = children.start("livecaption-decoder", "tests.support.logging_child")
    assert await asyncio.to_thread(children.reap, process, 20.0) == 0
    [line] = capfd.readouterr().err.splitlines()
    parsed = json.loads(line)
    assert (parsed["process"], parsed["logger"], parsed["level"]) == ("livecaption-decoder", "child", "error")
    assert parsed["exception"].endswith("ValueError: two\nlines")


@for_each(("level", "name"), [(10, "debug"), (20, "info"), (25, "warning"), (40, "error"), (50, "error")])
def test_child_processes_of_another_program_log_what_that_logs(level: int, name: str) -> None:
    logs._used = None
    logging.getLogger(logs.OWN).setLevel(level)
    assert logs.of_children() == LogConfig(name)
