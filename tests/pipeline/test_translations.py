"""Finals are translated once they are sent, and nothing waits for that."""

from livecaption.audio.formats import AudioFormat
from livecaption.errors import TranscriptionFailed
from livecaption.events import Final, SpeechEnd, Translation
from livecaption.pipeline.stream import LAST_TRANSLATIONS_S, StreamPipeline
from livecaption.recognition import Hypothesis, TranscriptionOptions, TranslationTask
from livecaption.scheduling.request import Request
from tests.support.cases import for_each
from tests.support.pipeline import SPECULATIVE, TWO_UTTERANCES, events, feed, new_stream, requests

FAILED = TranscriptionFailed("the engine failed", fatal=False)


def spoken(text: str, language: str = "de") -> Hypothesis:
    return Hypothesis(text, language, 0.9, 0.0)


def with_tracks(*tracks: str, **options: str) -> StreamPipeline:
    return new_stream(tracks=tracks, transcription=TranscriptionOptions(**options))


def asked(stream: StreamPipeline) -> list[Request]:
    return requests(feed(stream, TWO_UTTERANCES))


def test_each_final_is_followed_by_the_requests_for_its_translations() -> None:
    stream = with_tracks("en", "fr")
    first, second = asked(stream)
    assert stream.receive_answer(second, spoken("Zwei."), 1.0) == []
    outputs = stream.receive_answer(first, spoken("Eins."), 2.0)
    assert [type(output) for output in outputs] == [Final, Request, Request] * 2
    tasks = [(request.utterance, request.window.translation) for request in requests(outputs)]
    assert tasks == [
        (utterance, TranslationTask(language, text))
        for utterance, text in enumerate(("Eins.", "Zwei."))
        for language in ("en", "fr")
    ]


def test_a_translation_is_made_from_the_window_of_its_final_in_the_language_of_that() -> None:
    stream = with_tracks("en", prompt="Vorher.")
    first, _ = asked(stream)
    (request,) = requests(stream.receive_answer(first, spoken("Eins."), 1.0))
    assert request.is_translation
    assert (request.window_start, request.asked_s) == (first.window_start, 1.0)
    assert (request.window.samples == first.window.samples).all()
    assert request.window.options == TranscriptionOptions("de", prompt="Vorher.")


def test_the_answer_is_an_event_with_the_number_of_the_final() -> None:
    stream = with_tracks("en")
    first, _ = asked(stream)
    (request,) = requests(stream.receive_answer(first, spoken("Eins."), 1.0))
    assert stream.receive_answer(request, spoken("One."), 2.0) == [Translation(0, "en", "One.")]


@for_each("answer", [FAILED, spoken("")])
def test_a_translation_that_fails_is_missing_without_a_word(answer: Hypothesis | TranscriptionFailed) -> None:
    stream = with_tracks("en")
    first, _ = asked(stream)
    (request,) = requests(stream.receive_answer(first, spoken("Eins."), 1.0))
    assert stream.receive_answer(request, answer, 2.0) == []


def test_a_final_in_the_language_of_a_track_is_its_own_translation() -> None:
    stream = with_tracks("en", "de")
    first, _ = asked(stream)
    outputs = stream.receive_answer(first, spoken("Eins."), 1.0)
    assert [type(output) for output in outputs] == [Final, Request, Translation]
    assert outputs[2] == Translation(0, "de", "Eins.")


def test_finals_that_are_translated_already_are_in_english() -> None:
    stream = with_tracks("en", "fr", task="translate")
    first, _ = asked(stream)
    _, translation, request = stream.receive_answer(first, spoken("One."), 1.0)
    assert translation == Translation(0, "en", "One.")
    assert (request.window.options.language, request.window.translation) == ("en", TranslationTask("fr", "One."))


@for_each("answer", [FAILED, spoken(""), Hypothesis("Eins.", "", 0.9, 0.0)])
def test_a_final_without_text_or_language_is_not_translated(answer: Hypothesis | TranscriptionFailed) -> None:
    stream = with_tracks("en")
    first, _ = asked(stream)
    assert requests(stream.receive_answer(first, answer, 1.0)) == []


def test_a_stream_without_tracks_asks_for_no_translation() -> None:
    stream = new_stream()
    first, _ = asked(stream)
    assert [type(output) for output in stream.receive_answer(first, spoken("Eins."), 1.0)] == [Final]


def test_an_early_final_is_translated_too() -> None:
    stream = new_stream(tracks=("en",), service_level=lambda: SPECULATIVE)
    (early,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 400ms"))
    stream.receive_answer(early, spoken("Eins."), 1.0)
    outputs = feed(stream, "silence 600ms", 2.0)
    assert [type(output) for output in outputs] == [SpeechEnd, Final, Request]


def test_the_channels_that_are_apart_are_each_translated() -> None:
    stream = new_stream(tracks=("en",), audio=AudioFormat(channels=2), channel_mode="separate")
    outputs = feed(stream, TWO_UTTERANCES)  # every other sample is of another channel
    for request in requests(outputs):
        answered = stream.receive_answer(request, spoken("Eins."), 1.0)
        assert {each.session for each in requests(answered)} <= set(stream.request_ids)
        assert len(requests(answered)) == sum(isinstance(event, Final) for event in events(answered))


def test_the_end_waits_for_the_last_translation_and_not_for_ever() -> None:
    stream = with_tracks("en")
    first, second = asked(stream)
    (translation,) = requests(stream.receive_answer(first, spoken("Eins."), 1.0))
    stream.end("stop", 2.0)
    assert not stream.is_over(2.0)
    (last,) = requests(stream.receive_answer(second, spoken("Zwei."), 3.0))
    assert stream.drained
    stream.receive_answer(translation, spoken("One."), 4.0)
    assert not stream.is_over(3.0 + LAST_TRANSLATIONS_S - 0.1)
    assert stream.is_over(3.0 + LAST_TRANSLATIONS_S)
    stream.receive_answer(last, FAILED, 5.0)
    assert stream.is_over(5.0)
