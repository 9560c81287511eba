"""OpenAI's Realtime API: what is read, what is refused, what is sent in which order."""

import base64
import json
from typing import Any

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.errors import (
    InvalidMessage,
    LimitReached,
    LivecaptionError,
    MessageTooBig,
    Unauthorized,
    Unavailable,
)
from livecaption.events import PROTOCOL_VERSION, Ack, ErrorReport, Final, Flushed, Ready, SpeechEnd, SpeechStart
from livecaption.live.dialects.commands import Audio, Configure, Discard, Flush, Open, Ping, Reply
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.openai_realtime import LIMITS, PIECE_CHARACTERS, ROUTE, OpenAIRealtime
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each
from tests.support.conversation import Conversation
from tests.support.speech import pcm_s16le, sound

OWN = EndpointingConfig()
RATE_HZ = 24_000
SILENCE = pcm_s16le(sound("silence 1000ms", RATE_HZ))
SPEECH = pcm_s16le(sound("silence 300ms, speech 1500ms", RATE_HZ))
TURN = SPEECH + SILENCE
TRANSCRIPTION = "conversation.item.input_audio_transcription"
COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
DONE = [*COMMITTED, f"{TRANSCRIPTION}.completed"]


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def append(audio: bytes, **fields: Any) -> str:
    return event("input_audio_buffer.append", audio=base64.b64encode(audio).decode(), **fields)


def update(**session: Any) -> str:
    return event("session.update", session=session)


def asking(**audio_input: Any) -> str:
    return update(type="transcription", audio={"input": audio_input})


def commit(event_id: str | None = None) -> str:
    return event("input_audio_buffer.commit", event_id=event_id)


CLEAR = event("input_audio_buffer.clear")
MANUAL = asking(turn_detection=None)


def chunks(audio: bytes) -> list[str]:
    return [append(audio[start : start + 4800]) for start in range(0, len(audio), 4800)]


def talk(
    *messages: str | list[str], dialect: OpenAIRealtime | None = None, leave: bool = False
) -> list[dict[str, Any]]:
    """Send messages, and return the events for the client."""
    conversation = Conversation(dialect or OpenAIRealtime(OWN))
    for message in messages:
        conversation.send([message] if isinstance(message, str) else message)
    conversation.finish()
    if leave:
        conversation.leave()
    return [json.loads(sent) for sent in conversation.sent]


def kinds(events: list[dict[str, Any]], *, deltas: bool = False) -> list[str]:
    return [each["type"] for each in events if deltas or each["type"] != f"{TRANSCRIPTION}.delta"]


def first(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in events if each["type"] == kind)


def commands(*messages: str | bytes) -> list[Any]:
    dialect = OpenAIRealtime(OWN)
    return [command for message in messages for command in dialect.receive(message)]


def refusal(message: str | bytes) -> dict[str, Any]:
    (reply,) = commands(message)
    assert isinstance(reply, Reply)
    answer = json.loads(reply.message)
    assert answer["type"] == "error"
    error: dict[str, Any] = answer["error"]
    return error


# The session


def test_a_session_is_created_at_once_and_an_update_shows_all_of_it() -> None:
    created, updated = talk(asking(transcription={"model": "m", "language": "en"}), dialect=OpenAIRealtime(OWN, "url"))
    assert (created["type"], updated["type"]) == ("session.created", "session.updated")
    assert created["session"]["id"] == updated["session"]["id"] == "s"
    assert created["session"]["audio"]["input"]["transcription"] == {"model": "url"}
    assert updated["session"]["audio"]["input"]["transcription"] == {"model": "m", "language": "en"}
    assert updated["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == OWN.hangover_ms
    assert [each["event_id"] for each in (created, updated)] == ["event_1", "event_2"]


def test_several_updates_are_merged_and_answered_one_by_one() -> None:
    events = talk(asking(format={"type": "audio/pcmu"}), asking(transcription={"prompt": "p"}), update())
    assert kinds(events) == ["session.created"] + ["session.updated"] * 3
    last = events[-1]["session"]["audio"]["input"]
    assert (last["format"], last["transcription"]) == ({"type": "audio/pcmu"}, {"prompt": "p"})


def test_audio_needs_no_update() -> None:
    events = talk(chunks(TURN))
    assert kinds(events) == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        *DONE,
    ]


