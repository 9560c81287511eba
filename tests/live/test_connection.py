"""The publisher's connection comes and goes; the session stays, and not one word is lost or doubled."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSServerHandshakeError

from livecaption.evaluation.peers import PING, close_codes, frame, raw_peer
from livecaption.live.config import LiveConfig, RegistryLimits, SessionLimits, SocketLimits
from livecaption.live.connection import Connection
from livecaption.live.event_log import MAX_MESSAGES
from livecaption.live.registry import SessionRegistry
from livecaption.server.services import SERVICES
from tests.support.eventually import eventually
from tests.support.serving import (
    PAUSE,
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
)
from tests.support.speech import pcm_s16le, sound

QUIET = {"partials": False, "endpointing": {"silence_ms": 500}}


async def start(client: Client, **options: Any) -> tuple[ClientWebSocketResponse, dict[str, Any]]:
    """A stream, and its `ready`."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", **QUIET, **options})
    ready = await read_event(socket)
    assert ready["type"] == "ready"
    return socket, ready


async def resume(client: Client, ready: dict[str, Any], last_seq: int, **wrong: Any) -> ClientWebSocketResponse:
    socket = await client.ws_connect("/v1/stream", params={"resume": ready["session"]})
    claim = {"session": ready["session"], "token": ready["resume_token"], "last_seq": last_seq}
    await socket.send_json({"type": "start", "resume": claim | wrong})
    return socket


def sessions_of(client: Client) -> SessionRegistry:
    return client.app[SERVICES].sessions


async def drop(client: Client, socket: ClientWebSocketResponse) -> None:
    """The connection breaks without a word; returns once the server has noticed."""
    socket._writer.transport.abort()
    await eventually(lambda: sessions_of(client).n_parked == 1)


async def refusal_of(socket: ClientWebSocketResponse) -> tuple[str, int | None]:
    """The code of the error by which a resume was refused, and of the close."""
    (error,) = await read_to_the_close(socket)
    assert (error["type"], error["fatal"]) == ("error", True)
    assert "seq" not in error
    return error["code"], socket.close_code


async def test_a_publisher_who_comes_back_gets_ready_what_was_missed_and_goes_on(client: Client) -> None:
    socket, first = await start(client)
    await socket.send_bytes(SPEECH)
    seen = await read_until(socket, "speech_start")
    await drop(client, socket)
    socket = await resume(client, first, seen["seq"])
    ready = await read_event(socket)
    assert "seq" not in ready
    assert ready == {**{k: v for k, v in first.items() if k != "seq"}, "received_ms": len(SPEECH) // 32}
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [event["seq"] for event in events] == list(range(seen["seq"] + 1, seen["seq"] + 1 + len(events)))
    kinds = [event["type"] for event in events if event["type"] not in ("ack", "status")]
    assert kinds == ["speech_end", "final", "end"]
    assert events[-1]["received_ms"] == (2 * len(SPEECH) + len(PAUSE)) // 32
    assert socket.close_code == WSCloseCode.OK


async def test_finals_that_come_while_the_publisher_is_away_are_waiting_for_them(start_server: StartServer) -> None:
    client = await start_server("delay 0.3")
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH + PAUSE)
    seen = await read_until(socket, "speech_end")
    await drop(client, socket)
    hub = sessions_of(client).find(ready["session"]).hub
    await eventually(lambda: hub.last_seq > seen["seq"])
    socket = await resume(client, ready, seen["seq"])
    await read_event(socket)
    assert (await read_until(socket, "final"))["text"]


