"""Handlers for stored sessions: lists, search, transcripts in every format, titles and names, deletion.

Lists, searches, new titles and deletions need a key with the role of `server.access`. On a server without keys, they
are for clients of its machine. A transcript needs only the id of its session.
Private sessions have their own rules, also on a server without a token: `_check_may_read`. Without a store, only
transcripts are available, of sessions that run or ended less than five minutes ago. So it is with sessions that are not
to be kept.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from livecaption.captions.language_names import NAMES, language_code
from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS
from livecaption.captions.transcript import FORMATS, in_spoken_order, lay_out_as
from livecaption.errors import InvalidMessage, InvalidQuery, StoreFailed, UnknownSession
from livecaption.events import Final
from livecaption.ipc import logs
from livecaption.live.anywhere import ReadableSession
from livecaption.live.dialects.native import title_of
from livecaption.live.session import LiveSession
from livecaption.live.title import check_speakers, checked_names
from livecaption.recognition import logged_id
from livecaption.server import auth, changes
from livecaption.server.exports import EXPORTS, Export, LayOut
from livecaption.server.growing import GROWING
from livecaption.server.http import body_of
from livecaption.server.sending import send_body
from livecaption.server.services import SERVICES
from livecaption.store import search
from livecaption.store.rows import SessionRecord, SessionState
from livecaption.store.store import Store

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

CONTENT_TYPES = {"vtt": "text/vtt", "srt": "application/x-subrip", "txt": "text/plain", "json": "application/json"}


async def sessions(request: web.Request) -> web.Response:
    """`GET /v1/sessions`: list the newest sessions. `q` searches their text; `before` continues a list."""
    with_private = auth.check_access(request) is not None
    limit = number(request, "limit", default=DEFAULT_LIMIT, at_most=MAX_LIMIT)
    before = _position(request.query.get("before"))
    query = request.query.get("q", "")
    terms = search.terms(query)

    store = _store(request)
    if query.strip() and not terms:
        return web.json_response({"sessions": [], "next": None})
    found = await store.sessions(limit + 1, before, terms, with_private=with_private)
    listed = found[:limit]
    entries = [_as_json(record) for record in listed]
    if terms:
        for entry, excerpts in zip(entries, await store.excerpts(listed, terms), strict=True):
            entry["excerpts"] = [{"start_ms": each.start_ms, "parts": each.parts} for each in excerpts]
    return web.json_response({"sessions": entries, "next": _cursor(listed[-1]) if len(found) > limit else None})


async def session(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}`: describe a session."""

    return web.json_response(_as_json(await _find(request)))


async def transcript(request: web.Request) -> web.StreamResponse:
    """`GET /v1/sessions/{id}/transcript.{vtt,srt,txt,json}`: export the transcript as far as it exists.

    The transcript of an open session grows. Its WebVTT grows only by whole cues at the end, so that a client may
    request the new part with `Range: bytes=N-`, as `curl --continue-at -` does. A track with `?track=` does not,
    because translations come later than the next final. Nor does anything where a speaker has a name, because a name
    may come later than the words. Then the answer is the whole text.
    """
    name, line_length, track = asked_format(request)
    session_id = request.match_info["session"]
    live = await _live(request)
    store = request.app[SERVICES].store
    if live is not None and (store is None or not live.options.keep):
        await _check_may_read(request, private=live.options.private)
    else:
        record = await _find(request)
    logs.note(session=logged_id(session_id))

    names = record.names if live is None else dict(live.hub.names)
    lay_out: LayOut = partial(lay_out_as, name, line_length, track, names)
    finals: Callable[[], Awaitable[Iterable[Final]]]
    if live is None:
        # A session that is open in the store but runs nowhere has ended, and the store has not written that yet.
        n_captions = record.n_finals if record.state is SessionState.OPEN else None
        finals = partial(_store(request).finals, session_id)
    else:
        n_captions = None if live.hub.ended else live.hub.n_captions
        finals = partial(_at_once, in_spoken_order(live.hub.finals))
        # This includes a session that waits for its publisher after a crash of the server.
        if name == "vtt" and n_captions is not None and track is None:
            growing = request.app[GROWING].of(session_id, line_length)
            finals, lay_out = partial(_at_once, growing.news(live.hub.finals)), partial(growing.text, names)
    export = Export((session_id,), name, line_length, n_captions, track)
    text = await request.app[EXPORTS].text(export, finals, lay_out, lambda: request.transport is not None)
    only_grows = not names and (n_captions is None or (name == "vtt" and track is None))
    response, part = _ranged(request, memoryview(text), CONTENT_TYPES[name], in_parts=only_grows)
    await send_transcript(request, response, part)
    return response