def test_an_update_counts_for_the_audio_behind_it() -> None:
    telephone = b"\xff" * 4000
    events = talk(
        chunks(TURN),
        asking(format={"type": "audio/pcmu"}, turn_detection=None),
        append(telephone),
        commit(),
    )
    assert kinds(events)[3:] == [*DONE, "session.updated", *DONE]
    assert 0.5 <= events[-1]["usage"]["seconds"] <= 0.7  # with what the silence before has left over


def test_a_wrong_update_changes_nothing_and_is_named() -> None:
    dialect = OpenAIRealtime(OWN)
    wrong = event("session.update", event_id="e1", session={"audio": {"input": {"format": {"type": "opus"}}}})
    _, error, updated = talk(wrong, update(), dialect=dialect)
    assert (error["error"]["param"], error["error"]["event_id"]) == ("session.audio.input.format.type", "e1")
    assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}


def test_an_update_that_the_model_refuses_changes_nothing() -> None:
    dialect = OpenAIRealtime(OWN)
    dialect.encode(Ready("s", "t", PROTOCOL_VERSION, "m", "en", 0), 1)
    german = asking(transcription={"language": "de"})
    (first_sent,) = dialect.encode(ErrorReport("wrong_encoding", "a hint", fatal=False), 2) or [""]
    assert first_sent == ""
    list(dialect.receive(json.dumps({**json.loads(german), "event_id": "e7"})))
    (refused,) = dialect.encode(ErrorReport("unsupported_language", "not de", fatal=False), 3)
    error = json.loads(refused)["error"]
    assert (error["code"], error["event_id"]) == ("unsupported_language", "e7")
    assert error["param"] == "session.audio.input.transcription.language"
    configure, _ = dialect.receive(update())
    assert isinstance(configure, Configure)
    assert configure.options.transcription.language is None


def test_speakers_that_the_server_does_not_have_are_refused_by_the_field_of_the_model() -> None:
    dialect = OpenAIRealtime(OWN)
    dialect.connected()
    configure, _ = dialect.receive(asking(transcription={"model": "gpt-4o-transcribe-diarize"}))
    assert isinstance(configure, Configure)
    assert configure.options.speakers == 50
    (refused,) = dialect.encode(ErrorReport("unsupported_speakers", "none here", fatal=False), 3)
    assert json.loads(refused)["error"]["param"] == "session.audio.input.transcription.model"
    configure, _ = dialect.receive(update())
    assert isinstance(configure, Configure)
    assert configure.options.speakers == 0


def test_the_session_opens_with_the_connection() -> None:
    (opening,) = OpenAIRealtime(OWN).connected()
    assert isinstance(opening, Open)
    assert (opening.options.audio, opening.options.endpointing) == (AudioFormat("pcm_s16le", RATE_HZ), OWN)


# Turns


def test_deltas_are_the_beginning_of_the_transcript() -> None:
    events = talk(chunks(TURN + TURN))
    for completed in (each for each in events if each["type"] == f"{TRANSCRIPTION}.completed"):
        of_item = [each for each in events if each.get("item_id") == completed["item_id"]]
        deltas = [each["delta"] for each in of_item if each["type"] == f"{TRANSCRIPTION}.delta"]
        assert len(deltas) > 1
        assert "".join(deltas) == completed["transcript"]


