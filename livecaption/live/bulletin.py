"""Encode what the server of a session sends to its mirrors on other servers. Pure.

    {"generation":0,"since":40,"until":43,...}      what the session is now
    {"type":"partial","seq":41,...}                 the events from `since` to `until` that readers get
    {"type":"snapshot","seq":43,"finals":[],...}    where a mirror begins: all that is no event, without the finals

A mirror whose newest event is older than `since` has lost something, and reads the finals in the store.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from livecaption.events import Event, Snapshot
from livecaption.messages import encode as encode_event
from livecaption.messages import parse_event
from livecaption.wire import from_plain


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a session after the events of a bulletin.

    Attributes:
        generation: that of the session in its server.
        since: the number of the newest event before them.
        until: the number of the newest event.
        n_captions: the number of finals and translations so far.
        forgotten: whether the session was deleted.
        away_since_ms, open_since_ms: see `Published`.
    """

    generation: int
    since: int
    until: int
    n_captions: int
    forgotten: bool
    away_since_ms: int | None
    open_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Bulletin:
    """One message to the mirrors of a session.

    Attributes:
        events: with their numbers, in order.
        state: a snapshot without finals; None: it is as it was, apart from the events.
    """

    head: Head
    events: tuple[tuple[int, Event], ...] = ()
    state: Snapshot | None = None


def encode(head: Head, messages: Sequence[str], state: Snapshot | None) -> str:
    """Encode a bulletin, whose events are encoded already."""
    lines = [json.dumps(asdict(head), separators=(",", ":")), *messages]
    if state is not None:
        lines.append(encode_event(state, head.until))
    return "\n".join(lines)


def decode(text: str) -> Bulletin | None:
    """Return a bulletin; None: it is none of ours, or of a later version."""
    try:
        first, *rest = map(json.loads, text.split("\n"))
        head = from_plain(Head, first, lenient=True)
        state, events = None, []
        for message in rest:
            event = parse_event(message)
            if isinstance(event, Snapshot):
                state = event
            elif event is not None:
                events.append((from_plain(int, message["seq"]), event))
    except (ValueError, AttributeError, KeyError, RecursionError):
        return None
    return Bulletin(head, tuple(events), state)
