"""The inference process, spoken to over its pipe."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from livecaption.engine.main import EXIT_STOPPED, EXIT_UNUSABLE
from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.lifeline import EXIT_DEAD_MAN
from livecaption.ipc.messages import (
    BatchFailed,
    DumpStacks,
    Heartbeat,
    Loaded,
    LoadFailed,
    Message,
    ModelFound,
    Stop,
    Transcribe,
    Transcribed,
    decode,
    encode,
)
from livecaption.recognition import Hypothesis, TranscriptionOptions, Window
from livecaption.workers import spawning
from tests.support import nan_model
from tests.support.eventually import eventually
from tests.support.stub_gpus import stub_cuda

pytestmark = pytest.mark.processes


class EngineProcess:
    """A started inference process and the server's end of its pipe."""

    def __init__(self, engine: EngineConfig) -> None:
        self.process, self.pipe = spawning.spawn(engine, 10.0)

    def send(self, message: Message) -> None:
        self.pipe.send_bytes(encode(message))

    def receive(self) -> Message:
        """Return its next message, except heartbeats and the report that it has found its model."""
        while isinstance(message := self.receive_anything(), Heartbeat | ModelFound):
            pass
        return message

    def receive_anything(self) -> Message:
        assert self.pipe.poll(10)
        return decode(self.pipe.recv_bytes())

    def exit_code(self) -> int | None:
        return spawning.reap(self.process, 10.0)


Start = Callable[..., EngineProcess]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a scripted engine; async, because only the thread of a loop may."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    started = []

    def start(model: str = "", engine: str = "scripted", device: str = "cpu") -> EngineProcess:
        started.append(EngineProcess(EngineConfig(engine=engine, model=model, device=device)))
        return started[-1]

    yield start
    for each in started:
        each.pipe.close()
        children.kill(each.process)
        if each.process in children._started:
            each.exit_code()


def batch(number: int, prompt: str = "", n: int = 1, deadline_s: float = 10.0) -> Transcribe:
    options = TranscriptionOptions(prompt=f"script: {prompt}" if prompt else "")
    return Transcribe(number, deadline_s, (Window(np.zeros(9600, np.float32), options),) * n)


async def test_it_sends_what_it_loaded_then_answers_in_order(start: Start) -> None:
    engine = start()
    assert isinstance(engine.receive(), Loaded)
    engine.send(batch(1, n=2))
    engine.send(batch(2, "say second"))
    first, second = engine.receive(), engine.receive()
    assert isinstance(first, Transcribed)
    assert isinstance(second, Transcribed)
    assert (first.batch, first.hypotheses) == (1, (Hypothesis("One two.", "en", 0.9, 0.0),) * 2)
    assert (second.batch, second.hypotheses[0].text) == (2, "second")


async def test_batches_at_the_same_time_are_answered_in_order(start: Start) -> None:
    """And share the time, of which there is no more than passes."""
    engine = start("streams 2")
    loaded = engine.receive()
    assert isinstance(loaded, Loaded)
    assert loaded.n_streams == 2
    began_s = time.monotonic()
    for number, delay_s in ((1, 0.4), (2, 0.2), (3, 0.2)):
        engine.send(batch(number, f"delay {delay_s}"))
    answers = [engine.receive() for _ in range(3)]
    passed_s = time.monotonic() - began_s
    assert [answer.batch for answer in answers if isinstance(answer, Transcribed)] == [1, 2, 3]
    assert sum(answer.compute_s for answer in answers if isinstance(answer, Transcribed)) <= passed_s


async def test_of_batches_at_the_same_time_each_has_its_own_deadline(start: Start) -> None:
    engine = start("streams 2")
    engine.receive()
    engine.send(batch(1, "delay 0.3"))
    engine.send(batch(2, "hang", deadline_s=0.5))
    assert isinstance(engine.receive(), Transcribed)
    assert engine.exit_code() == EXIT_DEAD_MAN


async def test_the_time_it_computed_is_measured(start: Start) -> None:
    engine = start()
    engine.receive()
    engine.send(batch(1, "delay 0.2"))
    answer = engine.receive()
    assert isinstance(answer, Transcribed)
    assert 0.2 <= answer.compute_s < 5


async def test_it_gives_a_sign_of_life_while_it_loads_and_while_it_computes(start: Start) -> None:
    engine = start("load 1.5")
    assert isinstance(engine.receive_anything(), ModelFound)
    assert isinstance(engine.receive_anything(), Heartbeat)
    assert isinstance(engine.receive(), Loaded)
    engine.send(batch(1, "delay 1.5"))
    assert isinstance(engine.receive_anything(), Heartbeat)


async def test_a_batch_that_fails_is_answered_and_the_next_one_computed(start: Start) -> None:
    engine = start()
    engine.receive()
    engine.send(batch(1, "fail"))
    engine.send(batch(2))
    assert engine.receive() == BatchFailed(1, "The script makes this batch fail")
    assert isinstance(engine.receive(), Transcribed)


async def test_three_batches_in_a_row_that_fail_end_it(start: Start) -> None:
    """A process that is broken fails at once, so it would get all the work."""
    engine = start()
    engine.receive()
    for number, prompt in enumerate(("fail", "nan", "", "fail", "nan", "fail"), 1):
        engine.send(batch(number, prompt))
        assert isinstance(engine.receive(), BatchFailed if prompt == "fail" else Transcribed)
    assert engine.exit_code() == EXIT_UNUSABLE


