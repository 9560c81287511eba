"""Each attack is bounded, and reports its outcomes. test_siege.py tests that servers withstand them."""

import os
import socket
import time
from dataclasses import replace

import pytest

from livecaption.evaluation.attacks import ATTACKS, run
from livecaption.evaluation.containers import KINDS
from livecaption.evaluation.peers import raw_peer
from livecaption.evaluation.server_process import serving
from livecaption.evaluation.target import Target

CONTAINERS = dict.fromkeys(KINDS, b"RIFF")
NOWHERE = Target("http://127.0.0.1:9/", os.getpid(), (), "nobody", CONTAINERS, seconds=0.1, share=0.001, n_mutants=1)


def test_an_attack_that_breaks_off_is_a_fault() -> None:
    """Otherwise an attack that never reached the server would look like a harmless one."""
    for name in ("7.1 recordings", "sessions in a row", "malformed requests", "damaged containers", "resets"):
        report = run(name, NOWHERE)
        assert report.faults, name


def test_an_attack_that_takes_too_long_is_a_fault() -> None:
    """The server here never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = replace(NOWHERE, url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert run("resets", target, timeout_s=0.01).faults == ["the attack broke off: TimeoutError "]


@pytest.mark.processes
async def test_a_flood_comes_back_when_it_is_cut_off_until_its_time_is_over() -> None:
    """The server closes after 20 messages of a reader, and aborts a second later, because the Close is not answered."""
    async with serving("--store", "none") as server:
        url = await server.ready()
        async with raw_peer(url) as peer:
            await peer.send({"type": "start"})
            session = (await anext(peer.events()))["session"]
            target = Target(url, server.pid, (), session, {}, seconds=2.5, share=1.0, n_mutants=0)
            began_s = time.monotonic()
            report = await ATTACKS["a reader's 1-byte frames"](target)
            assert time.monotonic() - began_s >= 2.5
        assert report.n_sessions >= 2