def test_times_are_those_of_the_stream_with_the_padding_and_the_silence() -> None:
    turns = {"type": "server_vad", "prefix_padding_ms": 200, "silence_duration_ms": 400}
    events = talk(asking(turn_detection=turns), chunks(TURN))
    started = first(events, "input_audio_buffer.speech_started")
    stopped = first(events, "input_audio_buffer.speech_stopped")
    assert abs(started["audio_start_ms"] - 100) <= 60
    assert abs(stopped["audio_end_ms"] - 2200) <= 150
    usage = first(events, f"{TRANSCRIPTION}.completed")["usage"]
    assert usage["seconds"] == (stopped["audio_end_ms"] - started["audio_start_ms"]) / 1000


def test_items_have_ids_of_their_session_and_name_the_one_before() -> None:
    events = talk(chunks(TURN + TURN))
    one, two = (each for each in events if each["type"] == "input_audio_buffer.committed")
    assert one["item_id"].startswith("item_")
    assert (one["previous_item_id"], two["previous_item_id"]) == (None, one["item_id"])
    other = OpenAIRealtime(OWN)
    other.encode(Ready("another", "t", PROTOCOL_VERSION, "m", "en", 0), 1)
    assert other._items._prefix not in one["item_id"]


def test_a_client_that_commits_ends_its_turns_itself() -> None:
    events = talk(MANUAL, chunks(TURN + TURN), commit(), chunks(TURN), commit())
    assert kinds(events) == ["session.created", "session.updated", *DONE, *DONE]
    one, two = (each for each in events if each["type"] == f"{TRANSCRIPTION}.completed")
    assert one["transcript"].startswith("u0w0")
    assert two["transcript"].startswith("u1w0")
    assert (one["usage"]["seconds"], two["usage"]["seconds"]) == (5.6, 2.8)


def test_a_long_turn_that_the_client_ends_is_one_item() -> None:
    """The pipeline cuts it at 15 s."""
    speech = pcm_s16le(sound("speech 20000ms, silence 1000ms", RATE_HZ))
    events = talk(MANUAL, chunks(speech), commit())
    assert kinds(events)[2:] == DONE
    transcript = events[-1]["transcript"]
    assert ("u0w0" in transcript, "u1w0" in transcript) == (True, True)
    assert events[-1]["usage"]["seconds"] == 21.0
    assert "".join(each["delta"] for each in events if each["type"] == f"{TRANSCRIPTION}.delta") == transcript


def test_a_commit_ends_a_turn_also_where_silence_would() -> None:
    events = talk(chunks(SPEECH + SILENCE[:9600]), commit(), chunks(SILENCE))
    assert kinds(events)[2:] == ["input_audio_buffer.speech_stopped", *DONE]


def test_silence_that_is_committed_has_an_empty_transcript() -> None:
    events = talk(MANUAL, chunks(SILENCE), commit())
    assert kinds(events)[2:] == DONE
    assert events[-1]["transcript"] == ""


@for_each("before", [[], chunks(SILENCE[:4000]), [*chunks(SILENCE), commit()], [*chunks(TURN), CLEAR]])
def test_a_commit_of_nothing_is_an_error_that_names_it(before: list[str]) -> None:
    error = talk(MANUAL, before, commit("last"))[-1]
    assert error["type"] == "error"
    assert (error["error"]["code"], error["error"]["event_id"]) == ("input_audio_buffer_commit_empty", "last")
    assert error["error"]["type"] == "invalid_request_error"


@for_each("turns", [{"type": "server_vad"}, {"type": "semantic_vad"}, None])
@for_each("audio", [b"", SILENCE[:2000], SILENCE, SPEECH, TURN, TURN + SPEECH])
def test_a_client_that_commits_and_clears_at_the_end_gets_all_answers(turns: Any, audio: bytes) -> None:
    """That is how openai-agents ends its input. It waits for the items that are committed before `cleared`."""
    events = talk(asking(turn_detection=turns), chunks(audio), commit("last"), CLEAR)
    before = events[: kinds(events, deltas=True).index("input_audio_buffer.cleared")]
    owed = [each["item_id"] for each in events if each["type"] == "input_audio_buffer.committed"]
    empty = [each for each in before if each["type"] == "error"]
    assert owed == [each["item_id"] for each in before if each["type"] == "input_audio_buffer.committed"]
    assert bool(owed) or bool(empty)
    assert {each["error"]["event_id"] for each in empty} <= {"last"}
    answers = [each["item_id"] for each in events if each["type"] == f"{TRANSCRIPTION}.completed"]
    assert answers == owed


