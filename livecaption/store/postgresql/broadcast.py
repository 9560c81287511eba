"""Broadcast by LISTEN and NOTIFY, on a connection of its own. PostgreSQL stores nothing of what is sent.

publish ─ all of 10 ms in one statement ─> parts of 8000 bytes at most ─> NOTIFY ─> LISTEN ─> joined ─> receive

One task does all statements. What is published waits while the database is away, and followers get a sign of a lost
connection once they have another.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from livecaption.errors import LivecaptionError
from livecaption.store.broadcast import FORGET_S, RENEW_S
from livecaption.store.postgresql.connecting import FAILURES, connect, reason

CONTROL = "livecaption_all"
"""The channel on which all servers listen."""
BATCH_S = 0.01
"""Time in s between two statements. Longer: readers elsewhere get captions later. Shorter: more transactions, which
PostgreSQL makes wait for each other."""
MAX_BYTES = 7900
"""PostgreSQL takes less than 8000 in one notification."""
MAX_JOINED = 4 * 1024 * 1024
"""Characters of a text whose parts are joined. The events that a server keeps of a session have fewer."""
TOPICS_AT_ONCE = 90
STATEMENT_TIMEOUT_S = 3.0
"""Time-out in s of a statement, which also notices a dead connection."""
BEAT_S = 5.0
"""Time in s between two looks at a connection on which nothing is sent."""
RECONNECT_S = 0.5
"""Time in s from the loss of the connection to the next try."""

_NOTIFY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS sent (channel, payload)"

logger = logging.getLogger(__name__)


def channel_of(topic: str) -> str:
    """Return the channel of a topic. PostgreSQL cuts longer names."""
    return f"livecaption_{hashlib.sha256(topic.encode()).hexdigest()[:40]}"


def parts_of(text: str) -> list[str]:
    """Cut a text into payloads, each with the number of those behind it.

    So they differ, and PostgreSQL does not take one for another of the same transaction.
    """
    size = MAX_BYTES if text.isascii() else MAX_BYTES // 4
    starts = range(0, len(text), size) or (0,)
    return [f"{len(starts) - 1 - n}:{text[start : start + size]}" for n, start in enumerate(starts)]


class Joined:
    """Joins the payloads of each channel and sender to texts again."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int], tuple[str, str]] = {}  # what there is, and the number of the next payload

    def push(self, channel: str, sender: int, payload: str) -> str | None:
        """Return the text that this payload completes; None: it goes on, or is not to be had."""
        number, _, part = payload.partition(":")
        begun, expected = self._begun.pop((channel, sender), ("", number))
        if number != expected:
            begun = ""
        if number == "0":
            return begun + part
        if number.isascii() and number.isdecimal() and len(number) < 5 and len(begun) <= MAX_JOINED:
            self._begun[channel, sender] = begun + part, str(int(number) - 1)
        return None


