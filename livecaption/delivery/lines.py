"""Events of a room or session -> texts for a service that takes nothing back. Pure.

Committed words of the open utterance are sent in whole lines, and the rest of the utterance with its final. So nothing
is sent twice, and long utterances are not late. Tentative words are never sent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from livecaption.captions.appended import appended
from livecaption.captions.labels import Names, in_turns, label, n_characters, open_label, prefix
from livecaption.captions.layout import RollUp, cues
from livecaption.captions.line_breaking import shortened, width
from livecaption.captions.stabilizer import units
from livecaption.events import Event, Final, Partial, Room, Snapshot, SpeakerNamed


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is sent at a time: at most two lines.

    Attributes:
        lines: the lines.
        spoken_at_ms: when its first word was spoken, in ms of the Unix clock. Within an utterance it is estimated.
    """

    lines: tuple[str, ...]
    spoken_at_ms: int


class Lines:
    """The texts of one room, part after part.

    Attributes:
        line_length: columns of a line. A new value counts for utterances of which nothing was sent yet.
        session: the part whose texts come now; empty: none has begun.
    """

    def __init__(self, line_length: int) -> None:
        self.line_length = line_length
        self._started_at_ms: dict[str, int] = {}  # of the parts of the room
        self.session = ""
        self._names: dict[int, str] = {}  # of the speakers of the part
        self._channels: dict[int | None, _ChannelLines] = {}

    def take(self, event: Event) -> Iterable[Text]:
        """Take the next event of the room, and return the texts to send."""
        match event:
            case Room():
                self._started_at_ms = {part.session: part.started_at_ms for part in event.parts}
                if not self.session and event.parts:
                    self.session = event.parts[-1].session
            case Snapshot():
                if event.session != self.session:
                    self.session = event.session
                    self._channels.clear()
                self._names = {each.speaker: each.name for each in event.names or ()}
                for caption in (*event.finals, *(event.partials or (event.partial,))):
                    if caption is not None:
                        yield from self._spoken(caption)
            case SpeakerNamed(speaker, name):
                self._names[speaker] = name
            case Partial() | Final():
                yield from self._spoken(event)

    def _spoken(self, caption: Partial | Final) -> Iterator[Text]:
        if caption.channel not in self._channels:
            self._channels[caption.channel] = _ChannelLines(caption.channel)
        started_at_ms = self._started_at_ms.get(self.session, 0)
        for text in self._channels[caption.channel].take(caption, self.line_length, self._names):
            yield replace(text, spoken_at_ms=started_at_ms + text.spoken_at_ms)


class _ChannelLines:
    """The texts of one channel. Their times are those of the stream."""

    def __init__(self, channel: int | None) -> None:
        self._channel = channel
        self._is_speaker = False  # whether the channel is one, as its finals show
        self._name = ""  # what each text of the open utterance begins with
        self._voice = ""  # the person who spoke last, if that is known
        self._done = -1  # the newest utterance that has its final
        self._utterance = -1  # the open one
        self._line_length = 0  # of it, without the name
        self._roll_up = RollUp(None, self._line_length)
        self._stable = ""  # of the open utterance
        self._n_lines = self._n_characters = 0  # of it, that are sent

    def take(self, caption: Partial | Final, line_length: int, names: Names) -> Iterator[Text]:
        if caption.utterance <= self._done:
            return
        self._is_speaker |= isinstance(caption, Final) and caption.turns is not None
        if caption.utterance != self._utterance:
            self._utterance = caption.utterance
            self._stable = ""
            self._n_lines = self._n_characters = 0
        if not self._n_lines:
            # A long name leaves half of a line.
            voice = open_label(self._channel, names, is_speaker=self._is_speaker)
            self._name = prefix(shortened(voice, line_length // 2))
            self._line_length = line_length - width(self._name)
            self._roll_up = RollUp(None, self._line_length)
        yield from self._committed(caption) if isinstance(caption, Partial) else self._rest(caption, names)

    def _committed(self, partial: Partial) -> Iterator[Text]:
        """Return the lines of committed words that are full and were not sent yet."""
        if partial.stable == self._stable:
            return
        self._stable = partial.stable
        full = self._roll_up.full_lines(partial.stable)
        for line in full[self._n_lines :]:
            yield self._text((line,), self._time_ms(partial))
            self._n_characters += n_characters(line)
        # After a crash of the server, an utterance may begin again with less text.
        self._n_lines = max(self._n_lines, len(full))

    def _rest(self, final: Final, names: Names) -> Iterator[Text]:
        """Return the words of a final that were not sent yet. It begins with as many words as were committed.

        Where another person speaks, the name comes first, unless words of the utterance were sent before its end.
        """
        self._done = final.utterance
        sent, n_characters_more = self._sent()
        rest = appended(sent, final.text).lstrip()[n_characters_more:]
        if not rest.strip():
            return
        if sent or n_characters_more:
            pieces = [replace(final, text=rest, start_ms=self._time_ms(final), words=None, turns=None)]
            self._voice = ""  # the next final is named in any case
        else:
            pieces = in_turns(final)
        for piece in pieces:
            voice = label(piece, names) if piece.turns else self._voice
            is_new, self._voice = voice != self._voice, voice
            for cue in cues([piece], self._line_length, names, labelled=is_new and piece.channel is None):
                yield self._text(cue.lines, cue.start_ms)

    def _sent(self) -> tuple[str, int]:
        """Return the words that were sent, and how many characters of the next one.

        A word that is longer than a line is sent in pieces.
        """
        n_left, sent = self._n_characters, ""
        for unit in units(self._stable):
            if n_left < n_characters(unit):
                return sent, n_left
            n_left -= n_characters(unit)
            sent += unit
        return sent, 0

    def _time_ms(self, caption: Partial | Final) -> int:
        """Return when the words after those that were sent begin, by their share of the characters."""
        share = min(1.0, self._n_characters / max(1, n_characters(caption.text)))
        return round(caption.start_ms + share * (caption.end_ms - caption.start_ms))

    def _text(self, lines: tuple[str, ...], at_ms: int) -> Text:
        return Text((self._name + lines[0], *lines[1:]), at_ms)