def test_cleared_audio_is_never_committed() -> None:
    events = talk(MANUAL, chunks(SPEECH + SILENCE[:9600]), CLEAR, chunks(SILENCE), commit())
    assert kinds(events)[2:] == ["input_audio_buffer.cleared", *DONE]
    assert events[-1]["transcript"] == ""


def test_a_clear_takes_back_a_turn_that_has_ended_by_its_length() -> None:
    long = pcm_s16le(sound("speech 10000ms, silence 6000ms", RATE_HZ))
    events = talk(MANUAL, chunks(long), CLEAR, commit())
    assert kinds(events)[2:] == ["input_audio_buffer.cleared", "error"]


def test_the_end_of_the_session_commits_what_is_open() -> None:
    assert kinds(talk(MANUAL, chunks(SPEECH), leave=True))[2:] == DONE


def test_probabilities_are_sent_if_they_are_included() -> None:
    included = update(include=["item.input_audio_transcription.logprobs"])
    assert first(talk(included, chunks(TURN)), f"{TRANSCRIPTION}.completed")["logprobs"] == []
    assert "logprobs" not in first(talk(chunks(TURN)), f"{TRANSCRIPTION}.completed")


def test_a_turn_that_the_engine_cannot_transcribe_fails_and_the_session_goes_on() -> None:
    dialect = OpenAIRealtime(OWN)
    happened = [
        SpeechStart(0, 0),
        SpeechEnd(0, 1000, "silence"),
        ErrorReport("transcription_failed", "no answer", fatal=False),
        Final(0, "", 0, 1000, None, 0.0, 0),
    ]
    events = [json.loads(sent) for each in happened for sent in dialect.encode(each, 1)]
    assert kinds(events)[2:] == [*COMMITTED, f"{TRANSCRIPTION}.failed"]
    assert events[-1]["error"]["code"] == "transcription_failed"


# Messages


def test_messages_become_commands() -> None:
    assert commands(append(b"\x01\x02"))[0] == Audio(b"\x01\x02")
    assert commands(commit()) == [Flush(), Ping(1)]
    assert commands(commit(), CLEAR)[2:] == [Discard(), Ping(2)]
    configure, ping = commands(asking(format={"type": "audio/pcm", "rate": 8000}))
    assert isinstance(configure, Configure)
    assert (configure.options.audio, ping) == (AudioFormat("pcm_s16le", 8000), Ping(1))


@for_each(
    "written",
    [
        '{"type":"input_audio_buffer.append","audio":"+/8="}',
        '{ "audio" :\n"+/8=" , "type" : "input_audio_buffer.append", "event_id": null, "x": {"audio": "AA=="} }',
        '{"type":"input_audio_buffer.append","audio":"+\\/8="}',
        '{"type":"input_audio_buffer.append","event_id":"\\"audio\\": \\"","audio":"+/8="}',
    ],
)
def test_an_append_may_be_written_in_any_way(written: str) -> None:
    assert commands(written) == [Audio(b"\xfb\xff")]


def test_a_sample_may_be_cut_between_two_appends() -> None:
    whole = talk(MANUAL, append(TURN), commit())
    cut = talk(MANUAL, append(TURN[:4801]), append(TURN[4801:9001]), append(TURN[9001:]), commit())
    assert cut[-1]["transcript"] == whole[-1]["transcript"]


