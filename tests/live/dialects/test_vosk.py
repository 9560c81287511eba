"""The protocol of vosk-server: one reply to each message of audio."""

import json
from typing import Any

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.errors import InvalidMessage, LivecaptionError, TranscriptionFailed, WrongState
from livecaption.events import CaptionWord, End, ErrorReport, Final, Flushed, Partial
from livecaption.live.dialects.commands import Audio, Command, Configure, Finish, Flush, Open, Reply
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.vosk import Vosk, accept
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each

AUDIO = bytes(320)
WORDS = (CaptionWord("Doors", 120, 410, 0.98), CaptionWord("open.", 410, 600, 0.9))
DOORS = Final(0, "Doors open.", 120, 600, "en", 0.95, 500, WORDS)
GATES = Final(1, "Gates too.", 900, 1500, "en", 0.5, 500)


def begun(**config: Any) -> Vosk:
    dialect = Vosk(EndpointingConfig())
    dialect.connected()
    if config:
        dialect.receive(json.dumps({"config": config}))
    return dialect


def options_of(command: Command) -> StreamOptions:
    assert isinstance(command, Open | Configure)
    return command.options


def reply_to(dialect: Vosk, audio: bytes = AUDIO) -> dict[str, Any]:
    taken, reply = dialect.receive(audio)
    assert taken == Audio(audio)
    assert isinstance(reply, Reply)
    answer: dict[str, Any] = json.loads(reply.message)
    return answer


def test_the_session_opens_with_the_connection_at_8_khz_with_words() -> None:
    [command] = Vosk(EndpointingConfig()).connected()
    assert options_of(command).audio == AudioFormat("pcm_s16le", 8000, 1)
    assert options_of(command).transcription.words


def test_a_config_gets_no_reply_and_counts_from_the_first_audio_on() -> None:
    config = {"sample_rate": 16000.0, "words": 0, "phrase_list": ["Kaldi", "[unk]"], "model": "/etc/passwd"}
    [command] = begun().receive(json.dumps({"config": config}))
    assert options_of(command).audio.sample_rate_hz == 16_000
    assert options_of(command).transcription.hotwords == ("Kaldi",)
    assert not options_of(command).transcription.words


def test_a_rate_may_be_written_as_text() -> None:
    [command] = begun().receive('{"config": {"sample_rate": "44100"}}')
    assert options_of(command).audio.sample_rate_hz == 44_100


def test_a_config_behind_audio_is_ignored_as_vosk_does() -> None:
    dialect = begun()
    dialect.receive(AUDIO)
    assert dialect.receive('{"config": {"sample_rate": 16000}}') == []


def test_each_message_of_audio_gets_one_reply_with_what_is_said_now() -> None:
    dialect = begun()
    assert reply_to(dialect) == {"partial": ""}
    assert dialect.encode(Partial(0, 1, "Doors", "", 120, 500), 1) == []
    assert reply_to(dialect) == {"partial": "Doors"}
    assert reply_to(dialect, b"") == {"partial": "Doors"}


def test_a_final_waits_for_the_next_message_of_audio() -> None:
    dialect = begun()
    dialect.encode(Partial(0, 1, "Doors", "", 120, 500), 1)
    assert dialect.encode(DOORS, 2) == []
    dialect.encode(Partial(1, 1, "Gates", "", 900, 1200), 3)
    result = [
        {"conf": 0.98, "start": 0.12, "end": 0.41, "word": "Doors"},
        {"conf": 0.9, "start": 0.41, "end": 0.6, "word": "open."},
    ]
    assert reply_to(dialect) == {"result": result, "text": "Doors open."}
    assert reply_to(dialect) == {"partial": "Gates"}


def test_the_partial_of_speech_whose_final_is_awaited_stays() -> None:
    dialect = begun()
    dialect.encode(Partial(0, 1, "Doors", "", 120, 500), 1)
    dialect.encode(Partial(1, 1, "Gates", "", 900, 1200), 2)
    assert reply_to(dialect) == {"partial": "Doors Gates"}


