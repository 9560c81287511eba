"""Run the program, and record how much time the stages of a stream take in its process.

    python -m livecaption.evaluation.stages FILE serve --port 0 ...

`FILE` has the seconds of CPU time of each stage so far, as JSON; it is written twice a second. The time of a stage is
that of its functions, without the time of functions of other stages that they call. Each call of such a function takes
2 us longer than without this program, a part of which counts for the stage that calls it. A sampling profiler would not
need that, but `py-spy`, compared with a clock, gave system calls several times their share.
"""

import functools
import importlib
import json
import os
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = {
    "loop": ("asyncio.base_events:BaseEventLoop._run_once",),
    "socket": ("asyncio.selector_events:_SelectorSocketTransport._read_ready",),
    "WebSocket, connection": ("asyncio.events:Handle._run",),
    "audio, voice": (
        "livecaption.pipeline.intake:Intake.push",
        "livecaption.speech.vad:VoiceActivityDetector.judge",
    ),
    "pipeline": ("livecaption.pipeline.stream:StreamPipeline.receive_audio",),
    "requests": (
        "livecaption.pipeline.request_builder:RequestBuilder.build",
        "livecaption.pipeline.request_builder:RequestBuilder.refresh",
        "livecaption.workers.pool:WorkerPool.submit",
        "livecaption.ipc.bridge:encode",
        "multiprocessing.connection:Connection._send",
    ),
    "answers": ("livecaption.workers.pool:WorkerPool._on_answer", "livecaption.ipc.bridge:decode"),
    "events": ("livecaption.live.store_gate:StoreGate.publish", "livecaption.live.session:LiveSession._tick"),
    "store": ("livecaption.store.writer:Writer._write",),
    "sending": (
        "livecaption.live.event_log:encode",
        "livecaption.live.outbox:Outbox.offer",
        "aiohttp._websocket.writer:WebSocketWriter._write_websocket_frame",
    ),
}
"""The functions of each stage. Callbacks of the loop, among them the steps of tasks, are of the connection; what else
happens in them is of other stages."""
WRITTEN_EVERY_S = 0.5


class _Clock(threading.local):
    """The stages in which a thread is, from the outermost to the innermost, and since when."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.since_s = 0.0


class Stopwatch:
    """The seconds of each stage, of all threads."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._clock = _Clock()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which then counts for the stage."""
        clock, seconds, now = self._clock, self.seconds, time.thread_time

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            now_s, stages = now(), clock.stages
            if stages:
                seconds[stages[-1]] += now_s - clock.since_s
            stages.append(stage)
            clock.since_s = now_s
            try:
                return function(*arguments, **named)
            finally:
                now_s = now()
                seconds[stages.pop()] += now_s - clock.since_s
                clock.since_s = now_s

        return call

    def install(self) -> None:
        """Time all functions of `STAGES` from now on."""
        for stage, places in STAGES.items():
            for place in places:
                module, _, path = place.partition(":")
                *owners, name = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                setattr(owner, name, self.timed(stage, getattr(owner, name)))


def _write(stopwatch: Stopwatch, path: Path) -> None:
    while True:
        written = path.with_suffix(".new")
        written.write_text(json.dumps(dict(stopwatch.seconds)))
        os.replace(written, path)
        time.sleep(WRITTEN_EVERY_S)


if __name__ == "__main__":
    stopwatch = Stopwatch()
    stopwatch.install()
    threading.Thread(target=_write, args=(stopwatch, Path(sys.argv.pop(1))), daemon=True).start()
    runpy.run_module("livecaption", run_name="__main__", alter_sys=True)
