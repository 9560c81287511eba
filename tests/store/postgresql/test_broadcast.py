"""Servers with one database send each other texts, which may be lost, but never without notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livecaption.store.postgresql import broadcast
from livecaption.store.postgresql.broadcast import CONTROL, MAX_BYTES, Joined, NotifyBroadcast, channel_of, parts_of
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.relay import relay_to_database

pytestmark = pytest.mark.server


class Server:
    """One server, with all that it has received."""

    def __init__(self, address: str) -> None:
        self.broadcast = NotifyBroadcast(address)
        self.asked: list[str] = []
        self.changed: list[str | None] = []
        self.received: list[str | None] = []
        self.broadcast.listen(self.asked.append, self.changed.append)

    async def publish(self, topic: str, text: str) -> None:
        await self.broadcast.publish(topic, lambda: text)

    def follow(self, topic: str) -> None:
        self.broadcast.follow(topic, self.received.append)
        self.broadcast.ask(topic)


@asynccontextmanager
async def servers(address: str, n: int = 2) -> AsyncIterator[list[Server]]:
    started = [Server(address) for _ in range(n)]
    for server in started:
        server.broadcast.start()
    try:
        await eventually(lambda: all(server.changed for server in started))  # they are connected
        for server in started:
            server.changed.clear()
        yield started
    finally:
        for server in started:
            await server.broadcast.close()


async def test_a_notification_that_is_received_when_the_connection_is_lost_is_taken(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = NotifyBroadcast._receive_control

    def receive_late(self: NotifyBroadcast, own_pid: int, connection: Any, *notification: Any) -> None:
        connection.terminate()
        receive(self, own_pid, connection, *notification)

    monkeypatch.setattr(NotifyBroadcast, "_receive_control", receive_late)
    async with servers(address) as (owner, follower):
        follower.follow("session")
        await eventually(lambda: "session" in owner.asked)


async def test_a_fault_in_one_session_does_not_hold_up_the_others(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        raise RuntimeError("what somebody has said")

    async with servers(address) as (owner, follower):
        for topic in ("faulty", "sound"):
            follower.follow(topic)
        await eventually(lambda: len(owner.asked) == 2)
        await owner.broadcast.publish("faulty", fail)
        assert (owner.broadcast.is_followed("faulty"), owner.broadcast.is_followed("sound")) == (False, True)
        await owner.publish("sound", "text")
        await eventually(lambda: "text" in follower.received)
    assert "a session is not published to other servers (RuntimeError)" in caplog.text
    assert "what somebody has said" not in caplog.text


async def test_a_server_that_follows_gets_all_texts_in_order_and_no_others(address: str) -> None:
    async with servers(address, 3) as (owner, follower, other):
        follower.follow("session")
        other.follow("another session")
        await eventually(lambda: sorted(owner.asked) == ["another session", "session"])
        assert owner.broadcast.is_followed("session")
        assert not owner.broadcast.is_followed("a third session")
        texts = [f"text {n}" for n in range(50)] + ["ü" * 3 * MAX_BYTES, "", "last"]
        for text in texts:
            await owner.publish("session", text)
        await eventually(lambda: len(follower.received) == len(texts))
        assert (follower.received, other.received) == (texts, [])
        follower.broadcast.unfollow("session")
        await owner.publish("another session", "end")
        await owner.publish("session", "nobody follows")
        await eventually(lambda: other.received == ["end"])
        assert len(follower.received) == len(texts)


async def test_a_text_is_made_when_it_can_be_sent(address: str) -> None:
    async with servers(address) as (owner, follower):
        follower.follow("session")
        await eventually(lambda: owner.asked)
        said = ["a"]
        await owner.publish("session", "first")  # the next one waits for its turn
        publishing = asyncio.ensure_future(owner.broadcast.publish("session", lambda: " ".join(said)))
        await asyncio.sleep(0)
        said.append("b")
        await publishing
        await eventually(lambda: follower.received == ["first", "a b"])


async def test_a_server_forgets_followers_that_do_not_say_so_again(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "FORGET_S", 0.1)
    async with servers(address) as (owner, follower):
        follower.follow("session")
        await eventually(lambda: owner.asked)
        await eventually(lambda: not owner.broadcast.is_followed("session"))


async def test_a_follower_sends_again_which_topics_it_follows(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server to which this is new is asked for the whole state."""
    monkeypatch.setattr(broadcast, "BEAT_S", 0.02)
    monkeypatch.setattr(broadcast, "RENEW_S", 0.02)
    async with servers(address) as (owner, follower):
        follower.broadcast.follow("session", follower.received.append)
        await eventually(lambda: owner.asked == ["session"])
        assert owner.broadcast.is_followed("session")