async def test_a_model_that_computes_nan_from_the_first_window_on_ends_it_with_the_way_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = children.start
    monkeypatch.setattr(children, "start", lambda name, _, *rest: begin(name, nan_model.__name__, *rest))
    engine = start("tiny.en", engine="whisper")
    failed = engine.receive()
    assert isinstance(failed, LoadFailed)
    assert failed.message == "Model tiny.en computes no numbers (NaN): choose another --compute-type"
    assert not failed.retry
    assert engine.exit_code() == EXIT_UNUSABLE


async def test_a_window_that_fails_alone_costs_the_others_of_its_batch_nothing(start: Start) -> None:
    engine = start()
    engine.receive()
    one, two = batch(1).windows[0], batch(1, "nan").windows[0]
    engine.send(Transcribe(1, 10.0, (one, two, one)))
    answer = engine.receive()
    assert isinstance(answer, Transcribed)
    assert [hypothesis and hypothesis.text for hypothesis in answer.hypotheses] == ["One two.", None, "One two."]


async def test_a_batch_that_does_not_fit_into_memory_is_answered_with_the_size_that_does(start: Start) -> None:
    engine = start("memory 4")
    engine.receive()
    engine.send(batch(1, n=16))
    answer = engine.receive()
    assert isinstance(answer, Transcribed)
    assert answer.hypotheses == (Hypothesis("One two.", "en", 0.9, 0.0),) * 16
    assert answer.fits == 4


async def test_memory_that_is_short_at_the_load_is_worth_another_try(start: Start, tmp_path: Path) -> None:
    (tmp_path / "loads").write_text(".")
    for expected in (LoadFailed("No memory for the scripted engine", retry=True), Loaded):
        message = start(f"no-memory {tmp_path / 'loads'}").receive()
        assert message == expected or type(message) is expected


async def test_a_gpu_whose_driver_is_too_old_for_it_ends_it_and_the_message_names_the_driver(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 49. The driver's library is a stub, found as the loader finds it."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stub_cuda().parent))
    monkeypatch.setenv("STUB_DRIVER", "12040")
    process = start(engine="whisper", device="cuda")
    message = process.receive()
    assert isinstance(message, LoadFailed)
    assert not message.retry
    assert "Stub GPU 0 (cuda:0) needs NVIDIA's driver 570" in message.message
    assert process.exit_code() == EXIT_UNUSABLE


async def test_a_lost_device_ends_it(start: Start) -> None:
    """Row 53 of the fault matrix."""
    engine = start()
    engine.receive()
    engine.send(batch(1, "unusable"))
    assert engine.exit_code() == EXIT_UNUSABLE


@pytest.mark.parametrize(("model", "engine"), [("refuse", "scripted"), ("/no/such/model", "whisper")])
async def test_a_model_that_cannot_be_loaded_is_reported_and_ends_it(model: str, engine: str, start: Start) -> None:
    """Row 49."""
    process = start(model, engine)
    assert isinstance(process.receive(), LoadFailed)
    assert process.exit_code() == EXIT_UNUSABLE


async def test_it_stops_after_the_batches_it_has(start: Start) -> None:
    engine = start()
    engine.receive()
    engine.send(batch(1, "delay 0.1"))
    engine.send(Stop())
    assert isinstance(engine.receive(), Transcribed)
    assert engine.exit_code() == EXIT_STOPPED


@pytest.mark.parametrize("model", ["", "hang-load"])
async def test_it_ends_with_its_pipe(model: str, start: Start) -> None:
    engine = start(model)
    if not model:
        engine.receive()
    engine.pipe.close()
    assert engine.exit_code() == EXIT_STOPPED


async def test_it_ends_if_it_receives_no_message_of_ours(start: Start) -> None:
    engine = start()
    engine.receive()
    engine.pipe.send_bytes(b"rubbish")
    assert engine.exit_code() == EXIT_STOPPED


async def test_it_shows_its_stacks_if_asked_even_while_it_computes(
    start: Start, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine = start()
    engine.receive()
    engine.send(batch(1, f"touch {tmp_path / 'computing'}; hang"))
    await eventually((tmp_path / "computing").exists)
    engine.send(DumpStacks())
    shown: list[str] = []
    await eventually(lambda: shown.append(capfd.readouterr().err) or "in _hang" in "".join(shown))


async def test_a_crash_in_native_code_leaves_a_stack(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    engine = start()
    engine.receive()
    engine.send(batch(1, "segfault"))
    assert engine.exit_code() == -signal.SIGSEGV
    shown = capfd.readouterr().err
    assert "Segmentation fault" in shown
    assert "in _segfault" in shown


async def test_it_holds_a_lock_as_long_as_it_lives(start: Start, tmp_path: Path) -> None:
    """Row 57."""
    engine = start()
    engine.receive()
    lock = json.loads((tmp_path / "livecaption" / f"worker-{engine.process.pid}.lock").read_text())
    assert (lock["server_pid"], lock["device"]) == (os.getpid(), "cpu")


async def test_it_has_the_session_and_signals_of_its_own(start: Start) -> None:
    engine = start()
    engine.receive()
    pid = engine.process.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    engine.send(batch(1))
    assert isinstance(engine.receive(), Transcribed)
