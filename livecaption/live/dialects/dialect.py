"""The interface of a wire protocol to the rest of livecaption. Pure.

    messages  ──receive──> commands ──> connection, session
    messages  <──encode─── events   <── hub

A `Route` is a protocol and its address; it makes a `Dialect` for each connection. The rest of
livecaption uses a protocol only through these two.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Protocol

from livecaption.errors import LivecaptionError, MessageTooBig
from livecaption.events import Event
from livecaption.live.allowance import MAX_CHARACTER_BYTES
from livecaption.live.dialects.commands import Command, Control
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.speech.endpointing import EndpointingConfig

COUNTED_CHARACTERS = 64 * 1024
"""Characters of a text that are encoded at once to count its bytes. More: new memory for each, which takes longer."""


MAX_ERRORS = 20
"""Bad messages before a stream is closed: enough to learn from, too few to fill a log."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a client: its largest messages, in bytes, and how many bad ones there are before a close."""

    max_text_bytes: int
    max_binary_bytes: int
    max_errors: float = MAX_ERRORS

    def check(self, message: str | bytes) -> None:
        """Check the size of a message.

        Raises:
            MessageTooBig: it is over the limit of its kind.
        """
        if not isinstance(message, str):
            if len(message) > self.max_binary_bytes:
                raise MessageTooBig(f"a binary message may have {self.max_binary_bytes} bytes")
        elif len(message) > self.max_text_bytes or (
            not message.isascii()
            and len(message) * MAX_CHARACTER_BYTES > self.max_text_bytes
            and _is_longer(message, self.max_text_bytes)
        ):
            raise MessageTooBig(f"a text message may have {self.max_text_bytes} bytes")


def _is_longer(message: str, max_bytes: int) -> bool:
    """Return True if a text has more bytes. What stands behind the first one too many is not looked at."""
    n_left = max_bytes
    for start in range(0, len(message), COUNTED_CHARACTERS):
        n_left -= len(message[start : start + COUNTED_CHARACTERS].encode("utf-8", "surrogatepass"))
        if n_left < 0:
            return True
    return False


class Dialect(Protocol):
    """One client's conversation in one protocol. Has no socket and no clock.

    Attributes:
        protocol: the name of its protocol, as `--protocols` has it.
        resumable: whether a session outlives its connection, and the server. If not, a lost connection ends it.
        limits: limits of the client.
        claimed: the id of the session that the client came back for, from its handshake; empty: none.
        claimed_room: the name of the room that the client wants to speak in, from its handshake; empty: none.
    """

    protocol: ClassVar[str]
    resumable: ClassVar[bool]
    limits: ClassVar[Limits]
    claimed: str
    claimed_room: str

    def connected(self) -> list[Control]:
        """Return the commands before the first message; some protocols have all options in the address.

        It may be called before the upgrade too, to judge them.
        """

    def receive(self, message: str | bytes) -> Iterable[Command]:
        """Read a message: return the commands in it. Each is executed before the next one is asked for.

        Raises:
            ClientError: the message breaks the protocol; `fatal` is true if the stream ends.
        """

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        """Return the messages for an event, which may be none. Called once for each event of a connection, in order.

        Args:
            seq: its number among the events of the session; None: it concerns this connection alone.
        """

    def tick(self, stream_ms: int) -> list[Control]:
        """Return the commands that are due; called once a second with the time of the stream."""

    def close(self, ending: Ending) -> tuple[int, str]:
        """Return code and reason of the Close."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request by which a client connects.

    Attributes:
        query: the first value of each name.
        authorization: the header of this name; empty: none.
        subprotocols: all that the client offers, in its order.
        headers: the first value of each header, whose names ignore case in a real request.
        parameters: all names and values of the query, in its order.
        id: the id of the request in the log. It is a UUID, unless a trusted proxy has given another one.
        at: when it came.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    authorization: str = ""
    subprotocols: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[tuple[str, str], ...] = ()
    id: str = ""
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a request that was refused before the upgrade."""

    status: int
    body: str
    headers: Mapping[str, str]


Restore = Callable[[str, EndpointingConfig], StreamOptions]
"""Reader of a stored session: see `Route.restore`."""


def no_headers(handshake: Handshake) -> Mapping[str, str]:
    """Return nothing: the answer needs no header of the protocol."""
    del handshake
    return {}


@dataclass(frozen=True, slots=True)
class Route:
    """A protocol and its address on the server.

    Attributes:
        path: the path of its address.
        subprotocols: those that are accepted if the client offers them.
        accept: makes the dialect of one connection. The settings are the server's own, which a client may change.
            Raises a LivecaptionError if the handshake is wrong.
        refusal: makes the answer to a client that is refused, from the error and the id of the request.
        shown_keys: finds everything in the handshake that may be the operator's token.
        admits_late: whether its clients are admitted, or refused, once they open a session: by a message over the
            connection. The others are refused before the upgrade.
        restore: reads the options of a session from its `Open.start`, which an earlier server has stored. Raises
            InvalidMessage if this server cannot read it. None: the protocol is not resumable, and nothing is stored.
        may_idle: whether a client may send nothing for any time, as long as it answers pings. It keeps its slot.
        headers: makes the headers of the answer to a client that is accepted.
    """

    path: str
    subprotocols: tuple[str, ...]
    accept: Callable[[Handshake, EndpointingConfig], Dialect]
    refusal: Callable[[LivecaptionError, str], HttpAnswer]
    shown_keys: Callable[[Handshake], list[bytes]]
    restore: Restore | None = None
    may_idle: bool = False
    headers: Callable[[Handshake], Mapping[str, str]] = no_headers
    admits_late: bool = False