def test_a_large_append_is_decoded_piece_by_piece() -> None:
    """Nobody waits for the 70 ms that all of it takes."""
    audio = bytes(range(256)) * 3 * 1000
    pieces = iter(OpenAIRealtime(OWN).receive(append(audio)))
    first_piece = next(pieces)
    assert isinstance(first_piece, Audio)
    assert len(first_piece.data) == PIECE_CHARACTERS * 3 // 4
    assert first_piece.data + b"".join(piece.data for piece in pieces) == audio


@for_each("n_before", [0, 1, 2, 3, PIECE_CHARACTERS])
def test_a_large_append_with_escapes_is_decoded_piece_by_piece_too(n_before: int) -> None:
    """The first escape may be far behind, and one may stand at the border of two pieces."""
    audio = b"\0\1\2" * n_before + b"\xff" * 3 * PIECE_CHARACTERS
    message = append(audio).replace("/", "\\/").replace("\\/", "/", n_before)
    pieces = [command.data for command in commands(message)]
    assert b"".join(pieces) == audio
    assert max(map(len, pieces)) <= PIECE_CHARACTERS * 3 // 4


def test_the_largest_append_of_openai_is_within_the_limit() -> None:
    three_bytes = append(bytes(3), event_id="x")
    assert "AAAA" in three_bytes
    LIMITS.check(three_bytes.replace("AAAA", "AAAA" * (5 * 1024 * 1024)))
    with pytest.raises(MessageTooBig):
        LIMITS.check(three_bytes.replace("AAAA", "AAAA" * (16 * 1024 * 1024 // 3)))


@for_each(
    ("message", "code", "param"),
    [
        ("hello", "invalid_json", None),
        ("", "invalid_json", None),
        ("[1]", "invalid_json", None),
        ('{"type": ' + "9" * 5000 + "}", "invalid_json", None),
        ("[" * 10_000, "invalid_json", None),
        ('{"type":"input_audio_buffer.append","audio":"AAAA', "invalid_json", None),
        ("{}", "invalid_value", "type"),
        ('{"type": ["session.update"]}', "invalid_value", "type"),
        (event("response.create"), "invalid_value", "type"),
        (event("conversation.item.create", item={}), "invalid_value", "type"),
        (event("input_audio_buffer.append"), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio=None), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio={"audio": "AAAA"}), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio="not base64!"), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio="AAA"), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio="AA==AAAA"), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio="ÄÄÄÄ"), "invalid_value", "audio"),
        (event("session.update", session="x"), "invalid_value", "session"),
        (event("session.update", x="y" * 100_000), "message_too_big", None),
        ("x" * 20_000_000, "message_too_big", None),
        (b"\x00\x01", "invalid_message", None),
    ],
)
def test_a_mistake_is_an_error_and_the_session_goes_on(message: str | bytes, code: str, param: str | None) -> None:
    error = refusal(message)
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")


@for_each(("given", "echoed"), [("e1", "e1"), (None, None), (7, None), ("x" * 513, None)])
def test_an_error_names_the_event_that_it_is_about(given: Any, echoed: str | None) -> None:
    assert refusal(json.dumps({"type": "sing", "event_id": given}))["event_id"] == echoed
    bad_audio = event("input_audio_buffer.append", audio="*", event_id=given)
    assert refusal(bad_audio)["event_id"] == echoed


def test_a_fault_far_into_the_audio_is_reported_once_and_what_came_before_is_taken() -> None:
    audio = base64.b64encode(bytes(PIECE_CHARACTERS)).decode() + "*"
    taken, reply = commands(event("input_audio_buffer.append", audio=audio))
    assert isinstance(taken, Audio)
    assert isinstance(reply, Reply)


def test_events_that_do_not_concern_the_client_are_not_sent() -> None:
    dialect = OpenAIRealtime(OWN)
    for each in (Ack(1), Flushed(None), ErrorReport("truncated_audio", "half a sample", fatal=False)):
        assert list(dialect.encode(each, 1)) == []


