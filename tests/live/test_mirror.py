"""A reader at a mirror ends with the transcript of one at the session's own server, whichever bulletins are lost."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from livecaption.events import Ack, End, Event, Final, Partial, Snapshot, SpeakerNamed, SpeechStart, Translation
from livecaption.live.bulletin import Bulletin, decode
from livecaption.live.event_log import SEQS_PER_GENERATION, Message
from livecaption.live.hub import Hub
from livecaption.live.mirror import MAX_WAITING, Mirror, log_of
from livecaption.live.publication import bulletin
from livecaption.recognition import SessionId
from livecaption.store.rows import RunningSession, SessionRecord, SessionState

END = End(9000, 2, "stop")


def final(utterance: int) -> Final:
    return Final(utterance, f"utterance {utterance}", utterance * 1000, utterance * 1000 + 900, "en", 0.9, 300)


def partial(utterance: int, revision: int = 0) -> Partial:
    return Partial(utterance, revision, "word " * revision, "", utterance * 1000, utterance * 1000 + 1)


class Owner:
    """The server of a session, with the store."""

    def __init__(self, generation: int = 0, earlier: tuple[tuple[int, Any], ...] = ()) -> None:
        self.hub = Hub("Talk", "en", generation, earlier, session="s", tracks=("fr",))
        self.stored = list(earlier)
        self._told = self.hub.last_seq

    def publish(self, *events: Event) -> None:
        for event in events:
            if isinstance(event, Final | Translation):
                self.stored.append((self.hub.last_seq + 1, event))
            self.hub.publish(event)

    def tell(self, *, with_state: bool = False) -> Bulletin:
        """Return the next bulletin."""
        text, self._told = bulletin(self.hub, self._told, with_state=with_state)
        told = decode(text)
        assert told is not None
        return told

    @property
    def running(self) -> RunningSession:
        number_of_state = SessionState.OPEN
        names = dict(self.hub.names)
        record = SessionRecord(
            1, SessionId("s"), self.hub.title, "en", False, number_of_state, 0, 0, 0, 0, names, None, None
        )
        return RunningSession(record, self.hub.generation, True, None, None)

    def mend(
        self,
        mirror: Mirror,
        *,
        answers: bool = True,
        n_behind: int = 0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Mend a mirror from a store without the newest captions. `meanwhile` happens while the store is read."""
        mirror.begin_mending()
        if answers:
            mirror.receive(self.tell(with_state=True))
        answer, running, events = mirror.answer, self.running, self.stored[: len(self.stored) - n_behind]
        meanwhile()
        mirror.mend(log_of("s", running, answer, events), answer)


def mirrored(owner: Owner) -> Mirror:
    mirror = Mirror()
    owner.mend(mirror)
    return mirror


def behind(*finals: Final) -> tuple[Owner, Mirror, tuple[int, Final]]:
    """Return a server that has published these, its mirror, and the last one, which the store does not have yet."""
    owner = Owner()
    owner.publish(*finals)
    owner.tell()
    late = owner.stored.pop()
    return owner, mirrored(owner), late


def events_of(read: tuple[list[Message], int]) -> list[Event]:
    return [message.event for message in read[0]]


class Reader:
    """A reader with its transcript, at one server or another."""

    def __init__(self, at: Mirror | Hub) -> None:
        self.seq: int | None = None
        self.cursor = ""
        self.at = at
        self.texts: dict[int, str] = {}
        self.has_ended = False

    def move(self, to: Mirror | Hub) -> None:
        self.at, self.seq = to, to.seq_of(self.cursor)

    def read(self) -> None:
        messages, self.seq = self.at.read(self.seq)
        for message in messages:
            event, self.cursor = message.event, f"{message.epoch}-{message.seq}"
            if isinstance(event, Snapshot):
                self.texts = {each.utterance: each.text for each in event.finals}
            elif isinstance(event, Final):
                self.texts[event.utterance] = event.text
            self.has_ended |= isinstance(event, End)


def test_a_reader_that_comes_gets_the_snapshot_that_the_own_server_would_send() -> None:
    owner = Owner()
    owner.publish(SpeechStart(0, 0), final(0), Translation(0, "fr", "un"), Ack(1000), SpeechStart(1, 1000))
    owner.publish(SpeakerNamed(1, "Ada"), partial(1))
    mirror = mirrored(owner)
    assert events_of(mirror.read(None)) == events_of(owner.hub.read(None))
    assert (mirror.read(None)[0][0].text, mirror.open_since_ms) == (owner.hub.read(None)[0][0].text, 1000)
    assert (mirror.is_torn, mirror.is_lacking, mirror.tracks) == (False, False, ("fr",))


