"""Keep the finals of ended utterances, from their requests until they are sent.

    AwaitedFinal --answer, failure or discard--> Final --all before it are sent--> released

Finals are answered in any order and released in the order of their utterances. Marks of flushes are in the same queue.
Speakers are numbered in the order of the release.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from livecaption.audio import ms_of
from livecaption.captions.casing import join_case
from livecaption.captions.speakers import Speakers
from livecaption.captions.stabilizer import Stabilizer
from livecaption.events import CaptionWord, Event, Final, Flushed
from livecaption.pipeline.latency import Latency
from livecaption.recognition import Hypothesis, RequestId, TranscriptionOptions
from livecaption.speech.utterance import Utterance


@dataclass(slots=True)
class AwaitedFinal:
    """The promised final of one utterance. Times are monotonic.

    Attributes:
        utterance: the utterance with its audio.
        stabilizer: has the committed words.
        options: the options of the stream.
        awaited_s: when the utterance ended.
        last_voiced_s: when the last voice of the utterance arrived.
        first_caption_due_since_s: when its first voice arrived; None: no first caption is due.
        request: id of the request whose answer is the final; None while there is none.
        event: the final; None while it is awaited.
        received: the engine's answer, which has the voices; None: there is none.
    """

    utterance: Utterance
    stabilizer: Stabilizer
    options: TranscriptionOptions
    awaited_s: float
    last_voiced_s: float
    first_caption_due_since_s: float | None
    request: RequestId | None = None
    event: Final | None = None
    received: Hypothesis | None = None

    def answer(self, hypothesis: Hypothesis, now_s: float) -> Final:
        """Turn the engine's answer into the final, which keeps the committed words."""
        text = self.stabilizer.final(hypothesis.text)
        self.received = hypothesis
        self.event = self._final(replace(hypothesis, text=text), now_s)
        return self.event

    def fail(self, now_s: float) -> None:
        """Turn the committed words into the final, because there is no answer."""
        self.event = self._final(self._without_answer(self.stabilizer.committed), now_s)

    def discard(self, now_s: float) -> None:
        """Make the final empty, so that readers remove the partials of the utterance."""
        self.event = self._final(self._without_answer(""), now_s)

    def latencies(self, now_s: float) -> Iterator[Latency]:
        """Measure the delays of a final that was answered now."""
        if self.first_caption_due_since_s is not None and self.event is not None and self.event.text:
            yield Latency("first_partial", now_s - self.first_caption_due_since_s)
        yield Latency("final", now_s - self.last_voiced_s)

    def _without_answer(self, text: str) -> Hypothesis:
        return Hypothesis(text, self.options.language or "", confidence=0.0, no_speech_probability=1.0)

    def _final(self, hypothesis: Hypothesis, now_s: float) -> Final:
        start_ms, end_ms = ms_of(self.utterance.start), ms_of(self.utterance.end)
        words = None
        if self.options.words:
            window_ms = ms_of(self.utterance.window_start)
            words = tuple(
                CaptionWord(
                    word.text,
                    # The model counts the silence around the speech among the first and the last word.
                    min(max(window_ms + word.start_ms, start_ms), end_ms),
                    min(max(window_ms + word.end_ms, start_ms), end_ms),
                    round(word.confidence, 3),
                )
                for word in hypothesis.words
            )
        return Final(
            utterance=self.utterance.number,
            text=hypothesis.text,
            start_ms=start_ms,
            end_ms=end_ms,
            language=hypothesis.language or None,
            confidence=round(hypothesis.confidence, 3) if hypothesis.text else 0.0,
            latency_ms=max(0, round((now_s - self.last_voiced_s) * 1000)),
            words=words,
        )


class FinalQueue:
    """Finals and marks of flushes, in the order in which they are sent.

    Args:
        newest: the newest final of an earlier server.
        speakers: distinguishes the speakers of the finals; None: they are not wanted.

    Attributes:
        newest: the newest final that was released and has text; None: there is none.
    """

    def __init__(self, newest: Final | None = None, speakers: Speakers | None = None) -> None:
        self.newest = newest
        self._speakers = speakers
        self._items: deque[AwaitedFinal | Flushed] = deque()

    @property
    def is_empty(self) -> bool:
        """True if everything that was promised is released."""
        return not self._items

    @property
    def oldest(self) -> AwaitedFinal | None:
        """The next final to be released; None: none is awaited."""
        return next(self._finals(), None)

    @property
    def oldest_unanswered(self) -> AwaitedFinal | None:
        """The final that has been awaited for longest; None: all are answered."""
        return next((final for final in self._finals() if final.event is None), None)

    @property
    def backlog_ms(self) -> int:
        """Audio of ended utterances whose finals are not released yet, in ms."""
        if not self._items:
            return 0  # as after nearly every message
        return sum(ms_of(final.utterance.window_end - final.utterance.window_start) for final in self._finals())

    def append(self, item: AwaitedFinal | Flushed) -> None:
        """Promise this final or mark, after everything that was promised before."""
        self._items.append(item)

    def find(self, request: RequestId) -> AwaitedFinal | None:
        """Return the final that this request is for; None: it is for none, or the final is released."""
        return next((final for final in self._finals() if final.request == request), None)

    def release(self) -> list[Event]:
        """Remove and return everything at the head of the queue that is no longer awaited."""
        released: list[Event] = []
        while self._items:
            match self._items[0]:
                case AwaitedFinal(event=None):
                    break
                case AwaitedFinal(event=Final() as final) as awaited:
                    released.append(self._with_speakers(self._join_case(final), awaited))
                case Flushed() as mark:
                    released.append(mark)
            self._items.popleft()
        return released

    def _with_speakers(self, final: Final, awaited: AwaitedFinal) -> Final:
        if self._speakers is None:
            return final
        return self._speakers.attribute(final, awaited.received, ms_of(awaited.utterance.window_start))

    def _join_case(self, final: Final) -> Final:
        """Adapt the case of the first letter to the end of the final that was released before."""
        if self.newest is not None:
            continues = final.start_ms == self.newest.end_ms
            final = _with_case(final, join_case(final.text, self.newest.text, continues=continues))
        if final.text:
            self.newest = final
        return final

    def _finals(self) -> Iterator[AwaitedFinal]:
        return (item for item in self._items if isinstance(item, AwaitedFinal))


def _with_case(final: Final, text: str) -> Final:
    """Return the final with this text, whose first letter may have another case. So has that of its first word."""
    words = final.words
    # Where committed words stay, the engine's first word may be another one.
    if words and final.text and words[0].word.startswith(final.text[0]):
        letters = text[: len(text) - len(final.text) + 1]  # as a capital, one letter may be two
        words = (replace(words[0], word=letters + words[0].word[1:]), *words[1:])
    return replace(final, text=text, words=words)
