"""One worker, seen from the server: its messages, and when it counts as hung.

The processes here are real but idle. The test holds the other end of their pipe and sends their messages.
"""

import asyncio
import multiprocessing
import threading
import time

import numpy as np
import pytest

from livecaption.ipc.config import EngineConfig
from livecaption.ipc.lifeline import EXIT_DEAD_MAN
from livecaption.ipc.messages import (
    BatchFailed,
    Heartbeat,
    LoadFailed,
    Message,
    ModelFound,
    Stop,
    Transcribe,
    Transcribed,
)
from livecaption.recognition import DeviceMemory, Hypothesis, Window
from livecaption.scheduling.instructions import BatchId
from livecaption.workers import spawning
from livecaption.workers.deadlines import SERVER_MARGIN_S, BatchDeadlines
from livecaption.workers.lifecycle import WorkerState
from livecaption.workers.supervisor import SHORTAGES
from livecaption.workers.worker import Worker
from tests.support.eventually import eventually
from tests.support.puppets import CONFIG, LOADED, RESTART, Notes, Puppet

pytestmark = pytest.mark.processes

ANSWER = Hypothesis("a", "en", 1.0, 0.0)
WINDOW = Window(np.zeros(16_000, np.float32))


@pytest.fixture
async def worker(puppets: list[Puppet], notes: Notes) -> Worker:
    return Worker(EngineConfig(), CONFIG, BatchDeadlines(CONFIG.batch_timeout_s), notes.listener)


async def loaded(worker: Worker, puppet: Puppet) -> None:
    puppet.send(LOADED)
    await eventually(lambda: worker.state is WorkerState.READY)


def transcribed(batch: int, n: int = 1) -> Transcribed:
    return Transcribed(batch, (ANSWER,) * n, 0.1)


async def test_the_newest_report_of_a_worker_on_its_gpu_is_kept(worker: Worker, puppets: list[Puppet]) -> None:
    for used_bytes in (3, 5):
        puppets[0].send(Heartbeat(DeviceMemory(used_bytes, total_bytes=9)))
        await eventually(lambda used_bytes=used_bytes: worker.device_memory == DeviceMemory(used_bytes, 9))


async def test_how_long_a_worker_served_and_what_it_answered_decides_whether_it_was_healthy(
    worker: Worker, puppets: list[Puppet]
) -> None:
    """A failed batch does not count as answered, and the time of loading does not count as service."""
    await loaded(worker, puppets[0])
    for number in range(RESTART.healthy_batches + 1):
        worker.transcribe(BatchId(number), [WINDOW])
        puppets[0].send(transcribed(number) if number else BatchFailed(number, "failed"))
        await eventually(lambda: worker.state is WorkerState.READY)
    worker.kill("test")
    assert worker.n_answered == RESTART.healthy_batches
    assert worker.healthy


async def test_a_worker_that_never_loaded_served_for_no_time(worker: Worker) -> None:
    worker._ready_s -= 1000.0
    worker.kill("test")
    assert worker.served_s == 0.0


async def test_the_memory_of_a_process_is_reported_as_long_as_it_lives(worker: Worker, puppets: list[Puppet]) -> None:
    # A process that was just started has not allocated its memory yet.
    await eventually(lambda: (worker.resident_bytes() or 0) > 1_000_000)
    worker.kill("the test is over")
    assert worker.resident_bytes() is None


async def test_a_worker_that_loaded_gets_batches_and_answers_them(
    worker: Worker, puppets: list[Puppet], notes: Notes
) -> None:
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    worker.transcribe(BatchId(2), [WINDOW, WINDOW])
    first, second = puppets[0].receive(), puppets[0].receive()
    assert isinstance(first, Transcribe)
    assert isinstance(second, Transcribe)
    assert [(message.batch, len(message.windows), message.deadline_s) for message in (first, second)] == [
        (1, 1, 12.0),
        (2, 2, 14.0),
    ]
    puppets[0].send(transcribed(1))
    await eventually(lambda: transcribed(1) in notes.calls)
    assert worker.state is WorkerState.BUSY
    puppets[0].send(BatchFailed(2, "failed"))
    await eventually(lambda: worker.state is WorkerState.READY)
    assert notes.calls == [LOADED, transcribed(1), BatchFailed(2, "failed")]