def test_a_reader_gets_the_same_events_with_the_same_cursors() -> None:
    owner = Owner()
    owner.publish(final(0), Ack(900))
    mirror = mirrored(owner)
    _, seq = mirror.read(None)
    for event in (SpeechStart(1, 1000), partial(1), Ack(2000), final(1), Translation(1, "fr", "deux"), Ack(1), END):
        owner.publish(event)
        mirror.receive(owner.tell())
    read = mirror.read(seq)
    assert [message.server_sent for message in read[0]] == [m.server_sent for m in owner.hub.read(seq)[0]]
    assert (read[1], mirror.ended, mirror.closed) == (owner.hub.last_seq, True, True)


def test_a_mirror_that_has_lost_a_bulletin_takes_nothing_more_until_it_is_mended() -> None:
    owner = Owner()
    mirror = mirrored(owner)
    owner.publish(final(0))
    owner.tell()
    owner.publish(final(1))
    mirror.receive(owner.tell())
    assert (mirror.is_torn, mirror.finals) == (True, [])
    owner.mend(mirror)
    assert (mirror.is_torn, mirror.finals) == (False, [final(0), final(1)])
    assert events_of(mirror.read(0)) == [owner.hub.read(None)[0][0].event]


def test_readers_get_the_end_once_the_store_has_all_captions() -> None:
    owner = Owner()
    mirror = mirrored(owner)
    reader = Reader(mirror)
    owner.publish(final(0), final(1), END)
    owner.tell()  # the finals have gone to others already
    behind = [owner.stored.pop()]
    owner.mend(mirror)
    reader.read()
    assert (reader.texts, reader.has_ended, mirror.ended, mirror.is_lacking) == ({0: "utterance 0"}, False, False, True)
    reader.read()
    owner.stored += behind
    owner.mend(mirror)
    reader.read()
    reader.read()
    assert (reader.texts, reader.has_ended, mirror.is_lacking) == ({0: "utterance 0", 1: "utterance 1"}, True, False)


def test_a_bulletin_that_comes_twice_or_late_changes_nothing() -> None:
    owner = Owner()
    mirror = mirrored(owner)
    owner.publish(final(0))
    first = owner.tell()
    owner.publish(final(1))
    for each in (first, owner.tell(), first, owner.tell()):
        mirror.receive(each)
        mirror.receive(each)
    assert (mirror.is_torn, mirror.finals) == (False, [final(0), final(1)])


def test_events_that_come_while_the_store_is_read_follow_it() -> None:
    owner = Owner()
    owner.publish(final(0))
    mirror = Mirror()

    def meanwhile() -> None:
        owner.publish(final(1), partial(2))
        mirror.receive(owner.tell())

    owner.mend(mirror, meanwhile=meanwhile)
    assert (mirror.is_torn, mirror.finals) == (False, [final(0), final(1)])
    assert events_of(mirror.read(None))[0].partial == partial(2)


def test_too_much_that_comes_while_the_store_is_read_is_lost_and_read_once_more() -> None:
    owner = Owner()
    mirror = Mirror()

    def meanwhile() -> None:
        for n in range(MAX_WAITING + 1):
            owner.publish(final(n))
            mirror.receive(owner.tell())

    owner.mend(mirror, meanwhile=meanwhile)
    assert mirror.is_torn
    owner.mend(mirror)
    assert mirror.finals == owner.hub.finals


def test_a_session_whose_server_does_not_answer_is_read_from_the_store() -> None:
    owner = Owner()
    owner.publish(SpeechStart(0, 0), final(0), partial(1))
    mirror = Mirror()
    owner.mend(mirror, answers=False)
    assert (mirror.finals, mirror.is_torn) == ([final(0)], False)


def test_readers_go_on_at_the_next_server_with_a_snapshot() -> None:
    first = Owner()
    first.publish(final(0), partial(1))
    mirror = mirrored(first)
    reader = Reader(mirror)
    reader.read()
    second = Owner(1, tuple(first.stored))
    second.publish(final(1))
    mirror.receive(second.tell())
    assert mirror.is_torn
    second.mend(mirror)
    first.publish(final(7))
    mirror.receive(first.tell())  # what the former server sends late counts no more
    reader.read()
    assert (reader.texts, reader.seq) == ({0: "utterance 0", 1: "utterance 1"}, SEQS_PER_GENERATION + 1)


def test_a_deleted_session_is_forgotten_and_what_follows_is_not() -> None:
    owner = Owner()
    owner.publish(final(0))
    mirror = mirrored(owner)
    owner.hub.forget()
    owner.stored.clear()
    owner.publish(final(1))
    mirror.receive(owner.tell())
    assert (mirror.finals, mirror.forgotten, mirror.is_lacking) == ([final(1)], True, False)


