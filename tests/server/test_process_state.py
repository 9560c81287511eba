"""The states of a server process, and the exit code of several."""

import pytest

from livecaption.server.process_state import TRANSITIONS, ProcessEvent, ProcessState, worst
from tests.support.cases import for_each

FAULT = 70


def test_a_process_that_ends_by_itself_is_started_again_until_a_stop() -> None:
    state = ProcessState.WAITING
    for event in (ProcessEvent.STARTED, ProcessEvent.LOADED, ProcessEvent.ENDED, ProcessEvent.STARTED):
        state = TRANSITIONS[state][event]
    assert state is ProcessState.STARTING
    for event in (ProcessEvent.STOP_ASKED, ProcessEvent.ENDED):
        state = TRANSITIONS[state][event]
    assert state is ProcessState.GONE


def test_a_stop_is_possible_in_each_state() -> None:
    assert all(ProcessEvent.STOP_ASKED in events for events in TRANSITIONS.values())


def test_one_that_is_gone_is_not_started_again() -> None:
    with pytest.raises(KeyError):
        TRANSITIONS[ProcessState.GONE][ProcessEvent.STARTED]


@for_each("case", [([0, 0], 0), ([0, 3], 3), ([70, 3, 0], 70), ([0, -9], FAULT), ([], 0)])
def test_the_exit_code_is_the_worst_of_all(case: tuple[list[int], int]) -> None:
    exit_codes, expected = case
    assert worst(exit_codes) == expected
