"""Channels that are kept apart: each is captioned as if it were alone."""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.errors import TranscriptionFailed
from livecaption.events import ErrorReport, Event, Final, Flushed, Partial, SpeechEnd, SpeechStart
from livecaption.pipeline.channel import OVERLOADED_AFTER_S, PATIENCE_IN_SILENCE_S
from livecaption.pipeline.options import STREAM_START, ResumePoint
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import TranscriptionOptions
from livecaption.scheduling.request import Cancel, Request
from tests.support.cases import for_each, spread
from tests.support.pipeline import SPECULATIVE, USUAL_LEVEL, events, hypothesis, new_stream, requests
from tests.support.speech import pcm_s16le, sound

LEFT = "silence 300ms, speech 2200ms, silence 1100ms, speech 900ms, silence 1500ms"
RIGHT = "silence 1000ms, speech 3200ms, silence 900ms, speech 500ms, silence 400ms"
"""Both people speak at the same time for most of it."""


def together(*channels: npt.NDArray[np.float32]) -> bytes:
    """Interleave the samples of channels of equal length."""
    return pcm_s16le(np.stack(channels, axis=1))


def apart(
    n_channels: int = 2, sample_rate_hz: int = 16_000, resume_point: ResumePoint = STREAM_START, **options: object
) -> StreamPipeline:
    audio = AudioFormat("pcm_s16le", sample_rate_hz, n_channels)
    return new_stream(audio=audio, channel_mode="separate", resume_point=resume_point, **options)


