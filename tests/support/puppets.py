"""Idle processes in the place of workers: a test holds the other end of their pipe, and sends their messages."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from livecaption.ipc import children
from livecaption.ipc.messages import Loaded, Message, decode, encode
from livecaption.recognition import BatchTime, EngineCosts, ModelDescription
from livecaption.workers import spawning
from livecaption.workers.config import WorkerConfig
from livecaption.workers.restart import RestartConfig
from livecaption.workers.supervisor import Supervisor
from livecaption.workers.worker import WorkerListener

MODEL = ModelDescription("none", "cpu", "none", ("en",), translates=False)
COSTS = EngineCosts((BatchTime(1, 0.1),), (BatchTime(1, 0.1),), max_batch=16)
LOADED = Loaded(MODEL, COSTS)
RESTART = RestartConfig(first_delay_s=0.0, healthy_busy_s=0.0)
CONFIG = WorkerConfig(
    heartbeat_timeout_s=5.0, batch_timeout_s=10.0, load_timeout_s=100.0, shortage_interval_s=0.01, restart=RESTART
)


class Puppet:
    """An idle process whose end of the pipe the test holds."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.server_end, self.pipe = context.Pipe(duplex=True)
        self.process = context.Process(target=time.sleep, args=(60,), daemon=True)
        self.process.start()
        children._started.add(self.process)

    def send(self, message: Message) -> None:
        self.pipe.send_bytes(encode(message))

    def receive(self) -> Message:
        assert self.pipe.poll(10)
        return decode(self.pipe.recv_bytes())


class Notes:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.listener = WorkerListener(
            on_ready=lambda _, loaded: self.calls.append(loaded),
            on_answer=lambda _, answer: self.calls.append(answer),
            on_lost=lambda _: self.calls.append("lost"),
        )

    def on_state(self, supervisor: Supervisor) -> None:
        self.calls.append(supervisor.state)


@pytest.fixture
def puppets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Puppet]]:
    """Start idle processes instead of workers, and list those started so far."""
    spawned: list[Puppet] = []

    def spawn(*_: object) -> tuple[object, Connection]:
        spawned.append(Puppet())
        return spawned[-1].process, spawned[-1].server_end

    monkeypatch.setattr(spawning, "spawn", spawn)
    yield spawned
    for puppet in spawned:
        puppet.pipe.close()
        children.kill(puppet.process)
        if puppet.process in children._started:
            spawning.reap(puppet.process, 10)


@pytest.fixture
def notes() -> Notes:
    return Notes()