class NotifyBroadcast:
    """See `store.Broadcast`. Used by the event loop, from `start` to `close`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._asked: Callable[[str], None] = lambda _: None
        self._changed: Callable[[str | None], None] = lambda _: None
        self._followed: dict[str, Callable[[str | None], None]] = {}  # by the topics that this server follows
        self._topics: dict[str, str] = {}  # the same topics, by their channels
        self._followed_until_s: dict[str, float] = {}  # by the topics that other servers follow
        self._published: dict[str, Callable[[], str]] = {}  # the next text of each channel
        self._asks: dict[str, None] = {}  # topics whose whole state is to be asked for
        self._changes: dict[str, None] = {}  # topics whose changes are to be sent
        self._sent: asyncio.Future[None] | None = None  # done when what is published now is sent or lost
        self._work = asyncio.Event()
        self._has_reported = False

    def start(self) -> None:
        """Begin to send and to receive."""
        self.task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Send and receive nothing more."""
        self.task.cancel()
        await asyncio.wait({self.task})

    # See `store.Broadcast`

    def listen(self, asked: Callable[[str], None], changed: Callable[[str | None], None]) -> None:
        self._asked, self._changed = asked, changed

    def follow(self, topic: str, receive: Callable[[str | None], None]) -> None:
        self._followed[topic] = receive
        self._topics[channel_of(topic)] = topic
        self._work.set()

    def unfollow(self, topic: str) -> None:
        del self._followed[topic], self._topics[channel_of(topic)]
        self._work.set()

    def ask(self, topic: str) -> None:
        self._asks[topic] = None
        self._work.set()

    def is_followed(self, topic: str) -> bool:
        return self._followed_until_s.get(topic, 0.0) > asyncio.get_running_loop().time()

    async def publish(self, topic: str, take: Callable[[], str]) -> None:
        self._published[topic] = take
        if self._sent is None:
            self._sent = asyncio.get_running_loop().create_future()
        self._work.set()
        await asyncio.wait({self._sent})

    def note_change(self, topic: str) -> None:
        self._changes[topic] = None
        self._work.set()

    # The task

    async def _run(self) -> None:
        is_away = False
        while True:
            connection = None
            try:
                connection = await self._connected()
                is_away = False
                await self._serve(connection)
            except (*FAILURES, LivecaptionError) as error:
                if not is_away:
                    logger.warning("readers of sessions on other servers wait for the database (%s)", reason(error))
                is_away = True
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(RECONNECT_S)

    async def _connected(self) -> Any:
        connection = await connect(self._url)
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await connection.execute("SET synchronous_commit = off")
                # A notification may be received after the connection is lost, which has no id of its process then.
                receive = partial(self._receive_control, connection.get_server_pid())
                await connection.add_listener(CONTROL, receive)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._work.set())
        return connection

    async def _serve(self, connection: Any) -> None:
        """Send what is to be sent, until the connection is lost."""
        self._joined = Joined()
        listened = await self._listen(connection, set())
        self._changed(None)
        for receive in [*self._followed.values()]:
            receive(None)
        loop, renew_at_s = asyncio.get_running_loop(), 0.0
        while True:
            self._work.clear()
            now_s = loop.time()
            listened = await self._listen(connection, listened)
            is_due = now_s >= renew_at_s
            if is_due:
                renew_at_s = now_s + RENEW_S
                self._forget(now_s)
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await self._flush(connection, self._renewals() if is_due else [])
            await asyncio.sleep(max(0.0, now_s + BATCH_S - loop.time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._work.wait()

    async def _listen(self, connection: Any, listened: set[str]) -> set[str]:
        """Listen on the channels of what is followed, and on no others. Return them."""
        wanted = set(self._topics)
        for channel in wanted - listened:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await connection.add_listener(channel, self._receive)
        for channel in listened - wanted:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await connection.remove_listener(channel, self._receive)
        return wanted

    async def _flush(self, connection: Any, outgoing: list[tuple[str, str]]) -> None:
        """Send these texts on their channels, and all that waits."""
        asks, self._asks = self._asks, {}
        changes, self._changes = self._changes, {}
        published, self._published = self._published, {}
        sent, self._sent = self._sent, None
        outgoing += [(CONTROL, json.dumps({"ask": topic})) for topic in asks]
        outgoing += [(CONTROL, json.dumps({"changed": topic})) for topic in changes]
        for topic, take in published.items():
            try:
                outgoing.append((channel_of(topic), take()))
            except Exception as error:  # a fault in one session must not end this task
                logger.error("a session is not published to other servers (%s)", type(error).__name__)
                self._followed_until_s.pop(topic, None)
        try:
            if outgoing:
                parts = [(channel, part) for channel, text in outgoing for part in parts_of(text)]
                await connection.execute(_NOTIFY, *zip(*parts, strict=True))
            else:
                await connection.execute("SELECT 1")
        except BaseException:
            self._changes = changes | self._changes
            raise
        finally:
            if sent is not None:
                sent.set_result(None)

    def _renewals(self) -> list[tuple[str, str]]:
        """Return the messages about all topics that this server follows."""
        topics = list(self._followed)
        starts = range(0, len(topics), TOPICS_AT_ONCE)
        return [(CONTROL, json.dumps({"follow": topics[start : start + TOPICS_AT_ONCE]})) for start in starts]

    def _forget(self, now_s: float) -> None:
        """Forget what others do not follow any more."""
        self._followed_until_s = {topic: until for topic, until in self._followed_until_s.items() if until > now_s}

    def _receive(self, _connection: Any, pid: int, channel: str, payload: str) -> None:
        text = self._joined.push(channel, pid, payload)
        topic = self._topics.get(channel)
        if text is not None and topic is not None:
            self._followed[topic](text)

    def _receive_control(self, own_pid: int, _: Any, pid: int, channel: str, payload: str) -> None:
        text = self._joined.push(channel, pid, payload)
        if text is None or pid == own_pid:
            return
        try:
            match json.loads(text):
                case {"follow": list(topics)}:
                    self._note_followed([topic for topic in topics if not self.is_followed(topic)], topics)
                case {"ask": str(topic)}:
                    self._note_followed([topic], [topic])
                case {"changed": str(topic)}:
                    self._changed(topic)
        except (ValueError, TypeError, RecursionError):
            if not self._has_reported:
                logger.warning("a notification that is none of livecaption came from the database, and is ignored")
            self._has_reported = True

    def _note_followed(self, asked: list[str], followed: list[str]) -> None:
        until_s = asyncio.get_running_loop().time() + FORGET_S
        self._followed_until_s |= dict.fromkeys(followed, until_s)
        for topic in asked:
            self._asked(topic)
