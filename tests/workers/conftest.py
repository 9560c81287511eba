"""Pools of real worker processes with the scripted engine."""

import asyncio
import multiprocessing
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livecaption.errors import EngineError
from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import Hypothesis, RequestId, SessionId, TranscriptionOptions, TranslationTask, Window
from livecaption.scheduling.config import SchedulerConfig
from livecaption.scheduling.partial_timer import PartialsConfig
from livecaption.scheduling.request import Request
from livecaption.workers.config import WorkerConfig
from livecaption.workers.pool import PoolState, WorkerPool
from tests.support.eventually import eventually
from tests.support.puppets import notes, puppets
from tests.support.stale_workers import orphan, process, stale

__all__ = ["notes", "orphan", "process", "puppets", "stale"]

Answer = Hypothesis | EngineError


class Crew:
    """A pool, and a session that submits requests and records every answer."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.order: list[int] = []
        """Ids of the answered requests, in the order of the answers."""
        self._n_asked = 0
        self._awaited: dict[int, asyncio.Future[Answer]] = {}

    def ask(
        self,
        prompt: str = "",
        *,
        session: str = "a",
        ms: int = 600,
        utterance: int | None = None,
        is_final: bool = True,
        translation: TranslationTask | None = None,
        is_recording: bool = False,
    ) -> "asyncio.Future[Answer]":
        """Submit a window of silence, and return the future answer; `prompt` is a script for the engine."""
        self._n_asked += 1
        number = self._n_asked
        self._awaited[number] = answer = asyncio.get_running_loop().create_future()
        self.pool.attach(SessionId(session), self._take, is_recording=is_recording)
        options = TranscriptionOptions(prompt=f"script: {prompt}" if prompt else "")
        window = Window(np.zeros(16 * ms, np.float32), options, is_final, translation=translation)
        utterance = number if utterance is None else utterance
        self.pool.submit(Request(RequestId(number), SessionId(session), utterance, float(number), window))
        assert number not in self.order, "answered within the call"
        return answer

    async def text(self, *asked: str, **how: Any) -> str:
        """Submit a request, and wait for its text."""
        answer = await self.ask(*asked, **how)
        assert isinstance(answer, Hypothesis), answer
        return answer.text

    async def state(self, *states: PoolState) -> None:
        """Wait until the pool is in one of these states."""
        await eventually(lambda: self.pool.state in states, within_s=20)

    async def lost(self, pid: int) -> None:
        """Wait until the pool has noticed the death of a worker. Its state may have gone on when this returns."""
        await eventually(lambda: pid not in self.pool.pids, within_s=20)

    def _take(self, request: Request, answer: Answer) -> None:
        self.order.append(request.id)
        assert self.order.count(request.id) == 1, "answered twice"
        self._awaited[request.id].set_result(answer)


StartCrew = Callable[..., Awaitable[Crew]]


@pytest.fixture(autouse=True)
def light_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spare the workers the import of pytest's main module, which takes 0.3 s. Use a separate directory of locks."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


@pytest.fixture(autouse=True)
def nobody_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that no test leaves a process or a zombie behind, and that no callback of the loop failed."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"] == []
    left = multiprocessing.active_children()
    children.kill_all()
    assert left == []


@pytest.fixture
async def start_crew(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartCrew]:
    """Start a pool of scripted workers and wait until it is loaded or never will be."""
    crews = []

    async def start(
        model: str = "",
        *,
        device: str = "cpu",
        max_batch: int = 8,
        wait: bool = True,
        hold_s: float = 60.0,
        **settings: Any,
    ) -> Crew:
        engine = EngineConfig(engine="scripted", model=model, device=device)
        scheduling = SchedulerConfig(max_batch=max_batch)
        crew = Crew(WorkerPool(engine, WorkerConfig(**settings), scheduling, PartialsConfig(), hold_s=hold_s))
        crews.append(crew)
        crew.pool.start()
        if wait:
            await crew.pool.wait_until_loaded()
        return crew

    yield start
    monkeypatch.undo()  # a pool might not stop without what a test has removed
    for crew in crews:
        await crew.pool.stop()