async def test_all_servers_notice_a_change_apart_from_the_one_that_made_it(address: str) -> None:
    async with servers(address, 3) as (one, other, third):
        one.broadcast.note_change("session")
        await eventually(lambda: other.changed == third.changed == ["session"])
        await one.publish("session", "")
        assert one.changed == []


async def test_a_change_is_noticed_once_the_database_can_be_reached(address: str) -> None:
    async with servers(address, 1) as (other,):
        late = Server(address)
        late.broadcast.note_change("session")
        late.broadcast.start()
        await eventually(lambda: other.changed == ["session"])
        await late.broadcast.close()


async def test_all_notice_a_restart_of_the_database(cluster: Cluster, address: str) -> None:
    async with servers(address) as (owner, follower):
        follower.follow("session")
        await eventually(lambda: owner.asked)
        cluster.stop()
        cluster.start()
        await eventually(lambda: follower.received == [None], within_s=20)
        await eventually(lambda: follower.changed == owner.changed == [None], within_s=20)
        follower.broadcast.ask("session")
        await eventually(lambda: owner.asked[1:])
        await owner.publish("session", "again")
        await eventually(lambda: follower.received == [None, "again"])


async def test_a_network_that_falls_silent_while_a_server_begins_to_listen_costs_only_that_connection(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "STATEMENT_TIMEOUT_S", 0.2)
    async with relay_to_database(address) as (relay, by_relay):
        server = Server(by_relay)
        server.follow("session")
        listen = server.broadcast._listen

        async def listen_in_silence(connection: Any, listened: set[str]) -> set[str]:
            relay.hold()
            monkeypatch.setattr(server.broadcast, "_listen", listen)
            try:
                return await listen(connection, listened)
            finally:
                relay.release()

        monkeypatch.setattr(server.broadcast, "_listen", listen_in_silence)
        server.broadcast.start()
        await eventually(lambda: server.received == [None])
        await server.broadcast.close()


async def test_notifications_of_other_programs_are_ignored_and_reported_once(
    cluster: Cluster, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers(address) as (owner, follower):
        follower.follow("session")
        await eventually(lambda: owner.asked)
        for channel in (CONTROL, channel_of("session")):
            for text in ("", "garbage", "0:{", "0:[]", '0:{"ask": 7}', '0:{"follow": [[]]}', "5:begun", "0:[[[[["):
                cluster.execute(f"SELECT pg_notify('{channel}', '{text}')")
        await owner.publish("session", "last")
        await eventually(lambda: "last" in follower.received)
        follower.broadcast.ask("session")
        await eventually(lambda: owner.asked == ["session", "session"])
        reports = [record for record in caplog.records if "none of livecaption" in record.message]
        assert len(reports) == len([owner, follower])


def test_a_text_is_cut_into_notifications_and_joined_again() -> None:
    for text in ("", "a", "7:", "a" * MAX_BYTES, "a" * (MAX_BYTES + 1), "ü" * 20_000, "𝄞" * 5000):
        joined = Joined()
        parts = parts_of(text)
        assert max(len(part.encode()) for part in parts) < 8000
        assert len(set(parts)) == len(parts)
        assert [joined.push("channel", 1, part) for part in parts] == [None] * (len(parts) - 1) + [text]


def test_texts_of_several_senders_do_not_mix() -> None:
    joined = Joined()
    assert joined.push("channel", 1, "1:one ") is None
    assert joined.push("channel", 2, "0:other") == "other"
    assert joined.push("channel", 1, "0:two") == "one two"


def test_a_text_of_which_a_part_is_missing_is_none() -> None:
    joined = Joined()
    assert [joined.push("channel", 1, part) for part in ("2:one", "0:three", "0:whole")] == [None, "three", "whole"]
