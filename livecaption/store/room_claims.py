"""Decide which of several servers may have a room, in which publishers speak. The rule is the same in every store.

A room has an owner, as a session has, and keeps it until another server wants the room:

wanted by a publisher ─> nobody has it ─> taken
                      └> another server has it: it is asked ─┬> nobody speaks, or their part ends ─> released, taken
                                                             ├> somebody speaks ─> refused
                                                             └> it is dead, or silent ─> its parts are ended here, taken

Within a server the rule is that of `live.rooms`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from livecaption.errors import Unavailable, WrongState
from livecaption.store.rows import RoomRecord
from livecaption.store.store import TAKEN_RETRY_AFTER_S, RoomWish

Owner = TypeVar("Owner")


class Outcome(Enum):
    """The outcome of asking another server for a room."""

    RELEASED = "released"
    REFUSED = "refused"
    SILENT = "silent"  # it runs, as far as anybody can see, and did not answer in time
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Holder(Generic[Owner]):
    """Another server that has a room.

    Attributes:
        owner: the server.
        generation: number of those that had the room before.
        outcome: that of asking it; None: it was not asked.
    """

    owner: Owner
    generation: int
    outcome: Outcome | None = None


def parts_to_end(
    wish: RoomWish, earlier: Sequence[tuple[int, str, str | None, bool]], outcome: Outcome | None
) -> list[int] | None:
    """Return the numbers of the parts that end when a publisher has the room. None: it is not to have the room.

    Args:
        wish: see `RoomWish`. The part that it goes on with does not end.
        earlier: the parts of servers that do not answer: number, id, hash of the resume token (None: it has none), and
            whether the publisher may still come back.
        outcome: see `Holder`.
    """
    in_the_way = {session_id: token_hash for _, session_id, token_hash, may_return in earlier if may_return}
    if not may_end(wish, in_the_way, outcome):
        return None
    return [number for number, session_id, *_ in earlier if session_id != wish.resumed]


def may_end(wish: RoomWish, parts: Mapping[str, str | None], outcome: Outcome | None) -> bool:
    """Return whether a publisher may have the room of a server that does not answer.

    Args:
        wish: see `RoomWish`.
        parts: the parts which then end, by their ids: the hashes of their resume tokens; None: it has none.
        outcome: see `Holder`.
    """
    if wish.take_over:
        return True
    others = {token_hash for session_id, token_hash in parts.items() if session_id != wish.resumed}
    if others:
        return others == {wish.former_hash}
    # Of a server that runs it is not known who speaks: not all parts are stored.
    return outcome is not Outcome.SILENT or wish.resumed in parts


async def take(
    claim: Callable[[Holder[Owner] | None], Awaitable[RoomRecord | Holder[Owner] | None]],
    ask: Callable[[Owner], Awaitable[Outcome]],
) -> RoomRecord:
    """Take a room.

    Args:
        claim: takes the room, if nobody has it or this one, which is dead or silent; returns the room, or who has it;
            None: a part runs or waits that may not be ended.
        ask: asks the server that has it.

    Raises:
        WrongState: `room_taken`: somebody speaks in it, and is not to be replaced.
        Unavailable: yet another server was faster.
    """
    found = await claim(None)
    if isinstance(found, Holder):
        outcome = await ask(found.owner)
        if outcome is not Outcome.REFUSED:
            is_released = outcome is Outcome.RELEASED
            found = await claim(None if is_released else Holder(found.owner, found.generation, outcome))
            if isinstance(found, Holder):
                raise Unavailable("another server has just taken this room", retry_after_s=TAKEN_RETRY_AFTER_S)
    if not isinstance(found, RoomRecord):
        raise WrongState("somebody else speaks in this room; `take_over` ends their part", code="room_taken")
    return found
