"""The protocols at `/`, where clients of vosk-server and of WhisperLive connect: the first message decides. Pure."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

from livecaption.errors import InvalidMessage
from livecaption.events import ErrorReport, Event
from livecaption.live.dialects import native, vosk, whisper_live
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Command, Control
from livecaption.live.dialects.dialect import Dialect, Handshake, Limits, Route
from livecaption.live.dialects.json_messages import json_object
from livecaption.live.dialects.keys import shown_also_in_address
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig

ACCEPT: dict[str, Callable[[Handshake, EndpointingConfig], Dialect]] = {
    "vosk": vosk.accept,
    "whisperlive": whisper_live.accept,
}
"""The protocols whose clients connect to `/`."""


class FirstMessage:
    """One client's conversation in the protocol that its first message shows.

    Args:
        handshake: the request by which the client has connected.
        endpointing: the server's own settings.
        spoken: the protocols that it may be, of `ACCEPT`.

    Raises:
        InvalidMessage: a wrong option in the address.
    """

    protocol: ClassVar[str] = "root"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(
        max(vosk.LIMITS.max_text_bytes, whisper_live.LIMITS.max_text_bytes),
        max(vosk.LIMITS.max_binary_bytes, whisper_live.LIMITS.max_binary_bytes),
    )
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, handshake: Handshake, endpointing: EndpointingConfig, spoken: Iterable[str] = ACCEPT) -> None:
        self._possible = {name: ACCEPT[name](handshake, endpointing) for name in spoken}
        self._spoken: Dialect | None = None

    def connected(self) -> list[Control]:
        """Return nothing: the protocol is not known yet."""
        return []

    def receive(self, message: str | bytes) -> Iterable[Command]:
        """See `Dialect.receive`."""
        if self._spoken is not None:
            return self._spoken.receive(message)
        name = _protocol_of(message)
        if name not in self._possible:
            raise InvalidMessage("this server does not speak this protocol (--protocols)")
        self._spoken = self._possible[name]
        return [*self._spoken.connected(), *self._spoken.receive(message)]

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        """See `Dialect.encode`. Before the first message there are only errors, which WhisperLive has a message for."""
        if self._spoken is None and isinstance(event, ErrorReport) and "whisperlive" in self._possible:
            return self._possible["whisperlive"].encode(event, seq)
        return [] if self._spoken is None else self._spoken.encode(event, seq)

    def tick(self, stream_ms: int) -> list[Control]:
        """See `Dialect.tick`."""
        return [] if self._spoken is None else self._spoken.tick(stream_ms)

    def close(self, ending: Ending) -> tuple[int, str]:
        """See `Dialect.close`."""
        return close_of(ending) if self._spoken is None else self._spoken.close(ending)


def _protocol_of(message: str | bytes) -> str:
    """Return the protocol of a first message.

    Raises:
        InvalidMessage: it is of none.
    """
    if not isinstance(message, str):
        return "vosk"
    given = json_object(message)
    if "uid" in given:
        return "whisperlive"
    if given.keys() & {"config", "eof", "reset"}:
        return "vosk"
    raise InvalidMessage("uid (WhisperLive), config or audio (vosk) is expected", code="unknown_type")


def route(spoken: Iterable[str]) -> Route | None:
    """Return the route of `/` for these protocols; None: there is none."""
    names = tuple(spoken)
    accept = partial(FirstMessage, spoken=names)
    return Route("/", (), accept, native.refusal, shown_also_in_address, admits_late=True) if names else None
