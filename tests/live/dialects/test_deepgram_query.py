"""The options in the address of a Deepgram request: what each does, what is ignored, what is refused."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.errors import InvalidMessage
from livecaption.events import MAX_SPEAKERS
from livecaption.live.dialects.deepgram_query import MAX_KEYTERMS, DeepgramOptions, live_options, recorded_options
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import RECORDINGS, EndpointingConfig
from tests.support.cases import for_each

DEFAULT = EndpointingConfig(hangover_ms=640, mid_phrase_hangover_ms=800)
PCM = "encoding=linear16&sample_rate=16000"


def read(query: str) -> DeepgramOptions:
    return live_options(parse_qsl(query, keep_blank_values=True), DEFAULT)


def test_an_address_without_options_means_a_container_in_english_without_interim_results() -> None:
    options = read("")
    assert options.stream.audio == AudioFormat("auto", channels=1)
    assert options.stream.transcription == TranscriptionOptions("en", words=True)
    assert options.stream.endpointing == DEFAULT
    assert not options.stream.partials
    assert options.stream.keep
    assert not options.stream.counts_pauses
    assert options == DeepgramOptions(options.stream)


def test_an_address_has_every_option() -> None:
    options = read(
        "model=nova-3&language=de-CH&encoding=mulaw&sample_rate=8000&channels=2&multichannel=true&interim_results=true"
        "&smart_format=true&utterance_end_ms=1000&vad_events=true&keyterm=Z%C3%BCrich+HB&keyterm=SBB&numerals=true"
        "&tag=a&tag=b&redact=pci&unknown=1"
    )
    assert options.stream.audio == AudioFormat("mulaw", 8000, 2)
    assert options.stream.channel_mode == "separate"
    assert options.stream.transcription == TranscriptionOptions("de", words=True, hotwords=("Zürich HB", "SBB"))
    assert options.stream.partials
    assert options.interim_results
    assert options.formatted
    assert options.vad_events
    assert options.utterance_end_ms == 1000
    assert options.n_channels == 2


@for_each(
    ("name", "encoding"), [("linear16", "pcm_s16le"), ("LINEAR32", "pcm_f32le"), ("mulaw", "mulaw"), ("alaw", "alaw")]
)
def test_pcm_has_its_encoding_rate_and_channels(name: str, encoding: str) -> None:
    audio = read(f"encoding={name}&sample_rate=48000&channels=2").stream.audio
    assert audio == AudioFormat(encoding, 48_000, 2)


@for_each("encoding", ["mulaw", "alaw"])
def test_g711_has_8_khz_unless_another_rate_is_given(encoding: str) -> None:
    assert read(f"encoding={encoding}").stream.audio.sample_rate_hz == 8000


@for_each("query", ["", "encoding=", "encoding=opus", "encoding=ogg-opus&sample_rate=48000", "encoding=webm"])
def test_anything_else_is_a_container_that_is_recognised_by_its_bytes(query: str) -> None:
    assert read(query).stream.audio.encoding == "auto"


def test_the_channels_of_a_container_are_kept_apart_up_to_two_or_those_that_are_named() -> None:
    assert read("multichannel=true").n_channels == 2
    assert read("multichannel=true&channels=6").n_channels == 6
    assert read("channels=2").n_channels == 1


@for_each(("value", "is_set"), [("true", True), ("True", True), ("1", True), ("false", False), ("FALSE", False)])
def test_booleans_may_have_any_case(value: str, is_set: bool) -> None:
    assert read(f"punctuate={value}").formatted is is_set


@for_each(("ms", "hangover_ms"), [("300", 300), ("500", 500), ("10", 300), ("0", 300), ("60000", 10_000)])
def test_endpointing_is_the_silence_behind_an_utterance_within_limits(ms: str, hangover_ms: int) -> None:
    options = read(f"endpointing={ms}")
    assert options.stream.endpointing == replace(DEFAULT, hangover_ms=hangover_ms, mid_phrase_hangover_ms=hangover_ms)
    assert options.endpoints


@for_each(("value", "endpoints"), [("true", True), ("false", False), ("False", False)])
def test_endpointing_may_be_the_servers_or_none(value: str, endpoints: bool) -> None:
    options = read(f"endpointing={value}")
    assert (options.stream.endpointing, options.endpoints) == (DEFAULT, endpoints)


def test_the_language_is_detected_if_there_are_many() -> None:
    options = read("language=multi")
    assert options.stream.transcription.language is None
    assert options.detects_language


def test_keywords_lose_their_boost_and_are_left_out_below_zero() -> None:
    options = read("keywords=Zermatt:2&keywords=Matterhorn&keywords=no:-1&keywords=a:b&keywords=&keyterm=Gornergrat")
    assert options.stream.transcription.hotwords == ("Zermatt", "Matterhorn", "a:b", "Gornergrat")


@for_each("query", ["utterance_end_ms=false", ""])
def test_there_is_no_utterance_end_unless_it_is_asked_for(query: str) -> None:
    assert read(query).utterance_end_ms is None


def test_the_first_of_several_values_counts() -> None:
    assert read("language=de&language=fr").stream.transcription.language == "de"


def test_an_address_that_is_not_valid_unicode_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="Unicode"):
        live_options([("keyterm", "\udcff")], DEFAULT)


@for_each(
    ("query", "code"),
    [
        ("encoding=g729", "unsupported_encoding"),
        ("encoding=speex&sample_rate=16000", "unsupported_encoding"),
        ("encoding=linear16", "unsupported_sample_rate"),
        ("encoding=linear16&sample_rate=4000", "unsupported_sample_rate"),
        ("encoding=linear16&sample_rate=fast", "invalid_message"),
        (f"{PCM}&channels=0", "unsupported_channels"),
        (f"{PCM}&channels=9", "unsupported_channels"),
        ("multichannel=true&channels=9", "unsupported_channels"),
        ("interim_results=maybe", "invalid_message"),
        ("endpointing=soon", "invalid_message"),
        ("endpointing=-5", "invalid_message"),
        ("endpointing=²", "invalid_message"),
        ("utterance_end_ms=long", "invalid_message"),
        ("&".join(["keyterm=a"] * (MAX_KEYTERMS + 1)), "invalid_message"),
        ("keyterm=" + "a" * 101, "invalid_message"),
    ],
)
def test_a_wrong_value_is_refused(query: str, code: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        read(query)
    assert caught.value.code == code


def test_a_recording_has_the_endpoints_of_recordings_and_is_kept_nowhere() -> None:
    options = recorded_options([("encoding", "mulaw"), ("endpointing", "10"), ("keyterm", "Ada")])
    stream = options.stream
    assert (stream.endpointing, stream.partials, stream.keep) == (RECORDINGS, False, False)
    assert (stream.audio.encoding, stream.audio.sample_rate_hz) == ("mulaw", 8000)
    assert stream.transcription.hotwords == ("Ada",)
    assert not options.formatted


def test_the_language_of_a_recording_is_detected_if_asked_for() -> None:
    assert recorded_options([]).stream.transcription.language == "en"
    assert not recorded_options([("detect_language", "false")]).detects_language
    detected = recorded_options([("language", "de"), ("detect_language", "true")])
    assert (detected.stream.transcription.language, detected.detects_language) == (None, True)
    among = recorded_options([("detect_language", "de"), ("detect_language", "en")])
    assert (among.stream.transcription.languages, among.detects_language) == (("de", "en"), True)


def test_paragraphs_have_punctuation() -> None:
    options = recorded_options([("paragraphs", "true"), ("utterances", "TRUE")])
    assert (options.formatted, options.paragraphs, options.utterances) == (True, True, True)


@for_each(
    ("query", "speakers"),
    [
        ("", 0),
        ("diarize=false", 0),
        ("diarize=true", MAX_SPEAKERS),
        ("diarize_model=latest", MAX_SPEAKERS),
        ("diarize_model=v1&diarize=false", MAX_SPEAKERS),
    ],
)
def test_speakers_are_distinguished_if_a_model_for_that_is_named_or_asked_for(query: str, speakers: int) -> None:
    assert read(query).stream.speakers == speakers
    assert recorded_options(parse_qsl(query)).stream.speakers == speakers


def test_a_model_for_speakers_that_deepgram_does_not_have_is_refused() -> None:
    assert recorded_options([("diarize_model", "v2")]).stream.speakers == MAX_SPEAKERS
    for query in ("diarize_model=v2", "diarize_model=", "diarize=maybe"):
        with pytest.raises(InvalidMessage, match="diarize"):
            read(query)
