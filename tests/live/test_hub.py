"""One session's events to its publisher and its readers, none of whom waits for another."""

import asyncio
from contextlib import aclosing

import pytest

from livecaption.events import Ack, End, Event, Final, Partial, SpeechStart
from livecaption.live.event_log import Message
from livecaption.live.hub import Hub
from livecaption.live.published import WOKEN_TOGETHER, News

HEARTBEAT_S = 60.0
END = End(0, 0, "stop")


def attach(hub: Hub, last_seq: int = 0) -> list[int]:
    """Attach a publisher; return the list of the numbers that it gets."""
    got: list[int] = []
    hub.attach(lambda message: got.append(message.seq), last_seq)
    return got


def final(utterance: int) -> Final:
    return Final(utterance, "text", 0, 1, "en", 0.9, 300)


async def read_all(hub: Hub, last_seq: int | None = None) -> list[Event]:
    return [message.event for batch in [b async for b in hub.subscribe(last_seq, HEARTBEAT_S)] for message in batch]


async def test_the_publisher_gets_every_event_and_after_a_resume_what_was_missed() -> None:
    hub = Hub()
    first = attach(hub)
    hub.publish(Ack(1))
    hub.publish(Ack(2))
    hub.detach()
    hub.publish(Ack(3))
    second = attach(hub, last_seq=1)
    hub.publish(Ack(4))
    assert (first, second) == ([1, 2], [2, 3, 4])


async def test_a_connection_that_took_over_gets_everything_and_the_one_before_nothing_more() -> None:
    hub = Hub()
    first = attach(hub)
    hub.publish(Ack(1))
    second = attach(hub, last_seq=1)
    hub.publish(Ack(2))
    assert (first, second) == ([1], [2])


async def test_any_number_of_readers_get_every_caption_up_to_the_end() -> None:
    hub = Hub()
    reading = [asyncio.ensure_future(read_all(hub, last_seq=0)) for _ in range(50)]
    for event in (SpeechStart(0, 0), final(0), END):
        await asyncio.sleep(0)
        hub.publish(event)
    for reader in reading:
        assert await reader == [SpeechStart(0, 0), final(0), END]


async def test_a_reader_that_is_slow_reads_less_and_delays_nobody() -> None:
    hub = Hub()
    hub.publish(SpeechStart(0, 0))
    quick = asyncio.ensure_future(read_all(hub, last_seq=0))
    async with aclosing(hub.subscribe(0, HEARTBEAT_S)) as slow:
        assert len(await anext(slow)) == 1
        for revision in range(20):
            hub.publish(Partial(0, revision, "text", "", 0, revision))
            await asyncio.sleep(0)
        hub.publish(final(0))
        assert [message.event for message in await anext(slow)] == [final(0)]
    hub.publish(END)
    assert len(await quick) == 23


async def test_a_heartbeat_comes_where_nothing_happens() -> None:
    hub = Hub()
    async with aclosing(hub.subscribe(0, 0.01)) as feed:
        assert await anext(feed) == []
        hub.publish(final(0))
        assert [message.event for message in await anext(feed)] == [final(0)]


async def test_events_that_concern_the_publisher_alone_are_not_sent_to_readers() -> None:
    hub = Hub()
    async with aclosing(hub.subscribe(0, HEARTBEAT_S)) as feed:
        waiting: asyncio.Future[list[Message]] = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        hub.publish(Ack(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish(final(0))
        assert [message.event for message in await waiting] == [final(0)]


async def test_readers_are_not_even_woken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher may ping 500 times a second, and a thousand may read."""
    hub = Hub()
    n_reads = 0
    read = hub.log.read

    def counted(seq: int | None) -> tuple[list[Message], int]:
        nonlocal n_reads
        n_reads += 1
        return read(seq)

    monkeypatch.setattr(hub.log, "read", counted)
    async with aclosing(hub.subscribe(0, HEARTBEAT_S)) as feed:
        waiting: asyncio.Future[list[Message]] = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        for number in range(10):
            hub.publish(Ack(number))
            await asyncio.sleep(0)
        assert n_reads == 1
        hub.publish(final(0))
        await waiting


async def test_readers_leave_a_hub_that_the_next_server_goes_on_with_without_an_end() -> None:
    hub = Hub()
    reading = asyncio.ensure_future(read_all(hub, last_seq=0))
    await asyncio.sleep(0)
    hub.publish(final(0))
    hub.close()
    assert await reading == [final(0)]
    assert (hub.closed, hub.ended) == (True, False)


async def test_readers_are_woken_when_the_publisher_comes_and_goes() -> None:
    hub = Hub()
    for change, is_there in ((lambda: attach(hub), True), (hub.detach, False)):
        waiting = asyncio.ensure_future(hub.news.wait(HEARTBEAT_S))
        await asyncio.sleep(0)
        change()
        assert await waiting
        assert hub.has_publisher == is_there


async def test_news_wake_all_that_wait_and_nobody_who_comes_later() -> None:
    news = News()
    waiting = [asyncio.ensure_future(news.wait(timeout_s)) for timeout_s in (60, 60, 30)]
    await asyncio.sleep(0)
    news.notify()
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert not await news.wait(0.01)


async def test_news_that_wake_each_other_wake_those_who_wait_for_any_of_them() -> None:
    all_news = first, second, third = News(), News(), News()
    for news, other in ((first, second), (second, first), (second, third), (third, second)):
        news.wake(other)
    for news in all_news:
        waiting = [asyncio.ensure_future(each.wait(60)) for each in all_news]
        await asyncio.sleep(0)
        news.notify()
        assert await asyncio.gather(*waiting) == [True, True, True]


async def test_each_reader_waits_for_its_own_time_though_all_share_a_timer() -> None:
    news, clock = News(), asyncio.get_running_loop().time
    began_s = clock()
    first = asyncio.ensure_future(news.wait(0.05))
    await asyncio.sleep(0)
    news.notify()
    assert await first
    await asyncio.sleep(0.03)  # the timer of the first one still runs
    later_s = clock()
    assert not await news.wait(0.05)
    assert clock() - later_s >= 0.05
    assert clock() - began_s >= 0.08


async def test_a_reader_that_leaves_is_not_woken() -> None:
    news = News()
    staying, leaving = (asyncio.ensure_future(news.wait(0.02)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    news.notify()
    assert (await staying, leaving.cancelled()) == (True, True)
    leaving = asyncio.ensure_future(news.wait(0.02))
    await asyncio.sleep(0)
    leaving.cancel()
    assert not await news.wait(0.02)


async def test_everybody_else_has_a_turn_between_the_readers_of_a_large_hall() -> None:
    news, woken = News(), []

    async def read() -> None:
        woken.append(await news.wait(60))

    reading = [asyncio.ensure_future(read()) for _ in range(3 * WOKEN_TOGETHER)]
    await asyncio.sleep(0)
    news.notify()
    await asyncio.sleep(0)
    assert len(woken) == WOKEN_TOGETHER
    await asyncio.gather(*reading)
    assert woken == [True] * (3 * WOKEN_TOGETHER)
