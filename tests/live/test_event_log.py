"""A publisher and readers get the events of a session after their own cursors."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from livecaption import messages
from livecaption.events import (
    Ack,
    CaptionWord,
    End,
    Event,
    Final,
    Gap,
    Partial,
    Pong,
    Ready,
    Snapshot,
    SpeakerName,
    SpeakerNamed,
    SpeechEnd,
    SpeechStart,
    TranslatedText,
    Translation,
)
from livecaption.live.dialects import native
from livecaption.live.event_log import MAX_MESSAGES, SEQS_PER_GENERATION, EventLog, Message
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each
from tests.support.dialects import Deltas

END = End(9000, 2, "stop")
EPOCH = "5e55"


def partial(utterance: int, revision: int) -> Partial:
    text = " ".join(["word"] * (revision + 1))
    return Partial(utterance, revision, text, "", utterance * 1000, utterance * 1000 + revision)


def final(utterance: int, text: str | None = None) -> Final:
    text = f"utterance {utterance}" if text is None else text
    return Final(utterance, text, utterance * 1000, utterance * 1000 + 900, "en", 0.9, 300)


def talk(n: int) -> list[Event]:
    """`n` utterances with three partials each, one after the other, between what concerns the publisher alone."""
    events: list[Event] = [Ready("s", "secret", 1, "m", "en", 0)]
    for utterance in range(n):
        events += [SpeechStart(utterance, utterance * 1000), *(partial(utterance, i) for i in range(3)), Ack(utterance)]
        events += [SpeechEnd(utterance, utterance * 1000 + 900, "silence"), final(utterance)]
    return events


def recent(events: Sequence[Event], **settings: Any) -> EventLog:
    kept = EventLog("Talk", "en", EPOCH, **settings)
    for event in events:
        kept.append(event)
    return kept


def events_of(messages: list[Message] | None) -> list[Event]:
    assert messages is not None
    return [message.event for message in messages]


def test_events_are_numbered_from_one_without_gaps() -> None:
    kept = EventLog("", None, EPOCH)
    assert [kept.append(event).seq for event in talk(2)] == list(range(1, 16))
    assert kept.last_seq == 15


def test_a_message_carries_its_number_in_json_and_as_a_server_sent_event() -> None:
    message = recent([END])._messages[0]
    fields = json.loads(message.text)
    assert (fields["type"], fields["seq"]) == ("end", 1)
    assert message.server_sent == b"id: 5e55-1\nevent: end\ndata: " + message.text.encode() + b"\n\n"


def test_a_text_with_line_ends_stays_one_line_of_a_server_sent_event() -> None:
    message = EventLog("", None, EPOCH).append(final(0, "one\ntwo\r\nthree\u2028four"))
    assert message.server_sent.count(b"\n") == 4
    assert b"\r" not in message.server_sent


def test_the_publisher_gets_every_event_after_the_last_one_seen() -> None:
    events = talk(2)
    for seen in range(len(events) + 1):
        assert events_of(recent(events).missed(seen)) == events[seen:]


def test_readers_get_captions_only_and_of_partials_the_newest() -> None:
    kept = recent([*talk(1), SpeechStart(1, 1000), partial(1, 0), Pong(1), partial(1, 1)])
    news, seq = kept.read(1)
    assert events_of(news) == [
        SpeechStart(0, 0),
        SpeechEnd(0, 900, "silence"),
        final(0),
        SpeechStart(1, 1000),
        partial(1, 1),
    ]
    assert kept.read(seq) == ([], seq)


def test_no_secret_of_the_publishers_ever_reaches_a_reader() -> None:
    kept = recent(talk(2))
    for seen in [None, *range(20)]:
        assert all("secret" not in message.text for message in kept.read(seen)[0])


def test_a_late_comer_gets_all_finals_with_a_text_and_the_open_partial_and_then_what_follows() -> None:
    kept = recent([*talk(1), final(1, ""), SpeechStart(2, 2000), partial(2, 0), partial(2, 1)])
    news, seq = kept.read(None)
    assert events_of(news) == [Snapshot("Talk", "en", (final(0),), partial(2, 1), EPOCH)]
    assert (news[0].seq, seq) == (kept.last_seq, kept.last_seq)
    kept.append(final(2))
    assert events_of(kept.read(seq)[0]) == [final(2)]


def test_a_late_comer_gets_the_open_partial_of_each_channel_that_is_kept_apart() -> None:
    partials = [replace(partial(number, 0), channel=channel) for number, channel in ((3, 1), (4, 0), (5, 1))]
    kept = recent([*talk(1), *partials])
    [message], _ = kept.read(None)
    assert isinstance(message.event, Snapshot)
    assert message.event.partials == (partials[1], partials[2])
    assert message.event.partial == partials[2]
    sent = json.loads(message.text)
    assert [(each["utterance"], each["channel"]) for each in sent["partials"]] == [(4, 0), (5, 1)]
    assert messages.parse_event(sent) == message.event


def test_without_channels_apart_no_message_names_any() -> None:
    kept = recent([*talk(1), SpeechStart(2, 2000), partial(2, 0)])
    assert not any("channel" in message.text or "partials" in message.text for message in kept._messages)
    assert "partials" not in kept.read(None)[0][0].text


@for_each(
    ("cursor", "seq"),
    [
        ("5e55-3", 3),
        *(("5e55-99999", 99999), ("5e55-0003", 3)),
        *(("3", None), ("0000-3", None), ("5e55", None), ("5e55-", None), ("-3", None), ("5e55--3", None), ("", None)),
        *(("5e55-1.5", None), ("5e55-\u0663", None), ("5e55-" + 400 * "9", None), ("x5e55-3", None)),
        ("5e55-3-3", None),
    ],
)
def test_a_cursor_is_a_number_in_the_epoch_of_these_events(cursor: str, seq: int | None) -> None:
    """A number alone may be of another session or an earlier server, and be in range all the same."""
    assert recent(talk(2)).seq_of(cursor) == seq


@for_each("seen", [99, -1, 10**15])
def test_a_reader_whose_cursor_is_of_the_future_gets_a_snapshot(seen: int) -> None:
    (message,), _ = recent(talk(2)).read(seen)
    assert isinstance(message.event, Snapshot)


def test_a_reader_whose_cursor_is_forgotten_gets_a_snapshot_with_everything() -> None:
    kept = recent(talk(50), max_characters=2000)
    assert kept.since(1) is None
    (message,), seq = kept.read(1)
    assert message.event == Snapshot("Talk", "en", tuple(final(i) for i in range(50)), None, EPOCH)
    assert seq == kept.last_seq


def after_restart(n_finals: int, **settings: Any) -> EventLog:
    """Every tenth number of the generation before was a final's."""
    finals = [(10 * (n + 1), final(n)) for n in range(n_finals)]
    return EventLog("Talk", "en", EPOCH, generation=1, earlier=finals, **settings)


