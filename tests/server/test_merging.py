"""The figures of several processes joined."""

from livecaption.server.merging import labelled, one_of, up


def test_counts_are_added_and_lists_follow_each_other() -> None:
    joined = one_of([{"streams": {"open": 2}, "workers": ["a"]}, {"streams": {"open": 3}, "workers": ["b"]}])
    assert joined == {"streams": {"open": 5}, "workers": ["a", "b"]}


def test_of_delays_the_worst_process_counts() -> None:
    joined = one_of([{"final": {"n": 1, "p50": 0.2, "p95": None}}, {"final": {"n": 2, "p50": 0.1, "p95": 0.9}}])
    assert joined == {"final": {"n": 3, "p50": 0.2, "p95": 0.9}}


def test_a_share_is_the_mean_and_what_nobody_measured_is_unknown() -> None:
    joined = one_of([{"utilization": 1.0, "real_time_factor": None}, {"utilization": 0.5, "real_time_factor": None}])
    assert joined == {"utilization": 0.75, "real_time_factor": None}


def test_one_store_that_fails_is_a_failure_and_one_process_that_is_ready_is_enough() -> None:
    joined = one_of([{"state": "loading", "working": True}, {"state": "ready", "working": False}])
    assert joined == {"state": "ready", "working": False}


def test_families_are_joined_and_their_samples_have_the_process() -> None:
    family = {"name": "streams", "type": "gauge", "help": "Open", "samples": [["streams", {"key": "k"}, 1.0]]}
    (joined,) = labelled({2: [family], 1: [family]})
    assert joined["samples"] == [
        ["streams", {"key": "k", "process": "1"}, 1.0],
        ["streams", {"key": "k", "process": "2"}, 1.0],
    ]


def test_a_process_that_does_not_answer_is_down() -> None:
    (family,) = up([1, 2], [2])
    assert [(labels["process"], value) for _, labels, value in family["samples"]] == [("1", 0.0), ("2", 1.0)]
