"""The store has every final that a reader has received, after any end of the server, unless the log reports otherwise.

If the disk takes more than half a second, captions are sent before they are stored. Then, and only then, SIGKILL costs
finals that somebody has seen.
"""

import asyncio
import contextlib
import json
import random
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from livecaption.store.database import Database
from livecaption.store.rows import SessionState
from tests.support.commands import Ended, livecaption_command
from tests.support.disks import fill_up, small_disk
from tests.support.processes import COMMAND, ServerProcess, assert_clean_end, serving
from tests.support.stored import bytes_of, fill, locked_by_another, new_session, opened
from tests.support.streaming import Publisher, speaking
from tests.support.transcripts import final

pytestmark = pytest.mark.processes

N_KILLS = 3
N_STREAMS = 3


async def ask(url: str, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{url}{path}") as response:
        assert response.status == 200, await response.text()
        return json.loads(await response.text()) if response.content_type == "application/json" else None


def is_behind(server: ServerProcess) -> bool:
    """Return True if the server's newest report is that it sends captions before they are stored."""
    reports = re.findall(r"captions are (sent|stored) before they are (?:stored|sent)", server.output)
    return bool(reports) and reports[-1] == "sent"


def check_stored(database: Database, publisher: Publisher, state: SessionState) -> int:
    """Check that the store has all finals that the publisher received, and return their number."""
    (ready,) = publisher.of("ready")
    session = database.session(ready["session"])
    assert session is not None
    assert session.state is state
    stored = [(each.utterance, each.text, each.start_ms, each.end_ms) for each in database.finals(session)]
    received = [(each["utterance"], each["text"], each["start_ms"], each["end_ms"]) for each in publisher.of("final")]
    assert stored[: len(received)] == received
    return len(received)


@pytest.mark.timeout(300)
async def test_sigkill_at_any_moment_loses_no_final_that_a_reader_had_received(tmp_path: Path) -> None:
    """Successive servers use the same store, and each is killed during some streams."""
    path = tmp_path / "transcripts.db"
    chance = random.Random(6)
    n_received = n_behind = 0
    for _ in range(N_KILLS):
        async with serving("--store", str(path), "--max-streams=100") as server:
            url = await server.ready()
            async with speaking(url, n=N_STREAMS, pace=10.0) as publishers:
                await publishers[0].received("speech_start", utterance=chance.randrange(1, 5))
                await asyncio.sleep(chance.uniform(0, 0.3))  # a random moment, not that of an event
                server.send(signal.SIGKILL)
                await server.exited(within_s=5)
        if is_behind(server):  # the disk was too slow, maybe because of other programs
            n_behind += 1
            continue
        with opened(path) as database:
            n_received += sum(check_stored(database, publisher, SessionState.INTERRUPTED) for publisher in publishers)
    if n_behind > N_KILLS / 2:
        pytest.skip("the disk needed more than 0.5 s nearly each time")
    assert n_received > N_KILLS / 2
    async with serving("--store", str(path)) as server:
        url = await server.ready()
        sessions = (await ask(url, "v1/sessions?limit=200"))["sessions"]
        assert [session["state"] for session in sessions] == N_STREAMS * N_KILLS * ["interrupted"]
        await ask(url, f"v1/sessions/{sessions[0]['id']}/transcript.json")


async def test_sigkill_costs_a_final_that_was_sent_while_the_store_was_behind_and_the_log_reports_that_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "transcripts.db"
    async with serving("--store", str(path)) as server, speaking(await server.ready(), pace=10.0) as [publisher]:
        await publisher.received("final")
        with locked_by_another(path):
            n_before = len(publisher.of("final"))
            await publisher.received("final", utterance=n_before + 1)
            assert is_behind(server)
            server.send(signal.SIGKILL)
            await server.exited(within_s=5)
    with opened(path) as database:
        session = database.session(publisher.of("ready")[0]["session"])
        assert session is not None
        assert len(list(database.finals(session))) < len(publisher.of("final"))


async def test_a_stop_in_order_stores_all_finals_and_ends_the_sessions(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    async with serving("--store", str(path)) as server:
        async with speaking(await server.ready(), n=3) as publishers:
            await publishers[0].streamed(2)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=5) == 0
            await assert_clean_end(server)
        for publisher in publishers:
            publisher.check_complete()
    assert not path.with_name("transcripts.db-wal").exists()
    with opened(path) as database:
        for publisher in publishers:
            assert check_stored(database, publisher, SessionState.ENDED) > 0


async def test_a_store_that_cannot_be_used_ends_the_start_with_one_line_and_code_3(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.db"
    await asyncio.to_thread(rubbish.write_bytes, 8192 * b"x")
    for path, reason in (
        (rubbish, "file is not a database"),
        (rubbish / "transcripts.db", "Not a directory|File exists"),
        (Path("/proc/transcripts.db"), "unable to open|No such file|Permission"),
    ):
        async with serving("--store", str(path)) as server:
            assert await server.exited(within_s=10) == 3
            await server.logged(f"ERROR livecaption: cannot keep transcripts in {path}: ({reason})")
            await assert_clean_end(server)


async def test_by_default_a_server_keeps_transcripts_in_the_data_directory_of_its_user(
    tmp_path: Path,
) -> None:
    command = ("env", "-u", "LIVECAPTION_STORE", *COMMAND)
    async with serving(command=command, environment={"XDG_DATA_HOME": str(tmp_path)}) as server:
        url = await server.ready()
        async with speaking(url, pace=10.0) as [publisher]:
            await publisher.received("final")
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=5) == 0
            await assert_clean_end(server)
    with opened(tmp_path / "livecaption" / "transcripts.db") as database:
        check_stored(database, publisher, SessionState.ENDED)


async def test_two_servers_do_not_share_a_store(tmp_path: Path) -> None:
    path = str(tmp_path / "transcripts.db")
    async with serving("--store", path) as one:
        await one.listening()
        async with serving("--store", path) as other:
            assert await other.exited(within_s=10) == 3
            await other.logged("another server keeps its transcripts there")


async def test_a_database_that_another_program_locks_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with serving("--store", str(path)) as server:
            assert await server.exited(within_s=10) == 3
            await server.logged("database is locked")


async def test_an_operator_backs_up_restores_and_exports_while_a_stream_runs(tmp_path: Path) -> None:
    path, file, there = tmp_path / "data" / "transcripts.db", tmp_path / "backup.db", tmp_path / "there"
    with opened(path) as database:
        fill(database, new_session("council", "Council"), [final("A xylograph."), final("A bus.", 5000, 5900, 1)])
    environment = {"LIVECAPTION_STORE": str(path), "LIVECAPTION_KEEP_DAYS": "0"}
    async with serving("--store", str(path), "--keep-days=0") as server:
        url = await server.ready()
        transcript = f"{url}v1/sessions/council/transcript.vtt"
        async with speaking(url, pace=10.0) as [publisher], aiohttp.ClientSession() as http:
            await publisher.received("final")
            backup = await livecaption_command("backup", file, **environment)
            assert (backup.code, backup.stderr) == (0, "")
            assert backup.stdout.startswith(f"{file} has 2 sessions with ")
            async with http.get(transcript) as answer:
                before = await answer.read()
            async with http.delete(f"{url}v1/sessions/council") as answer:
                assert answer.status == 204
            assert b"xylograph" not in bytes_of(path.parent)
            restored = await livecaption_command("restore", file, **environment)
            assert restored == Ended(0, f"restored 1 session into {path}\n", "")
            async with http.get(transcript) as answer:
                assert (answer.status, await answer.read()) == (200, before)
            exported = await livecaption_command("export", "--all", there, "--format", "vtt", **environment)
            assert (exported.code, exported.stderr) == (0, "")
            [council] = there.iterdir()  # the stream that runs is not over
            assert "_Council_" in council.name
            assert council.read_bytes() == before
            n_finals = len(publisher.of("final"))
            await publisher.received("final", utterance=n_finals + 1)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=5) == 0
            await assert_clean_end(server)
        assert "cannot be stored" not in server.output
    with opened(path) as database:
        assert check_stored(database, publisher, SessionState.ENDED) > n_finals