def test_a_deleted_session_keeps_nothing_of_what_was_said_so_far_for_its_readers() -> None:
    kept = recent([*talk(2), partial(2, 0)])
    last_seq = kept.last_seq
    kept.forget()
    assert kept.finals == []
    for cursor in (None, 1, last_seq - 1):
        [snapshot], _ = kept.read(cursor)
        sent = json.loads(snapshot.text)
        assert (sent["finals"], sent.get("partial")) == ([], None)
    kept.append(final(2))
    kept.append(Translation(1, "de", "Äußerung 1"))  # that was on its way
    kept.append(Translation(2, "de", "Äußerung 2"))
    assert events_of(kept.read(last_seq)[0]) == [final(2), Translation(2, "de", "Äußerung 2")]
    assert kept.finals == [replace(final(2), translations=(TranslatedText("de", "Äußerung 2"),))]
    assert len(events_of(kept.missed(0))) == last_seq + 3  # its publisher misses nothing


def test_after_a_restart_the_numbers_go_on_above_all_that_were_sent_before() -> None:
    kept = after_restart(2)
    assert kept.append(SpeechStart(2, 2000)).seq == SEQS_PER_GENERATION + 1
    assert EventLog("", None, EPOCH, generation=2).append(END).seq == 2 * SEQS_PER_GENERATION + 1


