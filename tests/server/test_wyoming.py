"""Wyoming over TCP: its clients, what they may do wrong, and the ports of protocols."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from livecaption.errors import ConfigError
from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.server.config import ServerConfig
from livecaption.server.listening import Listener
from livecaption.server.services import SERVICES
from tests.support.cases import for_each
from tests.support.eventually import eventually
from tests.support.proxies import free_ports
from tests.support.serving import PAUSE, SPEECH, nothing_is_left
from tests.support.wyoming import AUDIO, HEAD_OF_2_GB, Ports, WyomingPeer, command, event, serving, stop_reading

__all__ = ["nothing_is_left"]

STOP = event("audio-stop")


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Ports]:
    async with serving() as ports:
        yield ports


@pytest.fixture
async def ports(shared: Ports) -> AsyncIterator[Ports]:
    """A server that the tests of this file share. Each must leave nothing."""
    yield shared
    services = shared.app[SERVICES]
    await eventually(lambda: len(services.sessions) == len(services.wyoming_lobby) == 0)


async def transcript_of(peer: WyomingPeer, pcm: bytes) -> list[tuple[str, dict[str, Any]]]:
    await peer.send(*command(pcm), STOP)
    return await peer.read_all()


async def test_a_command_is_transcribed_and_its_text_grows(ports: Ports) -> None:
    async with ports.connected() as peer:
        events = await transcript_of(peer, SPEECH + PAUSE)
    assert events[0] == ("transcript-start", {"language": "en"})
    chunks = "".join(data["text"] for kind, data in events if kind == "transcript-chunk")
    assert events[-2:] == [("transcript", {"text": chunks, "language": "en"}), ("transcript-stop", {})]
    assert chunks.startswith("One two three")


async def test_a_recording_may_be_one_event(ports: Ports) -> None:
    async with ports.connected() as peer:
        await peer.send(event("audio-chunk", AUDIO, SPEECH + PAUSE), STOP)
        assert dict(await peer.read_all())["transcript"]["text"].startswith("One two three")


async def test_text_comes_before_the_end_of_the_command(ports: Ports) -> None:
    async with ports.connected() as peer:
        await peer.send(*command(SPEECH + PAUSE))
        while (received := await peer.read()) is not None and received.type != "transcript-chunk":
            pass
        assert received is not None
        await peer.send(STOP)
        assert "transcript" in dict(await peer.read_all())


async def test_a_server_that_ends_commands_answers_while_audio_comes() -> None:
    async with serving(wyoming_endpointing=True) as ports, ports.connected() as peer:
        await peer.send(*command(SPEECH + PAUSE))
        while (received := await peer.read()) is not None and received.type != "transcript":
            pass
        assert received is not None
        assert received.data["text"].startswith("One two three")
        await peer.send(event("audio-chunk", AUDIO, PAUSE))
        assert await peer.read_all() == [("transcript-stop", {})]


async def test_silence_has_an_empty_transcript(ports: Ports) -> None:
    async with ports.connected() as peer:
        assert ("transcript", {"text": ""}) in await transcript_of(peer, PAUSE)


async def test_a_command_without_audio_has_an_empty_transcript(ports: Ports) -> None:
    for events in ([STOP], [event("transcribe"), STOP], [event("audio-start", AUDIO), STOP]):
        async with ports.connected() as peer:
            await peer.send(*events)
            assert ("transcript", {"text": ""}) in await peer.read_all()


async def test_a_client_may_only_ask(ports: Ports) -> None:
    async with ports.connected() as peer:
        await peer.send(event("describe"), event("ping", {"text": "hi"}))
        described, answered = await peer.read(), await peer.read()
    assert described is not None
    assert described.data["asr"][0]["models"][0]["name"] == "scripted"
    assert answered is not None
    assert (answered.type, answered.data) == ("pong", {"text": "hi"})


async def test_a_client_is_answered_while_the_model_loads() -> None:
    async with serving("load 5", wait=False) as ports, ports.connected() as peer, asyncio.timeout(1):
        await peer.send(event("describe"))
        described = await peer.read()
        assert described is not None
        assert described.data["asr"][0]["models"][0]["languages"]
        await peer.send(*command(SPEECH))
        [(kind, data)] = await peer.read_all()
        assert (kind, data["code"]) == ("error", "loading")


HEAD = b'{"type": "audio-chunk", "data_length": %d, "payload_length": %d}\n'


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], "invalid_message"),
        ([b"{\n"], "invalid_message"),
        ([b"x" * 20_000], "message_too_big"),
        ([HEAD_OF_2_GB], "message_too_big"),
        ([HEAD % (2_000_000_000, 0)], "message_too_big"),
        ([HEAD % (0, 20_000_000), bytes(200_000)], "message_too_big"),
        ([event("audio-chunk", {**AUDIO, "width": 9}, bytes(4))], "unsupported_encoding"),
        ([event("audio-chunk", {}, bytes(4))], "unsupported_encoding"),
        ([event("audio-start", {**AUDIO, "rate": 7})], "unsupported_sample_rate"),
        ([event("audio-start", AUDIO), event("transcribe")], "wrong_state"),
        ([event("transcribe", {"language": "xx"}), event("audio-start", AUDIO)], "unsupported_language"),
    ],
)
async def test_a_mistake_ends_its_connection_with_an_error_and_no_other(
    ports: Ports, sent: list[bytes], code: str
) -> None:
    async with ports.connected() as other, ports.connected() as peer:
        await other.send(*command(SPEECH))
        await peer.send(*sent)
        events = await peer.read_all()
        assert [(kind, data["code"]) for kind, data in events if kind == "error"] == [("error", code)]
        await other.send(STOP)
        assert "transcript" in dict(await other.read_all())


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b'{"type"'],
        [event("describe")],
        [event("transcribe")],
        [event("audio-start", AUDIO)],
        [*command(SPEECH), HEAD % (0, 5000), bytes(100)],
        [*command(SPEECH), STOP],
    ],
    ids=["nothing", "half a line", "describe", "transcribe", "audio-start", "half a chunk", "audio-stop"],
)
async def test_a_client_may_leave_at_any_time(ports: Ports, sent: list[bytes]) -> None:
    async with ports.connected() as peer:
        await peer.send(*sent)


@pytest.mark.parametrize(
    ("sent", "kind", "is_answered"),
    [
        ([event("describe")], "info", True),
        ([*command(SPEECH), STOP], "transcript", True),
        (command(SPEECH), "transcript", False),
    ],
    ids=["describe", "a command", "half a command"],
)
async def test_a_client_that_ends_its_own_direction_gets_the_answer_to_what_it_has_sent(
    ports: Ports, sent: list[bytes], kind: str, is_answered: bool
) -> None:
    """`nc -N` and `socat -` do so. Audio without its end is no command."""
    async with ports.connected() as peer:
        await peer.send(*sent)
        peer.writer.write_eof()
        assert (kind in dict(await peer.read_all())) is is_answered


async def test_unknown_events_and_a_flood_of_tiny_ones_cost_nothing(ports: Ports) -> None:
    async with ports.connected() as peer:
        await peer.send(event("unknown", {"a": 1}, b"payload"), event("ping") * 1200, *command(SPEECH), STOP)
        kinds = [kind for kind, _ in await peer.read_all()]
    assert kinds.count("pong") == 1200
    assert "transcript" in kinds


async def test_half_a_sample_at_the_end_is_dropped(ports: Ports) -> None:
    async with ports.connected() as peer:
        assert "transcript" in dict(await transcript_of(peer, SPEECH + b"\0"))


async def flood(peer: WyomingPeer) -> None:
    """Send events with large answers until the connection breaks."""
    async with asyncio.timeout(30):
        while True:
            await peer.send(event("ping", {"text": "x" * 10_000}) * 10)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    limits = SocketLimits(messages_per_s=1e6, messages_burst=1e6, send_timeout_s=0.2)
    async with serving(live=LiveConfig(socket=limits)) as ports, ports.connected() as peer:
        stop_reading(peer.writer)
        with pytest.raises(ConnectionError):
            await flood(peer)
        await eventually(lambda: len(ports.app[SERVICES].wyoming_lobby) == 0)


async def test_a_client_that_sends_nothing_is_closed() -> None:
    async with serving(live=LiveConfig(socket=SocketLimits(start_timeout_s=0.1))) as ports, ports.connected() as peer:
        assert [data["code"] for _, data in await peer.read_all()] == ["start_timeout"]


async def test_a_full_server_refuses_a_command_and_still_describes_itself() -> None:
    async with serving(max_streams=1) as ports, ports.connected() as first, ports.connected() as second:
        await first.send(*command(SPEECH))
        await eventually(lambda: len(ports.app[SERVICES].sessions) == 1)
        await second.send(event("describe"), *command(SPEECH))
        kinds = await second.read_all()
        assert [kinds[0][0], kinds[1][1]["code"]] == ["info", "overloaded"]
        assert ports.app[SERVICES].sessions.refused == {"overloaded": 1}


async def test_connections_beyond_the_limit_are_refused() -> None:
    async with serving() as ports, ports.connected() as first:
        await first.send(event("describe"))
        await first.read()
        ports.app[SERVICES].wyoming_lobby._max_connections = 1
        async with ports.connected() as second:
            assert [data["code"] for _, data in await second.read_all()] == ["overloaded"]


async def test_a_crowd_of_wyoming_which_shows_no_key_keeps_nobody_out_who_did() -> None:
    async with serving(token="secret") as ports, ports.connected() as stranger, aiohttp.ClientSession() as http:
        services = ports.app[SERVICES]
        services.wyoming_lobby._max_connections = services.lobby._max_connections = 1
        await stranger.send(event("describe"))
        await stranger.read()
        async with http.ws_connect(f"ws://127.0.0.1:{ports.whisperlive}/?token=secret") as peer:
            await peer.send_str(json.dumps({"uid": "u", "language": "en"}))
            assert (await peer.receive_json(timeout=20))["message"] == "SERVER_READY"


async def test_a_stop_of_the_server_sends_the_transcript_so_far() -> None:
    async with serving() as ports, ports.connected() as peer, ports.connected() as idle:
        await peer.send(*command(SPEECH))
        await eventually(lambda: ports.app[SERVICES].sessions.received_ms >= 1400)
        await ports.app[SERVICES].sessions.drain()
        events = await peer.read_all()
        assert events[-1][0] == "transcript-stop"
        assert dict(events)["transcript"]["text"]
        assert await idle.read_all() == []


# Ports of other protocols


async def test_a_port_of_vosk_speaks_it_at_its_root(ports: Ports) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"ws://127.0.0.1:{ports.vosk}/") as peer:
        await peer.send_bytes(bytes(320))
        assert await peer.receive_json(timeout=20) == {"partial": ""}
        await peer.send_str('{"eof" : 1}')
        assert await peer.receive_json(timeout=20) == {"text": ""}


async def test_a_port_of_whisperlive_speaks_it_at_its_root_and_nothing_else(ports: Ports) -> None:
    address = f"ws://127.0.0.1:{ports.whisperlive}/"
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(address) as peer:
            await peer.send_str(json.dumps({"uid": "u", "language": "en"}))
            assert (await peer.receive_json(timeout=20))["message"] == "SERVER_READY"
        async with http.ws_connect(address) as peer:
            await peer.send_bytes(bytes(320))
            assert (await peer.receive_json(timeout=20))["status"] == "ERROR"


async def test_ports_of_protocols_need_the_key_too() -> None:
    async with serving(token="a secret of the operator") as ports, aiohttp.ClientSession() as http:
        for port in (ports.vosk, ports.whisperlive):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await http.ws_connect(f"ws://127.0.0.1:{port}/")
            await (await http.ws_connect(f"ws://127.0.0.1:{port}/?token=a%20secret%20of%20the%20operator")).close()


@for_each("name", ["wyoming", "vosk", "whisperlive"])
def test_a_port_that_another_program_uses_is_named_with_its_flag(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as refused:
            Listener.bind(ServerConfig(port=free_ports(1)[0], **{f"{name}_port": port}))
    assert str(refused.value) == (f"cannot listen on 127.0.0.1 port {port}: another program uses it (--{name}-port)")


@for_each(
    ("settings", "word"),
    [
        ({"vosk_port": 70_000}, "65535"),
        ({"vosk_port": -1}, "65535"),
        ({"vosk_port": 8000}, "differ"),
        ({"vosk_port": 2700, "whisperlive_port": 2700}, "differ"),
        ({"wyoming_port": 10_300, "host": "unix:/run/livecaption"}, "Unix socket"),
        ({"wyoming_port": 10_300, "protocols": ("native",)}, "protocols"),
        ({"wyoming_port": 10_300, "host": "0.0.0.0", "token": "secret"}, "no keys"),
    ],
)
def test_a_port_that_cannot_be_used_is_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ServerConfig(**settings)


@for_each("settings", [{"token": "secret"}, {"host": "0.0.0.0", "token": "secret", "insecure": True}])
def test_wyoming_without_keys_is_for_this_machine_or_for_everybody(settings: dict[str, Any]) -> None:
    assert ServerConfig(wyoming_port=10_300, **settings).own_ports == {"wyoming": 10_300}