def test_without_words_a_final_is_its_text() -> None:
    dialect = begun(words=0)
    dialect.encode(GATES, 1)
    assert reply_to(dialect) == {"text": "Gates too."}


def test_a_client_that_asks_for_alternatives_gets_one() -> None:
    dialect = begun(max_alternatives=3)
    dialect.encode(GATES, 1)
    assert reply_to(dialect) == {"alternatives": [{"confidence": 0.5, "text": "Gates too."}]}


def test_the_end_has_one_reply_with_all_that_waits() -> None:
    dialect = begun()
    assert dialect.receive('{"eof":1}') == [Finish()]
    dialect.encode(DOORS, 1)
    dialect.encode(GATES, 2)
    [reply] = dialect.encode(End(2000, 2, "stop"), 3)
    assert json.loads(reply)["text"] == "Doors open. Gates too."
    assert dialect.close(Ending("stop")) == (1000, "")


def test_the_end_of_silence_has_an_empty_text() -> None:
    dialect = begun()
    dialect.receive('{"eof" : 1}')
    assert dialect.encode(End(2000, 0, "stop"), 1) == ['{"text": ""}']


def test_messages_behind_the_end_are_ignored() -> None:
    dialect = begun()
    dialect.receive('{"eof" : 1}')
    assert [dialect.receive(message) for message in (AUDIO, '{"eof" : 1}', "rubbish")] == [[], [], []]


def test_a_reset_is_answered_by_the_final_of_all_speech_before_it_and_the_stream_goes_on() -> None:
    dialect = begun()
    assert dialect.receive('{"reset" : 1}') == [Flush()]
    assert dialect.encode(DOORS, 1) == []
    [reply] = dialect.encode(Flushed(None), 2)
    assert json.loads(reply)["text"] == "Doors open."
    assert reply_to(dialect) == {"partial": ""}


def test_replies_behind_a_reset_wait_for_its_answer() -> None:
    dialect = begun()
    for message in ('{"reset" : 1}', AUDIO, AUDIO, '{"reset" : 1}', AUDIO):
        assert not any(isinstance(command, Reply) for command in dialect.receive(message))
    dialect.encode(DOORS, 1)
    first = [json.loads(reply) for reply in dialect.encode(Flushed(None), 2)]
    assert [reply.get("text", reply.get("partial")) for reply in first] == ["Doors open.", "", ""]
    second = [json.loads(reply) for reply in dialect.encode(Flushed(None), 3)]
    assert second == [{"text": ""}, {"partial": ""}]


def test_lower_case_without_punctuation_is_a_choice_of_the_address() -> None:
    dialect = accept(Handshake({"punctuation": "False"}), EndpointingConfig())
    dialect.encode(DOORS, 1)
    reply = reply_to(dialect)
    assert (reply["text"], [word["word"] for word in reply["result"]]) == ("doors open", ["doors", "open"])
    with pytest.raises(InvalidMessage):
        accept(Handshake({"punctuation": "maybe"}), EndpointingConfig())


def test_errors_are_never_sent_because_a_client_takes_any_message_for_its_reply() -> None:
    dialect = begun()
    errors: list[LivecaptionError] = [TranscriptionFailed("no"), WrongState("no", fatal=False)]
    assert [dialect.encode(ErrorReport.of(error), 1) for error in errors] == [[], []]
    assert dialect.close(Ending("error", errors[1])) == (1008, "wrong_state")


@for_each(
    "message",
    [
        "rubbish",
        "[]",
        "{}",
        '{"hello": 1}',
        '{"config": 7}',
        '{"config": {"sample_rate": true}}',
        '{"config": {"sample_rate": NaN}}',
        '{"config": {"sample_rate": 1e999}}',
        '{"config": {"sample_rate": [8000]}}',
        '{"config": {"sample_rate": 400}}',
        '{"config": {"max_alternatives": "many"}}',
    ],
)
def test_a_text_that_is_no_command_is_refused(message: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        begun().receive(message)
    assert refused.value.fatal
