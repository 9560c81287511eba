"""The protocol of Wyoming: one command is transcribed."""

import json
from typing import Any

import numpy as np
import pytest

from livecaption.errors import ClientError, InvalidMessage, Unavailable, WrongState
from livecaption.events import End, ErrorReport, Event, Final, Partial, Ready, SpeechStart
from livecaption.live.dialects.commands import Audio, Command, Finish, Open, Reply
from livecaption.live.dialects.wyoming import MAX_FORMATS, ChunkConverter, Wyoming, likely_model
from livecaption.live.dialects.wyoming_events import MAX_PAYLOAD_BYTES, parse
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each
from tests.support.wyoming import AUDIO, event

CHUNK = event("audio-chunk", AUDIO, bytes(320))


def begun() -> Wyoming:
    return Wyoming(EndpointingConfig(), lambda: ("tiny", ("en", "de")))


def opened(dialect: Wyoming, message: bytes = CHUNK) -> Open:
    command = dialect.receive(message)[0]
    assert isinstance(command, Open)
    return command


def samples_of(commands: list[Command]) -> list[float]:
    return [
        float(sample)
        for command in commands
        if isinstance(command, Audio)
        for sample in np.frombuffer(command.data, "<f4")
    ]


def sent(dialect: Wyoming, *events: Event) -> list[tuple[str, dict[str, Any]]]:
    messages = [parse(message) for each in events for message in dialect.encode(each, 1)]
    return [(message.type, message.data) for message in messages]


def final(utterance: int, text: str, language: str | None = "en") -> Final:
    return Final(utterance, text, 0, 500, language, 0.9, 100)


def test_a_client_gets_a_description_of_the_model() -> None:
    [command] = begun().receive(event("describe"))
    assert isinstance(command, Reply)
    assert isinstance(command.message, bytes)
    [program] = parse(command.message).data["asr"]
    [model] = program["models"]
    assert (model["name"], model["languages"], model["installed"]) == ("tiny", ["en", "de"], True)
    assert program["supports_transcript_streaming"]


@for_each(
    ("name", "model", "n_languages"),
    [("", "tiny.en", 1), ("small.en@abc", "small.en@abc", 1), ("/models/large-v3/", "large-v3", 100)],
)
def test_languages_are_guessed_while_the_model_loads(name: str, model: str, n_languages: int) -> None:
    likely, languages = likely_model(name)
    assert likely == model
    assert min(len(languages), 90) == min(n_languages, 90)


def test_a_ping_gets_its_own_text_back() -> None:
    for data in ({"text": "hi"}, {}):
        [command] = begun().receive(event("ping", data))
        assert isinstance(command, Reply)
        assert json.loads(command.message) == {"type": "pong", "version": "1.10.2", "data": data}


def test_a_command_opens_with_its_audio_in_the_language_and_with_the_words_that_it_names() -> None:
    dialect = begun()
    asked = {
        "name": "any",
        "language": "de-DE",
        "transcript_names": ["Küche"],
        "transcript_terms": ["Licht", 7],
        "vad_sensitivity": "relaxed",
    }
    assert dialect.receive(event("transcribe", asked)) == []
    options = opened(dialect, event("audio-start", AUDIO)).options
    assert options.transcription.language == "de"
    assert options.transcription.hotwords == ("Küche", "Licht")
    assert dialect.receive(CHUNK) == [Audio(np.zeros(160, "<f4").tobytes())]
    assert dialect.receive(event("audio-start", AUDIO)) == []
    assert dialect.receive(event("audio-stop")) == [Finish()]
    assert dialect.receive(CHUNK) == dialect.receive(event("describe")) == []


def test_a_chunk_alone_opens_too() -> None:
    commands = begun().receive(CHUNK)
    assert [type(command) for command in commands] == [Open, Audio]


def test_a_command_without_audio_ends_at_once() -> None:
    assert [type(command) for command in begun().receive(event("audio-stop"))] == [Open, Finish]


