"""A session was open when an earlier server died: a publisher who comes back in time goes on, and nobody else."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import WSServerHandshakeError

from livecaption.errors import StoreFailed
from livecaption.events import Final
from livecaption.live.config import LiveConfig, SessionLimits
from livecaption.live.event_log import SEQS_PER_GENERATION
from livecaption.live.tokens import reader_token, token_hash
from livecaption.recognition import SessionId
from livecaption.server.services import SERVICES
from livecaption.store import rows
from livecaption.store.config import StoreConfig
from livecaption.store.rows import InterruptedSession, Resumption
from livecaption.store.store import now_ms
from livecaption.store.transcripts import TranscriptStore
from tests.live.test_connection import refusal_of, resume
from tests.support.eventually import eventually
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until
from tests.support.speech import pcm_s16le, sound
from tests.support.stored import STARTED_AT_MS, fill, new_session, opened
from tests.support.stores import read_interrupted
from tests.support.transcripts import final

TOKEN = "the publisher's token"
READY = {"session": "talk", "resume_token": TOKEN}
FINALS = [final("One.", 0, 900, 0), final("Two.", 1500, 2400, 1)]
"""Their events had the numbers 2 and 3."""
CHECKPOINT_MS = 2800
START = '{"type": "start", "partials": false, "language": "de", "private": %s, "endpointing": {"silence_ms": 500}}'

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(start_server: StartServer, tmp_path: Path) -> Serve:
    """A server on the store of one that died in the session `talk`."""

    async def started(
        script: str = "",
        *,
        private: bool = False,
        start: str = START,
        has_audio: bool = True,
        shift_ms: int = 0,
        finals: Sequence[Final] = FINALS,
        checkpoint_ms: int = CHECKPOINT_MS,
        started_at_ms: int = STARTED_AT_MS,
        **settings: Any,
    ) -> Client:
        path = tmp_path / "transcripts.db"
        hashes = Resumption(
            start % str(private).lower() if start is START else start,
            token_hash(TOKEN),
            token_hash(reader_token(TOKEN)) if private else None,
        )
        with opened(path) as database:
            session = new_session("talk", "", "de", started_at_ms, private=private, resumption=hashes)
            fill(database, session, list(finals) if has_audio else [], ended=False)
            if has_audio:
                database.write([rows.checkpoint(SessionId("talk"), checkpoint_ms, shift_ms)])
        return await start_server(script, store=StoreConfig(str(path)), **settings)

    return started


async def state_of(client: Client) -> str:
    async with client.get("/v1/sessions/talk", params={"reader_token": reader_token(TOKEN)}) as response:
        state: str = (await response.json())["state"]
        return state


async def eventually_in_state(client: Client, state: str) -> None:
    while await state_of(client) != state:
        pass


async def test_a_publisher_who_comes_back_goes_on_in_the_same_session(serve: Serve) -> None:
    client = await serve(private=True)
    assert await state_of(client) == "interrupted"
    socket = await resume(client, READY, last_seq=3)
    ready = await read_event(socket)
    assert (ready["session"], ready["resume_token"], ready["reader_token"]) == ("talk", TOKEN, reader_token(TOKEN))
    assert (ready["received_ms"], ready["language"], ready["private"]) == (CHECKPOINT_MS, "de", True)
    gap = await read_event(socket)
    assert gap == {"type": "gap", "seq": SEQS_PER_GENERATION, "start_ms": 2400, "end_ms": 2400}
    await eventually_in_state(client, "open")
    await socket.send_bytes(SPEECH + PAUSE)
    start = await read_until(socket, "speech_start")
    assert (start["utterance"], start["seq"]) == (2, SEQS_PER_GENERATION + 1)
    assert abs(start["start_ms"] - (CHECKPOINT_MS + 200)) < 100
    caption = await read_until(socket, "final")
    assert (caption["utterance"], caption["start_ms"], caption["language"]) == (2, start["start_ms"], "de")
    await socket.send_json({"type": "stop"})
    end = (await read_to_the_close(socket))[-1]
    assert (end["utterances"], end["received_ms"]) == (3, CHECKPOINT_MS + (len(SPEECH) + len(PAUSE)) // 32)
    await eventually_in_state(client, "ended")
    async with client.get("/v1/sessions/talk/transcript.txt", params={"reader_token": reader_token(TOKEN)}) as response:
        assert await response.text() == f"One. Two. {caption['text']}\n"


@pytest.mark.parametrize(("last_seq", "missed"), [(0, ["One.", "Two."]), (2, ["Two."]), (3, [])])
async def test_finals_that_are_stored_and_were_not_seen_are_sent_again_with_their_numbers(
    serve: Serve, last_seq: int, missed: list[str]
) -> None:
    socket = await resume(await serve(), READY, last_seq)
    await read_event(socket)
    texts = []
    while (event := await read_event(socket))["seq"] < SEQS_PER_GENERATION:
        assert event["seq"] > last_seq
        last_seq = event["seq"]
        texts += [event["text"]] if event["type"] == "final" else []
    assert (texts, event["type"], event["seq"]) == (missed, "gap", SEQS_PER_GENERATION)


async def test_audio_that_the_publisher_has_no_more_is_a_gap_with_its_times_for_everybody(serve: Serve) -> None:
    client = await serve()
    reader = await client.ws_connect("/v1/sessions/talk/watch")
    assert (await read_event(reader))["seq"] == SEQS_PER_GENERATION
    socket = await resume(client, READY, 3, audio_from_ms=600_000)
    assert (await read_event(socket))["received_ms"] == 600_000
    await read_event(socket)
    gap = {"type": "gap", "seq": SEQS_PER_GENERATION + 1, "start_ms": CHECKPOINT_MS, "end_ms": 600_000}
    assert await read_event(socket) == gap
    assert await read_event(reader) == gap
    await socket.send_bytes(SPEECH)  # and nothing then: the lost audio is no audio that is ahead of the clock
    assert abs((await read_until(socket, "final"))["start_ms"] - 600_200) < 100


async def test_the_pauses_of_an_earlier_server_count_in_times_and_not_in_the_audio(serve: Serve) -> None:
    socket = await resume(await serve(shift_ms=600_000), READY, 3)
    assert (await read_event(socket))["received_ms"] == CHECKPOINT_MS
    await socket.send_bytes(SPEECH + PAUSE)
    assert abs((await read_until(socket, "final"))["start_ms"] - (600_000 + CHECKPOINT_MS + 200)) < 100


async def test_channels_that_were_kept_apart_go_on_each_from_its_own_newest_final(serve: Serve) -> None:
    """The right channel has a final up to 2400 ms, the left one up to 900 ms. So the left one needs audio."""
    start = START.replace('"private": %s', '"channels": 2, "channel_mode": "separate"')
    finals = [final("Left.", 0, 900, 1, channel=0), final("Right.", 1500, 2400, 0, channel=1)]
    client = await serve(start=start, finals=finals, checkpoint_ms=600, max_streams=2)
    assert len(client.app[SERVICES].sessions) == 2
    socket = await resume(client, READY, last_seq=3)
    assert (await read_event(socket))["received_ms"] == 900
    both = np.stack((sound("silence 200ms, speech 900ms, silence 1400ms"),) * 2, axis=1)
    await socket.send_bytes(pcm_s16le(both))
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    found = {event["channel"]: event for event in events if event["type"] == "final"}
    assert found.keys() == {0}  # the speech of the right channel is in its final already
    assert found[0]["utterance"] == 2
    assert abs(found[0]["start_ms"] - 1100) < 100
    assert (events[-1]["type"], events[-1]["utterances"]) == ("end", 3)


async def test_audio_that_nobody_can_have_sent_since_the_beginning_is_not_lost(serve: Serve) -> None:
    hour_ms, since_ms = 3_600_000, 60_000
    client = await serve(started_at_ms=now_ms() - since_ms)
    assert await refusal_of(await resume(client, READY, 3, audio_from_ms=24 * hour_ms)) == ("invalid_message", 1008)
    # Of a recording, an hour is sent in less than a minute.
    assert (await read_event(await resume(client, READY, 3, audio_from_ms=hour_ms)))["received_ms"] == hour_ms


async def test_the_clock_of_an_earlier_server_may_have_been_fast(serve: Serve) -> None:
    client = await serve(started_at_ms=now_ms() + 10 * 60_000)
    assert (await read_event(await resume(client, READY, 3, audio_from_ms=9000)))["received_ms"] == 9000


async def test_audio_that_need_not_be_sent_again_is_no_gap(serve: Serve) -> None:
    socket = await resume(await serve(), READY, 3, audio_from_ms=CHECKPOINT_MS)
    await read_event(socket)
    assert (await read_event(socket))["start_ms"] == 2400
    await socket.send_json({"type": "stop"})
    assert [event["type"] for event in await read_to_the_close(socket)] == ["ack", "end"]


async def test_a_publisher_who_comes_back_twice_gets_every_event_of_both_times_once(serve: Serve) -> None:
    client = await serve()
    socket = await resume(client, READY, 3)
    await read_event(socket)
    await socket.send_bytes(SPEECH + PAUSE)
    caption = await read_until(socket, "final")
    socket._writer.transport.abort()
    socket = await resume(client, READY, caption["seq"])
    assert (await read_event(socket))["received_ms"] == CHECKPOINT_MS + (len(SPEECH) + len(PAUSE)) // 32
    await socket.send_json({"type": "stop"})
    assert "final" not in [event["type"] for event in await read_to_the_close(socket)]


async def test_readers_may_come_before_the_publisher_and_get_what_was_said(serve: Serve) -> None:
    client = await serve(private=True)
    assert (await client.get("/v1/sessions/talk/events")).status == 401
    reader = await client.ws_connect("/v1/sessions/talk/watch", params={"reader_token": reader_token(TOKEN)})
    snapshot = await read_event(reader)
    assert [each["text"] for each in snapshot["finals"]] == ["One.", "Two."]
    socket = await resume(client, READY, 3)
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(reader)
    assert [event["type"] for event in events] == ["speech_start", "speech_end", "final", "end"]
    assert events[2]["utterance"] == 2


async def test_the_webvtt_of_a_session_that_waits_for_its_publisher_only_grows(serve: Serve) -> None:
    client = await serve()
    waiting = await (await client.get("/v1/sessions/talk/transcript.vtt")).text()
    socket = await resume(client, READY, 3)
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    ended = await (await client.get("/v1/sessions/talk/transcript.vtt")).text()
    assert ended.startswith(waiting)
    assert len(ended) > len(waiting)


async def test_a_cursor_of_before_the_servers_death_gets_a_snapshot(serve: Serve) -> None:
    client = await serve()
    for cursor in ("5e55-3", "3", f"5e55-{SEQS_PER_GENERATION}"):
        reader = await client.ws_connect("/v1/sessions/talk/watch", params={"last_event_id": cursor})
        assert (await read_event(reader))["type"] == "snapshot"


async def test_a_wrong_token_is_refused_and_the_session_waits_on(serve: Serve) -> None:
    client = await serve()
    for token in ("", "wrong", token_hash(TOKEN)):
        assert await refusal_of(await resume(client, READY, 3, token=token)) == ("wrong_token", 1008)
    assert (await read_event(await resume(client, READY, 3)))["type"] == "ready"


async def test_a_session_that_ended_by_itself_cannot_be_taken_up(serve: Serve, tmp_path: Path) -> None:
    client = await serve()
    socket = await resume(client, READY, 3)
    await socket.send_json({"type": "stop"})
    last = (await read_to_the_close(socket))[-1]
    assert await refusal_of(await resume(client, READY, last["seq"])) == ("session_ended", 1008)
    await eventually(lambda: client.app[SERVICES].store.figures.waiting == 0)
    assert await read_interrupted(client.app[SERVICES].store) == []


async def test_a_publisher_who_is_not_back_in_time_finds_it_over_and_it_stays_interrupted(serve: Serve) -> None:
    """The time counts from when the model is loaded, since nobody can come back before."""
    live = LiveConfig(session=SessionLimits(tick_s=0.02))
    client = await serve("load 0.5", resume_window_s=0.2, live=live)
    assert client.app[SERVICES].sessions.n_parked == 1
    reader = await client.ws_connect("/v1/sessions/talk/watch")
    end = (await read_to_the_close(reader))[-1]
    assert (end["type"], end["reason"]) == ("end", "disconnect")
    assert await refusal_of(await resume(client, READY, end["seq"])) == ("session_ended", 1008)
    assert await state_of(client) == "interrupted"
    assert len(client.app[SERVICES].sessions) == 0
    assert await read_interrupted(client.app[SERVICES].store) == []


async def test_a_server_that_dies_again_and_again_keeps_no_slot_for_a_publisher_who_has_given_up(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that lost its server more than the resume window ago does not come any more."""
    old = new_session("old", resumption=Resumption(START % "false", token_hash(TOKEN), None))
    with opened(tmp_path / "transcripts.db") as database:
        fill(database, old, [], ended=False)
    with opened(tmp_path / "transcripts.db") as database:
        database.execute("UPDATE resumption SET interrupted_at_ms = interrupted_at_ms - 61000")
    read: list[str] = []
    read_one = TranscriptStore.interrupted

    async def interrupted(store: TranscriptStore, session_id: SessionId) -> InterruptedSession | None:
        read.append(session_id)
        return await read_one(store, session_id)

    monkeypatch.setattr(TranscriptStore, "interrupted", interrupted)
    client = await serve()
    assert read == ["talk"]  # and the start does not wait for what was said in others
    assert len(client.app[SERVICES].sessions) == 1
    assert await refusal_of(await resume(client, {**READY, "session": "old"}, 0)) == ("unknown_session", 1008)
    (waiting,) = await read_interrupted(client.app[SERVICES].store)
    assert waiting.record.id == "talk"