def asked_format(request: web.Request) -> tuple[str, int, str | None]:
    """Return the format that the request asks for, the columns of a line, and the track, which may be None.

    Raises:
        HTTPNotFound: there is no such format.
        InvalidQuery: lines cannot be that long, or there is no such language.
    """
    name = request.match_info["format"]
    if name not in FORMATS:
        raise web.HTTPNotFound
    return name, asked_line_length(request), asked_track(request, "track")


def asked_line_length(request: web.Request) -> int:
    """Return the columns of a line.

    Raises:
        InvalidQuery: lines cannot be that long.
    """
    line_length = number(request, "line_length", default=DEFAULT_LINE_LENGTH, at_most=max(LINE_LENGTHS))
    if line_length not in LINE_LENGTHS:
        raise InvalidQuery(f"line_length must be one of {', '.join(map(str, LINE_LENGTHS))}")
    return line_length


def asked_track(request: web.Request, name: str) -> str | None:
    """Return the language in a parameter; None: the originals.

    Raises:
        InvalidQuery: there is no such language.
    """
    track = language_code(request.query.get(name, ""))
    if track is not None and track not in NAMES:
        raise InvalidQuery(f"{name} must be a language")
    return track


async def send_transcript(request: web.Request, response: web.StreamResponse, body: memoryview) -> None:
    """Send a transcript. A client that does not read it is cut off."""
    config = request.app[SERVICES].config
    await send_body(
        request,
        response,
        body,
        slice_timeout_s=config.live.socket.send_timeout_s,
        download_timeout_s=config.server.http.download_timeout_s,
    )


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/sessions/{id}`: delete a session, with its sinks. If it is open, nothing more of it is stored."""
    store, session_id, is_stored = await _changeable(request)
    try:
        found = await store.delete(session_id)
    except StoreFailed:
        if is_stored:  # else it may be about to be
            await _apply_to_all(request, session_id)
        raise
    # Also if there was none: of an earlier deletion it may not have been known when it was done.
    await changes.note_deleted(request.app, session_id)
    request.app[SERVICES].anywhere.note_change(session_id)
    if not found:
        raise _unknown()
    return web.Response(status=204)


async def rename(request: web.Request) -> web.Response:
    """`PATCH /v1/sessions/{id}`: change the title of a session, or the names of its speakers."""
    store, session_id, _ = await _changeable(request)
    change: SessionChange = await body_of(request, SessionChange, lenient=True)
    title = None if change.title is None else title_of({"title": change.title})
    names = checked_names(change.names or {})
    if title is None and not names:
        raise InvalidMessage("there is neither a title nor a name")
    record, live = await _find(request), _here(request)
    check_speakers(names, max((record.n_speakers, *record.names)) if live is None else live.highest_speaker)
    try:
        found = await store.rename(session_id, title, names)
    except StoreFailed:
        await _apply_to_all(request, session_id)
        raise
    if not found:
        raise _unknown()
    changes.note_renamed(request.app, session_id, title, names)
    request.app[SERVICES].anywhere.note_change(session_id)
    return web.json_response(_as_json(await _find(request)))


@dataclass(frozen=True, slots=True)
class SessionChange:
    """The body of `PATCH /v1/sessions/{id}`. `names` are those of speakers, by their numbers; others stay."""

    title: str | None = None
    names: dict[str, str] | None = None


def number(request: web.Request, name: str, *, default: int, at_most: int, at_least: int = 1) -> int:
    """Read a parameter that is a whole number.

    Raises:
        InvalidQuery: the parameter is not a whole number from `at_least` to `at_most`.
    """
    given = request.query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and at_least <= int(given) <= at_most):
        raise InvalidQuery(f"{name} must be a whole number from {at_least} to {at_most}")
    return int(given)


def _cursor(record: SessionRecord) -> str:
    """Return the `next` of a page of the list, which ends with this session."""
    return "{}-{}".format(*record.position)


def _position(cursor: str | None) -> tuple[int, int] | None:
    """Return the position that a cursor has; without one, None.

    Raises:
        InvalidQuery: it is no cursor of a list.
    """
    if cursor is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", cursor):
        raise InvalidQuery("before must be the `next` of a page of the list")
    started_at_ms, number = cursor.split("-")
    return int(started_at_ms), int(number)


async def _apply_to_all(request: web.Request, session_id: str) -> None:
    """Apply a change that has failed as far as it is done: traces in the store may be all that is left.

    Raises:
        StoreFailed: the store cannot be read.
    """
    request.app[SERVICES].anywhere.note_change(session_id)
    await changes.apply(request.app, session_id)


async def _changeable(request: web.Request) -> tuple[Store, str, bool]:
    """Return the store, the id of the requested session and whether it is stored, if the client may change it.

    Raises:
        ForbiddenOrigin: a page of another site asks.
        UnknownSession: nothing is stored.
        Unauthorized, ForbiddenRole, LimitReached, LocalOnly: see `auth.check_access`.
    """
    auth.check_origin(request, request.app[SERVICES].config.server)
    auth.check_access(request)
    store, session_id = _store(request), request.match_info["session"]
    record = await store.session(session_id)
    # A new session may not be stored yet, but it will be before it is changed. Check the live one too.
    live = _here(request)
    if (record is not None and record.private) or (live is not None and live.options.private):
        auth.check_private(request)
    if record is not None or live is not None:
        logs.note(session=logged_id(session_id))
    return store, session_id, record is not None


def _store(request: web.Request) -> Store:
    store = request.app[SERVICES].store
    if store is None:
        raise UnknownSession("this server keeps no transcripts (--store)", code="no_store")
    return store


async def _find(request: web.Request) -> SessionRecord:
    """Return the record of the requested session, if the client may read it.

    Raises:
        UnknownSession: there is no such session, or nothing is stored.
        Unauthorized: see `_check_may_read`.
    """
    record = await _store(request).session(request.match_info["session"])
    if record is None:
        changes.forget_kept(request.app, request.match_info["session"])
        raise _unknown()
    await _check_may_read(request, private=record.private)
    return record


async def _check_may_read(request: web.Request, *, private: bool) -> None:
    """Check access to a private session.

    While the session is live, its readers and keys with the role `read` may read it. Later only these keys may.

    Raises:
        Unauthorized: `wrong_token` while the session is live, then `unauthorized`.
        ForbiddenRole, LimitReached: see `auth.check_reader`.
    """
    if not private:
        return
    live = await _live(request)
    if live is None:
        auth.check_private(request)
    else:
        auth.check_reader(request, live.tokens.check_reader)


async def _live(request: web.Request) -> ReadableSession | None:
    """Return the requested session if it runs anywhere, or ended here less than five minutes ago."""
    return await request.app[SERVICES].anywhere.look_for(request.match_info["session"])


def _here(request: web.Request) -> LiveSession | None:
    """Return the requested session if it runs on this server or ended here less than five minutes ago."""
    return request.app[SERVICES].sessions.known(request.match_info["session"])


async def _at_once(finals: Sequence[Final]) -> Sequence[Final]:
    return finals


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
        "speakers": record.n_speakers,
        "names": record.names,
        "room": record.room,
        "room_title": record.room_title,
    }


def _ranged(
    request: web.Request, body: memoryview, content_type: str, *, in_parts: bool
) -> tuple[web.StreamResponse, memoryview]:
    """Return a response and its body, or the part of the body that `Range: bytes=N-` requests (RFC 9110, 14).

    `in_parts`: whether parts are given, because bytes that a client has do not change.
    """
    headers = {hdrs.CONTENT_TYPE: f"{content_type}; charset=utf-8", hdrs.ACCEPT_RANGES: "bytes" if in_parts else "none"}
    if not in_parts:
        return web.StreamResponse(headers=headers), body
    whole = slice(None, None, 1)
    try:
        asked = request.http_range
    except ValueError:
        asked = whole  # an invalid header is ignored
    status = 200
    if asked != whole:
        start, end, _ = asked.indices(len(body))
        if request.headers[hdrs.RANGE].lower().rstrip("0") == "bytes=-":
            end = 0  # no byte is the last 0 of them; aiohttp takes these for all
        status, part = (206, f"{start}-{end - 1}") if start < end else (416, "*")
        headers[hdrs.CONTENT_RANGE] = f"bytes {part}/{len(body)}"
        body = body[start:end]
    return web.StreamResponse(status=status, headers=headers), body