@for_each(
    ("width", "data"),
    [
        (1, bytes([0, 128, 192])),
        (2, np.array([-32768, 0, 16384], "<i2").tobytes()),
        (3, b"\0\0\x80" + b"\0\0\0" + b"\0\0\x40"),
        (4, np.array([-(2**31), 0, 2**30], "<i4").tobytes()),
    ],
)
def test_samples_of_any_width_are_converted(width: int, data: bytes) -> None:
    commands = begun().receive(event("audio-chunk", {**AUDIO, "width": width}, data))
    assert samples_of(commands) == [-1.0, 0.0, 0.5]


def test_channels_are_mixed_and_other_rates_converted() -> None:
    assert ChunkConverter((16_000, 2, 2)).push(np.array([16384, 0] * 4, "<i2").tobytes()).tolist() == [0.25] * 4
    converter = ChunkConverter((8000, 2, 1))
    n_samples = len(converter.push(bytes(2 * 8000))) + len(converter.flush())
    assert n_samples == 16_000


def test_a_chunk_of_another_format_loses_nothing_of_those_before() -> None:
    dialect = begun()
    taken = samples_of(dialect.receive(event("audio-chunk", {**AUDIO, "rate": 8000}, bytes(2 * 8000))))
    taken += samples_of(dialect.receive(event("audio-chunk", AUDIO, bytes(2 * 16_000))))
    taken += samples_of(dialect.receive(event("audio-stop")))
    assert len(taken) == 32_000


def test_a_format_that_changes_again_and_again_is_refused() -> None:
    dialect = begun()
    for number in range(MAX_FORMATS):
        dialect.receive(event("audio-chunk", {**AUDIO, "rate": 8000 + number}, bytes(4)))
    with pytest.raises(InvalidMessage):
        dialect.receive(CHUNK)


def test_a_sample_that_is_cut_waits_for_its_rest() -> None:
    dialect = begun()
    first = dialect.receive(event("audio-chunk", AUDIO, b"\0"))
    assert samples_of(first) == []
    assert samples_of(dialect.receive(event("audio-chunk", AUDIO, b"\x40"))) == [0.5]


def test_text_is_only_appended_to_and_the_whole_text_comes_last() -> None:
    dialect = begun()
    assert sent(dialect, Ready("s", "secret", 1, "tiny", "en", 0)) == [("transcript-start", {"language": "en"})]
    assert sent(dialect, SpeechStart(0, 0), Partial(0, 1, "Doors op", "Doors", 0, 500)) == [
        ("transcript-chunk", {"text": "Doors"})
    ]
    assert sent(dialect, Partial(0, 2, "Doors open", "Doors", 0, 700), final(0, "Doors open.")) == [
        ("transcript-chunk", {"text": " open."})
    ]
    assert sent(dialect, SpeechStart(1, 900), final(1, "Come in.")) == [("transcript-chunk", {"text": " Come in."})]
    assert sent(dialect, End(2000, 2, "stop")) == [
        ("transcript", {"text": "Doors open. Come in.", "language": "en"}),
        ("transcript-stop", {}),
    ]
    assert dialect.close(Ending("stop"))[0] == 1000


def test_words_that_the_final_spells_otherwise_are_sent_once_and_whole() -> None:
    dialect = begun()
    committed = "so we will go now"
    events = sent(dialect, SpeechStart(0, 0), Partial(0, 1, committed, committed, 0, 900))
    events += sent(dialect, final(0, "So, we will go now, please."), SpeechStart(1, 1000), final(1, "Bye."))
    assert [data["text"] for _, data in events] == [committed, " please.", " Bye."]


def test_text_behind_a_final_that_is_awaited_waits_too() -> None:
    dialect = begun()
    events = [SpeechStart(0, 0), SpeechStart(1, 900), Partial(1, 1, "Come", "Come", 900, 1200)]
    assert sent(dialect, *events) == []
    assert sent(dialect, final(0, "Doors.")) == [("transcript-chunk", {"text": "Doors."})]
    assert sent(dialect, Partial(1, 2, "Come in", "Come", 900, 1500)) == [("transcript-chunk", {"text": " Come"})]


def ending_commands() -> Wyoming:
    return Wyoming(EndpointingConfig(), lambda: ("tiny", ("en",)), ends_commands=True)


