"""OpenAI's Realtime API as far as it transcribes: JSON messages over a WebSocket, audio in base64. Pure.

    session.update       -> Configure, Ping -> session.updated
    input_audio_buffer.append -> Audio
                      .commit -> Flush, Ping   -> committed, or an error that nothing was there
                      .clear  -> Discard, Ping -> cleared

The answer to a request is sent where its `Pong` comes, so it has its place among the events of the audio. Mistakes of a
client cost it nothing but an `error` with its `event_id`. Clients take any `error` for fatal, so what can be ignored is
ignored. The shape of the retired beta differs in the names of a few events and in the session object.
"""

import binascii
import hashlib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal

from livecaption.errors import InvalidMessage
from livecaption.events import ErrorReport, Event, Final, Partial, Pong, Ready, SpeechEnd, SpeechStart
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Audio, Command, Configure, Control, Discard, Flush, Open, Ping, Reply
from livecaption.live.dialects.dialect import Handshake, Limits, Route
from livecaption.live.dialects.json_messages import json_object
from livecaption.live.dialects.keys import shown_keys
from livecaption.live.dialects.openai_errors import FAILURES, error_object, refusal
from livecaption.live.dialects.openai_items import Items, WireEvent
from livecaption.live.dialects.openai_session import InvalidField, Session
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig

PATH = "/v1/realtime"
SUBPROTOCOL = "realtime"
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Audio of one message, at most, as at OpenAI: five minutes of 24 kHz."""
MAX_FIELDS_CHARACTERS = 64 * 1024
"""The rest of a message, without its audio. Only this is parsed as JSON, in 1 ms."""
LIMITS = Limits(
    max_text_bytes=MAX_APPEND_BYTES * 4 // 3 + MAX_FIELDS_CHARACTERS,
    max_binary_bytes=1024 * 1024,
    max_errors=inf,  # a session goes on, as at OpenAI
)
PIECE_CHARACTERS = 64 * 1024
"""Base64 that is decoded at once, in 0.2 ms; a multiple of 4. Others have their turn between two pieces."""
MAX_ID_CHARACTERS = 512

UPDATES = ("session.update", "transcription_session.update")
BETA_NAMES = {
    "session.created": "transcription_session.created",
    "session.updated": "transcription_session.updated",
    "conversation.item.added": "conversation.item.created",
}
"""The names of events in the beta, which has no `conversation.item.done`."""
RESTARTS = 1012
"""The code of the Close of a server that stops, because another one may follow."""

REFUSED_FIELDS = {
    "unsupported_language": "session.audio.input.transcription.language",
    "unsupported_speakers": "session.audio.input.transcription.model",
}
"""The fields of an update that the server's model cannot serve, by our code."""

_AUDIO = re.compile(r'"audio"\s*:\s*"')


@dataclass(frozen=True, slots=True)
class _Request:
    """A request of the client that is answered at its `Pong`.

    Attributes:
        number: the tag of the `Pong`.
        event_id: the id that the client has given it, or None.
        session: the session that it asks for, if it is an update.
        audio_ms: the audio since the last commit, if it is a commit.
    """

    kind: Literal["update", "commit", "clear"]
    number: int
    event_id: str | None
    session: Session
    audio_ms: float = 0.0


