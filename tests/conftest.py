"""Settings that hold for every test."""

import os

import hypothesis

os.environ.setdefault("LIVECAPTION_WORKERS", "1")
"""Where nothing else is said: how one process begins and ends can be told, and two would load on the same cores."""

os.environ["LIVECAPTION_STORE"] = "none"
"""No started server writes among the transcripts of whoever runs the tests; a test that wants a store says where."""

# The same examples each time, and no judgement of speed: machines that test are busy ones.
hypothesis.settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("deterministic")
