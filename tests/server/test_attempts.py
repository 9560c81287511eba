"""Wrong tokens are counted by address, in a bounded table."""

from livecaption.server.attempts import MAX_ADDRESSES, MAX_COMPARED, MAX_WRONG, WINDOW_S, Attempts
from tests.support.cases import for_each


def test_after_ten_wrong_tokens_in_a_minute_an_address_must_wait_for_its_end() -> None:
    attempts = Attempts()
    assert [attempts.note("203.0.113.5", 1, 100.0 + n) for n in range(MAX_WRONG)] == [0.0] * MAX_WRONG
    assert attempts.note("203.0.113.5", 1, 110.0) == WINDOW_S - 10
    assert attempts.note("203.0.113.6", 1, 110.0) == 0.0
    assert attempts.note("203.0.113.5", 1, 100.0 + WINDOW_S) == 0.0


def test_after_a_hundred_wrong_tokens_a_weak_one_is_not_compared_until_the_minute_is_over() -> None:
    attempts = Attempts()
    attempts.note("203.0.113.5", MAX_COMPARED - 1, 100.0)
    assert not attempts.are_used_up("203.0.113.5", 101.0)
    attempts.note("203.0.113.5", 1, 101.0)
    assert attempts.are_used_up("203.0.113.5", 101.0)
    assert not attempts.are_used_up("203.0.113.6", 101.0)
    assert not attempts.are_used_up("203.0.113.5", 100.0 + WINDOW_S)


def test_each_token_of_a_request_counts() -> None:
    attempts = Attempts()
    attempts.note("203.0.113.5", MAX_WRONG, 0.0)
    assert attempts.note("203.0.113.5", 1, 1.0) > 0


@for_each(
    ("one", "other", "are_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("203.0.113.5", "::ffff:203.0.113.5", True),
        ("203.0.113.5", "203.0.113.6", False),
        ("", "", True),  # a Unix socket has none
    ],
)
def test_addresses_of_one_ipv6_network_count_together(one: str, other: str, are_same: bool) -> None:
    attempts = Attempts()
    attempts.note(one, MAX_WRONG, 0.0)
    assert (attempts.note(other, 1, 1.0) > 0) == are_same


def test_the_table_is_bounded_and_forgets_the_quietest_address() -> None:
    attempts = Attempts()
    for address in ("203.0.113.5", "203.0.113.6"):
        attempts.note(address, MAX_WRONG, 0.0)
    for n in range(MAX_ADDRESSES - 1):
        attempts.note(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1, 1.0)
    assert len(attempts) == MAX_ADDRESSES
    assert attempts.note("203.0.113.6", 1, 2.0) > 0
    assert attempts.note("203.0.113.5", 1, 2.0) == 0
