"""Events of one session -> numbered messages: the newest ones, and a snapshot for readers that need more. Pure.

The publisher gets every event, in order and without gaps. Readers get the events that concern captions, and the newest
partial of each utterance only. So a reader that reads slowly reads less instead of later.

A number has a meaning in its epoch alone: in this session, in this generation of the server. So a reader's cursor is
`EPOCH-NUMBER`, and a reader with a cursor of another epoch is treated as one that has just come. A mirror that does not
have all captions yet has an epoch of its own.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from livecaption.captions.labels import NO_NAMES, Names
from livecaption.events import (
    Ack,
    End,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Gap,
    Partial,
    Pong,
    Ready,
    Snapshot,
    SpeakerName,
    SpeakerNamed,
    SpeechStart,
    TranslatedText,
    Translation,
)
from livecaption.live.dialects.dialect import Dialect
from livecaption.live.dialects.native import Native
from livecaption.messages import encode, encode_final, encode_snapshot

MAX_CHARACTERS = 64 * 1024
"""The characters of kept messages: a minute of speech with two partials a second, the usual resume window, and more
where partials are rarer. Fewer: more gaps and snapshots; more: memory of every session, three to four times as much."""

MAX_MESSAGES = 600
"""The most messages that are kept, however short they are: each takes 0.3 KB beside its characters."""

SEQS_PER_GENERATION = 10**9
"""The numbers that one generation of the server may use: more than a session ever needs, and so few that a million
generations have numbers that are exact in JavaScript."""

PUBLISHER_ONLY = (Ready, Ack, Flushed, Pong, ErrorReport)


@dataclass
class Message:
    """An event as it is sent. It is encoded once for each kind of reader, however many there are.

    Readers speak the native protocol, and nearly all publishers do.
    """

    seq: int
    event: Event
    epoch: str
    superseded: bool = False
    """True if readers do not need it: a partial with a newer one or a final, or a translation of a deleted final."""

    def encoded(self, dialect: Dialect) -> Sequence[str | bytes]:
        """Return the messages for a publisher. The native one is encoded already."""
        return (self.text,) if isinstance(dialect, Native) else dialect.encode(self.event, self.seq)

    @cached_property
    def text(self) -> str:
        return encode(self.event, self.seq)

    @cached_property
    def text_bytes(self) -> bytes:
        return self.text.encode()

    @cached_property
    def server_sent(self) -> bytes:
        return self._as_server_sent()

    def _as_server_sent(self) -> bytes:
        """Encode for `text/event-stream`. JSON has no line ends of its own, so `data` is one line."""
        cursor = f"{self.epoch}-{self.seq}".encode()
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor, self.event.type.encode(), self.text_bytes)


@dataclass
class SnapshotMessage(Message):
    """A snapshot, made of finals that are encoded already. As it may have megabytes, no second form of it is kept."""

    encoded_finals: Sequence[str] = ()

    @cached_property
    def text(self) -> str:
        assert isinstance(self.event, Snapshot)
        return encode_snapshot(self.event, self.seq, self.encoded_finals)

    @property
    def text_bytes(self) -> bytes:
        return self.text.encode()

    @property
    def server_sent(self) -> bytes:
        return self._as_server_sent()


def epoch_of(session: str, generation: int) -> str:
    """Return the epoch of a session's events, which is the same in all servers that share a store."""
    return hashlib.sha256(f"{session} {generation}".encode()).hexdigest()[:8]


def seq_in(cursor: str, epoch: str) -> int | None:
    """Return the number in a reader's cursor; None: it is no cursor, or not of this epoch."""
    found, _, number = cursor.rpartition("-")
    if found != epoch or not (number.isascii() and number.isdecimal() and len(number) < 17):
        return None
    return int(number)


