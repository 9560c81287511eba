"""Every dialect must pass these tests: inherit `DialectProperties` and describe the messages of its client.

Runs without sockets, against the real pipeline: see `tests.support.conversation`.
"""

import functools
import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livecaption.errors import LivecaptionError, MessageTooBig
from livecaption.events import SpeechStart
from livecaption.live.dialects.dialect import Dialect
from livecaption.live.state import Ending
from tests.support.any_text import any_text
from tests.support.conversation import Conversation
from tests.support.speech import pcm_s16le, sound

AUDIO = pcm_s16le(sound("silence 300ms, speech 900ms, silence 900ms, speech 1100ms, silence 900ms, speech 500ms"))
FEW = settings(
    max_examples=min(15, max(3, settings().max_examples // 2)),
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
OFTEN = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
"""The number of examples is that of the profile."""
WORDS = st.sampled_from(["type", "start", "stop", "flush", "ping", "id", "open", "bye", "eof", "config", "resume"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | any_text(5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
MESSAGES = any_text(30) | st.binary(max_size=30) | JSON.map(json.dumps)
EVENLY = st.integers(20, 500).map(lambda chunk_ms: list(range(chunk_ms * 32, len(AUDIO), chunk_ms * 32)))
CUTS = EVENLY | st.lists(st.integers(0, len(AUDIO)), max_size=30).map(sorted)
EVERY = st.integers(1, 40)
MAX_REASON_BYTES = 123
"""RFC 6455, 5.5."""


@functools.cache
def uncut(kind: type["DialectProperties"]) -> list[str]:
    """Return the finals where all audio comes in one message."""
    client = kind()
    return client.finals(client.talk([], 1).sent)


class DialectProperties:
    """Each final once and in order, nothing taken back, cut anywhere, refuses cleanly."""

    ends = True
    """False if the protocol has no message that ends a stream: its clients close the connection."""
    appends = False
    """True if the protocol only ever appends to the text that it has sent."""
    joins = False
    """True if several finals may come as one text, such as in the one reply to the end."""
    opening: tuple[str | bytes, ...] = ()
    closing: tuple[str | bytes, ...] = ()

    def dialect(self) -> Dialect:
        """Begin a conversation."""
        raise NotImplementedError

    def finals(self, sent: list[str | bytes]) -> list[str]:
        """Return the texts of the finals that a client understands from these messages."""
        raise NotImplementedError

    def shown(self, sent: list[str | bytes]) -> str:
        """Return all text that a client has on its screen behind these messages. Only where the protocol appends."""
        raise NotImplementedError

    def message(self, audio: bytes) -> str | bytes:
        """Return the message that carries this audio."""
        return audio

    def talk(self, cuts: list[int], every: int) -> Conversation:
        """Send all audio, cut at these bytes, and end."""
        conversation = Conversation(self.dialect(), every)
        chunks = [AUDIO[start:end] for start, end in zip([0, *cuts], [*cuts, len(AUDIO)], strict=True)]
        conversation.send([*self.opening, *map(self.message, chunks), *self.closing])
        conversation.finish()
        if not self.ends:
            conversation.leave()
        return conversation

    @FEW
    @example(cuts=list(range(10_240, len(AUDIO), 10_240)), every=13)  # two finals at a time
    @example(cuts=[9088], every=1)  # speech begins in a message that has its end, too
    @given(cuts=CUTS, every=EVERY)
    def test_wherever_the_audio_is_cut_the_same_finals_come_once_and_in_order_and_what_is_appended_stays(
        self, cuts: list[int], every: int
    ) -> None:
        conversation = self.talk(cuts, every)
        assert conversation.ending == Ending("stop" if self.ends else "disconnect")
        n_started = sum(isinstance(event, SpeechStart) for event in conversation.events)
        assert len(conversation.finals) == n_started >= 1
        joined = self._joined(conversation.sent)
        assert joined == self._in_one(conversation.finals)
        assert joined == self._in_one(uncut(type(self)))
        if self.appends:
            self._check_that_nothing_is_taken_back(conversation.sent)

    def _check_that_nothing_is_taken_back(self, sent: list[str | bytes]) -> None:
        before = ""
        for n_messages in range(len(sent) + 1):
            shown = self.shown(sent[:n_messages])
            assert shown.startswith(before)
            before = shown
        assert before.split() == " ".join(self.finals(sent)).split()

    @OFTEN
    @given(st.lists(MESSAGES, max_size=6), st.booleans())
    def test_any_message_is_accepted_or_refused_cleanly(self, messages: list[str | bytes], opened: bool) -> None:
        dialect = self.dialect()
        dialect.connected()
        for message in [*(self.opening if opened else []), *messages]:
            error = self._refusal(dialect, message)
            if error is not None:
                assert error.code
                self._check_close(Ending("error", error))

    def test_there_is_a_close_code_for_every_ending(self) -> None:
        for reason in ("stop", "disconnect", "draining", "replaced"):
            self._check_close(Ending(reason))

    def test_a_message_that_is_too_large_is_refused_and_the_connection_closed_cleanly(self) -> None:
        limits = self.dialect().limits
        for message in ("x" * (limits.max_text_bytes + 1), bytes(limits.max_binary_bytes + 1)):
            error = self._refusal(self.dialect(), message)
            assert isinstance(error, MessageTooBig)
            self._check_close(Ending("error", error))

    def _joined(self, sent: list[str | bytes]) -> list[str]:
        return self._in_one(self.finals(sent))

    def _in_one(self, finals: list[str]) -> list[str]:
        """Return the finals as they are compared."""
        return [" ".join(filter(None, finals))] if self.joins else finals

    def _check_close(self, ending: Ending) -> None:
        code, reason = self.dialect().close(ending)
        assert 1000 <= code < 5000
        assert len(reason.encode()) <= MAX_REASON_BYTES

    def _refusal(self, dialect: Dialect, message: str | bytes) -> LivecaptionError | None:
        try:
            dialect.limits.check(message)
            list(dialect.receive(message))
        except LivecaptionError as error:
            return error
        return None