@pytest.mark.parametrize(
    "message",
    [transcribed(2), transcribed(1, n=2), BatchFailed(7, ""), LOADED],
    ids=["of the second batch", "for two windows", "of another batch", "loaded again"],
)
async def test_a_worker_that_sends_what_its_state_forbids_is_killed(
    message: Message, worker: Worker, puppets: list[Puppet], notes: Notes
) -> None:
    """Row 51 of the fault matrix: the worker is broken, and its next answer could go to the wrong utterance."""
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    worker.transcribe(BatchId(2), [WINDOW])
    puppets[0].send(message)
    await asyncio.wait_for(worker.lost, 10)
    assert notes.calls == [LOADED, "lost"]
    assert spawning.reap(worker.process, 10) == -9


async def test_a_worker_that_sends_rubbish_is_killed(worker: Worker, puppets: list[Puppet], notes: Notes) -> None:
    """Row 51: the log has the reason, and does not blame the memory."""
    puppets[0].pipe.send_bytes(b"rubbish")
    await asyncio.wait_for(worker.lost, 10)
    exit_code = spawning.reap(worker.process, 10)
    assert exit_code == -9
    assert worker.describe_end(exit_code).startswith("was killed: garbled message on the pipe")


async def test_a_worker_that_closed_its_pipe_is_killed(worker: Worker, puppets: list[Puppet], notes: Notes) -> None:
    """Such a worker is useless, even if its process runs."""
    await loaded(worker, puppets[0])
    puppets[0].pipe.close()
    await asyncio.wait_for(worker.lost, 10)
    assert spawning.reap(worker.process, 10) == -9


async def test_messages_of_a_killed_worker_do_not_count(worker: Worker, puppets: list[Puppet], notes: Notes) -> None:
    """Row 52: its batch was given to another worker meanwhile."""
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    worker.kill("test")
    assert notes.calls == [LOADED, "lost"]  # at once, because nothing may be sent to it any more
    puppets[0].send(transcribed(1))
    puppets[0].send(Heartbeat())
    puppets[0].pipe.close()
    await asyncio.wait_for(asyncio.to_thread(worker._bridge._reader.join), 10)  # all messages are in the loop
    await asyncio.sleep(0)  # and handled
    assert notes.calls == [LOADED, "lost"]
    assert worker.describe_end(-9) == "was killed: test"


async def test_a_worker_is_hung_if_its_batch_takes_too_long(worker: Worker, puppets: list[Puppet]) -> None:
    """The time of a batch begins with the answer to the one before it."""
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    worker.transcribe(BatchId(2), [WINDOW])
    began_s = time.monotonic()
    worker._last_message_s = began_s + 1000  # a heartbeat arrives
    assert worker.hung(began_s + 12 + SERVER_MARGIN_S - 0.5) is None
    assert worker.hung(began_s + 12 + SERVER_MARGIN_S + 0.5) == "a batch took longer than 12 s"
    await asyncio.sleep(0.2)  # the time of the second batch begins so much later
    puppets[0].send(transcribed(1))
    await eventually(lambda: len(worker._batches) == 1)
    worker._last_message_s = began_s + 1000
    assert worker.hung(began_s + 12 + SERVER_MARGIN_S + 0.1) is None
    assert worker.hung(began_s + 12 + SERVER_MARGIN_S + 5) == "a batch took longer than 12 s"


async def test_a_worker_is_hung_if_it_shows_no_sign_of_life(worker: Worker, puppets: list[Puppet]) -> None:
    await loaded(worker, puppets[0])
    now_s = time.monotonic()
    assert worker.hung(now_s + 4.5) is None
    assert worker.hung(now_s + 5.5) == "it sent nothing for 5 s"


