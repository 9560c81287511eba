"""The properties of every stage of the pure pipeline. A test class inherits `StageProperties` and runs its stage."""

import random
from collections.abc import Iterable
from typing import Any


class StageProperties:
    """The properties: the output does not depend on chunks, nothing is lost at any end, and replays are equal."""

    def stream(self) -> Any:
        """Return a whole input, sliceable along its time."""
        raise NotImplementedError

    def run(self, chunks: Iterable[Any]) -> list[Any]:
        """Push the chunks into a new stage and flush it. Return its output in a form without traces of the chunks."""
        raise NotImplementedError

    def check_complete(self, stream: Any, output: list[Any]) -> None:
        """Assert that the output of a stream that ends there loses and repeats nothing."""
        raise NotImplementedError

    def test_a_stream_cut_anywhere_gives_the_same_output(self) -> None:
        stream = self.stream()
        whole = self.run([stream])
        for seed in range(5):
            chance = random.Random(seed)
            cuts = sorted(chance.choices(range(len(stream) + 1), k=4 ** (seed + 1)))
            chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
            assert self.run(chunks) == whole, f"seed {seed}"

    def test_a_stream_that_comes_one_by_one_gives_the_same_output(self) -> None:
        stream = self.stream()[:2000]
        assert self.run(stream[i : i + 1] for i in range(len(stream))) == self.run([stream])

    def test_a_stream_ended_anywhere_loses_nothing_and_repeats_nothing(self) -> None:
        whole = self.stream()
        for part in (0, 0.001, 0.013, 0.3, 0.5, 0.77, 0.999, 1):
            stream = whole[: round(part * len(whole))]
            self.check_complete(stream, self.run([stream]))

    def test_the_same_stream_again_gives_the_same_output(self) -> None:
        assert self.run([self.stream()]) == self.run([self.stream()])