# A full disk


@pytest.fixture(name="small_disk")
def small_disk_fixture(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as directory:
        yield directory


async def test_captions_go_on_with_a_full_disk_and_are_stored_when_there_is_room_again(small_disk: Path) -> None:
    path = small_disk / "transcripts.db"
    async with serving("--store", str(path)) as server:
        url = await server.ready()
        filler = fill_up(small_disk)
        async with speaking(url, pace=10.0) as [publisher]:
            await server.logged(r"transcripts cannot be stored \(database or disk is full\)")
            figures = (await ask(url, "v1/stats"))["store"]
            assert not figures["working"]
            n_finals = len(publisher.of("final"))
            await publisher.received("final", utterance=n_finals + 1)
            await asyncio.to_thread(filler.unlink)
            await server.logged("transcripts are stored again, including those that waited")
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=10) == 0
        assert server.output.count("transcripts cannot be stored") == 1
    with opened(path) as database:
        assert check_stored(database, publisher, SessionState.ENDED) > n_finals


async def test_a_disk_that_is_full_at_the_start_is_reported(small_disk: Path) -> None:
    fill_up(small_disk)
    async with serving("--store", str(small_disk / "transcripts.db")) as server:
        assert await server.exited(within_s=10) == 3
        await server.logged("ERROR livecaption: cannot keep transcripts in .*(full|No space left|disk I/O)")
