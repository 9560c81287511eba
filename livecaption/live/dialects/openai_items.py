"""The items of OpenAI's Realtime API: the audio between two commits, as events about its text. Pure.

    utterances ──> Item (deltas) ──commit──> committed ──all finals──> completed or failed
                     └──clear──> dropped, and never mentioned again

With the detection of turns each utterance is an item. Without, an item has all utterances up to the commit: one that
is too long is cut in two. Deltas have committed words only, and are never taken back.
"""

from dataclasses import dataclass, field
from math import log
from string import ascii_uppercase
from typing import Any

from livecaption.captions.appended import appended
from livecaption.events import CaptionWord, ErrorReport, Final, Partial, SpeechEnd, SpeechStart
from livecaption.live.dialects.openai_errors import error_object

MIN_COMMIT_MS = 100
"""Audio in ms without which a commit is an error, as at OpenAI."""
TRANSCRIPTION = "conversation.item.input_audio_transcription"
NOBODY = "unknown"
"""The speaker of words that nobody is certain of. OpenAI's clients need a text."""
MIN_CONFIDENCE = 1e-6
"""The confidence of a word, at least, of which the logarithm is taken."""

WireEvent = dict[str, Any]
"""An event for the client, without its `event_id`."""


@dataclass(slots=True)
class Item:
    """One item.

    Attributes:
        id: its id on the wire.
        awaited: for each utterance without a final, in order, its committed words so far.
        finals: the finals that have come, in order.
        sent: the deltas of the oldest utterance without a final. Those before it are never looked at again.
        has_deltas: whether there are any deltas, of any utterance.
        start_ms, end_ms: its audio in stream time.
        audio_ms: the length of its audio.
        is_committed: whether the client got `committed`; then it is owed an answer.
        is_dropped: whether the client has cleared it.
        failure: why a final of it has no answer of the engine; None: all have.
    """

    id: str
    awaited: dict[int, str] = field(default_factory=dict)
    finals: list[Final] = field(default_factory=list)
    sent: str = ""
    has_deltas: bool = False
    start_ms: int = 0
    end_ms: int = 0
    audio_ms: int = 0
    is_committed: bool = False
    is_dropped: bool = False
    failure: ErrorReport | None = None

    def grow(self) -> str:
        """Return the text that is certain and was not sent yet.

        The end of the oldest utterance without a final is open, so nothing behind it can be sent.
        """
        return self._append(next(iter(self.awaited.values()), ""))

    def close(self, final: Final) -> str:
        """Take the final of the oldest utterance without one. Return the text that was not sent yet."""
        del self.awaited[final.utterance]
        self.finals.append(final)
        new = self._append(final.text)
        self.sent = ""
        return new + self.grow()

    def _append(self, text: str) -> str:
        new = appended(self.sent, text)
        if not new:
            return ""
        gap = " " if self.has_deltas and not self.sent else ""
        self.sent += new
        self.has_deltas = True
        return gap + new

    @property
    def transcript(self) -> str:
        return " ".join(final.text for final in self.finals if final.text)

    @property
    def is_done(self) -> bool:
        """True if it is committed, and no final of it is awaited."""
        return self.is_committed and not self.awaited


