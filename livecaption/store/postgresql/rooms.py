"""Decide which server has a room, in which publishers speak. PostgreSQL's rows are the only place of that decision.

`room.owner` is the server that has the room, and `room.generation` grows each time another one gets it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import astuple
from functools import partial
from typing import Any
from uuid import UUID

from livecaption.store import room_claims, rows
from livecaption.store.postgresql.presence import Presence, Read
from livecaption.store.postgresql.statements import NOW_MS
from livecaption.store.room_claims import Holder, Outcome, parts_to_end
from livecaption.store.rows import RoomRecord
from livecaption.store.schema import APPLICATION_ID
from livecaption.store.store import RoomWish

Found = RoomRecord | Holder[UUID] | None


async def take(
    room: RoomRecord,
    wish: RoomWish,
    presence: Presence,
    do: Callable[[Callable[[Any], Awaitable[Found]]], Awaitable[Found]],
    read: Read,
) -> RoomRecord:
    """Take a room for this server; see `Store.take_room`. `do` writes in a transaction, and `read` reads."""

    def claim_it(former: Holder[UUID] | None) -> Awaitable[Found]:
        return do(partial(claim, room=room, wish=wish, server=presence.id, former=former))

    def ask(owner: UUID) -> Awaitable[Outcome]:
        return presence.ask_for_room(wish, owner, read)

    return await room_claims.take(claim_it, ask)


async def claim(connection: Any, room: RoomRecord, wish: RoomWish, server: UUID, former: Holder[UUID] | None) -> Found:
    """Let a server have a room, if it may. Use it in a transaction; see `room_claims.take`."""
    # Two servers may make a room at once, and case does not count in its name.
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext(lower($2)))", APPLICATION_ID, room.name)
    await connection.execute(
        f"INSERT INTO room ({rows.ROOM_COLUMNS}) SELECT $1::text, $2::text, $3::text, $4::text, $5::bigint, "
        "$6::bigint, $7::bigint WHERE NOT EXISTS (SELECT 1 FROM room WHERE lower(name) = lower($1))",
        *astuple(room),
    )
    number, owner, generation, *columns = await connection.fetchrow(
        f"SELECT number, owner, generation, {rows.ROOM_COLUMNS} FROM room WHERE lower(name) = lower($1::text) "
        "ORDER BY name = $1::text DESC LIMIT 1 FOR NO KEY UPDATE",
        room.name,
    )
    outcome = None
    if owner not in (None, server):
        if former is None or (former.owner, former.generation) != (owner, generation):
            return Holder(owner, generation)
        outcome = former.outcome
    earlier = await connection.fetch(
        "SELECT session.number, id, resume_token_hash, "
        f"coalesce(owner = $3, false) OR coalesce(interrupted_at_ms >= {NOW_MS} - $4, false) "
        "FROM session LEFT JOIN resumption ON session = session.number "
        "WHERE room = $1 AND state <> 'ended' AND owner IS DISTINCT FROM $2 "
        "AND (owner = $3 OR interrupted_at_ms IS NOT NULL)",
        number,
        server,
        owner,
        wish.window_ms,
    )
    ended = parts_to_end(wish, earlier, outcome)
    if ended is None:
        return None
    # What their server still writes of them changes nothing.
    await connection.execute(
        "UPDATE session SET owner = NULL, state = 'ended', generation = generation + 1 WHERE number = ANY($1)", ended
    )
    await connection.execute("DELETE FROM resumption WHERE session = ANY($1)", ended)
    await connection.execute(
        "UPDATE room SET owner = $2, generation = generation + (owner IS DISTINCT FROM $2)::integer WHERE number = $1",
        number,
        server,
    )
    return RoomRecord(*columns)
