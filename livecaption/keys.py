"""Access keys: what each of them allows, until when, and how much. Pure: `server.keys` has the file and the clock.

A key is a token, of which only the SHA-256 is kept. A slow hash, such as that of passwords, would add nothing: our
tokens have 256 random bits, which nobody finds by trying. It would also take the event loop 50 ms for each request.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any, TypeGuard

from livecaption.errors import ConfigError, ForbiddenRole, LimitReached, Unauthorized

PREFIX = "lc_"
"""The first letters of our tokens, by which people and programs that search for secrets recognise them."""
TOKEN_BYTES = 32
SIMPLE_NAME = "token"
"""The name of the one secret in `LIVECAPTION_TOKEN`, which no key of a file has."""
MAX_KEYS = 1000
"""Keys in a file. Each request is compared with all of them, and they are labels of metrics."""
MAX_SHOWN = 4
"""Tokens of one request that are compared. Clients send one; a header has room for a thousand."""
MAX_NAME_CHARACTERS = 64
MINUTE_MS = 60_000


class Role(Enum):
    """The right that a key gives. `server.access` has the routes of each."""

    PUBLISH = "publish"  # stream, and make rooms
    READ = "read"  # transcripts, captions of private sessions, figures
    ADMINISTRATE = "administrate"  # everything


ROLES = tuple(role.value for role in Role)


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        name: its name for people, in logs and metrics.
        roles: what it allows.
        sha256: the hash of its token, in hex.
        expires: the last day on which it is valid, in UTC; None: it does not expire.
        max_streams: streams at a time; None: as many as the server takes.
        max_minutes_per_day: minutes of audio in a day of UTC; None: any.
    """

    name: str
    roles: frozenset[Role]
    sha256: str
    expires: date | None = None
    max_streams: int | None = None
    max_minutes_per_day: int | None = None

    @property
    def is_limited(self) -> bool:
        """True if its streams or their audio have a limit."""
        return self.max_streams is not None or self.max_minutes_per_day is not None

    def allows(self, role: Role) -> bool:
        """Return True if the key has this role, or all of them."""
        return role in self.roles or Role.ADMINISTRATE in self.roles

    def is_expired(self, now: datetime) -> bool:
        """Return True if its last day is over."""
        return self.expires is not None and now.astimezone(UTC).date() > self.expires

    def check(self, role: Role | None, now: datetime) -> None:
        """Check that the key is valid and allows this. None: it need only be valid.

        Raises:
            Unauthorized: it has expired.
            ForbiddenRole: it does not allow this.
        """
        if self.is_expired(now):
            raise Unauthorized(f"the key {self.name!r} has expired: its last day was {self.expires}")
        if role is not None and not self.allows(role):
            has = " and ".join(sorted(each.value for each in self.roles))
            raise ForbiddenRole(f"the key {self.name!r} has the role {has}, and this needs {role.value}")

    def check_use(self, n_streams: int, used_ms: int, now: datetime) -> None:
        """Check that one more stream is within the limits of the key.

        Args:
            n_streams: streams that it has now.
            used_ms: audio that it has used today.

        Raises:
            LimitReached: `minutes_used_up`, `too_many_streams`.
        """
        self.check_minutes(used_ms, now)
        if self.max_streams is not None and n_streams >= self.max_streams:
            raise LimitReached(
                f"the key {self.name!r} may have {self.max_streams} streams at a time",
                code="too_many_streams",
                retry_after_s=STREAMS_RETRY_AFTER_S,
            )

    def check_minutes(self, used_ms: int, now: datetime) -> None:
        """Check that the key may use more audio today.

        Raises:
            LimitReached: `minutes_used_up`.
        """
        if self.max_minutes_per_day is not None and used_ms >= self.max_minutes_per_day * MINUTE_MS:
            raise LimitReached(
                f"the key {self.name!r} has used its {self.max_minutes_per_day} minutes of audio; a new day begins at "
                "0:00 UTC",
                code="minutes_used_up",
                retry_after_s=seconds_to_next_day(now),
            )


STREAMS_RETRY_AFTER_S = 10.0
"""Time after which a key that has all of its streams may try again. One of them must end, and nobody knows when."""


class Usage:
    """The audio that one key has used."""

    def __init__(self) -> None:
        self.total_ms = 0
        """Audio since the start of the server."""
        self._day = date.min
        self._day_ms = 0

    def add(self, ms: int, now: datetime) -> None:
        """Note audio that was used now."""
        self.total_ms += ms
        self._day_ms = self.today_ms(now) + ms
        self._day = now.astimezone(UTC).date()

    def today_ms(self, now: datetime) -> int:
        """Return the audio of this day of UTC."""
        return self._day_ms if self._day == now.astimezone(UTC).date() else 0