async def test_a_worker_that_loads_may_be_silent(worker: Worker) -> None:
    """An import can hold the interpreter's lock for longer than a heartbeat may be late."""
    now_s = time.monotonic()
    assert worker.hung(now_s + CONFIG.load_timeout_s) is None
    late_s = now_s + CONFIG.load_timeout_s + SERVER_MARGIN_S + 0.5
    assert worker.hung(late_s) == "the model was not loaded within 100 s (--load-timeout)"


async def test_a_worker_that_ended_itself_because_it_loaded_too_long_is_described_so(
    worker: Worker, puppets: list[Puppet]
) -> None:
    """A busy server may read late that the loading began, and then no time-out has passed for it."""
    puppets[0].send(ModelFound())
    puppets[0].pipe.close()
    await asyncio.wait_for(worker.lost, 10)
    assert worker.describe_end(EXIT_DEAD_MAN) == "was killed: the model was not loaded within 100 s (--load-timeout)"
    assert worker.describe_end(-11) == "was killed by SIGSEGV while loading the model"


@pytest.mark.parametrize("messages", [[], [ModelFound(), LoadFailed("broken")]], ids=["before", "failed"])
async def test_a_worker_that_failed_to_load_did_not_load_too_long(
    messages: list[Message], worker: Worker, puppets: list[Puppet]
) -> None:
    """The status of its end is the same."""
    for message in messages:
        puppets[0].send(message)
    puppets[0].pipe.close()
    await asyncio.wait_for(worker.lost, 10)
    assert worker.describe_end(EXIT_DEAD_MAN) == "exited with status 1 while loading the model"


async def test_a_download_is_no_part_of_the_loading(worker: Worker, puppets: list[Puppet]) -> None:
    """The download of a model of some GB takes minutes; the deadline begins after it."""
    patience_s = CONFIG.load_timeout_s + SERVER_MARGIN_S
    overdue = "the model was not loaded within 100 s (--load-timeout)"
    silent_since_s = time.monotonic()
    assert worker.hung(silent_since_s + patience_s) == overdue
    puppets[0].send(Heartbeat())
    await eventually(lambda: worker.hung(silent_since_s + patience_s) is None)
    puppets[0].send(ModelFound())
    puppets[0].send(Heartbeat(DeviceMemory(1, 2)))
    await eventually(lambda: worker.device_memory is not None)
    assert worker.hung(time.monotonic() + patience_s) == overdue


async def test_the_servers_own_pause_is_not_held_against_its_worker(worker: Worker, puppets: list[Puppet]) -> None:
    """Rows 7 and 78: after Ctrl+Z and fg, or a laptop's sleep."""
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    now_s = time.monotonic()
    worker.forgive_silence(now_s + 100)
    assert worker.hung(now_s + 104) is None
    assert worker.hung(now_s + 106) is not None


async def test_a_stopping_worker_is_asked_first_and_may_answer(
    worker: Worker, puppets: list[Puppet], notes: Notes
) -> None:
    await loaded(worker, puppets[0])
    worker.transcribe(BatchId(1), [WINDOW])
    worker.ask_stop()
    worker.ask_stop()
    assert isinstance(puppets[0].receive(), Transcribe)
    assert puppets[0].receive() == Stop()
    puppets[0].send(transcribed(1))
    await eventually(lambda: transcribed(1) in notes.calls)
    assert worker.state is WorkerState.STOPPING


async def test_a_worker_whose_pipe_gets_no_threads_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    """It counts as a shortage, like a process that cannot be started."""
    start = threading.Thread.start

    def refuse_reader(thread: threading.Thread) -> None:
        if thread.name == "pipe-reader":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_reader)
    with pytest.raises(OSError, match="can't start new thread") as refusal:
        Worker(EngineConfig(), CONFIG, BatchDeadlines(CONFIG.batch_timeout_s), notes.listener)
    assert refusal.value.errno in SHORTAGES
    assert multiprocessing.active_children() == []
    await eventually(lambda: not any(thread.name == "pipe-writer" for thread in threading.enumerate()))