def test_after_a_restart_a_publisher_gets_the_finals_that_were_not_seen_with_the_numbers_that_they_had() -> None:
    """All other events in between are lost, and no caption: a gap of no length stands for them."""
    kept = after_restart(3)
    kept.append(SpeechStart(3, 3000))
    assert [(message.seq, message.event) for message in kept.missed(15)] == [
        (19, Gap(900, 900)),
        (20, final(1)),
        (29, Gap(1900, 1900)),
        (30, final(2)),
        (SEQS_PER_GENERATION, Gap(2900, 2900)),
        (SEQS_PER_GENERATION + 1, SpeechStart(3, 3000)),
    ]
    assert next((message.seq, message.event) for message in kept.missed(29)) == (30, final(2))
    assert [message.seq for message in kept.missed(30)] == [SEQS_PER_GENERATION, SEQS_PER_GENERATION + 1]
    assert [message.seq for message in kept.missed(SEQS_PER_GENERATION)] == [SEQS_PER_GENERATION + 1]


def test_finals_from_before_a_restart_that_are_too_many_to_be_kept_are_a_gap_with_its_times() -> None:
    missed = after_restart(50, max_characters=1000).missed(10)
    n_lost = next(n for n in range(1, 50) if missed[1].event == final(n)) - 1
    assert missed[0].event == Gap(final(1).start_ms, final(n_lost).end_ms)
    assert events_of(missed)[1::2] == [final(n) for n in range(n_lost + 1, 50)]


def test_after_a_restart_readers_get_a_snapshot_with_all_finals_and_then_what_follows() -> None:
    kept = after_restart(2)
    (snapshot,), seq = kept.read(None)
    assert snapshot.event == Snapshot("Talk", "en", (final(0), final(1)), None, EPOCH)
    assert (snapshot.seq, seq) == (SEQS_PER_GENERATION, SEQS_PER_GENERATION)
    for seen in (0, 10, 20, SEQS_PER_GENERATION - 1):
        assert kept.since(seen) is None
    kept.append(final(2))
    assert events_of(kept.read(seq)[0]) == [final(2)]


def test_a_snapshot_is_made_once_for_all_who_come_at_the_same_time() -> None:
    kept = recent(talk(2))
    assert kept.read(None)[0][0] is kept.read(None)[0][0]


def test_events_for_the_publisher_alone_make_no_new_snapshot() -> None:
    """A snapshot of a long session has megabytes, and an acknowledgement comes each second."""
    kept = recent(talk(2))
    (first,), _ = kept.read(None)
    kept.append(Ack(5))
    (second,), seq = kept.read(None)
    assert second is first
    assert kept.read(seq) == ([], kept.last_seq)


def test_behind_an_older_snapshot_no_second_one_comes_however_many_events_the_publisher_got() -> None:
    kept = recent(talk(2), max_characters=400)
    kept.read(None)
    for number in range(100):
        kept.append(Pong(number))
    (_,), seq = kept.read(None)
    assert kept.read(seq) == ([], kept.last_seq)


def test_a_snapshot_is_sent_as_it_would_be_encoded_whole() -> None:
    """Its finals are encoded when they come; the title tries to be taken for them."""
    kept = EventLog('"finals":[] \\"finals\\":[]', "en", EPOCH)
    for event in [*talk(2), final(2, 'she said "no"'), final(3, "")]:
        kept.append(event)
    (snapshot,), _ = kept.read(None)
    assert snapshot.text == messages.encode(snapshot.event, snapshot.seq)
    assert snapshot.server_sent.endswith(snapshot.text.encode() + b"\n\n")


def test_a_reader_that_comes_after_the_end_gets_the_snapshot_and_the_end() -> None:
    kept = recent([*talk(2), END])
    (snapshot,), seq = kept.read(None)
    assert isinstance(snapshot.event, Snapshot)
    assert events_of(kept.read(seq)[0]) == [END]
    assert kept.ended


def test_a_publisher_whose_missed_events_are_forgotten_gets_the_times_of_the_gap() -> None:
    kept = recent(talk(50), max_characters=2000)
    gap, *rest = kept.missed(9)  # has seen the final of utterance 0
    first_kept = next(event.utterance for event in events_of(rest) if isinstance(event, Final))
    assert gap.event == Gap(start_ms=1000, end_ms=(first_kept - 1) * 1000 + 900)
    assert [message.seq for message in [gap, *rest]] == list(range(gap.seq, kept.last_seq + 1))


