"""Each damaged container is decoded and counted. One that ends or hangs its process is named, and the others go on."""

from collections import Counter

import pytest

from livecaption.evaluation.containers import KINDS, encode, mutate
from livecaption.evaluation.mutants import DOCUMENTED, Tally, decode_mutants, mutant, outcome
from tests.support import failing_mutants
from tests.support.eventually import TIMEOUT_FACTOR
from tests.support.streaming import jfk_pcm

CONTAINERS = {name: encode(jfk_pcm()[:32_000], kind) for name, kind in KINDS.items()}


def test_seeds_take_turns_at_the_kinds() -> None:
    names = list(CONTAINERS)
    assert [mutant(CONTAINERS, seed)[0] for seed in range(len(names) + 1)] == [*names, names[0]]
    assert mutant(CONTAINERS, 3) == (names[3], mutate(CONTAINERS[names[3]], 3))


def test_an_outcome_is_the_end_or_the_code_of_an_error() -> None:
    assert outcome(CONTAINERS["flac"]) == "end"
    assert outcome(CONTAINERS["flac"][:-1000]) == "truncated_audio"
    assert outcome(b"rubbish") == "invalid_container"


def test_only_documented_outcomes_are_no_fault() -> None:
    assert Tally(Counter(end=3, truncated_audio=2, invalid_container=1)).faults == []
    tally = Tally(Counter(end=3, ZeroDivisionError=2), ["wav with seed 1: its process exited with status 1"])
    assert tally.faults == ["2 containers gave ZeroDivisionError", *tally.deaths]


@pytest.mark.processes
async def test_every_mutant_is_counted_once() -> None:
    tally = await decode_mutants(CONTAINERS, 50, n_processes=2)
    assert tally.faults == []
    assert tally.outcomes.total() == 50
    assert set(tally.outcomes) == DOCUMENTED
    assert tally.outcomes == Counter(outcome(mutant(CONTAINERS, seed)[1]) for seed in range(50))


@pytest.mark.processes
async def test_a_process_that_dies_or_hangs_is_named_by_its_seed_and_replaced() -> None:
    # The time counts from the start of the process, and a busy machine starts it slowly.
    hang_s = 5.0 * TIMEOUT_FACTOR
    tally = await decode_mutants(CONTAINERS, 8, n_processes=1, hang_s=hang_s, program=failing_mutants.__name__)
    assert tally.outcomes == Counter(end=6)
    names = list(CONTAINERS)
    assert tally.deaths[0] == f"{names[3]} with seed 3: its process was killed by SIGSEGV"
    assert tally.deaths[1].startswith(f"{names[5]} with seed 5: its process was killed by SIGKILL")
    assert tally.faults == tally.deaths
