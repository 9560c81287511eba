"""Ask for the translations of finals, and turn the answers into events.

A final is translated once it is sent, into each language of the stream's tracks. A translation may be missing: the
engine failed, or had no time. No event reports that, and the original stands in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from livecaption.errors import EngineError
from livecaption.events import Final, Translation
from livecaption.recognition import Hypothesis, RequestId, Task
from livecaption.scheduling.request import Request
from livecaption.speech.utterance import Utterance

Ask = Callable[[Utterance, Final, str, float], Request]
"""Makes the request for the translation of a final into a language: see `RequestBuilder.translate`."""


class Translations:
    """The translations of one channel's finals that are awaited.

    Args:
        languages: the tracks of the stream.
        task: what the finals are; after `translate` they are in English already.
        ask: makes a request.
    """

    def __init__(self, languages: Sequence[str], task: Task, ask: Ask) -> None:
        self._languages = languages
        self._task = task
        self._ask = ask
        self._utterances: dict[int, Utterance] = {}  # those whose finals are awaited, by number
        self._awaited: set[RequestId] = set()

    def __bool__(self) -> bool:
        """Return True if a translation is awaited."""
        return bool(self._awaited)

    def note_end(self, utterance: Utterance) -> None:
        """Keep an utterance until its final is sent."""
        if self._languages:
            self._utterances[utterance.number] = utterance

    def translate(self, final: Final, now_s: float) -> list[Translation | Request]:
        """Translate a final that is sent now. In its own language it is the translation already."""
        utterance = self._utterances.pop(final.utterance, None)
        spoken = "en" if self._task == "translate" else final.language
        if utterance is None or not final.text or spoken is None:
            return []
        outputs: list[Translation | Request] = []
        for language in self._languages:
            if language == spoken:
                outputs.append(Translation(final.utterance, language, final.text))
            else:
                request = self._ask(utterance, replace(final, language=spoken), language, now_s)
                self._awaited.add(request.id)
                outputs.append(request)
        return outputs

    def receive_answer(self, request: Request, answer: Hypothesis | EngineError) -> list[Translation]:
        """Take the answer to a request; nothing follows if it failed."""
        self._awaited.discard(request.id)
        task = request.window.translation
        if task is None or not isinstance(answer, Hypothesis) or not answer.text:
            return []
        return [Translation(request.utterance, task.language, answer.text)]
