"""The families of Prometheus: a sample for each label, and buckets that add up."""

from prometheus_client.core import Metric

from livecaption.server.families import batch_sizes, counter_by_both, gauge_by


def samples(family: Metric) -> list[tuple[str, dict[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for sample in family.samples]


def test_a_family_with_a_label_has_a_sample_for_each_value() -> None:
    assert samples(gauge_by("kind")("n", "Numbers", {"a": 1, "b": 0})) == [
        ("n", {"kind": "a"}, 1),
        ("n", {"kind": "b"}, 0),
    ]


def test_a_family_with_two_labels_has_a_sample_for_each_pair() -> None:
    family = counter_by_both("protocol", "code")("n", "Numbers", {"a": {"x": 1, "y": 2}, "b": {"x": 3}, "c": {}})
    assert samples(family) == [
        ("n_total", {"protocol": "a", "code": "x"}, 1),
        ("n_total", {"protocol": "a", "code": "y"}, 2),
        ("n_total", {"protocol": "b", "code": "x"}, 3),
    ]


def test_a_bucket_of_batches_has_all_that_are_at_most_as_large() -> None:
    counts = {labels.get("le"): value for _, labels, value in samples(batch_sizes("n", "Sizes", {1: 2, 3: 1, 40: 1}))}
    assert (counts["1.0"], counts["2.0"], counts["3.0"], counts["16.0"], counts["+Inf"]) == (2, 2, 3, 3, 4)
