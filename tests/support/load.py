"""The load of a server before its first request."""

from livecaption.scheduling.admission import Load

FRESH = Load(
    final_s=None,
    partial_s=None,
    finals_measured=False,
    utterances_per_s=0.2,
    speaking=1.0,
    n_workers=1,
    oldest_final_s=0.0,
    partials_paused=False,
    free_bytes=2**40,
)