def text_of(request: Request) -> str:
    """Return words that show which audio was transcribed: one for each half second."""
    window = request.window.samples
    return " ".join(f"w{abs(float(half.sum())):.2f}" for half in np.array_split(window, max(1, len(window) // 8000)))


def converse(stream: StreamPipeline, pieces: Iterable[bytes]) -> list[Event]:
    """Send the pieces and answer each request at once. Return all events up to the last final."""

    def act(outputs: list[Output]) -> list[Event]:
        seen: list[Event] = []
        for output in outputs:
            if isinstance(output, Request):
                request = output if output.is_final else stream.refresh(output, 0.0)
                seen += act(stream.receive_answer(request, hypothesis(text_of(request)), 0.0))
            elif isinstance(output, Event):
                seen.append(output)
        return seen

    seen = [event for piece in pieces for event in act(stream.receive_audio(piece, 0.0))]
    seen += act(stream.end("stop", 0.0))
    assert stream.drained
    return seen


def of_channel(seen: Iterable[Event], channel: int | None) -> list[Event]:
    """Return the events of the utterances of a channel, with numbers from 0 and without the channel."""
    numbers: dict[int, int] = {}
    found: list[Event] = []
    for event in seen:
        if isinstance(event, SpeechStart | Partial | SpeechEnd | Final) and event.channel == channel:
            number = numbers.setdefault(event.utterance, len(numbers))
            found.append(replace(event, utterance=number, channel=None))
    return found


def cut(data: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    ends = [0, *sorted(chance.choices(range(len(data) + 1), k=40)), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]


@for_each("sample_rate_hz", [16_000, 44_100])
@for_each(("level", "seed"), spread(itertools.product([USUAL_LEVEL, SPECULATIVE], range(3)), 2))
def test_each_channel_has_the_events_of_a_stream_of_that_channel_alone(
    sample_rate_hz: int, level: object, seed: int
) -> None:
    """The chunks are cut anywhere, also within a sample; those of the single streams end at the same samples."""
    channels = [sound(script, sample_rate_hz) for script in (LEFT, RIGHT)]
    pieces = cut(together(*channels), seed)
    options = {"partials": True, "service_level": lambda: level}
    seen = converse(apart(2, sample_rate_hz, **options), pieces)
    ends = [0, *(n_bytes // 4 * 2 for n_bytes in itertools.accumulate(map(len, pieces)))]
    for channel, samples in enumerate(channels):
        data = pcm_s16le(samples)
        alone = new_stream(audio=AudioFormat("pcm_s16le", sample_rate_hz), **options)
        expected = converse(alone, [data[begin:end] for begin, end in itertools.pairwise(ends)])
        assert of_channel(seen, channel) == of_channel(expected, None)
    assert {type(event) for event in seen} >= {SpeechStart, Partial, SpeechEnd, Final}


def test_utterances_of_all_channels_have_numbers_of_their_own_and_one_final_each() -> None:
    seen = converse(apart(), cut(together(sound(LEFT), sound(RIGHT)), 0))
    started = [(event.utterance, event.channel) for event in seen if isinstance(event, SpeechStart)]
    assert [number for number, _ in started] == [0, 1, 2, 3]
    assert sorted((event.utterance, event.channel) for event in seen if isinstance(event, Final)) == started
    assert {channel for _, channel in started} == {0, 1}


def test_finals_are_in_order_within_a_channel_and_wait_for_no_other_channel() -> None:
    stream = apart()
    asked = requests(stream.receive_audio(together(sound(LEFT), sound(RIGHT)), 0.0) + stream.end("stop", 0.0))
    left = [request for request in asked if request.session == stream.request_ids[0]]
    right = [request for request in asked if request.session == stream.request_ids[1]]
    assert stream.receive_answer(left[1], hypothesis("later"), 0.0) == []
    (final,) = stream.receive_answer(right[0], hypothesis("right"), 0.0)
    assert isinstance(final, Final)
    assert (final.channel, final.text) == (1, "right")
    released = stream.receive_answer(left[0], hypothesis("sooner"), 0.0)
    assert [event.text for event in released if isinstance(event, Final)] == ["sooner", "later"]


def test_each_channel_has_its_own_turn_and_its_own_context() -> None:
    stream = apart(service_level=lambda: SPECULATIVE, partials=True)
    data = together(sound(LEFT), sound(RIGHT))
    names = dict(zip(stream.request_ids, ("left.", "right."), strict=True))
    words: dict[str, set[str]] = {request_id: set() for request_id in names}

    def act(outputs: list[Output]) -> None:
        for request in requests(outputs):
            words[request.session].update(request.window.context.split())
            act(stream.receive_answer(stream.refresh(request, 0.0), hypothesis(names[request.session]), 0.0))

    for start in range(0, len(data), 6400):
        act(stream.receive_audio(data[start : start + 6400], 0.0))
    assert words == {request_id: {name} for request_id, name in names.items()}


def test_mixed_channels_ask_under_the_id_of_the_session_and_one_channel_apart_has_a_number() -> None:
    assert new_stream().request_ids == ("s",)
    seen = converse(apart(1), [pcm_s16le(sound(LEFT))])
    assert {event.channel for event in seen if isinstance(event, Final | SpeechStart | SpeechEnd)} == {0}
    mixed = converse(new_stream(audio=AudioFormat(channels=2)), [together(sound(LEFT), sound(LEFT))])
    assert {event.channel for event in mixed if isinstance(event, Final | SpeechStart | SpeechEnd)} == {None}


def test_the_samples_of_a_container_are_those_of_its_channels() -> None:
    stream = new_stream(audio=AudioFormat(CONTAINER, channels=2), channel_mode="separate")
    samples = np.stack((sound(LEFT), sound(RIGHT)), axis=1)
    outputs = stream.receive_samples(samples[:50_000], 0.0) + stream.receive_samples(samples[50_000:], 0.0)
    assert {event.channel for event in events(outputs) if isinstance(event, SpeechEnd)} == {0, 1}
    assert stream.received_ms == len(samples) // 16


@pytest.mark.parametrize("first", [0, 1])
def test_a_flush_is_answered_once_after_the_finals_of_all_channels(first: int) -> None:
    stream = apart()
    speech = together(sound("silence 300ms, speech 900ms"), sound("silence 500ms, speech 700ms"))
    asked = requests(stream.receive_audio(speech, 0.0) + stream.flush("page", 0.0))
    assert len(asked) == 2
    assert [type(event) for event in stream.receive_answer(asked[first], hypothesis("one"), 0.0)] == [Final]
    released = stream.receive_answer(asked[1 - first], hypothesis("two"), 0.0)
    assert [type(event) for event in released] == [Final, Flushed]
    assert stream.flush("page", 0.0) == [Flushed("page")]


def test_flushes_are_answered_in_their_order() -> None:
    stream = apart()
    speech, silence = sound("speech 900ms, silence 400ms"), sound("silence 1300ms")
    asked = requests(stream.receive_audio(together(speech, silence), 0.0) + stream.flush(1, 0.0))
    asked += requests(stream.receive_audio(together(silence, speech), 0.0) + stream.flush(2, 0.0))
    answers = [stream.receive_answer(request, hypothesis("words"), 0.0) for request in reversed(asked)]
    assert [[type(event) for event in released] for released in answers] == [[Final], [Final, Flushed, Flushed]]
    assert [event.id for event in answers[1] if isinstance(event, Flushed)] == [1, 2]


def test_a_pause_ends_the_utterances_of_all_channels_at_the_patience_of_the_one_who_speaks() -> None:
    stream = apart()
    stream.receive_audio(together(sound("speech 500ms, silence 400ms"), sound("speech 900ms")), 0.0)
    assert not stream.is_silent
    assert stream.patience_s(3.0) == 3.0
    at_ms, outputs = stream.pause(0.0)
    assert at_ms == 900
    assert [(event.channel, event.reason) for event in events(outputs) if isinstance(event, SpeechEnd)] == [
        (0, "silence"),
        (1, "silence"),
    ]
    assert stream.is_silent
    stream.receive_audio(together(sound("silence 900ms"), sound("silence 900ms")), 0.0)
    assert stream.patience_s(3.0) == PATIENCE_IN_SILENCE_S


def test_discarding_withdraws_the_open_utterance_of_each_channel() -> None:
    stream = apart()
    stream.receive_audio(together(sound("speech 900ms"), sound("speech 900ms")), 0.0)
    outputs = stream.discard(0.0)
    assert [(event.channel, event.text) for event in events(outputs) if isinstance(event, Final)] == [(0, ""), (1, "")]
    cancelled = [(output.session, output.utterance) for output in outputs if isinstance(output, Cancel)]
    assert cancelled == list(zip(stream.request_ids, (0, 1), strict=True))


def test_a_stream_that_is_abandoned_has_a_final_of_every_channel() -> None:
    stream = apart()
    stream.receive_audio(together(sound("speech 900ms"), sound("speech 900ms")), 0.0)
    stream.end("stop", 0.0)
    assert not stream.drained
    outputs = stream.abandon(TranscriptionFailed("too late"), 0.0)
    assert [type(output) for output in outputs] == [ErrorReport, Final] * 2
    assert stream.drained


def test_the_status_is_that_of_the_channel_that_is_served_worst() -> None:
    stream = apart(partials=True)
    silence, speech = sound("silence 1900ms"), sound("speech 900ms, silence 1000ms")
    asked = requests(stream.receive_audio(together(silence, speech), 5.0))
    assert any(request.is_final for request in asked)
    late = stream.status(5.5 + OVERLOADED_AFTER_S)
    assert (late.state, late.lag_ms) == ("overloaded", round(1000 * (0.5 + OVERLOADED_AFTER_S)))
    assert stream.status(5.5).state == "ready"


# A stream that an earlier server has begun


def stretches(finals: Iterable[Final], channel: int) -> list[tuple[int, int]]:
    return [(final.start_ms, final.end_ms) for final in finals if final.channel == channel]


def run(
    stream: StreamPipeline, pieces: Sequence[bytes], delay: int, *, ends: bool
) -> tuple[list[Event], StreamPipeline]:
    """Send the pieces; the right channel's answers are late by so many pieces, those of the left one are not."""
    seen: list[Event] = []
    waiting: list[tuple[int, Request]] = []
    for n, piece in enumerate(pieces):
        outputs = stream.receive_audio(piece, 0.0)
        seen += events(outputs)
        waiting += [(n + delay * stream.request_ids.index(request.session), request) for request in requests(outputs)]
        for due, request in [entry for entry in waiting if entry[0] <= n]:
            waiting.remove((due, request))
            seen += events(stream.receive_answer(request, hypothesis("Text."), 0.0))
    if ends:
        outputs = stream.end("stop", 0.0)
        seen += events(outputs)
        for request in [*(request for _, request in waiting), *requests(outputs)]:
            seen += events(stream.receive_answer(request, hypothesis("Text."), 0.0))
    return seen, stream


@pytest.mark.parametrize("delay", [0, 12])
def test_wherever_a_server_dies_no_channel_loses_or_doubles_a_word(delay: int) -> None:
    """With late answers of one channel, the other has finals behind the checkpoint. Its audio is skipped."""
    data = together(sound(LEFT), sound(RIGHT))
    pieces = [data[start : start + 6400] for start in range(0, len(data), 6400)]
    unbroken, _ = run(apart(), pieces, delay, ends=True)
    wanted = [stretches((event for event in unbroken if isinstance(event, Final)), channel) for channel in (0, 1)]
    assert [len(each) for each in wanted] == [2, 2]
    n_skipped = 0
    for n_pieces in spread(range(1, len(pieces), 5), 4):
        before, first = run(apart(), pieces[:n_pieces], delay, ends=False)
        finals = tuple(event for event in before if isinstance(event, Final))
        transcribed_ms = {final.channel: final.end_ms for final in finals}
        audio_ms = min(max(first.checkpoint_ms, transcribed_ms.get(channel, 0)) for channel in (0, 1))
        n_skipped += any(until_ms > audio_ms for until_ms in transcribed_ms.values())
        second = apart(resume_point=ResumePoint(finals, audio_ms, transcribed_ms))
        assert second.received_ms == audio_ms
        rest = data[audio_ms * 64 :]
        after, _ = run(second, [rest[at : at + 6400] for at in range(0, len(rest), 6400)], 0, ends=True)
        all_finals = [*finals, *(event for event in after if isinstance(event, Final))]
        assert sorted(final.utterance for final in all_finals) == list(range(4))
        assert second.n_utterances == 4
        for channel in (0, 1):
            for got, expected in zip(stretches(all_finals, channel), wanted[channel], strict=True):
                assert max(abs(got[0] - expected[0]), abs(got[1] - expected[1])) <= 100, (n_pieces, channel)
    assert n_skipped or not delay


def test_a_restarted_utterance_gets_a_number_that_no_final_has() -> None:
    finals = (replace(Final(1, "Right.", 900, 4000, "en", 0.9, 300), channel=1),)
    stream = apart(resume_point=ResumePoint(finals, 300, {1: 4000}))
    outputs = stream.receive_audio(together(sound("speech 900ms"), sound("speech 900ms")), 0.0)
    starts = [(event.utterance, event.channel) for event in events(outputs) if isinstance(event, SpeechStart)]
    assert starts == [(0, 0)]
    outputs = stream.receive_audio(together(sound("silence 3700ms"), sound("silence 3200ms, speech 500ms")), 0.0)
    starts = [(event.utterance, event.channel) for event in events(outputs) if isinstance(event, SpeechStart)]
    assert starts == [(2, 1)]


def test_a_channel_whose_newest_final_is_beyond_a_lost_utterance_goes_on_above_it() -> None:
    """The utterance of the other channel that was open is lost, so its number stays free."""
    finals = (replace(Final(1, "Right.", 900, 4000, "en", 0.9, 300), channel=1),)
    stream = apart(resume_point=ResumePoint(finals, 300, {1: 4000}))
    stream.skip_to(5000, 0.0)
    outputs = stream.receive_audio(together(sound("silence 900ms"), sound("speech 900ms")), 0.0)
    assert [event.utterance for event in events(outputs) if isinstance(event, SpeechStart)] == [2]


def test_a_pause_within_audio_that_one_channel_needs_no_more_begins_where_the_audio_ends() -> None:
    stream = apart(resume_point=ResumePoint((), 0, {1: 4000}))
    stream.receive_audio(together(sound("speech 1500ms"), sound("speech 1500ms")), 0.0)
    begin_ms, _ = stream.pause(10.0)
    assert begin_ms == 1500


def test_the_text_of_a_channel_before_a_servers_death_is_the_context_of_that_channel_alone() -> None:
    finals = tuple(replace(Final(n, f"{n} before", 0, 900, "en", 0.9, 300), channel=n) for n in (0, 1))
    stream = apart(resume_point=ResumePoint(finals, 900, {0: 900, 1: 900}), service_level=lambda: SPECULATIVE)
    data = together(
        sound("silence 400ms, speech 1000ms, silence 900ms"), sound("silence 500ms, speech 900ms, silence 900ms")
    )
    contexts = {
        request.session: request.window.context.strip() for request in requests(stream.receive_audio(data, 0.0))
    }
    assert contexts == dict(zip(stream.request_ids, ("0 before", "1 before"), strict=True))


def test_audio_that_is_lost_is_skipped_in_all_channels() -> None:
    stream = apart(resume_point=ResumePoint((), 1000, {1: 7000}))
    stream.skip_to(5000, 0.0)
    outputs = stream.receive_audio(together(sound("speech 2500ms"), sound("speech 2500ms")), 0.0)
    starts = {event.channel: event.start_ms for event in events(outputs) if isinstance(event, SpeechStart)}
    assert starts[0] < 5100
    assert 7000 <= starts[1] < 7100


def test_words_of_a_channel_are_within_its_final() -> None:
    stream = apart(transcription=TranscriptionOptions(words=True))
    seen = converse(stream, [together(sound(LEFT), sound(RIGHT))])
    assert all(final.words == () for final in seen if isinstance(final, Final))
