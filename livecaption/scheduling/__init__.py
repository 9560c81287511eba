"""Decide which request a worker gets next, and how many streams fit. Pure: events in, instructions out."""
