"""Keys: their file, what they allow, until when and how much."""

import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from livecaption import keys
from livecaption.errors import ConfigError, ForbiddenRole, LimitReached, Unauthorized
from livecaption.keys import Key, Role, Usage
from tests.support.cases import for_each

TOKEN = "lc_of-hall-a"
HASH = keys.hash_of(TOKEN.encode())
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
HALL = Key("Hall A", frozenset({Role.PUBLISH}), HASH, date(2027, 1, 31), max_streams=2, max_minutes_per_day=600)


def parse(text: str) -> tuple[Key, ...]:
    return keys.parse(tomllib.loads(text), "keys.toml")


def section(**settings: str) -> str:
    shown = {"name": '"Hall A"', "role": '"publish"', "sha256": f'"{HASH}"'} | settings
    return "[[key]]\n" + "".join(f"{name} = {value}\n" for name, value in shown.items() if value)


# The file


def test_a_file_has_each_key_with_its_role_limits_and_last_day() -> None:
    text = section(expires="2027-01-31", max_streams="2", max_minutes_per_day="600")
    other = section(name='"Archive"', role='["read", "publish"]', sha256=f'"{keys.hash_of(b"other")}"')
    both = Key("Archive", frozenset({Role.READ, Role.PUBLISH}), keys.hash_of(b"other"))
    assert parse(text + other) == (HALL, both)


def test_an_empty_file_has_no_keys() -> None:
    assert parse("") == ()


@for_each("key", [HALL, Key('Säal "B" \\', frozenset(Role), HASH)])
def test_a_key_is_written_as_it_is_read(key: Key) -> None:
    assert parse(keys.as_toml(key)) == (key,)


@for_each(
    ("text", "reason"),
    [
        ("[server]\nport = 1\n", r"keys.toml must have sections \[\[key\]\], and nothing else"),
        ("key = 1\n", "and nothing else"),
        ("key = [1]\n", "key 1 must be a section"),
        (section(name=""), "key 1: name must have"),
        (section(name='"a\\nb"'), "key 1: name must have"),
        (section(name='"token"'), "key 1: name must have"),
        (section(name=f'"{"n" * 65}"'), "key 1: name must have"),
        (section(role='"admin"'), r"key 1 \('Hall A'\): role must be one of publish, read, administrate"),
        (section(role="[]"), "role must be one of"),
        (section(role="[[]]"), "role must be one of"),
        (section(sha256=""), "sha256 must have 64 digits"),
        (section(sha256=f'"{HASH.upper()}"'), "sha256 must have 64 digits"),
        (section(expires='"2027-01-31"'), "expires must be a day"),
        (section(expires="2027-01-31T12:00:00Z"), "expires must be a day"),
        (section(max_streams="0"), "max_streams must be a whole number from 1"),
        (section(max_streams="true"), "max_streams must be a whole number from 1"),
        (section(max_minutes_per_day="1.5"), "max_minutes_per_day must be a whole number from 1"),
        (section(expire="2027-01-31"), "unknown setting 'expire'; known are name, role"),
        (section() + section(sha256=f'"{"0" * 64}"'), "two keys have the name 'Hall A'"),
        (section() + section(name='"Hall B"'), "the keys 'Hall A' and 'Hall B' have the same token"),
        ("[[key]]\n" * 1001, "may have 1000 keys"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(text)


@for_each("settings", [{"sha256": '"lc_secret-in-the-wrong-place"'}, {"lc_secret-in-the-wrong-place": "1"}])
def test_no_message_about_a_file_has_its_secrets(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(section(**settings))
    assert "secret" not in str(refusal.value)


# Tokens


def test_a_new_token_has_256_random_bits_and_does_not_look_like_a_flag() -> None:
    tokens = {keys.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {token[:3] for token in tokens} == {"lc_"}
    assert {len(token) for token in tokens} == {3 + 43}


def test_a_key_is_found_by_any_of_the_first_tokens_that_are_shown() -> None:
    other = keys.simple_key("other")
    assert keys.find((other, HALL), [b"wrong", TOKEN.encode()]) is HALL
    assert keys.find((other, HALL), [b"other"]) is other
    assert keys.find((other, HALL), [b"wrong", HASH.encode(), b""]) is None
    assert keys.find((other, HALL), []) is None
    assert keys.find((HALL,), [b"wrong"] * 4 + [TOKEN.encode()]) is None


def test_the_simple_token_allows_everything_and_has_a_name() -> None:
    key = keys.simple_key("a-secret")
    assert key.name == "token"
    assert all(key.allows(role) for role in Role)


# What a key allows


@for_each(
    ("roles", "allowed"),
    [
        ({Role.PUBLISH}, {Role.PUBLISH}),
        ({Role.READ}, {Role.READ}),
        ({Role.PUBLISH, Role.READ}, {Role.PUBLISH, Role.READ}),
        ({Role.ADMINISTRATE}, set(Role)),
    ],
)
def test_a_key_allows_its_roles_and_an_administrators_everything(roles: set[Role], allowed: set[Role]) -> None:
    key = Key("one", frozenset(roles), HASH)
    assert {role for role in Role if key.allows(role)} == allowed
    for role in set(Role) - allowed:
        with pytest.raises(ForbiddenRole, match=f"the key 'one' has the role .*, and this needs {role.value}"):
            key.check(role, NOON)


@for_each(
    ("now", "expired"),
    [
        (NOON, False),
        (datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2027, 2, 1, tzinfo=UTC), True),
        (datetime(2027, 1, 31, 23, tzinfo=timezone(timedelta(hours=-5))), True),  # 4:00 of the next day in UTC
    ],
)
def test_a_key_is_valid_to_the_end_of_its_last_day_in_utc(now: datetime, expired: bool) -> None:
    assert HALL.is_expired(now) == expired
    if expired:
        with pytest.raises(Unauthorized, match="the key 'Hall A' has expired: its last day was 2027-01-31"):
            HALL.check(Role.PUBLISH, now)
    else:
        HALL.check(Role.PUBLISH, now)


@for_each(
    ("n_streams", "used_ms", "code", "retry_after_s"),
    [
        (0, 0, None, None),
        (1, 600 * 60_000 - 1, None, None),
        (2, 0, "too_many_streams", 10),
        (0, 600 * 60_000, "minutes_used_up", 12 * 3600),
        (2, 600 * 60_000, "minutes_used_up", 12 * 3600),
    ],
)
def test_a_key_has_so_many_streams_and_minutes(n_streams: int, used_ms: int, code: Any, retry_after_s: Any) -> None:
    if code is None:
        HALL.check_use(n_streams, used_ms, NOON)
        return
    with pytest.raises(LimitReached) as refusal:
        HALL.check_use(n_streams, used_ms, NOON)
    assert (refusal.value.code, refusal.value.retry_after_s, refusal.value.http_status) == (code, retry_after_s, 429)


def test_a_key_without_limits_has_none() -> None:
    keys.simple_key("a-secret").check_use(10_000, 10**12, NOON)


def test_the_minutes_of_a_day_begin_at_midnight_utc() -> None:
    usage = Usage()
    usage.add(1000, NOON)
    usage.add(500, NOON)
    assert usage.today_ms(NOON) == 1500
    assert usage.today_ms(NOON + timedelta(hours=12)) == 0
    usage.add(200, NOON + timedelta(hours=13))
    assert (usage.today_ms(NOON + timedelta(hours=14)), usage.total_ms) == (200, 1700)
