"""Read rooms and their parts from the store."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from livecaption.events import Final, Snapshot
from livecaption.live.event_log import Message, SnapshotMessage, listed
from livecaption.live.room_parts import Part
from livecaption.messages import encode_final
from livecaption.store.rows import RoomRecord, SessionRecord, SessionState
from livecaption.store.store import Store

NO_SECRET = ""
"""The hash that no secret has: nobody can speak in the own room of a session."""
NO_READER = ""
"""The hash that no token has: a private session that is over is for the operator alone."""


def is_own(about: RoomRecord) -> bool:
    """Return True for the own room of a session without a room."""
    return about.publisher_token_hash == NO_SECRET


LAST_WORDS_S = 5.0
"""Time in s for which readers wait for the last words of a part that ends in another server. Longer: they wait longer
where that server is dead. Shorter: they miss these words where it is slow."""
LOOK_S = 0.2


async def stored_snapshot(store: Store | None, part: Part) -> Message | None:
    """Return all captions of a part that is over, or ends in another server; None: there are none.

    Raises:
        StoreFailed: the store cannot be read.
    """
    if store is None:
        return None
    record = await store.session(part.id)
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_S):
            while record is not None and record.state is SessionState.OPEN:
                await asyncio.sleep(LOOK_S)
                record = await store.session(part.id)
    if record is None:
        return None
    finals = await store.finals(part.id)
    return await asyncio.to_thread(_snapshot, part, record.names, finals)


async def stored_room(store: Store, name: str) -> tuple[RoomRecord, list[SessionRecord]] | None:
    session = await store.session(name)
    if session is not None:
        reader_hash = NO_READER if session.private else None
        return RoomRecord(name, session.title, NO_SECRET, reader_hash, 0, ended_at_ms=0), [session]
    room = await store.room(name)
    return None if room is None else (room, await store.parts(room))


def _snapshot(part: Part, names: Mapping[int, str], stored: Iterable[Final]) -> Message | None:
    """Return all captions of a part that is over, encoded; None: there are none."""
    finals = [final for final in stored if final.text]
    if not finals:
        return None
    encoded = tuple(encode_final(replace(final, words=None)) for final in finals)
    tracks = dict.fromkeys(text.language for final in finals for text in final.translations or ())
    snapshot = Snapshot(
        part.title,
        part.language,
        (),
        None,
        part.epoch,
        session=part.id,
        tracks=tuple(tracks) or None,
        names=listed(names),
    )
    return SnapshotMessage(part.end_seq, snapshot, part.epoch, encoded_finals=encoded)
