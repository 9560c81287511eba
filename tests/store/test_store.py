"""Every store keeps what is written, removes what is deleted, and answers questions."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecaption.events import Final, SpeakerNamed, TranslatedText, Translation, Turn
from livecaption.recognition import SessionId
from livecaption.store import search
from livecaption.store.rows import Resumption, RoomRecord, SessionState
from livecaption.store.store import Store, written
from tests.support.any_text import any_text
from tests.support.eventually import eventually
from tests.support.stored import STARTED_AT_MS, new_session
from tests.support.stores import Place, all_written, ignore, keep, read_interrupted
from tests.support.transcripts import final

ONE = SessionId("one")
RESUMPTION = Resumption('{"type": "start"}', "hash of a token", None)


async def texts(store: Store, session_id: str) -> list[str]:
    return [each.text for each in await store.finals(session_id)]


async def ids(store: Store, query: str = "", **options: Any) -> list[str]:
    return [session.id for session in await store.sessions(10, None, search.terms(query), **options)]


# What is written


async def test_a_session_is_there_from_its_begin_and_grows_with_its_finals(place: Place) -> None:
    finals = [final("Eins.", 0, 900, 0, language="de"), final("", 1000, 1500, 1), final("Two.", 2000, 2900, 2)]
    async with place.opened() as store:
        await keep(store, new_session("one", "Council", language=None), ended=False)
        begun = await store.session("one")
        assert (begun.state, begun.title, begun.language, begun.started_at_ms, begun.private) == (
            SessionState.OPEN,
            "Council",
            None,
            STARTED_AT_MS,
            False,
        )
        for seq, each in enumerate(finals):
            store.append(ONE, each, seq, None, ignore)
        await all_written(store)
        grown = await store.session("one")
        assert (grown.language, grown.duration_ms, grown.n_finals) == ("de", 2900, 2)
        assert list(await store.finals("one")) == finals
        await written(lambda call: store.end(ONE, 4000, call))
        ended = await store.session("one")
        assert (ended.state, ended.duration_ms) == (SessionState.ENDED, 4000)
        assert await store.session("two") is None
        assert list(await store.finals("two")) == await store.tracks("two") == []


async def test_a_final_that_is_reported_as_written_is_there_for_the_next_server(place: Place) -> None:
    async with place.opened() as store:
        store.begin(new_session(), ignore)
        await written(lambda call: store.append(ONE, final("One."), 0, None, call))
        store.end(ONE, 5000, ignore)
    async with place.opened() as store:
        (session,) = await store.sessions(10)
        assert (session.state, session.duration_ms, await texts(store, "one")) == (SessionState.ENDED, 5000, ["One."])


async def test_finals_are_reported_as_written_in_their_order(place: Place) -> None:
    async with place.opened() as store:
        store.begin(new_session(), ignore)
        reported: list[int] = []
        for n in range(100):
            store.append(ONE, final(str(n), utterance=n), n, None, lambda n=n: reported.append(n))
            if n % 7 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(reported) == 100)
        assert reported == list(range(100))
        assert await texts(store, "one") == [str(n) for n in range(100)]


async def test_entries_that_are_written_twice_are_there_once(place: Place) -> None:
    """A commit may fail after it was done, and is tried again."""
    async with place.opened() as store:
        for _ in range(2):
            await keep(store, new_session(resumption=RESUMPTION), [final("The tram.")])
        (session,) = await store.sessions(10)
        assert (session.n_finals, await texts(store, "one")) == (1, ["The tram."])
        ((excerpt,),) = await store.excerpts([session], search.terms("tram"))
        assert excerpt.parts == ("The ", "tram", ".")


async def test_an_entry_that_can_never_be_written_costs_the_others_nothing(place: Place) -> None:
    async with place.opened() as store:
        store.begin(new_session(), ignore)
        store.append(ONE, final("\ud800", utterance=0), 2, None, ignore)
        store.append(ONE, final("Two.", start_ms=2**63, utterance=1), 3, None, ignore)
        store.append(ONE, final("Three.", utterance=2), 4, None, ignore)
        await all_written(store)
        assert (store.figures.lost, store.figures.working) == (2, True)
        assert await texts(store, "one") == ["Three."]


async def test_the_list_begins_with_the_newest_and_goes_on_from_any_of_them(place: Place) -> None:
    async with place.opened() as store:
        for n in range(5):
            await keep(store, new_session(str(n), private=n == 1))
        first = await store.sessions(2)
        assert [session.id for session in first] == ["4", "3"]
        assert [session.id for session in await store.sessions(9, first[-1].position)] == ["2", "1", "0"]
        assert await ids(store, with_private=False) == ["4", "3", "2", "0"]


async def test_a_position_in_the_list_is_not_given_again(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session("one"))
        (one,) = await store.sessions(1)
        await store.delete("one")
        await keep(store, new_session("two"))
        assert (await store.sessions(1))[0].number > one.number


async def test_finals_of_several_channels_are_read_in_the_order_of_their_starts(place: Place) -> None:
    finals = [
        final("Second.", 1000, 3000, 0, channel=1),
        final("First.", 0, 4000, 1, channel=0),
        final("Fourth.", 4500, 5000, 3, channel=1),
        final("Third.", 4000, 9000, 2, channel=0),
    ]
    async with place.opened() as store:
        await keep(store, new_session(), finals)
        assert await texts(store, "one") == ["First.", "Second.", "Third.", "Fourth."]
        assert [each.channel for each in await store.finals("one")] == [0, 1, 0, 1]


async def test_translations_come_back_with_their_finals_and_go_with_them(place: Place) -> None:
    """One that comes twice, or for a final that is not there, changes nothing."""
    finals = [final("One.", 0, 900, 0), final("Two.", 1500, 2400, 1)]
    german, french, again = (Translation(1, "de", "Zwei."), Translation(1, "fr", "Deux."), Translation(1, "de", "2"))
    async with place.opened() as store:
        await keep(store, new_session("one", resumption=RESUMPTION), finals, ended=False)
        for seq, each in ((5, german), (4, french), (6, again), (8, Translation(9, "de", "Neun."))):
            store.translate(ONE, each, seq, ignore)
        store.translate(SessionId("gone"), german, 7, ignore)
        await all_written(store)
        translated = replace(finals[1], translations=(TranslatedText("fr", "Deux."), TranslatedText("de", "Zwei.")))
        assert list(await store.finals("one")) == [finals[0], translated]
        assert sorted(await store.tracks("one")) == ["de", "fr"]
    async with place.opened() as store:
        (interrupted,) = await read_interrupted(store)
        assert interrupted.events == ((2, finals[0]), (3, finals[1]), (4, french), (5, german))
        assert interrupted.finals == tuple(finals)
        await store.delete("one")
        assert await store.tracks("one") == []


async def test_turns_and_names_of_speakers_come_back(place: Place) -> None:
    turns = (Turn(1, "Eins. ", 0, 400), Turn(3, "Zwei.", 400, 900))
    said = replace(final("Eins. Zwei.", 0, 900, 0), turns=turns)
    async with place.opened() as store:
        await keep(store, new_session(), [said, final("Three.", 1000, 1900, 1)], ended=False)
        assert [each.turns for each in await store.finals("one")] == [turns, None]
        for name in ("Ada", "Ada Lovelace"):
            store.name_speaker(ONE, SpeakerNamed(3, name), ignore)
        await all_written(store)
        record = await store.session("one")
        assert (record.n_speakers, record.names) == (3, {3: "Ada Lovelace"})
        assert await store.rename("one", None, {1: "Grace", 3: "Ada"})
        record = await store.session("one")
        assert (record.title, record.names) == ("", {1: "Grace", 3: "Ada"})
        await store.delete("one")
        assert await store.sessions(9) == []


async def test_a_text_that_no_store_keeps_is_the_id_of_no_session_and_of_no_room(place: Place) -> None:
    """Clients may send any."""
    async with place.opened() as store:
        for name in ("\0", "a\0b"):
            assert await store.session(name) is None
            assert await store.running(name) is None
            assert await store.resumption(name) is None
            assert await store.room(name) is None
            assert list(await store.finals(name)) == []
            assert await store.tracks(name) == []
            assert not await store.rename(name, "Talk", {1: "Ada"})
            assert not await store.delete(name)


# What outlives a server


async def test_a_session_that_was_open_when_the_server_died_is_interrupted(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session("open"), [final("One.")], ended=False)
        await keep(store, new_session("ended"), [final("One.")])
    async with place.opened() as store:
        assert [(each.id, each.state) for each in await store.sessions(10)] == [
            ("ended", SessionState.ENDED),
            ("open", SessionState.INTERRUPTED),
        ]


async def test_a_session_that_was_open_can_go_on_with_all_its_data(place: Place) -> None:
    """Its finals have the numbers under which they were sent; `generation` counts the servers since."""
    finals = [final("One.", 0, 900, 0), final("Two.", 1500, 2400, 1)]
    began_ms = time.time() * 1000
    async with place.opened() as store:
        await keep(store, new_session("open", resumption=RESUMPTION), finals, ended=False)
        await keep(store, new_session("ended", resumption=RESUMPTION), finals)
        await keep(store, new_session("a container"), finals, ended=False)
        store.checkpoint(SessionId("open"), 2600, 900)
        store.checkpoint(SessionId("open"), 2800, 700)  # a silence has taken time back
        store.checkpoint(SessionId("open"), 2000)
        await all_written(store)
        assert await read_interrupted(store) == []
    interrupted_at_ms: list[int] = []
    for generation in (1, 2, 3):
        async with place.opened() as store:
            (interrupted,) = await read_interrupted(store)
            interrupted_at_ms.append(interrupted.interrupted_at_ms)
            assert interrupted.record == await store.session("open")
            assert (interrupted.generation, interrupted.resumption) == (generation, RESUMPTION)
            assert (interrupted.checkpoint_ms, interrupted.shift_ms, interrupted.resume_ms([None])) == (2800, 700, 2800)
            assert interrupted.events == ((2, finals[0]), (3, finals[1]))
            if generation == 1:
                await asyncio.sleep(0.8)  # so that a time that is set again differs, on a busy machine too
            if generation == 2:
                # Its publisher came back, and then this server died too.
                store.reopen(SessionId("open"))
                await all_written(store)
                assert (await store.sessions(9))[-1].state is SessionState.OPEN
    # Set again after the publisher was back, and not by a second death before that.
    first_ms, second_ms, third_ms = interrupted_at_ms
    assert first_ms > began_ms - 400
    assert abs(second_ms - first_ms) < 400 < third_ms - first_ms


async def test_a_session_goes_on_from_the_audio_that_each_of_its_channels_needs(place: Place) -> None:
    """A final is stored with its time on the wall; the pause before it is no audio."""
    left, right = final("Left.", 0, 900, 1, channel=0), final("Right.", 5500, 9400, 0, channel=1)
    async with place.opened() as store:
        store.begin(new_session(resumption=RESUMPTION), ignore)
        store.append(ONE, left, 2, None, ignore)
        store.append(ONE, right, 3, 600, ignore, shift_ms=5000)
        await all_written(store)
    async with place.opened() as store:
        (interrupted,) = await read_interrupted(store)
        assert interrupted.events == ((2, left), (3, right))
        assert interrupted.transcribed_ms == {0: 900, 1: 4400}
        assert interrupted.resume_ms([0, 1]) == 900
        assert interrupted.resume_ms([0, 1, 2]) == 600
        assert interrupted.resume_ms([1]) == 4400


async def test_a_session_that_nobody_came_back_to_stays_interrupted_and_cannot_go_on(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session(resumption=RESUMPTION), [final("One.")], ended=False)
    async with place.opened() as store:
        store.give_up(ONE)
        await all_written(store)
        assert await read_interrupted(store) == []
        (session,) = await store.sessions(10)
        assert session.state is SessionState.INTERRUPTED


# What is deleted or renamed


async def test_a_deletion_is_done_when_it_is_answered(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session(), [final("Xylograph.")])
        assert await store.delete("one")
        assert await store.sessions(10) == list(await store.finals("one")) == await ids(store, "xylograph") == []
        assert not await store.delete("one")


async def test_of_a_session_that_is_deleted_while_it_is_open_nothing_more_is_kept(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session(resumption=RESUMPTION), [final("One.")], ended=False)
        await store.delete("one")
        store.append(ONE, final("Two.", utterance=1), 3, 900, ignore)
        store.end(ONE, 9000, ignore)
        await all_written(store)
        assert await store.sessions(10) == list(await store.finals("one")) == []
        assert store.figures.lost == 0


async def test_a_session_is_found_by_its_new_title_and_not_by_the_old_one(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session("one", "Quetzalcoatl"), [final("Stay here.")])
        assert not await store.rename("nobody", "Xylograph", {})
        assert await store.rename("one", "Xylograph", {})
        assert (await store.session("one")).title == "Xylograph"
        assert (await ids(store, "quetzalcoatl"), await ids(store, "xylograph")) == ([], ["one"])
        await store.delete("one")
        assert await ids(store, "xylograph") == []


async def test_sessions_that_are_too_old_are_deleted_at_the_start_and_open_ones_are_not(place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session("old"), [final("Xylograph.")])
        recently_ms = round(time.time() * 1000) - 23 * 3_600_000
        await keep(store, new_session("yesterday", started_at_ms=recently_ms), [final("Two.")])
        # These began long ago, and there were pauses in which no audio came.
        await keep(store, new_session("ended today"), [final("Three.")])
        await keep(store, new_session("interrupted today"), [final("Four.")], ended=False)
    await place.end_with_audio("old", "yesterday")
    async with place.opened(keep_days=1) as store:
        await keep(store, new_session("open"), [final("Five.")], ended=False)
        async with asyncio.timeout(10):
            while await store.session("old"):  # noqa: ASYNC110 - no event can be awaited
                await asyncio.sleep(0.01)
        assert await ids(store) == ["yesterday", "open", "interrupted today", "ended today"]


# Rooms


def a_room(name: str = "pycon", title: str = "", **values: Any) -> RoomRecord:
    return RoomRecord(name, title, "publisher", **{"reader_token_hash": None, "created_at_ms": STARTED_AT_MS, **values})


def now_ms() -> int:
    return round(time.time() * 1000)


async def test_a_room_has_its_parts_and_keeps_its_secrets(place: Place) -> None:
    async with place.opened() as store:
        assert await store.room("pycon") is None
        store.put_room(a_room(), ignore)
        for name in ("one", "two"):
            await keep(store, new_session(name, name.title(), room="pycon"), [final("Hello.")])
        await keep(store, new_session("three"), [final("Hello.")])
        assert [part.id for part in await store.parts(a_room())] == ["one", "two"]
        assert {each.id: (each.room, each.room_title) for each in await store.sessions(10)} == {
            "one": ("pycon", "One"),
            "two": ("pycon", "One"),
            "three": (None, None),
        }
        changed = a_room(title="PyCon", ended_at_ms=STARTED_AT_MS + 5, event=3, reader_token_hash="other")
        await written(lambda call: store.put_room(replace(changed, publisher_token_hash="another"), call))
        assert await store.room("pycon") == await store.room("PyCon") == changed
        assert (await store.session("two")).room_title == "PyCon"


async def test_a_room_has_the_parts_of_its_present_event(place: Place) -> None:
    async with place.opened() as store:
        for event, name in ((1, "one"), (2, "two"), (2, "three")):
            store.put_room(a_room(event=event), ignore)
            await keep(store, replace(new_session(name, room="pycon"), event=event), [final("Hello.")])
        assert [part.id for part in await store.parts(a_room(event=2))] == ["two", "three"]
        for name in ("two", "three"):
            await store.delete(name)
        assert await store.parts(a_room(event=2)) == []  # and not those of the event before
        assert await ids(store) == ["one"]


async def test_rooms_that_wait_for_their_first_part_are_counted_and_none_is_pushed_out_by_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.module, "MAX_UNUSED_ROOMS", 3)
    async with place.opened() as store:
        began_ms = now_ms()
        for number in range(5):
            store.put_room(a_room(f"waits{number}", created_at_ms=began_ms), ignore)
        for number in range(5):
            store.put_room(a_room(f"was{number}", event=1), ignore)
        await all_written(store)
        names = [*(f"waits{number}" for number in range(5)), *(f"was{number}" for number in range(5))]
        assert [name for name in names if await store.room(name)] == [*names[:5], *names[-3:]]
        assert await store.n_waiting_rooms(began_ms) == 5
        assert await store.n_waiting_rooms(began_ms + 1) == 0
        store.put_room(a_room("waits0", created_at_ms=began_ms, event=1), ignore)
        store.put_room(a_room("waits1", created_at_ms=began_ms, ended_at_ms=began_ms), ignore)
        await keep(store, replace(new_session("one", room="waits0"), event=1), [final("Hello.")])
        assert await store.n_waiting_rooms(began_ms) == 3


async def test_a_room_that_is_older_than_all_that_are_kept_is_stored_with_its_next_part(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.module, "MAX_UNUSED_ROOMS", 3)
    async with place.opened() as store:
        for name, event in (("first", 0), ("r0", 1), ("r1", 1), ("r2", 1), ("first", 1)):
            store.put_room(a_room(name, event=event), ignore)
        await keep(store, replace(new_session("one", room="first"), event=1), [final("Hello.")])
        assert [part.id for part in await store.parts(a_room("first", event=1))] == ["one"]


async def test_rooms_whose_names_differ_in_case_alone_are_all_found(place: Place) -> None:
    async with place.opened() as store:
        for name in ("PyCon", "pycon", "PYCON"):
            store.put_room(a_room(name), ignore)
        await all_written(store)
        for name in ("PyCon", "pycon", "PYCON"):
            assert await store.room(name) == a_room(name)


async def test_rooms_expire_with_their_last_part(place: Place) -> None:
    async with place.opened() as store:
        store.put_room(a_room("new", created_at_ms=now_ms()), ignore)
        for name in ("used", "unused"):
            store.put_room(a_room(name, event=1), ignore)
        recently_ms = now_ms() - 23 * 3_600_000
        await keep(store, replace(new_session("one", room="used", started_at_ms=recently_ms), event=1))
        await keep(store, new_session("old"))
    await place.end_with_audio("old")
    async with place.opened(keep_days=1) as store:
        async with asyncio.timeout(10):
            while await store.session("old") or await store.room("unused"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert [name for name in ("new", "used") if await store.room(name)] == ["new", "used"]


# Search


async def council_and_lecture(store: Store) -> None:
    await keep(
        store, new_session("council", "City council"), [final("The tram is late."), final("Again!", utterance=1)]
    )
    await keep(store, new_session("lecture"), [final("Überall Straßenbahnen, trams everywhere.", language="de")])
    mixed = "Ἀθῆναι; e-mail to a.b@example.org: 3.14 O'Neill 日本 naïve_café ÅNGSTRÖM 10-12h"
    await keep(store, new_session("mixed", "Ünïcode"), [final(mixed), final("ΣΊΣΥΦΟΣ, и Йод", utterance=1)])


async def test_sessions_with_all_terms_are_found_the_newest_first(place: Place) -> None:
    async with place.opened() as store:
        await council_and_lecture(store)
        found = {
            query: await ids(store, query)
            for query in (
                *("tram", "TRAM again", "tram city", "uberall", '"tram is"', '"is tram"', "ram", "STRAßEN", "strassen"),
                *("unicode", "e-mail", '"mail to"', "example", "3", '"3 14"', "14", "neill", "o'neill", "日本", "日"),
                *("cafe", "naive_cafe", "angstrom", "10-12", "12h", "2h", "σίσυφος", "ΣΊΣΥΦΟΣ", "йод", "иод", "Αθηναι"),
            )
        }
    assert {query: sessions for query, sessions in found.items() if sessions != ["mixed"]} == {
        "tram": ["lecture", "council"],
        "TRAM again": ["council"],
        "tram city": ["council"],
        "uberall": ["lecture"],
        '"tram is"': ["council"],
        '"is tram"': [],
        "ram": [],
        "STRAßEN": ["lecture"],
        "strassen": [],
        "2h": [],
        "иод": [],
        "Αθηναι": [],
    }


async def test_excerpts_show_where_a_term_was_said(place: Place) -> None:
    async with place.opened() as store:
        await council_and_lecture(store)
        terms = search.terms("tram again")
        found = await store.sessions(10, None, terms)
        assert [[each.parts for each in excerpts] for excerpts in await store.excerpts(found, terms)] == [
            [("The ", "tram", " is late."), ("", "Again", "!")]
        ]
        (lecture,) = await store.sessions(10, None, search.terms("uberall"))
        ((excerpt,),) = await store.excerpts([lecture], search.terms('"uberall straß"'))
        assert "".join(excerpt.parts) == "Überall Straßenbahnen, trams everywhere."
        assert "".join(excerpt.parts[1::2]).startswith("Überall")
        assert await store.excerpts([lecture], search.terms("council")) == [[]]  # it was never said


async def test_only_the_first_finals_are_shown_and_of_a_long_one_the_words_around(place: Place) -> None:
    long = final(" ".join([*(50 * ["before"]), "tram", *(50 * ["after"])]))
    async with place.opened() as store:
        await keep(store, new_session(), [long, *(final("Tram.", utterance=n) for n in range(1, 9))])
        await keep(store, new_session("two"), [final("A tram.")])
        terms = search.terms("tram")
        two, one = await store.excerpts(await store.sessions(2), terms)
    assert [each.parts for each in two] == [("A ", "tram", ".")]
    assert [each.parts[1].lower() for each in one] == ["tram"] * 3
    assert len("".join(one[0].parts).split()) < 25


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example replaces the session
@given(texts_of=st.lists(any_text(40), max_size=3), query=any_text(40) | st.text("ab\"\0*()-:^{}+'\\&|!<", max_size=10))
async def test_no_query_is_a_mistake_of_syntax(texts_of: list[str], query: str, place: Place) -> None:
    async with place.opened() as store:
        finals: list[Final] = [final(text, utterance=n) for n, text in enumerate(texts_of)]
        await store.delete("one")
        await keep(store, new_session(), finals)
        terms = search.terms(query)
        found = await store.sessions(10, None, terms)
        if terms:
            (shown,) = await store.excerpts(found, terms) if found else [[]]
            assert all(len(each.parts) > 1 and all(each.parts[1::2]) for each in shown)
        else:
            assert [session.id for session in found] == ["one"]
