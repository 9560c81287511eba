"""A server under attack serves its other clients as before, and a bound that is exceeded is reported."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation import siege
from livecaption.evaluation.attacks import ATTACKS
from livecaption.evaluation.bounds import Bounds, Row, broken_bounds
from livecaption.evaluation.bystander import NEWCOMER_TIMEOUT_S, Bystander
from livecaption.evaluation.containers import KINDS, encode
from livecaption.evaluation.peers import TEXT, RawPeer
from livecaption.evaluation.server_process import ServerProcess
from livecaption.evaluation.siege import Plan, besiege
from tests.support.streaming import JFK, jfk_pcm

CONTAINERS = {name: encode(jfk_pcm()[: 3 * 16_000], kind) for name, kind in KINDS.items()}
SHORT = Plan(names=(), attack_s=0.25, share=0.06, n_mutants=3, alone_s=1.0, calm_s=0.1, settle_s=0.2)
LOOSE = Bounds(
    pong_median_ms=500.0, hold_ms=25.0, collector_ms=500.0, finals_slack_ms=10_000.0, ready_s=NEWCOMER_TIMEOUT_S
)
"""Latencies depend on other load of the machine."""


async def attacked(plan: Plan, bounds: Bounds = LOOSE) -> tuple[list[Row], list[str]]:
    """Run a short siege, and return all faults."""
    rows, faults = await besiege(CONTAINERS, jfk_pcm(), plan)
    assert [row.attack for row in rows] == list(plan.names)
    assert all(row.alone.pong_median is not None for row in rows)
    return rows, [f"{row.attack}: {what}" for row in rows for what in broken_bounds(row, bounds)] + faults


@pytest.mark.processes
@pytest.mark.timeout(240)
async def test_no_attack_harms_the_others_or_is_left_behind() -> None:
    """Each attack runs in a short form; the program has the long one."""
    rows, wrong = await attacked(replace(SHORT, names=tuple(ATTACKS)))
    assert wrong == []
    by_name = {row.attack: row for row in rows}
    assert by_name["7.1 recordings"].outcomes == {"end": 1}
    assert by_name["faults of decoders"].outcomes == {"invalid_container": 3, "end": 1}
    assert sum(by_name["damaged containers"].outcomes.values()) == 3


@pytest.mark.processes
@pytest.mark.timeout(120)
async def test_a_server_that_dies_under_an_attack_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is killed in the first attack, and no other one follows. Otherwise the siege could not fail."""

    async def kill(target: Any, over: Any) -> int:
        os.kill(target.pid, signal.SIGKILL)
        return 0

    monkeypatch.setattr(siege, "_peak_bytes", kill)
    rows, faults = await besiege(CONTAINERS, jfk_pcm(), replace(SHORT, names=["resets", "claims"]))
    [row] = rows
    assert "the server has ended" in broken_bounds(row)
    assert "1 x exit code -9" in faults
    assert "3 x a bystander: closed with None" in faults


@pytest.mark.processes
@pytest.mark.timeout(120)
async def test_a_forbidden_line_in_the_log_and_a_step_that_holds_the_loop_are_found_out() -> None:
    """The forbidden words here are those of ended sessions, which the first attack causes. The bound of the step is
    lower than the second one needs: a turn with a large message takes more than a millisecond."""
    plan = replace(
        SHORT, names=["7.1 recordings", "messages of 1 MiB"], forbidden_after={"7.1 recordings": ("ended: stop",)}
    )
    _, wrong = await attacked(plan, replace(LOOSE, hold_ms=0.5))
    [logged] = [what for what in wrong if what.startswith("7.1 recordings: logged: ")]
    assert "ended: stop, 1." in logged
    [held] = [what for what in wrong if what.startswith("messages of 1 MiB: ")]
    assert held.startswith("messages of 1 MiB: the loop was held for ")


@pytest.mark.processes
@pytest.mark.timeout(120)
async def test_a_lost_last_final_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is killed here before it can send one."""
    send = ServerProcess.send

    def send_twice(server: ServerProcess, number: signal.Signals) -> None:
        send(server, number)
        send(server, signal.SIGKILL)

    monkeypatch.setattr(ServerProcess, "send", send_twice)
    _, wrong = await attacked(SHORT)
    assert "1 x exit code -9" in wrong
    assert any("finals of" in what for what in wrong)
    assert any("closed with None" in what for what in wrong)


@pytest.mark.processes
@pytest.mark.timeout(120)
async def test_speech_that_never_gets_its_final_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bystanders ignore their finals here."""

    class Deaf(Bystander):
        def _receive(self, event: dict[str, Any]) -> None:
            if event["type"] != "final":
                super()._receive(event)

    monkeypatch.setattr(siege, "Bystander", Deaf)
    _, wrong = await attacked(replace(SHORT, names=["7.1 recordings"]))
    assert "7.1 recordings: speech without a final" in wrong


@pytest.mark.processes
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("log_lines", "exit_code"), [(20, 0), (-100, 1)])
def test_the_program_reports_by_its_exit_code_and_a_file(log_lines: int, exit_code: int, tmp_path: Path) -> None:
    plan = replace(SHORT, names=["7.1 recordings"])
    bounds = replace(LOOSE, log_lines=log_lines)
    arguments = [str(JFK), "--containers", "2", "--seconds", "0.2", "--json", str(tmp_path / "figures.json")]
    assert siege.main(arguments, plan, bounds) == exit_code
    figures = json.loads((tmp_path / "figures.json").read_text())
    [row] = figures["rows"]
    assert (row["attack"], row["outcomes"]) == ("7.1 recordings", {"end": 1})
    assert sum(figures["containers"]["outcomes"].values()) == 2
    assert len(figures["faults"]) == exit_code


@asynccontextmanager
async def bystander() -> AsyncIterator[tuple[Bystander, Callable[[str], Awaitable[None]], Callable[[Any], None]]]:
    """Yield a bystander, a function that waits until it has sent some text, and one that sends it an event."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        sent = b""

        async def has_sent(text: str) -> None:
            nonlocal sent
            while text.encode() not in sent:
                sent += await asyncio.get_running_loop().sock_recv(theirs, 65536)

        def send(event: Any) -> None:
            data = json.dumps(event).encode()
            theirs.sendall(bytes([0x80 | TEXT, len(data)]) + data)

        yield Bystander(RawPeer(ours)), has_sent, send


async def test_a_ping_without_a_pong_grows_older() -> None:
    async with bystander() as (client, has_sent, send):
        run = asyncio.ensure_future(client.run(client.ping()))
        await has_sent('"id": 1')
        send({"type": "pong", "id": 0})
        send({"type": "speech_start"})
        await client.speech_started.wait()
        before, after = client.pongs, client.pongs
        run.cancel()
    assert before[0] == after[0]
    assert before[1][0] == after[1][0]
    assert before[1][1] < after[1][1]


async def test_a_final_is_timed_from_the_end_of_its_speech_to_its_arrival() -> None:
    """The server's own figure ends before the final is stored and sent."""
    async with bystander() as (client, has_sent, send):
        began_s = time.monotonic()
        run = asyncio.ensure_future(client.run(client.speak(b"abcd" * 16_000)))
        await has_sent("abcd" * 320)
        send({"type": "final", "end_ms": 10, "latency_ms": 1})
        send({"type": "speech_start"})
        await client.speech_started.wait()
        run.cancel()
    [(ended_s, took_ms)] = client.finals
    assert ended_s >= began_s + 0.01
    assert 30 <= took_ms <= 1000 * (time.monotonic() - ended_s)
