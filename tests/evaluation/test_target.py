"""The share of a target scales the counts of attacks."""

import os

from livecaption.evaluation.target import Target


def test_counts_are_shared_out_and_never_nothing() -> None:
    target = Target("http://127.0.0.1:9/", os.getpid(), (), "nobody", {}, seconds=0.1, share=0.001, n_mutants=1)
    assert target.count(4000) == 4
    assert target.count(10) == 1
