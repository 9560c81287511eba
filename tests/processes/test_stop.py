"""Stop signals from a service manager or a person stop the server in order, at any time.

The numbers of rows are those of the fault matrix.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence

import psutil
import pytest

from tests.support.processes import COMMAND, ServerProcess, assert_clean_end, serving
from tests.support.streaming import Publisher, speaking

pytestmark = pytest.mark.processes

IDLE_STOP_S = 0.5
FORCED_STOP_S = 1.5
"""Less than the answer takes that a stop in order would wait for."""
ENGINES = ["scripted", pytest.param("", id="model", marks=pytest.mark.model)]
"""The value of `--engine`; empty is the default, real Whisper."""


def check_all_complete(publishers: Sequence[Publisher]) -> None:
    for publisher in publishers:
        publisher.check_complete()


async def stopped_in_order(server: ServerProcess, within_s: float = IDLE_STOP_S) -> None:
    assert await server.exited(within_s) == 0
    await assert_clean_end(server)
    assert " ERROR " not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_an_idle_server_stops_at_once_with_code_0(number: signal.Signals) -> None:
    """Rows 1 and 3. `test_terminal` has SIGINT with the model."""
    async with serving() as server:
        await server.ready()
        server.send(number)
        await stopped_in_order(server)
        assert "exited with status 0" in server.output  # a worker that still loads is killed


async def test_three_hang_ups_are_one_stop() -> None:
    """Row 5: a shell, the kernel and systemd's SendSIGHUP may each send a hang-up."""
    async with serving() as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            for _ in range(3):
                server.send(signal.SIGHUP)
                await asyncio.sleep(0.02)  # within 0.3 s, as a copy
            await stopped_in_order(server, within_s=3)
        publisher.check_complete()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_stop_in_mid_sentence_delivers_every_final(engine: str) -> None:
    """Row 8: the audio is sent in real time."""
    n = 20 if engine else 4
    async with serving(f"--max-streams={n}", engine=engine) as server:
        url = await server.ready()
        async with speaking(url, n) as publishers:
            await asyncio.gather(*(publisher.streamed(2) for publisher in publishers))
            server.send(signal.SIGTERM)
            await stopped_in_order(server, within_s=7)
        check_all_complete(publishers)
    if not engine:
        # On some processors the model transcribes "my" as "I".
        assert all("fellow" in publisher.text.lower() for publisher in publishers), publishers[0].text


async def test_the_text_that_a_stop_delivers_is_complete() -> None:
    """Row 8: the text is that of a stream without a stop."""
    async with serving() as server:
        url = await server.ready()
        async with speaking(url, prompt="script: say what everybody said") as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGTERM)
            await stopped_in_order(server, within_s=3)
        assert publisher.text == "what everybody said"


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_signal_to_all_processes_loses_nothing(engine: str) -> None:
    """Row 10: systemd with KillMode=control-group signals the workers too."""
    async with serving("--model", "delay 0.4", engine=engine) if engine else serving(engine="") as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send_to_all(signal.SIGTERM)
            await stopped_in_order(server, within_s=4)
        publisher.check_complete()


async def test_a_second_sigterm_ends_the_server_at_once() -> None:
    """Row 12: clients receive 1001, or the end of the connection."""
    async with serving("--model", "delay 3") as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGTERM)
            await publisher.received("status", state="draining")
            await asyncio.sleep(0.35)  # a second signal counts from 0.3 s on
            server.send(signal.SIGTERM)
            assert await server.exited(FORCED_STOP_S) == 128 + signal.SIGTERM
            await assert_clean_end(server)
        assert publisher.close_code == 1001


async def test_a_doubled_signal_is_one_stop() -> None:
    """Row 13: wrappers such as `uv run` forward a signal that the terminal has sent too."""
    async with serving("--model", "delay 0.5") as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGTERM)
            await publisher.received("status", state="draining")  # within 0.3 s, as a copy
            server.send(signal.SIGTERM)
            await stopped_in_order(server, within_s=4)
        publisher.check_complete()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_stop_does_not_wait_for_a_loading_model(engine: str) -> None:
    """Row 32."""
    async with serving("--model", "hang-load", engine=engine) if engine else serving(engine="") as server:
        await server.listening()
        await server.logged("worker 1 started")
        server.send(signal.SIGTERM)
        await stopped_in_order(server)


