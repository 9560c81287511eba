"""The parent of several server processes: it binds the sockets, starts the processes, and supervises them.

    bind, take the store ─> start N processes (`child`) ─> all ready ─> signal ─> all stopped
    a process dies ─> its sessions pass to its successor ─> started again, with back-off

The parent serves nobody. Its sockets stay open, so that connections wait while no process accepts them. The processes
end with it however it ends: see `ipc.lifeline`.
"""

import asyncio
import logging
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from uuid import uuid4

from livecaption.config import Config
from livecaption.errors import ConfigError, StoreFailed, StoreUnusable
from livecaption.ipc import children
from livecaption.ipc.locks import has_taken, run_directory
from livecaption.server import listening, tls
from livecaption.server.config import Place
from livecaption.server.listening import Handed, Listener
from livecaption.server.loop_watch import TURN_INTERVAL_S, dump_stacks_when_asked, watch_loop
from livecaption.server.process_state import (
    EXIT_AWAY,
    EXIT_CANNOT_START,
    EXIT_FAULT,
    TRANSITIONS,
    ProcessEvent,
    ProcessState,
    worst,
)
from livecaption.server.reloading import Reloading
from livecaption.server.shares import share
from livecaption.server.signals import SignalInbox
from livecaption.server.systemd import ServiceManager, inherited_sockets
from livecaption.store.config import Sharing
from livecaption.store.keeper import Keeper
from livecaption.store.opening import keeper_of
from livecaption.workers.layout import count_gpus
from livecaption.workers.processors import n_processors
from livecaption.workers.restart import RestartConfig, RestartPolicy

STOP_MARGIN_S = 6.0
"""Time that a stop may take beyond the drain and the workers, before the processes are ended by force: 4 s more than
each of them has for itself."""
FORCE_TIMEOUT_S = 1.0
"""Time that a forced stop may take, before the processes are ended by force: 0.8 s more than each of them has for
itself. Shorter: on a busy machine, clients do not receive close code 1001."""
HUNG_TURNS = 30
"""Looks, one a second, at a process that has sent nothing, after which it is killed: what systemd does with
`WatchdogSec=30`. Looks are counted and not time, because the parent may be stopped together with the processes."""
MIN_HUNG_TURNS = 5
"""The least number of looks, where the unit has a shorter `WatchdogSec`. Fewer: processes that are only busy, and
report once a second, are killed."""
FAILED_STARTS = (EXIT_CANNOT_START, EXIT_AWAY)
"""The codes of a process after which a start is given up at once: the next one would end so, too.
Where the database is away, the process itself has tried for long."""
DIRECTORY, NEW = "processes-", "new-"
"""The beginnings of the name of a directory of sockets, and of one whose lock is not taken yet."""

logger = logging.getLogger("livecaption")


async def serve(config: Config, signals: SignalInbox, manager: ServiceManager) -> int:
    """Run the processes of `config.server.processes` until a signal. Return the exit code, the worst of theirs."""
    try:
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError("--processes needs a system with Unix sockets")
        secured = tls.of(config)
        if given := inherited_sockets(os.environ):
            config = replace(config, server=listening.with_address_of(given, config.server))
        listener = Listener.bind(config.server, given)
    except (OSError, ConfigError) as error:
        logger.error("%s", listening.why_not(error, config.server))
        return EXIT_CANNOT_START
    keeper = keeper_of(config.store)
    try:
        with directory_of_sockets() as directory:
            parent = Parent(config, listener, manager, keeper, directory)
            if keeper is not None:
                await asyncio.to_thread(keeper.open, parent.owners)
            signals.attach(asyncio.get_running_loop(), parent)
            dump_stacks_when_asked(parent.dump_stacks)
            listening.log_start(listener, config.server, config.store, secured=secured)
            return await parent.run()
    except (OSError, ConfigError, StoreUnusable) as error:
        logger.error("%s", error)
        return EXIT_CANNOT_START
    finally:
        listener.close()
        if keeper is not None:
            keeper.close()
        logger.info("stopped")