async def test_a_session_that_cannot_be_read_keeps_no_publisher_of_another_one_from_going_on(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can take the later ones over from a server that has its store for itself."""
    broken = new_session("broken", resumption=Resumption(START % "false", token_hash(TOKEN), None))
    with opened(tmp_path / "transcripts.db") as database:
        fill(database, broken, [], ended=False)
    read = TranscriptStore.interrupted
    tried: list[str] = []

    async def interrupted(store: TranscriptStore, session_id: SessionId) -> InterruptedSession | None:
        tried.append(session_id)
        if session_id == "broken":
            raise StoreFailed("its text is damaged")
        return await read(store, session_id)

    monkeypatch.setattr(TranscriptStore, "interrupted", interrupted)
    client = await serve()
    assert tried == ["broken", "talk"]
    assert "session=broken was interrupted, and does not go on now: its text is damaged" in caplog.text
    assert (await read_event(await resume(client, READY, 3)))["session"] == "talk"
    assert await refusal_of(await resume(client, {**READY, "session": "broken"}, 0)) == ("unknown_session", 1008)


async def test_a_session_that_waits_holds_its_slot_and_its_publisher_gets_in_on_a_full_server(serve: Serve) -> None:
    client = await serve(max_streams=1)
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/v1/stream")
    assert (await read_event(await resume(client, READY, 3)))["session"] == "talk"


async def test_a_session_without_audio_holds_no_slot_and_needs_one_when_its_publisher_comes_back(serve: Serve) -> None:
    client = await serve(has_audio=False, max_streams=1)
    sessions = client.app[SERVICES].sessions
    assert len(sessions) == 0
    other = await client.ws_connect("/v1/stream")
    await other.send_json({"type": "start"})
    await read_event(other)
    assert await refusal_of(await resume(client, READY, 0)) == ("overloaded", 1013)
    await other.send_json({"type": "stop"})
    await read_to_the_close(other)
    assert (await read_event(await resume(client, READY, 0)))["session"] == "talk"
    assert len(sessions) == 1


async def test_a_publisher_who_comes_back_while_the_model_loads_gets_a_time_to_retry_after(serve: Serve) -> None:
    client = await serve("hang-load", wait=False)
    answer = await client.get("/v1/stream", params={"resume": "talk"})
    assert (answer.status, (await answer.json())["code"]) == (503, "loading")
    assert "Retry-After" in answer.headers


async def test_a_model_that_cannot_do_what_the_session_needs_refuses_it(serve: Serve) -> None:
    client = await serve(start='{"type": "start", "language": "tlh"}')
    assert await refusal_of(await resume(client, READY, 3)) == ("unsupported_language", 1008)


async def test_a_session_whose_stored_start_is_not_valid_any_more_does_not_stop_the_server(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serve(start='{"type": "start", "task": "sing"}')
    assert await refusal_of(await resume(client, READY, 3)) == ("unknown_session", 1008)
    assert "cannot go on" in caplog.text
    assert await read_interrupted(client.app[SERVICES].store) == []
    assert await state_of(client) == "interrupted"


async def test_received_audio_is_counted_without_that_of_the_earlier_server(serve: Serve) -> None:
    await receive_a_pause(await serve(), audio_from_ms=0)


async def test_received_audio_is_counted_without_that_which_is_lost(serve: Serve) -> None:
    await receive_a_pause(await serve(), audio_from_ms=600_000)


async def receive_a_pause(client: Client, audio_from_ms: int) -> None:
    """Send the audio of a pause, which is all that the server counts, for the key of the publisher too."""
    socket = await resume(client, READY, 3, audio_from_ms=audio_from_ms)
    sessions = client.app[SERVICES].sessions
    await read_event(socket)
    assert sessions.received_ms == 0
    await socket.send_bytes(PAUSE)
    await eventually(lambda: sessions.received_ms == len(PAUSE) // 32)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    assert sessions.received_ms == sessions.find("talk").received_ms == len(PAUSE) // 32


async def test_a_session_of_which_all_audio_is_lost_holds_no_slot_without_its_publisher(serve: Serve) -> None:
    client = await serve(has_audio=False)
    socket = await resume(client, READY, 0, audio_from_ms=600_000)
    await read_event(socket)
    assert len(client.app[SERVICES].sessions) == 1
    socket._writer.transport.abort()
    await eventually(lambda: len(client.app[SERVICES].sessions) == 0)
    assert client.app[SERVICES].sessions.n_parked == 1
