"""Run the only task that writes. Entries come in order, and all that wait go into one transaction.

Where that fails, they go into smaller ones. While the database is away, entries wait in memory and are tried again. The
failure is reported once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, TypeVar

import asyncpg

from livecaption.errors import LivecaptionError, StoreFailed
from livecaption.store.postgresql.connecting import FAILURES, reason
from livecaption.store.postgresql.statements import Entry
from livecaption.store.store import CHORE_TIMEOUT_S, CLOSE_TIMEOUT_S, MAX_BATCH, MAX_WAITING, RETRY_S

WRITE_TIMEOUT_S = 5.0
"""Time-out in s of a transaction, which also notices a dead connection. Longer: finals of a readable store wait longer
after a cut of the network. Shorter: a busy database costs connections."""

UNWRITABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,  # of asyncpg, for a value that has no form in the protocol
)
"""Errors of entries that would fail alone and always."""

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Chore = Callable[[Any], Awaitable[Any]]


class Writer:
    """The task that writes. Used by the event loop.

    Args:
        connect: returns a connection that may write.
        written: called with the number of entries, since the start, that nobody must wait for any more.
        lost: called before that for a session that has moved on and whose entries were left out: with its generation
            here, and whether another server has it.
        retry_s: the time from a failure to the next try.
        max_waiting: the number of entries that wait for a database that does not work.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        written: Callable[[int], None],
        lost: Callable[[str, int, bool], None],
        *,
        retry_s: float = RETRY_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._connect = connect
        self._written = written
        self._lost = lost
        self._retry_s = retry_s
        self._max_waiting = max_waiting
        self._connection: Any = None
        self._waiting: deque[Entry] = deque()
        self._n_together = MAX_BATCH  # entries of the next transaction, at most
        self._chores: deque[tuple[Chore, asyncio.Future[Any]]] = deque()
        self._changed = asyncio.Event()
        self._closing = False
        self._n_written = 0
        self.failing = False
        """True if the last attempt failed."""
        self.n_failures = 0
        self.n_lost = 0
        """Number of entries that will never be written."""

    def start(self, connection: Any) -> None:
        """Begin to write on this connection."""
        self._connection = connection
        self.task = asyncio.create_task(self._run())

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, entries: list[Entry]) -> bool:
        """Queue entries, which are written together. Return False if too many wait; then they are lost."""
        if len(self._waiting) >= self._max_waiting:
            self.n_lost += len(entries)
            return False
        self._waiting.extend(entries)
        self._changed.set()
        return True

    async def do(self, chore: Callable[[Any], Awaitable[Result]]) -> Result:
        """Do this in a transaction, after all that waits, and return its result. Cancelled in time, nothing is done.

        Raises:
            StoreFailed: it cannot be done now.
        """
        answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._chores.append((chore, answered))
        self._changed.set()
        return await answered

    async def close(self) -> int:
        """Write what waits, for at most `CLOSE_TIMEOUT_S`. Return the number of entries that were not written."""
        self._closing = True
        self._changed.set()
        await asyncio.wait({self.task}, timeout=CLOSE_TIMEOUT_S)
        self.task.cancel()
        await asyncio.wait({self.task})
        if self._connection is not None:
            self._connection.terminate()
        return len(self._waiting)

    async def _run(self) -> None:
        while not (self._closing and (self.failing or not self._waiting)):
            if not self._waiting and not self._chores:
                self._changed.clear()
                await self._changed.wait()
            elif self.failing:
                await self._until_retry()
            await self._try()

    async def _until_retry(self) -> None:
        """Wait for the time of the next try. A chore is tried at once, because its caller waits."""
        try:
            async with asyncio.timeout(self._retry_s):
                while not self._chores and not self._closing:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    async def _try(self) -> None:
        """Write all that waits, then do one chore. If that cannot be written, no chore is done before it."""
        try:
            while self._waiting:
                await self._write()
        except (*FAILURES, LivecaptionError) as error:
            self._fail(error)
            while self._chores:
                _, answered = self._chores.popleft()
                _answer(answered, _refusal(error))
            return
        if not self._chores:
            return
        chore, answered = self._chores.popleft()
        if answered.done():  # the caller has given up
            return
        try:
            async with asyncio.timeout(CHORE_TIMEOUT_S):
                connection = await self._connected()
                while True:
                    await connection.execute("BEGIN")
                    try:
                        result = await chore(connection)
                        break
                    except asyncpg.DeadlockDetectedError:
                        # Another server has changed the same rows in another order, and goes on now.
                        await connection.execute("ROLLBACK")
                # A session that is taken for a caller that has given up would stay here unused.
                await connection.execute("ROLLBACK" if answered.done() else "COMMIT")
        except (*FAILURES, LivecaptionError) as error:
            self._let_go()
            result = _refusal(error)
        _answer(answered, result)

    async def _write(self) -> None:
        """Write the next entries in one transaction, or fewer the next time.

        A single one that can never be written is left out.
        """
        batch = list(islice(self._waiting, self._n_together))
        n_allowed, self._n_together = self._n_together, max(1, len(batch) // 2)  # unless they are written
        began_s = asyncio.get_running_loop().time()
        # No `connection.transaction()`: where the database does not answer, it would wait for its own rollback.
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            connection = await self._connected()
            try:
                lost = await _write_together(connection, batch)
                is_written = True
            except (*UNWRITABLE, asyncpg.DeadlockDetectedError) as error:
                await connection.execute("ROLLBACK")
                if len(batch) > 1 or isinstance(error, asyncpg.DeadlockDetectedError):
                    return
                lost, is_written = [], False
        for session in lost:
            self._lost(*session)
        for _ in batch:
            self._waiting.popleft()
        if is_written:
            is_quick = asyncio.get_running_loop().time() - began_s < WRITE_TIMEOUT_S / 4
            self._n_together = max(n_allowed, min(2 * len(batch), MAX_BATCH)) if is_quick else n_allowed
        else:
            self.n_lost += 1
            logger.error("an entry cannot be stored and is left out")
        if self.failing:
            self.failing = False
            logger.warning("transcripts are stored again, including those that waited")
        self._n_written += len(batch)
        # Not at once: a fault in a session must not end this task.
        asyncio.get_running_loop().call_soon(self._written, self._n_written)

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    def _let_go(self) -> None:
        """Use another connection from now on: nobody knows what has become of a statement on this one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _fail(self, error: Exception) -> None:
        self._let_go()
        self.n_failures += 1
        if not self.failing:
            self.failing = True
            logger.error(
                "transcripts cannot be stored (%s); captions go on, and are stored later if possible", reason(error)
            )


def _refusal(error: Exception) -> StoreFailed:
    return StoreFailed(f"the transcripts cannot be changed now: {reason(error)}")


def _answer(answered: asyncio.Future[Any], result: Any) -> None:
    if answered.done():  # the caller has given up
        return
    if isinstance(result, StoreFailed):
        answered.set_exception(result)
    else:
        answered.set_result(result)


async def _write_together(connection: Any, batch: list[Entry]) -> list[Any]:
    """Write these entries in one transaction. Return the sessions that have moved on; see `statements`.

    Mostly it is one final, which then takes one journey to the database.
    """
    kinds = [(sql, [entry.values for entry in entries]) for sql, entries in groupby(batch, attrgetter("sql"))]
    lost: list[Any] = []
    if len(kinds) > 1:
        await connection.execute("BEGIN")
    for sql, values in kinds:
        lost += await connection.fetchmany(sql, values)  # a transaction of its own where none has begun
    if len(kinds) > 1:
        await connection.execute("COMMIT")
    return lost