STOP_SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["SIGTERM", "SIGINT", "SIGHUP"]
)


@pytest.mark.usefixtures("cold_processes")
@STOP_SIGNALS
async def test_a_stop_while_one_of_two_processes_loads_is_no_error(number: signal.Signals) -> None:
    """Row 32: the number of processes is that of most servers."""
    async with serving("--model", "hang-load", "--workers=2") as server:
        await server.logged("worker 2 started")
        server.send(number)
        await stopped_in_order(server)


@STOP_SIGNALS
async def test_two_processes_end_in_order_in_mid_sentence(number: signal.Signals) -> None:
    """Rows 5, 8 and 9. One worker with the model gets the signals above."""
    async with serving("--workers=2") as server:
        url = await server.ready()
        await server.logged("worker 1 is ready")
        await server.logged("worker 2 is ready")
        async with speaking(url) as [publisher]:
            await publisher.streamed(2)
            server.send(number)
            await stopped_in_order(server, within_s=4)
        publisher.check_complete()


@pytest.mark.usefixtures("cold_processes")
@pytest.mark.parametrize("delay_ms", [0, 10, 25, 50])
async def test_ctrl_c_right_after_the_start_of_a_worker_leaves_no_traceback(delay_ms: int) -> None:
    """Row 33: the whole group gets the signal, as in a terminal, while the worker starts."""
    async with serving() as server:
        await server.logged("worker 1 started")
        await asyncio.sleep(delay_ms / 1000)
        server.send_to_group(signal.SIGINT)
        await stopped_in_order(server)


async def test_a_stop_with_a_dead_worker_is_as_quick_as_an_idle_one() -> None:
    """Row 35: the stop does not wait for a child that has ended."""
    async with serving() as server:
        await server.ready()
        [worker] = server.worker_pids
        os.kill(worker, signal.SIGKILL)
        server.send(signal.SIGTERM)
        assert await server.exited(IDLE_STOP_S) == 0
        await assert_clean_end(server)
        # Only the death is logged, if it is noticed before the stop.
        errors = [line for line in server.lines if " ERROR " in line]
        assert all("was killed by SIGKILL" in line for line in errors), errors


async def test_a_stopped_worker_delays_a_stop_by_a_second_at_most() -> None:
    """Row 36."""
    async with serving() as server:
        await server.ready()
        [worker] = server.worker_pids
        os.kill(worker, signal.SIGSTOP)
        server.send(signal.SIGTERM)
        await stopped_in_order(server, within_s=1.5)


async def test_a_final_that_does_not_come_is_reported_and_the_stop_ends_in_time() -> None:
    """Row 37."""
    async with serving("--drain-timeout", "2") as server:
        url = await server.ready()
        async with speaking(url, prompt="script: hang") as [publisher]:
            await publisher.streamed(1)
            began_s = time.monotonic()
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=2 + 1 + 0.5) == 70
            await assert_clean_end(server)
        assert server.ended_s - began_s >= 1
        assert [error["code"] for error in publisher.of("error")] == ["transcription_failed"]
        assert [final["text"] for final in publisher.of("final")] == [""]
        assert (publisher.events[-1]["type"], publisher.close_code) == ("end", 1001)


async def test_a_worker_that_dies_in_a_stop_costs_no_final() -> None:
    """Row 38: the final is requested again from a new worker."""
    async with serving("--model", "delay 1") as server:
        url = await server.ready()
        async with speaking(url, partials=False) as [publisher]:
            await publisher.streamed(1)
            [worker] = server.worker_pids
            server.send(signal.SIGTERM)
            await publisher.received("speech_end")
            os.kill(worker, signal.SIGKILL)
            assert await server.exited(within_s=5) == 0
            await assert_clean_end(server)
        publisher.check_complete()


async def test_as_pid_1_of_a_container_it_stops_like_anywhere(new_pid_namespace: tuple[str, ...]) -> None:
    """Row 39: the kernel ignores signals to pid 1 without a handler."""
    async with serving(command=(*new_pid_namespace, *COMMAND)) as server:
        await server.ready()
        [pid_1] = [child.pid for child in psutil.Process(server.pid).children()]
        os.kill(pid_1, signal.SIGTERM)
        await stopped_in_order(server)
