"""The lines of the log, of the server and of its child processes alike: as text, or as one JSON object each.

A line has what it is about: the request, the client's address, the session, the room. Code deep inside need not pass
these on. Each request has a `Subject`, which all tasks that it starts share. A session has one for its own callbacks.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from livecaption.ipc.config import LogConfig

OWN = "livecaption"
"""The logger of all modules of livecaption."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""Levels from the highest on, and their priorities in the journal: sd-daemon(3)."""
TEXT = "%(levelname)s %(name)s: %(message)s"
TEXT_OF_ONE = "%(levelname)s %(name)s[{}]: %(message)s"
"""The same of one process of several, by its number."""
DETAILS = ("method", "route", "status", "bytes", "ms", "host", "origin", "key")
"""Fields that a line may have besides its subject: the `extra` of its record."""


@dataclass(slots=True)
class Subject:
    """The subject of lines of the log. Empty: unknown.

    Attributes:
        request: the id of the request, which its response has too.
        peer: the address of the client.
        session: the beginning of the session's id: see `recognition.logged_id`.
        room: the beginning of the room's name, for the same reason.
        code: why the request was refused.
    """

    request: str = ""
    peer: str = ""
    session: str = ""
    room: str = ""
    code: str = ""


SUBJECTS = tuple(field.name for field in fields(Subject))

_subject: ContextVar[Subject | None] = ContextVar("subject", default=None)
_used: LogConfig | None = None


def request_id() -> str:
    """Return the id of the request that this task answers; empty: it answers none."""
    current = _subject.get()
    return "" if current is None else current.request


def begin(about_this: Subject) -> None:
    """Log the lines of this task, and of those that it starts from now on, as being about this."""
    _subject.set(about_this)


def context(session: str, room: str) -> Context:
    """Return a context for callbacks of a session that no request waits for."""
    own = copy_context()
    own.run(begin, Subject(session=session, room=room))
    return own


def note(**known: str) -> None:
    """Add to the subject of this task what is known by now, for all tasks that share it."""
    current = _subject.get()
    if current is not None:
        for name, value in known.items():
            setattr(current, name, value)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what a line has besides its message: the `extra` of its record, and the subject of the task.

    A task may log about another session than its own, such as one that gives its slot to this request.
    """
    found = {name: getattr(record, name) for name in (*SUBJECTS, *DETAILS) if hasattr(record, name)}
    current = _subject.get()
    if current is not None and ("session" not in found or current.session in ("", found["session"])):
        found = {name: getattr(current, name) for name in SUBJECTS} | found
    return {name: value for name, value in found.items() if value not in (None, "")}


class TextFormatter(logging.Formatter):
    """Writes lines for people: the message, and in brackets what it is about, if the message does not have it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without its traceback."""
        known = fields_of(record)
        missing = [f"{name}={known[name]}" for name in SUBJECTS if str(known.get(name, "")) not in record.message]
        return super().formatMessage(record) + (f" [{' '.join(missing)}]" if missing else "")


class JsonFormatter(logging.Formatter):
    """Writes one JSON object for each line, in ASCII, also with a traceback."""

    def __init__(self, process: int = 0) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": OWN if record.processName == "MainProcess" else record.processName,
            **({"number": self._process} if self._process else {}),
            "pid": record.process,
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)


class JournalFormatter(logging.Formatter):
    """Puts the priority before each line, which the journal removes: sd-daemon(3)."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        priority = next((number for level, number in PRIORITIES if record.levelno >= level), PRIORITIES[-1][1])
        return "\n".join(f"<{priority}>{line}" for line in self._lines.format(record).splitlines())


def formatter(config: LogConfig, *, in_journal: bool) -> logging.Formatter:
    """Return the formatter of these settings. The journal has a time of its own, so text for it has none."""
    if config.format == "json":
        lines: logging.Formatter = JsonFormatter(config.process)
    else:
        text = TEXT_OF_ONE.format(config.process) if config.process else TEXT
        lines = TextFormatter(text if in_journal else f"%(asctime)s {text}")
    return JournalFormatter(lines) if in_journal else lines


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Return True if the descriptor leads to the journal of systemd: systemd.exec(5), `JOURNAL_STREAM`."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(config: LogConfig) -> None:
    """Write the log of this process to stderr.

    Lines of libraries below the level info are never written, because they may quote what clients send.
    """
    global _used
    _used = config
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(config, in_journal=is_journal(sys.stderr.fileno(), os.environ)))
    level = LEVELS[config.level]
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO))
    logging.getLogger(OWN).setLevel(level)
    logging.raiseExceptions = False  # the terminal of stderr may be gone when the last lines are logged


def of_children() -> LogConfig:
    """Return the settings for child processes: those of this process, or what comes next to another program's."""
    if _used is not None:
        return _used
    level = logging.getLogger(OWN).getEffectiveLevel()
    return LogConfig(next((name for name, number in LEVELS.items() if number >= level), "error"))