def test_a_mirror_lacks_finals_as_long_as_the_store_is_behind() -> None:
    owner, mirror, late = behind(final(0))
    assert (mirror.is_torn, mirror.is_lacking, mirror.finals) == (False, True, [])
    owner.stored.append(late)
    owner.mend(mirror)
    assert (mirror.is_lacking, mirror.finals) == (False, [final(0)])


def test_a_reader_of_a_mirror_that_lacks_finals_gets_them_at_any_server() -> None:
    owner, mirror, late = behind(final(0))
    to_home, to_mirror = Reader(mirror), Reader(mirror)
    for reader in (to_home, to_mirror):
        reader.read()
        assert reader.texts == {}
    owner.stored.append(late)
    owner.publish(final(1))
    mirror.receive(owner.tell())
    owner.mend(mirror)
    for reader, server in ((to_home, owner.hub), (to_mirror, mirror)):
        reader.move(server)
        reader.read()
        assert reader.texts == {0: "utterance 0", 1: "utterance 1"}


def test_players_and_polls_wait_for_what_a_mirror_lacks() -> None:
    owner, mirror, late = behind(final(0), final(1))
    owner.publish(final(2), SpeechStart(3, 3000))
    mirror.receive(owner.tell())
    assert (mirror.finals, mirror.open_since_ms) == ([final(0), final(2)], final(0).start_ms)
    owner.stored.insert(1, late)
    owner.mend(mirror)
    assert (mirror.finals, mirror.open_since_ms) == ([final(0), final(1), final(2)], 3000)


def test_the_translation_of_a_final_that_is_missing_is_not_shown() -> None:
    owner, mirror, _ = behind(final(0))
    owner.publish(Translation(0, "fr", "un"))
    mirror.receive(owner.tell())
    assert (mirror.read(mirror.last_seq - 1)[0], mirror.is_lacking) == ([], True)


async def test_readers_of_a_session_that_comes_here_go_on_with_its_hub() -> None:
    owner = Owner()
    owner.publish(final(0))
    mirror = mirrored(owner)
    here = Hub("Talk", "en", 1, owner.stored, session="s")
    feed = mirror.subscribe(None, 60)
    assert isinstance((await anext(feed))[0].event, Snapshot)
    mirror.go_on_here(here)
    mirror.receive(owner.tell())
    assert isinstance((await anext(feed))[0].event, Snapshot)
    here.publish(final(1))
    assert [message.event for message in await anext(feed)] == [final(1)]
    here.publish(END)
    assert [message.event for message in await anext(feed)] == [END]
    assert [each async for each in feed] == []
    assert (mirror.ended, mirror.closed, mirror.n_readers) == (True, True, 0)


@given(st.data())
def test_the_transcript_is_the_same_though_bulletins_are_lost_or_late_and_the_store_is_behind_and_readers_move(
    data: st.DataObject,
) -> None:
    owner = Owner()
    mirror = mirrored(owner)
    reader = Reader(mirror)
    in_flight: list[Bulletin] = []
    for n in range(data.draw(st.integers(1, 12), "utterances")):
        for event in (SpeechStart(n, n * 1000), partial(n), Ack(n), final(n), Translation(n, "fr", f"énoncé {n}")):
            owner.publish(event)
            if data.draw(st.booleans(), "told"):
                in_flight += [owner.tell()] * data.draw(st.integers(0, 2), "copies")
            if in_flight and data.draw(st.booleans(), "delivered"):
                mirror.receive(in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1), "which")))
            if (mirror.is_torn or mirror.is_lacking) and data.draw(st.booleans(), "mended"):
                answers, n_behind = data.draw(st.booleans(), "answered"), data.draw(st.integers(0, 2), "behind")
                owner.mend(mirror, answers=answers, n_behind=min(n_behind, len(owner.stored)))
            if data.draw(st.booleans(), "read"):
                reader.read()
            if data.draw(st.booleans(), "moved"):
                reader.move(data.draw(st.sampled_from([mirror, owner.hub]), "to"))
    owner.publish(END)
    for late in [*in_flight, owner.tell(), owner.tell()]:
        mirror.receive(late)
    while mirror.is_torn or mirror.is_lacking or not mirror.ended:
        owner.mend(mirror)
    at_home = Reader(owner.hub)
    for _ in range(2):  # the snapshot comes before the end
        reader.read()
        at_home.read()
    assert (reader.texts, reader.has_ended) == (at_home.texts, True)
    assert mirror.finals == owner.hub.finals
