"""Compute on a GPU that a Ray cluster finds, often on another machine: the engine lives in an actor there.

    Stages ─> RemoteEngine (this process, a driver of Ray) ═ the network ═> Host (the actor) ─> its engine

Batches and answers are messages of `ipc.messages`, which travel inside of Ray's calls and never by its object store.
The actor is neither detached nor restarted by Ray, because the supervisor restarts this process. Ray ends the actor
with this process. Where the network is cut, the beats end it: docs/remote-gpus.md.

Only this module imports Ray, and only in an inference process, because a driver ends together with its raylet.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import livecaption
from livecaption.engine import loading
from livecaption.engine.engine import Compute, Engine, Finish
from livecaption.engine.vitals import Vitals
from livecaption.errors import EngineUnusable, LivecaptionError
from livecaption.ipc import lifeline
from livecaption.ipc.config import EngineConfig, gpus_by_ray
from livecaption.ipc.messages import (
    MAX_MESSAGE_BYTES,
    MAX_STREAMS,
    Heartbeat,
    Loaded,
    Message,
    Transcribe,
    Transcribed,
    decode,
    encode,
)
from livecaption.recognition import DeviceMemory, Hypothesis, Window

BEAT_INTERVAL_S = 1.0
SILENCE_S = 5.0
"""Time without a beat after which each end ends itself. Less: a busy machine or network looks like a cut one. More: a
GPU is held for longer by an actor that nobody can reach."""
SETTINGS = {
    # Larger arguments and answers take the way of the object store, which triples the time there and back.
    "RAY_max_direct_call_object_size": str(MAX_MESSAGE_BYTES),
    "RAY_task_rpc_inlined_bytes_limit": str(MAX_MESSAGE_BYTES),
    # A driver and an actor end this long after the head of the cluster; Ray's own value is a minute.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    # Ray's own value is 15: each process of the actor's machine would come first, also when the actor is to end.
    "RAY_worker_niceness": "0",
}
"""Variables of Ray for both ends. It reads them when it is imported."""
BEATS = "beats"

OnLost = Callable[[LivecaptionError], NoReturn]


class Host:
    """The actor: an engine in a process of its own, which ends without beats.

    Args:
        config: the settings of the engine, for the machine of the actor.
    """

    def __init__(self, config: EngineConfig) -> None:
        lifeline.arm_dead_man(SILENCE_S)
        lifeline.die_with_parent()
        self._config = config
        self._vitals = Vitals()

    def beat(self) -> bytes:
        """Live for a while longer. Return a heartbeat."""
        lifeline.arm_dead_man(SILENCE_S)
        return encode(Heartbeat(self._vitals.device_memory))

    def find(self, version: str) -> None:
        """Choose the device, and find the model on this machine or download it.

        Args:
            version: the version of livecaption that will send the batches.

        Raises:
            EngineUnusable: there is no such device or model, or this machine has another version.
        """
        if version != livecaption.__version__:
            raise EngineUnusable(
                f"The machine of the GPU has livecaption {livecaption.__version__}, and this one {version}"
            )
        config, _ = loading.settle_device(self._config)
        self._load = loading.prepare(config)

    def load(self) -> bytes:
        """Load the model, and return `Loaded`.

        Raises:
            OutOfMemory, EngineUnusable: it cannot be loaded.
        """
        self._engine = engine = self._load()
        self._computing = threading.Semaphore(engine.n_streams)
        self._vitals.read(engine)
        return encode(Loaded(engine.description, engine.costs, engine.n_streams))

    def transcribe(self, message: bytes) -> bytes:
        """Take a `Transcribe`, and return a `Transcribed`. Several threads call this.

        Raises:
            OutOfMemory, TranscriptionFailed, EngineUnusable: see `Engine.transcribe`.
        """
        batch = decode(message)
        assert isinstance(batch, Transcribe)
        began_s = time.monotonic()
        compute = self._engine.prepare(batch.windows)
        with self._computing:
            finish = compute()
        answer = Transcribed(batch.batch, tuple(finish()), time.monotonic() - began_s)
        self._vitals.read(self._engine)
        return encode(answer)


class RemoteEngine(Engine):
    """An `Engine` whose second stage waits for the actor.

    Args:
        actor: the actor, loaded.
        loaded: its model.
        heart: has the memory of its GPU.
    """

    def __init__(self, actor: "_Actor", loaded: Loaded, heart: "_Heart") -> None:
        self.description = replace(loaded.description, device=f"ray ({loaded.description.device})")
        self.costs = loaded.costs
        self.n_streams = loaded.n_streams
        self._actor = actor
        self._heart = heart

    def prepare(self, windows: Sequence[Window]) -> Compute:
        """Send the batch, so that it is there before its turn comes."""
        # The answer is matched with the batch by Ray, and its deadline is this process's.
        sent = self._actor.call("transcribe", encode(Transcribe(0, 0.0, tuple(windows))))

        def compute() -> Finish:
            answer = self._actor.receive(sent)

            def finish() -> list[Hypothesis | None]:
                message = decode(answer)
                assert isinstance(message, Transcribed)
                return list(message.hypotheses)

            return finish

        return compute

    def device_memory(self) -> DeviceMemory | None:
        """Return what came with the last beat."""
        return self._heart.device_memory


def connect(config: EngineConfig, load_timeout_s: float, on_lost: OnLost) -> Callable[[], Engine]:
    """Start the actor, and let it find the model. Return the function that loads it.

    Args:
        config: the settings, with a device of Ray.
        load_timeout_s: time to find the cluster, and again to find a free GPU.
        on_lost: called on another thread if the cluster does not answer in time, or the actor is lost.

    Raises:
        EngineUnusable: there is no cluster, no free GPU or no model.
    """
    os.environ.update(SETTINGS)
    _join(load_timeout_s, on_lost)
    actor = _Actor(config)
    actor.await_place(config.device, load_timeout_s)
    heart = _Heart(actor, on_lost)
    actor.receive(actor.call("find", livecaption.__version__))

    def load() -> Engine:
        loaded = decode(actor.receive(actor.call("load")))
        assert isinstance(loaded, Loaded)
        return RemoteEngine(actor, loaded, heart)

    return load


def _join(timeout_s: float, on_lost: OnLost) -> None:
    """Make this process a driver of the cluster.

    Raises:
        EngineUnusable: Ray is not installed, or the cluster refuses.
    """
    address = os.environ.get("RAY_ADDRESS", "auto")
    if "://" in address or address == "local":
        raise EngineUnusable(f"RAY_ADDRESS is {address}: use HOST:PORT of a cluster that this machine has joined")
    silence = EngineUnusable(
        f"No Ray cluster has answered within {timeout_s:g} s (--load-timeout; address: {address}): is `ray start` run "
        "on this machine, and are token and TLS those of the cluster?"
    )
    try:
        import ray
    except ImportError:
        raise EngineUnusable("--device ray needs Ray: pip install 'livecaption-server[ray]'") from None
    # Ray waits for a cluster as long as it waits for a lost one: for SETTINGS' ten minutes.
    overdue = threading.Timer(timeout_s, on_lost, (silence,))
    overdue.daemon = True
    overdue.start()
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        raise EngineUnusable(
            f"There is no Ray cluster here ({error}): run `ray start --address=HOST:PORT` on this machine. "
            "If one runs, its token (RAY_AUTH_TOKEN) or its TLS settings are others"
        ) from None
    except Exception as error:  # another version of Ray or Python, a token that is missing, and more
        raise EngineUnusable(f"Ray cannot join the cluster: {_in_short(error)}") from None
    finally:
        overdue.cancel()
        # Ray has set a handler of its own, but this process is needed for the last captions.
        lifeline.ignore_stop_signals()


class _Actor:
    """The actor, as its driver calls it."""

    def __init__(self, config: EngineConfig) -> None:
        import ray

        self._ray: Any = ray
        own = replace(config, device="cuda")  # Ray shows it only the GPU that it may use
        options = {
            "num_gpus": gpus_by_ray(config.device),
            "num_cpus": 0,
            "max_restarts": 0,
            # Those of `Stages` for the most streams, each with the one that is prepared meanwhile.
            "max_concurrency": MAX_STREAMS + 1,
            "runtime_env": {"env_vars": SETTINGS},
        }
        made = self._ray.remote(concurrency_groups={BEATS: 1}, **options)(Host)
        self._handle: Any = made.remote(own)

    def await_place(self, device: str, timeout_s: float) -> None:
        """Wait until the actor runs.

        Raises:
            EngineUnusable: no GPU was free in time, or the actor's machine cannot run it.
        """
        try:
            self.beat(timeout_s)
        except self._ray.exceptions.GetTimeoutError:
            raise EngineUnusable(
                f"No GPU of the Ray cluster was free for --device {device} within {timeout_s:g} s (--load-timeout): "
                "`ray status` shows who has them"
            ) from None

    def beat(self, timeout_s: float) -> Heartbeat:
        """Send a beat, and return its answer.

        Raises:
            EngineUnusable: the actor is lost.
            ray.exceptions.GetTimeoutError: it did not answer in time.
        """
        answer = self.receive(self._handle.beat.options(concurrency_group=BEATS).remote(), timeout_s)
        message: Message = decode(answer)
        assert isinstance(message, Heartbeat)
        return message

    def call(self, method: str, *arguments: bytes | str) -> Any:
        """Call a method of `Host`, and return what `receive` waits for."""
        return getattr(self._handle, method).remote(*arguments)

    def receive(self, sent: Any, timeout_s: float | None = None) -> bytes:
        """Wait for an answer.

        Raises:
            EngineUnusable: the actor is lost.
            LivecaptionError: what the method has raised.
            ray.exceptions.GetTimeoutError: it did not answer in time.
        """
        exceptions = self._ray.exceptions
        try:
            answer: bytes = self._ray.get(sent, timeout=timeout_s)
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except exceptions.GetTimeoutError:
            raise
        except exceptions.RayError as error:
            raise EngineUnusable(f"The engine on the machine of the GPU is lost: {_in_short(error)}") from None
        return answer


class _Heart:
    """Sends the beats, from a thread. Without an answer it gives up the actor.

    Attributes:
        device_memory: memory of the GPU, as of the last answer.
    """

    def __init__(self, actor: _Actor, on_lost: OnLost) -> None:
        self.device_memory: DeviceMemory | None = None
        self._actor = actor
        self._on_lost = on_lost
        threading.Thread(target=self._run, name="beats", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.device_memory = self._actor.beat(SILENCE_S).device_memory
            except LivecaptionError as error:
                self._on_lost(error)
            except Exception:
                self._on_lost(EngineUnusable(f"The machine of the GPU has not answered for {SILENCE_S:g} s"))
            time.sleep(BEAT_INTERVAL_S)


def _in_short(error: Exception) -> str:
    """Return the beginning and the end of Ray's explanation on one line. Between them is advice, or a traceback."""
    text = " ".join(re.sub(r"\x1b\[\d+m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"
