"""Keys of a running server: their file changes, their limits and last days come, and wrong tokens are counted."""

import asyncio
import base64
import logging
import os
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import hdrs

from livecaption import keys
from livecaption.errors import ConfigError, LimitReached
from livecaption.ipc.logs import fields_of
from livecaption.keys import Key, Role
from livecaption.server import build_app
from livecaption.server import keys as server_keys
from livecaption.server.attempts import MAX_COMPARED
from livecaption.server.config import ServerConfig
from livecaption.server.keys import KEYS, Keys
from tests.support.cases import for_each
from tests.support.eventually import eventually
from tests.support.serving import SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

Serve = Callable[..., Awaitable[Client]]
PUBLISH = frozenset({Role.PUBLISH})
TOKEN = "lc_hall-a"
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


def key(name: str = "Hall A", token: str = TOKEN, roles: frozenset[Role] = PUBLISH, **limits: Any) -> Key:
    return Key(name, roles, keys.hash_of(token.encode()), **limits)


ADMIN = key("Office", "lc_office", frozenset({Role.ADMINISTRATE}))


def bearer(token: str) -> dict[str, str]:
    return {hdrs.AUTHORIZATION: f"Bearer {token}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def write(file: Path, *own: Key) -> None:
    # As editors do: a new file takes the place of the old one.
    new = file.with_suffix(".new")
    new.write_text("\n".join(map(keys.as_toml, own)))
    new.replace(file)


@pytest.fixture
def own(file: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Return keys whose file has one, and is looked at without a pause."""
    monkeypatch.setattr(server_keys, "LOOK_S", 0.001)
    write(file, key())
    return Keys(ServerConfig(tokens=str(file)))


def write_unnoticed(file: Path, own: Key) -> None:
    """Write a key as long as the one that was there, and leave the file the time of its last change."""
    before = file.stat()
    file.write_text(keys.as_toml(own))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_size) == (before.st_ino, before.st_size)


def break_file(file: Path, content: str | None) -> None:
    """Write this, or remove the file."""
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def serve(start_server: StartServer, file: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setattr(server_keys, "LOOK_S", 0.02)

    async def serve(*own: Key, **settings: Any) -> Client:
        write(file, *own)
        return await start_server(tokens=str(file), trusted_proxies=("127.0.0.1",), **settings)

    return serve


async def code_of(client: Client, token: str, path: str = "/v1/stream", address: str = "192.0.2.1") -> str:
    async with client.get(path, headers=bearer(token) | {"X-Forwarded-For": address}) as answer:
        return "" if answer.status == 200 else str((await answer.json())["code"])


async def stream(client: Client, token: str = TOKEN, **options: Any) -> Any:
    socket = await client.ws_connect("/v1/stream", headers=bearer(token))
    await socket.send_json({"type": "start", **options})
    return socket


# The file


async def test_a_new_key_works_and_a_removed_one_does_not_without_a_restart(serve: Serve, file: Path) -> None:
    client = await serve(key())
    assert await code_of(client, TOKEN) == "upgrade_required"
    write(file, key("Hall B", "lc_hall-b"))

    async def is_reloaded() -> bool:
        return await code_of(client, "lc_hall-b", address="192.0.2.9") == "upgrade_required"

    for _ in range(200):
        if await is_reloaded():
            break
        await asyncio.sleep(0.02)
    assert await code_of(client, TOKEN) == "unauthorized"


async def test_a_broken_file_keeps_the_keys_and_is_logged_once_without_its_contents(
    serve: Serve, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serve(key(), wait=False)
    caplog.set_level(logging.INFO)
    for content in ("[[key]]\nname = 'Hall B'\nsha256 = 'hush'\n", "", f"x = {'[' * 5000}", None):
        break_file(file, content)

        def faults() -> list[str]:
            return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

        await eventually(lambda: len(faults()) == 1)
        await asyncio.sleep(0.2)  # ten looks
        assert len(faults()) == 1
        assert "tokens: not reloaded" in faults()[0]
        assert "hush" not in caplog.text
        caplog.clear()
        assert client.app[KEYS].find([TOKEN.encode()]) is not None
    write(file, key("Hall B", "lc_hall-b"))
    await eventually(lambda: client.app[KEYS].find([b"lc_hall-b"]) is not None)


async def test_a_file_that_could_not_be_read_is_read_at_a_later_look_though_it_does_not_change(
    file: Path, own: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, key("Hall B", "lc_hall-b"))
    with no_more_files():
        watching = asyncio.ensure_future(own.watch())
        await eventually(lambda: "Too many open files" in caplog.text)
        await asyncio.sleep(0.1)  # many looks
    assert caplog.text.count("tokens: not reloaded") == 1
    await eventually(lambda: own.find([b"lc_hall-b"]) is not None)
    assert own.find([TOKEN.encode()]) is None
    watching.cancel()
    await asyncio.wait({watching})


async def test_a_stream_ends_when_its_key_expires_while_the_file_cannot_be_used(
    serve: Serve, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serve(key(expires=date(2999, 1, 1)))
    socket = await stream(client)
    await read_until(socket, "ready")
    break_file(file, None)
    await eventually(lambda: "tokens: not reloaded" in caplog.text)
    monkeypatch.setattr(server_keys, "_now", lambda: datetime(2999, 1, 2, tzinfo=UTC))
    assert (await read_until(socket, "error"))["code"] == "unauthorized"
    await read_to_the_close(socket)


async def test_a_change_that_keeps_the_size_and_the_time_of_the_file_is_seen(file: Path, own: Keys) -> None:
    write_unnoticed(file, key("Hall B", "lc_hall-b"))
    watching = asyncio.ensure_future(own.watch())
    await eventually(lambda: own.find([b"lc_hall-b"]) is not None)
    watching.cancel()
    await asyncio.wait({watching})


def test_a_reload_reads_the_file_at_once_and_a_broken_one_keeps_the_keys(file: Path) -> None:
    write(file, key())
    own = Keys(ServerConfig(tokens=str(file)))
    write(file, key("Hall B", "lc_hall-b"))
    own.reload()
    assert (own.find([TOKEN.encode()]), own.find([b"lc_hall-b"])) == (None, key("Hall B", "lc_hall-b"))
    for content in ("[[key]]", "", "# being written"):
        file.write_text(content)
        with pytest.raises(ConfigError):
            own.reload()
        assert own.find([b"lc_hall-b"]) is not None
    file.write_text("key = []")
    own.reload()
    assert own.find([b"lc_hall-b"]) is None


async def test_an_unexpected_fault_of_a_look_does_not_end_the_looks(
    file: Path, own: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(server_keys, "_now", lambda: [][0])
        watching = asyncio.ensure_future(own.watch())
        await eventually(lambda: "a look at the keys failed" in caplog.text)
    caplog.clear()
    write(file, key("Hall B", "lc_hall-b"))
    await eventually(lambda: own.find([b"lc_hall-b"]) is not None)
    watching.cancel()
    await asyncio.wait({watching})


def test_a_server_does_not_start_without_its_file(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"keys\.toml: No such file"):
        Keys(ServerConfig(tokens=str(file)))


def test_a_file_of_keys_that_all_users_can_write_gets_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, key())
    for mode, n_warnings in ((0o600, 0), (0o664, 0), (0o666, 1)):
        file.chmod(mode)
        Keys(ServerConfig(tokens=str(file)))
        assert caplog.text.count("all users of this machine can write") == n_warnings


def test_the_simple_token_works_beside_a_file_which_must_not_have_it_too(file: Path) -> None:
    write(file, key())
    own = Keys(ServerConfig(token="simple", tokens=str(file)))
    assert [found and found.name for found in (own.find([b"simple"]), own.find([TOKEN.encode()]))] == [
        "token",
        "Hall A",
    ]
    with pytest.raises(ConfigError, match="'Hall A' has the token of LIVECAPTION_TOKEN"):
        Keys(ServerConfig(token=TOKEN, tokens=str(file)))


async def test_a_file_without_keys_accepts_nobody(serve: Serve) -> None:
    client = await serve(wait=False)
    for path in ("/v1/stream", "/v1/sessions", "/metrics"):
        assert (await client.get(path)).status == 401


# What keys allow


async def test_the_key_is_named_in_the_log_and_the_figures_and_its_token_is_not(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await serve(key(), ADMIN, key("Hall B", "lc_hall-b"))
    socket = await stream(client)
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "flush", "id": "one"})
    await read_until(socket, "flushed")
    await eventually(lambda: client.app[KEYS].in_use[0].usage.total_ms == 1400)
    assert await code_of(client, TOKEN, "/v1/stats") == "forbidden_role"
    figures = await (await client.get("/v1/stats", headers=bearer("lc_office"))).json()
    assert figures["keys"] == {
        "wrong_tokens": 0,
        "streams": {"Hall A": 1, "Office": 0, "Hall B": 0},
        "audio_s": {"Hall A": 1.4, "Office": 0, "Hall B": 0},
        "refused": {"Hall A": 0, "Office": 0, "Hall B": 0},
    }
    text = await (await client.get("/metrics", headers=bearer("lc_office"))).text()
    assert 'livecaption_key_streams{key="Hall A"} 1.0' in text
    assert "has the key 'Hall A'" in caplog.text
    named = [record for record in caplog.records if fields_of(record).get("key") == "Hall A"]
    assert len(named) == 2  # its stream, and the refusal
    assert "refused: forbidden_role for GET /v1/stats" in caplog.text
    assert "and key 'Hall A'" in caplog.text
    assert "lc_" not in caplog.text + text + str(figures)
    await socket.close()


async def test_an_expired_key_is_refused_with_its_last_day(serve: Serve) -> None:
    client = await serve(key(expires=YESTERDAY), wait=False)
    answer = await client.get("/v1/stream", headers=bearer(TOKEN))
    refusal = await answer.json()
    assert (answer.status, refusal["code"]) == (401, "unauthorized")
    assert refusal["message"] == f"the key 'Hall A' has expired: its last day was {YESTERDAY}"


async def test_a_key_has_so_many_streams_and_each_that_ends_frees_a_place(serve: Serve) -> None:
    client = await serve(key(max_streams=1), key("Hall B", "lc_hall-b"))
    first = await stream(client)
    assert (await read_event(first))["type"] == "ready"
    async with client.get("/v1/stream", headers=bearer(TOKEN)) as answer:
        refusal = await answer.json()
        assert (answer.status, refusal["code"]) == (429, "too_many_streams")
        assert answer.headers["Retry-After"] == "10"
    assert await code_of(client, "lc_hall-b") == "upgrade_required"
    await first.send_json({"type": "stop"})
    await read_to_the_close(first)
    assert await code_of(client, TOKEN) == "upgrade_required"


async def test_two_streams_that_begin_together_do_not_exceed_the_limit(serve: Serve) -> None:
    client = await serve(key(max_streams=1))
    sockets = [await client.ws_connect("/v1/stream", headers=bearer(TOKEN)) for _ in range(2)]
    for socket in sockets:
        await socket.send_json({"type": "start"})
    assert (await read_event(sockets[0]))["type"] == "ready"
    refusal = await read_event(sockets[1])
    assert (refusal["type"], refusal["code"]) == ("error", "too_many_streams")
    await read_to_the_close(sockets[1])
    assert sockets[1].close_code == 1013
    await sockets[0].close()


async def test_a_stream_that_is_resumed_or_replaced_in_its_room_is_no_second_one(serve: Serve) -> None:
    client = await serve(key(max_streams=1))
    room = {"name": "hall", "secret": "s" * 16}
    first = await stream(client, room=room)
    ready = await read_event(first)
    resume = {"session": ready["session"], "token": ready["resume_token"], "last_seq": 1}
    second = await client.ws_connect("/v1/stream", params={"resume": ready["session"]}, headers=bearer(TOKEN))
    await second.send_json({"type": "start", "resume": resume})
    assert (await read_event(second))["type"] == "ready"
    third = await client.ws_connect("/v1/stream", params={"room": "hall"}, headers=bearer(TOKEN))
    await third.send_json({"type": "start", "room": room | {"take_over": True}})
    assert (await read_event(third))["type"] == "ready"
    for socket in (first, second, third):
        await socket.close()


async def test_running_streams_end_with_their_finals_when_their_key_no_longer_allows_them(
    serve: Serve, file: Path
) -> None:
    cases: dict[str, tuple[dict[str, Any] | None, str, int]] = {
        "removed": (None, "unauthorized", 1008),
        "expired": ({"expires": YESTERDAY}, "unauthorized", 1008),
        "reader": ({"roles": frozenset({Role.READ})}, "forbidden_role", 1008),
        "used up": ({"max_minutes_per_day": 1}, "minutes_used_up", 1013),
    }
    before = {name: key(name, f"lc_{name}") for name in cases}
    client = await serve(*before.values())
    sockets = {name: await stream(client, f"lc_{name}") for name in cases}
    for name, socket in sockets.items():
        await read_until(socket, "ready")
        await socket.send_bytes(SPEECH)
        await read_until(socket, "speech_start")
        client.app[KEYS].accounts.of(before[name]).usage.add(60_000, datetime.now(UTC))
    changes = {name: change for name, (change, _, _) in cases.items() if change is not None}
    write(file, *(key(name, f"lc_{name}", **change) for name, change in changes.items()))
    for name, (_, code, close_code) in cases.items():
        events = await read_to_the_close(sockets[name])
        faults = [(event["code"], event["fatal"]) for event in events if event["type"] == "error"]
        assert faults == [(code, True)], name
        assert [event["type"] for event in events][-1] == "end"
        assert any(event["type"] == "final" and event["text"] for event in events)
        assert sockets[name].close_code == close_code


async def test_a_connection_that_was_opened_with_a_key_gets_no_stream_once_it_is_removed(
    serve: Serve, file: Path
) -> None:
    client = await serve(key(), key("Hall B", "lc_hall-b"))
    other = await stream(client, "lc_hall-b")
    ready = await read_event(other)
    resume = {"session": ready["session"], "token": ready["resume_token"], "last_seq": 1}
    new = await client.ws_connect("/v1/stream", headers=bearer(TOKEN))
    resuming = await client.ws_connect("/v1/stream", params={"resume": ready["session"]}, headers=bearer(TOKEN))
    write(file, key("Hall B", "lc_hall-b"))
    await eventually(lambda: client.app[KEYS].find([TOKEN.encode()]) is None)
    await new.send_json({"type": "start"})
    await resuming.send_json({"type": "start", "resume": resume})
    for socket in (new, resuming):
        assert [(event["type"], event["code"]) for event in await read_to_the_close(socket)] == [
            ("error", "unauthorized")
        ]
        assert socket.close_code == 1008
    await other.send_json({"type": "stop"})
    assert (await read_to_the_close(other))[-1]["type"] == "end"


async def test_readers_of_what_is_private_receive_nothing_once_their_key_no_longer_allows_it(
    serve: Serve, file: Path
) -> None:
    names = ("removed", "expired", "publisher", "stays")
    before = {name: key(name, f"lc_{name}", frozenset({Role.READ})) for name in names}
    client = await serve(key(), *before.values())
    publisher = await stream(client, private=True, room={"name": "hall", "secret": "s" * 16})
    session = (await read_event(publisher))["session"]
    readers = {}
    for name in names:
        sockets = [
            await client.ws_connect(f"{path}/watch", headers=bearer(f"lc_{name}"))
            for path in (f"/v1/sessions/{session}", "/v1/rooms/hall")
        ]
        events = [
            await client.get(f"{path}/events", headers=bearer(f"lc_{name}"))
            for path in (f"/v1/sessions/{session}", "/v1/rooms/hall")
        ]
        for socket in sockets:
            await read_until(socket, "snapshot")
        for each in events:
            await each.content.readuntil(b"event: snapshot")
        readers[name] = (sockets, events)
    write(
        file,
        key(),
        before["stays"],
        key("expired", "lc_expired", frozenset({Role.READ}), expires=YESTERDAY),
        key("publisher", "lc_publisher", PUBLISH),
    )
    await eventually(lambda: client.app[KEYS].find([b"lc_removed"]) is None)
    await publisher.send_bytes(SPEECH)
    await publisher.send_json({"type": "stop"})
    await read_to_the_close(publisher)
    for name, (sockets, events) in readers.items():
        if name == "stays":
            assert any(event["type"] == "final" for event in await read_to_the_close(sockets[0]))
            assert b"event: final" in await events[0].read()
            await sockets[1].close()
            continue
        for socket in sockets:
            assert await read_to_the_close(socket) == [], name
            assert socket.close_code == 1008
        for each in events:
            assert b"event:" not in (await asyncio.wait_for(each.read(), 20)).partition(b"\n\n")[2], name


# Wrong tokens


async def test_after_ten_wrong_tokens_an_address_gets_429_and_right_ones_pass(serve: Serve) -> None:
    client = await serve(key(), ADMIN, wait=False)
    paths = ["/v1/sessions", "/metrics"] * 5
    assert {await code_of(client, "wrong", path) for path in paths} == {"unauthorized"}
    async with client.get("/metrics", headers=bearer("wrong") | {"X-Forwarded-For": "192.0.2.1"}) as answer:
        refusal = await answer.json()
        assert (answer.status, refusal["code"]) == (429, "too_many_attempts")
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert await code_of(client, "lc_office", "/metrics") == ""
    assert await code_of(client, TOKEN, "/metrics") == "forbidden_role"
    assert await code_of(client, "wrong", "/metrics", address="192.0.2.2") == "unauthorized"
    async with client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}) as answer:
        assert answer.status == 401  # no token is no attempt
    assert client.app[KEYS].n_wrong == 12


async def test_wrong_tokens_for_streams_and_for_what_is_private_count_too(serve: Serve) -> None:
    client = await serve(key())
    publisher = await stream(client, private=True)
    ready = await read_event(publisher)
    encoded = base64.urlsafe_b64encode(b"wrong").decode().rstrip("=")
    headers = {hdrs.SEC_WEBSOCKET_PROTOCOL: f"token.{encoded}", "X-Forwarded-For": "192.0.2.7"}
    for path in [f"/v1/sessions/{ready['session']}/events", "/v1/stream"] * 5:
        assert (await client.get(path, headers=headers)).status == 401
    assert (await client.get("/v1/stream", headers=headers)).status == 429
    assert (await client.get(f"/v1/sessions/{ready['session']}/events", headers=headers)).status == 429
    reader = {"X-Forwarded-For": "192.0.2.7", hdrs.AUTHORIZATION: f"Bearer {ready['reader_token']}"}
    async with client.get(f"/v1/sessions/{ready['session']}/events", headers=reader) as answer:
        assert answer.status == 200
    await publisher.close()


def test_a_server_without_keys_counts_no_wrong_tokens() -> None:
    own = Keys(ServerConfig())
    for _ in range(20):
        assert own.recognize([b"an old reader token"], "192.0.2.1") is None
    assert own.n_wrong == 0


@for_each(("token", "is_compared"), [("secret", False), ("s" * 16, True)])
def test_a_weak_token_is_not_compared_after_many_wrong_ones_and_all_others_are(
    token: str, is_compared: bool, file: Path
) -> None:
    write(file, key())
    own = Keys(ServerConfig(token=token, tokens=str(file)))
    for _ in range(MAX_COMPARED):
        with suppress(LimitReached):
            own.recognize([b"wrong"], "192.0.2.1")
    if is_compared:
        assert own.recognize([token.encode()], "192.0.2.1") is not None
    else:
        with pytest.raises(LimitReached):
            own.recognize([token.encode()], "192.0.2.1")
    assert own.recognize([TOKEN.encode()], "192.0.2.1") == key()
    assert own.recognize([token.encode()], "192.0.2.2") is not None


async def test_wrong_tokens_for_the_addresses_of_the_network_count_and_get_none(serve: Serve) -> None:
    client = await serve(key(), wait=False)
    headers = bearer("wrong") | {"X-Forwarded-For": "192.0.2.8"}
    for _ in range(12):
        assert (await (await client.get("/v1/info", headers=headers)).json())["addresses"] == []
    assert client.app[KEYS].n_wrong == 12


def test_an_application_can_be_built_with_a_file_of_keys(file: Path) -> None:
    from livecaption.config import Config

    write(file, key(expires=date(2999, 1, 1)))
    app = build_app(Config(server=ServerConfig(tokens=str(file))))
    assert app[KEYS].needed
