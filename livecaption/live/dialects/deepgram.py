"""Deepgram's live protocol (`/v1/listen`): options in the address, binary audio, JSON about it. Pure.

    interim   is_final false; the next result replaces it, and has the same start
    final     is_final true; closes the audio from `start` on for `duration`, and the next result starts there
    endpoint  speech_final true: the utterance is over

Silence between two utterances is closed by a final without text. What is supported: docs/clients/deepgram.md.
"""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from livecaption.audio.formats import CONTAINER
from livecaption.errors import ClientError, InvalidMessage, LimitReached, TooSlow
from livecaption.events import End as SessionEnd
from livecaption.events import EndReason, ErrorReport, Event, Final, Flushed, Partial, Ready, SpeechEnd, SpeechStart
from livecaption.live.dialects import deepgram_shapes as shapes
from livecaption.live.dialects.closing import CLOSE_CODES
from livecaption.live.dialects.commands import Audio, Command, Configure, Control, Finish, Flush, Open, Reply
from livecaption.live.dialects.deepgram_query import DeepgramOptions, checked_keyterms, live_options
from livecaption.live.dialects.dialect import Handshake, Limits, Route
from livecaption.live.dialects.json_messages import is_text, json_object
from livecaption.live.dialects.keys import shown_keys
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig

SUBPROTOCOLS = ("token", "bearer")
LIMITS = Limits(max_text_bytes=64 * 1024, max_binary_bytes=1024 * 1024)
"""A Configure with all keyterms is below 64 KiB. 1 MiB are 32 s of 16 kHz PCM."""
MAX_SILENT_TICKS = 60
"""Seconds without any message before the stream ends. Deepgram waits 10 s. Shorter: clients on slow networks lose their
stream. Longer: a client that is gone holds its slot."""
SURE, UNSURE = 1.0, 0.5
"""Confidences of the words of an interim result, because Whisper has given none yet: committed, and not."""
MAX_REASON_BYTES = 120
SCHEMA_ERRORS = ("invalid_message", "unknown_type")
RAW_AUDIO = "; raw audio needs the parameters encoding and sample_rate"


@dataclass(slots=True)
class _Channel:
    """The state of one channel.

    Attributes:
        index: its number, and the number of channels.
        closed_ms: end of the audio of the newest final result.
        awaited: the utterances without a final, in order.
        reasons: why those of them that have ended did.
        held: the newest partial that was not sent: its utterance, or one before it, has no final.
        is_cut: whether the newest utterance was cut at the length limit, so that the next one is no new speech.
        n_finalized: finals of flushes whose `Flushed` has not come.
        last_word_end_ms: end of the newest final word; None: there is none since the last UtteranceEnd.
    """

    index: tuple[int, int]
    closed_ms: int = 0
    awaited: deque[int] = field(default_factory=deque)
    reasons: dict[int, EndReason] = field(default_factory=dict)
    held: Partial | None = None
    is_cut: bool = False
    n_finalized: int = 0
    last_word_end_ms: int | None = None


