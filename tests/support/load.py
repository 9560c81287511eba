"""The load of a server without streams."""

from dataclasses import replace

from livecaption.scheduling.admission import PARTIAL_INTERVAL_S, Load
from livecaption.scheduling.load_control import RequestCosts

LOADING = Load(
    costs=None,
    utterances_per_s=0.2,
    speaking=1.0,
    n_workers=1,
    oldest_final_s=0.0,
    partials_paused=False,
    free_bytes=2**40,
)
"""No worker has been ready yet."""
FRESH = replace(LOADING, costs=RequestCosts(final_s=0.05, partial_s=0.04 * PARTIAL_INTERVAL_S))
"""A stream without pause takes 0.01 of a worker for finals, and 0.04 for partials."""
