"""The times that an engine measures while it loads. The model itself: tests/model/test_calibration.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from livecaption.engine.calibration import LONGEST_S, MAX_BATCH_ON_CPU, NEW_S, RehearsedModel, measure_costs
from livecaption.errors import OutOfMemory
from livecaption.recognition import Analysis, BatchTime, EngineCosts, Window


@dataclass
class Machine:
    """Computes a batch in `fixed_s` and `each_s` for each window, of more than `fits` of them none."""

    fixed_s: float = 0.0
    each_s: float = 0.1
    fits: int = 1000
    compile_s: float = 0.0
    now_s: float = 0.0
    batches: list[Sequence[Window]] = field(default_factory=list)
    n_tokens: list[int] = field(default_factory=list)

    def rehearse(self, windows: Sequence[Window], n_tokens: int) -> None:
        if len(windows) > self.fits:
            raise OutOfMemory("out of memory")
        is_new = len(windows) not in map(len, self.batches)
        self.batches.append(windows)
        self.n_tokens.append(n_tokens)
        self.now_s += self.fixed_s + self.each_s * len(windows) + self.compile_s * is_new

    def measure(self, *, on_gpu: bool = False, calibrates: bool = True, is_replacement: bool = False) -> EngineCosts:
        return measure_costs(
            self.rehearse,
            analyze,
            on_gpu=on_gpu,
            calibrates=calibrates,
            is_replacement=is_replacement,
            clock=lambda: self.now_s,
        )


def analyze(window: Window) -> Analysis:
    """Note how much audio was analyzed before, in the frames of the features."""
    empty = np.zeros(0, np.float32)
    return Analysis(empty, empty, 0.0, np.zeros((len(window.samples) // 160, 80), np.float32), 0)


def sizes(times: Sequence[BatchTime]) -> list[int]:
    return [each.n_windows for each in times]


def test_a_cpu_times_small_batches_of_both_kinds() -> None:
    machine = Machine(each_s=0.1)
    costs = machine.measure()
    assert sizes(costs.finals) == sizes(costs.partials) == [1, 2]
    assert [each.compute_s for each in costs.finals] == pytest.approx([0.1, 0.2])
    assert costs.max_batch == MAX_BATCH_ON_CPU == 16
    assert machine.now_s < 0.8


def test_a_gpu_times_batches_up_to_the_largest_after_their_kernels_were_compiled() -> None:
    costs = Machine(0.035, 0.0012, compile_s=0.3).measure(on_gpu=True)
    assert sizes(costs.finals) == sizes(costs.partials) == [1, 8, 32, 64]
    assert costs.finals[-1].compute_s == pytest.approx(0.035 + 64 * 0.0012)
    assert costs.max_batch == 64


def test_the_windows_are_as_long_as_those_of_speech_and_have_as_many_tokens() -> None:
    machine = Machine()
    machine.measure()
    batches = zip(machine.batches, machine.n_tokens, strict=True)
    seen = {(windows[0].is_final, len(windows[0].samples), n_tokens) for windows, n_tokens in batches}
    assert seen == {(True, 5 * 16_000, 16), (False, 3 * 16_000, 10)}


def test_the_windows_are_analyzed_up_to_their_newest_part_as_those_of_streams_are() -> None:
    """The analysis of a whole window takes a CPU longer than a GPU takes for the rest."""
    machine = Machine()
    machine.measure(on_gpu=True)
    windows = [window for batch in machine.batches for window in batch]
    known_s = {
        round(len(window.samples) / 16_000 - len(window.analysis.bands) / 100, 2)
        for window in windows
        if window.analysis is not None
    }
    assert all(window.analysis is not None for window in windows)
    assert known_s == {NEW_S}


def test_a_gpu_computes_windows_of_all_forms_before_it_is_ready() -> None:
    """Otherwise the first live batches would wait until kernels are compiled."""
    machine = Machine(0.035, 0.0012)
    machine.measure(on_gpu=True)
    windows = [window for batch in machine.batches for window in batch]
    assert {(window.is_final, window.effort) for window in windows} == {
        (is_final, effort) for is_final in (True, False) for effort in ("full", "reduced")
    }
    assert any(window.options.words and window.preceding for window in windows)
    assert {window.options.language for window in windows} == {None, "en"}


def test_sizes_that_do_not_fit_into_the_memory_of_a_gpu_are_left_out() -> None:
    costs = Machine(0.035, 0.0012, fits=40).measure(on_gpu=True)
    assert sizes(costs.finals) == [1, 8, 32]
    assert costs.max_batch == 32


def test_a_single_window_without_memory_is_a_failure() -> None:
    with pytest.raises(OutOfMemory):
        Machine(fits=0).measure()


def test_a_slow_cpu_times_single_windows_and_is_not_held_up() -> None:
    costs = Machine(each_s=1.5).measure()
    assert sizes(costs.finals) == [1]
    assert costs.finals[0].compute_s == pytest.approx(1.5)


def test_a_gpu_that_takes_long_for_a_single_window_may_take_hardly_longer_for_eight() -> None:
    costs = Machine(fixed_s=0.5, each_s=0.004).measure(on_gpu=True)
    assert sizes(costs.finals) == sizes(costs.partials) == [1, 8, 32, 64]
    assert costs.max_batch == 64


@pytest.mark.parametrize("machine", [Machine(each_s=0.2), Machine(fixed_s=0.5, each_s=0.1), Machine(fixed_s=2.5)])
def test_a_gpu_is_not_held_up_by_batches_that_will_take_long_but_takes_them_as_far_as_it_has_memory(
    machine: Machine,
) -> None:
    """Load control makes as large ones as there is time for."""
    costs = machine.measure(on_gpu=True)
    assert sizes(costs.finals) == ([1] if machine.fixed_s > LONGEST_S else [1, 8])
    assert costs.max_batch == 64


def test_a_very_slow_cpu_computes_one_window_more_than_it_must() -> None:
    machine = Machine(each_s=LONGEST_S + 20)
    costs = machine.measure()
    assert len(machine.batches) == 1
    assert costs.finals == costs.partials == (BatchTime(1, LONGEST_S + 20),)


@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_process_that_replaces_another_is_ready_after_one_window(on_gpu: bool) -> None:
    machine = Machine()
    costs = machine.measure(on_gpu=on_gpu, calibrates=False, is_replacement=True)
    assert len(machine.batches) == 1
    assert sizes(costs.finals) == [1]


class Model:
    """A decoder that ends its text at once, unless it may not."""

    n_mels = 80

    def __init__(self) -> None:
        self.options: dict[str, object] = {}

    def generate(self, features: object, prompts: Sequence[list[int]], **options: object) -> "list[Result]":
        self.options = options
        return [Result([[7] * 5]) for _ in prompts]


@dataclass
class Result:
    sequences_ids: list[list[int]]


def test_a_rehearsed_model_writes_so_many_tokens_of_a_text_that_is_beyond_doubt() -> None:
    model = Model()
    rehearsed = RehearsedModel(model, 5, end_of_text=50_256, text=list(range(9)))
    assert rehearsed.n_mels == 80
    results = rehearsed.generate("features", [[1, 2], [1, 2, 3]], beam_size=3, max_length=400)
    assert [result.sequences_ids for result in results] == [[[0, 1, 2, 3, 4]]] * 2
    assert all(result.scores[0] == result.no_speech_prob == 0.0 for result in results)
    assert model.options == {"beam_size": 3, "suppress_tokens": [-1, 50_256], "max_length": 10}
