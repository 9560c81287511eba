"""What the store has, over HTTP: the list of sessions, search, transcripts in every format, deletion.

Lists, searches and deletions are the operator's; a transcript is for whoever knows the id of its session. Private
sessions have rules of their own, on a server without a token too: `_check_may_read`. Where nothing is stored there are
transcripts alone, of sessions that can be read along: those that run or ended just now.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import hdrs, web

from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS
from livecaption.captions.transcript import FORMATS, GrowingVtt
from livecaption.errors import InvalidQuery, UnknownSession
from livecaption.events import Final
from livecaption.scheduling.request import SessionId
from livecaption.server import auth
from livecaption.server.publisher import Publisher
from livecaption.server.services import SERVICES
from livecaption.store import search
from livecaption.store.database import Database
from livecaption.store.rows import SessionRecord
from livecaption.store.transcripts import TranscriptStore

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
LAST = 2**63 - 1
"""Greater than the number of any session."""

CONTENT_TYPES = {"vtt": "text/vtt", "srt": "application/x-subrip", "txt": "text/plain", "json": "application/json"}

MAX_GROWING = 64
"""Running sessions whose followers are given only what is new. An hour of speech has 100 KB."""


async def sessions(request: web.Request) -> web.Response:
    """`GET /v1/sessions`: the newest ones; `q` finds those that say something, `before` lists on."""
    config = request.app[SERVICES].config.server
    auth.check_token(request, config)
    with_private = auth.shows_operator_token(request, config)
    limit = _number(request, "limit", default=DEFAULT_LIMIT, at_most=MAX_LIMIT)
    before = _number(request, "before", default=LAST, at_most=LAST)
    query = request.query.get("q", "")
    terms = search.terms(query)

    def listed(database: Database) -> dict[str, Any]:
        if query.strip() and not terms:
            return {"sessions": [], "next": None}
        found = database.sessions(limit + 1, before, terms, with_private=with_private)
        entries = [_as_json(record) for record in found[:limit]]
        if terms:
            for entry, record in zip(entries, found, strict=False):
                entry["excerpts"] = [
                    {"start_ms": excerpt.start_ms, "parts": excerpt.parts}
                    for excerpt in database.excerpts(record, terms)
                ]
        return {"sessions": entries, "next": found[limit - 1].number if len(found) > limit else None}

    return web.json_response(await _store(request).read(listed))


async def session(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}`: what is known of it."""

    def described(database: Database) -> dict[str, Any]:
        return _as_json(_find(request, database))

    return web.json_response(await _store(request).read(described))


async def transcript(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}/transcript.{vtt,srt,txt,json}`: as far as it goes.

    That of a session that is open grows. The WebVTT grows by whole cues at its end alone, so that a follower may ask
    for what is new with `Range: bytes=N-`, as `curl --continue-at -` does.
    """
    name = request.match_info["format"]
    if name not in FORMATS:
        raise web.HTTPNotFound
    line_length = _number(request, "line_length", default=DEFAULT_LINE_LENGTH, at_most=max(LINE_LENGTHS))
    if line_length not in LINE_LENGTHS:
        raise InvalidQuery(f"line_length must be one of {', '.join(map(str, LINE_LENGTHS))}")
    live = _live(request)
    # Also of one whose speaker is not back yet after the death of the server.
    grows = name == "vtt" and live is not None and not live.hub.ended
    growing = request.app[GROWING]

    def exported(database: Database) -> str:
        record = _find(request, database)
        if grows:
            return growing.vtt(database, record, line_length)
        return FORMATS[name](database.finals(record), line_length)

    if live is not None and request.app[SERVICES].store is None:
        _check_may_read(request, private=live.private)
        # Layout takes time, and the finals are many.
        write = _grown_vtt if grows else FORMATS[name]
        text = await asyncio.to_thread(write, live.hub.finals, line_length)
    else:
        text = await _store(request).read(exported)
    return _ranged(request, text.encode(), CONTENT_TYPES[name])


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/sessions/{id}`: nothing of it is left; of one that is open, nothing more is kept."""
    config = request.app[SERVICES].config.server
    auth.check_origin(request, config)
    auth.check_token(request, config)
    store, session_id = _store(request), request.match_info["session"]
    record = await store.read(lambda database: database.session(session_id))
    # What has just begun may not be stored yet, and would be by the time it is deleted.
    if any(known is not None and known.private for known in (record, _live(request))):
        auth.check_operator(request, config)
    if not await store.delete(session_id):
        raise _unknown()
    await store.read(lambda _: request.app[GROWING].forget(session_id))
    return web.Response(status=204)


class GrowingTranscripts:
    """WebVTT of running sessions, as far as it is settled. Used by the store's reading thread alone."""

    def __init__(self) -> None:
        self._growing: OrderedDict[tuple[SessionId, int], GrowingVtt] = OrderedDict()

    def vtt(self, database: Database, session: SessionRecord, line_length: int) -> str:
        growing = self._growing.setdefault((session.id, line_length), GrowingVtt(line_length))
        self._growing.move_to_end((session.id, line_length))
        if len(self._growing) > MAX_GROWING:
            self._growing.popitem(last=False)
        for final in database.finals(session, growing.last_utterance):
            growing.push(final)
        return growing.text

    def forget(self, session_id: str) -> None:
        for line_length in LINE_LENGTHS:
            self._growing.pop((SessionId(session_id), line_length), None)


