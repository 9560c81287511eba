"""Settings that hold for every test."""

import hypothesis

# The same examples each time, and no judgement of speed: machines that test are busy ones.
hypothesis.settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("deterministic")
