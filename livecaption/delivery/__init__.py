"""Deliver captions to other services. A sink is a reader of a room or session that sends on what is committed.

    source ─events─> lines ─texts─> outgoing ─the next text, with its number─> http_sink or obs_sink ─> the service

`lines` and `outgoing` are pure. `sources` has what is read. `sinks` owns the tasks of each sink, and `destination` has
what the operator named.
"""
