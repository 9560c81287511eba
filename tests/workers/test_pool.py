"""Each request is answered once, whichever workers fail. The numbers of rows are those of the fault matrix."""

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from livecaption.errors import TranscriptionFailed, WorkerDied
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.layers import SWITCH, Layer
from livecaption.recognition import Hypothesis, RequestId, SessionId, TranslationTask, Window
from livecaption.scheduling.instructions import GiveUp, QueueFigures
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Cancel, Request
from livecaption.workers import pool, spawning
from livecaption.workers.layout import Layout
from livecaption.workers.pool import PoolState
from livecaption.workers.restart import RestartConfig
from tests.support.eventually import TIMEOUT_FACTOR, eventually
from tests.support.workers import worker_processes
from tests.workers.conftest import Crew, StartCrew

pytestmark = pytest.mark.processes

HANGS = ["hang", "hang-gil"]
PATIENT = RestartConfig(first_delay_s=0.0, breaker_deaths=100)
"""Workers are restarted at once, and the circuit breaker stays closed."""
QUICK = RestartConfig(first_delay_s=0.0, breaker_deaths=3, half_open_interval_s=0.5)
"""Workers are restarted at once until the breaker opens, which is soon, and then every half second."""


def n_started(caplog: pytest.LogCaptureFixture) -> int:
    return sum(" started (pid " in record.message for record in caplog.records)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_every_request_is_answered_once_and_finals_in_the_order_of_asking(start_crew: StartCrew) -> None:
    crew = await start_crew("delay 0.02", max_batch=2)
    answers = await asyncio.gather(*(crew.ask(session=str(n % 3)) for n in range(9)))
    assert all(isinstance(answer, Hypothesis) and answer.text == "One two." for answer in answers)
    assert crew.order == list(range(1, 10))


async def test_translations_are_answered_once_and_are_no_load(start_crew: StartCrew) -> None:
    """However slow they are, nothing is measured by which streams or partials become fewer."""
    crew = await start_crew()
    costs = crew.pool.load.costs
    task = TranslationTask("de", "One.")
    slow, failed, crashed = [
        crew.ask(f"translation-only {what}", session=session, translation=task)
        for what, session in (("delay 1", "a"), ("fail", "b"), ("crash", "c"))
    ]
    assert (await slow).text == "de: One."
    assert isinstance(await failed, TranscriptionFailed)
    assert isinstance(await crashed, TranscriptionFailed)
    assert isinstance(await crew.ask(session="c", translation=task), TranscriptionFailed)
    assert crew.pool.load.costs == costs
    assert crew.pool._load_controller._spoke_s == {}
    assert crew.pool.service_level() == ServiceLevel(500, effort="full")
    counts = crew.pool.counts
    assert (counts.translations, counts.translations_missing) == (1, 3)
    assert (counts.finals_answered, counts.finals_failed, counts.partials_asked) == (0, 0, 0)
    assert await crew.text(session="c") == "One two."


async def test_finals_of_a_recording_wait_behind_live_requests_and_are_no_load(start_crew: StartCrew) -> None:
    crew = await start_crew(max_batch=1)
    costs, level = crew.pool.load.costs, crew.pool.service_level()
    first = crew.ask("delay 0.2", session="recording", is_recording=True)
    others = [crew.ask(session="recording", is_recording=True) for _ in range(2)]
    live = crew.ask(session="live")
    assert (crew.pool.queue.recorded, crew.pool.queue.finals, crew.pool.load.oldest_final_s) == (2, 0, 0.0)
    await asyncio.gather(first, live, *others)
    assert crew.order == [1, 4, 2, 3]
    crew.pool.detach(SessionId("live"))
    await asyncio.gather(*(crew.ask("delay 0.1", session="recording", is_recording=True) for _ in range(3)))
    assert (crew.pool.load.costs.partial_s, crew.pool.service_level()) == (costs.partial_s, level)
    assert crew.pool._demand._newest == {}


async def test_the_finals_of_a_recording_whose_client_has_left_are_not_computed(start_crew: StartCrew) -> None:
    crew = await start_crew(max_batch=1)
    crew.ask("delay 0.2", session="left", is_recording=True)
    for _ in range(3):
        crew.ask(session="left", is_recording=True)
    crew.pool.detach(SessionId("left"))
    assert crew.pool.queue.recorded == 0
    assert await crew.text(session="recording", is_recording=True) == "One two."
    assert crew.pool.counts.finals_answered == 2


