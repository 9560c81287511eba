"""Entries have the values of what is stored, and nothing that PostgreSQL cannot keep."""

from uuid import UUID

from livecaption.events import Translation
from livecaption.recognition import SessionId
from livecaption.store.postgresql import statements
from livecaption.store.postgresql.messages import Released, RoomAnswer, changed_room, channel, encode
from livecaption.store.room_claims import Outcome
from livecaption.store.rows import Resumption, RoomRecord
from tests.support.stored import STARTED_AT_MS, new_session
from tests.support.transcripts import final

ONE = SessionId("one")
SERVER = UUID("f0000000-0000-4000-8000-0000000000ff")
OTHER = UUID("f0000000-0000-4000-8000-0000000000fe")


def test_a_session_is_begun_with_the_data_that_it_goes_on_with() -> None:
    resumption = Resumption("{}", "publisher", None)
    entry, told = statements.begin(new_session("one", "City council", resumption=resumption, room="pycon"), SERVER)
    expected = ("one", "City council", "en", False, STARTED_AT_MS, 0, "pycon", "'city':1 'council':2")
    assert entry.values == (*expected, "{}", "publisher", None, SERVER)
    assert told.values == (changed_room("pycon", SERVER),)
    entry, _ = statements.begin(new_session("one", "City council", room="pycon"), SERVER)
    assert entry.values == (*expected, None, None, None, SERVER)
    (entry,) = statements.begin(new_session("one", "City council"), SERVER)
    assert entry.values[6] is None


def test_a_text_is_stored_without_zero_characters() -> None:
    (entry,) = statements.append(ONE, 2, final("a\0b", 0, 900, 3), 7, 5, 800, 4)
    assert entry.values == (
        "one",
        2,
        3,
        "a\ufffdb",
        0,
        900,
        "en",
        *entry.values[7:10],
        None,
        None,
        7,
        5,
        "'a':1 'b':2",
        800,
        4,
        0,
    )
    (entry,) = statements.translate(ONE, 2, Translation(3, "de", "\0"), 8)
    assert entry.values == ("one", 2, 3, "de", "\ufffd", 8)


def test_entries_of_one_kind_have_one_statement_so_that_they_are_sent_together() -> None:
    entries = [entry for n in range(3) for entry in statements.append(ONE, 2, final(str(n)), n, 0, n or None, 0)]
    assert len({entry.sql for entry in entries}) == 1


def test_each_other_change_is_an_entry() -> None:
    assert [entry.values for entry in statements.checkpoint(ONE, 4, 5, 2)] == [("one", 4, 5, 2)]
    assert [entry.values for entry in statements.reopen(ONE, 4)] == [("one", 4)]
    assert [entry.values for entry in statements.end(ONE, 4, 5, SERVER, was_open=True)] == [
        ("one", 4, 5, True),
        ("one", changed_room("", SERVER)),
    ]
    assert [entry.values for entry in statements.release(ONE, 4, None, SERVER)] == [("one", 4, None, None, SERVER)]
    assert [entry.values for entry in statements.release(ONE, 4, OTHER, SERVER)] == [
        ("one", 4, channel(OTHER), encode(Released("one")), SERVER)
    ]
    room = RoomRecord("pycon", "", "publisher", None, 1)
    assert [entry.values for entry in statements.put_room(room, 3, 7, SERVER)] == [
        ("pycon", "", "publisher", None, 1, None, 0),
        (7, "pycon", 3),
        (changed_room("pycon", SERVER),),
    ]
    refusal = (channel(OTHER), encode(RoomAnswer("pycon", Outcome.REFUSED)))
    assert [entry.values for entry in statements.answer_room("pycon", SERVER, OTHER, Outcome.REFUSED)] == [refusal]
    release = ("pycon", SERVER, channel(OTHER), encode(RoomAnswer("pycon", Outcome.RELEASED)))
    assert [entry.values for entry in statements.answer_room("pycon", SERVER, OTHER, Outcome.RELEASED)] == [release]