def test_a_gap_without_a_final_has_no_length() -> None:
    kept = recent([*talk(1), *[Ack(i) for i in range(200)]], max_characters=2000)
    assert kept.missed(10)[0].event == Gap(900, 900)


def test_kept_events_are_bounded_except_for_finals() -> None:
    kept = recent([partial(0, i % 50) for i in range(5000)], max_characters=10_000)
    assert sum(len(message.text) for message in kept._messages) <= 10_000


def test_one_message_larger_than_all_that_may_be_kept_is_still_sent() -> None:
    kept = recent([*talk(1), final(1, "x" * 5000)], max_characters=1000)
    assert events_of(kept.read(kept.last_seq - 1)[0]) == [final(1, "x" * 5000)]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Utterances one after the other, each with some partials; the next may begin before the final is there."""
    events: list[Event] = []
    waiting: list[Event] = []
    for utterance in range(draw(st.integers(1, 8))):
        events.append(SpeechStart(utterance, utterance * 1000))
        for revision in range(draw(st.integers(0, 4))):
            events.append(partial(utterance, revision))
            if waiting and draw(st.booleans()):
                events.append(waiting.pop(0))
        events.append(SpeechEnd(utterance, utterance * 1000 + 900, "silence"))
        waiting.append(final(utterance, draw(st.sampled_from(["", "some text"]))))
    return [*events, *waiting, END]


@given(histories(), st.integers(200, 3000), st.randoms(use_true_random=False))
def test_however_rarely_a_reader_reads_it_gets_every_final_once_in_order_and_the_newest_partial(
    history: list[Event], max_characters: int, chance: Any
) -> None:
    kept = EventLog("", None, EPOCH, max_characters)
    shown: dict[int, str] = {}
    open_partial: Partial | None = None
    ended = False
    seq: int | None = None
    for event in history:
        kept.append(event)
        if event is not history[-1] and chance.random() < 0.7:
            continue
        while True:
            messages, seq = kept.read(seq)
            if not messages:
                break
            for sent in events_of(messages):
                match sent:
                    case Snapshot():
                        assert list(shown.items()) == [(f.utterance, f.text) for f in sent.finals][: len(shown)]
                        shown = {f.utterance: f.text for f in sent.finals}
                        open_partial = sent.partial
                    case Final():
                        assert sent.utterance not in shown
                        if sent.text:
                            shown[sent.utterance] = sent.text
                        if open_partial is not None and open_partial.utterance == sent.utterance:
                            open_partial = None
                    case Partial():
                        open_partial = sent
                    case End():
                        ended = True
        seen = history[: kept.last_seq]
        done = {e.utterance for e in seen if isinstance(e, Final)}
        partials = [e for e in seen if isinstance(e, Partial) and e.utterance not in done]
        newest = max(partials, key=lambda e: (e.utterance, e.revision), default=None)
        assert open_partial == newest
    assert list(shown.items()) == [(e.utterance, e.text) for e in history if isinstance(e, Final) and e.text]
    assert ended


@given(histories(), st.integers(200, 3000), st.data())
def test_a_publisher_who_comes_back_misses_nothing_or_gets_a_gap(
    history: list[Event], max_characters: int, data: st.DataObject
) -> None:
    kept = recent(history, max_characters=max_characters)
    seen = data.draw(st.integers(0, len(history)))
    missed = kept.missed(seen)
    if missed and isinstance(missed[0].event, Gap):
        gap = missed[0]
        assert seen < gap.seq
        lost = [e for e in history[seen : gap.seq] if isinstance(e, Final)]
        if lost:
            assert gap.event == Gap(lost[0].start_ms, lost[-1].end_ms)
        seen, missed = gap.seq, missed[1:]
    assert events_of(missed) == history[seen:]


def test_messages_are_few_however_short_they_are() -> None:
    """Pongs may come 500 times a second, and each takes more memory than its characters."""
    kept = recent([Pong(number) for number in range(3 * MAX_MESSAGES)])
    assert len(kept._messages) == MAX_MESSAGES
    assert kept.last_seq == 3 * MAX_MESSAGES


def test_a_publisher_gets_the_native_text_that_readers_share_or_its_own_protocol() -> None:
    log = EventLog("", None, "5e55")
    message = log.append(final(0, "One."))
    (native_text,) = message.encoded(native.Native(EndpointingConfig()))
    assert native_text is message.text
    assert native_text == messages.encode(message.event, message.seq)
    assert message.encoded(Deltas(EndpointingConfig(), manual=False)) == ["+One.", b"."]


def test_a_gap_between_finals_of_several_channels_has_the_earliest_and_the_latest_time() -> None:
    finals = [Final(n, "x", start, end, "en", 0.9, 300, channel=n % 2) for n, (start, end) in enumerate(TIMES_MS)]
    kept = recent(finals, max_characters=1)
    assert events_of(kept.missed(1))[0] == Gap(1500, 9000)


TIMES_MS = ((0, 1000), (2000, 9000), (1500, 3000), (9500, 9900))


def test_a_snapshot_has_the_translations_that_have_come_with_their_finals() -> None:
    with_words = replace(final(1), words=(CaptionWord("utterance", 1000, 1900, 1.0),))
    log = EventLog("Talk", "en", EPOCH, tracks=("de", "fr"))
    for event in (final(0), final(2, ""), with_words, Translation(1, "de", "Zwei"), Translation(0, "fr", "Un")):
        log.append(event)
    log.append(Translation(1, "fr", "Deux"))
    one = replace(final(0), translations=(TranslatedText("fr", "Un"),))
    two = replace(final(1), translations=(TranslatedText("de", "Zwei"), TranslatedText("fr", "Deux")))
    (message,), seq = log.read(None)
    assert message.event == Snapshot("Talk", "en", (one, two), None, EPOCH, tracks=("de", "fr"))
    assert messages.parse_event(json.loads(message.text)) == message.event
    assert log.finals == [one, final(2, ""), replace(two, words=with_words.words)]
    assert (log.n_captions, seq) == (6, 6)
    log.append(Translation(0, "de", "Eins"))
    assert events_of(log.read(seq)[0]) == [Translation(0, "de", "Eins")]


def test_after_a_restart_translations_are_sent_again_with_their_numbers() -> None:
    earlier = [(10, final(0)), (11, Translation(0, "de", "Eins")), (20, final(1))]
    log = EventLog("Talk", "en", EPOCH, generation=1, earlier=earlier, tracks=("de",))
    translated = replace(final(0), translations=(TranslatedText("de", "Eins"),))
    assert log.finals == [translated, final(1)]
    assert [(message.seq, message.event) for message in log.missed(10)][:3] == [
        (11, Translation(0, "de", "Eins")),
        (19, Gap(900, 900)),
        (20, final(1)),
    ]


# Names


def names_in(log: EventLog) -> tuple[SpeakerName, ...] | None:
    [message], _ = log.read(None)
    assert isinstance(message.event, Snapshot)
    names = message.event.names
    sent = json.loads(message.text).get("names")
    assert sent == (None if names is None else [{"speaker": each.speaker, "name": each.name} for each in names])
    return names


def test_late_readers_get_the_newest_names_and_others_an_event_for_each() -> None:
    log = recent([*talk(1), SpeakerNamed(2, "Bob"), SpeakerNamed(1, "Ada"), SpeakerNamed(2, "Bo")], names={3: "Eve"})
    assert names_in(log) == (SpeakerName(1, "Ada"), SpeakerName(2, "Bo"), SpeakerName(3, "Eve"))
    news, _ = log.read(log.last_seq - 2)
    assert [message.event for message in news] == [SpeakerNamed(1, "Ada"), SpeakerNamed(2, "Bo")]
    log.rename_speakers({1: "Ada L."})
    assert names_in(log) == (SpeakerName(1, "Ada L."), SpeakerName(2, "Bo"), SpeakerName(3, "Eve"))
    assert log.read(log.last_seq)[0] == []


def test_a_deleted_session_has_no_names_and_one_without_names_has_no_such_field() -> None:
    log = recent([*talk(1), SpeakerNamed(1, "Ada")])
    log.forget()
    assert names_in(log) is None
    assert names_in(recent(talk(1))) is None