def seconds_to_next_day(now: datetime) -> float:
    """Return the time until 0:00 UTC."""
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return (datetime.combine(tomorrow, time(), UTC) - now).total_seconds()


def new_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(token).hexdigest()


def simple_key(token: str) -> Key:
    """Return the key of `LIVECAPTION_TOKEN`, which allows everything."""
    return Key(SIMPLE_NAME, frozenset({Role.ADMINISTRATE}), hash_of(token.encode()))


def find(keys: Sequence[Key], shown: Sequence[bytes]) -> Key | None:
    """Return the key of which one of these tokens is, valid or not; None: there is none.

    Every pair is compared in constant time, so that the time of the answer reveals nothing.
    """
    hashes = [hash_of(token) for token in shown[:MAX_SHOWN]]
    matches = [key for key in keys for each in hashes if hmac.compare_digest(each, key.sha256)]
    return matches[0] if matches else None


# The file


def parse(parsed: Mapping[str, Any], source: str) -> tuple[Key, ...]:
    """Read the keys in a file of TOML, whose sections are `[[key]]`.

    Args:
        source: the name of the file, for messages. They never contain a hash.

    Raises:
        ConfigError: it has something else, or two keys have the same name or token.
    """
    sections = parsed.get("key", [])
    if set(parsed) - {"key"} or not isinstance(sections, list):
        raise ConfigError(f"{source} must have sections [[key]], and nothing else")
    if len(sections) > MAX_KEYS:
        raise ConfigError(f"{source} may have {MAX_KEYS} keys")
    keys = tuple(_key(section, f"{source}: key {number}") for number, section in enumerate(sections, start=1))
    for number, key in enumerate(keys):
        for earlier in keys[:number]:
            if key.name == earlier.name:
                raise ConfigError(f"{source}: two keys have the name {key.name!r}")
            if key.sha256 == earlier.sha256:
                raise ConfigError(f"{source}: the keys {earlier.name!r} and {key.name!r} have the same token")
    return keys


FIELDS = ("name", "role", "sha256", "expires", "max_streams", "max_minutes_per_day")


def _key(section: Any, where: str) -> Key:
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a section [[key]]")
    name = section.get("name")
    if not is_name(name):
        raise ConfigError(
            f"{where}: name must have 1 to {MAX_NAME_CHARACTERS} printable characters, and not be {SIMPLE_NAME!r}"
        )
    where = f"{where} ({name!r})"
    if unknown := [each for each in section if each not in FIELDS]:
        # The name is not shown if it may be a token that was written in the wrong place.
        shown = unknown[0] if len(unknown[0]) <= len(max(FIELDS, key=len)) else "one of them"
        raise ConfigError(f"{where}: unknown setting {shown!r}; known are {', '.join(FIELDS)}")
    sha256, expires = section.get("sha256"), section.get("expires")
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ConfigError(f"{where}: sha256 must have 64 digits of hex: `livecaption token create` makes them")
    # A datetime is a date in Python, and none here.
    if expires is not None and type(expires) is not date:
        raise ConfigError(f"{where}: expires must be a day such as 2027-01-31, without quotes")
    limits = {each: section.get(each) for each in ("max_streams", "max_minutes_per_day")}
    for limit, value in limits.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{where}: {limit} must be a whole number from 1")
    return Key(name, roles_of(section.get("role"), where), sha256, expires, **limits)


def is_name(name: object) -> TypeGuard[str]:
    """Return True if a key in a file may have this name."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable() and name != SIMPLE_NAME


def roles_of(given: object, where: str) -> frozenset[Role]:
    """Return the roles of a setting: one, or a list.

    Raises:
        ConfigError: they are none.
    """
    names = given if isinstance(given, list) else [given]
    if not names or any(name not in ROLES for name in names):
        raise ConfigError(f"{where}: role must be one of {', '.join(ROLES)}, or a list of them")
    return frozenset(map(Role, names))


def as_toml(key: Key) -> str:
    """Return the section of a key in a file."""
    roles = sorted(role.value for role in key.roles)
    lines = [
        "[[key]]",
        f"name = {json.dumps(key.name, ensure_ascii=False)}",
        f"role = {json.dumps(roles[0] if len(roles) == 1 else roles)}",
        f'sha256 = "{key.sha256}"',
    ]
    settings: Iterable[tuple[str, object]] = (
        ("expires", key.expires),
        ("max_streams", key.max_streams),
        ("max_minutes_per_day", key.max_minutes_per_day),
    )
    lines += [f"{name} = {value}" for name, value in settings if value is not None]
    return "\n".join(lines) + "\n"