async def test_translations_that_waited_for_time_are_sent_only_after_the_batch_that_is_being_made(
    start_crew: StartCrew,
) -> None:
    """The service level is read while the scheduler refreshes the partials of a batch."""
    crew = await start_crew()
    await crew.ask()
    control = crew.pool._load_controller
    control._level = ServiceLevel(None, effort="reduced")
    crew.pool._limit_batches()
    answer = crew.ask(translation=TranslationTask("de", "One."))
    control._set_s = -math.inf
    assert crew.pool.service_level().partial_interval_ms == 500
    assert (crew.pool.queue.translations, crew.pool.queue.in_flight) == (1, 0)
    assert isinstance(await answer, Hypothesis)


async def test_the_time_of_the_workers_sets_the_interval_of_partials_and_the_size_of_batches(
    start_crew: StartCrew,
) -> None:
    """The worker here is slow: single requests, no partials, and no room for many streams."""
    crew = await start_crew("cost 3.5")
    before = crew.pool.load
    assert before.costs
    assert before.costs.final_s == before.costs.partial_s == pytest.approx(3.5, rel=0.01)
    assert not before.partials_paused
    assert crew.pool.service_level() == ServiceLevel(1842, effort="reduced")
    assert (before.n_workers, before.oldest_final_s) == (1, 0.0)
    assert before.free_bytes > 2**20
    await crew.ask()
    await eventually(lambda: crew.pool.service_level().partial_interval_ms is None)
    after = crew.pool.load
    assert after.costs
    assert after.costs.final_s == pytest.approx(3.5, rel=0.1)
    assert after.partials_paused
    assert crew.pool.load_figures.utilization > 0.5
    crew.ask(translation=TranslationTask("de", "One."))
    assert (crew.pool.queue.translations, crew.pool.queue.in_flight) == (1, 0)  # there is no time for it
    crew.ask("hang")
    for session in "abc":
        crew.ask(session=session)
    assert crew.pool.queue.in_flight == 2  # one is computed, and a batch of one waits
    assert crew.pool.load.oldest_final_s > 0


async def test_requests_that_waited_for_a_worker_are_computed_several_at_once(start_crew: StartCrew) -> None:
    crew = await start_crew()
    await crew.ask()
    hanging = crew.ask("delay 0.2")
    await asyncio.gather(hanging, *(crew.ask(session=str(n)) for n in range(8)))
    sizes = crew.pool.counts.batch_sizes
    assert sum(n * count for n, count in sizes.items()) == 10
    assert max(sizes) >= 3


