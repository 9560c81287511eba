"""Read options of `start` from the query of an address, for clients that send audio alone. Pure.

A secret has no place in an address, because addresses are kept in histories and logs. So no token is read from it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from livecaption.errors import InvalidMessage

FLAGS = {"true": True, "1": True, "false": False, "0": False}

OPTIONS: dict[str, Callable[[str], object]] = {
    "encoding": str,
    "sample_rate": int,
    "channels": int,
    "channel_mode": str,
    "language": lambda names: names.split(",") if "," in names else names,
    "task": str,
    "translate": lambda names: names.split(","),
    "partials": FLAGS.__getitem__,
    "words": FLAGS.__getitem__,
    "hotwords": lambda words: words.split(","),
    "prompt": str,
    "title": str,
    "private": FLAGS.__getitem__,
    "keep": FLAGS.__getitem__,
    "speakers": lambda given: FLAGS[given] if given in ("true", "false") else int(given),
}
"""The fields of `start` that an address may have, and how their values are read."""
ENDPOINTING: dict[str, Callable[[str], object]] = {"preset": str, "silence_ms": int, "max_utterance_ms": int}
"""The same for the fields of `start.endpointing`."""


def start_fields(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the `start` that a query stands for; empty: it has no options. Other names are ignored.

    Raises:
        InvalidMessage: a value is not of the type of its field.
    """
    fields = _read(query, OPTIONS)
    if endpointing := _read(query, ENDPOINTING):
        fields["endpointing"] = endpointing
    return fields


def _read(query: Mapping[str, str], readers: Mapping[str, Callable[[str], object]]) -> dict[str, Any]:
    fields = {}
    for name in readers.keys() & query.keys():
        try:
            fields[name] = readers[name](query[name])
        except (ValueError, KeyError):
            raise InvalidMessage(f"{name} in the address has a wrong value") from None
    return fields
