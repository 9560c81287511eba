"""Join the figures of the processes of one server: in one for `/v1/stats`, with a label for Prometheus. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Families = list[dict[str, Any]]
"""Families of Prometheus as JSON: see `metrics.Metrics.families`."""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


RULES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "at_s": max,
    "state": lambda states: "ready" if "ready" in states else states[0],
    "limit_reason": lambda reasons: reasons[0],
    "real_time_factor": _mean,
    "utilization": _mean,
    "partial_interval_ms": max,
    "speculates": all,
    "working": all,
    "behind": any,
    "cut_off": any,
    **dict.fromkeys(("p50", "p95", "p99"), max),
}
"""The figures that are no sums, by the last part of their names. Of delays, the process that is worst counts."""


def one_of(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of all processes together, in the form of those of one. Each may lack some."""
    names = dict.fromkeys(name for snapshot in snapshots for name in snapshot)
    return {name: _joined(name, [each[name] for each in snapshots if each.get(name) is not None]) for name in names}


def _joined(name: str, values: list[Any]) -> Any:
    if not values:
        return None
    if name in RULES:
        return RULES[name](values)
    if isinstance(values[0], Mapping):
        return one_of(values)
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    return sum(values)


def labelled(families_of: Mapping[int, Families]) -> Families:
    """Return the families of all processes, whose samples have the number of the process as label `process`."""
    joined: dict[tuple[str, str], dict[str, Any]] = {}
    for number, families in sorted(families_of.items()):
        for family in families:
            known = joined.setdefault((family["name"], family["type"]), {**family, "samples": []})
            known["samples"] += [
                [name, {**labels, "process": str(number)}, value] for name, labels, value in family["samples"]
            ]
    return list(joined.values())


def up(numbers: Iterable[int], answered: Iterable[int]) -> Families:
    """Return the family that shows which processes have answered."""
    here = set(answered)
    samples = [["livecaption_process_up", {"process": str(number)}, float(number in here)] for number in numbers]
    return [
        {
            "name": "livecaption_process_up",
            "type": "gauge",
            "help": "1 if the process has answered for these figures",
            "samples": samples,
        }
    ]
