"""The items of a client: which events they give, in which order."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.appended import appended
from livecaption.events import CaptionWord, ErrorReport, Final, Partial, SpeechEnd, SpeechStart, Turn
from livecaption.live.dialects import openai_items
from livecaption.live.dialects.openai_items import Items, speaker_letters
from tests.support.cases import for_each

COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]


def detecting() -> Items:
    items = Items("i")
    items.padding_ms, items.silence_ms = 300, 500
    return items


def manual() -> Items:
    items = detecting()
    items.detects_turns = False
    return items


def partial(utterance: int, stable: str, tail: str = "") -> Partial:
    return Partial(utterance, 0, stable + tail, stable, 1000, 2000)


def final(utterance: int, text: str, **fields: Any) -> Final:
    return Final(utterance, text, 1000, 2000, "en", 0.9 if text else 0.0, 300, **fields)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"].endswith(".delta"))


def test_a_detected_turn_in_order() -> None:
    items = detecting()
    (started,) = items.start(SpeechStart(0, 1200))
    assert started == {"type": "input_audio_buffer.speech_started", "audio_start_ms": 900, "item_id": "i1"}
    (delta,) = items.partial(partial(0, "Doors open", " at nein"))
    assert (delta["item_id"], delta["content_index"], delta["delta"]) == ("i1", 0, "Doors open")
    assert items.partial(partial(0, "Doors open", " at nine")) == []
    assert text_of(items.partial(partial(0, "Doors open at", " nine"))) == " at"
    stopped, *committed = items.end(SpeechEnd(0, 3400, "silence"))
    assert stopped == {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 3900, "item_id": "i1"}
    assert kinds(committed) == COMMITTED
    assert (committed[0]["item_id"], committed[0]["previous_item_id"]) == ("i1", None)
    assert committed[1]["item"] == {
        "id": "i1",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    delta, completed = items.final(final(0, "Doors open at nine."))
    assert delta["delta"] == " nine."
    assert completed == {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i1",
        "content_index": 0,
        "transcript": "Doors open at nine.",
        "usage": {"type": "duration", "seconds": 3.0},
        "languages": [{"code": "en"}],
        "start": 1.0,
        "end": 2.0,
    }


def test_each_item_names_the_one_before() -> None:
    items = detecting()
    for number in range(3):
        items.start(SpeechStart(number, 0))
        committed = items.end(SpeechEnd(number, 1000, "silence"))[1]
        assert committed["previous_item_id"] == (f"i{number}" if number else None)


def test_answers_to_items_may_come_after_later_items_have_begun() -> None:
    items = detecting()
    items.start(SpeechStart(0, 0))
    items.end(SpeechEnd(0, 1000, "max_length"))
    items.start(SpeechStart(1, 1000))
    assert [event["item_id"] for event in items.partial(partial(1, "and"))] == ["i2"]
    assert [event["item_id"] for event in items.final(final(0, "So"))] == ["i1", "i1"]


@for_each(
    ("committed", "text", "rest"),
    [
        ("hello world", "Hello, world. More to come.", " More to come."),
        ("hello world", "Hello, world.", ""),
        ("two words", "One", ""),
        ("東京", "東京。タワー", "。タワー"),
    ],
)
def test_words_that_the_final_spells_otherwise_are_not_sent_again(committed: str, text: str, rest: str) -> None:
    items = detecting()
    items.start(SpeechStart(0, 0))
    items.partial(partial(0, committed))
    items.end(SpeechEnd(0, 1000, "silence"))
    events = items.final(final(0, text))
    assert text_of(events) == rest
    assert events[-1]["transcript"] == text


def test_a_turn_that_the_client_ends_has_all_utterances_before_the_commit() -> None:
    items = manual()
    assert items.start(SpeechStart(0, 0)) == []
    assert text_of(items.partial(partial(0, "A long"))) == "A long"
    assert items.end(SpeechEnd(0, 15_000, "max_length")) == []
    assert items.start(SpeechStart(1, 15_000)) == []
    assert items.partial(partial(1, "that goes")) == [], "the end of the first part is not known yet"
    assert text_of(items.final(final(0, "A long sentence"))) == " sentence that goes"
    assert items.end(SpeechEnd(1, 17_000, "flush")) == []
    assert kinds(items.commit(17_500)) == COMMITTED
    delta, completed = items.final(final(1, "that goes on."))
    assert (delta["delta"], completed["transcript"]) == (" on.", "A long sentence that goes on.")
    assert completed["usage"] == {"type": "duration", "seconds": 17.5}


UTTERANCES = st.lists(
    st.tuples(st.lists(st.sampled_from(["so", "we", "go", "東京", "now"]), max_size=5), st.booleans(), st.booleans()),
    max_size=6,
)
"""The words of each, whether its final spells them otherwise, and whether its final comes behind later partials."""


@given(UTTERANCES)
def test_all_deltas_of_an_item_are_its_transcript_but_for_case_and_punctuation(
    utterances: list[tuple[list[str], bool, bool]],
) -> None:
    items = manual()
    events: list[dict[str, Any]] = []
    late: list[Final] = []
    for number, (words, respells, is_late) in enumerate(utterances):
        events += items.start(SpeechStart(number, 0))
        for n_words in range(0, len(words), 2):
            events += items.partial(partial(number, " ".join(words[:n_words])))
        events += items.end(SpeechEnd(number, 1000, "max_length"))
        said = ", ".join(words).title() if respells else " ".join(words)
        late.append(final(number, f"{said}." if words else ""))
        while late and not is_late:
            events += items.final(late.pop(0))
    events += items.commit(1000)
    for each in late:
        events += items.final(each)
    transcript = events[-1]["transcript"]
    assert _letters(text_of(events)) == _letters(transcript)
    if not any(respells for _, respells, _ in utterances):
        assert text_of(events) == transcript


def test_each_event_costs_one_utterance_however_long_the_item_is(monkeypatch: pytest.MonkeyPatch) -> None:
    items, longest = manual(), 0

    def measured(sent: str, text: str) -> str:
        nonlocal longest
        longest = max(longest, len(sent), len(text))
        return appended(sent, text)

    monkeypatch.setattr(openai_items, "appended", measured)
    for number in range(50):
        items.start(SpeechStart(number, 0))
        items.partial(partial(number, "so we will go"))
        items.end(SpeechEnd(number, 1000, "max_length"))
        items.final(final(number, "So, we will go now."))
    assert longest == len("So, we will go now.")


def test_a_commit_without_speech_has_an_empty_answer_and_without_audio_none() -> None:
    items = manual()
    assert items.commit(99) == []
    *committed, completed = items.commit(100)
    assert kinds(committed) == COMMITTED
    assert (completed["transcript"], completed["item_id"], completed["usage"]["seconds"]) == ("", "i1", 0.1)
    assert "languages" not in completed


@pytest.mark.parametrize("detects_turns", [True, False])
def test_cleared_audio_is_never_mentioned_again(detects_turns: bool) -> None:
    items = detecting()
    items.detects_turns = detects_turns
    items.start(SpeechStart(0, 0))
    items.partial(partial(0, "never"))
    ended = items.end(SpeechEnd(0, 1000, "discard"))
    assert kinds(ended) == (["input_audio_buffer.speech_stopped"] if detects_turns else [])
    assert items.final(final(0, "")) == []
    assert items.commit(0) == []


def test_a_clear_takes_back_all_parts_of_a_long_turn() -> None:
    items = manual()
    items.start(SpeechStart(0, 0))
    items.end(SpeechEnd(0, 15_000, "max_length"))
    items.drop()
    assert items.final(final(0, "never")) == []
    assert items.commit(0) == []


def test_a_clear_does_not_touch_what_is_committed() -> None:
    items = detecting()
    items.start(SpeechStart(0, 0))
    items.end(SpeechEnd(0, 1000, "flush"))
    items.commit(1000)
    items.drop()
    assert items.final(final(0, "kept"))[-1]["transcript"] == "kept"


@for_each("reason", ["stop", "disconnect"])
def test_the_end_of_the_server_commits_also_where_the_client_ends_turns(reason: Any) -> None:
    items = manual()
    items.start(SpeechStart(0, 0))
    assert kinds(items.end(SpeechEnd(0, 1000, reason))) == COMMITTED


def test_an_item_whose_transcription_fails_has_what_is_known() -> None:
    items = detecting()
    for number in range(2):
        items.start(SpeechStart(number, 0))
        items.partial(partial(number, "known"))
        items.end(SpeechEnd(number, 1000, "silence"))
    assert kinds(items.final(final(0, ""))) == ["conversation.item.input_audio_transcription.completed"]
    items.fail(ErrorReport("transcription_failed", "it failed", fatal=False))
    (failed,) = items.final(Final(1, "known", 0, 1000, None, 0.0, 300))
    assert failed == {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": "i2",
        "content_index": 0,
        "transcript": "known",
        "error": {"type": "server_error", "code": "transcription_failed", "message": "it failed", "param": None},
    }


def test_probabilities_of_words_come_if_they_are_asked_for() -> None:
    items = detecting()
    items.has_logprobs = True
    items.start(SpeechStart(0, 0))
    items.end(SpeechEnd(0, 1000, "silence"))
    words = (CaptionWord("Grüße", 0, 500, 0.5), CaptionWord("x", 500, 900, 0.0))
    first, second = items.final(final(0, "Grüße x", words=words))[-1]["logprobs"]
    assert first == {"token": "Grüße", "logprob": -0.6931, "bytes": list("Grüße".encode())}
    assert second["logprob"] < -10


@for_each(
    ("speaker", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (53, "BA"), (702, "ZZ"), (None, "unknown")]
)
def test_speakers_are_letters(speaker: int | None, letters: str) -> None:
    assert speaker_letters(speaker) == letters


def test_each_turn_of_a_final_is_a_segment_behind_its_text_and_before_the_end_of_the_item() -> None:
    items = detecting()
    items.start(SpeechStart(0, 1000))
    items.end(SpeechEnd(0, 2000, "silence"))
    turns = (Turn(1, "Doors open. ", 1000, 1400), Turn(None, "At nine.", 1500, 2000))
    delta, first, second, completed = items.final(final(0, "Doors open. At nine.", turns=turns))
    assert delta["type"].endswith(".delta")
    assert completed["type"].endswith(".completed")
    about = {"type": "conversation.item.input_audio_transcription.segment", "item_id": "i1", "content_index": 0}
    times = {"start": 1.0, "end": 1.4}
    assert first == {**about, **times, "id": "i1_0_0", "text": "Doors open.", "speaker": "A"}
    assert (second["id"], second["text"], second["speaker"]) == ("i1_0_1", "At nine.", "unknown")


def _letters(text: str) -> str:
    return re.sub("[,.]", "", text).casefold()
