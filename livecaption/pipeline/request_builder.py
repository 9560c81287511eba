"""Turn utterances into requests, with the text and audio that precede them.

A model transcribes a window better with what precedes it: the language, the text so far, and with spare capacity the
audio of the preceding utterance. This module keeps what later windows need of earlier ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from livecaption.audio import ms_of, samples_of
from livecaption.events import Final
from livecaption.pipeline.final_queue import FinalQueue
from livecaption.recognition import (
    Analysis,
    PrecedingUtterance,
    RequestId,
    SessionId,
    TranscriptionOptions,
    TranslationTask,
    Window,
)
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request
from livecaption.speech.utterance import Utterance

MAX_CONTEXT_CHARACTERS = 300
"""Length of the text that goes with a window; more than the engine uses."""
MIN_CONTEXT_CONFIDENCE = 0.4
"""Minimum confidence of a final before it is used as context. Text of low confidence makes later text worse."""
MAX_PRECEDING_GAP_MS = 600
"""Longest gap in ms between the windows of two utterances, with pre-roll and post-roll, at which the first one's audio
goes with the second one. See docs/decisions/0017-preceding-utterance.md."""
MAX_JOINT_MS = 14_000
"""Longest audio in ms of two utterances in one request: docs/decisions/0017-preceding-utterance.md."""

_NO_AUDIO = np.empty(0, np.float32)


class RequestBuilder:
    """Builder of the requests of one stream.

    Args:
        session: the session of the requests.
        transcription: the options that the publisher requested.
        service_level: returns what the workers can do now.
        next_request_id: returns an id that no other request has.
        finals: has the newest final.
        earlier: the finals of an earlier server, in order.
    """

    def __init__(
        self,
        session: SessionId,
        transcription: TranscriptionOptions,
        service_level: Callable[[], ServiceLevel],
        next_request_id: Callable[[], RequestId],
        finals: FinalQueue,
        earlier: Sequence[Final] = (),
    ) -> None:
        self._session = session
        self._transcription = transcription
        self._service_level = service_level
        self._next_request_id = next_request_id
        self._finals = finals
        self._context = ""  # end of the text so far in this language
        self._context_until = 0  # number of its last utterance
        self._likely_language: str | None = None
        self._ended_utterance: Utterance | None = None  # the newest, as long as its audio may go with the next one
        self._audio_before = _NO_AUDIO  # its audio, up to the window of the next one
        self._open_number: int | None = None  # of the utterance with the newest request, until it ends
        self._analyses: dict[int, Analysis] = {}  # of these two utterances
        for final in earlier:
            self.note_final(final)

    @property
    def awaits_final(self) -> bool:
        """True if the final of an ended utterance is awaited, so the newest text is not known."""
        return self._finals.oldest is not None

    def configure(self, transcription: TranscriptionOptions) -> None:
        """Replace the options, for all later requests."""
        self._transcription = transcription

    def build(
        self, utterance: Utterance, committed: str, language: str | None, *, is_final: bool, now_s: float
    ) -> Request:
        """Request the transcription of an utterance.

        Args:
            utterance: its audio.
            committed: the words with which its text begins.
            language: the language of the utterance; None: the engine detects it.
            is_final: whether the request is for a final.
            now_s: monotonic time.
        """
        self._open_number = utterance.number
        window = self._window(utterance, committed, language, is_final=is_final)
        return Request(self._next_request_id(), self._session, utterance.number, now_s, window, utterance.window_start)

    def translate(self, utterance: Utterance, final: Final, language: str, now_s: float) -> Request:
        """Request the translation of a final, whose language is known, into another one."""
        window = Window(
            utterance.samples,
            replace(self._transcription, language=final.language, words=False, speakers=False),
            effort=self._service_level().effort,
            translation=TranslationTask(language, final.text),
            analysis=self._analyses.get(utterance.number),
        )
        return Request(self._next_request_id(), self._session, utterance.number, now_s, window, utterance.window_start)

    def refresh(
        self, partial: Request, utterance: Utterance, committed: str, language: str | None, now_s: float
    ) -> Request:
        """Put the newest audio of its utterance into a request for a partial."""
        window = self._window(utterance, committed, language, is_final=False)
        return replace(partial, asked_s=now_s, window=window, window_start=utterance.window_start)

    def note_final(self, final: Final) -> None:
        """Take the language and the text of a final, for later windows, unless the text after it is known already."""
        if not final.text or final.confidence < MIN_CONTEXT_CONFIDENCE or final.utterance < self._context_until:
            return
        language = final.language or ""
        before = self._context if language == self._likely_language else ""
        self._context = f"{before} {final.text}"[-MAX_CONTEXT_CHARACTERS:]
        self._context_until = final.utterance
        self._likely_language = language

    def note_analysis(self, request: Request, new: Analysis | None) -> None:
        """Take what an engine has computed of the window of a request, for later windows that begin with that audio."""
        number, before = request.utterance, request.window.analysis
        ended = self._ended_utterance
        if new is None or number not in (self._open_number, ended and ended.number):
            return
        if before is None and new.first_chunk:
            return  # of a broken engine
        analysis = new.copy() if before is None else before.then(new)
        known = self._analyses.get(number)
        # The answer to an older request may come later.
        if known is None or len(analysis.bands) > len(known.bands):
            self._analyses[number] = analysis

    def note_end(self, utterance: Utterance) -> None:
        """Keep the audio of an utterance that has ended, if there is capacity to transcribe it with the next one."""
        analysis = self._analyses.get(utterance.number)
        self.forget_audio()
        if self._service_level().effort == "full":
            self._ended_utterance = utterance
            if analysis is not None:
                self._analyses[utterance.number] = analysis

    def forget_distant(self, next_start: int) -> None:
        """Drop the ended utterance if the next one, which starts here or later, is too far from it.

        Its audio would occupy 1.2 MB during a silence.
        """
        ended = self._ended_utterance
        if ended is not None and next_start - ended.window_end > samples_of(MAX_PRECEDING_GAP_MS):
            self.forget_audio()

    def forget_audio(self) -> None:
        """Drop the ended utterance, because none follows it. No utterance is open."""
        self._ended_utterance = self._open_number = None
        self._audio_before = _NO_AUDIO
        self._analyses.clear()

    def _window(self, utterance: Utterance, committed: str, language: str | None, *, is_final: bool) -> Window:
        options = self._transcription
        if options.language is None:
            options = replace(options, language=language)
        # With the capacity for early finals there is capacity to do them well.
        effort = self._service_level().effort
        before = self._preceding(utterance, options.language) if effort == "full" else None
        # With reduced effort the context misleads more than it helps, except after a cut at the length limit. So does
        # text that other words follow: docs/decisions/0042-recordings.md.
        oldest = self._finals.oldest
        has_text_before = oldest is None or oldest.utterance.number == utterance.number
        context = self._context if (effort == "full" and has_text_before) or self._goes_on(utterance) else ""
        return Window(
            utterance.samples,
            options,
            is_final,
            committed,
            context,
            effort,
            before,
            self._likely_language,
            analysis=self._analyses.get(utterance.number),
        )

    def _goes_on(self, utterance: Utterance) -> bool:
        """Return whether the utterance begins where the newest final ends, and that final has enough confidence.

        That is so after a cut at the length limit or by a flush.
        """
        final = self._finals.newest
        if final is None or final.confidence < MIN_CONTEXT_CONFIDENCE:
            return False
        return final.end_ms == ms_of(utterance.start)

    def _preceding(self, utterance: Utterance, language: str | None) -> PrecedingUtterance | None:
        """Return the preceding utterance, if its words are known, in the same language, and it is near and short.

        No language is detected with it: that of the longer of two utterances would be found.
        """
        ended, final = self._ended_utterance, self._finals.newest
        if ended is None or final is None:
            return None
        if final.utterance != ended.number or final.confidence < MIN_CONTEXT_CONFIDENCE or final.language != language:
            return None
        gap = utterance.window_start - ended.window_end
        n_before = utterance.window_start - ended.window_start
        # The gap is negative if a rechecked endpoint let this utterance begin within the window of the other.
        if not 0 <= gap <= samples_of(MAX_PRECEDING_GAP_MS):
            return None
        if n_before + len(utterance.samples) > samples_of(MAX_JOINT_MS):
            return None
        # All windows of an utterance begin at the same sample, so the copy is made once.
        if len(self._audio_before) != n_before:
            self._audio_before = np.pad(ended.samples, (0, gap))
        return PrecedingUtterance(
            self._audio_before,
            final.text,
            ms_of(ended.end - ended.window_start),
            ms_of(utterance.start - ended.window_start),
            gap,
            self._analyses.get(ended.number),
        )