async def test_finals_of_a_stream_that_is_alone_are_computed_several_at_once_although_they_are_slow(
    start_crew: StartCrew,
) -> None:
    """Beside a second stream, batches of finals this slow are single requests."""
    crew = await start_crew("cost 0.7")
    for sessions in (["a"], ["a", "b"]):
        before = crew.pool.counts.batch_sizes.copy()
        await asyncio.gather(*(crew.ask(session=session) for session in sessions * (6 // len(sessions))))
        sizes = crew.pool.counts.batch_sizes - before
        assert (max(sizes) > 1) == (len(sessions) == 1)


async def test_a_request_while_the_model_loads_is_answered_once_it_has(start_crew: StartCrew) -> None:
    crew = await start_crew("load 0.3", wait=False)
    answer = crew.ask()
    assert crew.pool.state is PoolState.LOADING
    assert not answer.done()
    assert isinstance(await answer, Hypothesis)


async def test_a_failed_batch_is_an_answer_and_the_worker_lives(start_crew: StartCrew) -> None:
    """Row 53."""
    crew = await start_crew()
    before = crew.pool.pids
    assert isinstance(await crew.ask("fail"), TranscriptionFailed)
    assert await crew.text() == "One two."
    assert crew.pool.pids == before


async def test_three_failed_batches_in_a_row_get_a_new_worker(start_crew: StartCrew) -> None:
    """Row 53."""
    crew = await start_crew(restart=PATIENT)
    [before] = crew.pool.pids
    for _ in range(3):
        assert isinstance(await crew.ask("fail", is_final=False), TranscriptionFailed)
    assert await crew.text() == "One two."
    assert crew.pool.pids != [before]


async def test_a_window_that_fails_alone_costs_the_others_of_its_batch_nothing(start_crew: StartCrew) -> None:
    """Row 53. It is not tried again, because the GPU would compute NaN once more."""
    crew = await start_crew()
    before = crew.pool.pids
    await crew.ask()  # so that batches are large
    hanging = crew.ask("delay 0.2")
    asked = [crew.ask("nan" if n == 3 else f"say {n}", session=str(n)) for n in range(8)]
    await hanging
    answers = await asyncio.gather(*asked)
    assert [answer.text if isinstance(answer, Hypothesis) else answer.code for answer in answers] == [
        *"012",
        "transcription_failed",
        *"4567",
    ]
    assert crew.pool.pids == before
    assert sum(n * count for n, count in crew.pool.counts.batch_sizes.items()) == 10


async def test_batches_become_small_enough_for_the_memory(start_crew: StartCrew) -> None:
    """Row 53."""
    crew = await start_crew("memory 4", max_batch=16)
    await crew.ask()  # so that batches are large
    sizes = []
    for _ in range(2):
        before = crew.pool.counts.batch_sizes.copy()
        hanging = crew.ask("delay 0.2")
        answers = await asyncio.gather(hanging, *(crew.ask(session=str(n)) for n in range(16)))
        assert [isinstance(answer, Hypothesis) for answer in answers] == [True] * 17
        sizes.append(max(crew.pool.counts.batch_sizes - before))
    assert sizes[0] > 4
    assert sizes[1] <= 4


async def test_a_batch_that_fails_costs_only_the_culprit_its_answer(start_crew: StartCrew) -> None:
    """Three valid requests and one that fails, of four sessions. Each session then submits another one successfully."""
    crew = await start_crew(wait=False)
    for _ in range(2):
        asked = [crew.ask("fail" if n == 2 else f"say {n}", session=str(n)) for n in range(4)]
        answers = await asyncio.gather(*asked)
        assert [answer.text if isinstance(answer, Hypothesis) else answer.code for answer in answers] == [
            "0",
            "1",
            "transcription_failed",
            "3",
        ]
    counts = crew.pool.counts
    assert (counts.finals_answered, counts.finals_failed) == (6, 2)
    assert crew.pool.queue == QueueFigures(finals=0, partials=0, in_flight=0, superseded=0, dropped=0)


async def test_the_log_names_no_session_by_the_id_that_admits_readers(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    crew = await start_crew()
    assert isinstance(await crew.ask("unusable", session="0123456789"), TranscriptionFailed)
    assert "audio of session 012345 crashed two workers" in caplog.text
    assert "0123456789" not in caplog.text


async def test_the_log_of_an_answer_that_was_not_taken_has_no_whole_id_either(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    crew = await start_crew()

    def refuse(*_: object) -> None:
        raise RuntimeError

    session = SessionId("0123456789")
    crew.pool.attach(session, refuse)
    crew.pool.submit(Request(RequestId(1), session, 0, 1.0, Window(np.zeros(9600, np.float32))))
    await eventually(lambda: "session 012345 could not take its answer" in caplog.text)
    assert "0123456789" not in caplog.text


async def test_a_worker_that_lost_its_device_is_replaced(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 53: after a sticky CUDA error every later call of that process would fail too."""
    crew = await start_crew()
    [before] = crew.pool.pids
    answer = await crew.ask("unusable")
    assert isinstance(answer, TranscriptionFailed)  # a script loses its device each time, so the worker dies twice
    assert answer.code == "quarantined"
    assert await crew.text() == "One two."
    assert before not in crew.pool.pids
    assert "exited with status 3" in caplog.text


async def test_a_final_whose_worker_was_killed_is_tried_again(start_crew: StartCrew, tmp_path: Path) -> None:
    """Row 42: the order of finals is kept too."""
    crew = await start_crew(max_batch=1)
    first = crew.ask(f"crash-once {tmp_path / 'crashed'}; say saved")
    second = crew.ask("say unharmed")
    assert [await answer for answer in (first, second)] == [
        Hypothesis("saved", "en", 0.9, 0.0),
        Hypothesis("unharmed", "en", 0.9, 0.0),
    ]
    assert crew.order == [1, 2]


@pytest.mark.parametrize("way", ["crash", "segfault", "rubbish"])
async def test_audio_that_kills_is_given_up_after_two_deaths_and_refused_from_then_on(
    way: str, start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows 42, 43 and 51: a garbled message counts as a death too."""
    crew = await start_crew()
    answer = await crew.ask(way)
    assert isinstance(answer, TranscriptionFailed)
    assert (answer.code, answer.fatal) == ("quarantined", False)
    assert await crew.text() == "One two."
    assert n_started(caplog) == 3
    again = await crew.ask(way)
    assert isinstance(again, TranscriptionFailed)
    assert again.code == "quarantined"
    assert n_started(caplog) == 3


async def test_poison_in_a_batch_costs_the_others_nothing(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 44: three valid requests and one that kills the worker, of four sessions."""
    crew = await start_crew(wait=False)
    asked = [crew.ask("crash" if n == 2 else f"say {n}", session=str(n)) for n in range(4)]
    answers = await asyncio.gather(*asked)
    assert [answer.text if isinstance(answer, Hypothesis) else answer.code for answer in answers] == [
        "0",
        "1",
        "quarantined",
        "3",
    ]
    assert n_started(caplog) == 3


async def test_partials_of_poison_kill_once_and_its_final_is_quarantined(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one utterance with a partial each half second would open the breaker for all sessions."""
    crew = await start_crew()
    [pid] = crew.pool.pids
    crew.ask("crash", utterance=0, is_final=False)
    await crew.lost(pid)
    for _ in range(5):
        crew.ask("crash", utterance=0, is_final=False)
    assert await crew.text(session="b") == "One two."
    assert isinstance(await crew.ask("crash", utterance=0), TranscriptionFailed)
    assert await crew.text(session="b") == "One two."
    assert n_started(caplog) == 4
    assert crew.pool.state is PoolState.READY


@pytest.mark.parametrize("hang", HANGS)
async def test_a_hang_is_ended_from_within_and_leaves_a_stack_dump(
    hang: str, start_crew: StartCrew, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows 45 and 46: the dead-man's switch needs no lock of the interpreter."""
    crew = await start_crew(batch_timeout_s=0.3)
    started_s = time.monotonic()
    answer = await crew.ask(hang, ms=100)
    assert isinstance(answer, TranscriptionFailed)
    assert time.monotonic() - started_s >= 2 * (0.3 + 0.2)
    assert n_started(caplog) >= 2
    assert f"in _hang{'_with_gil' if hang == 'hang-gil' else ''}" in capfd.readouterr().err
    assert "exited with status 1" in caplog.text


@pytest.mark.parametrize("hang", HANGS)
async def test_a_hang_is_ended_from_without_if_nothing_within_does(
    hang: str, start_crew: StartCrew, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 45 and 46, by the server alone. The log has the reason, and does not blame the memory."""
    monkeypatch.setenv(SWITCH, Layer.DEAD_MAN.value)
    crew = await start_crew(batch_timeout_s=0.1)
    [pid] = crew.pool.pids
    crew.ask(hang, ms=100, is_final=False)
    await crew.lost(pid)
    await crew.state(PoolState.READY)
    assert "was killed: a batch took longer than" in caplog.text
    assert "out of memory" not in caplog.text


async def test_a_worker_that_shows_no_sign_of_life_is_replaced_and_its_final_comes(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Row 47."""
    crew = await start_crew(heartbeat_timeout_s=1.5)
    [pid] = crew.pool.pids
    answer = crew.ask(f"touch {tmp_path / 'computing'}; delay 0.2; say later")
    await eventually((tmp_path / "computing").exists)
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(await answer, Hypothesis)
    assert "was killed: it sent nothing for 1.5 s" in caplog.text
    assert not psutil.pid_exists(pid)


async def test_a_busy_worker_is_no_silent_one(start_crew: StartCrew) -> None:
    """A separate thread sends the heartbeat, so only the deadline of the batch shows a lack of progress."""
    crew = await start_crew(heartbeat_timeout_s=1.5)
    before = crew.pool.pids
    assert await crew.text("delay 2.5; say done") == "done"
    assert crew.pool.pids == before


async def test_a_death_is_noticed_at_once_and_made_good(start_crew: StartCrew) -> None:
    """Row 41: the bound is for a busy machine; 2 to 9 ms were measured."""
    crew = await start_crew()
    [pid] = crew.pool.pids
    started_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await crew.lost(pid)
    assert time.monotonic() - started_s < 0.25 * TIMEOUT_FACTOR
    assert await crew.text() == "One two."
    assert crew.pool.state is PoolState.READY


async def crash_loop(crew: Crew) -> None:
    """Kill one worker after the other, until the breaker opens. The crew must have `restart=QUICK`."""
    for _ in range(QUICK.breaker_deaths):
        await crew.state(PoolState.READY)
        [pid] = crew.pool.pids
        os.kill(pid, signal.SIGKILL)
        await crew.lost(pid)
    await crew.state(PoolState.FAILED)


async def test_a_crash_loop_opens_the_breaker_and_what_waits_is_held_until_the_cause_is_gone(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 48."""
    crew = await start_crew(restart=QUICK)
    await crash_loop(crew)
    waiting = crew.ask("say held")
    assert crew.pool.failure is None  # a worker may still become ready
    assert not crew.pool.given_up
    answer = await waiting
    assert isinstance(answer, Hypothesis)
    assert answer.text == "held"
    assert crew.pool.state is PoolState.READY
    assert "the next one starts in 0.5 s" in caplog.text


async def test_requests_that_wait_longer_than_they_are_held_are_given_up_until_a_worker_is_back(
    start_crew: StartCrew,
) -> None:
    crew = await start_crew(hold_s=0.1, restart=QUICK)
    await crash_loop(crew)
    assert isinstance(await crew.ask(), WorkerDied)
    assert crew.pool.given_up
    assert crew.pool.state is PoolState.FAILED
    assert isinstance(await crew.ask(), WorkerDied)
    await crew.state(PoolState.READY)
    assert not crew.pool.given_up
    assert await crew.text("say healed") == "healed"


async def test_a_worker_that_only_comes_back_and_dies_does_not_prolong_the_wait(start_crew: StartCrew) -> None:
    crew = await start_crew(hold_s=2.5, restart=QUICK)
    await crash_loop(crew)
    n_deaths = 0
    while not crew.pool.given_up:
        await eventually(lambda: crew.pool.state is PoolState.READY or crew.pool.given_up)
        for pid in crew.pool.pids:
            os.kill(pid, signal.SIGKILL)
            n_deaths += 1
        await crew.state(PoolState.FAILED)
    assert n_deaths >= 1


async def test_the_death_of_a_healthy_worker_is_an_accident_although_the_breaker_was_open(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The death is noticed before the next restart is decided, and no request may fail in between."""
    crew = await start_crew(hold_s=0.1, restart=replace(QUICK, healthy_busy_s=0.0, healthy_batches=1))
    await crash_loop(crew)
    await crew.state(PoolState.READY)
    await crew.text()
    states: list[PoolState] = []
    monkeypatch.setattr(crew.pool, "_set_state", states.append)
    os.kill(crew.pool.pids[0], signal.SIGKILL)
    await eventually(lambda: states[-1:] == [PoolState.READY])
    assert PoolState.FAILED not in states
    monkeypatch.undo()
    assert await crew.text() == "One two."


async def test_a_model_that_can_never_load_is_reported_once_and_not_tried_again(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 49."""
    crew = await start_crew("refuse")
    assert crew.pool.state is PoolState.FAILED
    assert crew.pool.failure == "The script refuses to load"
    assert n_started(caplog) == 1
    assert isinstance(await crew.ask(), WorkerDied)


async def test_a_load_for_which_memory_is_short_is_tried_again_and_does_not_count_as_a_death(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Row 53."""
    for_so_long = tmp_path / "memory"
    for_so_long.write_bytes(b"." * RestartConfig().breaker_deaths)
    crew = await start_crew(f"no-memory {for_so_long}", shortage_interval_s=0.01, wait=False)
    await eventually(lambda: "No memory for the scripted engine; the server tries again" in caplog.text)
    assert crew.pool.state is PoolState.LOADING
    assert await crew.pool.wait_until_loaded() is PoolState.READY
    assert n_started(caplog) == RestartConfig().breaker_deaths + 1
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


async def test_a_stop_does_not_wait_until_a_load_without_memory_is_tried_again(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "memory").write_bytes(b"..")
    crew = await start_crew(f"no-memory {tmp_path / 'memory'}", shortage_interval_s=60.0, wait=False)
    await eventually(lambda: "the server tries again after 60.0 s" in caplog.text)
    async with asyncio.timeout(10.0 * TIMEOUT_FACTOR):
        await crew.pool.stop()
    assert crew.pool.state is PoolState.STOPPED
    assert n_started(caplog) == 1


async def test_memory_that_stays_short_is_a_failure_in_the_end(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "memory").write_bytes(b"..........")
    patience = RestartConfig(memory_patience_s=0.0, memory_retries=0)
    crew = await start_crew(f"no-memory {tmp_path / 'memory'}", restart=patience)
    assert crew.pool.state is PoolState.FAILED
    assert crew.pool.failure == "No memory for the scripted engine"
    assert n_started(caplog) == 1


@pytest.mark.parametrize("without", ["", Layer.DEAD_MAN.value], ids=["from within", "from without"])
async def test_a_model_that_takes_too_long_is_given_up(
    without: str, start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 50."""
    monkeypatch.setenv(SWITCH, without)
    crew = await start_crew("hang-load", load_timeout_s=0.5)
    assert crew.pool.state is PoolState.FAILED
    assert crew.pool.failure is not None
    assert "the model was not loaded within 0.5 s (--load-timeout)" in crew.pool.failure


async def test_a_worker_that_dies_before_it_was_ever_ready_is_not_tried_again(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    crew = await start_crew("hang-load", wait=False)
    await eventually(lambda: n_started(caplog) == 1)
    await eventually(worker_processes)
    [child] = worker_processes()
    child.send_signal(signal.SIGABRT)
    assert await crew.pool.wait_until_loaded() is PoolState.FAILED
    assert crew.pool.failure == "the inference process was killed by SIGABRT while loading the model"
    assert n_started(caplog) == 1


async def test_a_worker_that_cannot_be_killed_gets_no_second_one_beside_it(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 54: the worker acts as if it hung in a driver, with its device."""
    monkeypatch.setattr(SpawnProcess, "kill", lambda _: None)
    crew = await start_crew(heartbeat_timeout_s=1.5, kill_timeout_s=0.3)
    [pid] = crew.pool.pids
    answer = crew.ask("hang")
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(await answer, WorkerDied)
    assert crew.pool.state is PoolState.FAILED
    await asyncio.wait_for(asyncio.gather(*crew.pool.tasks), 5.0)
    assert crew.pool.failure is not None
    assert f"(pid {pid}) does not end although it was killed" in crew.pool.failure
    assert n_started(caplog) == 1
    os.kill(pid, signal.SIGKILL)  # the driver releases it at last
    await crew.pool.stop()
    # A killed process is a zombie until its last thread has ended, and can be reaped only then.
    await eventually(lambda: not multiprocessing.active_children())


async def test_auto_that_finds_no_gpu_to_use_gets_the_processes_of_a_cpu(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is there, but its driver is broken. The first worker reports that it computes on the CPU."""
    engine = EngineConfig(engine="scripted")
    monkeypatch.setattr(pool, "lay_out", lambda *_: Layout([engine], [engine]))
    crew = await start_crew()
    await eventually(lambda: len(crew.pool.pids) == 2)
    assert len(crew.pool.workers()) == 2
    assert [task for task in crew.pool.tasks if task.done()] == []


async def test_a_process_that_starts_while_another_serves_streams_is_not_calibrated(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its single first window shows little, and would be taken for the cost of all."""
    calibrates = []
    spawn = spawning.spawn

    def note(engine: EngineConfig, *others: Any) -> Any:
        calibrates.append(engine.calibrates)
        return spawn(engine, *others)

    monkeypatch.setattr(spawning, "spawn", note)
    first = EngineConfig(engine="scripted")
    monkeypatch.setattr(pool, "lay_out", lambda *_: Layout([first, first], [replace(first, model="cost 3.5")]))
    crew = await start_crew()
    costs = crew.pool.load.costs
    await eventually(lambda: len(crew.pool.pids) == 3)
    assert calibrates == [True, True, False]
    assert crew.pool.load.costs == costs


async def test_a_command_with_one_stream_calibrates_no_process(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "lay_out", lambda *_: Layout([EngineConfig(engine="scripted", calibrates=False)], []))
    crew = await start_crew()
    assert [worker.calibrates for worker in crew.pool._ready.values()] == [False]
    assert await crew.text() == "One two."


async def test_a_stop_before_auto_has_found_its_device_starts_no_further_process(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineConfig(engine="scripted", model="hang-load")
    monkeypatch.setattr(pool, "lay_out", lambda *_: Layout([engine], [engine]))
    crew = await start_crew(wait=False)
    await eventually(lambda: n_started(caplog) == 1)
    await crew.pool.stop()
    assert n_started(caplog) == 1


@pytest.mark.parametrize("layout", [{"per_device": 2}, {"device": "cpu,cuda:0"}], ids=repr)
async def test_workers_share_the_work_and_one_death_takes_nothing_from_the_others(
    layout: dict[str, int | str], start_crew: StartCrew, tmp_path: Path
) -> None:
    crew = await start_crew(max_batch=1, **layout)
    await eventually(lambda: len(crew.pool.pids) == 2)
    victim, survivor = crew.pool.pids
    states = []
    asked = [crew.ask(f"touch {tmp_path / str(n)}; delay 0.3; say {n}") for n in range(4)]
    await eventually(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())  # two at a time
    os.kill(victim, signal.SIGKILL)
    for n, answer in enumerate(asked):
        done = await answer
        assert isinstance(done, Hypothesis)
        assert done.text == str(n)
        states.append(crew.pool.state)
    assert survivor in crew.pool.pids
    assert set(states) == {PoolState.READY}


async def test_a_device_that_cannot_be_had_leaves_the_other_at_work(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = await start_crew("load 0.5", per_device=2, wait=False)
    await eventually(lambda: n_started(caplog) == 2)
    await eventually(lambda: len(worker_processes()) == 2)
    worker_processes()[-1].kill()
    assert await crew.pool.wait_until_loaded() is PoolState.READY
    await eventually(lambda: "a worker is given up" in caplog.text)
    assert crew.pool.failure is None
    assert await crew.text() == "One two."


async def test_a_session_that_fails_to_take_its_answer_costs_the_others_of_its_batch_nothing(
    start_crew: StartCrew, caplog: pytest.LogCaptureFixture
) -> None:
    crew = await start_crew(wait=False)
    crew.ask(session="broken")
    crew.pool.attach(SessionId("broken"), lambda *_: 1 // 0)
    assert await crew.text(session="b") == "One two."
    assert "ZeroDivisionError" in caplog.text


async def test_a_session_that_left_is_not_answered(start_crew: StartCrew) -> None:
    crew = await start_crew()
    crew.ask("delay 0.1", session="gone")
    crew.pool.detach(SessionId("gone"))
    await crew.text(session="b")
    assert crew.order == [2]


async def test_a_request_that_is_cancelled_before_a_worker_has_it_is_not_answered(start_crew: StartCrew) -> None:
    crew = await start_crew(wait=False)
    crew.ask(session="a", utterance=3)
    crew.ask(session="a", utterance=4)
    crew.pool.cancel(Cancel(SessionId("a"), 3))
    await crew.text(session="b")
    assert crew.order == [2, 3]


async def test_stopping_answers_what_waits_and_ends_an_idle_worker_at_once(start_crew: StartCrew) -> None:
    crew = await start_crew()
    [pid] = crew.pool.pids
    started_s = time.monotonic()
    await crew.pool.stop()
    assert time.monotonic() - started_s < 0.5 * TIMEOUT_FACTOR
    assert not psutil.pid_exists(pid)
    assert isinstance(await crew.ask(), WorkerDied)
    await crew.pool.stop()


async def test_stopping_does_not_wait_for_a_model_that_loads(start_crew: StartCrew) -> None:
    """Row 32."""
    crew = await start_crew("hang-load", wait=False)
    await asyncio.sleep(0)
    started_s = time.monotonic()
    await crew.pool.stop()
    assert time.monotonic() - started_s < 0.5 * TIMEOUT_FACTOR


@pytest.mark.parametrize("way", ["hang", "hang-gil", "SIGSTOP"])
async def test_stopping_takes_no_longer_than_it_may(way: str, start_crew: StartCrew) -> None:
    """Rows 36 and 37: the worker is asked to stop, and is killed after 0.3 s."""
    crew = await start_crew(stop_timeout_s=0.3)
    asked = [crew.ask("hang-gil" if way == "hang-gil" else "hang"), crew.ask()]
    if way == "SIGSTOP":
        os.kill(crew.pool.pids[0], signal.SIGSTOP)
    started_s = time.monotonic()
    await crew.pool.stop()
    assert 0.25 < time.monotonic() - started_s < 1.3 * TIMEOUT_FACTOR
    assert all(isinstance(answer.result(), WorkerDied) for answer in asked)


async def test_stopping_does_not_wait_for_a_dead_worker(start_crew: StartCrew) -> None:
    """Row 35."""
    crew = await start_crew()
    os.kill(crew.pool.pids[0], signal.SIGKILL)
    started_s = time.monotonic()
    await crew.pool.stop()
    assert time.monotonic() - started_s < 0.5 * TIMEOUT_FACTOR


async def test_stopping_ends_the_wait_for_the_next_start(start_crew: StartCrew) -> None:
    crew = await start_crew(restart=RestartConfig(breaker_deaths=1))
    os.kill(crew.pool.pids[0], signal.SIGKILL)
    await crew.state(PoolState.FAILED)
    started_s = time.monotonic()
    await crew.pool.stop()
    assert time.monotonic() - started_s < 0.5 * TIMEOUT_FACTOR


async def test_a_request_that_follows_a_final_that_is_given_up_is_sent_behind_earlier_batches(
    start_crew: StartCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker computes in the order of the scheduler. Otherwise its crash would be blamed on another batch."""
    crew = await start_crew(max_batch=1)
    [worker] = crew.pool._ready.values()
    sent: list[int] = []
    monkeypatch.setattr(worker, "transcribe", lambda batch, _: sent.append(batch))
    given_up, other, more = [
        Request(RequestId(number), SessionId(session), number, 0.0, Window(np.full(1600, number / 10, np.float32)))
        for number, session in ((1, "a"), (2, "b"), (3, "a"))
    ]
    crew.pool.attach(SessionId("a"), lambda *_: crew.pool.submit(more))
    crew.pool._execute([GiveUp(given_up), *crew.pool._scheduler.submit(other)])
    await eventually(lambda: len(sent) == 2)
    crew.pool.detach(SessionId("a"))
    assert sent == [1, 2]


async def test_all_workers_can_be_made_to_show_their_stacks(
    start_crew: StartCrew, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = await start_crew()
    crew.pool.dump_stacks()
    await crew.text()  # it is read after the message before it
    shown = capfd.readouterr().err
    assert "engine/main.py" in shown
    assert "ipc/lifeline.py" in shown


@pytest.mark.timeout(240)
async def test_many_restarts_leave_no_descriptor_thread_or_zombie(start_crew: StartCrew) -> None:
    """Rows 59 and 60: no worker dies with a thread of an executor, because no such thread starts one."""
    crew = await start_crew(restart=PATIENT)
    server = psutil.Process()

    async def restart_once() -> None:
        [pid] = crew.pool.pids
        os.kill(pid, signal.SIGKILL)
        await crew.lost(pid)
        await crew.state(PoolState.READY)

    def left() -> tuple[int, int, int]:
        threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
        return server.num_fds(), len(threads), len(server.children())

    await restart_once()
    await eventually(lambda: len(worker_processes()) == 1)  # the dead worker is removed
    before = left()
    for _ in range(10):  # the comparison is exact, so that a leak shows at once
        await restart_once()
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(4)))
    await eventually(lambda: left() == before)
    assert await _lives_on(crew, 0.2)


async def _lives_on(crew: Crew, for_s: float) -> bool:
    before = crew.pool.pids
    await asyncio.sleep(for_s)
    return crew.pool.pids == before
