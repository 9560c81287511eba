"""Translations wait in their order, and few of each session."""

import numpy as np

from livecaption.recognition import RequestId, SessionId, TranslationTask, Window
from livecaption.scheduling.request import Request
from livecaption.scheduling.translations import MAX_WAITING, WaitingTranslations

SILENCE = np.zeros(160, np.float32)


def translation(number: int, session: str = "a", utterance: int | None = None) -> Request:
    window = Window(SILENCE, translation=TranslationTask("en", "Eins."))
    utterance = number if utterance is None else utterance
    return Request(RequestId(number), SessionId(session), utterance, float(number), window)


def test_a_translation_is_neither_a_final_nor_a_partial() -> None:
    request = translation(1)
    assert (request.is_translation, request.is_final, request.is_partial) == (True, False, False)


def test_the_oldest_translation_is_taken_first() -> None:
    waiting = WaitingTranslations()
    requests = [translation(1), translation(2, "b"), translation(3)]
    assert [waiting.add(request) for request in requests] == [[], [], []]
    assert [waiting.take(), waiting.take(), waiting.take(), waiting.take()] == [*requests, None]


def test_a_session_with_too_many_translations_loses_its_oldest() -> None:
    """Translations of one final go together, into however many languages."""
    waiting = WaitingTranslations()
    requests = [translation(number, utterance=number // 3) for number in range(3 * MAX_WAITING)]
    other = translation(99, "b")
    for request in [other, *requests]:
        assert waiting.add(request) == []
    assert waiting.add(translation(100, utterance=MAX_WAITING)) == requests[:3]
    assert waiting.add(translation(101, utterance=MAX_WAITING)) == []
    assert waiting.take() == other
    assert waiting.take() == requests[3]


def test_a_session_that_is_barred_gets_no_translation_until_it_is_forgotten() -> None:
    waiting = WaitingTranslations()
    first, other, second = translation(1), translation(2, "b"), translation(3)
    waiting.add(first)
    waiting.add(other)
    assert waiting.bar(SessionId("a")) == [first]
    assert waiting.add(second) == [second]
    waiting.forget(SessionId("a"))
    assert waiting.add(second) == []
    assert (len(waiting), waiting.clear(), len(waiting)) == (2, [other, second], 0)
