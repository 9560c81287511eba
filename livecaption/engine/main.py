"""Run the main loop of the inference process: receive a batch from the pipe, send its hypotheses.

This thread loads the model and begins the batches. `Stages` has the threads that compute and answer them. One always
reads the pipe, so that a stop or the end of file is noticed during a computation. One sends a heartbeat each second.
The process runs until the server sends a stop or is gone. It ends only by `os._exit` (see `ipc/lifeline.py`).
"""

import faulthandler
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NoReturn

from livecaption.engine import loading
from livecaption.engine.engine import Engine
from livecaption.engine.stages import Answer, Stages
from livecaption.engine.vitals import Vitals
from livecaption.errors import EngineUnusable, LivecaptionError, OutOfMemory
from livecaption.ipc import lifeline
from livecaption.ipc.config import EngineConfig, StaleConfig, gpus_by_ray
from livecaption.ipc.layers import Layer
from livecaption.ipc.locks import WorkerLock, wait_for_device
from livecaption.ipc.messages import (
    MAX_MESSAGE_BYTES,
    DumpStacks,
    GarbledMessage,
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

EXIT_STOPPED = 0
EXIT_FAULT = 1
EXIT_UNUSABLE = 3
HEARTBEAT_INTERVAL_S = 1.0
MAX_FAILED_BATCHES = 3
"""Batches in a row after whose failure the process ends, for any reasons. A broken one fails at once, so it would
be free most often and get all the work."""

logger = logging.getLogger(__name__)


def run(config: EngineConfig, load_timeout_s: float, stale: StaleConfig, server_pid: int, pipe: Connection) -> NoReturn:
    """Run the process until its end. The lifeline is already active."""
    faulthandler.enable()
    lock = WorkerLock(server_pid)
    channel = _Channel(pipe)
    vitals = Vitals()
    batches: queue.SimpleQueue[Transcribe | None] = queue.SimpleQueue()

    def give_up(error: LivecaptionError) -> NoReturn:
        channel.send(LoadFailed(error.message, retry=isinstance(error, OutOfMemory)))
        os._exit(EXIT_UNUSABLE)

    threading.Thread(target=_read, args=(channel, batches), name="pipe-reader", daemon=True).start()
    threading.Thread(target=_beat, args=(channel, vitals), name="heartbeat", daemon=True).start()
    try:
        lifeline.arm_dead_man(load_timeout_s)  # a broken driver may hang
        config, device = loading.settle_device(config)
        lifeline.disarm_dead_man()
        lock.name_device(device)
        wait_for_device(device, stale)
        load = _prepare(config, load_timeout_s, give_up)
        channel.send(ModelFound())
        lifeline.arm_dead_man(load_timeout_s)
        engine = load()
        lifeline.disarm_dead_man()
    except LivecaptionError as error:
        give_up(error)
    except BaseException as error:
        logger.exception("loading the model failed")
        channel.send(LoadFailed(f"loading the model failed with {type(error).__name__}: {error}"))
        os._exit(EXIT_FAULT)
    vitals.read(engine)
    channel.send(Loaded(engine.description, engine.costs, engine.n_streams))
    n_failed = 0  # batches in a row

    def answer(message: Answer) -> None:
        nonlocal n_failed
        channel.send(message)
        n_failed = 0 if isinstance(message, Transcribed) and any(message.hypotheses) else n_failed + 1
        if n_failed == MAX_FAILED_BATCHES:
            raise EngineUnusable(f"{n_failed} batches in a row have failed")
        vitals.read(engine)

    stages = Stages(engine, answer, _fail)
    try:
        while (batch := batches.get()) is not None:
            stages.begin(batch)
        stages.drain()
    except BaseException as error:
        _fail(error)
    os._exit(EXIT_STOPPED)


def _fail(error: BaseException) -> NoReturn:
    if isinstance(error, EngineUnusable):
        # This process cannot use the device any more (a sticky CUDA error, for example), and a new one perhaps can.
        logger.error("%s", error.message)
        os._exit(EXIT_UNUSABLE)
    logger.error("the inference process failed", exc_info=error)
    os._exit(EXIT_FAULT)


def _prepare(
    config: EngineConfig, load_timeout_s: float, on_lost: Callable[[LivecaptionError], NoReturn]
) -> Callable[[], Engine]:
    """Find the model, here or on the machine of a GPU that Ray finds. Return the function that loads the engine."""
    if gpus_by_ray(config.device) is None:
        return loading.prepare(config)
    from livecaption.engine import remote

    return remote.connect(config, load_timeout_s, on_lost)


class _Channel:
    """The pipe. Any thread may send whole messages."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        try:
            with self._lock:
                self._pipe.send_bytes(encode(message))
        except OSError:
            _end_with_server()

    def receive(self) -> Message | None:
        """Return the next message; None if the server is gone."""
        try:
            return decode(self._pipe.recv_bytes(MAX_MESSAGE_BYTES))
        except (EOFError, OSError, GarbledMessage):
            return None


def _read(channel: _Channel, batches: "queue.SimpleQueue[Transcribe | None]") -> None:
    while (message := channel.receive()) is not None:
        if isinstance(message, Transcribe):
            batches.put(message)
        elif isinstance(message, Stop):
            batches.put(None)
        elif isinstance(message, DumpStacks):
            faulthandler.dump_traceback()
    _end_with_server()


def _beat(channel: _Channel, vitals: Vitals) -> None:
    while True:
        time.sleep(HEARTBEAT_INTERVAL_S)
        channel.send(Heartbeat(vitals.device_memory))


def _end_with_server() -> None:
    """End the process, because the other end of the pipe is closed and nobody needs it any more."""
    if Layer.PIPE_END.active:
        os._exit(EXIT_STOPPED)
