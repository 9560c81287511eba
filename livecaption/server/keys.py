"""The keys of a server: reads their file, and compares what clients show. `livecaption.keys` has the rules."""

import asyncio
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from livecaption.errors import ConfigError, LimitReached, Unauthorized
from livecaption.keys import MAX_SHOWN, Key, Role, find, parse, simple_key
from livecaption.live.accounts import Account, Accounts, Use
from livecaption.server.attempts import Attempts
from livecaption.server.config import ServerConfig
from livecaption.server.reloading import FileState, file_state
from livecaption.settings import read_toml

LOOK_S = 2.0
"""Interval of the looks at the file and at the limits of running streams. A new file counts from the second look on,
because an editor may not have written all of it. Longer: a key that was removed works longer."""

logger = logging.getLogger(__name__)


class Keys:
    """The keys, their accounts, and the wrong tokens. Used by the event loop.

    Attributes:
        needed: whether clients need a key. False: the server has none.
        accounts: the streams of each key.
        n_wrong: tokens that fitted nothing, since the start.
        uses_elsewhere: returns what keys use in each other process of the server, by the hashes of their tokens.
        report_wrong: called with an address and a number of wrong tokens that came from it to this process.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.needed = config.needs_key
        self.accounts = Accounts()
        self.n_wrong = 0
        self.uses_elsewhere: Callable[[], Awaitable[Sequence[Mapping[str, Use]]]] = _nowhere
        self.report_wrong: Callable[[str, int], None] = lambda address, n: None
        self._attempts = Attempts()
        self._has_weak_token = config.has_weak_token
        self._path = Path(config.tokens) if config.tokens else None
        self._simple = (simple_key(config.token),) if config.token else ()
        self._complaint = ""  # of the last look
        self._seen_at = self._state()
        self._use(self._read(), self._seen_at)

    @property
    def in_use(self) -> Sequence[Account]:
        """The accounts of all keys."""
        return [self.accounts.of(key) for key in self._keys]

    async def account_of(self, key: Key | None) -> Account | None:
        """Return the account of a key, with what it uses in other processes just now. None: there is no key."""
        if key is None:
            return None
        account = self.accounts.of(key)
        if key.is_limited:
            self.accounts.note_elsewhere(await self.uses_elsewhere())
        return account

    def reload(self) -> None:
        """Read the file again, and end the streams of keys that are no longer in it.

        Raises:
            ConfigError: it cannot be used; the keys stay as they were.
        """
        state = self._state()
        self._use(self._read(again=True), state)

    async def watch(self) -> None:
        """Follow changes of the file, and end streams that their key no longer allows. Runs until it is cancelled.

        A file that cannot be used is read at each look: what is wrong may end without a change of the file. The log has
        it once.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                try:
                    if (changed := await asyncio.to_thread(self._changed)) is not None:
                        self._use(*changed)
                        logger.info("tokens: reloaded, %d keys", len(self._keys))
                finally:  # keys expire also while the file cannot be used
                    if any(key.is_limited for key in self._keys):
                        self.accounts.note_elsewhere(await self.uses_elsewhere())
                    self._look()
                self._complaint = ""
            except ConfigError as error:
                if self._complaint != str(error):
                    logger.error("tokens: not reloaded, the server goes on with the keys that it has: %s", error)
                self._complaint = str(error)
            except Exception as error:  # otherwise no key would be removed any more
                if self._complaint != repr(error):
                    logger.exception("tokens: a look at the keys failed; the next one follows")
                self._complaint = repr(error)

    def still_allows(self, key: Key, role: Role) -> bool:
        """Return True if a key that was there is still there, has not expired, and allows this."""
        now = self._by_hash.get(key.sha256)
        return now is not None and not now.is_expired(_now()) and now.allows(role)

    def find(self, shown: Sequence[bytes]) -> Key | None:
        """Return the key of which one of these tokens is, if it has not expired."""
        key = find(self._keys, shown)
        return None if key is None or key.is_expired(_now()) else key

    def check(self, shown: Sequence[bytes], role: Role, address: str) -> Key:
        """Return the key of which one of these tokens is, if it allows this.

        Raises:
            Unauthorized: there is no token, or it is wrong or expired.
            ForbiddenRole: the key does not allow this.
            LimitReached: `too_many_attempts`; the token is wrong.
        """
        key = self.recognize(shown, address)
        if key is None:
            if shown:
                raise Unauthorized("this token is not known here")
            raise Unauthorized("a token is needed: Authorization: Bearer, or the subprotocol token.<base64url>")
        key.check(role, _now())
        return key

    def recognize(self, shown: Sequence[bytes], address: str) -> Key | None:
        """Return the key of which one of these tokens is, valid or not, and count wrong ones of this address.

        A server without keys has none that anybody could guess, and counts nothing.

        Raises:
            LimitReached: `too_many_attempts`; the token is wrong, or a weak one that is not compared just now.
        """
        is_slowed = self._has_weak_token and self._attempts.are_used_up(address, time.monotonic())
        key = find(self._keys[len(self._simple) :] if is_slowed else self._keys, shown)
        if key is not None or not shown or not self.needed:
            return key
        n = min(len(shown), MAX_SHOWN)
        self.n_wrong += n
        if not self._attempts.are_used_up(address, time.monotonic()):
            self.report_wrong(address, n)
        if wait_s := self._attempts.note(address, n, time.monotonic()):
            raise LimitReached(
                "too many wrong tokens came from this address",
                code="too_many_attempts",
                retry_after_s=wait_s,
            )
        return None

    def note_wrong(self, address: str, n: int) -> None:
        """Note wrong tokens that came to another process of the server."""
        self._attempts.note(address, n, time.monotonic())

    def _use(self, keys: tuple[Key, ...], read_at: FileState) -> None:
        self._keys, self._read_at = keys, read_at
        self._by_hash = {key.sha256: key for key in keys}
        self._look()

    def _look(self) -> None:
        self.accounts.look(self._by_hash, _now())

    def _read(self, *, again: bool = False) -> tuple[Key, ...]:
        """Read the file. It may be empty at the start only: later, a program may not have written it yet."""
        parsed = {} if self._path is None else read_toml(self._path)
        if again and not parsed:
            raise ConfigError(f"{self._path}: the file is empty. `key = []` stands for no keys")
        in_file = parse(parsed, str(self._path))
        for key in in_file:
            if any(key.sha256 == simple.sha256 for simple in self._simple):
                raise ConfigError(f"{self._path}: the key {key.name!r} has the token of LIVECAPTION_TOKEN")
        if self._path is not None and os.name == "posix" and self._path.stat().st_mode & stat.S_IWOTH:
            logger.warning("all users of this machine can write %s, and so make keys: chmod o-w %s", *[self._path] * 2)
        return (*self._simple, *in_file)

    def _changed(self) -> tuple[tuple[Key, ...], FileState] | None:
        """Return the keys of a changed file; None: it is as it was, or still being written. Called in a thread."""
        state = self._state()
        is_settled = state == self._seen_at
        self._seen_at = state
        if state == self._read_at or not is_settled:
            return None
        return self._read(again=True), state

    def _state(self) -> FileState:
        return file_state(self._path) if self._path else None


KEYS: web.AppKey[Keys] = web.AppKey("keys", Keys)


async def _nowhere() -> Sequence[Mapping[str, Use]]:
    return []


def _now() -> datetime:
    return datetime.now(UTC)