class OpenAIRealtime:
    """One client's conversation.

    Args:
        endpointing: the server's own settings, which the session may change.
        model: the name of a model in the address; any will do.
        beta: whether the client speaks the shape of the beta.
    """

    protocol: ClassVar[str] = "openai"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = LIMITS
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, endpointing: EndpointingConfig, model: str = "", *, beta: bool = False) -> None:
        self._endpointing = endpointing
        self._beta = beta
        self._session = self._asked = Session.of_model(model)  # in effect; with the updates that are not answered
        self._session_id = ""
        self._items = Items("")
        self._requests: deque[_Request] = deque()
        self._n_requests = 0
        self._n_sent = 0
        self._audio_ms = 0.0  # since the last commit or clear

    def connected(self) -> list[Control]:
        """Return what opens the session. Audio may come before any update."""
        return [Open(self._session.options(self._endpointing))]

    def receive(self, message: str | bytes) -> Iterable[Command]:
        """See `Dialect.receive`. Mistakes are answered and never raised."""
        if not isinstance(message, str):
            return [self._error("send JSON in text messages, and audio in base64", "invalid_message")]
        begin, end = _span_of_audio(message)
        if len(message) - (end - begin) > MAX_FIELDS_CHARACTERS:
            return [self._error("the message is too long, apart from its audio", "message_too_big")]
        try:
            fields = json_object(message[:begin] + message[end:])
        except InvalidMessage as error:
            return [self._error(error.message, "invalid_json")]
        given = fields.get("event_id")
        event_id = given if isinstance(given, str) and len(given) <= MAX_ID_CHARACTERS else None
        kind = fields.get("type")
        if kind == "input_audio_buffer.append":
            if not isinstance(fields.get("audio"), str):
                return [self._error("audio must be a text", "invalid_value", "audio", event_id)]
            return self._append(message, begin, end, event_id)
        if kind in UPDATES:
            return self._update(kind, fields.get("session"), event_id)
        if kind == "input_audio_buffer.commit":
            audio_ms, self._audio_ms = self._audio_ms, 0.0
            return [Flush(), self._ask("commit", event_id, audio_ms)]
        if kind == "input_audio_buffer.clear":
            self._audio_ms = 0.0
            return [Discard(), self._ask("clear", event_id)]
        return [self._error("this server transcribes, and takes no such event", "invalid_value", "type", event_id)]

    def _append(self, message: str, begin: int, end: int, event_id: str | None) -> Iterator[Command]:
        """Decode the audio of a message, piece by piece.

        Of a message of several pieces, those before a fault are taken.
        """
        for piece in _base64_pieces(message, begin, end):
            try:
                data = binascii.a2b_base64(piece, strict_mode=True)
            except ValueError:
                yield self._error("audio is not valid base64", "invalid_value", "audio", event_id)
                return
            self._audio_ms += len(data) * 1000 / self._asked.audio.bytes_per_s
            yield Audio(data)

    def _update(self, kind: str, update: Any, event_id: str | None) -> list[Command]:
        self._beta = self._beta or kind == "transcription_session.update"
        try:
            self._asked = self._asked.updated(update)
        except InvalidField as error:
            return [self._error(error.message, "invalid_value", error.param, event_id)]
        return [Configure(self._asked.options(self._endpointing)), self._ask("update", event_id)]

    def _ask(self, kind: Literal["update", "commit", "clear"], event_id: str | None, audio_ms: float = 0.0) -> Ping:
        self._n_requests += 1
        self._requests.append(_Request(kind, self._n_requests, event_id, self._asked, audio_ms))
        return Ping(self._n_requests)

    # Events

    def encode(self, event: Event, seq: int | None) -> Sequence[str]:
        """See `Dialect.encode`."""
        match event:
            case Ready(session=session):
                self._session_id = session
                self._items = Items(f"item_{hashlib.sha256(session.encode()).hexdigest()[:12]}_")
                self._apply(self._session)
                return [self._encoded({"type": "session.created", "session": self._shown()})]
            case SpeechStart():
                sent = self._items.start(event)
            case Partial():
                sent = self._items.partial(event)
            case SpeechEnd(reason=reason):
                if self._items.detects_turns and reason not in ("flush", "discard"):
                    self._audio_ms = 0.0  # only silence is left
                sent = self._items.end(event)
            case Final():
                sent = self._items.final(event)
            case Pong(id=number):
                sent = self._answer(number)
            case ErrorReport():
                sent = self._report(event)
            case _:
                return []
        return [self._encoded(each) for each in sent if not (self._beta and each["type"] == "conversation.item.done")]

    def _answer(self, number: str | int | None) -> list[WireEvent]:
        """Answer a request whose place among the events is here."""
        request = self._requests.popleft()
        while request.number != number:  # the session was ending already
            request = self._requests.popleft()
        match request.kind:
            case "update":
                self._apply(request.session)
                return [{"type": "session.updated", "session": self._shown()}]
            case "clear":
                self._items.drop()
                return [{"type": "input_audio_buffer.cleared"}]
        if committed := self._items.commit(round(request.audio_ms)):
            return committed
        message = "there is no audio to commit: it is less than 100 ms, or silence has committed it"
        return [_error_event(message, "input_audio_buffer_commit_empty", None, request.event_id)]

    def _report(self, report: ErrorReport) -> list[WireEvent]:
        if report.fatal:
            return [_error_event(report.message, report.code)]
        if report.code in FAILURES:
            self._items.fail(report)
        if report.code not in REFUSED_FIELDS:
            return []  # also hints about the audio, which clients would take for the end
        refused = self._requests.popleft()  # those before it are answered
        if all(request.kind != "update" for request in self._requests):
            self._asked = self._session
        return [_error_event(report.message, report.code, REFUSED_FIELDS[report.code], refused.event_id)]

    def _apply(self, session: Session) -> None:
        self._session = session
        endpointing = session.endpointing(self._endpointing)
        self._items.detects_turns = session.turn_detection is not None
        self._items.has_logprobs = session.has_logprobs
        self._items.padding_ms, self._items.silence_ms = endpointing.pre_roll_ms, endpointing.hangover_ms

    def _shown(self) -> dict[str, Any]:
        return self._session.shown(self._session_id, self._endpointing, flat=self._beta)

    def _error(self, message: str, code: str, param: str | None = None, event_id: str | None = None) -> Reply:
        return Reply(self._encoded(_error_event(message, code, param, event_id)))

    def _encoded(self, event: WireEvent) -> str:
        self._n_sent += 1
        kind = BETA_NAMES.get(event["type"], event["type"]) if self._beta else event["type"]
        return json.dumps({**event, "type": kind, "event_id": f"event_{self._n_sent}"})

    def tick(self, stream_ms: int) -> list[Control]:
        """Return nothing: all follows from messages and events."""
        del stream_ms
        return []

    def close(self, ending: Ending) -> tuple[int, str]:
        """Return code and reason of the Close. Clients connect again after 1012 and 1013, and not after 1008."""
        code, reason = close_of(ending)
        return RESTARTS if ending.reason == "draining" else code, reason


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> OpenAIRealtime:
    """Begin a conversation. `?model=` names a model, and any will do. Other options are ignored, such as `intent`."""
    beta = BETA_SUBPROTOCOL in handshake.subprotocols or "realtime=v1" in handshake.headers.get("OpenAI-Beta", "")
    return OpenAIRealtime(endpointing, handshake.query.get("model", ""), beta=beta)


