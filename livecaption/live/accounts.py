"""The streams of each key: how many there are, and how much audio they have used. The limits are in `keys`.

An account lives as long as its key is in the file or one of its streams runs, so a reload resets nothing. A connection
that was opened before its key was removed may still have an account that is forgotten: that allows nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from livecaption.errors import LivecaptionError, Unauthorized
from livecaption.keys import Key, Role, Usage
from livecaption.live.session import LiveSession


@dataclass(frozen=True, slots=True)
class Use:
    """Streams of one key at a time, and their audio of today, in one process of the server or in several."""

    n_streams: int = 0
    today_ms: int = 0


class Account:
    """The streams of one key. Used by the event loop.

    Args:
        key: the key, as it is now.
        accounts: those of all keys, of which one has each stream.

    Attributes:
        usage: the audio of its streams, as `look` has counted it.
        elsewhere: what it uses in other processes of the server, as they have reported it.
        n_refused: streams that were refused because of its limits.
    """

    def __init__(self, key: Key, accounts: Mapping[str, "Account"]) -> None:
        self.key = key
        self.usage = Usage()
        self.elsewhere = Use()
        self.n_refused = 0
        self._is_removed = False
        self._accounts = accounts
        self._counted_ms: dict[LiveSession, int] = {}  # audio of each stream that is in `usage`

    @property
    def n_streams(self) -> int:
        """Streams whose publisher is connected. One that is away keeps no other from streaming."""
        return len(self._streaming())

    def check(self, now: datetime, former: LiveSession | None = None) -> None:
        """Check that the key, as it is now, allows one more stream.

        Args:
            former: the session that the stream goes on with or replaces; it does not count.

        Raises:
            Unauthorized: the key was removed or has expired.
            ForbiddenRole: it is no longer one of publishers.
            LimitReached: one of its limits is reached.
        """
        self._check_key(now)
        self._count(now)
        try:
            n_streams = len(self._streaming() - {former}) + self.elsewhere.n_streams
            self.key.check_use(n_streams, self._today_ms(now), now)
        except LivecaptionError:
            self.n_refused += 1
            raise

    def check_minutes(self, now: datetime) -> None:
        """Check that the key, as it is now, allows more audio apart from its streams: a recording.

        Raises:
            Unauthorized, ForbiddenRole, LimitReached: see `check`.
        """
        self._check_key(now)
        self._count(now)
        self.key.check_minutes(self._today_ms(now), now)

    def use(self, audio_ms: int, now: datetime) -> None:
        """Count audio apart from its streams, which is about to be taken: a part of a recording.

        Raises:
            Unauthorized, ForbiddenRole, LimitReached: see `check`. The audio is not counted.
        """
        self.check_minutes(now)
        self.usage.add(audio_ms, now)

    def add(self, session: LiveSession) -> None:
        """Count a session from now on, also one that was opened or resumed with another key before.

        One that is over was counted, or is at the next look: its publisher has only missed its end.
        """
        if session.hub.closed:
            return
        counted_ms = [account._counted_ms.pop(session, 0) for account in self._accounts.values()]
        self._counted_ms[session] = sum(counted_ms)

    def look(self, key: Key | None, now: datetime) -> None:
        """Count the audio, and end all streams if the key no longer allows them. None: it was removed."""
        self._count(now)
        self.key, self._is_removed = key or self.key, key is None
        try:
            self._check_key(now)
            self.key.check_minutes(self._today_ms(now), now)
        except LivecaptionError as error:
            for session in list(self._counted_ms):
                if session.takes_audio:
                    session.fail(error)

    @property
    def is_empty(self) -> bool:
        """True if none of its streams runs."""
        return not self._counted_ms

    def _check_key(self, now: datetime) -> None:
        if self._is_removed:
            raise Unauthorized("the key of this stream was removed")
        self.key.check(Role.PUBLISH, now)

    def _today_ms(self, now: datetime) -> int:
        return self.usage.today_ms(now) + self.elsewhere.today_ms

    def _streaming(self) -> set[LiveSession]:
        return {session for session in self._counted_ms if session.takes_audio and not session.parked}

    def _count(self, now: datetime) -> None:
        for session, counted_ms in list(self._counted_ms.items()):
            self.usage.add(session.received_ms - counted_ms, now)
            self._counted_ms[session] = session.received_ms
            if session.hub.closed:
                del self._counted_ms[session]


class Accounts:
    """The accounts of all keys. Used by the event loop."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}  # by the hash of the token, which a new name does not change

    def of(self, key: Key) -> Account:
        """Return the account of a key."""
        return self._accounts.setdefault(key.sha256, Account(key, self._accounts))

    def uses(self, now: datetime) -> dict[str, Use]:
        """Return what the streams of this process use, by the hashes of their tokens."""
        uses = {
            sha256: Use(account.n_streams, account.usage.today_ms(now)) for sha256, account in self._accounts.items()
        }
        return {sha256: use for sha256, use in uses.items() if use != Use()}

    def note_elsewhere(self, uses: Iterable[Mapping[str, Use]]) -> None:
        """Note what other processes use, each by the hashes of their tokens. A process that is missing uses nothing."""
        uses = list(uses)
        for sha256, account in self._accounts.items():
            found = [use[sha256] for use in uses if sha256 in use]
            account.elsewhere = Use(sum(use.n_streams for use in found), sum(use.today_ms for use in found))

    def look(self, keys: Mapping[str, Key], now: datetime) -> None:
        """Count the audio of all streams, and end those that their key no longer allows.

        Args:
            keys: the present ones, by the hashes of their tokens.
        """
        for sha256, account in list(self._accounts.items()):
            account.look(keys.get(sha256), now)
            if sha256 not in keys and account.is_empty:
                del self._accounts[sha256]