class EventLog:
    """Counts the events of a session from 1 and keeps the newest, and all finals.

    Args:
        session: the id of the session.
        epoch: distinguishes these numbers from those of all other sessions and generations; it has no `-`.
        generation: the number of servers that have died over this session. Later generations have greater numbers.
        earlier: the finals and translations of those generations, in order, with the numbers that they had.
        tracks: the languages into which finals are translated.
        names: those that speakers have already, by their numbers.
        last_seq: the number up to which another server has published the events, where this is the log of a mirror.
    """

    def __init__(
        self,
        title: str,
        language: str | None,
        epoch: str,
        max_characters: int = MAX_CHARACTERS,
        *,
        session: str = "",
        generation: int = 0,
        earlier: Sequence[tuple[int, Final | Translation]] = (),
        tracks: Sequence[str] = (),
        names: Names = NO_NAMES,
        last_seq: int | None = None,
    ) -> None:
        self._session = session
        self.names = dict(names)
        self.tracks = tuple(tracks)
        self.title = title
        self._language = language
        self.epoch = epoch
        self.generation = generation
        self._max_characters = max_characters
        self._n_characters = 0
        self._messages: deque[Message] = deque()
        self._finals: list[tuple[int, Final]] = []  # with their numbers
        self._n_translations = 0
        self._snapshot_finals: list[Final] = []
        self._encoded: list[str] = []  # the same, as they are sent
        self._partials: dict[int, Message] = {}  # the newest of each utterance that has no final
        self._open: dict[int, int] = {}  # the starts of these utterances, in ms
        self._snapshot: Message | None = None
        self.last_seq = generation * SEQS_PER_GENERATION if last_seq is None else last_seq
        self._complete_after_seq = self.last_seq  # all events behind it are kept that readers may need
        self.ended = False
        self.forgotten = False
        for seq, event in earlier:
            self._note_caption(seq, event)
            if last_seq is None:  # a mirror has no publisher who could have missed them
                self._keep(Message(seq, event, epoch))

    def append(self, event: Event) -> Message:
        """Count the event, and return the message to send."""
        return self.adopt(self.last_seq + 1, event)

    def adopt(self, seq: int, event: Event) -> Message:
        """Note an event with the number that it has. Only events that no reader gets may lie before it."""
        self.last_seq = seq
        message = Message(seq, event, self.epoch)
        if not isinstance(event, PUBLISHER_ONLY):
            self._snapshot = None
        if isinstance(event, Partial | Final):
            if isinstance(event, Final):
                self._open.pop(event.utterance, None)
            older = self._partials.pop(event.utterance, None)
            if older is not None:
                older.superseded = True
        if isinstance(event, SpeechStart):
            self._open[event.utterance] = event.start_ms
        elif isinstance(event, Partial):
            self._partials[event.utterance] = message
        elif isinstance(event, Final | Translation):
            message.superseded = not self._note_caption(message.seq, event)
        elif isinstance(event, SpeakerNamed):
            self.names[event.speaker] = event.name
        elif isinstance(event, End):
            self.ended = True
        self._keep(message)
        return message

    def begin_epoch(self, epoch: str) -> None:
        """Give readers cursors of this epoch from now on. A message that a reader has already keeps its own."""
        self.epoch = epoch
        self._snapshot = None
        for message in self._messages:
            message.epoch = epoch

    def skip_to(self, seq: int) -> None:
        """Note that no reader gets the events up to this number that were not adopted."""
        self.last_seq = max(self.last_seq, seq)

    def adopt_state(self, state: Snapshot) -> None:
        """Take over what another server has sent of its session, which is all but the finals."""
        self.title, self._language, self.tracks = state.title, state.language, state.tracks or ()
        self.names = {each.speaker: each.name for each in state.names or ()}
        for partial in state.partials or (() if state.partial is None else (state.partial,)):
            self._partials.setdefault(partial.utterance, Message(self.last_seq, partial, self.epoch))
        self._snapshot = None

    def rename(self, title: str) -> None:
        """Change the title, for snapshots from now on."""
        self.title = title
        self._snapshot = None

    def rename_speakers(self, names: Names) -> None:
        """Give speakers these names, for snapshots from now on, because the session is over."""
        self.names |= names
        self._snapshot = None

    def forget(self) -> None:
        """Forget all captions so far, because the session was deleted: readers get a snapshot without them."""
        self.forgotten = True
        for kept in (self._finals, self._snapshot_finals, self._encoded):
            kept.clear()
        self._partials.clear()
        self.names.clear()
        self._snapshot = None
        self._complete_after_seq = self.last_seq

    @property
    def state(self) -> Snapshot:
        """All that a snapshot has now, apart from the finals."""
        partials = self._newest_partials()
        return Snapshot(
            self.title,
            self._language,
            (),
            partials[-1] if partials else None,
            self.epoch,
            tuple(partials) if any(partial.channel is not None for partial in partials) else None,
            self._session,
            self.tracks or None,
            listed(self.names),
        )

    @property
    def finals(self) -> list[Final]:
        """All finals so far, in the order of their events."""
        return [final for _, final in self._finals]

    @property
    def n_captions(self) -> int:
        """Number of finals and translations so far."""
        return len(self._finals) + self._n_translations

    @property
    def end_ms(self) -> int:
        """The end of the newest final, in stream time."""
        return self._finals[-1][1].end_ms if self._finals else 0

    @property
    def newest_ms(self) -> int:
        """The start of the newest final, in stream time. Later finals do not start before it."""
        return self._finals[-1][1].start_ms if self._finals else 0

    @property
    def open_since_ms(self) -> int | None:
        """The earliest start of an utterance that has no final yet, in stream time; None: there is none."""
        return min(self._open.values(), default=None)

    def seq_of(self, cursor: str) -> int | None:
        """Return the number in a reader's cursor; None: it is no cursor, or of another epoch."""
        return seq_in(cursor, self.epoch)

    def since(self, seq: int) -> list[Message] | None:
        """Return all events after `seq`; None: some of them are not kept any more, or `seq` is of the future."""
        if not self._complete_after_seq <= seq <= self.last_seq:
            return None
        newer = list(takewhile(lambda message: message.seq > seq, reversed(self._messages)))
        return newer[::-1]

    def missed(self, seq: int) -> list[Message]:
        """Return the kept events since `seq` for a publisher that comes back. A gap stands where some are lost."""
        missed: list[Message] = []
        for message in self._messages:
            if message.seq > seq:
                missed += [*self._gap(seq, message.seq), message]
                seq = message.seq
        return [*missed, *self._gap(seq, self.last_seq + 1)]

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """Return the messages for a reader at `seq` (None: just come), and where the reader is behind them."""
        messages = None if seq is None else self.since(seq)
        if messages is None:
            # A kept snapshot is still right: only events that no reader gets have come since.
            return [self._snapshot_message()], self.last_seq - self.ended
        news = [m for m in messages if not m.superseded and not isinstance(m.event, PUBLISHER_ONLY)]
        return news, self.last_seq

    def _note_caption(self, seq: int, event: Final | Translation) -> bool:
        """Note what readers that come later get. Return False if it is the translation of a final that is not here."""
        if isinstance(event, Translation):
            return self._add_translation(event)
        self._finals.append((seq, event))
        if event.text:
            without_words = event if event.words is None else replace(event, words=None)
            self._snapshot_finals.append(without_words)
            self._encoded.append(encode_final(without_words))
        return True

    def _add_translation(self, translation: Translation) -> bool:
        """Add a translation to its final, which has text and is one of the newest. Return False if that is not here."""
        at = _newest(reversed(self._snapshot_finals), translation.utterance)
        if at is None:  # it was deleted
            return False
        self._n_translations += 1
        text = TranslatedText(translation.language, translation.text)
        self._snapshot_finals[at] = translated = _with(self._snapshot_finals[at], text)
        self._encoded[at] = encode_final(translated)
        at = _newest((final for _, final in reversed(self._finals)), translation.utterance)
        assert at is not None
        seq, final = self._finals[at]
        self._finals[at] = seq, _with(final, text)
        return True

    def _keep(self, message: Message) -> None:
        self._messages.append(message)
        self._n_characters += len(message.text)
        while len(self._messages) > 1 and (
            self._n_characters > self._max_characters or len(self._messages) > MAX_MESSAGES
        ):
            oldest = self._messages.popleft()
            self._n_characters -= len(oldest.text)
            self._complete_after_seq = max(self._complete_after_seq, oldest.seq)

    def _gap(self, seq: int, next_seq: int) -> list[Message]:
        """Return the gap that is sent instead of the events between these two, if there were any."""
        if next_seq == seq + 1:
            return []
        lost = [final for number, final in self._finals if seq < number < next_seq]
        known_until_ms = max((final.end_ms for number, final in self._finals if number <= seq), default=0)
        # Where no final is lost, only partials are, and events that are no captions: a gap of no length.
        start_ms = min((final.start_ms for final in lost), default=known_until_ms)
        gap = Gap(start_ms, max((final.end_ms for final in lost), default=known_until_ms))
        return [Message(next_seq - 1, gap, self.epoch)]

    def _newest_partials(self) -> list[Partial]:
        """Return the partial of the newest utterance of each channel, in the order of the utterances."""
        partials = [message.event for _, message in sorted(self._partials.items())]
        newest = {partial.channel: partial for partial in partials if isinstance(partial, Partial)}
        return sorted(newest.values(), key=lambda partial: partial.utterance)

    def _snapshot_message(self) -> Message:
        if self._snapshot is None:
            snapshot = replace(self.state, finals=tuple(self._snapshot_finals))
            # `end` is sent as an event of its own.
            seq = self.last_seq - self.ended
            self._snapshot = SnapshotMessage(seq, snapshot, self.epoch, encoded_finals=tuple(self._encoded))
        return self._snapshot


def listed(names: Names) -> tuple[SpeakerName, ...] | None:
    """Return the names of speakers as a snapshot has them; None: nobody has one."""
    return tuple(SpeakerName(*each) for each in sorted(names.items())) or None


def _newest(newest_first: Iterable[Final], utterance: int) -> int | None:
    """Return the place of the final of this utterance, counted from the end, which it is near: -1 is the last."""
    return next((-1 - i for i, final in enumerate(newest_first) if final.utterance == utterance), None)


def _with(final: Final, text: TranslatedText) -> Final:
    return replace(final, translations=(*(final.translations or ()), text))
