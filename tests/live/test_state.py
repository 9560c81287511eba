"""The states of a live session, as a table: each of its cells."""

import pytest

from livecaption.errors import LivecaptionError, Unavailable
from livecaption.live.state import TRANSITIONS, Ending, Happening, IllegalTransition, Lifecycle, State, next_state
from tests.support.cases import for_each

S, H = State, Happening
STOP, DRAIN, LEFT = Ending("stop"), Ending("draining"), Ending("disconnect")
FAULT = LivecaptionError("internal error")


def streaming() -> Lifecycle:
    return Lifecycle()


def parked() -> Lifecycle:
    lifecycle = Lifecycle()
    lifecycle.lose_publisher(5.0)
    return lifecycle


def draining(ending: Ending = STOP) -> Lifecycle:
    lifecycle = Lifecycle()
    assert lifecycle.end_audio(ending)
    return lifecycle


def ended(ending: Ending = STOP) -> Lifecycle:
    lifecycle = draining(ending)
    lifecycle.end()
    return lifecycle


@for_each(
    ("state", "lost", "back", "audio_over", "failed", "last_final_out"),
    [
        (S.STREAMING, S.PARKED, S.STREAMING, S.DRAINING, S.DRAINING, None),
        (S.PARKED, None, S.STREAMING, S.DRAINING, S.DRAINING, None),
        (S.DRAINING, S.DRAINING, S.DRAINING, S.DRAINING, S.DRAINING, S.ENDED),
        (S.ENDED, S.ENDED, S.ENDED, S.ENDED, S.ENDED, None),
    ],
)
def test_each_cell_of_the_table(
    state: State,
    lost: State | None,
    back: State | None,
    audio_over: State | None,
    failed: State | None,
    last_final_out: State | None,
) -> None:
    for happening, expected in zip(H, (lost, back, audio_over, failed, last_final_out), strict=True):
        if expected is None:
            with pytest.raises(IllegalTransition, match=f"{state.value} cannot happen: {happening.value}"):
                next_state(state, happening)
        else:
            assert next_state(state, happening) is expected


def test_the_table_has_a_line_for_every_state() -> None:
    assert set(TRANSITIONS) == set(S)


def test_a_session_streams_is_parked_and_ends() -> None:
    lifecycle = streaming()
    states = [lifecycle.state]
    lifecycle.lose_publisher(3.0)
    states.append(lifecycle.state)
    assert lifecycle.parked_since_s == 3.0
    lifecycle.regain_publisher()
    states.append(lifecycle.state)
    lifecycle.end_audio(STOP)
    states.append(lifecycle.state)
    lifecycle.end()
    assert [*states, lifecycle.state] == [S.STREAMING, S.PARKED, S.STREAMING, S.DRAINING, S.ENDED]


@for_each(
    ("lifecycle", "takes_audio", "is_parked", "has_ended"),
    [
        (streaming(), True, False, False),
        (parked(), True, True, False),
        (draining(), False, False, False),
        (ended(), False, False, True),
    ],
)
def test_each_state_has_its_consequences(
    lifecycle: Lifecycle, takes_audio: bool, is_parked: bool, has_ended: bool
) -> None:
    assert (lifecycle.takes_audio, lifecycle.is_parked, lifecycle.has_ended) == (takes_audio, is_parked, has_ended)


def test_the_first_reason_of_an_end_stays() -> None:
    lifecycle = draining(LEFT)
    assert not lifecycle.end_audio(DRAIN)
    assert lifecycle.ends_because("disconnect")
    assert not lifecycle.ends_because("draining")


def test_a_fault_replaces_the_reason_while_finals_are_awaited_and_not_after() -> None:
    lifecycle = draining()
    assert lifecycle.fail(FAULT)
    assert lifecycle.ending == Ending("error", FAULT)
    lifecycle.end()
    assert not lifecycle.fail(Unavailable("later"))
    assert lifecycle.ending == Ending("error", FAULT)


def test_a_session_that_goes_on_does_not_end_for_any_reason() -> None:
    assert streaming().ending is None
    assert not streaming().ends_because("stop")


def test_audio_behind_the_publishers_stop_is_a_mistake_once() -> None:
    lifecycle = draining(STOP)
    assert [lifecycle.note_late_audio() for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("ending", [DRAIN, LEFT], ids=lambda ending: ending.reason)
def test_audio_that_was_on_its_way_when_the_server_stopped_is_no_mistake(ending: Ending) -> None:
    assert not draining(ending).note_late_audio()


def test_a_message_that_was_on_its_way_when_the_server_stopped_is_no_mistake() -> None:
    assert draining(DRAIN).forgives_late_messages
    assert not draining(STOP).forgives_late_messages


def test_audio_behind_a_fault_is_no_mistake() -> None:
    lifecycle = draining(STOP)
    lifecycle.fail(FAULT)
    assert not lifecycle.note_late_audio()


@pytest.mark.parametrize("lifecycle", [draining(), ended()], ids=lambda lifecycle: lifecycle.state.value)
def test_a_publisher_that_comes_back_behind_its_stop_may_send_it_again(lifecycle: Lifecycle) -> None:
    assert not lifecycle.forgives_late_messages
    lifecycle.regain_publisher()
    assert lifecycle.forgives_late_messages
    assert not lifecycle.note_late_audio()


@pytest.mark.parametrize("lifecycle", [streaming(), parked()], ids=lambda lifecycle: lifecycle.state.value)
def test_a_publisher_that_comes_back_in_time_is_forgiven_nothing_later(lifecycle: Lifecycle) -> None:
    lifecycle.regain_publisher()
    lifecycle.end_audio(STOP)
    assert not lifecycle.forgives_late_messages
    assert lifecycle.note_late_audio()


def test_a_session_leaves_in_any_state_and_its_connection_ends_for_the_reason_given() -> None:
    for begin in (
        lambda lifecycle: None,
        lambda lifecycle: lifecycle.lose_publisher(1.0),
        lambda lifecycle: lifecycle.end_audio(STOP),
    ):
        lifecycle = Lifecycle()
        begin(lifecycle)
        lifecycle.leave(Ending("replaced"))
        assert lifecycle.is_suspended
        assert lifecycle.ending_of_connection == Ending("replaced")
        assert not lifecycle.takes_audio
        lifecycle.end()
        assert lifecycle.has_ended


def test_a_session_that_outlives_its_server_is_suspended_by_a_stop_of_the_server_alone() -> None:
    for outlives, reason, of_connection in (
        (True, "draining", "restarting"),
        (False, "draining", "draining"),
        (True, "stop", "stop"),
        (True, "disconnect", "disconnect"),
    ):
        lifecycle = Lifecycle(outlives_server=outlives)
        lifecycle.end_audio(Ending(reason))
        assert lifecycle.ending_of_connection == Ending(of_connection)
        assert lifecycle.is_suspended == (of_connection == "restarting")
    lifecycle = Lifecycle(outlives_server=True)
    lifecycle.end_audio(Ending("draining"))
    lifecycle.fail(LivecaptionError("a fault of ours"))
    assert not lifecycle.is_suspended
