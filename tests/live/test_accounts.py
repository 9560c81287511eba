"""The streams of a key, and the end of those that it no longer allows."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from livecaption.errors import LivecaptionError
from livecaption.keys import Key, Role
from livecaption.live.accounts import Account, Accounts, Use
from livecaption.live.session import LiveSession
from tests.support.cases import for_each

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
KEY = Key("Hall A", frozenset({Role.PUBLISH}), "a", date(2027, 1, 31), max_streams=1, max_minutes_per_day=1)
OTHER = Key("Hall B", frozenset({Role.PUBLISH}), "b")


@dataclass(eq=False)
class Stream:
    """A session as its account sees it; tests/server/test_keys.py has real ones."""

    received_ms: int = 0
    takes_audio: bool = True
    parked: bool = False
    hub: Any = field(default_factory=lambda: SimpleNamespace(closed=False))
    error: LivecaptionError | None = None

    def fail(self, error: LivecaptionError) -> None:
        self.error = error
        self.takes_audio = False


def add(account: Account, **state: Any) -> Stream:
    stream = Stream(**state)
    account.add(cast(LiveSession, stream))
    return stream


def refusal(account: Account, now: datetime = NOW, former: Stream | None = None) -> str | None:
    try:
        account.check(now, cast(LiveSession, former))
    except LivecaptionError as error:
        return error.code
    return None


def test_a_recording_uses_minutes_until_there_are_none() -> None:
    account = Accounts().of(KEY)
    account.use(59_999, NOW)
    account.use(500, NOW)
    with pytest.raises(LivecaptionError) as error:
        account.use(500, NOW)
    assert error.value.code == "minutes_used_up"
    assert (account.usage.today_ms(NOW), refusal(account)) == (60_499, "minutes_used_up")


@for_each(
    ("state", "code"),
    [
        ({}, "too_many_streams"),
        ({"parked": True}, None),
        ({"takes_audio": False}, None),
    ],
)
def test_streams_count_whose_publisher_is_connected(state: dict[str, bool], code: str | None) -> None:
    account = Accounts().of(KEY)
    add(account, **state)
    assert refusal(account) == code
    assert account.n_refused == (code is not None)


def test_a_session_that_is_resumed_or_replaced_does_not_count() -> None:
    account = Accounts().of(KEY)
    stream = add(account)
    assert refusal(account, former=stream) is None


def test_the_audio_of_all_streams_counts_also_of_those_that_are_over() -> None:
    accounts = Accounts()
    account = accounts.of(KEY)
    first = add(account, received_ms=20_000)
    second = add(account, received_ms=15_000)
    first.takes_audio = False
    accounts.look({"a": KEY}, NOW)
    first.received_ms = 40_000  # the rest of its container is decoded
    first.hub.closed = True
    accounts.look({"a": KEY}, NOW)
    accounts.look({"a": KEY}, NOW)
    assert (account.usage.today_ms(NOW), second.error) == (55_000, None)


def test_the_audio_of_a_session_counts_once_also_if_its_publisher_comes_back_for_its_end() -> None:
    account = Accounts().of(KEY)
    stream = add(account, received_ms=10_000)
    stream.hub.closed = True
    for _ in range(2):
        account.add(cast(LiveSession, stream))  # before the look at its end, and after it
        account.look(KEY, NOW)
        assert (account.usage.today_ms(NOW), account.is_empty) == (10_000, True)


def test_a_stream_ends_when_the_minutes_of_its_key_are_used_up_and_none_begins_before_the_next_day() -> None:
    accounts = Accounts()
    key = replace(KEY, expires=None)
    account = accounts.of(key)
    stream = add(account, received_ms=60_000)
    accounts.look({"a": key}, NOW)
    assert stream.error is not None
    assert stream.error.code == "minutes_used_up"
    assert refusal(account) == "minutes_used_up"
    assert refusal(account, NOW + timedelta(hours=12)) is None


@for_each(
    ("key", "now", "code", "words"),
    [
        (None, NOW, "unauthorized", "removed"),
        (KEY, NOW + timedelta(days=1), "unauthorized", "expired"),
        (replace(KEY, roles=frozenset({Role.READ})), NOW, "forbidden_role", "needs publish"),
        (replace(KEY, name="Hall 1"), NOW, None, ""),
        (replace(KEY, max_streams=None), NOW, None, ""),
    ],
)
def test_a_stream_ends_and_none_begins_when_its_key_no_longer_allows_it(
    key: Key | None, now: datetime, code: str | None, words: str
) -> None:
    accounts = Accounts()
    account = accounts.of(KEY)
    stream = add(account)
    accounts.look({} if key is None else {"a": key}, now)
    assert (stream.error and stream.error.code) == code
    assert refusal(account, now, former=stream) == code
    assert words in str(stream.error)


def test_a_reload_keeps_what_was_used_and_takes_the_new_name_and_limits() -> None:
    accounts = Accounts()
    account = accounts.of(KEY)
    add(account, received_ms=30_000)
    renamed = replace(KEY, name="Hall 1", max_streams=5)
    accounts.look({"a": renamed}, NOW)
    assert accounts.of(renamed) is account
    assert (account.key.name, account.usage.today_ms(NOW), refusal(account)) == ("Hall 1", 30_000, None)


def test_an_expired_key_begins_no_stream_before_the_next_look_either() -> None:
    account = Accounts().of(KEY)
    assert refusal(account) is None
    assert refusal(account, NOW + timedelta(days=1)) == "unauthorized"
    assert account.n_refused == 0  # it has reached no limit


def test_an_account_that_is_forgotten_allows_nothing_and_that_of_a_key_that_comes_back_does() -> None:
    accounts = Accounts()
    account = accounts.of(KEY)
    accounts.look({}, NOW)
    assert refusal(account) == "unauthorized"
    assert refusal(accounts.of(KEY)) is None


def test_an_account_is_kept_until_the_streams_of_a_removed_key_are_over() -> None:
    accounts = Accounts()
    account = accounts.of(KEY)
    stream = add(account)
    accounts.look({}, NOW)
    assert accounts.of(KEY) is account
    stream.hub.closed = True
    accounts.look({}, NOW)
    assert accounts.of(KEY) is not account


def test_a_session_that_is_resumed_with_another_key_belongs_to_that_and_its_audio_counts_once() -> None:
    accounts = Accounts()
    old, new = accounts.of(KEY), accounts.of(OTHER)
    stream = add(old, received_ms=10_000)
    accounts.look({"a": KEY, "b": OTHER}, NOW)
    new.add(cast(LiveSession, stream))
    stream.received_ms = 25_000
    accounts.look({"b": OTHER}, NOW)
    assert stream.error is None
    assert (old.usage.total_ms, new.usage.total_ms) == (10_000, 15_000)
    assert (old.n_streams, new.n_streams) == (0, 1)


def test_streams_and_audio_in_other_processes_count_as_those_of_this_one() -> None:
    here, there = Accounts(), Accounts()
    account = here.of(KEY)
    stream = add(there.of(KEY), received_ms=20_000)
    there.of(OTHER)
    there.look({"a": KEY, "b": OTHER}, NOW)
    assert there.uses(NOW) == {"a": Use(1, 20_000)}
    here.note_elsewhere([there.uses(NOW), {}])
    assert refusal(account) == "too_many_streams"
    stream.parked = True
    account.use(39_999, NOW)
    here.note_elsewhere([there.uses(NOW), {}])
    assert refusal(account) is None
    account.use(1, NOW)
    assert refusal(account) == "minutes_used_up"
    own = add(account)
    here.look({"a": KEY}, NOW)
    assert own.error is not None
    assert own.error.code == "minutes_used_up"
    here.note_elsewhere([])  # the other process is gone
    assert refusal(account) is None