ROUTE = Route(PATH, (SUBPROTOCOL,), accept, refusal, shown_keys, may_idle=True)


def _span_of_audio(message: str) -> tuple[int, int]:
    """Return begin and end of the base64 in a message, which is empty if there is none.

    The base64 may have megabytes, so it is cut out before the rest is parsed. Nobody waits for a search through it.
    """
    found = _AUDIO.search(message, 0, MAX_FIELDS_CHARACTERS)
    if found is None:
        return 0, 0
    end = message.find('"', found.end())
    return found.end(), found.end() if end < 0 else end


def _base64_pieces(message: str, begin: int, end: int) -> Iterator[str]:
    """Cut base64 into pieces that can be decoded alone. Some clients write "/" as "\\/"."""
    rest = ""
    for start in range(begin, end, PIECE_CHARACTERS):
        stop = min(start + PIECE_CHARACTERS, end)
        piece = (rest + message[start:stop]).replace("\\/", "/")
        n_whole = len(piece) if stop == end else len(piece.removesuffix("\\")) // 4 * 4
        rest = piece[n_whole:]
        yield piece[:n_whole]


def _error_event(message: str, code: str, param: str | None = None, event_id: str | None = None) -> WireEvent:
    return {"type": "error", "error": {**error_object(message, code, param), "event_id": event_id}}