def test_a_server_that_ends_commands_answers_at_the_first_pause_with_text() -> None:
    dialect = ending_commands()
    dialect.receive(CHUNK)
    assert sent(dialect, SpeechStart(0, 0), final(0, "")) == []
    assert dialect.tick(1000) == []
    answer = sent(dialect, SpeechStart(1, 900), final(1, "Lights on."))
    assert [kind for kind, _ in answer] == ["transcript-chunk", "transcript", "transcript-stop"]
    assert dialect.receive(CHUNK)[-1] == Finish()
    assert dialect.tick(2000) == dialect.receive(CHUNK) == sent(dialect, End(2000, 2, "stop")) == []


def test_a_command_that_was_answered_ends_also_if_no_more_audio_comes() -> None:
    dialect = ending_commands()
    dialect.receive(CHUNK)
    sent(dialect, SpeechStart(0, 0), final(0, "Lights on."))
    assert dialect.tick(1000) == [Finish()]
    assert dialect.receive(CHUNK) == []


def test_a_command_in_which_nobody_speaks_ends_after_15_s() -> None:
    dialect = ending_commands()
    dialect.receive(CHUNK)
    assert dialect.tick(14_999) == []
    sent(dialect, SpeechStart(0, 14_000))
    assert dialect.tick(15_000) == []
    sent(dialect, final(0, ""))
    assert dialect.tick(16_000) == [Finish()]
    assert sent(dialect, End(16_000, 1, "stop"))[0] == ("transcript", {"text": ""})


def test_a_client_ends_its_commands_unless_the_server_does() -> None:
    assert begun().tick(60_000) == []
    for dialect, is_external in ((begun(), True), (ending_commands(), False)):
        [command] = dialect.receive(event("describe"))
        assert isinstance(command, Reply)
        assert isinstance(command.message, bytes)
        assert parse(command.message).data["asr"][0]["requires_external_vad"] is is_external


def test_silence_has_an_empty_transcript() -> None:
    assert sent(begun(), End(2000, 0, "stop")) == [("transcript", {"text": ""}), ("transcript-stop", {})]
    assert sent(begun(), final(0, "", None), End(2000, 1, "stop"))[0] == ("transcript", {"text": ""})


def test_a_fatal_error_takes_the_place_of_the_transcript() -> None:
    dialect = begun()
    error = ErrorReport.of(Unavailable("full"))
    assert sent(dialect, error, End(2000, 0, "error")) == [("error", {"text": "full", "code": "overloaded"})]


def test_an_error_that_is_not_fatal_is_not_sent_because_clients_end_with_it() -> None:
    assert sent(begun(), ErrorReport.of(ClientError("hm", fatal=False))) == []


def test_events_of_other_services_are_ignored() -> None:
    assert begun().receive(event("synthesize", {"text": "hello"})) == []
    assert begun().receive(event("select-program", {}, b"payload")) == []


def test_options_behind_the_audio_are_refused() -> None:
    dialect = begun()
    dialect.receive(CHUNK)
    with pytest.raises(WrongState):
        dialect.receive(event("transcribe"))


@for_each(
    "data",
    [
        {},
        {**AUDIO, "width": 5},
        {**AUDIO, "width": True},
        {**AUDIO, "width": "2"},
        {**AUDIO, "rate": 1},
        {**AUDIO, "rate": 10**12},
        {**AUDIO, "channels": 0},
        {**AUDIO, "channels": 9},
        {**AUDIO, "rate": [16_000]},
    ],
)
def test_a_format_that_cannot_be_converted_is_refused(data: dict[str, Any]) -> None:
    for kind in ("audio-start", "audio-chunk"):
        with pytest.raises(InvalidMessage):
            begun().receive(event(kind, data, bytes(4)))


def test_text_and_rubbish_are_refused() -> None:
    for message in ("describe", b"describe", b"{}\n"):
        with pytest.raises(InvalidMessage):
            begun().receive(message)
    assert begun().limits.max_binary_bytes > MAX_PAYLOAD_BYTES
