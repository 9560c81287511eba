"""The protocols at `/`, where clients of vosk-server and of WhisperLive connect: the first message decides. Pure."""

from collections.abc import Sequence
from typing import ClassVar

from livecaption.errors import InvalidMessage
from livecaption.events import ErrorReport, Event
from livecaption.live.dialects import native, vosk, whisper_live
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Command, Control
from livecaption.live.dialects.dialect import Dialect, Handshake, Limits, Route
from livecaption.live.dialects.given import json_object
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig


class FirstMessage:
    """One client's conversation in the protocol that its first message shows.

    Args:
        handshake: the request by which the client has connected.
        endpointing: the server's own settings.

    Raises:
        InvalidMessage: a wrong option in the address.
    """

    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(
        max(vosk.LIMITS.max_text_bytes, whisper_live.LIMITS.max_text_bytes),
        max(vosk.LIMITS.max_binary_bytes, whisper_live.LIMITS.max_binary_bytes),
    )
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, handshake: Handshake, endpointing: EndpointingConfig) -> None:
        self._vosk = vosk.accept(handshake, endpointing)
        self._whisper_live = whisper_live.accept(handshake, endpointing)
        self._spoken: Dialect | None = None

    def connected(self) -> list[Control]:
        """Return nothing: the protocol is not known yet."""
        return []

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`."""
        if self._spoken is not None:
            return self._spoken.receive(message)
        self._spoken = self._protocol_of(message)
        return [*self._spoken.connected(), *self._spoken.receive(message)]

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        """See `Dialect.encode`. Before the first message, both protocols are silent but for an error of WhisperLive."""
        if self._spoken is not None:
            return self._spoken.encode(event, seq)
        return self._whisper_live.encode(event, seq) if isinstance(event, ErrorReport) else []

    def tick(self, stream_ms: int) -> list[Control]:
        """See `Dialect.tick`."""
        return [] if self._spoken is None else self._spoken.tick(stream_ms)

    def close(self, ending: Ending) -> tuple[int, str]:
        """See `Dialect.close`."""
        return close_of(ending) if self._spoken is None else self._spoken.close(ending)

    def _protocol_of(self, message: str | bytes) -> Dialect:
        if not isinstance(message, str):
            return self._vosk
        given = json_object(message)
        if "uid" in given:
            return self._whisper_live
        if given.keys() & {"config", "eof", "reset"}:
            return self._vosk
        raise InvalidMessage("uid (WhisperLive), config or audio (vosk) is expected", code="unknown_type")


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> FirstMessage:
    """Begin a conversation.

    Raises:
        InvalidMessage: a wrong option in the address.
    """
    return FirstMessage(handshake, endpointing)


ROUTE = Route("/", (), accept, native.refusal, native.shown_keys, admits_late=True)
