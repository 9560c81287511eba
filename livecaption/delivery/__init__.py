"""Deliver the captions of rooms to other services. A sink is a reader of a room that sends on what is committed.

    Room ─events─> lines ─texts─> outgoing ─the next text, with its number─> http_sink or obs_sink ─> the service

`lines` and `outgoing` are pure. `sinks` owns the tasks of each sink, and `destination` has what the operator named.
"""
