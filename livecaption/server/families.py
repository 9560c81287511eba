"""Build families of Prometheus from the values of figures. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

BATCH_SIZE_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

Kind = Callable[[str, str, Any], Metric]
"""Builds a family from a name, a help text and a value."""


def gauge(name: str, text: str, value: float) -> Metric:
    """Make a gauge, whose value goes up and down."""
    return GaugeMetricFamily(name, text, value)


def counter(name: str, text: str, value: float) -> Metric:
    """Make a counter, whose value only grows."""
    return CounterMetricFamily(name, text, value)


def gauge_by(label: str) -> Kind:
    """Make gauges with one label. Their value maps the label to a number."""
    return lambda name, text, values: _labelled(GaugeMetricFamily(name, text, labels=(label,)), values)


def counter_by(label: str) -> Kind:
    """Make counters with one label. Their value maps the label to a number."""
    return lambda name, text, values: _labelled(CounterMetricFamily(name, text, labels=(label,)), values)


def counter_by_both(first: str, second: str) -> Kind:
    """Make counters with two labels. Their value maps the first to what maps the second to a number."""

    def family(name: str, text: str, values: Mapping[str, Mapping[str, float]]) -> Metric:
        made = CounterMetricFamily(name, text, labels=(first, second))
        for value, numbers in values.items():
            for other, n in numbers.items():
                made.add_metric((value, other), n)
        return made

    return family


def batch_sizes(name: str, text: str, sizes: Mapping[int, int]) -> Metric:
    """Make a histogram of batches by their number of requests."""
    buckets: list[tuple[str, float]] = [
        (str(float(bound)), sum(n for size, n in sizes.items() if size <= bound)) for bound in BATCH_SIZE_BUCKETS
    ]
    buckets.append(("+Inf", sum(sizes.values())))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=sum(size * n for size, n in sizes.items()))


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for value, n in values.items():
        family.add_metric((value,), n)
    return family