class _Process:
    """One of the processes, and its successors with the same number."""

    def __init__(self, number: int, config: Config) -> None:
        self.number = number
        self.config = config
        """Its share of the settings."""
        self.state = ProcessState.WAITING
        self.owner = uuid4().hex
        """Its id in the store, another one for each successor."""
        self.exit_code = 0
        self.n_silent = 0
        """Looks since it has sent something."""
        self.loaded_s: float | None = None
        """The time at which it was ready first, by the clock of the loop; None: not yet."""
        self.process: SpawnProcess | None = None
        self.signals: socket.socket | None = None

    def note(self, event: ProcessEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    def send(self, number: int) -> None:
        """Send the number of a signal: see `child`."""
        if self.signals is not None:
            with suppress(OSError):  # it has ended
                self.signals.send(bytes([number]))

    def kill(self) -> None:
        if self.process is not None:
            children.kill(self.process)


class Parent:
    """The processes, and the server as the signals see it.

    Args:
        config: the settings of all together.
        listener: the bound sockets.
        manager: is notified when all processes are ready, and while the loop turns.
        keeper: of the store; None: nothing is kept, or a database decides who has which session.
        directory: for the sockets by which the processes reach each other.

    Raises:
        ConfigError: the settings cannot be divided: see `shares`.
    """

    def __init__(
        self, config: Config, listener: Listener, manager: ServiceManager, keeper: Keeper | None, directory: Path
    ) -> None:
        self._listener = listener
        self._manager = manager
        self._keeper = keeper
        self._directory = directory
        n, n_cores, n_gpus = config.server.processes, n_processors(), count_gpus()
        places = [Place(number, n, str(directory)) for number in range(1, n + 1)]
        self._processes = [_Process(place.number, share(config, place, n_cores, n_gpus)) for place in places]
        self._hung_turns = max(MIN_HUNG_TURNS, round(manager.watchdog_s or HUNG_TURNS))
        self._stopping = asyncio.Event()
        self._forced: int | None = None
        self._all_ready = False
        reloading = Reloading(manager)
        reloading.add("processes", self._reload)
        self.reload = reloading.run
        self.stop_timeout_s = config.server.drain_timeout_s + config.workers.stop_timeout_s + STOP_MARGIN_S
        self.force_timeout_s = FORCE_TIMEOUT_S

    @property
    def owners(self) -> list[str]:
        """The ids of the processes in the store, in the order of their numbers."""
        return [each.owner for each in self._processes]

    async def run(self) -> int:
        """Run until all processes have ended for good, and return the worst exit code."""
        watch = asyncio.ensure_future(watch_loop(self._manager, lambda: not self._all_ready))
        looks = asyncio.ensure_future(self._look_for_hung())
        tasks = [asyncio.ensure_future(self._keep(each)) for each in self._processes]
        try:
            done = asyncio.ensure_future(_all_of(tasks))
            await asyncio.wait({done, watch, looks}, return_when=asyncio.FIRST_COMPLETED)
            for task in (done, watch, looks):
                if task.done() and (error := task.exception()):
                    raise error
        except Exception:
            logger.exception("the parent of the processes failed")
            return EXIT_FAULT
        finally:
            for each in self._processes:
                each.kill()
            for task in (*tasks, watch, looks):
                task.cancel()
        if self._forced is not None:
            return 128 + self._forced
        return worst(each.exit_code for each in self._processes)

    # Signals

    def stop(self, number: int) -> None:
        """Begin an orderly stop of all processes. Called in the loop."""
        logger.info("stopping (%s)", signal.Signals(number).name)
        self._manager.notify(STOPPING=1)
        self._stop_all()

    def force(self, number: int) -> None:
        """Let all processes end at once, then this one. Called in the loop."""
        self._forced = number
        for each in self._processes:
            each.send(number)

    def exit_now(self, number: int | None) -> None:
        """End all processes and this one, because of a second signal, or (None) after the time-out."""
        try:
            children.kill_all()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
            os._exit(EXIT_FAULT if number is None else 128 + number)

    def dump_stacks(self) -> None:
        """Let each process write its stacks."""
        for each in self._processes:
            if each.process is not None and each.state is ProcessState.READY and sys.platform != "win32":
                assert each.process.pid is not None  # it was started
                with suppress(ProcessLookupError):
                    os.kill(each.process.pid, signal.SIGUSR1)

    def _stop_all(self) -> None:
        if self._stopping.is_set():
            return  # a second SIGTERM would end the processes at once
        self._listener.close()
        self._stopping.set()
        for each in self._processes:
            is_starting = each.state is ProcessState.STARTING
            each.note(ProcessEvent.STOP_ASKED)
            if is_starting:
                each.kill()
            else:
                each.send(signal.SIGTERM)

    def _reload(self) -> None:
        for each in self._processes:
            each.send(signal.SIGHUP)

    # The life of the processes

    async def _keep(self, each: _Process) -> None:
        """Start a process, again whenever it ends, until the stop."""
        loop = asyncio.get_running_loop()
        restarts = RestartConfig()
        policy = RestartPolicy(restarts)
        while not self._stopping.is_set():
            exit_code = await self._live(each)
            was_stopped = each.state is ProcessState.STOPPING
            each.note(ProcessEvent.ENDED)
            if was_stopped:
                # One that was killed because it was still starting has lost nothing.
                each.exit_code = 0 if each.loaded_s is None else exit_code
                return
            reason = children.describe_exit(exit_code)
            healthy = restarts.is_healthy(0.0 if each.loaded_s is None else loop.time() - each.loaded_s, 0)
            restart = policy.next_restart(healthy=healthy, random=random.random())
            if not self._all_ready and (exit_code in FAILED_STARTS or restart.breaker_open):
                logger.error("process %d cannot start: it %s", each.number, reason)
                each.exit_code = exit_code
                self._stop_all()
                return
            successor = uuid4().hex
            if self._keeper is not None:
                try:
                    await asyncio.to_thread(self._keeper.pass_on, each.owner, successor)
                except StoreFailed as error:
                    logger.error("sessions of process %d do not pass to its successor: %s", each.number, error)
            each.owner = successor
            logger.error("process %d %s; it is started again in %.1f s", each.number, reason, restart.delay_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(restart.delay_s):
                    await self._stopping.wait()

    async def _live(self, each: _Process) -> int:
        """Run one process from its start to its end, and return its exit code."""
        each.n_silent, each.loaded_s = 0, None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        process: SpawnProcess | None = None
        try:
            config = each.config
            if self._keeper is not None:
                sharing = Sharing(each.owner, str(self._directory), expires=each.number == 1)
                config = replace(config, store=replace(config.store, sharing=sharing))
            handed = Handed(self._listener.sockets, self._listener.own)
            process = children.start("livecaption", "livecaption.server.child", config, handed, theirs, log=config.log)
            each.process, each.signals = process, ours
            each.note(ProcessEvent.STARTED)
            logger.info("process %d started (pid %s)", each.number, process.pid)

            def receive() -> None:
                try:
                    received = ours.recv(4096)
                except OSError:
                    received = b""
                if not received:
                    loop.remove_reader(ours)
                each.n_silent = 0
                # One that stops may have sent this before it was killed, and is not ready any more.
                if b"READY=1" in received and each.state is not ProcessState.STOPPING:
                    each.loaded_s = each.loaded_s or loop.time()
                    each.note(ProcessEvent.LOADED)
                    self._look_if_all_are_ready()

            loop.add_reader(ours, receive)
            theirs.close()
            await _readable(process.sentinel)
        except OSError as error:
            logger.error("process %d cannot be started: %s", each.number, error)
            if process is None:
                each.note(ProcessEvent.STARTED)
                return EXIT_FAULT
        finally:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()
            each.signals = each.process = None
        exit_code = children.reap(process, children.KILL_TIMEOUT_S)
        return EXIT_FAULT if exit_code is None else exit_code

    def _look_if_all_are_ready(self) -> None:
        if not self._all_ready and all(each.state is ProcessState.READY for each in self._processes):
            self._all_ready = True
            logger.info("ready")
            self._manager.notify(READY=1)

    async def _look_for_hung(self) -> None:
        """Kill processes whose loops do not turn any more."""
        while True:
            await asyncio.sleep(TURN_INTERVAL_S)
            for each in self._processes:
                each.n_silent += 1
                # One that begins to start has no loop yet that could report anything.
                n_turns = HUNG_TURNS if each.state is ProcessState.STARTING else self._hung_turns
                if each.process is not None and each.n_silent == n_turns:
                    logger.error("process %d has hung for %d s, and is killed", each.number, n_turns)
                    each.kill()


async def _all_of(tasks: Sequence["asyncio.Task[None]"]) -> None:
    await asyncio.gather(*tasks)


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor can be read, such as the sentinel of a process, which can once the process has ended."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


@contextmanager
def directory_of_sockets() -> Iterator[Path]:
    """Make the directory of this parent, and remove those that killed parents have left.

    Each parent keeps the lock of its own for life. Its process id would not do, because another container that shares
    the directory of all does not see the process.

    Raises:
        OSError: it cannot be made.
    """
    runs = run_directory()
    for left in runs.glob(f"{DIRECTORY}*"):
        with suppress(OSError), _opened(left) as file:
            if has_taken(file):
                shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=NEW, dir=runs))
    with _opened(new) as file:
        has_taken(file)
        own = new.rename(new.with_name(new.name.replace(NEW, DIRECTORY, 1)))
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    file = os.open(directory, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)
