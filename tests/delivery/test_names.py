"""Names of receivers are looked up apart from everything else that the server does in threads."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livecaption.delivery.destination import Destination
from livecaption.delivery.http_sink import HttpCaptionSink
from livecaption.delivery.names import MAX_AT_A_TIME
from livecaption.delivery.receiver import DeliveryFailed, client_session
from tests.delivery.test_http_sink import TEXT
from tests.support.eventually import eventually
from tests.support.receivers import CaptionReceiver


async def deliver(url: str) -> None:
    async with client_session() as session:
        await HttpCaptionSink(session, Destination("youtube", url)).deliver(TEXT)


async def test_a_receiver_is_reached_by_its_name(receiver: CaptionReceiver) -> None:
    await deliver(receiver.url.replace("127.0.0.1", "localhost"))
    assert len(receiver.posts) == 1


async def test_a_name_server_that_does_not_answer_keeps_no_thread_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answered = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> None:
        asked.append(host)
        answered.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with client_session() as session:
        sinks = [
            HttpCaptionSink(session, Destination("youtube", f"http://{n}.example/")) for n in range(MAX_AT_A_TIME + 1)
        ]
        delivering = [asyncio.ensure_future(sink.deliver(TEXT)) for sink in sinks]
        try:
            await eventually(lambda: len(asked) == MAX_AT_A_TIME)
            assert await asyncio.to_thread(lambda: "free") == "free"
        finally:
            answered.set()
        errors = await asyncio.gather(*delivering, return_exceptions=True)
    assert [type(error) for error in errors] == len(sinks) * [DeliveryFailed]


async def test_a_lookup_without_a_thread_is_an_attempt_that_failed(
    monkeypatch: pytest.MonkeyPatch, receiver: CaptionReceiver
) -> None:
    """The next attempt may find one. Another error would end the sink."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DeliveryFailed, match="it cannot be reached"):
        await deliver(receiver.url.replace("127.0.0.1", "localhost"))
