"""Which windows share passes of the model."""

from collections import Counter
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from livecaption.engine.plan import (
    MAX_DECODER_PASSES,
    PASS_WORTH_S,
    Need,
    Place,
    separate_places,
    shared_places,
)
from tests.support.cases import for_each

NEEDS = st.builds(
    Need,
    st.sampled_from([10, 20, 30]),
    st.just(5),
    n_given=st.sampled_from([0, 0, 0, 7, 90, 200]),
    n_context=st.sampled_from([0, 16]),
    is_timed=st.booleans(),
)

SHORT_WITH_CONTEXT = [Need(10, n_context=16), Need(10, n_given=7), Need(20)]
LONG_WITH_CONTEXT = [Need(20, n_context=16), Need(10, n_given=7), Need(10)]
"""Needs that have few ways to share a pass."""


def passes(needs: list[Need]) -> dict[Place, int]:
    """Return the passes of the decoder on a GPU, with the number of windows in each."""
    return dict(Counter(shared_places(needs)))


def test_on_a_cpu_each_window_gets_what_it_needs() -> None:
    needs = [Need(12, 3, n_context=16), Need(10, 5, n_given=7), Need(10, 5, is_timed=True)]
    assert separate_places(needs) == [Place(12, 3, False), Place(10, 5, False), Place(10, 5, True)]


@example([replace(need, is_timed=is_timed) for need in SHORT_WITH_CONTEXT for is_timed in (False, True)])
@example([replace(need, is_timed=is_timed) for need in LONG_WITH_CONTEXT for is_timed in (False, True)])
@given(st.lists(NEEDS, max_size=64))
def test_a_batch_on_a_gpu_has_few_passes_and_no_window_gets_less_than_it_needs(needs: list[Need]) -> None:
    places = shared_places(needs)
    assert len(places) == len(needs)
    assert len(set(places)) <= MAX_DECODER_PASSES
    assert len({place.context_s for place in places}) <= 3
    for need, place in zip(needs, places, strict=True):
        assert place.n_previous is not None
        assert need.context_s <= place.context_s <= max(each.context_s for each in needs)
        assert place.is_timed == need.is_timed
        assert place.n_previous >= need.n_given


@given(st.lists(NEEDS, min_size=1, max_size=20))
def test_the_order_of_windows_does_not_matter(needs: list[Need]) -> None:
    assert shared_places(needs)[::-1] == shared_places(needs[::-1])


def test_windows_of_one_kind_share_the_passes_that_they_need() -> None:
    assert passes([Need(10, n_context=16)] * 64) == {Place(10, 5, False, 16): 64}
    assert passes([Need(20)]) == {Place(20, 5, False, 0): 1}


@for_each(("n_short", "n_passes"), [(1, 1), (round(PASS_WORTH_S / 10), 1), (round(PASS_WORTH_S / 10) + 1, 2)])
def test_windows_get_more_audio_if_that_costs_less_than_a_pass(n_short: int, n_passes: int) -> None:
    assert len(passes([Need(10)] * n_short + [Need(20)] * 30)) == n_passes


def test_a_few_windows_do_without_their_context_and_many_do_not() -> None:
    assert passes([Need(10)] * 30 + [Need(10, n_context=16)] * 3) == {Place(10, 5, False, 0): 33}
    assert len(passes([Need(10)] * 30 + [Need(10, n_context=16)] * 30)) == 2


def test_words_of_publishers_are_in_prompts_as_long_as_the_longest_of_them() -> None:
    needs = [Need(10, n_given=7), Need(10, n_given=90, n_context=16), Need(10, n_given=30)]
    assert passes(needs) == {Place(10, 5, False, 106): 3}


def test_many_windows_of_all_kinds_have_few_passes_too() -> None:
    kinds = [
        Need(context_s, n_given=n_given, n_context=n_context, is_timed=is_timed)
        for context_s in (10, 20, 30)
        for n_given in (0, 9)
        for n_context in (0, 16)
        for is_timed in (False, True)
    ]
    assert len(passes(kinds * 20)) == MAX_DECODER_PASSES
