"""Several processes with TLS of their own: a client reaches what it asks for from whichever process it comes to."""

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from livecaption.client import StreamEvent, transcribe
from livecaption.events import End, Partial, Ready
from livecaption.server import certificate
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, assert_clean_end, serving
from tests.support.recordings import recording
from tests.support.restarts import SETTINGS, TALK, finals_of, paced
from tests.support.siblings import client_of, pids
from tests.support.streaming import Publisher

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate.ensure(tmp_path, {"127.0.0.1"}, datetime.now(UTC)).path


def trusting(pem: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pem)


@asynccontextmanager
async def serving_tls(pem: Path, *flags: str) -> AsyncIterator[ServerProcess]:
    async with serving("--processes=2", f"--tls-cert={pem}", f"--tls-key={pem}", *flags) as server:
        yield server


async def publishing(http: aiohttp.ClientSession) -> Publisher:
    publisher = Publisher(await http.ws_connect("v1/stream"), 3.0, {})
    asyncio.ensure_future(publisher.run()).add_done_callback(lambda done: done.result())
    return publisher


async def test_readers_and_requests_reach_the_process_of_a_session(pem: Path, tmp_path: Path) -> None:
    async with serving_tls(pem, "--access-log", f"--store={tmp_path / 'transcripts.db'}") as server:
        await server.ready()
        async with (
            client_of(1, server, trusting(pem)) as talking,
            client_of(2, server, trusting(pem)) as other,
            client_of(1, server, trusting(pem)) as own,
        ):
            publisher = await publishing(talking)
            session = (await publisher.received("ready"))["session"]
            final = await publisher.received("final")
            texts = []
            for http in (own, other, other):  # the second request goes over a relayed connection
                async with http.get(f"v1/sessions/{session}/transcript.txt") as answer:
                    texts.append((answer.status, final["text"] in await answer.text()))
            assert texts == [(200, True)] * 3
            # It is a client of this machine, and of https, as at the process of the session.
            async with other.patch(f"v1/sessions/{session}", json={"title": "Relayed"}) as answer:
                assert answer.status == 200
            form = aiohttp.FormData({"model": "whisper-1"})
            form.add_field("file", recording(), filename="speech.wav")
            async with other.post("v1/audio/transcriptions", data=form) as answer:
                assert (answer.status, bool((await answer.json())["text"])) == (200, True)
            qr_code = f"v1/sessions/{session}/qr.svg"
            async with other.get(qr_code) as answer, own.get(qr_code) as same:
                assert await answer.read() == await same.read()
            async with other.ws_connect(f"v1/sessions/{session}/watch") as reader:
                assert (await reader.receive_json())["type"] == "snapshot"
                server.send(signal.SIGTERM)
                await publisher.received("end")
                received = [json.loads(message.data) async for message in reader]
            await eventually(lambda: publisher.close_code)
            assert publisher.of("final")[-1]["text"] in [event.get("text") for event in received]
        assert await server.exited(within_s=5) == 0
        publisher.check_complete()
        await assert_clean_end(server)
        lines = [line for line in server.lines if "livecaption.access" in line and "transcri" in line]
        assert ["access[1]" in line and "peer=127.0.0.1" in line for line in lines] == [True] * 4, lines


async def test_a_new_stream_is_accepted_while_another_process_has_room(pem: Path) -> None:
    async with serving_tls(pem, "--max-streams=2", "--model=delay 0.4") as server:
        await server.ready()
        async with (
            client_of(1, server, trusting(pem)) as first,
            client_of(1, server, trusting(pem)) as second,
            client_of(1, server, trusting(pem)) as third,
        ):
            publishers = [await publishing(http) for http in (first, second)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await third.ws_connect("v1/stream")
            assert refused.value.status == 503
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            # The process that relays has nothing of its own to finish.
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=9) == 0
            await eventually(lambda: all(publisher.close_code for publisher in publishers))
        for publisher in publishers:
            publisher.check_complete()
        await assert_clean_end(server)


async def test_a_publisher_goes_on_when_the_process_that_relays_it_is_killed(pem: Path, tmp_path: Path) -> None:
    context = trusting(pem)
    async with serving_tls(pem, "--max-streams=2", f"--store={tmp_path / 'transcripts.db'}") as server:
        url = await server.ready()
        events: list[StreamEvent] = []
        async with client_of(1, server, trusting(pem)) as http:
            publisher = await publishing(http)  # takes the only place of the first process
            await publisher.received("ready")
            os.kill(pids(server)[2], signal.SIGSTOP)
            talk = transcribe(url, paced(), events.append, SETTINGS, ssl=context, wait_s=30)
            talking = asyncio.ensure_future(talk)
            await asyncio.sleep(0.5)  # the first process has accepted it, and asks the other one
            os.kill(pids(server)[2], signal.SIGCONT)
            await eventually(lambda: any(isinstance(event, Partial) and event.utterance > 0 for event in events), 30)
            os.kill(pids(server)[1], signal.SIGKILL)
            async with asyncio.timeout(60):
                end = await talking
        assert isinstance(events[0], Ready)
        assert end == End(len(TALK) // 32, len(finals_of(events)), "stop")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
