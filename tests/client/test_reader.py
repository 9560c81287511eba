"""The guarantees of `watch`: each final once, across lost connections, with a server that follows a script."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.client import (
    Part,
    Reader,
    ReaderEvent,
    Reconnected,
    Reconnecting,
    StreamClosed,
    StreamRefused,
    watch,
)
from livecaption.events import End, Final, Partial, Room, SpeakerNamed, Translation
from tests.support.scripted_peer import END, FINAL, ServerOf

ROOM: dict[str, Any] = {"type": "room", "name": "pycon", "title": "", "private": False, "state": "live"}
ROOM |= {"session": "s1", "away": False, "parts": []}
SNAPSHOT: dict[str, Any] = {"type": "snapshot", "title": "Talk", "language": "de", "finals": [], "partial": None}
SNAPSHOT |= {"epoch": "e", "session": "s1", "seq": 4, "tracks": ["en", "fr"]}
PARTIAL = {"utterance": 2, "revision": 0, "text": "and so", "stable": "", "start_ms": 0, "end_ms": 900}


def final(utterance: int, **more: Any) -> dict[str, Any]:
    return FINAL | {"utterance": utterance, "text": f"Final {utterance}."} | more


def abort(socket: web.WebSocketResponse) -> None:
    """Break the connection, without a Close."""
    socket._req.transport.abort()


async def events_of(reader: Reader) -> list[ReaderEvent]:
    return [event async for event in reader]


def brief(events: list[ReaderEvent]) -> list[Any]:
    """Return what identifies each event."""
    return [
        (event.type, event.utterance) if isinstance(event, Final | Partial | Translation) else type(event)
        for event in events
    ]


async def test_captions_so_far_come_first_as_events_of_their_own(server_of: ServerOf) -> None:
    texts = [{"language": "en", "text": "One."}, {"language": "fr", "text": "Un."}]

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(ROOM)
        await socket.send_json(SNAPSHOT | {"finals": [final(0, translations=texts), final(1)], "partial": PARTIAL})
        await socket.send_json(ROOM)  # nothing has changed
        await socket.send_json({"type": "applause", "seq": 5})
        await socket.send_json(final(2, seq=6))
        await socket.send_json(END | {"seq": 7})

    async with watch(await server_of(script), "pycon") as reader:
        events = await events_of(reader)
        assert await events_of(reader) == []
    assert events[1] == Part("s1", "Talk", "de", ("en", "fr"))
    assert events[3:5] == [Translation(0, "en", "One."), Translation(0, "fr", "Un.")]
    assert brief(events[:2] + events[2:3] + events[5:]) == [
        Room,
        Part,
        ("final", 0),
        ("final", 1),
        ("partial", 2),
        ("final", 2),
        End,
    ]
    assert [event.translations for event in events if isinstance(event, Final)] == 3 * [None]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_lost_connection_loses_and_repeats_no_final(server_of: ServerOf, restarts: bool) -> None:
    """The server has the events after the position; or it restarted, and sends all captions again."""
    asked: list[dict[str, Any]] = []

    async def script(socket: web.WebSocketResponse, parameters: dict[str, Any]) -> None:
        asked.append(parameters)
        if len(asked) == 1:
            await socket.send_json(ROOM)
            await socket.send_json(SNAPSHOT | {"finals": [final(0)]})
            await socket.send_json(final(1, seq=5))
            if restarts:
                await socket.close(code=1012)
            else:
                abort(socket)
            return
        await socket.send_json(ROOM)
        if restarts:
            await socket.send_json(SNAPSHOT | {"finals": [final(0), final(1), final(2)], "epoch": "f", "seq": 1000})
        else:
            await socket.send_json(final(2, seq=6))
        await socket.send_json(END | {"seq": 1001})

    async with watch(await server_of(script), "pycon") as reader:
        events = await events_of(reader)
    assert asked == [{"name": "pycon"}, {"name": "pycon", "last_event_id": "e-5"}]
    again = [Part] if restarts else []
    expected = [Room, Part, ("final", 0), ("final", 1), Reconnecting, Reconnected, *again, ("final", 2), End]
    assert brief(events) == expected


async def test_names_come_with_the_captions_and_again_only_if_they_have_changed(server_of: ServerOf) -> None:
    ada, bob = {"speaker": 1, "name": "Ada"}, {"speaker": 2, "name": "Bob"}

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(SNAPSHOT | {"finals": [final(0)], "names": [ada, bob]})
        await socket.send_json({"type": "name", "seq": 5} | bob)
        await socket.send_json({"type": "name", "seq": 6} | bob | {"name": "Bob B."})
        await socket.send_json(SNAPSHOT | {"finals": [final(0)], "names": [ada, bob | {"name": "Bob B."}]})
        await socket.send_json(SNAPSHOT | {"session": "s2", "names": [ada]})

    async with watch(await server_of(script), "pycon") as reader:
        events = await events_of(reader)
    named = [event for event in events if isinstance(event, SpeakerNamed)]
    assert named == [SpeakerNamed(1, "Ada"), SpeakerNamed(2, "Bob"), SpeakerNamed(2, "Bob B."), SpeakerNamed(1, "Ada")]


async def test_parts_of_a_room_may_have_finals_of_the_same_number(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(SNAPSHOT | {"finals": [final(0)]})
        await socket.send_json(SNAPSHOT | {"session": "s2", "finals": [final(0)]})
        await socket.send_json(SNAPSHOT | {"session": "s2", "finals": [final(0)]})

    async with watch(await server_of(script), "pycon") as reader:
        events = await events_of(reader)
    assert brief(events) == [Part, ("final", 0), Part, ("final", 0), Part]


async def test_only_translations_of_the_track_come(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        texts = [{"language": "fr", "text": "Un."}, {"language": "en", "text": "One."}]
        await socket.send_json(SNAPSHOT | {"finals": [final(0, translations=texts)]})
        await socket.send_json(final(1, seq=5))
        for seq, (language, text) in enumerate([("fr", "Deux."), ("en", "Two."), ("en", "Two.")], start=6):
            await socket.send_json(
                {"type": "translation", "utterance": 1, "language": language, "text": text, "seq": seq}
            )

    async with watch(await server_of(script), "pycon", track="en") as reader:
        events = await events_of(reader)
    translations = [event for event in events if isinstance(event, Translation)]
    assert translations == [Translation(0, "en", "One."), Translation(1, "en", "Two.")]


@pytest.mark.parametrize(("code", "reason"), [(1008, "a reader may not send messages"), (1011, "")])
async def test_a_server_that_closes_for_good_is_an_error(server_of: ServerOf, code: int, reason: str) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.close(code=code, message=reason.encode())

    async with watch(await server_of(script), "pycon") as reader:
        with pytest.raises(StreamClosed, match=reason or "the server closed") as closed:
            await events_of(reader)
    assert closed.value.code == code


@pytest.mark.parametrize("text", ["applause", "[]", '{"type": "final", "seq": 3}'])
async def test_a_server_that_breaks_the_protocol_is_an_error(server_of: ServerOf, text: str) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_str(text)

    async with watch(await server_of(script), "pycon") as reader:
        with pytest.raises(StreamClosed, match="not an event") as closed:
            await events_of(reader)
    assert closed.value.code == 1002


async def test_a_binary_message_of_a_newer_server_is_skipped(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_bytes(b"applause")
        await socket.send_json(ROOM)

    async with watch(await server_of(script), "pycon") as reader:
        assert brief(await events_of(reader)) == [Room]


async def test_a_room_that_is_gone_after_a_lost_connection_is_refused_with_its_code() -> None:
    n_requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal n_requests
        n_requests += 1
        if n_requests > 1:
            return web.json_response({"code": "unknown_room", "message": "there is no such room"}, status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        abort(socket)
        return socket

    application = web.Application()
    application.router.add_get("/v1/rooms/pycon/watch", answer)
    async with TestServer(application) as server, watch(str(server.make_url("/")), "pycon") as reader:
        assert await anext(reader) == Reconnecting()
        with pytest.raises(StreamRefused, match="no such room") as refused:
            await anext(reader)
    assert refused.value.code == "unknown_room"