@pytest.mark.parametrize(("rate", "channels", "sample_bytes"), [(16_000, 1, 2), (44_100, 2, 4), (11_025, 3, 6)])
async def test_audio_that_is_sent_again_from_received_ms_counts_once_and_completely(
    client: Client, rate: int, channels: int, sample_bytes: int
) -> None:
    """Also where the connection broke in the middle of a sample, and of a millisecond."""
    samples = sound("silence 300ms, speech 1200ms, silence 900ms", rate)
    audio = b"".join(pcm_s16le(samples[i : i + 1]) * channels for i in range(len(samples)))
    socket, ready = await start(client, sample_rate=rate, channels=channels)
    seen, begin = 1, 0
    for end in (len(audio) // 3 + 1, len(audio) // 3 + 2, len(audio) // 2 + 3, len(audio)):
        await socket.send_bytes(audio[begin:end])
        publisher_ = sessions_of(client).find(ready["session"])
        await eventually(lambda: publisher_.received_ms == end // sample_bytes * 1000 // rate)  # noqa: B023
        if end == len(audio):
            break
        await drop(client, socket)
        socket = await resume(client, ready, seen)
        received_ms = (await read_event(socket))["received_ms"]
        begin = received_ms * rate // 1000 * sample_bytes
        assert end - begin < sample_bytes * (rate // 1000 + 2)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert events[-1]["received_ms"] == len(samples) * 1000 // rate
    assert not [event for event in events if event["type"] == "error"]
    ((start_ms, end_ms),) = [(e["start_ms"], e["end_ms"]) for e in events if e["type"] == "final"]
    assert abs(start_ms - 300) < 100
    assert abs(end_ms - 1500) < 200


async def test_audio_that_the_publisher_has_no_more_is_a_gap_and_later_audio_keeps_its_time(client: Client) -> None:
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    seen = await read_until(socket, "speech_start")
    await drop(client, socket)
    socket = await resume(client, ready, seen["seq"], audio_from_ms=8000)
    assert (await read_event(socket))["received_ms"] == 8000
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    gaps = [(event["start_ms"], event["end_ms"]) for event in events if event["type"] == "gap"]
    assert gaps == [(len(SPEECH) // 32, 8000)]
    starts = [event["start_ms"] for event in events if event["type"] == "final"]
    assert starts == [seen["start_ms"], pytest.approx(8200, abs=100)]
    assert events[-1]["received_ms"] == 8000 + len(SPEECH + PAUSE) // 32


async def test_a_wrong_token_is_refused_and_changes_nothing(client: Client) -> None:
    socket, ready = await start(client)
    for token in ("", "wrong", ready["resume_token"][:-1], "\u00e4"):
        assert await refusal_of(await resume(client, ready, 1, token=token)) == ("wrong_token", 1008)
    await socket.send_bytes(SPEECH + PAUSE)
    assert (await read_until(socket, "final"))["text"]


async def test_a_session_that_never_was_is_refused(client: Client) -> None:
    _, ready = await start(client)
    socket = await resume(client, ready, 1, session="nobody")
    assert await refusal_of(socket) == ("unknown_session", 1008)


async def test_events_that_were_never_sent_cannot_have_been_seen(client: Client) -> None:
    _, ready = await start(client)
    assert await refusal_of(await resume(client, ready, 99)) == ("invalid_message", 1008)


async def test_the_end_that_a_publisher_missed_is_sent_and_then_the_session_is_over(client: Client) -> None:
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "stop"})
    end = await read_until(socket, "end")
    again = await resume(client, ready, 1)
    events = await read_to_the_close(again)
    assert [event["type"] for event in events if event["type"] in ("ready", "final", "end")] == [
        "ready",
        "final",
        "end",
    ]
    assert again.close_code == WSCloseCode.OK
    assert await refusal_of(await resume(client, ready, end["seq"])) == ("session_ended", 1008)


async def test_a_stop_that_is_sent_again_because_its_answer_was_lost_is_no_mistake(start_server: StartServer) -> None:
    client = await start_server("delay 0.5")
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "stop"})
    await read_until(socket, "speech_end")
    socket._writer.transport.abort()
    socket = await resume(client, ready, 1)
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    kinds = [event["type"] for event in events if event["type"] != "ack"]
    assert kinds == ["ready", "speech_start", "speech_end", "final", "end"]


async def test_a_connection_that_takes_over_closes_the_old_one_which_is_read_no_more(client: Client) -> None:
    old, ready = await start(client)
    new = await resume(client, ready, 1)
    await read_event(new)
    await old.send_bytes(SPEECH)
    await read_to_the_close(old)
    assert old.close_code == WSCloseCode.POLICY_VIOLATION
    await new.send_json({"type": "stop"})
    assert (await read_until(new, "end"))["received_ms"] == 0


async def test_nobody_back_in_time_ends_the_session_and_its_final_is_made_all_the_same(
    start_server: StartServer,
) -> None:
    client = await start_server(resume_window_s=0.2, live=LiveConfig(session=SessionLimits(tick_s=0.05)))
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    seen = await read_until(socket, "speech_start")
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    snapshot = await read_event(reader)
    assert snapshot["seq"] >= seen["seq"]  # an acknowledgement may have followed
    socket._writer.transport.abort()
    events = await read_to_the_close(reader)
    assert [event["type"] for event in events] == ["speech_end", "final", "end"]
    assert (events[0]["reason"], events[2]["reason"]) == ("disconnect", "disconnect")
    assert events[1]["text"]
    await eventually(lambda: len(sessions_of(client)) == 0)


async def test_a_goodbye_ends_the_session_at_once(client: Client) -> None:
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await socket.close()
    events = await read_to_the_close(reader)
    assert [event["type"] for event in events][-3:] == ["speech_end", "final", "end"]
    await eventually(lambda: len(sessions_of(client)) == 0)


@pytest.mark.parametrize("settings", [{"resume_window_s": 0.0}, {}], ids=["switched off", "a container"])
async def test_a_session_that_cannot_be_resumed_has_no_resume_window_ends_at_once_and_is_refused(
    start_server: StartServer, settings: dict[str, Any]
) -> None:
    client = await start_server(**settings)
    socket, ready = await start(client, encoding="pcm_s16le" if settings else "auto")
    assert ready["resume_window_ms"] == 0
    assert await refusal_of(await resume(client, ready, 1)) == ("unsupported_resume", 1008)
    socket._writer.transport.abort()
    await eventually(lambda: len(sessions_of(client)) == 0)
    assert await refusal_of(await resume(client, ready, 1)) == ("unsupported_resume", 1008)


async def test_a_parked_session_holds_its_slot_and_its_publisher_gets_back_in_on_a_full_server(
    start_server: StartServer,
) -> None:
    client = await start_server(max_streams=2)
    other, _ = await start(client)
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    seen = await read_until(socket, "speech_start")
    await drop(client, socket)
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/v1/stream")
    socket = await resume(client, ready, seen["seq"])
    assert (await read_event(socket))["session"] == ready["session"]
    assert sessions_of(client).n_accepted == 2
    for one in (socket, other):
        await one.send_json({"type": "stop"})
        await read_to_the_close(one)
    await eventually(lambda: len(sessions_of(client)) == 0)


async def lost(client: Client, **options: Any) -> dict[str, Any]:
    """A session with audio whose publisher is away, and its newest event before that."""
    n_parked = sessions_of(client).n_parked
    socket, ready = await start(client, **options)
    await socket.send_bytes(SPEECH)
    seen = await read_until(socket, "speech_start")
    socket._writer.transport.abort()
    await eventually(lambda: sessions_of(client).n_parked == n_parked + 1)
    return {**ready, "last_seq": seen["seq"]}


async def ended(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)


async def test_new_streams_take_the_slots_of_publishers_that_are_away_the_longest_first(
    start_server: StartServer,
) -> None:
    """Lost connections filled a server for a minute. The sessions still wait, and go on where there is room."""
    client = await start_server(max_streams=4)
    first, second, *others = [await lost(client) for _ in range(4)]
    sessions = sessions_of(client)
    new, _ = await start(client)
    assert (len(sessions), sessions.n_parked) == (4, 4)
    resumed = [await resume(client, ready, ready["last_seq"]) for ready in (second, *others)]
    for socket, ready in zip(resumed, (second, *others), strict=True):
        assert (await read_event(socket))["session"] == ready["session"]
    assert await refusal_of(await resume(client, first, first["last_seq"])) == ("overloaded", 1013)
    await ended(new)
    socket = await resume(client, first, first["last_seq"])
    assert (await read_event(socket))["received_ms"] == len(SPEECH) // 32
    for each in (socket, *resumed):
        await ended(each)
    await eventually(lambda: len(sessions) == 0)


async def test_while_somebody_is_there_a_slot_is_taken_only_after_a_while(start_server: StartServer) -> None:
    limits = LiveConfig(registry=RegistryLimits(take_after_s=0.5))
    client = await start_server(max_streams=2, live=limits)
    live, _ = await start(client)
    await lost(client)
    assert (await client.get("/v1/stream")).status == 503
    while (answer := await client.get("/v1/stream")).status == 503:
        pass
    assert answer.status == 426  # it would be accepted
    assert sessions_of(client).n_parked == 1  # but asking takes nothing from anybody
    new, _ = await start(client)
    assert len(sessions_of(client)) == 2
    for socket in (live, new):
        await ended(socket)


async def test_a_publisher_that_returns_takes_the_slot_of_one_that_is_still_away(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    first = await lost(client)
    second = await lost(client)  # has taken the slot of the first one
    socket = await resume(client, first, first["last_seq"])
    assert (await read_event(socket))["session"] == first["session"]
    assert len(sessions_of(client)) == 1
    await ended(socket)
    socket = await resume(client, second, second["last_seq"])
    assert (await read_event(socket))["session"] == second["session"]
    await ended(socket)


async def test_a_drain_waits_for_the_last_words_of_a_session_that_has_lost_its_slot(start_server: StartServer) -> None:
    client = await start_server("delay 0.3", max_streams=1)
    ready = await lost(client)
    new, _ = await start(client)
    await ended(new)
    await eventually(lambda: len(sessions_of(client)) == 0)
    await sessions_of(client).drain()
    hub = sessions_of(client).find(ready["session"]).hub
    assert hub.ended
    assert [final.text for final in hub.finals] != [""]


async def test_a_publisher_who_leaves_and_comes_at_once_is_not_refused_by_the_last_words_of_before(
    start_server: StartServer,
) -> None:
    """A page that is loaded again closes its connection, and its last final is still awaited."""
    client = await start_server("delay 0.5", max_streams=1)
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    await socket.close(code=WSCloseCode.GOING_AWAY)
    hub = sessions_of(client).find(ready["session"]).hub
    socket, _ = await start(client)
    assert not hub.ended
    await eventually(lambda: hub.ended)
    await ended(socket)


async def is_silent_for(client: Client, seconds: float) -> None:
    """Wait until the only publisher has sent nothing for this time."""
    [connection] = sessions_of(client).connections
    assert isinstance(connection, Connection)
    await eventually(lambda: time.monotonic() - connection.last_received_s > seconds)


async def test_a_publisher_whose_network_broke_is_not_refused_by_the_connection_that_nobody_has_closed(
    start_server: StartServer,
) -> None:
    limits = LiveConfig(socket=SocketLimits(answer_timeout_s=0.3))
    client = await start_server(max_streams=1, live=limits)
    async with raw_peer(str(client.make_url("/"))) as gone:  # answers no ping
        await gone.send({"type": "start"})
        await gone.send(SPEECH)
        received = b""
        while b"speech_start" not in received:
            received += await gone.receive()
        await is_silent_for(client, 0.3)
        socket, _ = await start(client)
        assert sessions_of(client).n_parked == 1
        await ended(socket)


async def test_a_silent_publisher_that_is_still_there_keeps_its_slot(start_server: StartServer) -> None:
    client = await start_server(max_streams=1, live=LiveConfig(socket=SocketLimits(answer_timeout_s=0.3)))
    silent, _ = await start(client)
    answering = asyncio.ensure_future(silent.receive())
    await is_silent_for(client, 0.3)
    assert (await client.get("/v1/stream")).status == 503
    assert sessions_of(client).n_parked == 0
    answering.cancel()
    await asyncio.wait({answering})
    await silent.close()


async def test_a_client_that_only_pretends_to_resume_gets_no_slot_on_a_full_server(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    _, ready = await start(client)
    socket = await client.ws_connect("/v1/stream", params={"resume": ready["session"]})
    await socket.send_json({"type": "start"})
    assert await refusal_of(socket) == ("overloaded", 1013)
    assert len(sessions_of(client)) == 1


async def test_a_client_that_claims_a_session_and_is_refused_is_not_read_on(start_server: StartServer) -> None:
    """Anybody can claim one, and send large messages that are held until they are complete."""
    client = await start_server(live=LiveConfig(socket=SocketLimits(close_timeout_s=1000.0)))
    _, ready = await start(client)
    url = str(client.make_url("/"))
    async with raw_peer(url, f"v1/stream?resume={ready['session']}") as claim:
        await claim.send({"type": "start", "resume": {"session": ready["session"], "token": "wrong", "last_seq": 1}})
        async with asyncio.timeout(20):
            received = await claim.receive_all()  # and the Close is not answered
    assert b"wrong_token" in received
    assert close_codes(received) == [1008]


async def test_a_connection_that_held_a_slot_gives_it_back_when_it_resumes(client: Client) -> None:
    old, ready = await start(client)
    await drop(client, old)
    socket = await client.ws_connect("/v1/stream")  # only its `start` has the claim
    claim = {"session": ready["session"], "token": ready["resume_token"], "last_seq": 1}
    await socket.send_json({"type": "start", "resume": claim})
    await read_event(socket)
    assert len(sessions_of(client)) == 1
    assert sessions_of(client).n_parked == 0


async def test_a_drain_ends_parked_sessions_at_once_with_their_finals(start_server: StartServer) -> None:
    client = await start_server("delay 0.2")
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    await drop(client, socket)
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    sessions = sessions_of(client)
    async with asyncio.timeout(3):
        await sessions.drain()
    assert not sessions.overran
    events = await read_to_the_close(reader)
    assert [event["type"] for event in events][-2:] == ["final", "end"]
    assert (events[-2]["text"] != "", events[-1]["reason"]) == (True, "draining")


async def test_captions_that_are_forgotten_when_the_publisher_comes_back_are_a_gap_with_its_times(
    client: Client,
) -> None:
    socket, ready = await start(client)
    await socket.send_bytes(SPEECH + PAUSE)
    final = await read_until(socket, "final")
    for number in range(MAX_MESSAGES):
        await socket.send_json({"type": "ping", "id": number})
    while (await read_until(socket, "pong"))["id"] < MAX_MESSAGES - 1:
        pass
    await drop(client, socket)
    socket = await resume(client, ready, 1)
    await read_event(socket)
    gap = await read_event(socket)
    assert gap["type"] == "gap"
    assert (gap["start_ms"], gap["end_ms"]) == (final["start_ms"], final["end_ms"])
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [event["seq"] for event in events] == list(range(gap["seq"] + 1, gap["seq"] + 1 + len(events)))
    assert events[-1]["type"] == "end"


async def test_ready_has_a_token_for_readers_if_the_session_is_private(client: Client) -> None:
    _, public = await start(client)
    assert (public["private"], "reader_token" in public) == (False, False)
    _, private = await start(client, private=True)
    assert private["private"]
    assert len({private["reader_token"], private["resume_token"], private["session"]}) == 3


async def test_no_log_line_admits_anybody(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Anyone who knows a session's id may read along."""
    caplog.set_level("INFO")
    socket, ready = await start(client, private=True)
    await drop(client, socket)
    socket = await resume(client, ready, 1)
    await read_event(socket)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    assert "resumed" in caplog.text
    for secret in (ready["session"], ready["resume_token"], ready["reader_token"]):
        assert secret not in caplog.text


@pytest.mark.parametrize("n_pings", [0, 1, 2, 5])
async def test_a_reset_parks_the_session_with_any_number_of_pings_on_their_way(client: Client, n_pings: int) -> None:
    """The answer to a first ping finds the connection reset, that to a second one no connection."""
    async with raw_peer(str(client.make_url("/"))) as peer:
        await peer.send({"type": "start"})
        assert b'"ready"' in await peer.receive()
        await peer.send_raw(frame(PING) * n_pings)
        peer.end_by_reset()
    await eventually(lambda: sessions_of(client).n_parked == 1)


async def test_a_session_without_audio_holds_no_slot_while_its_publisher_is_away(
    start_server: StartServer,
) -> None:
    """Otherwise, connecting and vanishing would fill a server for a minute."""
    client = await start_server(max_streams=1)
    socket, ready = await start(client)
    await drop(client, socket)
    assert len(sessions_of(client)) == 0
    socket = await resume(client, ready, 1)
    assert (await read_event(socket))["session"] == ready["session"]
    assert len(sessions_of(client)) == 1
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "stop"})
    assert (await read_to_the_close(socket))[-1]["reason"] == "stop"
    await eventually(lambda: len(sessions_of(client)) == 0)


async def test_a_session_with_audio_keeps_its_slot(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    socket, _ = await start(client)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    await drop(client, socket)
    assert len(sessions_of(client)) == 1


async def test_a_publisher_whose_slot_was_taken_meanwhile_gets_a_refusal_and_may_try_again(
    start_server: StartServer,
) -> None:
    client = await start_server(max_streams=1)
    socket, ready = await start(client)
    await drop(client, socket)
    other, _ = await start(client)
    assert await refusal_of(await resume(client, ready, 1)) == ("overloaded", WSCloseCode.TRY_AGAIN_LATER)
    await other.send_json({"type": "stop"})
    await read_to_the_close(other)
    socket = await resume(client, ready, 1)
    assert (await read_event(socket))["session"] == ready["session"]


async def test_of_many_sessions_without_audio_the_newest_are_kept(
    start_server: StartServer,
) -> None:
    client = await start_server(live=LiveConfig(registry=RegistryLimits(max_without_slot=2)))
    started = [await start(client) for _ in range(3)]
    for socket, _ in started:
        socket._writer.transport.abort()
    await eventually(lambda: sessions_of(client).n_parked == 2)
    ended = [sessions_of(client).find(ready["session"]).hub.ended for _, ready in started]
    assert sum(ended) == 1


async def test_one_publisher_that_comes_and_goes_pushes_out_no_other_session(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(registry=RegistryLimits(max_without_slot=2)))
    other, waiting = await start(client)
    await drop(client, other)
    socket, ready = await start(client)
    for _ in range(3):
        socket._writer.transport.abort()
        await eventually(lambda: sessions_of(client).n_parked == 2)
        socket = await resume(client, ready, 1)
        await read_event(socket)
    assert not sessions_of(client).find(waiting["session"]).hub.ended
    await socket.close()


async def test_of_many_connections_that_claim_a_session_the_newest_may_stay(start_server: StartServer) -> None:
    """They need no slot and no token until they have sent something."""
    client = await start_server(live=LiveConfig(registry=RegistryLimits(max_claims=2)))
    socket, ready = await start(client)
    claims = [await client.ws_connect("/v1/stream", params={"resume": ready["session"]}) for _ in range(3)]
    assert await refusal_of(claims[0]) == ("overloaded", WSCloseCode.TRY_AGAIN_LATER)
    claim = {"session": ready["session"], "token": ready["resume_token"], "last_seq": 1}
    await claims[1].send_json({"type": "start", "resume": claim})
    assert (await read_event(claims[1]))["session"] == ready["session"]
    another = await client.ws_connect("/v1/stream", params={"resume": ready["session"]})
    await another.send_json({"type": "start", "resume": claim})  # one that is through is no claim any more
    assert (await read_event(another))["session"] == ready["session"]
    await socket.close()


async def test_ended_sessions_are_kept_up_to_a_number(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(registry=RegistryLimits(max_ended=2)))
    ids = []
    for _ in range(3):
        socket, ready = await start(client)
        ids.append(ready["session"])
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
    assert [(await client.get(f"/v1/sessions/{session}/transcript.txt")).status for session in ids] == [404, 200, 200]