GROWING: web.AppKey[GrowingTranscripts] = web.AppKey("growing transcripts", GrowingTranscripts)


def _number(request: web.Request, name: str, *, default: int, at_most: int) -> int:
    """Raises InvalidQuery: it is no whole number from 1 on."""
    given = request.query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and 1 <= int(given) <= at_most):
        raise InvalidQuery(f"{name} must be a whole number from 1 to {at_most}")
    return int(given)


def _store(request: web.Request) -> TranscriptStore:
    store = request.app[SERVICES].store
    if store is None:
        raise UnknownSession("this server keeps no transcripts (--store)", code="no_store")
    return store


def _find(request: web.Request, database: Database) -> SessionRecord:
    """The session of the address, if who asks may read it.

    Raises:
        UnknownSession, Unauthorized
    """
    record = database.session(request.match_info["session"])
    if record is None:
        raise _unknown()
    _check_may_read(request, private=record.private)
    return record


def _check_may_read(request: web.Request, *, private: bool) -> None:
    """A private session is for those who may read it along, and for the operator; once it is forgotten, for the
    operator alone. Where no token is configured nobody can show that they are the operator.

    Raises:
        Unauthorized: `wrong_token` while the session is live, then `unauthorized`.
    """
    config = request.app[SERVICES].config.server
    if not private or auth.shows_operator_token(request, config):
        return
    live = _live(request)
    if live is None:
        auth.check_operator(request, config)
    else:
        live.check_reader(auth.shown_reader_token(request))


def _live(request: web.Request) -> Publisher | None:
    """The session of the address, if it runs or ended just now."""
    try:
        return request.app[SERVICES].sessions.find(request.match_info["session"])
    except UnknownSession:
        return None


def _grown_vtt(finals: Sequence[Final], line_length: int) -> str:
    """As `GrowingTranscripts` has it."""
    growing = GrowingVtt(line_length)
    for final in finals:
        growing.push(final)
    return growing.text


def _unknown() -> UnknownSession:
    return UnknownSession("there is no such session")


def _as_json(record: SessionRecord) -> dict[str, Any]:
    started_at = datetime.fromtimestamp(record.started_at_ms / 1000, UTC)
    return {
        "id": record.id,
        "title": record.title,
        "language": record.language,
        "private": record.private,
        "state": record.state.value,
        "started_at": started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration_ms": record.duration_ms,
        "finals": record.n_finals,
    }


def _ranged(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """The body, or of it what `Range: bytes=N-` asks for (RFC 9110, 14)."""
    whole = slice(None, None, 1)
    try:
        asked = request.http_range
    except ValueError:
        asked = whole  # what cannot be understood is ignored
    headers = {hdrs.ACCEPT_RANGES: "bytes"}
    status = 200
    if asked != whole:
        start, end, _ = asked.indices(len(body))
        status, part = (206, f"{start}-{end - 1}") if start < end else (416, "*")
        headers[hdrs.CONTENT_RANGE] = f"bytes {part}/{len(body)}"
        body = body[start:end]
    return web.Response(body=body, status=status, headers=headers, content_type=content_type, charset="utf-8")