class Items:
    """All items of one client.

    Args:
        prefix: the beginning of their ids, which differs from that of other clients.

    Attributes:
        detects_turns: whether silence ends an item.
        has_logprobs: whether the client wants the probabilities of words.
        padding_ms, silence_ms: audio before and behind the voice that belongs to a detected turn.
    """

    def __init__(self, prefix: str) -> None:
        self.detects_turns = True
        self.has_logprobs = False
        self.padding_ms = self.silence_ms = 0
        self._prefix = prefix
        self._n_items = 0
        self._open: Item | None = None  # the one that is not committed
        self._of_utterance: dict[int, Item] = {}  # of those whose finals are awaited
        self._previous: str | None = None  # id of the newest committed one
        self._failure: ErrorReport | None = None  # of the next final

    def start(self, event: SpeechStart) -> list[WireEvent]:
        """Begin an utterance."""
        item = self._open
        is_new = item is None
        if item is None:
            item = self._open = self._new(max(0, event.start_ms - self.padding_ms))
        item.awaited[event.utterance] = ""
        self._of_utterance[event.utterance] = item
        if not (is_new and self.detects_turns):
            return []
        return [
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": item.start_ms, "item_id": item.id},
        ]

    def partial(self, event: Partial) -> list[WireEvent]:
        """Take the committed words of an utterance."""
        item = self._of_utterance[event.utterance]
        item.awaited[event.utterance] = event.stable
        return _delta(item, item.grow())

    def end(self, event: SpeechEnd) -> list[WireEvent]:
        """End an utterance, and with it the item, if silence or the end of the stream does so."""
        item = self._of_utterance[event.utterance]
        item.end_ms = event.end_ms + (self.silence_ms if event.reason == "silence" else 0)
        stopped: list[WireEvent] = []
        if self.detects_turns:
            stopped = [{"type": "input_audio_buffer.speech_stopped", "audio_end_ms": item.end_ms, "item_id": item.id}]
        if event.reason == "discard":
            self.drop()
        elif event.reason in ("stop", "disconnect") or (self.detects_turns and event.reason != "flush"):
            return stopped + self.commit(item.end_ms - item.start_ms)
        return stopped

    def final(self, event: Final) -> list[WireEvent]:
        """Take the final of an utterance."""
        item = self._of_utterance.pop(event.utterance)
        new = item.close(event)
        if self._failure is not None:
            item.failure, self._failure = self._failure, None
        if item.is_dropped:
            return []
        return _delta(item, new) + _segments(item, event) + self._answer(item)

    def fail(self, failure: ErrorReport) -> None:
        """Note that the engine has failed to answer for the next final."""
        self._failure = failure

    def commit(self, audio_ms: int) -> list[WireEvent]:
        """Commit the open item, or one without speech if there is enough audio. Empty: there is too little.

        Args:
            audio_ms: the audio since the last commit.
        """
        if self._open is None:
            if audio_ms < MIN_COMMIT_MS:
                return []
            self._open = self._new(0)
        item, self._open = self._open, None
        item.is_committed = True
        item.audio_ms = audio_ms
        before, self._previous = self._previous, item.id
        about = {"item_id": item.id, "previous_item_id": before}
        content = [{"type": "input_audio", "transcript": None}]
        message = {"id": item.id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user"}
        created = {"previous_item_id": before, "item": {**message, "content": content}}
        return [
            {"type": "input_audio_buffer.committed", **about},
            {"type": "conversation.item.added", **created},
            {"type": "conversation.item.done", **created},
            *self._answer(item),
        ]

    def drop(self) -> None:
        """Drop the open item, if there is one. Those that are committed stay."""
        if self._open is not None:
            self._open.is_dropped = True
            self._open = None

    def _new(self, start_ms: int) -> Item:
        self._n_items += 1
        return Item(f"{self._prefix}{self._n_items}", start_ms=start_ms)

    def _answer(self, item: Item) -> list[WireEvent]:
        """Return the last event of an item, if all is known."""
        if not item.is_done:
            return []
        about = {"item_id": item.id, "content_index": 0, "transcript": item.transcript}
        if (failure := item.failure) is not None:
            return [{"type": f"{TRANSCRIPTION}.failed", **about, "error": error_object(failure.message, failure.code)}]
        finals = item.finals
        completed = {**about, "usage": {"type": "duration", "seconds": item.audio_ms / 1000}}
        if codes := dict.fromkeys(final.language for final in finals if final.text and final.language):
            completed["languages"] = [{"code": code} for code in codes]
        if finals:
            completed["start"], completed["end"] = finals[0].start_ms / 1000, finals[-1].end_ms / 1000
        if self.has_logprobs:
            completed["logprobs"] = [_logprob(word) for final in finals for word in final.words or ()]
        return [{"type": f"{TRANSCRIPTION}.completed", **completed}]


def speaker_letters(speaker: int | None) -> str:
    """Return a speaker as OpenAI has it: A, B and so on, AA after Z."""
    if speaker is None:
        return NOBODY
    before, last = divmod(speaker - 1, len(ascii_uppercase))
    return (speaker_letters(before) if before else "") + ascii_uppercase[last]


def _delta(item: Item, new: str) -> list[WireEvent]:
    return [{"type": f"{TRANSCRIPTION}.delta", "item_id": item.id, "content_index": 0, "delta": new}] if new else []


def _segments(item: Item, final: Final) -> list[WireEvent]:
    """Return an event for each turn of a final; none if speakers are not distinguished."""
    return [
        {
            "type": f"{TRANSCRIPTION}.segment",
            "id": f"{item.id}_{final.utterance}_{number}",
            "item_id": item.id,
            "content_index": 0,
            "text": turn.text.strip(),
            "speaker": speaker_letters(turn.speaker),
            "start": turn.start_ms / 1000,
            "end": turn.end_ms / 1000,
        }
        for number, turn in enumerate(final.turns or ())
    ]


def _logprob(word: CaptionWord) -> dict[str, Any]:
    probability = log(max(word.confidence, MIN_CONFIDENCE))
    return {"token": word.word, "logprob": round(probability, 4), "bytes": list(word.word.encode())}
