"""The number of a text grows by one for each new text, and never for another attempt."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.delivery.lines import Text
from livecaption.delivery.outgoing import DELAYS_S, MAX_AGE_S, MAX_WAITING, Numbered, Outgoing, SinkState


def text(name: object) -> Text:
    return Text((str(name),), 0)


def outgoing(*names: object, seq: int = 1) -> Outgoing:
    made = Outgoing()
    made.begin(seq)
    for name in names:
        made.push(text(name), 0)
    return made


def test_each_new_text_gets_the_next_number() -> None:
    sink = outgoing("a", "b", seq=7)
    assert sink.next(0) == Numbered(7, text("a"))
    sink.accepted()
    assert sink.next(0) == Numbered(8, text("b"))


def test_a_text_that_may_have_arrived_is_sent_again_with_its_number() -> None:
    sink = outgoing("a", "b")
    sink.next(0)
    sink.failed("no answer", 0, may_have_arrived=True)
    assert sink.next(0) == Numbered(1, text("a"))


def test_the_number_of_a_text_that_was_refused_is_free() -> None:
    sink = outgoing("a")
    sink.next(0)
    sink.failed("HTTP 400", 0, may_have_arrived=False)
    sink.push(text("b"), MAX_AGE_S)
    assert sink.next(MAX_AGE_S + 1) == Numbered(1, text("b"))
    assert sink.n_dropped == 1


def test_the_number_of_a_text_that_may_have_arrived_is_used_even_if_it_is_dropped() -> None:
    sink = outgoing("a")
    sink.next(0)
    sink.failed("no answer", 0, may_have_arrived=True)
    sink.failed("HTTP 400", 1, may_have_arrived=False)
    sink.push(text("b"), MAX_AGE_S)
    assert sink.next(MAX_AGE_S + 1) == Numbered(2, text("b"))
    assert sink.n_dropped == 1


def test_the_oldest_texts_are_dropped_when_too_many_wait() -> None:
    sink = outgoing(*range(MAX_WAITING + 3))
    assert (sink.n_waiting, sink.n_dropped) == (MAX_WAITING, 3)
    assert sink.next(0) == Numbered(1, text(3))


def test_a_text_that_is_refused_waits_again_and_is_the_oldest() -> None:
    sink = outgoing("refused")
    sink.next(0)
    for name in range(MAX_WAITING):
        sink.push(text(name), 0)
    sink.failed("HTTP 400", 0, may_have_arrived=False)
    assert (sink.n_waiting, sink.n_dropped) == (MAX_WAITING, 1)
    assert sink.next(0) == Numbered(1, text(0))


def test_a_text_from_long_ago_is_dropped() -> None:
    sink = outgoing("before the meeting")
    sink.push(text("in the meeting"), MAX_AGE_S)
    assert sink.next(MAX_AGE_S + 1) == Numbered(1, text("in the meeting"))
    assert sink.n_dropped == 1


def test_attempts_are_rarer_after_each_failure_and_at_once_after_a_success() -> None:
    sink = outgoing("a", "b")
    sink.next(0)
    delays = [sink.failed("down", 0, may_have_arrived=True) for _ in range(len(DELAYS_S) + 2)]
    assert delays == [*DELAYS_S, DELAYS_S[-1], DELAYS_S[-1]]
    sink.next(0)
    sink.accepted()
    sink.next(0)
    assert sink.failed("down", 0, may_have_arrived=True) == DELAYS_S[0]


def test_the_state_shows_since_when_and_why_a_sink_fails() -> None:
    sink = outgoing()
    states = [sink.state]
    sink.push(text("a"), 0)
    states.append(sink.state)
    sink.next(0)
    sink.failed("HTTP 503", 5, may_have_arrived=True)
    sink.failed("HTTP 502", 6, may_have_arrived=True)
    states.append(sink.state)
    assert (sink.failing_since_s, sink.problem) == (5, "HTTP 502")
    sink.next(6)
    sink.accepted()
    states.append(sink.state)
    assert (sink.failing_since_s, sink.problem, sink.n_sent) == (None, "", 1)
    sink.push(text("b"), 6)
    sink.stop()
    states.append(sink.state)
    assert states == [
        SinkState.WAITING,
        SinkState.SENDING,
        SinkState.FAILING,
        SinkState.WAITING,
        SinkState.STOPPED,
    ]
    assert (sink.n_waiting, sink.n_dropped) == (0, 1)


def test_a_failure_before_the_first_number_is_known_keeps_all_texts() -> None:
    sink = Outgoing()
    sink.push(text("a"), 0)
    assert sink.needs_beginning
    sink.failed("down", 0, may_have_arrived=False)
    sink.begin(4)
    assert sink.next(0) == Numbered(4, text("a"))


def test_a_question_for_the_first_number_that_may_have_arrived_leaves_the_number_of_a_text_free() -> None:
    sink = Outgoing()
    sink.push(text("a"), 0)
    sink.failed("no answer", 0, may_have_arrived=True)
    sink.begin(4)
    sink.next(0)
    sink.failed("refused", 0, may_have_arrived=False)
    sink.used(4)
    assert sink.next(0) == Numbered(5, text("a"))


@given(st.lists(st.sampled_from(["push", "accepted", "arrived", "refused", "lost", "wait"]), max_size=60))
def test_a_receiver_never_gets_two_texts_with_one_number(actions: list[str]) -> None:
    """Nor does it miss one of the numbers, unless the text was dropped whose number it was."""
    sink, now_s, n_pushed = outgoing(), 0.0, 0
    received: dict[int, Text] = {}
    for action in actions:
        now_s += 30 if action == "wait" else 1
        if action == "push":
            sink.push(text(n_pushed), now_s)
            n_pushed += 1
        elif (numbered := sink.next(now_s)) is not None:
            if action in ("accepted", "arrived"):  # in the second case its answer is lost
                assert received.setdefault(numbered.seq, numbered.text) == numbered.text
            if action == "accepted":
                sink.accepted()
            elif action != "wait":
                sink.failed("down", now_s, may_have_arrived=action != "refused")
    assert sink.n_sent + sink.n_dropped + sink.n_waiting == n_pushed
    order = [int(received[seq].lines[0]) for seq in sorted(received)]
    assert order == sorted(set(order))


def test_the_numbers_go_on_behind_those_that_another_process_has_used() -> None:
    sink = Outgoing()
    sink.used(4)
    sink.push(text("a"), 0)
    sink.begin(1)
    assert sink.next(0) == Numbered(5, text("a"))
    sink.accepted()
    sink.used(9)
    sink.used(3)  # an old report
    assert sink.newest_seq == 9
    sink.push(text("b"), 0)
    assert sink.next(0) == Numbered(10, text("b"))


def test_a_text_that_may_have_arrived_keeps_its_number_also_if_another_process_has_used_it() -> None:
    sink = outgoing("a")
    sink.next(0)
    sink.failed("no answer", 0, may_have_arrived=True)
    sink.used(1)
    sink.begin_again()
    assert sink.next(1) == Numbered(1, text("a"))


def test_a_number_is_used_from_when_its_text_is_sent() -> None:
    sink = outgoing("a", seq=3)
    assert sink.newest_seq == 2
    sink.next(0)
    assert sink.newest_seq == 3
    sink.accepted()
    assert sink.newest_seq == 3


def test_a_sink_that_begins_again_goes_on_behind_its_own_numbers_and_those_of_the_receiver() -> None:
    for at_receiver, expected in ((1, 2), (8, 8)):
        sink = outgoing("a")
        sink.next(0)
        sink.accepted()
        sink.begin_again()
        assert sink.needs_beginning
        sink.begin(at_receiver)
        sink.push(text("b"), 0)
        assert sink.next(0) == Numbered(expected, text("b"))
