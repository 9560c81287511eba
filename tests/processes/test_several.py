"""Several processes with one port: `livecaption serve --processes N`. Whichever of them ends, no word is lost."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from livecaption.client import StreamEvent, transcribe
from livecaption.events import End, Partial, Ready
from livecaption.store.rows import SessionState
from tests.live.test_connection import resume
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import assert_clean_end, serving
from tests.support.restarts import SETTINGS, TALK, assert_same_utterances, captioned, finals_of, paced
from tests.support.rooms import TALK as ONE_SENTENCE
from tests.support.rooms import RoomReader, enter, room_of, said, spoken
from tests.support.serving import read_event, read_to_the_close
from tests.support.siblings import client_of, get, pids, process_of_stream, stats, texts_read
from tests.support.stored import session_state, stored_texts
from tests.support.streaming import speaking

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


async def test_one_port_answers_from_all_processes_and_each_answers_for_all(tmp_path: Path) -> None:
    store = tmp_path / "transcripts.db"
    async with serving("--processes=2", "--access-log", f"--store={store}") as server:
        url = await server.ready()

        async def both_have_answered() -> None:
            while not all(f"livecaption.access[{number}]: GET /healthz" in server.output for number in (1, 2)):
                await asyncio.gather(*(get(url, "healthz") for _ in range(8)))

        async with asyncio.timeout(30):
            await both_have_answered()
        assert await get(url, "readyz") == (200, '{"state": "ready"}')
        async with aiohttp.request("POST", f"{url}captions?event=x") as answer:
            assert answer.status == 405
        figures = await stats(url)
        assert list(figures["processes"]) == ["1", "2"]
        assert len(figures["workers"]) == 2
        _, exposition = await get(url, "metrics")
        for number in (1, 2):
            assert f'livecaption_streams{{process="{number}"}} 0.0' in exposition
            assert f'livecaption_process_up{{process="{number}"}} 1.0' in exposition
        # A process that hangs costs a second, and counts as missing.
        os.kill(pids(server)[2], signal.SIGSTOP)
        assert (await stats(url))["processes"]["2"] is None
        os.kill(pids(server)[2], signal.SIGCONT)
        # Another server is refused, as if there were one process.
        async with serving(f"--store={store}") as other:
            assert await other.exited(within_s=60) == 3
            assert "another server keeps its transcripts there" in other.output
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_session_goes_on_in_another_process_when_its_own_is_killed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = tmp_path / "transcripts.db" if kind == "sqlite" else request.getfixturevalue("cluster")
    store = database.empty_database() if isinstance(database, Cluster) else database
    async with serving("--processes=2", f"--store={store}") as server:
        url = await server.ready()
        unbroken = finals_of(await captioned(url))
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, SETTINGS))
        for n in (0, 2):
            await eventually(lambda: any(isinstance(event, Partial) and event.utterance > n for event in events), 30)  # noqa: B023
            os.kill(pids(server)[await process_of_stream(url)], signal.SIGKILL)
        async with asyncio.timeout(90):
            end = await talking
        assert isinstance(events[0], Ready)
        finals = finals_of(events)
        assert_same_utterances(finals, unbroken)
        assert end == End(len(TALK) // 32, len(unbroken), "stop")
        session = events[0].session
        assert stored_texts(database, session) == [(final.utterance, final.text) for final in finals]
        assert session_state(database, session) is SessionState.ENDED
        await eventually(lambda: server.output.count("]: ready") == 4, 60)
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)


async def test_settings_that_cannot_be_divided_are_refused_like_those_of_one_process() -> None:
    async with serving("--processes=2", "--device=cuda:all", environment={"CUDA_VISIBLE_DEVICES": ""}) as server:
        assert await server.exited(within_s=20) == 3
        assert "--device cuda:all: there is no NVIDIA GPU here" in server.output
        await assert_clean_end(server)


async def test_nothing_is_left_when_the_parent_is_killed() -> None:
    async with serving("--processes=2") as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGKILL)
            await server.exited(within_s=5)
            await server.tree_gone(1.0)


async def test_a_stop_of_several_processes_delivers_every_final() -> None:
    """A service manager may signal all of them; only the parent counts."""
    async with serving("--processes=2", "--model=delay 0.4", "--max-streams=8") as server:
        url = await server.ready()
        async with speaking(url, 4) as publishers:
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            server.send_to_all(signal.SIGTERM)
            assert await server.exited(within_s=9) == 0
        for publisher in publishers:
            publisher.check_complete()
        await assert_clean_end(server)
        assert " ERROR " not in server.output


async def test_a_hang_up_reloads_all_processes_of_a_service(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("key = []")
    # Before version 248, systemd names itself to a service by this variable alone.
    async with serving("--processes=2", f"--tokens={keys}", environment={"NOTIFY_SOCKET": "/nowhere"}) as server:
        await server.ready()
        server.send(signal.SIGHUP)
        for number in (1, 2):
            await server.logged(rf"livecaption\[{number}\]: tokens: reloaded")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)


async def test_a_hang_up_stops_all_processes_without_a_service_manager() -> None:
    async with serving("--processes=2") as server:
        await server.ready()
        server.send(signal.SIGHUP)
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)


async def test_readers_and_requests_reach_the_process_of_a_session_from_whichever_they_come_to() -> None:
    async with serving("--processes=3", "--access-log") as server:
        url = await server.ready()
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, SETTINGS))
        await eventually(lambda: events, 30)
        assert isinstance(events[0], Ready)
        session = events[0].session
        reading = [asyncio.ensure_future(texts_read(url, session)) for _ in range(9)]
        await eventually(lambda: len(finals_of(events)) > 2, 30)
        for _ in range(9):
            status, text = await get(url, f"v1/sessions/{session}/transcript.txt")
            assert status == 200
            assert finals_of(events)[0].text in text
        async with asyncio.timeout(60):
            await talking
            read = await asyncio.gather(*reading)
        assert read == [[final.text for final in finals_of(events)]] * 9
        answered = {line.split("[")[1][0] for line in server.lines if "/events 200" in line}
        assert len(answered) == 1  # the process that has the session


async def test_a_program_that_polls_gets_each_word_of_a_room_once_whichever_process_it_comes_to_or_is_killed(
    tmp_path: Path,
) -> None:
    async with serving("--processes=2", f"--store={tmp_path / 'transcripts.db'}") as server, AsyncExitStack() as stack:
        await server.ready()
        first, *others = [await stack.enter_async_context(client_of(number, server)) for number in (1, 2, 2, 2)]
        last = 0

        async def words_behind_the_last(at: aiohttp.ClientSession) -> list[str]:
            nonlocal last
            async with at.get("captions", params={"event": "pycon", "last": last, "length": 200}) as answer:
                line = await answer.json()
            last = line["lastPosition"]
            words: list[str] = line["content"].split()
            return words

        async def n_cues(at: aiohttp.ClientSession) -> int:
            async with at.get("v1/rooms/pycon/transcript.srt") as answer:
                return (await answer.text()).count("-->")

        publisher = await enter(first)
        ready = await read_event(publisher)
        for _ in range(2):
            caption = await said(publisher, ONE_SENTENCE)
            assert await words_behind_the_last(others[0]) == caption["text"].split()
        os.kill(pids(server)[1], signal.SIGKILL)
        assert await words_behind_the_last(others[1]) == []  # it keeps what the store has so far
        assert await n_cues(others[1]) == 2
        publisher = await resume(others[2], ready, caption["seq"])
        assert (await read_event(publisher))["type"] == "ready"
        caption = await said(publisher, ONE_SENTENCE)
        assert await words_behind_the_last(others[1]) == caption["text"].split()
        await publisher.send_json({"type": "stop"})
        await read_to_the_close(publisher)
        assert await n_cues(others[1]) == 3


async def test_people_who_read_a_session_as_a_room_read_on_when_its_process_is_killed(tmp_path: Path) -> None:
    async with serving("--processes=2", f"--store={tmp_path / 'transcripts.db'}") as server, AsyncExitStack() as stack:
        await server.ready()
        first, second, third = [await stack.enter_async_context(client_of(number, server)) for number in (1, 2, 2)]
        publisher = await first.ws_connect("v1/stream")
        await publisher.send_json({"type": "start"})
        ready = await read_event(publisher)
        reader = RoomReader(second, ready["session"])
        reading = asyncio.ensure_future(reader.run())
        caption = await said(publisher, ONE_SENTENCE)
        texts = [caption["text"]]
        await eventually(lambda: reader.texts == {ready["session"]: texts}, 30)
        os.kill(pids(server)[1], signal.SIGKILL)
        assert (await room_of(third, ready["session"]))["state"] == "live"  # once a process has it again
        # Its next process, which loads, lets another one go on with it.
        again = await resume(third, ready, caption["seq"])
        assert (await read_event(again))["type"] == "ready"
        texts.append((await said(again, ONE_SENTENCE))["text"])
        await again.send_json({"type": "stop"})
        async with asyncio.timeout(30):
            await reading
        assert reader.texts == {ready["session"]: texts}


async def test_a_part_that_is_renamed_or_deleted_at_one_process_is_so_for_the_readers_of_its_room_at_all(
    tmp_path: Path,
) -> None:
    async with serving("--processes=2", f"--store={tmp_path / 'transcripts.db'}") as server, AsyncExitStack() as stack:
        await server.ready()
        first, second = [await stack.enter_async_context(client_of(number, server)) for number in (1, 2)]
        for title in ("one", "two"):
            await spoken(first, title=title)
        readers = []
        for number in (1, 2):
            reader = RoomReader(await stack.enter_async_context(client_of(number, server)))
            readers.append(await reader.connect())
            await reader.until("snapshot", title="two")
        session = (await room_of(first))["parts"][0]["session"]

        async def titles_become(*titles: str) -> None:
            async with asyncio.timeout(30):
                for reader in readers:
                    while [part["title"] for part in (await reader.until("room"))["parts"]] != [*titles]:
                        pass
            for client in (first, second):
                assert [part["title"] for part in (await room_of(client))["parts"]] == [*titles]

        async with first.patch(f"v1/sessions/{session}", json={"title": "three"}) as answer:
            assert answer.status == 200
        await titles_become("three", "two")
        async with first.delete(f"v1/sessions/{session}") as answer:
            assert answer.status == 204
        await titles_become("two")
        late = RoomReader(second)
        await late.connect()
        await late.until("snapshot", title="two")
        assert session not in late.lines


async def test_of_publishers_that_come_at_once_none_is_refused_while_one_process_has_room() -> None:
    """Two of them may be sent to the same last place. The one that is too late is sent on."""
    async with serving("--processes=4", "--max-streams=40") as server:
        url = await server.ready()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            streams = await asyncio.gather(*(http.ws_connect(f"{url}v1/stream") for _ in range(40)))
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(f"{url}v1/stream")
            for stream in streams:
                await stream.close()


async def test_a_publisher_is_accepted_while_one_process_has_room() -> None:
    async with serving("--processes=3", "--max-streams=6") as server:
        url = await server.ready()
        async with speaking(url, 6):
            assert (await stats(url))["streams"]["open"] == 6
            status, _ = await get(url, "readyz")
            server.send(signal.SIGTERM)
        assert status == 503