class Deepgram:
    """One client's conversation.

    Args:
        options: those of the address.
        request_id: the id of the request.
        created: when it came.
    """

    protocol: ClassVar[str] = "deepgram"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = LIMITS
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, options: DeepgramOptions, request_id: str, created: datetime) -> None:
        self._options = options
        self._request_id = request_id
        self._created = created
        self._metadata = shapes.result_metadata(request_id, shapes.Model())
        self._channels = [_Channel((number, options.n_channels)) for number in range(options.n_channels)]
        self._hash = hashlib.sha256()
        self._n_bytes = 0
        self._received_ms = 0
        self._n_silent_ticks = 0
        self._is_closing = False
        self._has_failed = False

    def connected(self) -> list[Control]:
        """Return what opens the session: the address has all options."""
        return [Open(self._options.stream)]

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`. No mistake in a text message is fatal."""
        self._n_silent_ticks = 0
        if self._is_closing:
            return []  # many clients close more than once
        if not isinstance(message, str):
            return self._receive_audio(message) if message else self._close()
        parsed = json_object(message, fatal=False)
        match parsed.get("type"):
            case "KeepAlive":
                return []
            case "Finalize":
                return [Flush()]
            case "CloseStream":
                return self._close()
            case "Configure":
                return [*self._configure(parsed)]
        raise InvalidMessage(
            "type must be KeepAlive, Finalize, CloseStream or Configure", code="unknown_type", fatal=False
        )

    def encode(self, event: Event, seq: int | None) -> Sequence[str]:
        """Return the messages for an event. Acknowledgements and the like have none."""
        del seq
        match event:
            case Ready(model=model):
                self._metadata = shapes.result_metadata(self._request_id, shapes.Model(model))
            case SpeechStart():
                return self._start(self._channel(event.channel), event)
            case Partial():
                channel = self._channel(event.channel)
                channel.held = event
                return self._interim(channel)
            case SpeechEnd():
                channel = self._channel(event.channel)
                channel.reasons[event.utterance] = event.reason
                channel.is_cut = event.reason == "max_length"
            case Final():
                return self._final(self._channel(event.channel), event)
            case Flushed():
                return self._finalized()
            case ErrorReport(code=code) if self._is_forgiven(code):
                pass
            case ErrorReport():
                self._has_failed |= event.fatal
                return [_error(event)]
            case SessionEnd():
                return self._end(event)
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        """Return an UtteranceEnd that is due.

        Raises:
            TooSlow: `idle_timeout`.
        """
        self._n_silent_ticks += 1
        if self._n_silent_ticks >= MAX_SILENT_TICKS:
            raise TooSlow(f"neither audio nor KeepAlive for {MAX_SILENT_TICKS} s", code="idle_timeout")
        self._received_ms = max(self._received_ms, stream_ms)
        return [*map(Reply, self._utterance_ends())]

    def close(self, ending: Ending) -> tuple[int, str]:
        """Return code and reason of the Close. Some clients try again unless it is 1000 or 1008."""
        if (error := ending.error) is None:
            return CLOSE_CODES[ending.reason], ""
        if self._is_forgiven(error.code):
            return CLOSE_CODES["stop"], ""
        code = shapes.code_of(error)
        reason = f"{code}: {error.message}".encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        is_permanent = isinstance(error, ClientError | LimitReached) and code != shapes.NOTHING_RECEIVED
        return 1008 if is_permanent else 1011, reason

    # The client's messages

    def _receive_audio(self, audio: bytes) -> list[Command]:
        ends = self._utterance_ends()  # before this audio, in which speech may begin
        self._hash.update(audio)
        self._n_bytes += len(audio)
        if (audio_format := self._options.stream.audio).encoding != CONTAINER:
            self._received_ms = self._n_bytes * 1000 // audio_format.bytes_per_s
        return [*map(Reply, ends), Audio(audio)]

    def _close(self) -> list[Command]:
        self._is_closing = True
        return [Finish()]

    def _configure(self, message: Mapping[str, Any]) -> list[Control]:
        """Replace the keyterms, for the audio that follows. Features change nothing."""
        keyterms = message.get("keyterms")
        if keyterms is None:
            return [Reply(shapes.configured(self._request_id, None))]
        if not isinstance(keyterms, list) or not all(map(is_text, keyterms)):
            raise InvalidMessage("keyterms must be a list of texts", fatal=False)
        try:
            terms = checked_keyterms(keyterms)
        except InvalidMessage as error:
            return [Reply(shapes.too_many_keyterms(self._request_id, error.message))]
        self._options = self._options.with_keyterms(terms)
        return [Configure(self._options.stream), Reply(shapes.configured(self._request_id, terms))]

    # The session's events

    def _is_forgiven(self, code: str) -> bool:
        """Return whether this is no mistake of the client: no container came, but it has sent no audio at all."""
        return code == "invalid_container" and not self._n_bytes

    def _channel(self, number: int | None) -> _Channel:
        return self._channels[number or 0]

    def _start(self, channel: _Channel, event: SpeechStart) -> list[str]:
        channel.awaited.append(event.utterance)
        is_new = self._options.vad_events and not channel.is_cut
        return [shapes.speech_started(channel.index, event.start_ms)] if is_new else []

    def _interim(self, channel: _Channel) -> list[str]:
        """Return the newest partial as a result, if all utterances before it have their finals."""
        partial = channel.held
        if partial is None or not channel.awaited or partial.utterance != channel.awaited[0]:
            return []
        channel.held = None
        if not self._options.interim_results:
            return []
        gap = self._gap(channel, partial.start_ms)
        end_ms = max(partial.end_ms, channel.closed_ms)
        words = shapes.words_of(partial.text, (), channel.closed_ms, end_ms, UNSURE)
        n_stable = len(partial.stable.split())
        words = [replace(word, confidence=SURE) for word in words[:n_stable]] + words[n_stable:]
        confidence = round(sum(word.confidence for word in words) / len(words), 3) if words else 0.0
        text = shapes.Text(partial.text, words, confidence, self._options.formatted)
        return [*gap, self._results(channel, end_ms, text, is_final=False)]

    def _final(self, channel: _Channel, final: Final) -> list[str]:
        channel.awaited.popleft()
        reason = channel.reasons.pop(final.utterance)
        gap = self._gap(channel, final.start_ms)
        end_ms = max(final.end_ms, channel.closed_ms)
        turns = final.turns or ()
        words = shapes.words_of(final.text, final.words or (), channel.closed_ms, end_ms, final.confidence, turns)
        language = final.language if self._options.detects_language else None
        result = self._results(
            channel,
            end_ms,
            shapes.Text(final.text, words, final.confidence, self._options.formatted, language),
            is_final=True,
            speech_final=self._options.endpoints and reason != "max_length",
            from_finalize=reason == "flush",
        )
        channel.n_finalized += reason == "flush"
        channel.closed_ms = end_ms
        if words:
            channel.last_word_end_ms = words[-1].end_ms
        return [*gap, result, *self._interim(channel)]

    def _gap(self, channel: _Channel, until_ms: int) -> list[str]:
        """Close the silence before an utterance."""
        if until_ms <= channel.closed_ms:
            return []
        gap = self._results(channel, until_ms, shapes.Text(), is_final=True)
        channel.closed_ms = until_ms
        return [gap]

    def _finalized(self) -> list[str]:
        """Confirm a Finalize on each channel where no final has done so."""
        confirmations = []
        for channel in self._channels:
            if channel.n_finalized:
                channel.n_finalized -= 1
            else:
                nothing = shapes.Text()
                confirmations.append(
                    self._results(channel, channel.closed_ms, nothing, is_final=True, from_finalize=True)
                )
        return confirmations

    def _results(self, channel: _Channel, end_ms: int, text: shapes.Text, **flags: bool) -> str:
        return shapes.results(channel.index, channel.closed_ms, end_ms, text, self._metadata, **flags)

    def _utterance_ends(self) -> list[str]:
        """Return an UtteranceEnd for each channel that has had no word for long enough."""
        ends: list[str] = []
        if (after_ms := self._options.utterance_end_ms) is None:
            return ends
        for channel in self._channels:
            last_ms = channel.last_word_end_ms
            if last_ms is not None and not channel.awaited and self._received_ms - last_ms >= after_ms:
                channel.last_word_end_ms = None
                ends.append(shapes.utterance_end(channel.index, last_ms))
        return ends

    def _end(self, event: SessionEnd) -> list[str]:
        self._received_ms = event.received_ms
        ends = self._utterance_ends()
        if self._has_failed:
            return ends
        created = self._created.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        n_channels = self._options.stream.audio.channels
        digest = self._hash.hexdigest()
        return [*ends, shapes.metadata(self._request_id, digest, created, event.received_ms, n_channels)]


def _error(report: ErrorReport) -> str:
    variant = "SchemaError" if report.code in SCHEMA_ERRORS else report.code
    is_container = report.code == "invalid_container"
    message = shapes.UNDECODABLE if is_container else report.code
    return shapes.error(variant, report.message + RAW_AUDIO * is_container, message)


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> Deepgram:
    """Begin a conversation.

    Raises:
        InvalidMessage: a wrong option in the address.
    """
    return Deepgram(live_options(handshake.parameters, endpointing), handshake.id, handshake.at)


def headers(handshake: Handshake) -> Mapping[str, str]:
    """Return the headers of the answer to a handshake that was accepted."""
    return {shapes.REQUEST_ID_HEADER: handshake.id}


ROUTE = Route("/v1/listen", SUBPROTOCOLS, accept, shapes.refusal, shown_keys, headers=headers)
