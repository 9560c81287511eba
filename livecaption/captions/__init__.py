"""Hypotheses -> captions -> transcript. Pure: no IO, no clock, no asyncio."""
