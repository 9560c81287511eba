"""The settings of deliveries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """The settings of deliveries.

    Attributes:
        sinks: TOML file with the sinks that the server has from its start: see `destination`; empty: none.
    """

    sinks: str = ""