def test_a_fatal_error_is_sent() -> None:
    (sent,) = OpenAIRealtime(OWN).encode(ErrorReport("failed", "no process", fatal=True), None)
    assert json.loads(sent)["error"] == {
        "type": "server_error",
        "code": "failed",
        "message": "no process",
        "param": None,
        "event_id": None,
    }


@for_each(
    ("ending", "code"),
    [
        (Ending("draining"), 1012),
        (Ending("restarting"), 1012),
        (Ending("disconnect"), 1000),
        (Ending("error", Unavailable("busy")), 1013),
        (Ending("error", LimitReached("enough")), 1013),
        (Ending("error", InvalidMessage("no")), 1008),
        (Ending("error", MessageTooBig("no")), 1009),
    ],
)
def test_each_ending_has_a_close_code(ending: Ending, code: int) -> None:
    assert OpenAIRealtime(OWN).close(ending)[0] == code


# The beta


@pytest.mark.parametrize(
    "handshake",
    [
        Handshake(headers={"OpenAI-Beta": "realtime=v1"}),
        Handshake(subprotocols=("realtime", "openai-insecure-api-key.x", "openai-beta.realtime-v1")),
    ],
)
def test_a_client_of_the_beta_gets_its_names(handshake: Handshake) -> None:
    dialect = ROUTE.accept(handshake, OWN)
    assert isinstance(dialect, OpenAIRealtime)
    flat = {"input_audio_format": "pcm16", "input_audio_transcription": {"model": "whisper-1", "language": "en"}}
    events = talk(event("transcription_session.update", session=flat), chunks(TURN), dialect=dialect)
    assert kinds(events) == [
        "transcription_session.created",
        "transcription_session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        f"{TRANSCRIPTION}.completed",
    ]
    assert events[1]["session"]["input_audio_transcription"] == {"model": "whisper-1", "language": "en"}


def test_the_first_event_of_the_beta_shows_a_client_of_it() -> None:
    events = talk(event("transcription_session.update", session={}), chunks(TURN))
    assert kinds(events)[:2] == ["session.created", "transcription_session.updated"]
    assert "conversation.item.created" in kinds(events)
    assert not set(COMMITTED[1:]) & set(kinds(events))


# The handshake


@for_each("query", [{}, {"intent": "transcription"}, {"model": "gpt-realtime"}, {"intent": "x", "model": "m" * 1000}])
def test_an_address_may_have_any_model_and_intent(query: dict[str, str]) -> None:
    dialect = ROUTE.accept(Handshake(query), OWN)
    (opening,) = dialect.connected()
    assert isinstance(opening, Open)
    assert not opening.options.endpointing.manual


def test_a_browser_shows_its_key_in_a_subprotocol_which_is_not_accepted() -> None:
    handshake = Handshake(subprotocols=("realtime", "openai-insecure-api-key.secret"))
    assert ROUTE.shown_keys(handshake) == [b"secret"]
    assert ROUTE.subprotocols == ("realtime",)
    assert ROUTE.shown_keys(Handshake(authorization="Bearer secret")) == [b"secret"]


@for_each(
    ("error", "status", "code", "kind"),
    [
        (Unauthorized("no key"), 401, "invalid_api_key", "invalid_request_error"),
        (LimitReached("enough"), 429, "rate_limit_exceeded", "invalid_request_error"),
        (Unavailable("busy", retry_after_s=2.4), 503, "server_overloaded", "server_error"),
        (Unavailable("soon", code="loading"), 503, "loading", "server_error"),
    ],
)
def test_a_refusal_has_the_shape_of_openai(error: LivecaptionError, status: int, code: str, kind: str) -> None:
    answer = ROUTE.refusal(error, "r1")
    assert answer.status == status
    assert json.loads(answer.body) == {"error": {"type": kind, "code": code, "message": error.message, "param": None}}
    assert answer.headers.get("Retry-After") == ("2" if error.retry_after_s else None)
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
